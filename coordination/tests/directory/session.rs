use std::time::{Duration, Instant};

use towpath_coordination::{ConnectOptions, CoordinationError, Expect, Session, SessionState};
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::LogConfig;

use crate::support::{Server, soon, state};

fn log(filter: &str) -> LogConfig {
    LogConfig {
        filter: filter.into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnected_comes_well_before_the_directory_gives_ours_away() {
    let server = Server::start().await;
    let (session, link) = server.fragile().await;
    assert_eq!(session.timeout(), Duration::from_secs(1));
    link.freeze(true);
    let frozen = Instant::now();
    state(&session, SessionState::Disconnected).await;
    assert!(frozen.elapsed() < Duration::from_millis(900));
    state(&session, SessionState::Expired).await;
    assert!(frozen.elapsed() > Duration::from_secs(1));
    assert_eq!(session.status().incarnation, 1);
    link.freeze(false);
    state(&session, SessionState::Connected).await;
    assert_eq!(session.status().incarnation, 2);
    session.close().await;
    assert_eq!(session.status().state, SessionState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_after_a_restart_of_the_server() {
    let mut server = Server::start().await;
    let session = server.session().await;
    server.stop().await;
    state(&session, SessionState::Disconnected).await;
    let path = path::log_config();
    let writer = session.clone();
    let write = tokio::spawn(async move {
        let path = path::log_config();
        writer.write(&path, log("info"), Expect::Anything).await
    });
    server.start_again().await;
    state(&session, SessionState::Connected).await;
    assert_eq!(session.status().incarnation, 1);
    soon(write).await.unwrap().unwrap();
    let read = session.read::<LogConfig>(&path).await.unwrap().unwrap();
    assert_eq!(read.value.record, log("info"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_addresses_is_enough() {
    let server = Server::start().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap().to_string();
    drop(closed);
    let session = Session::connect(ConnectOptions::new([
        nobody.clone(),
        server.address().to_string(),
    ]));
    soon(session).await.unwrap();

    let mut options = ConnectOptions::new([nobody]);
    options.connect_timeout = Duration::from_millis(300);
    let error = soon(Session::connect(options)).await.unwrap_err();
    assert!(
        matches!(error, CoordinationError::Unreachable { .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_under_a_condition() {
    let server = Server::start().await;
    let session = server.session().await;
    let path = path::log_config();
    assert_eq!(session.read::<LogConfig>(&path).await.unwrap(), None);
    let version = session
        .write(&path, log("a"), Expect::Absent)
        .await
        .unwrap();
    let error = session
        .write(&path, log("b"), Expect::Absent)
        .await
        .unwrap_err();
    assert!(matches!(error, CoordinationError::Exists { .. }), "{error}");
    let next = session
        .write(&path, log("b"), Expect::Version(version))
        .await
        .unwrap();
    let error = session
        .write(&path, log("c"), Expect::Version(version))
        .await
        .unwrap_err();
    assert!(
        matches!(error, CoordinationError::Changed { .. }),
        "{error}"
    );
    let error = session.remove(&path, Some(version)).await.unwrap_err();
    assert!(
        matches!(error, CoordinationError::Changed { .. }),
        "{error}"
    );
    // What came in the place of the record that is meant stays.
    let is = |value: &'static str| move |found: &LogConfig| *found == log(value);
    session.remove_record(&path, is("a")).await.unwrap();
    assert_eq!(
        session
            .read::<LogConfig>(&path)
            .await
            .unwrap()
            .map(|found| found.node_version),
        Some(next)
    );
    session.remove_record(&path, is("b")).await.unwrap();
    assert_eq!(session.read::<LogConfig>(&path).await.unwrap(), None);
    session.remove_record(&path, is("b")).await.unwrap();
    session.remove(&path, None).await.unwrap();
    // A parent without a record counts as absent.
    let parent = path.parent().unwrap();
    session
        .write(&parent, log("x"), Expect::Absent)
        .await
        .unwrap();
    assert_eq!(session.children(&parent).await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_founded_once() {
    let server = Server::start().await;
    let (a, b) = (server.session().await, server.session().await);
    let (a, b) = tokio::join!(a.found_cluster(), b.found_cluster());
    assert_eq!(a.unwrap(), b.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_made_is_closed_to_others() {
    let server = Server::start().await;
    let mut options = ConnectOptions::new([server.address().to_string()]);
    options.digest = Some("bus:secret".into());
    let session = Session::connect(options).await.unwrap();
    let path = path::log_config();
    session
        .write(&path, log("a"), Expect::Absent)
        .await
        .unwrap();
    let other = server.session().await;
    let error = other.read::<LogConfig>(&path).await.unwrap_err();
    assert!(
        matches!(error, CoordinationError::Forbidden { .. }),
        "{error}"
    );
}
