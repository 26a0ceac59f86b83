//! From what fires to the alerts of the tree.
//!
//! What is to be told, and what has been, is in each alert's node alone: so a new leader neither
//! repeats nor forgets. Every write is a compare-and-set on what was just read; one that has been
//! made already, by us or by a former leader, is not made again.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use towpath_coordination::{CoordinationError, Expect, Session};
use towpath_protocol::spec::HookName;
use towpath_protocol::tree::record::{
    Alert, AlertState, Notified, Record, Seen, SeenHolder, Versioned,
};
use towpath_protocol::tree::{AlertId, NodePath, path};

use crate::rules::hold::Firing;
use crate::rules::{Finding, Rule};
use crate::view::View;

/// How long a resolved alert is kept, to be looked at.
pub const RESOLVED_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How long a Server that is gone is missed.
const SERVER_MISSED: SignedDuration = SignedDuration::from_hours(24);
/// The most alerts that the tree holds: far more than anybody reads, and a small part of it.
pub const ALERTS_MAX: usize = 1000;
/// How often a write is tried again when another changed the node meanwhile.
const RACES_MAX: usize = 8;

/// What is to become of an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It begins to fire.
    Fire(Box<Alert>),
    /// It goes on, and something else is to be said of it.
    Say(String, Option<String>),
    /// It ends.
    Resolve(Timestamp),
    /// It ended long ago.
    Remove,
}

/// What to change so that the tree says what fires. `hooks` are the names of those who are to be
/// told, by pipeline.
pub fn plan(
    firing: &Firing,
    alerts: &BTreeMap<AlertId, Alert>,
    hooks: impl Fn(&Finding) -> Vec<HookName>,
    now: Timestamp,
) -> Vec<(AlertId, Change)> {
    let mut changes = Vec::new();
    let mut room = ALERTS_MAX.saturating_sub(alerts.len());
    for (id, finding) in firing {
        let present = alerts.get(id);
        let Some(finding) = finding else {
            continue;
        };
        if present.is_some_and(|alert| is_this(alert, finding.occurrence)) {
            let told = present.filter(|alert| alert.state == AlertState::Firing);
            if told.is_some_and(|alert| alert.text != finding.text) && !finding.rule.measures() {
                changes.push((
                    id.clone(),
                    Change::Say(finding.text.clone(), finding.code.clone()),
                ));
            }
            continue;
        }
        if present.is_none() {
            if room == 0 {
                continue;
            }
            room -= 1;
        }
        changes.push((
            id.clone(),
            Change::Fire(Box::new(fire(finding, &hooks(finding), now))),
        ));
    }
    let mut resolved = Vec::new();
    for (id, alert) in alerts {
        match alert.state {
            AlertState::Firing if !firing.contains_key(id) => {
                changes.push((id.clone(), Change::Resolve(now)));
            }
            AlertState::Resolved if !firing.contains_key(id) => {
                resolved.push((alert.resolved.unwrap_or(alert.since), id));
            }
            _ => {}
        }
    }
    // The oldest go first, and a tenth of the room is kept free for what comes.
    resolved.sort_unstable();
    let crowd = alerts.len().saturating_sub(ALERTS_MAX - ALERTS_MAX / 10);
    for (at, (when, id)) in resolved.into_iter().enumerate() {
        if at < crowd || now.duration_since(when) > RESOLVED_KEPT {
            changes.push((id.clone(), Change::Remove));
        }
    }
    changes
}

/// Whether the alert is of this occurrence already: of an event, whether it fires or not.
fn is_this(alert: &Alert, occurrence: Option<u64>) -> bool {
    match occurrence {
        Some(_) => alert.occurrence == occurrence,
        None => alert.state == AlertState::Firing,
    }
}

fn fire(finding: &Finding, hooks: &[HookName], now: Timestamp) -> Alert {
    Alert {
        rule: finding.rule.as_str().to_owned(),
        severity: finding.severity.clone(),
        state: AlertState::Firing,
        subject: finding.subject.clone(),
        text: finding.text.clone(),
        since: now,
        resolved: None,
        acknowledged_by: None,
        acknowledged: None,
        pipeline: finding.pipeline.as_ref().map(ToString::to_string),
        code: finding.code.clone(),
        occurrence: finding.occurrence,
        notified: hooks
            .iter()
            .map(|hook| (hook.to_string(), Notified::default()))
            .collect(),
    }
}

