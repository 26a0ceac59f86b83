//! The ports of a Server process: certificates, the HTTP port, and logs that follow the directory.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use towpath_testing::TowpathProcess;

const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");
const TIMEOUT: Duration = Duration::from_secs(30);

/// An authority's certificate `ca.crt`, and `{name}.crt` and `{name}.key` that it has signed.
fn certificates(dir: &Path, names: &[&str]) -> Result<()> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(vec![])?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(dir.join("ca.crt"), params.self_signed(&key)?.pem())?;
    let issuer = rcgen::Issuer::new(params, key);
    for name in names {
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let signed = params.signed_by(&key, &issuer)?;
        std::fs::write(dir.join(format!("{name}.crt")), signed.pem())?;
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}

/// A Server with these arguments; and its line that tells its ports.
async fn server(data: &TempDir, arguments: &[&str]) -> Result<(TowpathProcess, Value)> {
    let server = TowpathProcess::builder()
        .program(TOWPATH)
        .args(["server", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path().join("data"))
        .args(arguments)
        .spawn()?;
    let ready = |line: &str| line.contains(r#""message":"ready""#);
    let line = server.wait_for_line(ready, TIMEOUT).await?;
    Ok((server, serde_json::from_str(&line)?))
}

fn text(line: &Value, field: &str) -> Result<String> {
    let value = line[field].as_str();
    Ok(value
        .with_context(|| format!("{field} in {line}"))?
        .to_owned())
}

fn dir(directory: &str, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(TOWPATH);
    command.args(["dir", "--directory", directory]);
    Ok(command.args(arguments).output()?)
}

#[tokio::test]
async fn a_server_and_its_operators_show_certificates() -> Result<()> {
    let place = TempDir::new()?;
    certificates(place.path(), &["server", "operator"])?;
    let file = |name: &str| place.path().join(name).to_string_lossy().into_owned();
    let (ca, cert, key) = (file("ca.crt"), file("server.crt"), file("server.key"));
    let tls = ["--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &key];
    let (_server, ports) = server(&place, &tls).await?;
    let directory = text(&ports, "directory")?;
    // Health checks on the machine itself need none.
    let (status, _) = http(&text(&ports, "http")?, "/readyz", "").await?;
    assert_eq!(status, 200);

    let (cert, key) = (file("operator.crt"), file("operator.key"));
    let tls = [
        "ls",
        "--tls-ca",
        &ca,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ];
    let shown = dir(&directory, &tls)?;
    let error = String::from_utf8(shown.stderr)?;
    ensure!(shown.status.success(), "{error}");
    assert_eq!(
        String::from_utf8(shown.stdout)?,
        "cluster\ncommands\nservers\n"
    );
    for (arguments, said) in [
        (vec!["ls"], "TLS"),
        (vec!["ls", "--tls-ca", &ca], "client certificate"),
        (
            vec!["ls", "--tls-cert", &cert, "--tls-key", &key],
            "--tls-ca",
        ),
    ] {
        let refused = dir(&directory, &arguments)?;
        let error = String::from_utf8(refused.stderr)?;
        assert_eq!(refused.status.code(), Some(1), "{error}");
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
    Ok(())
}

/// What the HTTP port answers: the status and the whole answer.
async fn http(address: &str, path: &str, header: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, answer))
}

#[tokio::test]
async fn metrics_and_health() -> Result<()> {
    let place = TempDir::new()?;
    let (_server, ports) = server(&place, &["--http-token", "open sesame"]).await?;
    let address = text(&ports, "http")?;
    assert_eq!(http(&address, "/healthz", "").await?.0, 200);
    for wrong in [
        "",
        "Authorization: Bearer open\r\n",
        "Authorization: open sesame\r\n",
    ] {
        assert_eq!(http(&address, "/metrics", wrong).await?.0, 401, "{wrong:?}");
        assert_eq!(http(&address, "/readyz", wrong).await?.0, 401, "{wrong:?}");
    }
    let token = "Authorization: Bearer open sesame\r\n";
    assert_eq!(http(&address, "/readyz", token).await?.0, 200);
    let (status, text) = http(&address, "/metrics", token).await?;
    assert_eq!(status, 200);
    for line in [
        "# TYPE towpath_directory_nodes gauge\n",
        "\ntowpath_directory_serving 1.0\n",
        "\ntowpath_directory_sessions 1.0\n",
        "# EOF\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert_eq!(http(&address, "/other", token).await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn the_log_filter_is_changed_live_and_logs_go_to_files() -> Result<()> {
    let place = TempDir::new()?;
    let logs = place.path().join("logs");
    let logs_text = logs.to_string_lossy().into_owned();
    let (server, ports) = server(&place, &["--log-dir", &logs_text]).await?;
    let directory = text(&ports, "directory")?;
    let set = async |filter: &str| -> Result<()> {
        let record = format!(r#"{{"version":1,"filter":"{filter}"}}"#);
        let set = ["set", "/towpath/config/log", &record, "--create"];
        ensure!(dir(&directory, &set)?.status.success());
        Ok(())
    };
    set("warn,towpath=debug").await?;
    let done = |line: &str| line.contains("log filter set") && line.contains("towpath=debug");
    server.wait_for_line(done, TIMEOUT).await?;
    set("no such=filter=at all").await?;
    let refused = |line: &str| line.contains("the last one still holds");
    server.wait_for_line(refused, TIMEOUT).await?;
    ensure!(
        dir(&directory, &["rm", "/towpath/config/log"])?
            .status
            .success()
    );
    let back = |line: &str| line.contains("log filter set") && line.contains(r#""filter":"info""#);
    server.wait_for_line(back, TIMEOUT).await?;

    server.terminate()?;
    ensure!(server.wait_exit(TIMEOUT).await?.success());
    let mut written = String::new();
    for file in std::fs::read_dir(&logs)? {
        written += &std::fs::read_to_string(file?.path())?;
    }
    for line in ["log filter set", "asked to stop"] {
        assert!(written.contains(line), "{line} in {written}");
    }
    Ok(())
}
