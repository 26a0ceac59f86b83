//! Commands to a directory in which nobody leads: what others write meanwhile is written here.

use tempfile::TempDir;
use towpath_coordination::{ConnectOptions, Expect};
use towpath_directory::{Config, Directory};
use towpath_protocol::tree::path::MemberKind;
use towpath_protocol::tree::record::{Desired, Member, Operation, OperationStep, Record};
use towpath_protocol::tree::{NodePath, Versioned};
use uuid::Uuid;

use super::*;

const OTHER_TEXT: &str = "# another\n";

/// A directory with pipeline `orders` at revision 1.
struct World {
    session: Session,
    name: PipelineName,
    _directory: Directory,
    _dir: TempDir,
}

impl World {
    async fn start(state: DesiredState) -> Self {
        let dir = TempDir::new().unwrap();
        let directory = Directory::start(Config::new(dir.path())).await.unwrap();
        let mut options = ConnectOptions::new([directory.address().to_string()]);
        options.session_timeout = Duration::from_secs(10);
        let session = Session::connect(options).await.unwrap();
        session.found_cluster().await.unwrap();
        let world = Self {
            session,
            name: "orders".parse().unwrap(),
            _directory: directory,
            _dir: dir,
        };
        world.apply(1, &text("")).await;
        world.desire(state).await;
        world.journal(None).await;
        world
    }

    async fn put<T: Record>(&self, node: NodePath, record: T) {
        let written = self.session.write(&node, record, Expect::Anything);
        written.await.unwrap();
    }

    async fn apply(&self, revision: u64, text: &str) {
        let spec = AppliedSpec {
            revision,
            text: text.to_owned(),
            ..example()
        };
        self.put(path::spec(&self.name), spec).await;
    }

    async fn desire(&self, state: DesiredState) {
        let desired = Desired { state, ..example() };
        self.put(path::desired(&self.name), desired).await;
    }

    async fn journal(&self, operation: Option<Operation>) {
        let journal = Journal {
            operation,
            ..Journal::default()
        };
        self.put(path::journal(&self.name), journal).await;
    }

    async fn decide(&self, queue: &CommandQueue, action: Action) -> Decision {
        let command = command(action);
        let decided = decide(&self.session, queue, &command, Timestamp::now()).await;
        decided.unwrap().unwrap()
    }
}

fn example<T: Record>() -> T {
    Versioned::from_json(T::EXAMPLE.as_bytes()).unwrap().record
}

fn text(more: &str) -> String {
    format!(
        "name = \"orders\"\n[source]\nurl = \"mysql://repl:${{SOURCE}}@source\"\n\
         tables = [\"shop.*\"]\n[[sink]]\nname = \"replica\"\n\
         url = \"mysql://app:${{SINK}}@sink\"\n{more}"
    )
}

fn command(action: Action) -> Command {
    Command {
        id: Uuid::new_v4(),
        action,
        task: None,
        by: "anna".to_owned(),
        asked: Timestamp::now(),
        take_before: Timestamp::MAX,
        taken: None,
        answer: None,
    }
}

fn update() -> Operation {
    Operation::Update {
        step: OperationStep::Stopping,
        text: text(OTHER_TEXT),
        from: 1,
        then: DesiredState::Running,
        by: "ben".to_owned(),
        since: Timestamp::now(),
    }
}

/// What another writes between our decision and our transaction.
enum Meanwhile {
    Nothing,
    Desired(DesiredState),
    Update,
    Applied,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_decided_on_what_has_changed_is_decided_again() {
    use DesiredState::{Running, Stopped};
    let apply = |more: &str| Action::Apply {
        text: text(more),
        revision: 1,
    };
    let cases = [
        (Running, Action::Start, Meanwhile::Nothing, true),
        (Running, Action::Start, Meanwhile::Desired(Stopped), false),
        (Running, Action::Start, Meanwhile::Update, false),
        (Stopped, Action::Stop, Meanwhile::Desired(Running), false),
        // Refused: it's paused only if it runs.
        (Stopped, Action::Pause, Meanwhile::Nothing, true),
        (Stopped, Action::Pause, Meanwhile::Desired(Running), false),
        (Running, apply(""), Meanwhile::Nothing, true),
        (Running, apply(""), Meanwhile::Applied, false),
        (Running, apply(""), Meanwhile::Update, false),
        // A stopped one is at once at the new revision: nobody may start the old one.
        (Stopped, apply(OTHER_TEXT), Meanwhile::Nothing, true),
        (
            Stopped,
            apply(OTHER_TEXT),
            Meanwhile::Desired(Running),
            false,
        ),
    ];
    for (at, (state, action, meanwhile, holds)) in cases.into_iter().enumerate() {
        let world = World::start(state).await;
        let queue = match action {
            Action::Apply { .. } => CommandQueue::Cluster,
            _ => CommandQueue::Pipeline(world.name.clone()),
        };
        let decision = world.decide(&queue, action).await;
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Desired(state) => world.desire(state).await,
            Meanwhile::Update => world.journal(Some(update())).await,
            Meanwhile::Applied => world.apply(2, &text(OTHER_TEXT)).await,
        }
        let done = world.session.transact(decision.transaction).await;
        match holds {
            true => done.unwrap(),
            false => assert!(
                matches!(done, Err(CoordinationError::Changed { .. })),
                "case {at}, {}: {done:?}",
                decision.text
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_is_not_called_given_up_by_what_was_before_it() {
    // The mirror of a directory that stands still: the first one's, before the update.
    let (world, before) = (
        World::start(DesiredState::Running).await,
        World::start(DesiredState::Running).await,
    );
    let status = PipelineStatus {
        spec_revision: 1,
        since: Timestamp::MAX,
        ..example()
    };
    before.put(path::status(&before.name), status).await;
    let behind = Mirror::follow(&before.session, path::root()).await.unwrap();
    let action = Action::Apply {
        text: text(OTHER_TEXT),
        revision: 1,
    };
    let begun = begin(&world.session, &CommandQueue::Cluster, &command(action)).await;
    let wait = Duration::from_millis(200);
    let reply = finish(&world.session, &behind, begun.unwrap(), wait).await;
    assert_eq!(
        (reply.outcome, &*reply.text),
        (
            Outcome::Done,
            "asked (revision 2 of orders); not yet reached: orders is running: replica runs on \
             core-1"
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_leaving_is_moved_back() {
    let world = World::start(DesiredState::Running).await;
    let (task, a, b): (TaskName, MemberId, MemberId) = (
        "replica".parse().unwrap(),
        "a".parse().unwrap(),
        "b".parse().unwrap(),
    );
    let assignment = Assignment {
        cores: vec![a.clone(), b.clone()],
        ..example()
    };
    world
        .put(path::assignment(&world.name, &task), assignment)
        .await;
    world
        .put::<Member>(path::member(MemberKind::Core, &a), example())
        .await;
    let queue = CommandQueue::Pipeline(world.name.clone());
    let back = || Action::Move { to: a.clone() };
    let stays = world.decide(&queue, back()).await;
    assert_eq!(stays.text, "nothing to do: orders/replica is on a already");
    let away = Operation::Move {
        task,
        to: b,
        by: "ben".to_owned(),
        since: Timestamp::now(),
    };
    world.journal(Some(away)).await;
    let moves = world.decide(&queue, back()).await;
    assert_eq!(moves.text, "move orders/replica to a");
}
