//! Tells by running a program: no shell, the JSON on its standard input, the values in its
//! environment, and an exit code that decides.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;
use towpath_protocol::spec::{BodyField, CommandHook};

use super::message::Message;
use super::outcome::{Outcome, WORDS_MAX};

/// `EX_DATAERR` of `sysexits.h`: the program will never take this one.
const EXIT_GIVEN_UP: i32 = 65;
/// What of the Monitor's environment a program gets. Its secrets are not for every program.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];
/// The most bytes that are read of what it says.
const SAID_MAX: u64 = 4096;
/// How long is listened after it has ended.
const LISTEN_MAX: Duration = Duration::from_millis(200);

pub(super) async fn tell(hook: &CommandHook, message: &Message) -> Outcome {
    let Some((program, arguments)) = hook.argv.split_first() else {
        return Outcome::given_up("no program");
    };
    let mut command = Command::new(program.expose());
    command
        .args(arguments.iter().map(|argument| argument.expose()))
        .env_clear()
        .envs(
            INHERITED
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for (name, field) in BodyField::NAMES {
        let name = format!("TOWPATH_ALERT_{}", name.to_ascii_uppercase());
        command.env(name, message.field(field).replace('\0', ""));
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::retry(format!("can't start the program: {error}")),
    };
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let listen = tokio::spawn(async move {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = (&mut stderr).take(SAID_MAX).read_to_end(&mut said).await;
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        said
    });
    let run = async {
        if let Some(mut stdin) = stdin {
            // One that doesn't read it is free to.
            let _ = stdin.write_all(message.json().as_bytes()).await;
        }
        child.wait().await
    };
    let Ok(status) = timeout(Duration::from_millis(hook.timeout_ms), run).await else {
        listen.abort();
        // Dropped, and so killed.
        return Outcome::retry(format!("killed after {} ms", hook.timeout_ms));
    };
    // What it left running may hold its standard error open: its own end counts.
    let said = timeout(LISTEN_MAX, listen).await;
    let said = said.ok().and_then(Result::ok).unwrap_or_default();
    let said: String = String::from_utf8_lossy(&said)
        .trim()
        .chars()
        .filter(|char| !char.is_control())
        .take(WORDS_MAX)
        .collect();
    match status {
        Ok(status) if status.success() => Outcome::Accepted,
        Ok(status) if status.code() == Some(EXIT_GIVEN_UP) => {
            Outcome::given_up(format!("{status}: {said}"))
        }
        Ok(status) => Outcome::retry(format!("{status}: {said}")),
        Err(error) => Outcome::retry(format!("can't wait for the program: {error}")),
    }
}
