//! Whether a Core that runs a task still does, though its session lives.
//!
//! | rule | broken when | then |
//! |---|---|---|
//! | heartbeat | the task's progress wasn't written for [`HEARTBEATS_MISSED`] of its periods | out of sync, and another Core is given the task for [`DISTRUST`] |
//! | acknowledgement | the source sends, and the sink's place didn't move for [`ACKNOWLEDGED_WITHIN`] | out of sync, told once; the task stays where it is, since another Core would have to wait for the same sink, or begin the same large transaction again |
//!
//! How far a task is behind its source isn't a rule yet: for that the source's own place has to
//! be known here.
//!
//! All times are the observer's own, from one clock that only rises: what another machine's clock
//! says is never compared. A new observer knows nothing, and so judges late, never wrongly; the
//! same after a pause of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_protocol::tree::MemberId;

use crate::planner::TaskId;

/// How often a task's progress is written at least.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// So many are missed before a Core is no longer believed.
pub const HEARTBEATS_MISSED: u32 = 3;
/// A sink that is sent something moves within this.
pub const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);
/// How long a Core that fell silent isn't given the task again.
pub const DISTRUST: Duration = Duration::from_secs(60);
/// An observer that wasn't here for this long has missed signs itself.
const ABSENCE: Duration = Duration::from_secs(2);

/// What is seen of a task's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// Who runs it.
    pub core: MemberId,
    /// The zxid of its progress: changes with each heartbeat.
    pub heartbeat: Option<i64>,
    /// The place in the sink.
    pub place: String,
    /// Whether the source sends something.
    pub receiving: bool,
}

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// By whom.
    pub core: MemberId,
    /// Which, and how.
    pub text: String,
}

#[derive(Clone, Debug)]
struct Watched {
    sign: Sign,
    heard: Duration,
    moved: Duration,
    told: bool,
}

/// What is known of all tasks' runs.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    runs: BTreeMap<TaskId, Watched>,
    distrusted: BTreeMap<TaskId, BTreeMap<MemberId, (Duration, String)>>,
    stalled: BTreeMap<TaskId, MemberId>,
    looked: Option<Duration>,
}

impl Liveness {
    /// Begins a look at all tasks. `connected`: whether signs could come in meanwhile.
    pub fn look(&mut self, now: Duration, connected: bool) {
        let absent = self
            .looked
            .is_none_or(|looked| now.saturating_sub(looked) > ABSENCE);
        if absent || !connected {
            self.runs.clear();
        }
        self.looked = Some(now);
        for cores in self.distrusted.values_mut() {
            cores.retain(|_, (since, _)| now.saturating_sub(*since) < DISTRUST);
        }
        self.distrusted.retain(|_, cores| !cores.is_empty());
    }

    /// Takes in what is seen of a task now; `None` if nobody runs it. Tells what is newly broken.
    pub fn observe(&mut self, id: &TaskId, sign: Option<Sign>, now: Duration) -> Vec<Broken> {
        let Some(sign) = sign else {
            self.runs.remove(id);
            self.stalled.remove(id);
            return Vec::new();
        };
        let fresh = |sign: Sign| Watched {
            sign,
            heard: now,
            moved: now,
            told: false,
        };
        let run = self
            .runs
            .entry(id.clone())
            .or_insert_with(|| fresh(sign.clone()));
        if run.sign.core != sign.core {
            *run = fresh(sign);
            self.stalled.remove(id);
            return Vec::new();
        }
        if run.sign.heartbeat != sign.heartbeat {
            run.heard = now;
        }
        if run.sign.place != sign.place || !sign.receiving {
            run.moved = now;
            run.told = false;
            self.stalled.remove(id);
        }
        run.sign = sign;
        let mut broken = Vec::new();
        let core = run.sign.core.clone();
        let silent = now.saturating_sub(run.heard);
        let distrusted = self.distrusted.entry(id.clone()).or_default();
        if silent >= HEARTBEAT * HEARTBEATS_MISSED && !distrusted.contains_key(&core) {
            let text = format!(
                "no heartbeat for {:.1} s, though its session lives",
                silent.as_secs_f64()
            );
            distrusted.insert(core.clone(), (now, text.clone()));
            broken.push(Broken {
                core: core.clone(),
                text: format!("heartbeat rule: {text}"),
            });
        }
        let unmoved = now.saturating_sub(run.moved);
        if unmoved >= ACKNOWLEDGED_WITHIN && !run.told {
            run.told = true;
            self.stalled.insert(id.clone(), core.clone());
            broken.push(Broken {
                core,
                text: format!(
                    "acknowledgement rule: the source sends, and the sink's place didn't move for \
                     {} s",
                    unmoved.as_secs()
                ),
            });
        }
        broken
    }

