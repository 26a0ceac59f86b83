//! Which state a pipeline is in, from what is seen of its tasks: the one furthest from what is
//! wanted counts.

use towpath_protocol::tree::record::{DesiredState, InstanceState, LifeState, TaskState};

use super::view::TaskLife;

/// The state of a task that has no failure, and why.
pub(super) fn task(task: &TaskLife, desired: &DesiredState) -> (LifeState, String) {
    let name = &task.name;
    let on = |place: usize| task.instances.get(place).map(|instance| &instance.member);
    if *desired == DesiredState::Stopped {
        return match on(0) {
            None => (LifeState::Stopped, format!("{name} runs nowhere")),
            Some(core) => (LifeState::Stopping, format!("{core} ends {name}")),
        };
    }
    if let Some(reason) = &task.unplaced {
        return (LifeState::Unplaced, format!("{name}: {reason}"));
    }
    let Some(instance) = task.runner() else {
        let away: Vec<&str> = task.away.iter().map(|core| core.as_str()).collect();
        let cores: Vec<&str> = task.cores.iter().map(|core| core.as_str()).collect();
        let cause = if task.cores.is_empty() {
            format!("{name} has no Core yet")
        } else if away.len() == cores.len() {
            format!("{name} waits for {}, which isn't there", away.join(", "))
        } else {
            format!("{name} is assigned to {}", cores.join(", "))
        };
        return (LifeState::Provisioning, cause);
    };
    let core = &instance.member;
    let paused = *desired == DesiredState::Paused;
    let reported = task
        .progress
        .as_ref()
        .filter(|progress| progress.core == *core)
        .map(|progress| &progress.state);
    match (&instance.state, reported) {
        (InstanceState::Paused, _) | (_, Some(TaskState::Paused)) if paused => (
            LifeState::Paused,
            format!("{name} holds its place on {core}"),
        ),
        (InstanceState::Running, _) | (_, Some(TaskState::Running | TaskState::Snapshot))
            if !paused =>
        {
            let standby = if task.replicas > 1 && task.cores.len() < 2 {
                ", without a standby: no other live Core may run it"
            } else {
                ""
            };
            (
                LifeState::Running,
                format!("{name} runs on {core}{standby}"),
            )
        }
        (InstanceState::TakingOver | InstanceState::Standby, _) => {
            (LifeState::Ready, format!("{core} takes {name} over"))
        }
        (InstanceState::Stopping, _) => (LifeState::Ready, format!("{core} lets {name} go")),
        (InstanceState::Running, _) => (LifeState::Ready, format!("{core} is to pause {name}")),
        (InstanceState::Paused, _) => (LifeState::Ready, format!("{core} is to resume {name}")),
        _ => (
            LifeState::Provisioning,
            format!("{core} gets ready for {name}"),
        ),
    }
}

/// The state of the whole, from its tasks'.
pub(super) fn whole(
    states: impl IntoIterator<Item = (LifeState, String)>,
) -> Option<(LifeState, String)> {
    states.into_iter().max_by_key(|(state, _)| match state {
        LifeState::Failed => 9,
        LifeState::Unplaced => 8,
        LifeState::Restarting => 7,
        LifeState::RollingBack => 6,
        LifeState::Updating => 5,
        LifeState::Stopping => 4,
        LifeState::Provisioning => 3,
        LifeState::Ready => 2,
        LifeState::Other(_) => 1,
        LifeState::Running | LifeState::Paused | LifeState::Stopped => 0,
    })
}