impl Change {
    /// What the node is to hold; `None` if there is nothing to write.
    fn on(&self, present: Option<Alert>) -> Option<Alert> {
        match (self, present) {
            (Self::Fire(alert), Some(present)) if is_this(&present, alert.occurrence) => None,
            (Self::Fire(alert), _) => Some((**alert).clone()),
            (Self::Say(text, code), Some(mut alert)) if alert.state == AlertState::Firing => {
                alert.text.clone_from(text);
                alert.code.clone_from(code);
                Some(alert)
            }
            (Self::Resolve(now), Some(mut alert)) if alert.state == AlertState::Firing => {
                alert.state = AlertState::Resolved;
                alert.resolved = Some(*now);
                Some(alert)
            }
            _ => None,
        }
    }

    /// Puts it in force.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn apply(self, session: &Session, id: &AlertId) -> Result<(), CoordinationError> {
        let path = path::alert(id);
        if let Self::Remove = self {
            let entry = session.read::<Alert>(&path).await?;
            let ended = entry.filter(|entry| entry.value.record.state == AlertState::Resolved);
            return match ended {
                Some(entry) => session.remove(&path, Some(entry.node_version)).await,
                None => Ok(()),
            };
        }
        let written = update::<Alert>(session, &path, |present| self.on(present)).await?;
        if let Some(alert) = written {
            tracing::info!(
                alert = %id, rule = alert.rule, severity = alert.severity.as_str(),
                state = alert.state.as_str(), subject = alert.subject, text = alert.text, "alert"
            );
        }
        Ok(())
    }
}

