//! Nothing happens where nothing fails: no election and no expired session, however busy the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use towpath_testing::ensemble::Ensemble;
use zookeeper_client::{Client, SessionState};

use super::{MEMBERS, grow};

/// How long nothing may happen.
const LASTS: Duration = Duration::from_secs(600);
/// Threads that take all the processors that there are, at the Servers' own priority.
const SPINNING: usize = 4;
/// Clients with sessions that must be kept, which do nothing else.
const SESSIONS: usize = 8;
/// As a Core has it.
const SESSION_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How often it's looked whether all is well.
const LOOK: Duration = Duration::from_secs(5);

const TERM: &str = "towpath_directory_term";
const EXPIRED: &str = "towpath_directory_expired_sessions_total";

/// Threads that do nothing, all the time.
struct Spinning(Arc<AtomicBool>);

impl Spinning {
    fn start() -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        for _ in 0..SPINNING {
            let goes_on = Arc::clone(&goes_on);
            std::thread::spawn(move || {
                while goes_on.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(goes_on)
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A number of each member.
async fn of_all(ensemble: &Ensemble, name: &str) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for member in 0..ensemble.places().len() {
        let value = ensemble.metric(member, name).await;
        values.push(value.with_context(|| format!("{name} of member {}", member + 1))?);
    }
    Ok(values)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes, and all processors"]
async fn nothing_happens_while_the_machine_is_busy() -> Result<()> {
    let ensemble = grow::grown(MEMBERS).await?;
    let addresses = ensemble.addresses();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        let connector = Client::connector().with_session_timeout(SESSION_TIMEOUT);
        clients.push(connector.connect(&addresses.join(",")).await?);
    }
    let leader = ensemble.leader().await.context("a leader")?;
    let before = of_all(&ensemble, TERM).await?;
    let expired_before = of_all(&ensemble, EXPIRED).await?;
    let spinning = Spinning::start();
    let began = Instant::now();
    let mut lost = 0;
    while began.elapsed() < LASTS && lost == 0 {
        tokio::time::sleep(LOOK).await;
        let states = clients.iter().map(Client::state);
        let expired = states.filter(|state| *state == SessionState::Expired);
        lost = expired.count();
    }
    let lasted = began.elapsed();
    drop(spinning);
    let after = of_all(&ensemble, TERM).await?;
    let expired = of_all(&ensemble, EXPIRED).await?;
    println!(
        "{SPINNING} spinning threads for {lasted:.0?}: terms {before:?} before, {after:?} after; sessions \
         expired {expired_before:?} before, {expired:?} after; member {} led, {:?} leads",
        leader + 1,
        ensemble.leader().await.map(|member| member + 1),
    );
    ensure!(
        lost == 0,
        "{lost} of {SESSIONS} clients have lost their sessions"
    );
    ensure!(before == after, "there was an election");
    ensure!(expired_before == expired, "sessions have expired");
    ensure!(ensemble.leader().await == Some(leader), "another one leads");
    Ok(())
}
