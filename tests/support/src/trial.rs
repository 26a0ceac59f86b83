//! A trial: load on a source, kills of what replicates it, and a comparison in the end.
//!
//! The soak and the demo are this with different subjects and different printing.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::{MissedTickBehavior, interval};

use crate::bank::{Load, LoadReport, LoadSettings, PrefixReader, ReaderReport, Verdict};
use crate::subject::{Look, Subject};
use crate::{Rig, wait_until};

/// How often the trial looks at its processes and samples the lag.
const STEP: Duration = Duration::from_millis(20);
/// How often it reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// One look takes milliseconds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

impl Rig {
    /// Runs the load for a while, kills what replicates it with -9 at random times, waits until the
    /// target has caught up, and compares. `report` is called about once a second and at each kill.
    ///
    /// # Errors
    /// When something that is not under test fails: a server, the load, starting a program. What
    /// the pipeline does wrong is in the [`Outcome`].
    pub async fn run_trial(
        &self,
        trial: &Trial,
        subject: Subject,
        report: impl FnMut(&Tick),
    ) -> Result<Outcome> {
        let reader = self.bank().start_reader(&self.target().url("root")).await?;
        let load = self
            .bank()
            .start_load(&self.source().url("app"), &trial.load)?;
        let mut running = Running {
            subject,
            load: Some(load),
            reader,
            began: Instant::now(),
            last_report: Instant::now(),
            committed: 0,
            kills: 0,
            takeovers: Vec::new(),
            committed_at: VecDeque::new(),
            report,
        };
        let mut failure = running.load_and_kills(trial).await?;
        let load = match running.load.take() {
            Some(load) => load.stop().await?,
            None => LoadReport::default(),
        };
        running.committed = load.committed;
        running.tell(Moment::LoadStopped);
        if failure.is_none() {
            let caught_up = tokio::select! {
                caught_up = self.catch_up() => Ok(caught_up),
                died = running.watch() => Err(died?),
            };
            failure = match caught_up {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}\n{}", running.subject.tail())),
                Err(died) => Some(died),
            };
        }
        running.next_look().await?;
        running.tell(Moment::Ended);
        if failure.is_none() {
            failure = running.subject.stop().await?;
        }
        // Whatever happened, it must not write during the comparison.
        running.subject.kill_all()?;
        let mut source = self.source().conn().await?;
        let mut target = self.target().conn().await?;
        Ok(Outcome {
            kills: running.kills,
            takeovers: running.takeovers,
            verdict: self.bank().check(&mut source, &mut target).await?,
            reader: running.reader.stop().await?,
            load,
            failure,
        })
    }
}

/// What a trial does.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// How long the load runs.
    pub duration: Duration,
    /// The kills' times follow from it.
    pub seed: u64,
    /// How often what runs the pipeline is killed with -9: once in each of as many equal parts of
    /// the run. A subject that isn't whole again yet gets its next kill when it is.
    pub kills: u32,
    /// Where in its part a kill may fall, as fractions; all of it is `0.0..1.0`.
    pub kill_window: Range<f64>,
    /// The load.
    pub load: LoadSettings,
}

impl Trial {
    fn kill_times(&self) -> VecDeque<Duration> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let part = self.duration / self.kills.max(1);
        (0..self.kills)
            .map(|i| part * i + part.mul_f64(rng.random_range(self.kill_window.clone())))
            .collect()
    }
}

/// Why a trial tells how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// About a second has passed.
    Second,
    /// This was killed; one that is alone was started again at once.
    Killed(String),
    /// Another one has committed at the target.
    TookOver {
        /// Who.
        by: String,
        /// From the kill to its first commit.
        after: Duration,
    },
    /// The load has stopped; what the target lacks now is all that there is to wait for.
    LoadStopped,
    /// The target has caught up, or has failed to.
    Ended,
}

/// How a running trial stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Since the load began.
    pub elapsed: Duration,
    /// Transactions acknowledged by the source.
    pub at_source: u64,
    /// Transactions visible in the target.
    pub in_target: u64,
    /// How long ago the source had what the target has.
    pub lag: Duration,
    /// Kills so far.
    pub kills: u32,
    /// Why this is told.
    pub moment: Moment,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The comparison after everything had stopped.
    pub verdict: Verdict,
    /// What the reader of the target saw during the run.
    pub reader: ReaderReport,
    /// What the load did.
    pub load: LoadReport,
    /// How often what ran the pipeline was killed.
    pub kills: u32,
    /// From each kill to the next commit at the target, where a standby takes over.
    pub takeovers: Vec<Duration>,
    /// The pipeline ended by itself, did not catch up, or did not obey SIGTERM.
    pub failure: Option<String>,
}

