//! Three Servers: one founds a directory, two join by the command line, and the leader's machine dies.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use towpath_testing::ensemble::{Ensemble, Place};
use towpath_testing::wait_until;

use super::{Storm, load};
use crate::harness::WAIT;

const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");
/// Somebody else must serve by then, on a busy machine; alone it takes a second.
const FAILOVER: Duration = Duration::from_secs(10);

/// The first founds, the others wait to be added.
pub(super) fn further(member: usize, places: &[Place]) -> Vec<String> {
    let peers = places.get(member).and_then(|place| place.raft);
    let mut words = vec!["--node-id".to_owned(), (member + 1).to_string()];
    words.extend(peers.map(|peers| format!("--peer-listen={peers}")));
    words.extend((member > 0).then(|| "--join".to_owned()));
    // In a test's own network nobody else is.
    words.push("--peer-insecure".to_owned());
    words
}

/// Places for so many Servers, of which the first will found a directory.
pub(super) fn places(members: usize) -> Result<Ensemble> {
    Ensemble::new(Some(PathBuf::from(TOWPATH)), members, further)
}

/// Starts them, and makes all of them members.
pub(super) async fn grow(ensemble: &mut Ensemble) -> Result<()> {
    ensemble.start().await?;
    for member in 1..ensemble.places().len() {
        let (peer, client) = addresses(ensemble, member)?;
        let id = (member + 1).to_string();
        let words = ["add", &id, "--peer", &peer, "--client", &client];
        let said = asked(ensemble, &words).await?;
        ensure!(said.contains(&format!("member {id} is added")), "{said}");
    }
    Ok(())
}

/// A directory of so many Servers, all of which are members.
pub(super) async fn grown(members: usize) -> Result<Ensemble> {
    let mut ensemble = places(members)?;
    grow(&mut ensemble).await?;
    Ok(ensemble)
}

pub(super) fn addresses(ensemble: &Ensemble, member: usize) -> Result<(String, String)> {
    let place = ensemble.places().get(member).context("a place")?;
    let peer = place.raft.context("its peer port")?;
    let client = place.listen.context("its client port")?;
    Ok((peer.to_string(), client.to_string()))
}

