//! Trees of three clusters, written as JSON as the roles write it, and a console on them.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use serde_json::{Value, json};
use towpath_coordination::{MirroredNode, NodeStat};
use towpath_protocol::tree::NodePath;

use super::super::message::{Effect, Message};
use super::super::model::Model;
use super::super::theme::Theme;
use super::super::tree::Tree;
use super::super::update::update;
use super::super::view;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

pub(super) fn now() -> Timestamp {
    "2026-11-22T03:00:00Z".parse().unwrap()
}

/// So many seconds ago.
fn ago(seconds: i64) -> String {
    Timestamp::from_second(now().as_second() - seconds)
        .unwrap()
        .to_string()
}

/// A tree being made.
#[derive(Clone, Default)]
pub(super) struct Nodes(Vec<(String, Vec<u8>, i64)>);

impl Nodes {
    pub(super) fn bytes(&mut self, path: &str, data: &[u8], owner: i64) -> &mut Self {
        let mut above = "/towpath".to_owned();
        let mut steps = vec![above.clone()];
        for step in path.split('/').filter(|step| !step.is_empty()) {
            above = format!("{above}/{step}");
            steps.push(above.clone());
        }
        let last = steps.pop().unwrap();
        for step in steps {
            if !self.0.iter().any(|(path, ..)| *path == step) {
                self.0.push((step, Vec::new(), 0));
            }
        }
        self.0.retain(|(path, ..)| *path != last);
        self.0.push((last, data.to_vec(), owner));
        self
    }

    pub(super) fn put(&mut self, path: &str, mut value: Value) -> &mut Self {
        value["version"] = json!(1);
        self.bytes(path, value.to_string().as_bytes(), 0)
    }

    fn ephemeral(&mut self, path: &str, mut value: Value) -> &mut Self {
        value["version"] = json!(1);
        self.bytes(path, value.to_string().as_bytes(), 0x1001)
    }

    pub(super) fn remove(&mut self, path: &str) -> &mut Self {
        let path = format!("/towpath/{path}");
        self.0.retain(|(node, ..)| *node != path);
        self
    }

    pub(super) fn tree(&self) -> Tree {
        let all = self.0.iter().enumerate();
        all.map(|(index, (path, data, owner))| {
            let at_ms = now().as_millisecond() - 60_000;
            let zxid = 100 + i64::try_from(index).unwrap();
            let below = |other: &str| {
                let rest = other.strip_prefix(&format!("{path}/"));
                rest.is_some_and(|rest| !rest.contains('/'))
            };
            let children = self.0.iter().filter(|(other, ..)| below(other)).count();
            let stat = NodeStat {
                created_zxid: zxid,
                modified_zxid: zxid,
                children_zxid: zxid,
                created_ms: at_ms,
                modified_ms: at_ms,
                version: 1,
                children_version: 0,
                acl_version: 0,
                ephemeral_owner: *owner,
                data_bytes: i32::try_from(data.len()).unwrap(),
                children: i32::try_from(children).unwrap(),
            };
            let data = data.clone().into();
            (NodePath::parse(path).unwrap(), MirroredNode { data, stat })
        })
        .collect()
    }

    fn member(&mut self, kind: &str, id: &str, more: Value) -> &mut Self {
        let mut value = json!({
            "host": format!("host-{id}"), "pid": 4711, "address": "10.0.0.1:7070",
            "release": "0.1.0", "labels": {"zone": "a"}, "started": ago(7500),
        });
        for (name, part) in more.as_object().unwrap() {
            value[name] = part.clone();
        }
        self.ephemeral(&format!("{kind}/{id}"), value)
    }

    fn pipeline(&mut self, name: &str, state: &str, since: i64, cause: &str) -> &mut Self {
        let p = format!("pipelines/{name}");
        let text = format!(
            "name = \"{name}\"\n\n[source]\nurl = \"mysql://repl:${{SOURCE_PASSWORD}}@db1:3306\"\n\
             tables = [\"shop.*\"]\n\n[[sink]]\nname = \"replica\"\n\
             url = \"mysql://app:hunter2@db2:3306\"\n"
        );
        self.put(
            &format!("{p}/spec"),
            json!({"uuid": "0b9a4f0e-7a64-4b52-9a39-8b4f6f3b9f55", "revision": 3,
                   "text": text, "applied": ago(9000), "by": "anna"}),
        )
        .put(
            &format!("{p}/desired"),
            json!({"state": "running", "since": ago(9000), "by": "anna", "cause": "towpath apply"}),
        )
        .put(
            &format!("{p}/status"),
            json!({"state": state, "since": ago(since), "cause": cause,
                   "spec_revision": 3, "good_revision": 3}),
        )
        .put(
            &format!("{p}/tasks/replica/assignment"),
            json!({"revision": 7, "cores": ["core-1", "core-2"], "server_id": 1_000_017,
                   "since": ago(9000), "cause": "core-3 left"}),
        )
    }

