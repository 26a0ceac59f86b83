//! Three Servers with TLS on both ports and with tokens, as on a network that isn't trusted; and one
//! that shows a certificate which isn't its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use towpath_testing::cluster::ready;
use towpath_testing::ensemble::{Ensemble, Place};
use towpath_testing::{TowpathProcess, wait_until};

use super::bus::TOWPATH;
use super::grow::further;
use crate::harness::{Pair, WAIT, number, stop};

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let file = dir.join(format!("{name}.crt"));
        fs::write(&file, params.self_signed(&key)?.pem())?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            file,
        })
    }

    /// The options that show a certificate for a name: `--PREFIX-cert`, `--PREFIX-key`, `--PREFIX-ca`.
    fn shown(&self, prefix: &str, own: &str, for_name: &str) -> Result<Vec<String>> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![for_name.to_owned()])?;
        let dir = self.file.parent().context("a folder")?;
        let (cert, secret) = (
            dir.join(format!("{own}.crt")),
            dir.join(format!("{own}.key")),
        );
        fs::write(&cert, params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(&secret, key.serialize_pem())?;
        let files = [("cert", &cert), ("key", &secret), ("ca", &self.file)];
        let option =
            |(what, file): (&str, &PathBuf)| format!("--{prefix}-{what}={}", file.display());
        Ok(files.map(option).to_vec())
    }
}

/// Certificates, tokens, and where Servers run.
struct Scene {
    /// For its ports and folders alone: it starts nothing.
    places: Ensemble,
    clients: Authority,
    peers: Authority,
    tokens: String,
    client: Vec<String>,
}

impl Scene {
    fn new(servers: usize) -> Result<Self> {
        let places = Ensemble::new(Some(TOWPATH.into()), servers, further)?;
        let dir = places.path().to_owned();
        let tokens = dir.join("tokens");
        fs::create_dir(&tokens)?;
        for role in ["server", "core", "operator"] {
            fs::write(tokens.join(role), format!("s3cr3t-of-{role}-7f1c9a0b"))?;
        }
        let clients = Authority::new(&dir, "clients")?;
        let peers = Authority::new(&dir, "peers")?;
        let client = clients.shown("tls", "client", "localhost")?;
        Ok(Self {
            places,
            clients,
            peers,
            tokens: format!("--tokens={}", tokens.display()),
            client,
        })
    }

    fn place(&self, server: usize) -> Result<&Place> {
        self.places.places().get(server).context("a place")
    }

    /// A Server that shows these to others.
    fn server(&self, server: usize, peer: &[String]) -> Result<TowpathProcess> {
        let place = self.place(server)?;
        let listen = place.listen.context("a port")?.to_string();
        TowpathProcess::builder()
            .program(TOWPATH)
            .args(["server", "--listen", &listen, &self.tokens])
            .arg("--data")
            .arg(&place.data)
            .args(
                further(server, self.places.places())
                    .iter()
                    .filter(|word| *word != "--peer-insecure"),
            )
            // All Servers are at this address, so the certificate of each names all.
            .args(
                self.clients
                    .shown("tls", &format!("s{server}"), "127.0.0.1")?,
            )
            .args(peer)
            .spawn()
    }

    /// The certificate of a member.
    fn member(&self, server: usize) -> Result<Vec<String>> {
        let id = server + 1;
        self.peers.shown(
            "peer",
            &format!("peer-{id}"),
            &format!("{id}.member.towpath"),
        )
    }

    /// What a program does that reaches the directory by these Servers.
    fn command(&self, words: &[&str], servers: usize) -> Command {
        let known = self.places.addresses();
        let known: Vec<String> = known
            .iter()
            .take(servers)
            .map(ToString::to_string)
            .collect();
        let mut command = Command::new(TOWPATH);
        command
            .args(words)
            .args(["--directory", &known.join(","), &self.tokens])
            .args(&self.client);
        command
    }

    async fn verb(&self, words: &[&str], servers: usize) -> Result<Output> {
        let mut command = self.command(words, servers);
        Ok(tokio::task::spawn_blocking(move || command.output()).await??)
    }

