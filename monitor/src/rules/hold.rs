//! From what is bad at a moment to what fires: begins after it was bad for long enough, ends after
//! it was well for long enough.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use towpath_protocol::tree::AlertId;
use towpath_protocol::tree::record::{Alert, AlertState};

use super::{Finding, Level, Rule, Timings};

/// What is known of each subject of each rule.
#[derive(Clone, Debug, Default)]
pub struct Holds(BTreeMap<AlertId, Track>);

#[derive(Clone, Debug, Default)]
struct Track {
    firing: bool,
    bad_since: Option<Duration>,
    well_since: Option<Duration>,
    rule: Option<Rule>,
}

/// What fires, with what the rule says of it now, if that is bad.
pub type Firing = BTreeMap<AlertId, Option<Finding>>;

impl Holds {
    /// One more look. `alerts` are those of the tree: what fires there fires here, so that a new
    /// leader begins where the former one was.
    pub fn step(
        &mut self,
        findings: Vec<Finding>,
        alerts: &BTreeMap<AlertId, Alert>,
        timings: &Timings,
        now: Duration,
    ) -> Firing {
        let mut found: BTreeMap<AlertId, Finding> =
            findings.into_iter().map(|f| (f.id(), f)).collect();
        let told = |id: &AlertId| {
            alerts
                .get(id)
                .filter(|alert| alert.state == AlertState::Firing)
        };
        let ids: BTreeSet<AlertId> = found
            .keys()
            .chain(self.0.keys())
            .chain(alerts.keys().filter(|id| told(id).is_some()))
            .cloned()
            .collect();
        let mut firing = Firing::new();
        for id in ids {
            let finding = found.remove(&id);
            let track = self.0.entry(id.clone()).or_insert_with(|| {
                let told = told(&id);
                Track {
                    firing: told.is_some(),
                    rule: told.and_then(|alert| Rule::named(&alert.rule)),
                    ..Track::default()
                }
            });
            track.step(finding.as_ref(), timings, now);
            if track.firing {
                let bad = finding.filter(|finding| finding.level == Level::Bad);
                firing.insert(id, bad);
            } else if track.bad_since.is_none() {
                self.0.remove(&id);
            }
        }
        firing
    }
}

impl Track {
    fn step(&mut self, finding: Option<&Finding>, timings: &Timings, now: Duration) {
        match finding {
            Some(finding) if finding.level == Level::Bad => {
                self.rule = Some(finding.rule);
                self.well_since = None;
                let since = *self.bad_since.get_or_insert(now);
                self.firing |= now.saturating_sub(since) >= finding.hold;
            }
            Some(_) => {
                self.well_since = None;
                self.bad_since = None;
            }
            None => {
                self.bad_since = None;
                let since = *self.well_since.get_or_insert(now);
                let clear = timings.clear_of(self.rule);
                if now.saturating_sub(since) >= clear {
                    self.firing = false;
                }
            }
        }
    }
}
