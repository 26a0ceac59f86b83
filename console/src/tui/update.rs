//! What each message changes, and what is to be done outside because of it. No I/O, no clock.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use towpath_protocol::tree::record::{Answer, Outcome};

use super::ask;
use super::keys::{self, Do};
use super::listing;
use super::message::{Effect, Message, Request};
use super::model::{Asking, Item, Line, LineKind, Model, Overlay, Part, Said, VIEWS, View};
use super::picture::{Health, Picture};
use super::{format, view};

/// What was done stays on the status line this long. What was refused stays until Esc.
const SAID_SECONDS: i64 = 30;
/// The most characters of a line that is typed.
const LINE_CHARS_MAX: usize = 200;
/// Views that Esc goes back through.
const BACK_MAX: usize = 50;

/// Changes the model; says what is to be done.
pub(super) fn update(model: &mut Model, message: Message) -> Vec<Effect> {
    match message {
        Message::Press(event) if event.kind == KeyEventKind::Release => {}
        Message::Press(event) => return press(model, &event),
        Message::Resize(columns, rows) => model.size = (columns, rows),
        Message::Tick(now) => {
            model.now = now;
            if model.lost.is_none() {
                model.samples.take(now, &model.picture);
            }
            let passed = |said: &Said| {
                matches!(said.health, Health::Good | Health::Busy)
                    && now.as_second() - said.at.as_second() > SAID_SECONDS
            };
            if model.said.as_ref().is_some_and(passed) {
                model.said = None;
            }
        }
        Message::Spin => model.frame = model.frame.wrapping_add(1),
        Message::Tree(tree) => {
            // The cursor stays on its thing.
            let keys = listing::keys(model);
            let index = model.cursor(&keys);
            model.picture = Picture::of(tree);
            place(model, &keys, index);
        }
        Message::Link(true) => {
            if model.lost.take().is_some() {
                model.samples.forgive(model.now);
                say(
                    model,
                    Health::Good,
                    "connected to the directory again".to_owned(),
                );
            }
        }
        Message::Link(false) => {
            model.lost.get_or_insert(model.now);
        }
        Message::Answered { id, result } => answered(model, id, result),
    }
    Vec::new()
}

fn say(model: &mut Model, health: Health, text: String) {
    let at = model.now;
    model.said = Some(Said { health, text, at });
}

fn answered(model: &mut Model, id: u64, result: Result<Answer, String>) {
    let Some(index) = model.asking.iter().position(|asking| asking.id == id) else {
        return;
    };
    let Asking { what, .. } = model.asking.remove(index);
    let (health, outcome, text) = match result {
        Ok(answer) => {
            let (health, outcome) = match answer.outcome {
                Outcome::Done => (Health::Good, "done"),
                Outcome::Refused => (Health::Warn, "refused"),
                Outcome::Failed => (Health::Bad, "failed"),
                Outcome::Other(_) => (Health::Warn, "answered"),
            };
            (health, outcome, answer.text)
        }
        Err(error) => (Health::Bad, "no answer", error),
    };
    let text = match text.is_empty() {
        true => format!("{what}: {outcome}"),
        false => format!("{what}: {outcome}: {}", format::clean(&text)),
    };
    say(model, health, text);
}

fn press(model: &mut Model, event: &KeyEvent) -> Vec<Effect> {
    let scope = model.scope();
    let does = keys::lookup(scope, event);
    if model.line.is_some() {
        return type_line(model, does, event);
    }
    match (does, &model.overlay) {
        (None, _) => Vec::new(),
        (Some(Do::Quit), _) => vec![Effect::Quit],
        (Some(does), Some(Overlay::Help { .. })) => {
            in_help(model, does);
            Vec::new()
        }
        (Some(Do::Yes), Some(Overlay::Confirm { request, .. })) => {
            let request = request.clone();
            model.overlay = None;
            vec![put(model, request)]
        }
        (Some(_), Some(Overlay::Confirm { .. })) => {
            model.overlay = None;
            Vec::new()
        }
        (Some(does), Some(Overlay::Choose(_))) => choose(model, does),
        (Some(does), None) => in_view(model, does),
    }
}

