//! Alerts reach a real receiver, every transition exactly once, whatever dies meanwhile: a sink, a
//! Core, the Monitor that leads. Everything here is a process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use towpath_coordination::{ConnectOptions, Session};
use towpath_protocol::tree::AlertId;
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{Alert, AlertState};
use towpath_testing::bank::{Bank, Load, LoadSettings};
use towpath_testing::cluster::ready;
use towpath_testing::{Cluster, TowpathProcess, gtid_executed, wait_until};

use crate::harness::{Pair, Pipeline, WAIT, stop};

const SECRET: &str = "tr0ub4dor&3";
/// What a receiver of recorded requests would still believe, as docs/alerts.md proposes.
const FRESH_S: i64 = 300;

/// Accepts what is signed by us, and remembers it.
struct Receiver {
    url: String,
    told: Told,
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Request>>>);

/// What was accepted: the header that tells repetitions, and the body.
#[derive(Clone, Debug)]
struct Request {
    key: String,
    body: Value,
}

impl Request {
    fn field(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }
}

impl Receiver {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/alerts", listener.local_addr()?);
        let told = Told::default();
        let router = Router::new()
            .route("/alerts", post(take))
            .with_state(told.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, told })
    }

    fn told(&self) -> Vec<Request> {
        self.told.0.lock().unwrap().clone()
    }

    fn hook(&self, name: &str) -> String {
        format!(
            "[[alert.hook]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{}\"\n\
             secret = \"${{HOOK_SECRET}}\"\n",
            self.url
        )
    }
}

async fn take(State(told): State<Told>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(signature), Some(key)) = (header("towpath-signature"), header("idempotency-key"))
    else {
        return StatusCode::BAD_REQUEST;
    };
    if !is_genuine(signature, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(body) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let key = key.to_owned();
    told.0.lock().unwrap().push(Request { key, body });
    StatusCode::NO_CONTENT
}

/// As docs/alerts.md says that a receiver should.
fn is_genuine(signature: &str, body: &[u8]) -> bool {
    let fields: BTreeMap<&str, &str> = signature
        .split(',')
        .filter_map(|field| field.split_once('='))
        .collect();
    let (Some(time), Some(mac)) = (fields.get("t"), fields.get("v1")) else {
        return false;
    };
    let age = time
        .parse::<i64>()
        .map(|time| jiff::Timestamp::now().as_second() - time);
    let message = [time.as_bytes(), b".", body].concat();
    let expected: String = hmac_sha256(SECRET.as_bytes(), &message)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    age.is_ok_and(|age| age.abs() < FRESH_S) && *mac == expected
}

/// RFC 2104, for keys that aren't longer than a block.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| -> [u8; 64] {
        std::array::from_fn(|at| key.get(at).copied().unwrap_or_default() ^ pad)
    };
    let inner = Sha256::digest([&padded(0x36), message].concat());
    Sha256::digest([&padded(0x5c)[..], &inner].concat()).to_vec()
}

struct Monitor {
    process: TowpathProcess,
    http: String,
}

impl Monitor {
    /// Whether it leads, as its metrics tell.
    async fn leads(&self) -> Result<bool> {
        let mut stream = TcpStream::connect(&self.http).await?;
        let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let mut lines = answer.lines();
        let leads = lines.find_map(|line| line.strip_prefix("towpath_monitor_leads "));
        let leads: f64 = leads
            .with_context(|| format!("no such metric in {answer}"))?
            .parse()?;
        Ok(leads > 0.0)
    }
}

/// A pipeline with a load on its source, Cores, and two Monitors that tell one receiver.
struct Scene {
    cores: BTreeMap<String, TowpathProcess>,
    monitors: Vec<Monitor>,
    load: Load,
    session: Session,
    cluster: Cluster,
    pipeline: Pipeline,
    pair: Pair,
    receiver: Receiver,
}

