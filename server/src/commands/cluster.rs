//! What is asked of the cluster, beside applying a spec.

use jiff::Timestamp;
use towpath_coordination::{CoordinationError, Session, Transaction};
use towpath_protocol::epoch::Generation;
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{
    Action, Alert, AlertState, Cluster, DataSource, Drain, HistoryEvent, LogConfig, Member,
};

use super::{Decision, Goal, Refusal};

/// Decides about an action to the cluster.
pub(super) async fn decide(
    session: &Session,
    action: &Action,
    by: &str,
    now: Timestamp,
) -> Result<Result<Decision, Refusal>, CoordinationError> {
    let mut transaction = Transaction::new();
    let refuse = |text: String| Ok(Err(Refusal(text)));
    let done = |text: String| Ok(Ok(Decision::done(text)));
    let mut goal = None;
    let (what, text) = match action {
        Action::Drain { core, reason } => {
            let node = path::drain(core);
            if session.read::<Drain>(&node).await?.is_some() {
                return done(format!("nothing to do: {core} is drained already"));
            }
            let member = path::member(MemberKind::Core, core);
            if session.read::<Member>(&member).await?.is_none() {
                let cores = session.children(&path::members(MemberKind::Core)).await?;
                return refuse(format!(
                    "there is no Core {core}; there are: {}",
                    cores.join(", ")
                ));
            }
            let drain = Drain {
                since: now,
                by: by.to_owned(),
                reason: reason.clone(),
            };
            transaction.create(node, drain)?;
            goal = Some(Goal::Empty { core: core.clone() });
            ("drained", format!("{core} gets no work"))
        }
        Action::Undrain { core } => {
            let node = path::drain(core);
            let Some(entry) = session.read::<Drain>(&node).await? else {
                return done(format!("nothing to do: {core} isn't drained"));
            };
            transaction.remove(node, Some(entry.node_version));
            ("undrained", format!("{core} may get work"))
        }
        Action::SetSource {
            name,
            address,
            reason,
        } => {
            if let Err(problem) = check_address(address) {
                return refuse(format!("{address:?} is no address: {problem}"));
            }
            let node = path::datasource(name);
            let former = session.read::<DataSource>(&node).await?;
            let version = former.as_ref().map(|entry| entry.node_version);
            if let Some(former) = &former
                && former.value.record.address == *address
            {
                return done(format!("nothing to do: {name} is at {address} already"));
            }
            let source = DataSource {
                address: address.clone(),
                since: now,
                by: by.to_owned(),
                reason: reason.clone(),
            };
            transaction.put(node, source, version)?;
            let text = match former {
                Some(former) => format!(
                    "{name} moves from {} to {address}",
                    former.value.record.address
                ),
                None => format!("{name} is at {address}"),
            };
            ("data-source", text)
        }
        Action::LogLevel { filter } => {
            let node = path::log_config();
            let former = session.read::<LogConfig>(&node).await?;
            let version = former.as_ref().map(|entry| entry.node_version);
            match (filter, version) {
                (Some(filter), _) => {
                    if let Err(problem) = check_filter(filter) {
                        return refuse(format!("{filter:?} is no log filter: {problem}"));
                    }
                    let config = LogConfig {
                        filter: filter.clone(),
                    };
                    transaction.put(node, config, version)?;
                    ("log", format!("every process logs {filter}"))
                }
                (None, Some(version)) => {
                    transaction.remove(node, Some(version));
                    (
                        "log",
                        "every process logs what it was started with".to_owned(),
                    )
                }
                (None, None) => {
                    return done("nothing to do: no log filter is set".to_owned());
                }
            }
        }
        Action::Acknowledge { alert } => {
            let node = path::alert(alert);
            let Some(mut entry) = session.read::<Alert>(&node).await? else {
                return refuse(format!("there is no alert {alert}; see towpath alerts"));
            };
            let record = &mut entry.value.record;
            if let Some(first) = &record.acknowledged_by {
                return done(format!("nothing to do: {first} has seen it already"));
            }
            if record.state == AlertState::Resolved {
                return refuse(format!("alert {alert} is resolved already"));
            }
            record.acknowledged_by = Some(by.to_owned());
            record.acknowledged = Some(now);
            transaction.set(node, entry.value, entry.node_version)?;
            ("acknowledged", format!("alert {alert} is acknowledged"))
        }
        Action::Adopt { above } => {
            let node = path::cluster();
            let Some(mut entry) = session.read::<Cluster>(&node).await? else {
                return refuse("the directory has no identity; is a Server running?".to_owned());
            };
            let generation = entry.value.record.generation;
            if generation > *above {
                return done(format!(
                    "nothing to do: the directory is in generation {generation}, above {above}"
                ));
            }
            let Some(next) = above.0.checked_add(1) else {
                return refuse(format!("there is no generation above {above}"));
            };
            entry.value.record.generation = Generation(next);
            transaction.set(node, entry.value, entry.node_version)?;
            (
                "generation",
                format!("the directory is in generation {next}, after {generation}"),
            )
        }
        Action::Other(_) => {
            return refuse("this release doesn't know that; use a newer towpath".to_owned());
        }
        _ => return refuse("that is asked of a pipeline, not of the cluster".to_owned()),
    };
    let event = HistoryEvent {
        at: now,
        what: what.to_owned(),
        text: format!("{text}, asked by {by}"),
        by: by.to_owned(),
        task: None,
    };
    transaction.append(path::cluster_history_event(), event)?;
    let decision = Decision::new(transaction, text);
    Ok(Ok(match goal {
        Some(goal) => decision.until(goal),
        None => decision,
    }))
}

