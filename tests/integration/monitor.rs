//! `towpath monitor` beside a real Server: an alert reaches a real receiver, once.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;
use towpath_testing::TowpathProcess;

const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");
const TIMEOUT: Duration = Duration::from_secs(30);

/// Accepts every request, and passes its body on.
fn receiver() -> Result<(String, mpsc::Receiver<Value>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body = loop {
                let count = stream.read(&mut buffer).unwrap_or(0);
                request.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&request);
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
                match body.and_then(|body| serde_json::from_str::<Value>(body).ok()) {
                    Some(body) => break Some(body),
                    None if count == 0 => break None,
                    None => {}
                }
            };
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            if body.is_some_and(|body| send.send(body).is_err()) {
                return;
            }
        }
    });
    Ok((address, receive))
}

async fn start(words: &[&str]) -> Result<(TowpathProcess, Value)> {
    let process = TowpathProcess::builder()
        .program(TOWPATH)
        .args(words)
        .spawn()?;
    let ready = |line: &str| line.contains(r#""message":"ready""#);
    let line = process.wait_for_line(ready, TIMEOUT).await?;
    Ok((process, serde_json::from_str(&line)?))
}

/// Greets as a MySQL server does (protocol 10), and says no more.
fn greeter() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let mut greeting = b"\x0a9.7.0\0\x01\0\0\0saltsalt\0\xff\xf7\x21\x02\0\xff\xdf\x15".to_vec();
    greeting.extend([0; 10]);
    greeting.extend(b"saltsaltsalt\0caching_sha2_password\0");
    let length = u8::try_from(greeting.len())?;
    greeting.splice(0..0, [length, 0, 0, 0]);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(&greeting);
        }
    });
    Ok(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_tells_of_a_data_source() -> Result<()> {
    let data = TempDir::new()?;
    let place = data.path().join("data");
    let place = place.to_str().context("a path")?;
    let (_server, ready) = start(&["server", "--listen", "127.0.0.1:0", "--data", place]).await?;
    let directory = ready["directory"].as_str().context("an address")?;
    let (address, received) = receiver()?;
    let hooks = data.path().join("hooks.toml");
    std::fs::write(
        &hooks,
        format!("[[alert.hook]]\nname = \"all\"\nkind = \"webhook\"\nurl = \"http://{address}\"\n"),
    )?;
    let hooks = hooks.to_str().context("a path")?;
    let (monitor, _) = start(&["monitor", "--directory", directory, "--hooks", hooks]).await?;
    let set = |address: &str| {
        let words = ["source", "set", "primary", address, "--yes", "--directory"];
        let mut command = Command::new(TOWPATH);
        command.args(words).arg(directory).status()
    };
    // A port that nobody listens on, and a server that greets.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    assert!(set(&nobody)?.success());
    let fired = tokio::task::block_in_place(|| received.recv_timeout(TIMEOUT))?;
    assert_eq!(fired["id"], "source-down.primary");
    assert_eq!(
        (&fired["state"], &fired["version"]),
        (&"firing".into(), &1.into())
    );
    assert!(set(&greeter()?)?.success());
    let resolved = tokio::task::block_in_place(|| received.recv_timeout(TIMEOUT))?;
    assert_eq!(resolved["state"], "resolved");
    assert_eq!(resolved["since"], fired["since"]);

    monitor.terminate()?;
    assert!(monitor.wait_exit(TIMEOUT).await?.success());
    assert!(received.try_recv().is_err(), "each was told once");
    Ok(())
}

#[tokio::test]
async fn a_monitor_that_can_t_start_says_why() -> Result<()> {
    let data = TempDir::new()?;
    let hooks = data.path().join("hooks.toml");
    std::fs::write(&hooks, "[[alert.hook]]\nname = \"all\"\nkind = \"mail\"\n")?;
    let hooks = hooks.to_str().context("a path")?;
    let failed = Command::new(TOWPATH)
        .args(["monitor", "--directory", "127.0.0.1:1", "--hooks", hooks])
        .output()?;
    let error = String::from_utf8(failed.stderr)?;
    assert_eq!(failed.status.code(), Some(1), "{error}");
    assert!(
        error.contains("\"mail\" is not one of webhook, command, log"),
        "{error}"
    );
    let failed = Command::new(TOWPATH)
        .args(["monitor", "--directory", "nowhere"])
        .output()?;
    let error = String::from_utf8(failed.stderr)?;
    assert!(error.contains("use host:port"), "{error}");
    Ok(())
}