    async fn good(&self, words: &[&str]) -> Result<String> {
        let output = self.verb(words, 3).await?;
        ensure!(output.status.success(), "{words:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// `cluster add`, asked of the Servers that are members.
    async fn add(&self, server: usize) -> Result<Output> {
        let place = self.place(server)?;
        let (peer, client) = (
            place.raft.context("a port")?,
            place.listen.context("a port")?,
        );
        let (id, peer, client) = (
            (server + 1).to_string(),
            peer.to_string(),
            client.to_string(),
        );
        let words = ["cluster", "add", &id, "--peer", &peer, "--client", &client];
        self.verb(&words, server.min(3)).await
    }

    /// How many members lead, and how many follow.
    async fn roles(&self) -> Result<(usize, usize)> {
        let seen: Value =
            serde_json::from_str(&self.good(&["cluster", "status", "--json"]).await?)?;
        let all = seen["members"].as_array().context("members")?;
        let count = |role: &str| all.iter().filter(|one| one["role"] == role).count();
        Ok((count("leader"), count("follower")))
    }

    /// A Server that others don't take, and what they say of it.
    async fn refused(&self, peer: &[String], leader: &TowpathProcess, reason: &str) -> Result<()> {
        let server = self.server(3, peer)?;
        ready(&server).await?;
        let answer = self.add(3).await?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        println!("{said}");
        ensure!(answer.status.code() == Some(1), "{answer:?}");
        for part in [
            "member 4 can't be added",
            reason,
            "4.member.towpath",
            "--peer-c",
        ] {
            ensure!(
                said.contains(part),
                "{part:?} is not in {said}\n{}",
                leader.tail()
            );
        }
        ensure!(self.roles().await? == (1, 2), "it's as it was");
        server.kill9()?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_with_certificates_and_tokens_replicate_and_take_no_stranger() -> Result<()> {
    let scene = Scene::new(4)?;
    let pair = Pair::start().await?;
    let pipeline = pair
        .pipeline("sealed", &["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    let mut servers = Vec::new();
    for server in 0..3 {
        let process = scene.server(server, &scene.member(server)?)?;
        ready(&process).await?;
        servers.push(process);
        if server > 0 {
            let answer = scene.add(server).await?;
            ensure!(answer.status.success(), "{answer:?}\n{}", servers[0].tail());
        }
    }
    ensure!(scene.roles().await? == (1, 2));

    // A Core, an operator, and rows.
    let words = ["core", "--id", "core-1"].map(str::to_owned);
    let known: Vec<String> = scene
        .places
        .addresses()
        .iter()
        .take(3)
        .map(ToString::to_string)
        .collect();
    let core = TowpathProcess::builder()
        .program(TOWPATH)
        .args(words)
        .args(["--directory", &known.join(","), &scene.tokens])
        .args(&scene.client)
        .spawn()?;
    ready(&core).await?;
    let file = pipeline.file.to_str().context("a path")?;
    scene.good(&["apply", "--yes", "--file", file]).await?;
    let arrived = async |sink: &mut mysql_async::Conn, rows| {
        wait_until("the rows", WAIT, async || {
            Ok(number(sink, "SELECT COUNT(*) FROM sealed.t").await? == rows)
        })
        .await
        .with_context(|| core.tail())
    };
    source.query_drop("INSERT INTO sealed.t VALUES (1)").await?;
    arrived(&mut sink, 1).await?;
    let status = scene.good(&["status"]).await?;
    ensure!(
        status.contains("sealed") && status.contains("core-1"),
        "{status}"
    );

    // Another member's certificate; one of another authority; that of a client.
    let another = scene.peers.shown("peer", "peer-5", "5.member.towpath")?;
    scene
        .refused(&another, &servers[0], "not valid for name")
        .await?;
    let strangers = Authority::new(scene.places.path(), "strangers")?;
    let stranger = strangers.shown("peer", "stranger", "4.member.towpath")?;
    scene
        .refused(&stranger, &servers[0], "invalid peer certificate")
        .await?;

    // The one that leads dies: all go on over the others.
    servers[0].kill9()?;
    wait_until("another to lead", WAIT, async || {
        let output = scene.verb(&["cluster", "status", "--json"], 3).await?;
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(seen["leader"].as_u64().is_some_and(|leader| leader != 1))
    })
    .await?;
    scene.good(&["pause", "sealed"]).await?;
    scene.good(&["resume", "sealed"]).await?;
    source.query_drop("INSERT INTO sealed.t VALUES (2)").await?;
    arrived(&mut sink, 2).await?;
    stop(&core).await
}