    /// The Cores that aren't to have a task for now, and why.
    pub fn distrusted(&self, id: &TaskId) -> BTreeMap<MemberId, String> {
        let cores = self.distrusted.get(id).into_iter().flatten();
        cores
            .map(|(core, (_, text))| (core.clone(), text.clone()))
            .collect()
    }

    /// Whether a Core may be counted as in sync for a task.
    pub fn in_sync(&self, id: &TaskId, core: &MemberId) -> bool {
        self.stalled.get(id) != Some(core)
            && self
                .distrusted
                .get(id)
                .is_none_or(|cores| !cores.contains_key(core))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(core: &str, heartbeat: i64, place: &str) -> Option<Sign> {
        Some(Sign {
            core: core.parse().unwrap(),
            heartbeat: Some(heartbeat),
            place: place.to_owned(),
            receiving: true,
        })
    }

    /// Shows signs at tenths of a second and lists what breaks when.
    fn broken(signs: impl IntoIterator<Item = (u64, Option<Sign>)>) -> (Liveness, Vec<String>) {
        let id = TaskId {
            pipeline: "p".parse().unwrap(),
            task: "t".parse().unwrap(),
        };
        let mut liveness = Liveness::default();
        let mut out = Vec::new();
        for (tenths, sign) in signs {
            let now = Duration::from_millis(tenths * 100);
            liveness.look(now, true);
            for broken in liveness.observe(&id, sign, now) {
                out.push(format!("{tenths} {} {}", broken.core, broken.text));
            }
        }
        (liveness, out)
    }

    #[test]
    fn a_heartbeat_missed_three_times() {
        let (_, alive) = broken((0..200).map(|t| (t, sign("a", t as i64 / 9, &t.to_string()))));
        assert_eq!(alive, [""; 0]);
        let (liveness, silent) =
            broken((0..60).map(|t| (t, sign("a", t.min(10) as i64, &t.to_string()))));
        assert_eq!(
            silent,
            ["40 a heartbeat rule: no heartbeat for 3.0 s, though its session lives"],
            "told once"
        );
        let id = TaskId {
            pipeline: "p".parse().unwrap(),
            task: "t".parse().unwrap(),
        };
        assert!(!liveness.in_sync(&id, &"a".parse().unwrap()));
        assert!(liveness.in_sync(&id, &"b".parse().unwrap()));
        let mut later = liveness.clone();
        later.look(Duration::from_secs(64), true);
        assert!(later.in_sync(&id, &"a".parse().unwrap()), "not for ever");
    }

    #[test]
    fn another_run_begins_anew_and_so_does_an_observer_that_was_away() {
        let (_, moved) = broken([
            (0, sign("a", 1, "")),
            (20, sign("b", 1, "")),
            (40, sign("b", 1, "")),
        ]);
        assert_eq!(moved, [""; 0]);
        let (_, absent) = broken([(0, sign("a", 1, "")), (400, sign("a", 1, ""))]);
        assert_eq!(absent, [""; 0]);
        let (_, stopped) =
            broken((0..60).map(|t| (t, if t == 20 { None } else { sign("a", 1, "") })));
        assert_eq!(stopped.len(), 1);
        assert!(stopped[0].starts_with("51 "), "{stopped:?}");
    }

    #[test]
    fn a_sink_that_doesn_t_acknowledge_is_told_and_stays() {
        let (liveness, stalled) = broken((0..700).map(|t| (t, sign("a", t as i64, "x"))));
        assert_eq!(
            stalled,
            [
                "300 a acknowledgement rule: the source sends, and the sink's place didn't move for 30 s"
            ]
        );
        let id = TaskId {
            pipeline: "p".parse().unwrap(),
            task: "t".parse().unwrap(),
        };
        assert!(!liveness.in_sync(&id, &"a".parse().unwrap()));
        assert!(liveness.distrusted(&id).is_empty());
    }
}
