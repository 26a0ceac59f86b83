//! Receivers that are down, slow, or refuse; programs; templates.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;
use towpath_monitor::Monitor;
use towpath_protocol::spec::AlertSpec;
use towpath_protocol::tree::record::AlertState;

use crate::support::*;

/// One hangs, one refuses, one has no secret; the fourth hears at once.
#[tokio::test]
async fn one_hook_never_holds_up_another() {
    let cluster = Cluster::start().await;
    let (slow, wrong, good) = tokio::join!(Receiver::start(), Receiver::start(), Receiver::start());
    slow.answer.send_replace(Answer::Hang);
    wrong.answer.send_replace(Answer::Status(404, ""));
    let hooks = format!(
        "{}{}{}{}secret = \"${{UNSET}}\"\n",
        slow.hook("slow"),
        wrong.hook("wrong"),
        good.hook("good"),
        good.hook("broken")
    );
    cluster.apply("orders", &hooks).await;
    let monitor = cluster.monitor("monitor-1").await;
    let broken = good.accepts().await.json();
    assert_eq!(broken["id"], "hook.orders.broken");
    assert!(
        broken["text"]
            .as_str()
            .unwrap()
            .contains("variable UNSET is not set")
    );
    cluster.fail("orders", "a").await;
    assert_eq!(good.accepts().await.json()["rule"], "failed");
    let alert = cluster
        .alert("failed.orders.replica", |alert| {
            alert.notified["wrong"].given_up.is_some()
        })
        .await;
    assert_eq!(
        alert.notified["wrong"].given_up.as_deref(),
        Some("HTTP 404")
    );
    assert_eq!(alert.notified["slow"].state, None, "still owed");
    status(&monitor, |status| {
        status.hooks["orders/wrong"].given_up == 2
    })
    .await;
    assert_eq!(wrong.accepted().len() + slow.accepted().len(), 0);
}

/// A receiver that is down for a while hears how it is then, once.
#[tokio::test]
async fn a_receiver_that_comes_back() {
    let cluster = Cluster::start().await;
    let receiver = Receiver::start().await;
    cluster.apply("orders", &receiver.hook("oncall")).await;
    receiver
        .answer
        .send_replace(Answer::Status(503, "retry-after: 1\r\n"));
    let monitor = cluster.monitor("monitor-1").await;
    cluster.fail("orders", "a").await;
    let first = receiver.next().await;
    let began = std::time::Instant::now();
    let second = receiver.next().await;
    assert!(began.elapsed().as_millis() >= 900, "as it asked");
    assert_eq!((first.accepted, first.key()), (false, second.key()));
    // Fires, ends and fires again meanwhile: what counts is how it is.
    cluster.mend("orders").await;
    cluster
        .alert("failed.orders.replica", |alert| {
            alert.state == AlertState::Resolved
        })
        .await;
    cluster.fail("orders", "b").await;
    cluster
        .alert("failed.orders.replica", |alert| {
            alert.state == AlertState::Firing
        })
        .await;
    receiver.answer.send_replace(OK);
    let told = receiver.accepts().await;
    assert_eq!(told.json()["state"], "firing");
    assert!(told.json()["text"].as_str().unwrap().contains(": b"));
    cluster.mend("orders").await;
    assert_eq!(receiver.accepts().await.json()["state"], "resolved");
    monitor.stop().await;
    assert_eq!(receiver.accepted().len(), 2);
}

#[tokio::test]
async fn bodies_programs_and_the_monitors_own_hooks() {
    let cluster = Cluster::start().await;
    let receiver = Receiver::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("told");
    let script = "cat >> $0.json; echo \"$TOWPATH_ALERT_STATE $TOWPATH_ALERT_SUBJECT ${HOOK_SECRET-none}\" >> $0";
    let hooks = format!(
        "{}body = '''{{\"msg\": \"{{{{severity}}}} {{{{text}}}}\"}}'''\n\
         [[alert.hook]]\nname = \"script\"\nkind = \"command\"\n\
         command = [\"/bin/sh\", \"-c\", '''{}''', \"{}\"]\n\
         [[alert.hook]]\nname = \"journal\"\nkind = \"log\"\n",
        receiver.hook("chat"),
        script.replace("${", "$${"),
        file.display()
    );
    cluster.apply("orders", &hooks).await;
    let own = dir.path().join("hooks.toml");
    let own_receiver = Receiver::start().await;
    std::fs::write(&own, own_receiver.hook("ops")).unwrap();
    let mut options = cluster.options("monitor-1", cluster.address);
    options.hooks = AlertSpec::load_hooks(&own, &|_| None).unwrap();

    // Programs are refused where nobody has allowed them.
    let careful = Monitor::start(options.clone()).await.unwrap();
    let refused = cluster.alert("hook.orders.script", |_| true).await;
    assert!(
        refused.text.contains("--allow-command-hooks"),
        "{}",
        refused.text
    );
    receiver.accepts().await;
    careful.stop().await;
    options.allow_command_hooks = true;
    let monitor = Monitor::start(options).await.unwrap();
    cluster
        .alert("hook.orders.script", |alert| {
            alert.state == AlertState::Resolved
        })
        .await;
    receiver.accepts().await;

    cluster.fail("orders", "\"quoted\"\n").await;
    let told = receiver.accepts().await.json();
    let text = told["msg"].as_str().unwrap();
    assert!(
        text.starts_with("critical failed on core-1: \"quoted\"\n"),
        "{text}"
    );
    let alert = cluster
        .alert("failed.orders.replica", |alert| {
            let told = |hook: &str| alert.notified[hook].state == Some(AlertState::Firing);
            told("script") && told("journal")
        })
        .await;
    assert_eq!(
        alert.notified.len(),
        3,
        "not those of the Monitor: {alert:?}"
    );
    let said = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        said, "firing orders/replica none\n",
        "and it has none of our secrets"
    );
    let json = std::fs::read_to_string(file.with_extension("json")).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["state"],
        "firing"
    );

    cluster.probe(false).await;
    assert_eq!(
        own_receiver.accepts().await.json()["id"],
        "source-down.primary"
    );
    cluster.probe(true).await;
    assert_eq!(own_receiver.accepts().await.json()["state"], "resolved");
    monitor.stop().await;
    assert_eq!(own_receiver.accepted().len(), 2);
}

/// An authority of one's own is trusted where it's given, and nowhere else.
#[tokio::test]
async fn a_receiver_with_tls() {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, own.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let receiver = Receiver::listen(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let hook = |name: &str| receiver.hook(name).replace("http:", "https:");
    let hooks = format!(
        "{}{}tls_ca = \"{}\"\n",
        hook("stranger"),
        hook("trusting"),
        file.display()
    );
    cluster.apply("orders", &hooks).await;
    let monitor = cluster.monitor("monitor-1").await;
    cluster.fail("orders", "a").await;
    assert_eq!(receiver.accepts().await.json()["state"], "firing");
    status(&monitor, |status| {
        let hook = status.hooks.get("orders/stranger").copied();
        hook.is_some_and(|hook| hook.failed > 0 && hook.pending == 1)
    })
    .await;
    assert_eq!(receiver.accepted().len(), 1);
}
