//! `towpath server` and `towpath dir`, as an operator uses them.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;
use towpath_testing::TowpathProcess;

const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");
const TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a Server, and says where its directory is.
async fn server(data: &TempDir, listen: &str) -> Result<(TowpathProcess, String)> {
    let server = TowpathProcess::builder()
        .program(TOWPATH)
        .args(["server", "--listen", listen, "--data"])
        .arg(data.path())
        .spawn()?;
    let ready = |line: &str| line.contains(r#""message":"ready""#);
    let line = server.wait_for_line(ready, TIMEOUT).await?;
    let line: Value = serde_json::from_str(&line)?;
    let directory = line["directory"].as_str().context("an address")?;
    Ok((server, directory.to_owned()))
}

struct Dir(String);

impl Dir {
    fn output(&self, words: &str) -> Result<Output> {
        let mut command = Command::new(TOWPATH);
        command.args(["dir", "--directory", &self.0]);
        let words = command.args(words.split(' '));
        Ok(words.stdin(std::process::Stdio::null()).output()?)
    }

    fn good(&self, words: &str) -> Result<String> {
        let output = self.output(words)?;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "dir {words}: {error}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn refused(&self, words: &str) -> Result<String> {
        let output = self.output(words)?;
        assert_eq!(output.status.code(), Some(1), "dir {words}");
        assert!(output.stdout.is_empty(), "dir {words}");
        Ok(String::from_utf8(output.stderr)?)
    }
}

#[tokio::test]
async fn an_operator_looks_around_and_changes_things() -> Result<()> {
    let data = TempDir::new()?;
    let (server, address) = server(&data, "127.0.0.1:0").await?;
    let dir = Dir(address.clone());
    assert_eq!(dir.good("ls")?, "cluster\ncommands\nservers\n");
    let cluster: Value = serde_json::from_str(&dir.good("get /towpath/cluster")?)?;
    assert_eq!(cluster["generation"], 1);
    let member: Value = serde_json::from_str(&dir.good("get /towpath/servers/server-1")?)?;
    assert_eq!(member["client"], Value::from(address.clone()));
    assert_eq!(member["pid"], Value::from(server.pid().as_u32()));

    assert_eq!(dir.good("set /a/b one --create")?, "/a/b is at version 0\n");
    assert_eq!(
        dir.good("set /a/b two --version 0")?,
        "/a/b is at version 1\n"
    );
    assert_eq!(dir.good("get /a/b")?, "two\n");
    assert_eq!(dir.good("get --raw /a/b")?, "two");
    assert_eq!(dir.good("tree /a")?, "/a\n└─ b  (3 B)\n");
    let stat: Value = serde_json::from_str(&dir.good("stat --json /a/b")?)?;
    assert_eq!((&stat["version"], &stat["bytes"]), (&1.into(), &3.into()));
    let long = dir.good("ls -l /a")?;
    assert!(long.contains("persistent"), "{long}");

    for (words, said) in [
        ("get /a/c", "/a is: towpath dir ls /a"),
        ("set /a/c x", "--create makes the node"),
        ("set /a/b three --version 0", "isn't at version 0 any more"),
        ("set /towpath/cluster x", "no JSON object"),
        ("rm /a", "--recursive"),
        ("rm -r /a", "nothing was removed"),
        ("ls /b", "isn't in the directory"),
    ] {
        let error = dir.refused(words)?;
        assert!(error.contains(said), "dir {words}: {error}");
    }
    assert_eq!(dir.good("get /a/b")?, "two\n", "no refusal has changed it");
    assert_eq!(dir.good("rm -r --yes /a")?, "removed 2 nodes\n");
    let nobody = Dir("127.0.0.1:1".into()).refused("ls")?;
    assert!(nobody.contains("is a Server running there"), "{nobody}");

    server.terminate()?;
    assert!(server.wait_exit(TIMEOUT).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_watch_prints_what_happens() -> Result<()> {
    let data = TempDir::new()?;
    let (_server, address) = server(&data, "127.0.0.1:0").await?;
    let watch = TowpathProcess::builder()
        .program(TOWPATH)
        .args(["dir", "--directory", &address, "watch", "--json", "/w"])
        .spawn()?;
    watch
        .wait_for_line(|line| line.contains("watching /w"), TIMEOUT)
        .await?;
    let dir = Dir(address);
    dir.good("set /w/x 1 --create")?;
    dir.good("set /w/x 2")?;
    dir.good("rm /w/x")?;
    for (change, path) in [
        ("created", "/w"),
        ("created", "/w/x"),
        ("data", "/w/x"),
        ("deleted", "/w/x"),
    ] {
        let told = format!(r#""change":"{change}","path":"{path}""#);
        watch
            .wait_for_line(|line| line.contains(&told), TIMEOUT)
            .await?;
    }
    Ok(())
}

/// What was acknowledged to an operator is there after the worst end, at the same address.
#[tokio::test]
async fn a_killed_server_comes_back_with_everything() -> Result<()> {
    let data = TempDir::new()?;
    let (first, address) = server(&data, "127.0.0.1:0").await?;
    let dir = Dir(address.clone());
    dir.good("set /kept/x 1 --create")?;
    let identity = dir.good("get /towpath/cluster")?;
    first.kill9()?;
    let (_second, again) = server(&data, &address).await?;
    assert_eq!(again, address);
    assert_eq!(dir.good("get /kept/x")?, "1\n");
    assert_eq!(dir.good("get /towpath/cluster")?, identity);
    Ok(())
}

#[tokio::test]
async fn a_server_that_can_t_start_says_why() -> Result<()> {
    let data = TempDir::new()?;
    let (_server, address) = server(&data, "127.0.0.1:0").await?;
    let other = TempDir::new()?;
    let place = |dir: &TempDir| dir.path().to_str().map(str::to_owned).unwrap_or_default();
    for (data, listen, said) in [
        (place(&data), "127.0.0.1:0", "in use by another process"),
        (place(&other), &*address, "is another process there?"),
        (place(&other), "0.0.0.0:0", "--allow-plaintext"),
        ("/dev/null/x".to_owned(), "127.0.0.1:0", "/dev/null/x"),
    ] {
        let failed = Command::new(TOWPATH)
            .args(["server", "--data", &data, "--listen", listen])
            .output()?;
        let error = String::from_utf8(failed.stderr)?;
        assert_eq!(failed.status.code(), Some(1), "{error}");
        assert!(error.contains(said), "{error}");
    }
    Ok(())
}