/// `host:port`, an IPv6 address in brackets.
fn check_address(address: &str) -> Result<(), &'static str> {
    let (host, port) = address
        .rsplit_once(':')
        .ok_or("write host:port, as in db2.example.net:3306")?;
    if !matches!(port.parse::<u16>(), Ok(1..)) {
        return Err("the port is no number from 1 to 65535");
    }
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => Ok(()),
        Some(_) => Err("the brackets hold no IPv6 address"),
        None if host.is_empty() => Err("there is no host"),
        None if host.contains(':') => Err("an IPv6 address needs brackets"),
        None if host
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_')) =>
        {
            Ok(())
        }
        None => Err("the host has a character that no host name has"),
    }
}

/// Roughly the syntax of `EnvFilter`: directives `target=level` or `level`, by commas. Spans and
/// fields in brackets are left to the processes.
fn check_filter(filter: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    if filter.trim().is_empty() {
        return Err("it's empty; write info, or towpath_core=debug".to_owned());
    }
    if filter.contains(['[', '{']) {
        return Ok(());
    }
    for directive in filter.split(',').map(str::trim) {
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target), Some(level)),
            None if LEVELS.contains(&directive.to_ascii_lowercase().as_str()) => {
                (None, Some(directive))
            }
            None => (Some(directive), None),
        };
        if let Some(level) = level
            && !LEVELS.contains(&level.to_ascii_lowercase().as_str())
        {
            return Err(format!(
                "{level:?} is no level; write off, error, warn, info, debug or trace"
            ));
        }
        let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | ':' | '-');
        if target.is_some_and(|target| target.is_empty() || !target.chars().all(plain)) {
            return Err(format!("{directive:?} names no module"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in [
            "db:1",
            "db2.example.net:3306",
            "10.0.0.1:65535",
            "[::1]:3306",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in [
            "db", ":1", "db:0", "db:x", "::1:3306", "[x]:1", "a b:1", "u@h:1",
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn filters() {
        for good in [
            "info",
            "INFO,towpath_core::apply=debug",
            "towpath_core",
            "a[x{y=1}]=info",
        ] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["", " ", "a=loud", "info,,b=info", "a b=info", "=info"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }
}