impl Outcome {
    /// Whether all went as promised.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failure.is_none()
            && self.verdict.is_equal()
            && self.reader.reordered == 0
            && self.reader.torn == 0
    }

    /// Everything that did not, for people; empty if all went well.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.failure.iter().cloned().collect();
        complaints.extend(self.verdict.findings.iter().cloned());
        complaints.extend(
            self.reader
                .findings
                .iter()
                .map(|found| format!("the reader: {found}")),
        );
        complaints
    }
}

struct Running<R> {
    subject: Subject,
    load: Option<Load>,
    reader: PrefixReader,
    began: Instant,
    last_report: Instant,
    committed: u64,
    kills: u32,
    takeovers: Vec<Duration>,
    /// When the source reached which count, for what the target hasn't reached.
    committed_at: VecDeque<(Instant, u64)>,
    report: R,
}

impl<R: FnMut(&Tick)> Running<R> {
    /// Returns what the pipeline did wrong, if anything; then the load ends early.
    async fn load_and_kills(&mut self, trial: &Trial) -> Result<Option<String>> {
        let mut kill_times = trial.kill_times();
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.began.elapsed() < trial.duration
            || !kill_times.is_empty()
            || !self.subject.is_whole()
        {
            steps.tick().await;
            if let Some(died) = self.step().await? {
                return Ok(Some(died));
            }
            if self.subject.is_whole()
                && kill_times
                    .front()
                    .is_some_and(|&time| time <= self.began.elapsed())
            {
                kill_times.pop_front();
                let killed = self.subject.kill().await?;
                self.kills += 1;
                self.tell(Moment::Killed(killed));
            }
        }
        Ok(None)
    }

    /// Waits for the reader to look once more, from now on.
    async fn next_look(&mut self) -> Result<()> {
        let looks = self.reader.report().looks;
        wait_until("the reader to look", LOOK_TIMEOUT, async || {
            self.reader.check().await?;
            // The look under way may have begun before.
            Ok(self.reader.report().looks > looks + 1)
        })
        .await
    }

    /// Watches until the pipeline ends by itself.
    async fn watch(&mut self) -> Result<String> {
        let mut steps = interval(STEP);
        loop {
            steps.tick().await;
            if let Some(died) = self.step().await? {
                return Ok(died);
            }
        }
    }

    async fn step(&mut self) -> Result<Option<String>> {
        match self.subject.look().await? {
            Look::Fine => {}
            Look::Amiss(why) => return Ok(Some(why)),
            Look::TookOver { by, after } => {
                self.takeovers.push(after);
                self.tell(Moment::TookOver { by, after });
            }
        }
        self.reader.check().await?;
        if let Some(load) = self.load.take_if(|load| load.has_failed()) {
            load.stop().await?;
            bail!("the load ended early");
        }
        self.sample();
        if self.last_report.elapsed() >= REPORT_INTERVAL {
            self.tell(Moment::Second);
        }
        Ok(None)
    }

    fn sample(&mut self) {
        self.committed = self.load.as_ref().map_or(self.committed, Load::committed);
        if self
            .committed_at
            .back()
            .is_none_or(|&(_, count)| count < self.committed)
        {
            self.committed_at
                .push_back((Instant::now(), self.committed));
        }
    }

    fn tell(&mut self, moment: Moment) {
        self.sample();
        let in_target = self.reader.report().highest;
        while self
            .committed_at
            .front()
            .is_some_and(|&(_, count)| count <= in_target)
        {
            self.committed_at.pop_front();
        }
        let lag = self
            .committed_at
            .front()
            .map_or(Duration::ZERO, |(at, _)| at.elapsed());
        let tick = Tick {
            elapsed: self.began.elapsed(),
            // A transaction may be seen in the target before its client has heard of it.
            at_source: self.committed.max(in_target),
            in_target,
            lag,
            kills: self.kills,
            moment,
        };
        if matches!(tick.moment, Moment::Second) {
            self.last_report = Instant::now();
        }
        (self.report)(&tick);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_over_the_run_and_follow_the_seed() {
        let duration = Duration::from_secs(20);
        let trial = |seed| Trial {
            duration,
            seed,
            kills: 10,
            kill_window: 0.0..1.0,
            load: LoadSettings::default(),
        };
        let times = trial(3).kill_times();
        assert_eq!(times, trial(3).kill_times());
        assert_ne!(times, trial(4).kill_times());
        assert_eq!(times.len(), 10);
        for (i, time) in times.iter().enumerate() {
            let part = Duration::from_secs(2 * i as u64)..Duration::from_secs(2 * i as u64 + 2);
            assert!(part.contains(time), "{times:?}");
        }
    }
}
