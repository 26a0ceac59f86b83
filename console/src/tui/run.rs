//! The terminal, the clock and the directory: messages in, effects out.
//!
//! Draws when something has changed, at most every [`DRAW_PAUSE`], at once after a key. Whatever
//! ends it, a panic and a signal too, the terminal is as it was.

use std::io::Stdout;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use towpath_coordination::{Mirror, Patience, Session, SessionState};
use towpath_protocol::tree::record::Answer;

use super::message::{Effect, Message};
use super::model::Model;
use super::theme::Theme;
use super::tree::Tree;
use super::update::update;
use super::view;

/// Changes of the tree that come faster are drawn together.
const DRAW_PAUSE: Duration = Duration::from_millis(100);
/// Ages on the screen are in seconds.
const TICK: Duration = Duration::from_secs(1);
/// A frame of the spinner.
const SPIN: Duration = Duration::from_millis(120);

type Screen = Terminal<CrosstermBackend<Stdout>>;

/// Told when any thread has panicked: the terminal isn't ours any more.
static PANICKED: OnceLock<Notify> = OnceLock::new();

/// Gives the terminal back when it's dropped.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows what the mirror holds until the user, or a signal, ends it.
pub(super) async fn run(
    session: &Session,
    mirror: &Mirror,
    directory: String,
) -> anyhow::Result<()> {
    let panicked = PANICKED.get_or_init(Notify::new);
    let mut screen = ratatui::try_init().context("the terminal can't be used")?;
    let _guard = Guard;
    // ratatui's hook, now the present one, restores the terminal before the report.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        hook(info);
        panicked.notify_one();
    }));
    let by = std::env::var("USER").unwrap_or_else(|_| "console".to_owned());
    let size = screen.size().context("the terminal can't be used")?;
    let model = Model::new(directory, Timestamp::now(), (size.width, size.height));
    let looping = Loop {
        session,
        mirror,
        by,
        model,
        theme: Theme::of_environment(),
        answers: JoinSet::new(),
    };
    tokio::select! {
        result = looping.run(&mut screen) => result,
        () = panicked.notified() => anyhow::bail!("the console had to end: see the panic above"),
    }
}

struct Loop<'a> {
    session: &'a Session,
    mirror: &'a Mirror,
    by: String,
    model: Model,
    theme: Theme,
    answers: JoinSet<(u64, Result<Answer, String>)>,
}

impl Loop<'_> {
    async fn run(mut self, screen: &mut Screen) -> anyhow::Result<()> {
        let mut events = EventStream::new();
        let mut changes = self.mirror.changes();
        let mut statuses = self.session.statuses();
        let (mut tick, mut spin) = (interval(TICK), interval(SPIN));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        spin.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut signals = signals()?;
        changes.mark_changed();
        statuses.mark_changed();
        // Changed since it was drawn; and the tree since it was taken.
        let (mut dirty, mut stale) = (true, false);
        let mut not_before = Instant::now();
        loop {
            let drawing = pin!(sleep_until(not_before));
            let mut effects = Vec::new();
            tokio::select! {
                event = events.next() => {
                    let event = event.context("the terminal is gone")?.context("the terminal is gone")?;
                    let message = match event {
                        Event::Key(key) => Message::Press(key),
                        Event::Resize(columns, rows) => Message::Resize(columns, rows),
                        _ => continue,
                    };
                    if stale {
                        // What a key is about is what holds now.
                        stale = false;
                        self.take_tree();
                    }
                    effects = update(&mut self.model, message);
                    dirty = true;
                    not_before = Instant::now();
                }
                _ = signals.recv() => return Ok(()),
                Ok(()) = changes.changed() => (dirty, stale) = (true, true),
                Ok(()) = statuses.changed() => {
                    let connected = statuses.borrow_and_update().state == SessionState::Connected;
                    update(&mut self.model, Message::Link(connected));
                    dirty = true;
                }
                Some(done) = self.answers.join_next() => {
                    let (id, result) = done.context("a command's task")?;
                    update(&mut self.model, Message::Answered { id, result });
                    dirty = true;
                }
                _ = tick.tick() => {
                    update(&mut self.model, Message::Tick(Timestamp::now()));
                    dirty = true;
                }
                _ = spin.tick(), if self.model.is_asking() => {
                    update(&mut self.model, Message::Spin);
                    dirty = true;
                }
                () = drawing, if dirty => {
                    if stale {
                        stale = false;
                        self.take_tree();
                    }
                    let (model, theme) = (&self.model, self.theme);
                    screen
                        .draw(|frame| view::draw(frame, model, theme))
                        .context("the terminal can't be written")?;
                    dirty = false;
                    not_before = Instant::now() + DRAW_PAUSE;
                }
            }
            for effect in effects {
                match effect {
                    Effect::Quit => return Ok(()),
                    Effect::Ask { id, request } => self.ask(id, request),
                }
            }
        }
    }

    fn take_tree(&mut self) {
        let tree = self.mirror.look(|nodes| Tree::from(nodes));
        update(&mut self.model, Message::Tree(tree));
    }

    fn ask(&mut self, id: u64, request: super::message::Request) {
        let (session, by) = (self.session.clone(), self.by.clone());
        self.answers.spawn(async move {
            let answer = session
                .command(
                    &request.queue,
                    request.task,
                    request.action,
                    &by,
                    Patience::default(),
                )
                .await;
            // With what is behind it: the operator has no other place to look.
            (
                id,
                answer.map_err(|error| format!("{:#}", anyhow::Error::from(error))),
            )
        });
    }
}

/// The signals that end a program on a terminal, and the terminal's own end.
fn signals() -> anyhow::Result<mpsc::Receiver<()>> {
    let (told, signals) = mpsc::channel(1);
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        let mut signal = signal(kind).context("signals")?;
        let told = told.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                if told.send(()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(signals)
}