impl Scene {
    async fn start(cores: &[&str]) -> Result<Self> {
        let program = env!("CARGO_BIN_EXE_towpath").into();
        let (pair, cluster) = tokio::try_join!(Pair::start(), Cluster::start(Some(program)))?;
        let receiver = Receiver::start().await?;
        let (mut source, mut sink) = pair.conns().await?;
        let mut pipeline = pair.pipeline("bank", &[]).await?;
        let bank = Bank::new("bank");
        bank.create(&mut source).await?;
        bank.create(&mut sink).await?;
        pipeline.start = format!("gtid:{}", gtid_executed(&mut source).await?);
        pipeline.further = format!(
            "[alert]\nnot_running_after = \"1s\"\nno_standby_after = \"1s\"\nlag_max = \"2s\"\n{}",
            receiver.hook("oncall")
        );
        pipeline.write()?;
        let hooks = cluster.path().join("hooks.toml");
        std::fs::write(&hooks, receiver.hook("ops"))?;
        let mut monitors = Vec::new();
        for id in ["monitor-1", "monitor-2"] {
            let process = cluster
                .monitor(id)
                .arg("--hooks")
                .arg(&hooks)
                .env("HOOK_SECRET", SECRET)
                .spawn()?;
            let http = ready(&process).await?["http"].clone();
            let http = http.as_str().context("an address")?.to_owned();
            monitors.push(Monitor { process, http });
        }
        let options = ConnectOptions::new([cluster.directory()]);
        let settings = LoadSettings {
            rate_max: Some(50),
            ..LoadSettings::default()
        };
        let mut scene = Self {
            session: Session::connect(options).await?,
            load: bank.start_load(&pair.source.url("app"), &settings)?,
            cores: BTreeMap::new(),
            monitors,
            cluster,
            pipeline,
            pair,
            receiver,
        };
        for core in cores {
            scene.start_core(core)?;
        }
        scene.cluster.apply(&scene.pipeline.file).await?;
        wait_until("all Cores to stand", WAIT, async || {
            let task = scene.task().await?;
            let standby = task["standby"].as_array().map_or(0, Vec::len);
            Ok(task["running"].is_object() && standby + 1 == cores.len())
        })
        .await?;
        Ok(scene)
    }

    fn start_core(&mut self, id: &str) -> Result<()> {
        let core = self.cluster.core(id).spawn()?;
        self.cores.insert(id.to_owned(), core);
        Ok(())
    }

    /// The pipeline's task, as `towpath status` tells.
    async fn task(&self) -> Result<Value> {
        let mut status = self.cluster.json("status").await?;
        Ok(status["pipelines"][0]["tasks"][0].take())
    }

    async fn alerts(&self) -> Result<BTreeMap<String, Alert>> {
        let mut alerts = BTreeMap::new();
        for name in self.session.children(&path::alerts()).await? {
            let id: AlertId = name.parse()?;
            if let Some(entry) = self.session.read::<Alert>(&path::alert(&id)).await? {
                alerts.insert(name, entry.value.record);
            }
        }
        Ok(alerts)
    }

    /// Waits until these fire, and their hooks' answers are in the tree.
    async fn until_firing(&self, wanted: &[&str]) -> Result<()> {
        self.until(&format!("{wanted:?} to fire and be told"), |alerts| {
            let fires = |id: &&str| {
                alerts
                    .get(*id)
                    .is_some_and(|alert| alert.state == AlertState::Firing)
            };
            wanted.iter().all(fires) && alerts.values().all(is_told)
        })
        .await
    }

    /// Waits until nothing fires, and that is told. A failover is told for five minutes.
    async fn until_over(&self) -> Result<()> {
        self.until("all alerts to end and be told", |alerts| {
            alerts
                .values()
                .all(|alert| is_told(alert) && (is_over(alert) || alert.rule == "failover"))
        })
        .await
    }

    async fn until(
        &self,
        what: &str,
        are: impl Fn(&BTreeMap<String, Alert>) -> bool,
    ) -> Result<()> {
        let mut alerts = BTreeMap::new();
        wait_until(what, 2 * WAIT, async || {
            alerts = self.alerts().await?;
            Ok(are(&alerts))
        })
        .await
        .with_context(|| {
            let tails: Vec<_> = self.cores.values().map(TowpathProcess::tail).collect();
            format!("{alerts:#?}\n{}", tails.join("\n"))
        })
    }

    /// kill -9 to the Monitor that leads; the other one leads then.
    async fn kill_leader(&mut self) -> Result<()> {
        let mut leader = None;
        wait_until("a Monitor to lead", WAIT, async || {
            for (n, monitor) in self.monitors.iter().enumerate() {
                if monitor.leads().await? {
                    leader = Some(n);
                }
            }
            Ok(leader.is_some())
        })
        .await?;
        let dead = self.monitors.remove(leader.context("no leader")?);
        dead.process.kill9()?;
        let [left] = &self.monitors[..] else {
            bail!("one Monitor is left");
        };
        wait_until("the other one to lead", WAIT, async || left.leads().await).await
    }