/// What `towpath cluster` says, asked of whichever Server answers.
async fn cluster(ensemble: &Ensemble, words: &[&str]) -> Result<Output> {
    let known: Vec<String> = ensemble
        .addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut command = Command::new(TOWPATH);
    command
        .arg("cluster")
        .args(words)
        .args(["--directory", &known.join(",")]);
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

/// The record that says which directory this is.
pub(super) async fn identity(ensemble: &Ensemble) -> Result<Value> {
    let known = ensemble.addresses().last().map(ToString::to_string);
    let mut command = Command::new(TOWPATH);
    command
        .args(["dir", "get", "/towpath/cluster", "--raw", "--directory"])
        .args(known);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What [`cluster`] says of what must be done.
async fn asked(ensemble: &Ensemble, words: &[&str]) -> Result<String> {
    let output = cluster(ensemble, words).await?;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The members, as the leader sees them.
pub(super) async fn members(ensemble: &Ensemble) -> Result<Value> {
    Ok(serde_json::from_str(
        &asked(ensemble, &["status", "--json"]).await?,
    )?)
}

/// How many members have which role.
fn count(members: &Value, role: &str) -> usize {
    let all = members["members"].as_array();
    all.map_or(0, |all| {
        all.iter().filter(|one| one["role"] == role).count()
    })
}

/// Waits until a Server's planner leads.
async fn plans(ensemble: &Ensemble, member: usize) -> Result<()> {
    let leads = |line: &str| line.contains("leads the cluster") && !line.contains("another");
    let process = ensemble.process(member)?;
    process.wait_for_line(leads, WAIT).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_grows_to_three_and_survives_its_leader() -> Result<()> {
    let ensemble = grown(3).await?;
    let seen = members(&ensemble).await?;
    ensure!(seen["seen_by"] == seen["leader"], "{seen}");
    ensure!(
        count(&seen, "leader") == 1 && count(&seen, "follower") == 2,
        "{seen}"
    );
    let load = load(&ensemble.addresses()).await?;
    let mut storm = Storm { ensemble, load };
    let leader = storm.ensemble.leader().await.context("a leader")?;
    for _ in 0..2 {
        storm.get_on().await?;
        let leader = storm.ensemble.leader().await.context("a leader")?;
        let killed = Instant::now();
        storm.ensemble.kill9(leader)?;
        let next = storm
            .ensemble
            .another_leader(Some(leader), FAILOVER)
            .await?;
        println!("member {} leads after {:?}", next + 1, killed.elapsed());
        plans(&storm.ensemble, next).await?;
        storm.get_on().await?;
        let seen = members(&storm.ensemble).await?;
        ensure!(seen["leader"] == next + 1, "{seen}");
        storm.ensemble.start().await?;
        wait_until("the killed member has caught up", WAIT, async || {
            let seen = members(&storm.ensemble).await?;
            let back = seen["members"].as_array().context("members")?;
            Ok(back.iter().any(|one| {
                one["id"] == leader + 1 && one["acked_ms"].as_u64().is_some_and(|ms| ms < 1000)
            }))
        })
        .await?;
    }
    ensure!(leader == 0, "who founds leads at first");
    let record = storm.accepted().await?;
    ensure!(record.counts.ok > 0, "{:?}", record.counts);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_removed_answers_and_is_gone() -> Result<()> {
    let mut ensemble = grown(3).await?;
    let refused = cluster(&ensemble, &["remove", "9", "--yes"]).await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(
        said.contains("refused") && said.contains("there is no member 9"),
        "{said}"
    );

    let said = asked(&ensemble, &["remove", "1", "--yes"]).await?;
    ensure!(said.contains("member 1 is removed"), "{said}");
    let next = ensemble.another_leader(Some(0), FAILOVER).await?;
    plans(&ensemble, next).await?;
    let seen = members(&ensemble).await?;
    ensure!(
        count(&seen, "leader") == 1 && count(&seen, "follower") == 1,
        "{seen}"
    );

    // Its number is used up, and so is its data folder.
    let (peer, client) = addresses(&ensemble, 0)?;
    let words = ["add", "1", "--peer", &peer, "--client", &client];
    let again = cluster(&ensemble, &words).await?;
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    ensure!(
        !again.status.success() && said.contains("number 1 was"),
        "{said}"
    );
    ensemble.kill9(0)?;

    let said = asked(&ensemble, &["backup", "after"]).await?;
    let data = ensemble.places().get(next).context("a place")?.data.clone();
    let backup = data.join("backups").join("after");
    ensure!(backup.is_file(), "{said}");
    let twice = cluster(&ensemble, &["backup", "after"]).await?;
    ensure!(!twice.status.success(), "{twice:?}");
    asked(&ensemble, &["snapshot"]).await?;

    // A directory of its own, elsewhere: what the backup holds, and another identity.
    let mut other = Ensemble::new(Some(PathBuf::from(TOWPATH)), 1, |_, places| {
        let peers = places.first().and_then(|place| place.raft);
        let mut words = vec!["--node-id=4".to_owned()];
        words.extend(peers.map(|peers| format!("--peer-listen={peers}")));
        words
    })?;
    let data = other.places().first().context("a place")?.data.clone();
    let data = data.to_string_lossy().into_owned();
    let backup = backup.to_string_lossy().into_owned();
    let words = ["restore", &backup, "--data", &data, "--node-id", "4"];
    asked(&other, &words).await?;
    let twice = cluster(&other, &words).await?;
    let said = String::from_utf8_lossy(&twice.stderr).into_owned();
    ensure!(said.contains("already holds a directory"), "{said}");
    other.start().await?;
    let (peer, _) = addresses(&other, 0)?;
    wait_until("the restored member tells where it is", WAIT, async || {
        let seen = members(&other).await?;
        let alone = seen["members"].as_array().is_some_and(|all| all.len() == 1);
        Ok(alone && seen["members"][0]["member"]["peer"] == *peer)
    })
    .await?;
    let (former, own) = (identity(&ensemble).await?, identity(&other).await?);
    ensure!(former["id"] != own["id"], "{former} {own}");
    Ok(())
}
