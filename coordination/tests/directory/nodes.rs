use std::time::Duration;

use jiff::Timestamp;
use towpath_coordination::{
    Expect, LiveConfig, ProgressReporter, Registration, RegistrationState, Session,
};
use towpath_protocol::epoch::Epoch;
use towpath_protocol::tree::record::{LogConfig, Member, Progress, TaskState};
use towpath_protocol::tree::{MemberKind, NodePath, Record, Versioned, path};

use crate::support::{Server, soon};

const AT_ONCE: Duration = Duration::ZERO;

fn member(pid: u32) -> Member {
    let example = Versioned::<Member>::from_json(Member::EXAMPLE.as_bytes());
    Member {
        pid,
        ..example.unwrap().record
    }
}

fn core() -> NodePath {
    path::member(MemberKind::Core, &"core-1".parse().unwrap())
}

async fn pid(session: &Session) -> Option<u32> {
    let entry = session.read::<Member>(&core()).await.unwrap();
    entry.map(|entry| entry.value.record.pid)
}

/// Waits until the node says so.
async fn says(session: &Session, expected: Option<u32>) {
    soon(async {
        while pid(session).await != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn becomes(registration: &Registration<Member>, state: RegistrationState) {
    let mut states = registration.states();
    soon(states.wait_for(|present| *present == state))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_updated_and_lives_through_a_restart() {
    let mut server = Server::start().await;
    let session = server.session().await;
    let registration = Registration::new(&session, core(), member(1), AT_ONCE).unwrap();
    soon(registration.present()).await.unwrap();
    assert_eq!(pid(&session).await, Some(1));
    registration.update(member(2)).unwrap();
    says(&session, Some(2)).await;
    server.stop().await;
    registration.update(member(3)).unwrap();
    server.start_again().await;
    says(&session, Some(3)).await;
    assert_eq!(
        *registration.states().borrow(),
        RegistrationState::Present(1)
    );
    // Removed by hand: it's made again.
    session.remove(&core(), None).await.unwrap();
    says(&session, Some(3)).await;
    registration.withdraw().await.unwrap();
    assert_eq!(pid(&session).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_made_again_after_expiry() {
    let server = Server::start().await;
    let other = server.session().await;
    let (session, link) = server.fragile().await;
    let registration = Registration::new(&session, core(), member(1), AT_ONCE).unwrap();
    becomes(&registration, RegistrationState::Present(1)).await;
    link.freeze(true);
    says(&other, None).await;
    registration.update(member(2)).unwrap();
    link.freeze(false);
    becomes(&registration, RegistrationState::Present(2)).await;
    assert_eq!(pid(&other).await, Some(2));
    drop(registration);
    says(&other, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_waits_for_its_former_process() {
    let server = Server::start().await;
    let (former, next) = (server.session().await, server.session().await);
    let held = Registration::new(&former, core(), member(1), AT_ONCE).unwrap();
    soon(held.present()).await.unwrap();
    let waiting = Registration::new(&next, core(), member(2), AT_ONCE).unwrap();
    becomes(&waiting, RegistrationState::Contended).await;
    assert_eq!(pid(&next).await, Some(1));
    former.close().await;
    becomes(&waiting, RegistrationState::Present(1)).await;
    assert_eq!(pid(&next).await, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_is_followed() {
    let server = Server::start().await;
    let writer = server.session().await;
    let (session, link) = server.fragile().await;
    let path = path::log_config();
    let log = |filter: &str| LogConfig {
        filter: filter.into(),
    };
    let live = LiveConfig::<LogConfig>::follow(&session, path.clone())
        .await
        .unwrap();
    assert_eq!(live.value(), None);
    let mut values = live.values();
    for round in 0..20 {
        let value = log(&round.to_string());
        writer
            .write(&path, value.clone(), Expect::Anything)
            .await
            .unwrap();
        if round % 3 == 0 {
            let value = Some(value);
            soon(values.wait_for(|present| *present == value))
                .await
                .unwrap();
        }
    }
    soon(values.wait_for(|present| *present == Some(log("19"))))
        .await
        .unwrap();
    writer.remove(&path, None).await.unwrap();
    soon(values.wait_for(Option::is_none)).await.unwrap();
    // Changed while we're cut off, and our session expires.
    link.freeze(true);
    let mut statuses = session.statuses();
    soon(statuses.wait_for(|status| status.state == towpath_coordination::SessionState::Expired))
        .await
        .unwrap();
    writer
        .write(&path, log("new"), Expect::Anything)
        .await
        .unwrap();
    link.freeze(false);
    soon(values.wait_for(|present| *present == Some(log("new"))))
        .await
        .unwrap();
    // What can't be read changes nothing; what comes after it does.
    let raw = zookeeper_client::Client::connect(&server.address().to_string())
        .await
        .unwrap();
    raw.set_data(path.as_str(), b"{broken", None).await.unwrap();
    writer
        .write(&path, log("good"), Expect::Anything)
        .await
        .unwrap();
    soon(values.wait_for(|present| *present == Some(log("good"))))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_written_at_its_pace() {
    let server = Server::start().await;
    let session = server.session().await;
    let (pipeline, task) = ("orders".parse().unwrap(), "replica".parse().unwrap());
    let progress = |rows| Progress {
        core: "core-1".parse().unwrap(),
        pid: 1,
        epoch: Epoch(7),
        state: TaskState::Running,
        gtid_set: String::new(),
        file: String::new(),
        position: 0,
        lag_ms: None,
        rows_per_second: rows,
        bytes_per_second: 0,
        snapshot: None,
        missing: String::new(),
        since: Timestamp::UNIX_EPOCH,
        updated: Timestamp::UNIX_EPOCH,
    };
    let pace = Duration::from_millis(300);
    let reporter = ProgressReporter::new(&session, &pipeline, &task, progress(0), pace).unwrap();
    soon(reporter.registration().present()).await.unwrap();
    for rows in 1..=1000 {
        reporter.report(progress(rows)).unwrap();
        tokio::task::yield_now().await;
    }
    let path = path::progress(&pipeline, &task);
    let entry = soon(async {
        loop {
            let entry = session.read::<Progress>(&path).await.unwrap().unwrap();
            if entry.value.record.rows_per_second == 1000 {
                break entry;
            }
        }
    })
    .await;
    assert!(entry.node_version < 10, "{} writes", entry.node_version);
    reporter.end().await.unwrap();
    assert_eq!(session.read::<Progress>(&path).await.unwrap(), None);
}