fn in_help(model: &mut Model, does: Do) {
    let most = view::help::scroll_max(model);
    let page = view::body_rows(model);
    if let Some(Overlay::Help { scroll }) = &mut model.overlay {
        match moved(does, *scroll, most, page) {
            Some(moved) => *scroll = moved,
            None => model.overlay = None,
        }
    }
}

/// Where a movement leads from a place that is at most `most`; `None` if it's no movement.
fn moved(does: Do, from: usize, most: usize, page: usize) -> Option<usize> {
    let page = page.saturating_sub(1).max(1);
    let to = match does {
        Do::Up => from.saturating_sub(1),
        Do::Down => from.saturating_add(1),
        Do::PageUp => from.saturating_sub(page),
        Do::PageDown => from.saturating_add(page),
        Do::Top => 0,
        Do::Bottom => most,
        _ => return None,
    };
    Some(to.min(most))
}

fn choose(model: &mut Model, does: Do) -> Vec<Effect> {
    let page = view::body_rows(model);
    let Some(Overlay::Choose(choice)) = &mut model.overlay else {
        return Vec::new();
    };
    let most = choice.items.len().saturating_sub(1);
    if let Some(cursor) = moved(does, choice.cursor, most, page) {
        choice.cursor = cursor;
        return Vec::new();
    }
    let chosen = choice.items.get(choice.cursor).cloned();
    match (does, chosen) {
        (Do::Open, Some(Item { leads_to, .. })) => model.overlay = Some(leads_to),
        (Do::Back, _) => model.overlay = None,
        _ => {}
    }
    Vec::new()
}

fn in_view(model: &mut Model, does: Do) -> Vec<Effect> {
    match does {
        Do::Help => model.overlay = Some(Overlay::Help { scroll: 0 }),
        Do::Command => {
            model.line = Some(Line {
                kind: LineKind::Command,
                text: String::new(),
            });
        }
        Do::Filter => {
            model.line = Some(Line {
                kind: LineKind::Filter,
                text: model.filter().to_owned(),
            });
        }
        Do::Back => back(model),
        Do::Open => open(model),
        Do::Order => {
            model.order = model.order.next();
            model.reversed = false;
        }
        Do::Reverse => model.reversed = !model.reversed,
        Do::NextPart => next_part(model, true),
        Do::Left | Do::Right if matches!(model.view, View::Pipeline(_)) => {
            next_part(model, does == Do::Right);
        }
        Do::Left => fold(model),
        Do::Right => unfold(model),
        Do::Pause | Do::Resume | Do::Start | Do::Stop | Do::Move | Do::Drain | Do::Acknowledge => {
            return match ask::about(model, does) {
                Ok(ask::Asked::Put(request)) => vec![put(model, request)],
                Ok(ask::Asked::First(overlay)) => {
                    model.overlay = Some(overlay);
                    Vec::new()
                }
                Err(reason) => {
                    say(model, Health::Warn, reason);
                    Vec::new()
                }
            };
        }
        does => go(model, does),
    }
    Vec::new()
}

fn put(model: &mut Model, request: Request) -> Effect {
    model.asked += 1;
    let id = model.asked;
    model.asking.push(Asking {
        id,
        what: request.what.clone(),
        since: model.now,
    });
    model.said = None;
    Effect::Ask { id, request }
}

/// Moves the cursor, or scrolls.
fn go(model: &mut Model, does: Do) {
    let page = view::body_rows(model);
    if matches!(model.view, View::Pipeline(_)) || model.in_data {
        let most = view::scroll_max(model);
        model.scroll = moved(does, model.scroll.min(most), most, page).unwrap_or(model.scroll);
        return;
    }
    let keys = listing::keys(model);
    let most = keys.len().saturating_sub(1);
    if let Some(index) = moved(does, model.cursor(&keys), most, page) {
        place(model, &keys, index);
        model.scroll = 0;
    }
}

fn place(model: &mut Model, keys: &[String], index: usize) {
    let list = model.list();
    list.cursor = keys.get(index).cloned();
    list.index = index;
}