    /// Ends everything in order, and looks at what the receiver was told in all: each of `wanted`
    /// fired and ended as often as it was struck, and nothing was said twice.
    async fn end(self, wanted: &[&str], times: usize) -> Result<()> {
        for monitor in &self.monitors {
            stop(&monitor.process).await?;
        }
        let told = self.receiver.told();
        let mut keys: Vec<&str> = told.iter().map(|told| &*told.key).collect();
        keys.sort_unstable();
        for pair in keys.windows(2) {
            ensure!(pair[0] != pair[1], "{} was told twice", pair[0]);
        }
        let mut of: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
        for request in &told {
            ensure!(request.key == request.field("notification"), "{request:?}");
            of.entry(request.field("id")).or_default().push(request);
        }
        for (id, requests) in &of {
            for (n, request) in requests.iter().enumerate() {
                let state = ["firing", "resolved"][n % 2];
                ensure!(request.field("state") == state, "{id}: {requests:#?}");
            }
            for transition in requests.chunks_exact(2) {
                let since = |n: usize| transition[n].field("since");
                ensure!(since(0) == since(1), "{id}: {requests:#?}");
            }
            let is_even = requests.len().is_multiple_of(2);
            ensure!(
                is_even || id.starts_with("failover."),
                "{id} doesn't end: {requests:#?}"
            );
        }
        for id in wanted {
            let count = of.get(id).map_or(0, Vec::len);
            ensure!(count == 2 * times, "{id}: {count} in {told:#?}");
        }
        // What all this was about goes on.
        self.load.stop().await?;
        let (mut source, mut sink) = self.pair.conns().await?;
        let core = self.cores.values().next().context("a Core")?;
        self.pipeline.caught_up(core, &mut source, &mut sink).await
    }
}

fn is_over(alert: &Alert) -> bool {
    alert.state == AlertState::Resolved
}

fn is_told(alert: &Alert) -> bool {
    let mut hooks = alert.notified.values();
    !alert.notified.is_empty()
        && hooks.all(|hook| hook.state.as_ref() == Some(&alert.state) && hook.given_up.is_none())
}

/// Both ways: as it is, and with the Monitor that leads killed between the two transitions.
const LEADER_DIES: [bool; 2] = [false, true];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_dies_and_comes_back_is_told_once() -> Result<()> {
    let mut scene = Scene::start(&["core-1"]).await?;
    let wanted = ["not-running.bank.replica"];
    for leader_dies in LEADER_DIES {
        scene.pair.sink.kill9()?;
        scene.until_firing(&wanted).await?;
        if leader_dies {
            scene.kill_leader().await?;
        }
        scene.pair.sink.restart().await?;
        scene.until_over().await?;
    }
    scene.end(&wanted, LEADER_DIES.len()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_core_that_dies_is_told_once() -> Result<()> {
    let mut scene = Scene::start(&["core-1"]).await?;
    let wanted = ["core-lost.core-1", "not-running.bank.replica"];
    for leader_dies in LEADER_DIES {
        scene.cores["core-1"].kill9()?;
        scene.until_firing(&wanted).await?;
        if leader_dies {
            scene.kill_leader().await?;
        }
        scene.start_core("core-1")?;
        scene.until_over().await?;
    }
    scene.end(&wanted, LEADER_DIES.len()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_told_once() -> Result<()> {
    let mut scene = Scene::start(&["core-1", "core-2"]).await?;
    let task = scene.task().await?;
    let victim = task["running"]["core"].as_str().context("a Core")?;
    let lost = format!("core-lost.{victim}");
    let ends = [lost.as_str(), "no-standby.bank.replica"];
    scene.cores[victim].kill9()?;
    scene
        .until_firing(&[ends[0], ends[1], "failover.bank.replica"])
        .await?;
    scene.kill_leader().await?;
    scene.start_core(victim)?;
    scene.until_over().await?;
    let failovers = scene.receiver.told();
    let failovers = failovers
        .iter()
        .filter(|told| told.field("rule") == "failover");
    ensure!(failovers.count() == 1, "{:#?}", scene.receiver.told());
    scene.end(&ends, 1).await
}

#[test]
fn what_is_not_signed_by_us_is_not_genuine() {
    let now = jiff::Timestamp::now().as_second();
    let mac = |time: i64, body: &str| -> String {
        let message = format!("{time}.{body}");
        let mac = hmac_sha256(SECRET.as_bytes(), message.as_bytes());
        mac.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    // RFC 4231, test case 2.
    let known = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
    assert_eq!(known[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    let signature = |time: i64, body: &str| format!("t={time},v1={}", mac(time, body));
    assert!(is_genuine(&signature(now, "{}"), b"{}"));
    assert!(!is_genuine(&signature(now, "{}"), b"{ }"));
    assert!(!is_genuine(&signature(now - 2 * FRESH_S, "{}"), b"{}"));
    assert!(!is_genuine("t=1", b"{}"));
}
