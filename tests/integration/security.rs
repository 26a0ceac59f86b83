//! Roles on a real Server: who may do what, what is said to who may not, and that no token is seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use tempfile::TempDir;
use towpath_coordination::{ConnectOptions, Credentials, Session};
use towpath_protocol::tree::access::{self, Role};
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{Instance, InstanceState};
use towpath_testing::{TowpathProcess, wait_until};
use zookeeper_client::{Acls, Client, CreateMode, Error as Refusal};

use crate::harness::{Pair, WAIT, failure, number, stop};

const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");
const SHOWN: [Role; 4] = [Role::Core, Role::Monitor, Role::Operator, Role::Admin];

/// A folder of tokens, and a Server's data beside it.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Result<Self> {
        let dir = TempDir::new()?;
        fs::create_dir(dir.path().join("tokens"))?;
        let place = Self { dir };
        for role in SHOWN {
            fs::write(place.tokens().join(role.name()), token(role))?;
        }
        Ok(place)
    }

    fn tokens(&self) -> PathBuf {
        self.dir.path().join("tokens")
    }

    async fn server(&self, words: &[&str]) -> Result<(TowpathProcess, String)> {
        let server = TowpathProcess::builder()
            .program(TOWPATH)
            .args(["server", "--listen", "127.0.0.1:0", "--data"])
            .arg(self.dir.path().join("data"))
            .arg("--tokens")
            .arg(self.tokens())
            .args(words)
            .spawn()?;
        let ready = |line: &str| line.contains(r#""message":"ready""#);
        let line: Value = serde_json::from_str(&server.wait_for_line(ready, WAIT).await?)?;
        let address = line["directory"].as_str().context("an address")?;
        Ok((server, address.to_owned()))
    }

    fn process(&self, words: &[&str], directory: &str) -> Result<TowpathProcess> {
        TowpathProcess::builder()
            .program(TOWPATH)
            .args(words)
            .args(["--log", "debug", "--directory", directory, "--tokens"])
            .arg(self.tokens())
            .spawn()
    }

    /// What a verb does with the credentials of one role alone.
    fn verb(&self, role: Role, directory: &str, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(TOWPATH);
        command.args(words).args(["--directory", directory]);
        Ok(command.env(role.variable(), token(role)).output()?)
    }
}

/// A role's token: bytes that are nowhere else.
fn token(role: Role) -> String {
    format!("s3cr3t-of-{role}-7f1c9a0b")
}

async fn client(address: &str, role: Role) -> Result<Client> {
    let credentials = format!("{role}:{}", token(role));
    let connector = Client::connector().with_auth("digest", credentials.as_bytes());
    Ok(connector.connect(address).await?)
}