/// Reads a record, decides, writes it under compare-and-set, and says what was written. What a
/// newer program added is kept.
///
/// # Errors
/// [`CoordinationError`].
pub(crate) async fn update<T: Record>(
    session: &Session,
    path: &NodePath,
    decide: impl Fn(Option<T>) -> Option<T>,
) -> Result<Option<T>, CoordinationError> {
    let mut last = CoordinationError::Changed { path: path.clone() };
    for _ in 0..RACES_MAX {
        let entry = session.read::<T>(path).await?;
        let (expect, unknown) = match &entry {
            Some(entry) => (
                Expect::Version(entry.node_version),
                Some(entry.value.clone()),
            ),
            None => (Expect::Absent, None),
        };
        let Some(record) = decide(entry.map(|entry| entry.value.record)) else {
            return Ok(None);
        };
        let mut value = unknown.unwrap_or_else(|| Versioned::new(record.clone()));
        value.record = record.clone();
        match session.write(path, value, expect).await {
            Ok(_) => return Ok(Some(record)),
            Err(
                error @ (CoordinationError::Changed { .. }
                | CoordinationError::Exists { .. }
                | CoordinationError::NotFound { .. }),
            ) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// What the Monitors are to remember after this look.
pub fn remember(view: &View, now: Timestamp) -> Seen {
    let mut seen = Seen::default();
    for (name, pipeline) in &view.pipelines {
        for (task, state) in &pipeline.tasks {
            let subject = format!("{name}/{task}");
            let holder = state.epoch.as_ref().map(|(epoch, holder)| SeenHolder {
                member: holder.member.clone(),
                epoch: towpath_protocol::epoch::Epoch(*epoch),
            });
            if let Some(holder) = holder.or_else(|| view.seen.tasks.get(&subject).cloned()) {
                seen.tasks.insert(subject, holder);
            }
        }
    }
    for (server, member) in &view.servers {
        seen.servers.insert(server.to_string(), member.started);
    }
    for (server, since) in &view.seen.servers {
        let missed = view.alerts.values().find(|alert| {
            alert.rule == Rule::ServerLost.as_str()
                && alert.subject == *server
                && alert.state == AlertState::Firing
        });
        let forgotten = missed.is_some_and(|alert| {
            alert.acknowledged.is_some() || now.duration_since(alert.since) > SERVER_MISSED
        });
        if !forgotten {
            seen.servers.entry(server.clone()).or_insert(*since);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn finding(rule: Rule, occurrence: Option<u64>) -> Finding {
        Finding {
            rule,
            pipeline: Some("orders".parse().unwrap()),
            subject: "orders/replica".into(),
            severity: towpath_protocol::tree::record::Severity::Warning,
            text: "bad".into(),
            level: crate::rules::Level::Bad,
            hold: std::time::Duration::ZERO,
            occurrence,
            code: None,
        }
    }

    fn firing(finding: &Finding) -> Firing {
        Firing::from([(finding.id(), Some(finding.clone()))])
    }

    fn oncall(_: &Finding) -> Vec<HookName> {
        vec!["oncall".parse().unwrap()]
    }

    /// Plans, and does it.
    fn step(
        firing: &Firing,
        alerts: &mut BTreeMap<AlertId, Alert>,
        now: Timestamp,
    ) -> Vec<&'static str> {
        let mut done = Vec::new();
        for (id, change) in plan(firing, alerts, oncall, now) {
            done.push(match change {
                Change::Fire(_) => "fire",
                Change::Say(..) => "say",
                Change::Resolve(_) => "resolve",
                Change::Remove => "remove",
            });
            let present = alerts.remove(&id);
            if change != Change::Remove {
                let written = change.on(present.clone()).or(present);
                alerts.extend(written.map(|alert| (id, alert)));
            }
        }
        done
    }

    #[test]
    fn the_life_of_an_alert() {
        let mut alerts = BTreeMap::new();
        let mut failed = finding(Rule::Failed, None);
        let id = failed.id();
        assert_eq!(id.as_str(), "failed.orders.replica");
        assert_eq!(step(&firing(&failed), &mut alerts, at(0)), ["fire"]);
        assert_eq!(alerts[&id].notified["oncall"], Notified::default());
        assert!(step(&firing(&failed), &mut alerts, at(1)).is_empty());
        failed.text = "worse".into();
        assert_eq!(step(&firing(&failed), &mut alerts, at(2)), ["say"]);
        assert_eq!((alerts[&id].since, &*alerts[&id].text), (at(0), "worse"));
        let waning = Firing::from([(id.clone(), None)]);
        assert!(step(&waning, &mut alerts, at(3)).is_empty());
        let none = Firing::new();
        assert_eq!(step(&none, &mut alerts, at(4)), ["resolve"]);
        assert!(step(&none, &mut alerts, at(5)).is_empty());
        assert_eq!(alerts[&id].resolved, Some(at(4)));
        assert_eq!(step(&firing(&failed), &mut alerts, at(6)), ["fire"]);
        assert_eq!((alerts[&id].since, alerts[&id].resolved), (at(6), None));
        assert_eq!(step(&none, &mut alerts, at(7)), ["resolve"]);
        assert!(step(&none, &mut alerts, at(86_400)).is_empty());
        assert_eq!(step(&none, &mut alerts, at(86_408)), ["remove"]);
    }

    #[test]
    fn an_event_is_raised_once_per_occurrence() {
        let mut alerts = BTreeMap::new();
        let first = firing(&finding(Rule::Failover, Some(7)));
        assert_eq!(step(&first, &mut alerts, at(0)), ["fire"]);
        assert_eq!(step(&Firing::new(), &mut alerts, at(1)), ["resolve"]);
        // A leader that hadn't got as far as to remember it.
        assert!(step(&first, &mut alerts, at(2)).is_empty());
        let second = firing(&finding(Rule::Failover, Some(9)));
        assert_eq!(step(&second, &mut alerts, at(3)), ["fire"]);
        let third = firing(&finding(Rule::Failover, Some(11)));
        assert_eq!(
            step(&third, &mut alerts, at(4)),
            ["fire"],
            "while one fires"
        );
    }

    #[test]
    fn what_another_wrote_meanwhile_counts() {
        let alert = fire(&finding(Rule::Lag, None), &[], at(0));
        let mut resolved = alert.clone();
        resolved.state = AlertState::Resolved;
        let again = Change::Fire(Box::new(alert.clone()));
        assert_eq!(again.on(Some(alert.clone())), None);
        assert!(again.on(Some(resolved.clone())).is_some());
        assert_eq!(Change::Resolve(at(1)).on(Some(resolved.clone())), None);
        assert_eq!(Change::Resolve(at(1)).on(None), None);
        assert_eq!(Change::Say("x".into(), None).on(Some(resolved)), None);
        let mut seen = alert;
        seen.acknowledged_by = Some("anna".into());
        let ended = Change::Resolve(at(1)).on(Some(seen)).unwrap();
        assert_eq!(ended.acknowledged_by.as_deref(), Some("anna"));
    }

    #[test]
    fn alerts_are_bounded() {
        let mut alerts = BTreeMap::new();
        let template = fire(&finding(Rule::Lag, None), &[], at(0));
        for n in 0..ALERTS_MAX {
            let mut alert = template.clone();
            alert.state = AlertState::Resolved;
            alert.resolved = Some(at(i64::try_from(n).unwrap()));
            alerts.insert(format!("lag.p{n}").parse().unwrap(), alert);
        }
        let fired = firing(&finding(Rule::Lag, None));
        let now = at(2000);
        let done = step(&fired, &mut alerts, now);
        assert_eq!(done.iter().filter(|did| **did == "remove").count(), 100);
        assert!(!alerts.contains_key(&"lag.p99".parse().unwrap()));
        assert!(alerts.contains_key(&"lag.p100".parse().unwrap()));
        assert_eq!(
            step(&fired, &mut alerts, now),
            ["fire"],
            "there is room now"
        );
    }
}
