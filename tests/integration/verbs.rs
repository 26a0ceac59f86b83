//! The operator's verbs as a program: where it finds the directory, exit codes, help. What each
//! verb does is tested in `console/tests`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;
use towpath_testing::TowpathProcess;

const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");
const TIMEOUT: Duration = Duration::from_secs(30);

/// Does a verb as a user whose runtime folder is `runtime`.
fn towpath(runtime: &TempDir, words: &str) -> Result<Output> {
    let mut command = Command::new(TOWPATH);
    command.args(words.split(' ')).stdin(Stdio::null());
    command.env_remove("TOWPATH_DIRECTORY");
    Ok(command.env("XDG_RUNTIME_DIR", runtime.path()).output()?)
}

#[tokio::test]
async fn a_verb_finds_the_directory_of_this_user_s_run() -> Result<()> {
    let (data, runtime) = (TempDir::new()?, TempDir::new()?);
    let server = TowpathProcess::builder()
        .program(TOWPATH)
        .args(["server", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .spawn()?;
    let ready = |line: &str| line.contains(r#""message":"ready""#);
    let line: Value = serde_json::from_str(&server.wait_for_line(ready, TIMEOUT).await?)?;
    let address = line["directory"].as_str().context("an address")?.to_owned();

    let lost = towpath(&runtime, "get servers")?;
    assert_eq!(lost.status.code(), Some(1));
    let error = String::from_utf8(lost.stderr)?;
    assert!(
        error.contains("--directory") && error.contains("TOWPATH_DIRECTORY"),
        "{error}"
    );

    let folder = runtime.path().join("towpath");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    let pid = server.pid().as_u32();
    fs::write(folder.join("directory"), format!("{address}\n{pid}\n"))?;
    let servers = towpath(&runtime, "get servers --json")?;
    assert!(servers.status.success(), "{servers:?}");
    let servers: Value = serde_json::from_slice(&servers.stdout)?;
    assert_eq!(servers[0]["id"], "server-1");
    assert_eq!(servers[0]["pid"], pid);
    assert_eq!(servers[0]["client"], address);
    let status = towpath(&runtime, "status --json")?;
    let status: Value = serde_json::from_slice(&status.stdout)?;
    assert_eq!(status["pipelines"], Value::Array(Vec::new()));

    for (words, code, said) in [
        (
            "start orders",
            1,
            "there is no pipeline \"orders\", nor any other",
        ),
        ("start", 2, "PIPELINE"),
        ("start Orders", 2, "is no name"),
        ("statsu", 2, "status"),
        (
            "get servers --directory 127.0.0.1:1",
            1,
            "is a Server running there",
        ),
    ] {
        let output = towpath(&runtime, words)?;
        let error = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(code), "{words}: {error}");
        assert!(error.contains(said), "{words}: {error}");
        assert!(output.stdout.is_empty(), "{words}");
    }

    server.kill9()?;
    let gone = towpath(&runtime, "get servers")?;
    let error = String::from_utf8(gone.stderr)?;
    assert!(error.contains("no towpath run of this user"), "{error}");
    Ok(())
}

#[test]
fn help_is_grouped_and_shells_complete() -> Result<()> {
    let runtime = TempDir::new()?;
    let help = towpath(&runtime, "--help")?;
    let help = String::from_utf8(help.stdout)?;
    let place = |text: &str| help.find(text).with_context(|| format!("{text} in {help}"));
    assert!(place("\nLook:\n  status ")? < place("\nPipelines:\n  apply ")?);
    assert!(place("\n  move ")? < place("\nCluster:\n")?);
    for shell in ["bash", "zsh", "fish"] {
        let script = towpath(&runtime, &format!("completions {shell}"))?;
        let script = String::from_utf8(script.stdout)?;
        assert!(script.contains("undrain"), "{shell}: {script}");
    }
    Ok(())
}