    fn instance(&mut self, pipeline: &str, core: &str, number: u32, state: &str) -> &mut Self {
        self.ephemeral(
            &format!("pipelines/{pipeline}/tasks/replica/instances/{core}-{number:010}"),
            json!({"member": core, "host": format!("host-{core}"), "pid": 4711,
                   "candidacy": "a9a6f0c0-1fb2-4b0e-8f43-6f3a3f0e7c01",
                   "since": ago(8000), "state": state}),
        )
    }

    pub(super) fn progress(&mut self, pipeline: &str, lag_ms: u64, rows: u64) -> &mut Self {
        self.ephemeral(
            &format!("pipelines/{pipeline}/tasks/replica/progress"),
            json!({"core": "core-1", "pid": 4711, "epoch": 8123, "state": "running",
                   "gtid_set": format!("{UUID}:1-77,4e11fa47-71ca-11e1-9e33-c80aa9429562:1-9001"),
                   "file": "binlog.000004", "position": 1877, "lag_ms": lag_ms,
                   "rows_per_second": rows, "bytes_per_second": rows * 200,
                   "since": ago(8000), "updated": ago(0)}),
        )
    }

    fn commit(&mut self, pipeline: &str) -> &mut Self {
        self.put(
            &format!("pipelines/{pipeline}/tasks/replica/commit"),
            json!({"generation": 1, "epoch": 8123, "commit_seq": 991,
                   "gtid_set": format!("{UUID}:1-77"), "at": ago(2)}),
        )
    }

    fn event(&mut self, pipeline: &str, number: u32, seconds: i64, what: &str, text: &str) {
        self.put(
            &format!("pipelines/{pipeline}/history/h-{number:010}"),
            json!({"at": ago(seconds), "what": what, "text": text, "by": "server-1",
                   "task": "replica"}),
        );
    }

    pub(super) fn alert(
        &mut self,
        id: &str,
        severity: &str,
        subject: &str,
        text: &str,
    ) -> &mut Self {
        self.put(
            &format!("alerts/{id}"),
            json!({"rule": "lag", "severity": severity, "state": "firing", "subject": subject,
                   "text": text, "since": ago(190)}),
        )
    }
}

/// One Server, nothing else.
pub(super) fn empty() -> Nodes {
    let mut nodes = Nodes::default();
    nodes
        .put(
            "cluster",
            json!({"id": "6f6c1b6e-43a5-4a5e-9d1b-0d6b7a7f3c11", "generation": 1,
                   "created": ago(9000)}),
        )
        .member(
            "servers",
            "server-1",
            json!({"client": "10.0.0.1:2181", "raft_role": "leader"}),
        );
    nodes
}

/// Two pipelines that run.
pub(super) fn healthy() -> Nodes {
    let mut nodes = empty();
    for (core, tasks) in [("core-1", 2), ("core-2", 0)] {
        let load = json!({"tasks": tasks, "rows_per_second": 12_500 * tasks,
                          "memory_bytes": 73_400_320});
        nodes.member("cores", core, json!({"load": load}));
    }
    nodes.member("monitors", "monitor-1", json!({}));
    nodes.ephemeral(
        "monitors-election/n-0000000003",
        json!({"member": "monitor-1", "host": "host-monitor-1", "pid": 4711,
               "candidacy": "a9a6f0c0-1fb2-4b0e-8f43-6f3a3f0e7c02",
               "since": ago(7500), "state": "running"}),
    );
    for (name, lag_ms, rows) in [("orders", 120, 12_000), ("billing", 1_900, 480)] {
        nodes
            .pipeline(name, "running", 7500, "replica runs on core-1")
            .instance(name, "core-1", 7, "running")
            .instance(name, "core-2", 8, "standby")
            .progress(name, lag_ms, rows)
            .commit(name);
        nodes.event(name, 0, 9000, "applied", "revision 3 by anna");
        nodes.event(
            name,
            1,
            7500,
            "failover",
            "core-1 took over from core-3: its session expired",
        );
    }
    nodes
}

