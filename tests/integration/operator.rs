//! Every verb through real processes, refusals included: what an operator reads, the exit code, and
//! how long it takes when nobody answers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use towpath_testing::cluster::ready;
use towpath_testing::{Cluster, TcpProxy, TowpathProcess, wait_until};

use crate::harness::{Pair, Pipeline, WAIT, number};

/// What a verb may take when no directory answers: it tries to connect for 5 s.
const LOST_MAX: Duration = Duration::from_secs(15);

/// A pipeline `orders` on two Cores.
struct Scene {
    cores: [TowpathProcess; 2],
    cluster: Cluster,
    pipeline: Pipeline,
    pair: Pair,
}

impl Scene {
    async fn start() -> Result<Self> {
        let program = env!("CARGO_BIN_EXE_towpath").into();
        let (pair, cluster) = tokio::try_join!(Pair::start(), Cluster::start(Some(program)))?;
        let pipeline = pair
            .pipeline("orders", &["CREATE TABLE t (id INT PRIMARY KEY)"])
            .await?;
        pipeline.write()?;
        let cores = [
            cluster.core("core-1").spawn()?,
            cluster.core("core-2").spawn()?,
        ];
        for core in &cores {
            ready(core).await?;
        }
        let scene = Self {
            cores,
            cluster,
            pipeline,
            pair,
        };
        let said = scene.cluster.apply(&scene.pipeline.file).await?;
        ensure!(said.code == Some(0), "{said:?}");
        ensure!(said.out.contains("revision 1 is in force"), "{said:?}");
        Ok(scene)
    }

    /// Waits until one runs it and another stands by; says who.
    async fn settled(&self) -> Result<(String, String)> {
        let mut found = None;
        wait_until("a Core to run it and one to stand by", WAIT, async || {
            let status = self.cluster.json("status").await?;
            let task = &status["pipelines"][0]["tasks"][0];
            let core = |at: &str| task.pointer(at).and_then(Value::as_str).map(str::to_owned);
            found = core("/running/core").zip(core("/standby/0/core"));
            Ok(found.is_some())
        })
        .await?;
        found.context("nobody runs it")
    }

    async fn is_drained(&self, core: &str) -> Result<bool> {
        let described = self.cluster.json(&format!("describe core/{core}")).await?;
        Ok(!described["drained"].is_null())
    }

