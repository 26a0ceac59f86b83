//! A Core that stands in elections and says how far it is, and moves nothing.
//!
//! It stands for a task at once if it's the preferred one, or the preferred one stands already or
//! isn't there. What a spec's text holds makes it fail: `# breaks`, for good; `# stumbles`, as if
//! trying again could help.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use towpath_coordination::{
    Candidate, Election, Expect, Mirror, ProgressReporter, Registration, Session, Standing,
};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{
    AppliedSpec, Assignment, Desired, DesiredState, Failure, Instance, InstanceState, Load, Member,
    Progress, TaskState,
};
use towpath_protocol::tree::{MemberId, NodePath, Sequenced, TaskName};
use uuid::Uuid;

pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Between two looks, and two heartbeats.
const PACE: Duration = Duration::from_millis(50);

pub(crate) struct Core {
    session: Session,
    silent: Arc<AtomicBool>,
    stuck: Arc<AtomicBool>,
    task: JoinHandle<()>,
    _registration: Registration<Member>,
}

struct Run {
    candidate: Candidate,
    node: NodePath,
    instance: Instance,
    reporter: Option<ProgressReporter>,
}

struct Agent {
    session: Session,
    id: MemberId,
    mirror: Mirror,
    runs: BTreeMap<(PipelineName, TaskName), Run>,
    silent: Arc<AtomicBool>,
    stuck: Arc<AtomicBool>,
}

impl Core {
    pub(crate) async fn start(session: Session, id: MemberId, labels: Labels<'_>) -> Self {
        let member = Member {
            host: format!("host-of-{id}"),
            pid: 1,
            address: "127.0.0.1:1".to_owned(),
            release: "0".to_owned(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            started: Timestamp::now(),
            load: Load::default(),
            client: None,
            raft_role: None,
            directory: None,
        };
        let node = path::member(MemberKind::Core, &id);
        let registration = Registration::new(&session, node, member, PACE).unwrap();
        registration.present().await.unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        let stuck = Arc::new(AtomicBool::new(false));
        let mut agent = Agent {
            mirror: Mirror::follow(&session, path::root()).await.unwrap(),
            session: session.clone(),
            id,
            runs: BTreeMap::new(),
            silent: silent.clone(),
            stuck: stuck.clone(),
        };
        let task = tokio::spawn(async move {
            loop {
                let looked = tokio::time::Instant::now();
                let mut changes = agent.mirror.changes();
                agent.look().await;
                let _ = tokio::time::timeout(PACE, changes.changed()).await;
                // Three of these share a machine with the leader that is tested.
                tokio::time::sleep(PACE.max(looked.elapsed())).await;
            }
        });
        Self {
            session,
            silent,
            stuck,
            task,
            _registration: registration,
        }
    }

    /// Ends at once, with all that's ephemeral.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.session.close().await;
    }

    /// Says nothing of its runs any more, and lives.
    pub(crate) fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// Doesn't end its runs any more, whatever is asked.
    pub(crate) fn get_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::SeqCst);
    }
}

impl Agent {
    /// The tasks that are ours, and what they are to do.
    fn wanted(&self) -> BTreeMap<(PipelineName, TaskName), (DesiredState, AppliedSpec)> {
        let mut out = BTreeMap::new();
        self.mirror.look(|nodes| {
            for name in nodes.children(&path::pipelines()) {
                let Ok(name) = name.parse::<PipelineName>() else {
                    continue;
                };
                let desired = nodes.record::<Desired>(&path::desired(&name));
                let spec = nodes.record::<AppliedSpec>(&path::spec(&name));
                let (Some(desired), Some(spec)) = (desired, spec) else {
                    continue;
                };
                if desired.state == DesiredState::Stopped {
                    continue;
                }
                for task in nodes.children(&path::tasks(&name)) {
                    let task: TaskName = task.parse().unwrap();
                    let assignment = nodes.record::<Assignment>(&path::assignment(&name, &task));
                    let failed = nodes.get(&path::failure(&name, &task)).is_some();
                    let Some(assignment) = assignment else {
                        continue;
                    };
                    if failed || !assignment.cores.contains(&self.id) {
                        continue;
                    }
                    let key = (name.clone(), task.clone());
                    let first = &assignment.cores[0];
                    let parent = path::instances(&name, &task);
                    let stands = nodes
                        .children(&parent)
                        .any(|instance| instance.starts_with(&format!("{first}-")));
                    let lives = nodes.get(&path::member(MemberKind::Core, first)).is_some();
                    if *first == self.id || stands || !lives || self.runs.contains_key(&key) {
                        out.insert(key, (desired.state.clone(), spec.clone()));
                    }
                }
            }
        });
        out
    }

