use std::time::Duration;

use towpath_coordination::{CoordinationError, Lock, LockMode, Session};
use towpath_protocol::tree::path;

use crate::support::{Server, soon};

const LONG: Duration = Duration::from_secs(20);

async fn acquire(
    session: &Session,
    mode: LockMode,
    owner: &str,
    within: Duration,
) -> Result<Lock, CoordinationError> {
    let name = "orders.replica".parse().unwrap();
    Lock::acquire(session, &name, mode, owner, "test", within).await
}

/// Waits until that many wait or hold.
async fn in_line(session: &Session, count: usize) {
    let parent = path::lock(&"orders.replica".parse().unwrap());
    soon(async {
        while session.children(&parent).await.unwrap().len() != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_come_first_served_and_readers_never_starve_a_writer() {
    let server = Server::start().await;
    let session = server.session().await;
    let reader_1 = acquire(&session, LockMode::Shared, "r1", LONG)
        .await
        .unwrap();
    let reader_2 = acquire(&session, LockMode::Shared, "r2", LONG)
        .await
        .unwrap();
    let (order, mut served) = tokio::sync::mpsc::unbounded_channel();
    for (place, (owner, mode)) in [
        ("w1", LockMode::Exclusive),
        ("r3", LockMode::Shared),
        ("r4", LockMode::Shared),
        ("w2", LockMode::Exclusive),
    ]
    .into_iter()
    .enumerate()
    {
        let (session, order) = (session.clone(), order.clone());
        let other = session.clone();
        tokio::spawn(async move {
            let lock = acquire(&session, mode, owner, LONG).await.unwrap();
            assert!(lock.is_held());
            order.send((owner, lock)).unwrap();
        });
        in_line(&other, place + 3).await;
    }
    assert!(served.try_recv().is_err(), "both readers hold");
    reader_1.release().await.unwrap();
    assert!(served.try_recv().is_err(), "one reader holds");
    reader_2.release().await.unwrap();
    let (owner, writer) = soon(served.recv()).await.unwrap();
    assert_eq!(owner, "w1");
    in_line(&session, 4).await;
    assert!(served.try_recv().is_err(), "the writer is alone");
    drop(writer);
    let (first, reader_3) = soon(served.recv()).await.unwrap();
    let (second, reader_4) = soon(served.recv()).await.unwrap();
    let mut readers = [first, second];
    readers.sort_unstable();
    assert_eq!(readers, ["r3", "r4"], "they share");
    reader_3.release().await.unwrap();
    assert!(served.try_recv().is_err(), "the last writer waits for both");
    reader_4.release().await.unwrap();
    assert_eq!(soon(served.recv()).await.unwrap().0, "w2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_and_says_who_holds() {
    let server = Server::start().await;
    let session = server.session().await;
    let held = acquire(&session, LockMode::Exclusive, "anna", LONG)
        .await
        .unwrap();
    let short = Duration::from_millis(300);
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let error = acquire(&session, mode, "ben", short).await.unwrap_err();
        let CoordinationError::LockBusy { holder, .. } = &error else {
            panic!("{error}")
        };
        assert!(holder.starts_with("anna (test)"), "{error}");
    }
    in_line(&session, 1).await;
    held.release().await.unwrap();
    in_line(&session, 0).await;
    acquire(&session, LockMode::Exclusive, "ben", LONG)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_holder_doubts_before_another_holds() {
    let server = Server::start().await;
    let (frozen, link) = server.fragile().await;
    let healthy = server.session().await;
    let held = acquire(&frozen, LockMode::Exclusive, "a", LONG)
        .await
        .unwrap();
    link.freeze(true);
    let next = tokio::spawn(async move { acquire(&healthy, LockMode::Exclusive, "b", LONG).await });
    soon(held.doubtful()).await;
    assert!(!held.is_held());
    assert!(!next.is_finished(), "doubtful before another holds");
    assert!(soon(next).await.unwrap().unwrap().is_held());
}