    /// Each must end so, and say this: on standard output if it's done, else on standard error.
    async fn expect(&self, table: &[(&str, i32, &str)]) -> Result<()> {
        for (words, code, part) in table {
            let said = self.cluster.ask(words).await?;
            ensure!(said.code == Some(*code), "towpath {words}: {said:#?}");
            let (text, other) = match code {
                0 => (&said.out, &said.err),
                _ => (&said.err, &said.out),
            };
            ensure!(
                text.contains(part),
                "towpath {words}: {part:?} in {said:#?}"
            );
            ensure!(other.is_empty(), "towpath {words}: {said:#?}");
            // A usage error has its own form.
            // An error with a code says on a line of its own where it is explained.
            let is_ours = |line: &str| {
                ["towpath: ", "error[TP", "  towpath explain TP"]
                    .iter()
                    .any(|start| line.starts_with(start))
            };
            let is_told = *code != 1 || text.lines().all(is_ours);
            ensure!(is_told, "towpath {words}: who says that? {said:#?}");
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verbs_do_what_they_say_or_say_why_not() -> Result<()> {
    let scene = Scene::start().await?;
    let (runs, stands_by) = scene.settled().await?;

    scene
        .expect(&[
            // Names that are not there.
            ("status ordres", 1, "did you mean orders?"),
            ("describe ordres", 1, "did you mean orders?"),
            ("describe core/core-9", 1, "there is no thing called"),
            ("history ordres", 1, "did you mean orders?"),
            ("start ordres", 1, "did you mean orders?"),
            ("stop nothing", 1, "the only one is orders"),
            ("pause ordres", 1, "did you mean orders?"),
            ("resume ordres", 1, "did you mean orders?"),
            ("delete ordres --yes", 1, "did you mean orders?"),
            ("move ordres --to core-1", 1, "did you mean orders?"),
            (
                "move orders --to core-33",
                1,
                "there is no Core \"core-33\"",
            ),
            (
                "move orders/replicas --to core-1",
                1,
                "did you mean replica?",
            ),
            ("drain core-33", 1, "there is no Core \"core-33\""),
            ("undrain core-1", 1, "there is no drained Core \"core-1\""),
            ("ack lag.orders.replica", 1, "there is no alert"),
            ("get everything", 2, "possible values: pipelines"),
            ("pause", 2, "PIPELINE"),
            ("log-level loud=loud", 2, "level"),
            // Where it is already.
            ("start orders", 0, "nothing to do: orders is running"),
            ("resume orders", 0, "nothing to do: orders is running"),
            (
                &format!("move orders --to {runs}"),
                0,
                &format!("nothing to do: orders/replica is on {runs} already"),
            ),
            // In the wrong state.
            ("delete orders", 1, "nothing was deleted; --yes says yes"),
            (
                "delete orders --yes",
                1,
                "refused, nothing was changed: orders is running",
            ),
            ("delete orders --yes", 1, "towpath stop orders first"),
            ("pause orders", 0, "orders: orders is paused"),
            ("pause orders", 0, "nothing to do: orders is paused"),
            (
                "start orders",
                1,
                "refused, nothing was changed: orders is paused; towpath resume orders",
            ),
            ("resume orders", 0, "orders: orders is running"),
            // To a Core that gets no work.
            (
                &format!("drain {stands_by} --reason kernel"),
                0,
                &format!("{stands_by} is drained: it has no work"),
            ),
            (
                &format!("drain {stands_by}"),
                0,
                &format!("nothing to do: {stands_by} is drained already"),
            ),
            (
                &format!("move orders --to {stands_by}"),
                1,
                &format!("{stands_by} is drained; towpath undrain {stands_by}"),
            ),
        ])
        .await?;
    ensure!(scene.is_drained(&stands_by).await?);
    scene
        .expect(&[(
            &format!("undrain {stands_by}"),
            0,
            &format!("{stands_by} may get work"),
        )])
        .await?;
    scene.settled().await?;
    scene
        .expect(&[(
            &format!("move orders --to {stands_by}"),
            0,
            &format!("orders/replica is on {stands_by}"),
        )])
        .await?;
    let (now_runs, _) = scene.settled().await?;
    ensure!(now_runs == stands_by, "{now_runs} runs it");

    // It moves data there.
    let (mut source, mut sink) = scene.pair.conns().await?;
    source
        .query_drop("INSERT INTO orders.t VALUES (1), (2)")
        .await?;
    let [core, _] = &scene.cores;
    scene
        .pipeline
        .caught_up(core, &mut source, &mut sink)
        .await?;

    scene
        .expect(&[
            ("log-level", 0, "each process logs what it was started with"),
            ("log-level debug", 0, "every process logs debug"),
            ("log-level", 0, "debug"),
            ("log-level --reset", 0, "what it was started with"),
            (
                "source set primary 127.0.0.1:1",
                1,
                "nothing was changed; --yes",
            ),
            (
                "source set primary 127.0.0.1:1 --yes",
                0,
                "primary is at 127.0.0.1:1",
            ),
            ("source set primary 127.0.0.1:1", 0, "already"),
            ("source set primary nowhere --yes", 2, "HOST:PORT"),
            ("stop orders", 0, "orders: orders is stopped"),
            ("stop orders", 0, "nothing to do: orders is stopped"),
            ("pause orders", 1, "orders is stopped; towpath start orders"),
            (
                "resume orders",
                1,
                "orders is stopped; towpath start orders",
            ),
            (
                "move orders --to core-1",
                1,
                "orders is stopped; towpath start orders",
            ),
            ("delete orders --yes", 0, "its place in the sink stays"),
            (
                "status orders",
                1,
                "there is no pipeline \"orders\", nor any other",
            ),
            (
                "start orders",
                1,
                "there is no pipeline \"orders\", nor any other",
            ),
        ])
        .await?;

    // A file that is wrong, and one that isn't there.
    let wrong = scene.cluster.path().join("wrong.toml");
    std::fs::write(
        &wrong,
        "name = \"orders\"\n[source]\nurll = \"mysql://x\"\n",
    )?;
    let said = scene.cluster.apply(&wrong).await?;
    ensure!(said.code == Some(1) && said.out.is_empty(), "{said:?}");
    for part in [
        "nothing was applied",
        "wrong.toml:3",
        "urll",
        "did you mean",
    ] {
        ensure!(said.err.contains(part), "{part:?} in {said:#?}");
    }
    let said = scene.cluster.apply(&wrong.with_extension("absent")).await?;
    ensure!(said.code == Some(1), "{said:?}");
    ensure!(said.err.contains("wrong.absent"), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_can_read_what_every_looking_verb_shows() -> Result<()> {
    let scene = Scene::start().await?;
    let (runs, stands_by) = scene.settled().await?;
    scene
        .cluster
        .good("source set primary 127.0.0.1:1 --yes")
        .await?;
    let pid = |core: &str| -> Value {
        let [one, two] = &scene.cores;
        let process = if core == "core-1" { one } else { two };
        process.pid().as_u32().into()
    };
    let core_running = |value: &Value| value["running"].clone();
    for (words, at, wanted) in [
        ("status", "/pipelines/0/name", Value::from("orders")),
        ("status orders", "/pipelines/0/state", "running".into()),
        ("status", "/pipelines/0/tasks/0/running/pid", pid(&runs)),
        (
            "status",
            "/pipelines/0/tasks/0/standby/0/pid",
            pid(&stands_by),
        ),
        ("get pipelines", "/0/name", "orders".into()),
        ("get tasks", "/0/pipeline", "orders".into()),
        ("get cores", "/1/id", "core-2".into()),
        ("get servers", "/0/client", scene.cluster.directory().into()),
        ("get servers", "/0/raft_role", "leader".into()),
        ("get datasources", "/0/name", "primary".into()),
        ("source ls", "/0/address", "127.0.0.1:1".into()),
        ("describe orders", "/spec/revision", 1.into()),
        ("describe orders/replica", "/name", "orders".into()),
        ("describe server-1", "/raft_role", "leader".into()),
        ("describe primary", "/name", "primary".into()),
        ("history orders", "/0/pipeline", "orders".into()),
        ("history -n 1", "/0/what", "data-source".into()),
    ] {
        let value = scene.cluster.json(words).await?;
        let found = value.pointer(at);
        ensure!(found == Some(&wanted), "towpath {words}: {at} in {value:#}");
    }
    for words in ["get monitors", "get alerts", "alerts", "alerts --all"] {
        let value = scene.cluster.json(words).await?;
        ensure!(
            value == Value::Array(Vec::new()),
            "towpath {words}: {value}"
        );
    }
    let described = scene.cluster.json(&format!("describe {runs}")).await?;
    ensure!(core_running(&described).to_string().contains("orders"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verbs_end_in_time_when_nobody_answers() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.settled().await?;

    // The Cores hang: the Server takes the command, and can't say yet that it's done.
    for core in &scene.cores {
        core.freeze()?;
    }
    let said = scene.cluster.ask("stop orders --timeout 700ms").await?;
    for core in &scene.cores {
        core.thaw()?;
    }
    ensure!(said.code == Some(1) && said.out.is_empty(), "{said:#?}");
    let place = said.err.rsplit(' ').next().unwrap_or_default().trim();
    ensure!(
        said.err.contains("server-1 took the command")
            && said.err.contains("700 ms")
            && place.starts_with("/towpath/pipelines/orders/commands/"),
        "{said:#?}"
    );
    // The place that it names has the answer, in the end.
    let mut answer = String::new();
    wait_until("the answer to be in the directory", WAIT, async || {
        answer = scene.cluster.good(&format!("dir get {place}")).await?;
        Ok(answer.contains("orders is stopped"))
    })
    .await
    .with_context(|| format!("there is {answer}"))?;
    scene.cluster.good("start orders").await?;
    scene.settled().await?;

    // The Server is gone: whatever is asked says so, and soon.
    let changes = [
        "start orders",
        "stop orders",
        "pause orders",
        "resume orders",
        "delete orders --yes",
        "move orders --to core-1",
        "drain core-1",
        "undrain core-1",
        "ack lag.orders.replica",
        "source set primary 127.0.0.1:1 --yes",
        "log-level debug",
    ];
    let looks = [
        "status",
        "get cores",
        "describe orders",
        "history orders",
        "alerts",
        "source ls",
        "log-level",
        "dir ls /",
    ];
    scene.cluster.server().kill9()?;
    let asked = changes.iter().chain(&looks);
    let all = asked.map(async |words| anyhow::Ok((words, scene.cluster.ask(words).await?)));
    for (words, said) in futures_util::future::try_join_all(all).await? {
        ensure!(
            said.code == Some(1) && said.out.is_empty() && said.took < LOST_MAX,
            "towpath {words}: {said:#?}"
        );
        ensure!(
            said.err.contains(scene.cluster.directory())
                && said.err.contains("is a Server running there"),
            "towpath {words}: {said:#?}"
        );
    }

    // A directory without one who leads: looking goes on, and what is asked is withdrawn.
    scene
        .cluster
        .start_server_again(&["--directory-only"])
        .await?;
    scene.settled().await?;
    for words in changes {
        // What isn't there is told without asking anybody.
        if words.starts_with("undrain") || words.starts_with("ack") {
            continue;
        }
        let said = scene.cluster.ask(&format!("{words} --timeout 1s")).await?;
        ensure!(
            said.code == Some(1) && said.out.is_empty() && said.took < LOST_MAX,
            "towpath {words}: {said:#?}"
        );
        for part in [
            "no Server took the command within 1 s",
            "withdrawn and nothing was changed",
            "towpath get servers",
        ] {
            ensure!(said.err.contains(part), "towpath {words}: {said:#?}");
        }
    }
    for words in &looks {
        scene.cluster.good(words).await?;
    }
    // And with one who leads, nothing of it is done late.
    scene.cluster.server().kill9()?;
    scene.cluster.start_server_again(&[]).await?;
    scene.settled().await?;
    let history = scene.cluster.json("history orders").await?;
    let what = |event: &Value| event["what"].as_str().map(str::to_owned);
    let events = history.as_array().context("an array")?.iter();
    let events: Vec<String> = events.filter_map(what).collect();
    for late in ["pause", "delete"] {
        ensure!(!events.iter().any(|event| event == late), "{events:?}");
    }
    Ok(())
}

/// A named source moves: what runs goes on at the new address, where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_source_that_moves_takes_its_pipeline_along() -> Result<()> {
    let program = env!("CARGO_BIN_EXE_towpath").into();
    let (pair, cluster) = tokio::try_join!(Pair::start(), Cluster::start(Some(program)))?;
    let former = TcpProxy::start(pair.source.port()).await?;
    let new = TcpProxy::start(pair.source.port()).await?;
    let set = |proxy: &TcpProxy| format!("source set primary 127.0.0.1:{} --yes", proxy.port());
    cluster.good(&set(&former)).await?;
    let mut pipeline = pair
        .pipeline("orders", &["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await?;
    pipeline.source_further = r#"datasource = "primary""#.into();
    pipeline.write()?;
    let core = cluster.core("core-1").spawn()?;
    ready(&core).await?;
    let said = cluster.apply(&pipeline.file).await?;
    ensure!(said.code == Some(0), "{said:?}");
    let (mut source, mut sink) = pair.conns().await?;
    let mut passes = async |row: u64| {
        source
            .query_drop(format!("INSERT INTO orders.t VALUES ({row})"))
            .await?;
        wait_until("the row to be in the sink", WAIT, async || {
            Ok(number(&mut sink, "SELECT COUNT(*) FROM orders.t").await? == row)
        })
        .await
        .with_context(|| core.tail())
    };
    passes(1).await?;
    ensure!(former.connections() > 0 && new.connections() == 0);
    cluster.good(&set(&new)).await?;
    former.stall();
    passes(2).await?;
    ensure!(new.connections() > 0);
    wait_until("it to be said to run again", WAIT, async || {
        Ok(cluster.json("status").await?["pipelines"][0]["state"] == "running")
    })
    .await
}
