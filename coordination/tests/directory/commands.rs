use std::time::Duration;

use serde_json::{Value, json};
use towpath_coordination::{CommandQueue, CoordinationError, Inbox, Patience, Session};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{Action, Answer, Outcome};
use towpath_protocol::tree::{MemberId, path};

use crate::support::{Server, soon};

const PATIENCE: Patience = Patience {
    take: Duration::from_secs(10),
    answer: Duration::from_secs(10),
};

fn pipeline() -> PipelineName {
    "orders".parse().unwrap()
}

fn queue() -> CommandQueue {
    CommandQueue::Pipeline(pipeline())
}

async fn ask(
    session: &Session,
    action: Action,
    patience: Patience,
) -> Result<Answer, CoordinationError> {
    soon(session.command(&queue(), None, action, "anna", patience)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_taken_once_and_answered() {
    let server = Server::start().await;
    let asker = server.session().await;
    let (taken, mut done) = tokio::sync::mpsc::unbounded_channel();
    for core in ["core-1", "core-2"] {
        let session = server.session().await;
        let taken = taken.clone();
        tokio::spawn(async move {
            let mut inbox = Inbox::new(&session, queue(), core);
            loop {
                let command = inbox.next(|_| true).await.unwrap();
                let Action::Move { to } = &command.command().action else {
                    panic!("{command:?}")
                };
                taken.send(to.clone()).unwrap();
                let text = format!("{to} by {core}");
                let answer = command.answer(Outcome::Done, text, json!({"moved": 1}));
                answer.await.unwrap();
            }
        });
    }
    for number in 0..10 {
        let to: MemberId = format!("core-{number}").parse().unwrap();
        let action = Action::Move { to: to.clone() };
        let answer = ask(&asker, action, PATIENCE).await.unwrap();
        assert_eq!(answer.outcome, Outcome::Done);
        assert!(answer.text.starts_with(to.as_str()), "{answer:?}");
        assert_eq!(answer.details["moved"], 1);
        assert_eq!(done.recv().await, Some(to));
    }
    assert!(done.try_recv().is_err(), "each was taken once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_takes_is_removed() {
    let server = Server::start().await;
    let asker = server.session().await;
    let patience = Patience {
        take: Duration::from_millis(300),
        ..PATIENCE
    };
    let error = ask(&asker, Action::Stop, patience).await.unwrap_err();
    assert!(
        matches!(error, CoordinationError::NobodyTook { .. }),
        "{error}"
    );
    let commands = path::commands(&pipeline());
    assert_eq!(asker.children(&commands).await.unwrap(), [""; 0]);

    // One that its asker couldn't remove is never begun, but removed.
    let abandoned = tokio::spawn({
        let asker = asker.clone();
        async move { ask(&asker, Action::Stop, patience).await }
    });
    soon(async {
        while asker.children(&commands).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    abandoned.abort();
    tokio::time::sleep(patience.take).await;
    let mut inbox = Inbox::new(&asker, queue(), "core-1");
    let begun = tokio::time::timeout(patience.take, inbox.next(|_| true)).await;
    assert!(begun.is_err(), "{begun:?}");
    assert_eq!(asker.children(&commands).await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_isn_t_answered_says_who_has_it() {
    let server = Server::start().await;
    let asker = server.session().await;
    let patience = Patience {
        answer: Duration::from_millis(300),
        ..PATIENCE
    };
    let mut inbox = Inbox::new(&asker, queue(), "core-1");
    let (answer, taken) = tokio::join!(
        ask(&asker, Action::Pause, patience),
        soon(inbox.next(|_| true))
    );
    let error = answer.unwrap_err();
    let CoordinationError::Unanswered { by, path, .. } = &error else {
        panic!("{error}")
    };
    let taken = taken.unwrap();
    assert_eq!((&**by, path), ("core-1", taken.path()));
    taken
        .answer(Outcome::Done, "late", Value::Null)
        .await
        .unwrap();
    let node = asker
        .read::<towpath_protocol::tree::record::Command>(path)
        .await
        .unwrap();
    assert_eq!(node.unwrap().value.record.answer.unwrap().text, "late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_action_is_refused_by_the_one_who_says_so() {
    let server = Server::start().await;
    let asker = server.session().await;
    let session = server.session().await;
    tokio::spawn(async move {
        let mut picky = Inbox::new(&session, queue(), "core-1");
        let mut keeper = Inbox::new(&session, queue(), "server-1");
        let unknown = keeper.next(|command| matches!(command.action, Action::Other(_)));
        let known = picky.next(|command| !matches!(command.action, Action::Other(_)));
        tokio::select! {
            command = unknown => {
                let command = command.unwrap();
                command.answer(Outcome::Refused, "not known here", Value::Null).await.unwrap();
            }
            command = known => panic!("{command:?}"),
        }
    });
    let action = Action::Other(json!({"kind": "teleport", "to": "mars"}));
    let answer = ask(&asker, action, PATIENCE).await.unwrap();
    assert_eq!(
        (answer.outcome, &*answer.text),
        (Outcome::Refused, "not known here")
    );
}