fn show(model: &mut Model, view: View) {
    if model.view != view {
        let left = std::mem::replace(&mut model.view, view);
        model.back.push(left);
        if model.back.len() > BACK_MAX {
            model.back.remove(0);
        }
    }
    settle(model);
}

/// What a view begins with.
fn settle(model: &mut Model) {
    model.part = Part::Now;
    model.scroll = 0;
    model.in_data = false;
}

/// One thing at a time: a refusal that was read, a focus, a filter, a view.
fn back(model: &mut Model) {
    if model
        .said
        .take()
        .is_some_and(|said| said.health < Health::Busy)
    {
        return;
    }
    if model.in_data {
        model.in_data = false;
    } else if !model.filter().is_empty() {
        model.list().filter.clear();
    } else if let Some(view) = model.back.pop() {
        model.view = view;
        settle(model);
    } else if model.view != View::Pipelines {
        model.view = View::Pipelines;
        settle(model);
    }
}

fn open(model: &mut Model) {
    let keys = listing::keys(model);
    let Some(key) = keys.get(model.cursor(&keys)).cloned() else {
        return;
    };
    match &model.view {
        View::Pipelines => {
            if let Ok(name) = key.parse() {
                show(model, View::Pipeline(name));
            }
        }
        View::Alerts => {
            let about = model
                .picture
                .alerts
                .iter()
                .find(|(id, _)| id.as_str() == key);
            let subject = about.map(|(_, alert)| alert.subject.as_str());
            let pipeline = subject.and_then(|subject| subject.split('/').next());
            match pipeline.and_then(|name| model.picture.pipeline(name)) {
                Some(pipeline) => {
                    let name = pipeline.name.clone();
                    show(model, View::Pipeline(name));
                }
                None => say(model, Health::Busy, "it's about no pipeline".to_owned()),
            }
        }
        View::Cluster => look_at_member(model, &key),
        View::Directory if model.in_data => model.in_data = false,
        View::Directory => match node(model) {
            Some((path, Some(true))) => {
                model.open.remove(&path);
            }
            Some((path, Some(false))) => {
                model.open.insert(path);
            }
            _ => model.in_data = true,
        },
        View::Pipeline(_) => {}
    }
}

/// A member's node in the directory.
fn look_at_member(model: &mut Model, key: &str) {
    let path = key
        .split_once(' ')
        .map(|(kind, id)| format!("/towpath/{kind}s/{id}"));
    if let Some(path) = path {
        look_at(model, &path);
    }
}

/// Goes to a node of the directory, with all that is above it open.
fn look_at(model: &mut Model, path: &str) {
    let Ok(path) = towpath_protocol::tree::NodePath::parse(path) else {
        say(
            model,
            Health::Warn,
            format!("{} is no path", format::clean(path)),
        );
        return;
    };
    if model.picture.tree.get(&path).is_none() {
        say(
            model,
            Health::Warn,
            format!("{} isn't there", format::clean(path.as_str())),
        );
        return;
    }
    let mut above = path.parent();
    while let Some(node) = above {
        above = node.parent();
        model.open.insert(node);
    }
    show(model, View::Directory);
    let list = model.list();
    list.filter.clear();
    list.cursor = Some(path.to_string());
}

/// The node with the cursor, and whether what is below it is shown.
fn node(model: &Model) -> Option<(towpath_protocol::tree::NodePath, Option<bool>)> {
    let mut rows = listing::nodes(model);
    let keys: Vec<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    let index = model.cursor(&keys);
    (index < rows.len()).then(|| {
        let row = rows.swap_remove(index);
        (row.path, row.open)
    })
}

/// Closes a node; on one that is closed, goes to the node above.
fn fold(model: &mut Model) {
    if model.in_data {
        model.in_data = false;
        return;
    }
    let Some((path, open)) = node(model) else {
        return;
    };
    if open == Some(true) && model.filter().is_empty() {
        model.open.remove(&path);
    } else if let Some(above) = path.parent() {
        let keys = listing::keys(model);
        if let Some(index) = keys.iter().position(|key| key == above.as_str()) {
            place(model, &keys, index);
            model.scroll = 0;
        }
    }
}