/// What an operator is called for.
pub(super) fn troubled() -> Nodes {
    let mut nodes = healthy();
    nodes
        .pipeline("orders", "failed", 190, "the task replica failed 5 times in 10 minutes")
        .remove("pipelines/orders/tasks/replica/progress")
        .remove("pipelines/orders/tasks/replica/instances/core-1-0000000007")
        .put(
            "pipelines/orders/tasks/replica/failure",
            json!({"id": "7b1f0e1c-1c1e-4a53-9a63-0c9f4c6d5b1a", "core": "core-1",
                   "code": "TP1611",
                   "text": format!("row (7) of shop.orders is there already; transaction {UUID}:78"),
                   "next": "correct the row, then towpath start orders", "transient": false,
                   "spec_revision": 3, "at": ago(190)}),
        );
    nodes.event(
        "orders",
        2,
        190,
        "failed",
        "TP1611: row (7) of shop.orders is there already",
    );
    nodes
        .pipeline(
            "archive",
            "unplaced",
            3600,
            "no live Core has the label zone=b",
        )
        .put(
            "pipelines/archive/tasks/replica/assignment",
            json!({"revision": 2, "cores": ["core-9"], "server_id": 1_000_018,
                   "since": ago(9000), "cause": "applied"}),
        )
        .pipeline(
            "kunden",
            "paused",
            86_400,
            "paused by anna: \u{1b}[31m客户 maintenance",
        )
        .instance("kunden", "core-1", 7, "paused")
        .progress("billing", 68_000, 25_000)
        .put(
            "drained/core-2",
            json!({"since": ago(600), "by": "anna", "reason": "kernel update"}),
        )
        .alert(
            "lag-billing",
            "warning",
            "billing/replica",
            "68 s behind the source; see its rows/s: if the sink is slow, look there first",
        )
        .alert(
            "failed-orders",
            "critical",
            "orders",
            "orders failed and needs an operator",
        )
        .put(
            "alerts/old",
            json!({"rule": "core-lost", "severity": "critical", "state": "resolved",
                   "subject": "core-3", "text": "core-3 left", "since": ago(9000),
                   "resolved": ago(8700), "acknowledged_by": "anna", "acknowledged": ago(8900)}),
        )
        .bytes("config/raw", b"\x00\x1b[2J\xff", 0);
    nodes
}

/// A console on a tree.
pub(super) struct Console {
    pub(super) model: Model,
    pub(super) theme: Theme,
}

impl Console {
    pub(super) fn on(nodes: &Nodes, (columns, rows): (u16, u16)) -> Self {
        let mut console = Self {
            model: Model::new("127.0.0.1:2181".to_owned(), now(), (columns, rows)),
            theme: Theme::new(true, true),
        };
        console.tell(Message::Tree(nodes.tree()));
        console.tell(Message::Tick(now()));
        console
    }

    pub(super) fn tell(&mut self, message: Message) -> Vec<Effect> {
        update(&mut self.model, message)
    }

    /// Presses keys: `<enter>` and the like by name, others as they are.
    pub(super) fn press(&mut self, keys: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut rest = keys;
        while let Some(c) = rest.chars().next() {
            let named = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
            let (code, after) = match named {
                Some((name, after)) => {
                    let code = match name {
                        "enter" => KeyCode::Enter,
                        "esc" => KeyCode::Esc,
                        "tab" => KeyCode::Tab,
                        "up" => KeyCode::Up,
                        "down" => KeyCode::Down,
                        "pgdn" => KeyCode::PageDown,
                        "bs" => KeyCode::Backspace,
                        name => panic!("no key {name}"),
                    };
                    (code, after)
                }
                None => (KeyCode::Char(c), &rest[c.len_utf8()..]),
            };
            rest = after;
            effects.extend(self.tell(Message::Press(KeyEvent::new(code, KeyModifiers::NONE))));
        }
        effects
    }

    pub(super) fn draw(&self) -> Terminal<TestBackend> {
        let (columns, rows) = self.model.size;
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal
            .draw(|frame| view::draw(frame, &self.model, self.theme))
            .unwrap();
        terminal
    }

    /// The screen as text.
    pub(super) fn screen(&self) -> String {
        self.draw().backend().to_string()
    }

    pub(super) fn buffer(&self) -> Buffer {
        self.draw().backend().buffer().clone()
    }
}