/// A node of every kind that there is.
fn nodes() -> Vec<String> {
    let p = "orders".parse().unwrap();
    let t = "replica".parse().unwrap();
    let (id, name, member) = (
        "a1".parse().unwrap(),
        "primary".parse().unwrap(),
        "m-1".parse().unwrap(),
    );
    let lock = "x".parse().unwrap();
    let config = "orders".parse().unwrap();
    let listed = |prefix: path::NodePath| prefix.sequenced("0000000000");
    [
        path::cluster(),
        path::log_config(),
        path::limits_config(&config),
        path::datasource(&name),
        path::member(MemberKind::Server, &member),
        path::member(MemberKind::Core, &member),
        path::member(MemberKind::Monitor, &member),
        path::monitors_election(),
        listed(path::monitors_candidate()),
        path::spec(&p),
        path::spec_revision(&p, 3),
        path::desired(&p),
        path::assignment(&p, &t),
        path::instances(&p, &t),
        listed(path::instance(&p, &t, &member)),
        path::epoch(&p, &t),
        path::progress(&p, &t),
        path::commit(&p, &t),
        path::failure(&p, &t),
        listed(path::command(&p)),
        path::status(&p),
        path::journal(&p),
        listed(path::history_event(&p)),
        listed(path::cluster_command()),
        listed(path::cluster_history_event()),
        path::drain(&member),
        path::probe(&name),
        path::alert(&id),
        path::seen(),
        listed(path::lock_exclusive(&lock)),
        path::root(),
        path::pipelines(),
        path::pipeline(&p),
        path::tasks(&p),
        path::task(&p, &t),
    ]
    .into_iter()
    .map(|path| path.to_string())
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_may_do_what_is_its_own_and_no_more() -> Result<()> {
    let place = Place::new()?;
    let (_server, address) = place.server(&["--directory-only"]).await?;
    let admin = client(&address, Role::Admin).await?;
    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let nodes = nodes();
    for node in &nodes {
        admin.mkdir(node, &open).await?;
    }
    for role in [Role::Core, Role::Monitor, Role::Operator] {
        let client = client(&address, role).await?;
        for node in &nodes {
            let rights = access::rights(role, node);
            let case = format!("{role} at {node}");
            let may = |bit: i32| rights & bit != 0;
            assert!(client.get_data(node).await.is_ok(), "{case}");
            let list = client.get_acl(node).await?.0;
            assert!(
                format!("{list:?}").contains("role"),
                "{case}: the list of the roles is shown"
            );
            let set = client.set_data(node, b"x", None).await.map(drop);
            let acl = client.set_acl(node, &[], None).await.map(drop);
            assert!(matches!(acl, Err(Refusal::NoAuth)), "{case}: {acl:?}");
            let made = client.create(node, b"", &open).await.map(drop);
            let mut multi = client.new_multi_writer();
            multi.add_check_version("/towpath", -1)?;
            multi.add_set_data(node, b"x", None)?;
            let together = multi.commit().await.is_ok();
            let removed = client.delete(node, None).await;
            match may(access::WRITE) {
                true => assert!(set.is_ok() && together, "{case}: {set:?}"),
                false => assert!(set == Err(Refusal::NoAuth) && !together, "{case}: {set:?}"),
            }
            match may(access::CREATE) {
                true => assert_eq!(made, Err(Refusal::NodeExists), "{case}"),
                false => assert_eq!(made, Err(Refusal::NoAuth), "{case}"),
            }
            match may(access::DELETE) {
                true => assert!(removed.is_ok(), "{case}: {removed:?}"),
                false => assert_eq!(removed, Err(Refusal::NoAuth), "{case}"),
            }
            admin.mkdir(node, &open).await?;
        }
    }
    // What must hold whatever the function of rights says.
    let core = client(&address, Role::Core).await?;
    for node in nodes.iter().filter(|node| {
        let ours = [
            "/cores/",
            "/instances",
            "/epoch",
            "/progress",
            "/commit",
            "/failure",
        ];
        !ours.iter().any(|part| node.contains(part)) || node.contains("/commands")
    }) {
        let set = core.set_data(node, b"{}", None).await.map(drop);
        assert_eq!(set, Err(Refusal::NoAuth), "{node}");
        assert_eq!(
            core.delete(node, None).await,
            Err(Refusal::NoAuth),
            "{node}"
        );
    }
    let nobody = Client::connect(&address).await?;
    for node in ["/", "/towpath", "/towpath/cluster"] {
        assert!(matches!(nobody.get_data(node).await, Err(Refusal::NoAuth)));
        assert!(matches!(
            nobody.check_stat(node).await,
            Err(Refusal::NoAuth)
        ));
    }
    let made = nobody.create("/mine", b"", &open).await.map(drop);
    assert_eq!(made, Err(Refusal::NoAuth));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_nothing_or_a_wrong_token_is_told_what_to_set() -> Result<()> {
    let place = Place::new()?;
    let (server, address) = place.server(&["--directory-only"]).await?;
    let wrong = token(Role::Operator);
    for (role, words) in [("CORE", ["core"]), ("MONITOR", ["monitor"])] {
        let variable = format!("TOWPATH_{role}_TOKEN");
        for (shown, said) in [
            (None, "wants to know the role"),
            (Some(&wrong), "refuses the token"),
        ] {
            let mut process = TowpathProcess::builder()
                .program(TOWPATH)
                .args(words)
                .args(["--directory", &address]);
            if let Some(token) = shown {
                process = process.env(&variable, token);
            }
            let error = failure(&process.spawn()?).await?;
            ensure!(error.contains(&variable) && error.contains(said), "{error}");
            ensure!(!error.contains(&wrong), "{error}");
        }
    }
    let none = place.dir.path().join("none");
    let error = failure(
        &TowpathProcess::builder()
            .program(TOWPATH)
            .args(["core", "--directory", &address, "--tokens"])
            .arg(&none)
            .spawn()?,
    )
    .await?;
    ensure!(error.contains("TOWPATH_CORE_TOKEN"), "{error}");

    let set = ["dir", "set", "/towpath/cluster", "{}"];
    let refused = place.verb(Role::Operator, &address, &set)?;
    let error = String::from_utf8(refused.stderr)?;
    assert_eq!(refused.status.code(), Some(1), "{error}");
    ensure!(error.contains("docs/security.md"), "{error}");
    let read = place.verb(
        Role::Operator,
        &address,
        &["dir", "get", "/towpath/cluster"],
    )?;
    ensure!(read.stdout.len() > 10, "it is as it was: {read:?}");
    ensure!(place.verb(Role::Admin, &address, &set)?.status.success());
    let said = [server.stdout(), server.stderr()].concat().join("\n");
    for role in SHOWN {
        ensure!(!said.contains(&token(role)), "{role}");
    }
    Ok(())
}

/// Fails if a token is in a file below.
fn searched(dir: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files += searched(&path)?;
            continue;
        }
        let bytes = fs::read(&path)?;
        for role in SHOWN {
            let token = token(role);
            let held = bytes
                .windows(token.len())
                .any(|part| part == token.as_bytes());
            ensure!(!held, "the token of {role} is in {}", path.display());
        }
        files += 1;
    }
    Ok(files)
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_runs_and_fails_over_and_no_token_is_seen() -> Result<()> {
    let pair = Pair::start().await?;
    let pipeline = pair
        .pipeline("roles", &["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    let place = Place::new()?;
    let logs = place.dir.path().join("logs");
    let logs = logs.to_str().context("a path")?;
    let words = ["--log", "debug", "--log-dir", logs];
    let (server, address) = place.server(&words).await?;
    let first = place.process(&["core", "--id", "core-a", "--log-dir", logs], &address)?;
    let monitor = place.process(&["monitor", "--log-dir", logs], &address)?;
    let file = pipeline.file.to_str().context("a path")?;
    let applied = place.verb(Role::Operator, &address, &["apply", "-f", file, "--yes"])?;
    ensure!(applied.status.success(), "{applied:?}");

    source.query_drop("INSERT INTO roles.t VALUES (1)").await?;
    let arrived = async |sink: &mut mysql_async::Conn, rows| {
        wait_until("the rows", WAIT, async || {
            Ok(number(sink, "SELECT COUNT(*) FROM roles.t").await? == rows)
        })
        .await
    };
    arrived(&mut sink, 1).await.with_context(|| first.tail())?;

    let second = place.process(&["core", "--id", "core-b", "--log-dir", logs], &address)?;
    let mut connect = ConnectOptions::new([address.clone()]);
    connect.credentials = Some(Credentials::load(Role::Operator, Some(&place.tokens()))?);
    let session = Session::connect(connect).await?;
    let instances = path::instances(&"roles".parse()?, &"replica".parse()?);
    wait_until("a standby", WAIT, async || {
        for name in session.children(&instances).await? {
            let node = instances.listed(&name).context("a name")?;
            if let Some(entry) = session.read::<Instance>(&node).await?
                && entry.value.record.member.as_str() == "core-b"
                && entry.value.record.state == InstanceState::Standby
            {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
    .with_context(|| second.tail())?;
    first.kill9()?;
    source.query_drop("INSERT INTO roles.t VALUES (2)").await?;
    arrived(&mut sink, 2).await.with_context(|| second.tail())?;
    // Commands to a pipeline, and the Server's answer.
    let paused = place.verb(Role::Operator, &address, &["pause", "roles"])?;
    ensure!(paused.status.success(), "{paused:?}");

    let mut shown = String::new();
    for words in [
        &["dir", "tree", "/", "--json"][..],
        &["describe", "roles"],
        &["status", "--json"],
        &["history", "roles"],
    ] {
        let output = place.verb(Role::Operator, &address, words)?;
        ensure!(output.status.success(), "{words:?}: {output:?}");
        shown.push_str(&String::from_utf8_lossy(&output.stdout));
        shown.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    ensure!(shown.contains("core-b"), "{shown}");
    for process in [&server, &first, &second, &monitor] {
        shown.push_str(&[process.stdout(), process.stderr()].concat().join("\n"));
    }
    ensure!(shown.contains(r#""level":"DEBUG""#), "details are logged");
    for role in SHOWN {
        ensure!(!shown.contains(&token(role)), "{role}: a token is shown");
    }
    session.close().await;
    for process in [&second, &monitor, &server] {
        stop(process).await?;
    }
    ensure!(searched(&place.dir.path().join("data"))? > 0);
    ensure!(searched(Path::new(logs))? > 0);
    Ok(())
}

#[tokio::test]
async fn a_port_for_others_wants_to_know_who_they_are() -> Result<()> {
    let dir = TempDir::new()?;
    let key = rcgen::KeyPair::generate()?;
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&key)?;
    let (cert, secret) = (dir.path().join("s.crt"), dir.path().join("s.key"));
    fs::write(&cert, own.pem())?;
    fs::write(&secret, key.serialize_pem())?;
    let server = |words: &[&str]| {
        TowpathProcess::builder()
            .program(TOWPATH)
            .args(["server", "--listen", "0.0.0.0:0", "--data"])
            .arg(dir.path().join("data"))
            .args(words)
            .spawn()
    };
    let (cert, secret) = (cert.to_string_lossy(), secret.to_string_lossy());
    let tls = ["--tls-cert", &cert, "--tls-key", &secret];
    for (words, said) in [
        (&[][..], "--tls-cert"),
        (&tls[..], "--tokens"),
        (&["--roles", "--allow-plaintext"][..], "let nobody in"),
        (&["--allow-plaintext", "--http-token", ""][..], "is empty"),
    ] {
        let error = failure(&server(words)?).await?;
        ensure!(error.contains(said), "{words:?}: {error}");
    }
    let place = Place::new()?;
    let tokens = place.tokens();
    let tokens = ["--tokens", tokens.to_str().context("a path")?];
    let ready = |line: &str| line.contains(r#""message":"ready""#);
    let started = server(&[&tls[..], &tokens].concat())?;
    started
        .wait_for_line(ready, Duration::from_secs(30))
        .await?;
    Ok(())
}