/// Opens a node; on one that is open or has nothing below it, goes to its data.
fn unfold(model: &mut Model) {
    match node(model) {
        Some((path, Some(false))) => {
            model.open.insert(path);
        }
        Some(_) => model.in_data = true,
        None => {}
    }
}

fn next_part(model: &mut Model, forward: bool) {
    match model.view {
        View::Directory => model.in_data = !model.in_data,
        _ => {
            model.part = model.part.step(forward);
            model.scroll = 0;
        }
    }
}

fn type_line(model: &mut Model, does: Option<Do>, event: &KeyEvent) -> Vec<Effect> {
    let Some(mut line) = model.line.take() else {
        return Vec::new();
    };
    match does {
        Some(Do::Accept) => return accept(model, &line),
        // The filter stays what it was.
        Some(Do::No) => return Vec::new(),
        // As in vi, taking back what isn't there leaves the line.
        Some(Do::Erase) if line.text.pop().is_none() && line.kind == LineKind::Command => {
            return Vec::new();
        }
        Some(Do::EraseAll) => line.text.clear(),
        Some(Do::Complete) if line.kind == LineKind::Command => complete(model, &mut line.text),
        Some(_) => {}
        None => {
            let plain = !event
                .modifiers
                .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
            if let KeyCode::Char(c) = event.code
                && plain
                && !c.is_control()
                && line.text.chars().count() < LINE_CHARS_MAX
            {
                line.text.push(c);
            }
        }
    }
    model.line = Some(line);
    Vec::new()
}

/// What a command line can begin with.
fn words() -> impl Iterator<Item = &'static str> {
    let views = VIEWS.iter().map(|(name, _)| *name);
    views.chain(["pipeline", "help", "quit"])
}

/// The commands that begin so; for the line under the cursor.
pub(super) fn candidates(text: &str) -> Vec<&'static str> {
    words().filter(|word| word.starts_with(text)).collect()
}

fn complete(model: &Model, text: &mut String) {
    if let Some(begun) = text.strip_prefix("pipeline ") {
        let mut names = model.picture.pipelines.iter().map(|p| p.name.as_str());
        if let Some(name) = names.find(|name| name.starts_with(begun)) {
            *text = format!("pipeline {name}");
        }
    } else if let Some(word) = candidates(text).first() {
        *text = (*word).to_owned();
    }
}

fn accept(model: &mut Model, line: &Line) -> Vec<Effect> {
    if line.kind == LineKind::Filter {
        model.list().filter = line.text.trim().to_owned();
        return Vec::new();
    }
    let (word, rest) = line
        .text
        .trim()
        .split_once(' ')
        .unwrap_or((line.text.trim(), ""));
    let rest = rest.trim();
    // The whole word, or its beginning: `:c`.
    let found = words()
        .find(|known| *known == word)
        .or_else(|| candidates(word).first().copied());
    match found {
        _ if word.is_empty() => {}
        Some("quit") => return vec![Effect::Quit],
        Some("help") => model.overlay = Some(Overlay::Help { scroll: 0 }),
        Some("dir") if !rest.is_empty() => look_at(model, rest),
        Some("pipeline" | "pipelines") if !rest.is_empty() => match model.picture.pipeline(rest) {
            Some(pipeline) => {
                let name = pipeline.name.clone();
                show(model, View::Pipeline(name));
            }
            None => {
                let text = format!("there is no pipeline {}", format::clean(rest));
                say(model, Health::Warn, text);
            }
        },
        Some("pipeline") => show(model, View::Pipelines),
        Some(name) => {
            if let Some((_, view)) = VIEWS.iter().find(|(known, _)| *known == name) {
                show(model, view.clone());
            }
        }
        None => {
            let known: Vec<String> = words().map(|word| format!(":{word}")).collect();
            let text = format!(
                "there is no :{}; there are {}",
                format::clean(word),
                known.join(" ")
            );
            say(model, Health::Warn, text);
        }
    }
    Vec::new()
}
