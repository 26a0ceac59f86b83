//! `towpath monitor`: a Monitor in this process.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use towpath_monitor::{ConnectOptions, HookStatus, Monitor, MonitorOptions, MonitorStatus};
use towpath_protocol::spec::AlertSpec;
use towpath_protocol::tree::Role;

use crate::cli;
use crate::process::exposition::{Family, Sample};
use crate::process::{http, logs};

/// Runs a Monitor until a signal.
///
/// # Errors
/// It doesn't start.
pub(crate) async fn monitor(arguments: cli::Monitor) -> anyhow::Result<ExitCode> {
    let logs = logs::start(&arguments.log, "monitor")?;
    let member = arguments.member;
    let mut connect = ConnectOptions::new(arguments.directory.directory);
    connect.tls = member.tls.to_directory();
    connect.credentials = Some(member.tokens.credentials(Role::Monitor)?);
    let mut options = MonitorOptions::new(arguments.id.clone(), connect);
    if let Some(file) = arguments.hooks {
        let environment = |name: &str| std::env::var(name).ok();
        options.hooks = AlertSpec::load_hooks(&file, &environment)?;
    }
    options.allow_command_hooks = arguments.allow_command_hooks;
    let monitor = Monitor::start(options)
        .await
        .with_context(|| format!("the Monitor {} can't start", arguments.id))?;
    logs.follow(monitor.session());
    let scraped = monitor.statuses();
    let http = http::serve(
        &member,
        Box::new(Vec::new),
        Box::new(move || families(&scraped())),
    )
    .await?;
    tracing::info!(monitor = %arguments.id, %http, "ready");
    member.supervised.tell_ready(&json!({"http": http}))?;
    member.supervised.stop().await;
    tracing::info!("asked to stop");
    monitor.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn families(status: &MonitorStatus) -> Vec<Family> {
    let hooks = |name, help, counter, value: fn(&HookStatus) -> u64| {
        let sample = |(hook, status): (&String, &HookStatus)| Sample {
            labels: vec![("hook", hook.clone())],
            value: value(status) as f64,
        };
        Family {
            name,
            help,
            counter,
            samples: status.hooks.iter().map(sample).collect(),
        }
    };
    let firing = status
        .firing
        .iter()
        .map(|(rule, count)| Sample {
            labels: vec![("rule", rule.clone())],
            value: *count as f64,
        })
        .collect();
    vec![
        Family {
            name: "towpath_monitor_leads",
            help: "Whether this Monitor raises the alerts",
            counter: false,
            samples: Sample::one(u8::from(status.leading).into()),
        },
        Family {
            name: "towpath_alerts_firing",
            help: "Alerts that fire, as the Monitor that leads sees them",
            counter: false,
            samples: firing,
        },
        hooks(
            "towpath_hook_notifications_accepted",
            "What a hook has accepted",
            true,
            |hook| hook.accepted,
        ),
        hooks(
            "towpath_hook_notifications_failed",
            "Tries that failed and are made again",
            true,
            |hook| hook.failed,
        ),
        hooks(
            "towpath_hook_notifications_given_up",
            "What nobody was told in the end",
            true,
            |hook| hook.given_up,
        ),
        hooks(
            "towpath_hook_notifications_pending",
            "What a hook is still to be told",
            false,
            |hook| hook.pending,
        ),
    ]
}