    async fn look(&mut self) {
        let wanted = self.wanted();
        let gone: Vec<_> = self
            .runs
            .keys()
            .filter(|key| !wanted.contains_key(*key))
            .cloned()
            .collect();
        for key in gone {
            if !self.stuck.load(Ordering::SeqCst) {
                self.end(&key).await;
            }
        }
        for (key, (state, spec)) in wanted {
            if !self.runs.contains_key(&key) {
                let run = self.stand(&key).await;
                self.runs.insert(key.clone(), run);
            }
            self.tend(&key, &state, &spec).await;
        }
    }

    async fn stand(&self, key: &(PipelineName, TaskName)) -> Run {
        let instance = Instance {
            member: self.id.clone(),
            host: "host".to_owned(),
            pid: 1,
            candidacy: Uuid::new_v4(),
            since: Timestamp::now(),
            state: InstanceState::Standby,
        };
        let election = Election::task(&key.0, &key.1, &self.id);
        let candidate = election
            .stand(&self.session, instance.clone())
            .await
            .unwrap();
        let parent = path::instances(&key.0, &key.1);
        let names = self.session.children(&parent).await.unwrap();
        for Sequenced { name, .. } in Sequenced::sorted(names) {
            let node = parent.listed(&name).unwrap();
            let found = self.session.read::<Instance>(&node).await.unwrap();
            if found.is_some_and(|found| found.value.record.candidacy == instance.candidacy) {
                return Run {
                    candidate,
                    node,
                    instance,
                    reporter: None,
                };
            }
        }
        panic!("our own instance isn't there");
    }

    async fn tend(
        &mut self,
        key: &(PipelineName, TaskName),
        desired: &DesiredState,
        spec: &AppliedSpec,
    ) {
        let run = self.runs.get_mut(key).unwrap();
        let Standing::Leading(token) = run.candidate.standing() else {
            return;
        };
        let breaks = spec.text.contains("# breaks");
        if breaks || spec.text.contains("# stumbles") {
            let failure = Failure {
                id: Uuid::new_v4(),
                core: self.id.clone(),
                code: "TP1514".to_owned(),
                text: "it broke".to_owned(),
                next: String::new(),
                transient: !breaks,
                spec_revision: spec.revision,
                at: Timestamp::now(),
            };
            self.end(key).await;
            let node = path::failure(&key.0, &key.1);
            let _ = self.session.write(&node, failure, Expect::Absent).await;
            return;
        }
        let (state, reported) = match desired {
            DesiredState::Paused => (InstanceState::Paused, TaskState::Paused),
            _ => (InstanceState::Running, TaskState::Running),
        };
        if run.instance.state != state {
            run.instance.state = state;
            let instance = run.instance.clone();
            let written = self.session.write(&run.node, instance, Expect::Anything);
            written.await.unwrap();
        }
        let progress = Progress {
            core: self.id.clone(),
            pid: 1,
            epoch: token.epoch,
            state: reported,
            gtid_set: String::new(),
            file: String::new(),
            position: 0,
            lag_ms: None,
            rows_per_second: 0,
            bytes_per_second: 0,
            snapshot: None,
            missing: String::new(),
            since: Timestamp::now(),
            updated: Timestamp::now(),
        };
        if self.silent.load(Ordering::SeqCst) {
            return;
        }
        match &run.reporter {
            Some(reporter) => reporter.report(progress).unwrap(),
            None => {
                let pace = Duration::from_secs(1);
                let reporter = ProgressReporter::new(&self.session, &key.0, &key.1, progress, pace);
                run.reporter = Some(reporter.unwrap());
            }
        }
    }

    async fn end(&mut self, key: &(PipelineName, TaskName)) {
        let Some(run) = self.runs.remove(key) else {
            return;
        };
        if let Some(reporter) = run.reporter {
            let _ = reporter.end().await;
        }
        let _ = run.candidate.resign().await;
    }
}
