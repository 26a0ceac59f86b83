//! What the keys of actions ask for, and what is asked of the user first.

use towpath_coordination::CommandQueue;
use towpath_protocol::tree::record::{Action, AlertState};
use towpath_protocol::tree::{MemberId, TaskName};

use super::keys::Do;
use super::listing;
use super::message::Request;
use super::model::{Choice, Item, Model, Overlay, View};
use super::picture::Pipeline;

/// What a key leads to.
pub(super) enum Asked {
    /// The command.
    Put(Request),
    /// A question to the user before it.
    First(Overlay),
}

/// What an action means for the thing with the cursor; or why it means nothing there.
pub(super) fn about(model: &Model, does: Do) -> Result<Asked, String> {
    if model.lost.is_some() {
        return Err("the directory doesn't answer: nothing can be asked now".to_owned());
    }
    match does {
        Do::Drain => drain(model),
        Do::Acknowledge => acknowledge(model),
        _ => of_pipeline(model, does),
    }
}

fn confirm(request: Request, consequence: String) -> Asked {
    Asked::First(Overlay::Confirm {
        request,
        consequence,
    })
}

fn pipeline(model: &Model) -> Result<&Pipeline, String> {
    let name = match &model.view {
        View::Pipeline(name) => name.to_string(),
        _ => {
            let keys = listing::keys(model);
            let key = keys.get(model.cursor(&keys));
            key.cloned().ok_or("there is no pipeline here")?
        }
    };
    let found = model.picture.pipeline(&name);
    found.ok_or_else(|| format!("{name} is gone"))
}

fn of_pipeline(model: &Model, does: Do) -> Result<Asked, String> {
    let pipeline = pipeline(model)?;
    let name = &pipeline.name;
    let request = |action, verb: &str| Request {
        queue: CommandQueue::Pipeline(name.clone()),
        task: None,
        action,
        what: format!("{verb} {name}"),
    };
    Ok(match does {
        Do::Resume => Asked::Put(request(Action::Resume, "resume")),
        Do::Start => Asked::Put(request(Action::Start, "start")),
        Do::Pause => confirm(
            request(Action::Pause, "pause"),
            "No rows go into its sinks until it's resumed. It keeps its place, its Cores and its \
             standbys."
                .to_owned(),
        ),
        Do::Stop => confirm(
            request(Action::Stop, "stop"),
            "No rows go into its sinks, and no Core runs it until it's started. Its place stays \
             in the sinks."
                .to_owned(),
        ),
        _ => return move_it(model, pipeline),
    })
}

fn move_it(model: &Model, pipeline: &Pipeline) -> Result<Asked, String> {
    if model.picture.cores.is_empty() {
        return Err("there is no Core to move it to".to_owned());
    }
    let tasks = match &*pipeline.tasks {
        [] => return Err(format!("{} has no task yet", pipeline.name)),
        [_] => return Ok(Asked::First(Overlay::Choose(cores(model, pipeline, None)))),
        tasks => tasks,
    };
    let mut items = vec![Item {
        label: format!("all {} tasks", tasks.len()),
        leads_to: Overlay::Choose(cores(model, pipeline, None)),
    }];
    items.extend(tasks.iter().map(|task| {
        let on = task.running().map_or("nobody", MemberId::as_str);
        Item {
            label: format!("{} (on {on})", task.name),
            leads_to: Overlay::Choose(cores(model, pipeline, Some(&task.name))),
        }
    }));
    Ok(Asked::First(Overlay::Choose(Choice {
        title: format!("Move which task of {}?", pipeline.name),
        items,
        cursor: 0,
    })))
}

/// The Cores that something can be moved to.
fn cores(model: &Model, pipeline: &Pipeline, task: Option<&TaskName>) -> Choice {
    let what = match task {
        Some(task) => format!("{}/{task}", pipeline.name),
        None => pipeline.name.to_string(),
    };
    let concerned = |t: &&super::picture::Task| task.is_none_or(|task| t.name == *task);
    let runs = |core: &MemberId| {
        let mut tasks = pipeline.tasks.iter().filter(concerned);
        tasks.any(|task| task.running() == Some(core))
    };
    let stands_by = |core: &MemberId| {
        let mut tasks = pipeline.tasks.iter().filter(concerned);
        tasks.any(|task| task.standbys().any(|standby| standby == core))
    };
    let item = |(core, member): &(MemberId, towpath_protocol::tree::record::Member)| {
        let note = match () {
            () if model.picture.is_drained(core) => "drained: gets no work",
            () if runs(core) => "runs it now",
            () if stands_by(core) => "stands by",
            () => "",
        };
        let request = Request {
            queue: CommandQueue::Pipeline(pipeline.name.clone()),
            task: task.cloned(),
            action: Action::Move { to: core.clone() },
            what: format!("move {what} to {core}"),
        };
        Item {
            label: format!("{core:<20} {:>3} tasks  {note}", member.load.tasks),
            leads_to: Overlay::Confirm {
                request,
                consequence: "It's handed over: no rows for a moment, none lost, none twice."
                    .to_owned(),
            },
        }
    };
    let items: Vec<Item> = model.picture.cores.iter().map(item).collect();
    // Best begun at one that stands by: that's the fastest move.
    let cursor = model
        .picture
        .cores
        .iter()
        .position(|(core, _)| stands_by(core))
        .unwrap_or(0);
    Choice {
        title: format!("Move {what} to which Core?"),
        items,
        cursor,
    }
}

fn drain(model: &Model) -> Result<Asked, String> {
    let rows = listing::cluster(model);
    let keys: Vec<String> = rows.iter().map(listing::ClusterRow::key).collect();
    let row = rows
        .get(model.cursor(&keys))
        .ok_or("there is no Core here")?;
    if row.kind != "core" {
        return Err(format!(
            "only Cores are drained; {} is a {}",
            row.id, row.kind
        ));
    }
    let core = row.id.clone();
    let request = |action, verb: &str| Request {
        queue: CommandQueue::Cluster,
        task: None,
        action,
        what: format!("{verb} {core}"),
    };
    if model.picture.is_drained(&core) {
        let action = Action::Undrain { core: core.clone() };
        return Ok(Asked::Put(request(action, "undrain")));
    }
    let runs = model.picture.work_of(&core);
    let runs = runs.iter().filter(|(_, runs)| *runs).count();
    let action = Action::Drain {
        core: core.clone(),
        reason: None,
    };
    Ok(confirm(
        request(action, "drain"),
        format!("Its {runs} running tasks go to other Cores, and it gets no new ones."),
    ))
}

fn acknowledge(model: &Model) -> Result<Asked, String> {
    let rows = listing::alerts(model);
    let keys: Vec<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    let (id, alert) = rows
        .get(model.cursor(&keys))
        .ok_or("there is no alert here")?;
    match &alert.acknowledged_by {
        _ if alert.state == AlertState::Resolved => Err(format!("{id} has ended already")),
        Some(by) => Err(format!(
            "{} has acknowledged {id}",
            super::format::clean(by)
        )),
        None => Ok(Asked::Put(Request {
            queue: CommandQueue::Cluster,
            task: None,
            action: Action::Acknowledge { alert: id.clone() },
            what: format!("acknowledge {id}"),
        })),
    }
}
