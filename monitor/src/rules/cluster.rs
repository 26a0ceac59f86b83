//! Rules about members and data sources.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_protocol::tree::MemberId;
use towpath_protocol::tree::record::{
    Alert, AlertState, DirectoryMembers, Member, MemberBehind, Severity,
};

use super::{Finding, History, Rule, Timings};
use crate::view::View;

pub(super) fn look(
    view: &View,
    history: &History,
    timings: &Timings,
    now: Duration,
    found: &mut Vec<Finding>,
) {
    cores(view, history, timings, now, found);
    servers(view, timings, found);
    directory(view, timings, found);
    sources(view, timings, found);
}

/// A Core that leaves in order resigns from its tasks first. One that is gone, and whose session
/// ended with its instances or which still has work after a while, is lost.
fn cores(
    view: &View,
    history: &History,
    timings: &Timings,
    now: Duration,
    found: &mut Vec<Finding>,
) {
    let mut work: BTreeMap<&MemberId, Vec<String>> = BTreeMap::new();
    for (name, pipeline) in &view.pipelines {
        for (task, state) in &pipeline.tasks {
            for core in state.assignment.iter().flat_map(|a| &a.cores) {
                work.entry(core).or_default().push(format!("{name}/{task}"));
            }
        }
    }
    for (core, gone) in history.gone() {
        let work = work.get(core);
        let lately = now.saturating_sub(gone.since) < timings.core_shown;
        if view.drained.contains(core) || (work.is_none() && !(gone.abrupt && lately)) {
            continue;
        }
        let had = match work {
            Some(work) => format!("it has {}", work.join(", ")),
            None => "others have its work".to_owned(),
        };
        let text = format!(
            "Core {core} is gone without having left in order; {had}; look at its machine and its \
             log, and start it again"
        );
        let hold = if gone.abrupt {
            Duration::ZERO
        } else {
            timings.core_absent
        };
        let finding = Finding::new(Rule::CoreLost, core.as_str(), Severity::Warning, text);
        found.push(finding.hold(hold));
    }
}

/// How a Server left isn't visible; one that is gone for good is acknowledged, and then forgotten.
fn servers(view: &View, timings: &Timings, found: &mut Vec<Finding>) {
    for server in view.seen.servers.keys() {
        let there = server
            .parse::<MemberId>()
            .is_ok_and(|server| view.servers.contains_key(&server));
        if there {
            continue;
        }
        let text = format!(
            "Server {server} is gone; start it again, or acknowledge this alert if it is gone for \
             good: it is forgotten then"
        );
        let finding = Finding::new(Rule::ServerLost, server, Severity::Critical, text);
        found.push(finding.hold(timings.server_absent));
    }
}

/// What the Server that leads says of the members of the directory. Unlike a Server that is gone, a
/// member isn't forgotten: it's missed until it's back, or isn't one any more.
fn directory(view: &View, timings: &Timings, found: &mut Vec<Finding>) {
    let rule = Rule::DirectoryMemberLags;
    let Some(members) = sight(view) else {
        let is_told =
            |alert: &&Alert| alert.rule == rule.as_str() && alert.state == AlertState::Firing;
        let told = view.alerts.values().filter(is_told);
        found.extend(told.map(|alert| {
            let text = alert.text.clone();
            Finding::new(rule, &*alert.subject, Severity::Warning, text).unclear()
        }));
        return;
    };
    for member in &members.behind {
        let text = behind(members, member);
        let subject = member.member.to_string();
        let finding = Finding::new(rule, subject, Severity::Warning, text);
        found.push(finding.hold(timings.member_behind));
    }
}

/// What the Server that leads sees; none while it isn't clear who leads. One that has ceased to may
/// not have said so yet.
fn sight(view: &View) -> Option<&DirectoryMembers> {
    let leads = |server: &&Member| server.raft_role.as_deref() == Some("leader");
    let mut leaders = view.servers.values().filter(leads);
    let leader = leaders.next()?;
    match leaders.next() {
        None => leader.directory.as_ref(),
        Some(_) => None,
    }
}

fn behind(members: &DirectoryMembers, member: &MemberBehind) -> String {
    let (number, client) = (member.member, &member.client);
    let what = match (member.silent, member.lag_entries) {
        (true, _) => "acknowledges nothing".to_owned(),
        (false, Some(entries)) => {
            format!("was {entries} entries behind when that was noticed, and hasn't caught up")
        }
        (false, None) => "hasn't caught up".to_owned(),
    };
    let voters = members.voters;
    let lost = u32::try_from(members.behind.len()).unwrap_or(voters);
    let level = voters.saturating_sub(lost);
    let margin = match level > voters / 2 + 1 {
        true => String::new(),
        false => {
            format!("; {level} of {voters} keep up, so the directory stops when another one fails")
        }
    };
    format!(
        "member {number} of the directory, on {client}, {what}{margin}; see \"towpath cluster status\", and \
         look at its Server, its disk and its peer port; if its data is lost, put another in its \
         place: \"towpath cluster replace {number} --by …\""
    )
}

fn sources(view: &View, timings: &Timings, found: &mut Vec<Finding>) {
    for (name, probe) in view.probes.iter().filter(|(_, probe)| !probe.answers) {
        let text = format!(
            "data source {name} at {} does not answer: {}; start it, or say where it is now: \
             towpath source set {name} HOST:PORT",
            probe.address, probe.text
        );
        let finding = Finding::new(Rule::SourceDown, name.as_str(), Severity::Critical, text);
        found.push(finding.hold(timings.source_hold));
    }
}
