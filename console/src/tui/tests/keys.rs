//! What keys lead to.

use towpath_coordination::CommandQueue;
use towpath_protocol::tree::record::{Action, Answer, Outcome};

use super::super::message::{Effect, Message, Request};
use super::super::model::View;
use super::fixture::{Console, healthy, now, troubled};

const SIZE: (u16, u16) = (80, 24);

fn asked(effects: Vec<Effect>) -> (u64, Request) {
    match <[Effect; 1]>::try_from(effects) {
        Ok([Effect::Ask { id, request }]) => (id, request),
        other => panic!("no single command: {other:?}"),
    }
}

fn of(name: &str) -> CommandQueue {
    CommandQueue::Pipeline(name.parse().unwrap())
}

#[test]
fn what_stops_something_is_confirmed_first() {
    for (key, action) in [("p", Action::Pause), ("x", Action::Stop)] {
        let mut console = Console::on(&healthy(), SIZE);
        assert!(console.press(key).is_empty());
        // Enter is pressed too easily.
        assert!(console.press("<enter>").is_empty());
        assert!(console.press("n").is_empty());
        assert!(console.press("y").is_empty(), "it was answered by no");
        assert!(console.press(key).is_empty());
        let (_, request) = asked(console.press("y"));
        assert_eq!((request.queue, request.action), (of("billing"), action));
    }
}

#[test]
fn what_stops_nothing_is_asked_at_once() {
    for (key, action) in [("r", Action::Resume), ("s", Action::Start)] {
        let mut console = Console::on(&healthy(), SIZE);
        let (_, request) = asked(console.press(&format!(":pipeline orders<enter>{key}")));
        assert_eq!((request.queue, request.action), (of("orders"), action));
    }
}

#[test]
fn a_move_chooses_a_core_and_confirms() {
    let mut console = Console::on(&healthy(), SIZE);
    // The cursor begins on the standby.
    assert!(console.press("m<enter>").is_empty());
    let (_, request) = asked(console.press("y"));
    let to = "core-2".parse().unwrap();
    assert_eq!(request.action, Action::Move { to });
    assert_eq!(request.queue, of("billing"));
}

#[test]
fn cores_are_drained_and_undrained_and_others_are_not() {
    let mut console = Console::on(&troubled(), SIZE);
    assert!(console.press(":cluster<enter>d").is_empty());
    assert!(console.screen().contains("only Cores are drained"));
    assert!(console.press("jd").is_empty());
    let (_, request) = asked(console.press("y"));
    let core = "core-1".parse().unwrap();
    assert_eq!(request.queue, CommandQueue::Cluster);
    assert_eq!(request.action, Action::Drain { core, reason: None });
    let core = "core-2".parse().unwrap();
    let (_, request) = asked(console.press("jd"));
    assert_eq!(request.action, Action::Undrain { core });
}

#[test]
fn an_alert_is_acknowledged_once() {
    let mut console = Console::on(&troubled(), SIZE);
    let (_, request) = asked(console.press(":alerts<enter>a"));
    let alert = "failed-orders".parse().unwrap();
    assert_eq!(request.action, Action::Acknowledge { alert });
    assert!(console.press("Ga").is_empty());
    assert!(console.screen().contains("old has ended already"));
}

#[test]
fn the_answer_is_on_the_status_line() {
    let answer = |outcome, text: &str| Answer {
        outcome,
        text: text.to_owned(),
        details: serde_json::Value::Null,
        at: now(),
    };
    for (result, line) in [
        (Ok(answer(Outcome::Done, "")), "resume billing: done"),
        (
            Ok(answer(Outcome::Refused, "it isn't\npaused")),
            "! resume billing: refused: it isn't paused",
        ),
        (
            Ok(answer(Outcome::Failed, "half")),
            "✗ resume billing: failed: half",
        ),
        (
            Err("nobody took it".to_owned()),
            "✗ resume billing: no answer: nobody took it",
        ),
    ] {
        let mut console = Console::on(&healthy(), SIZE);
        let (id, _) = asked(console.press("r"));
        assert!(console.screen().contains("⠋ resume billing … 0s"));
        console.tell(Message::Spin);
        assert!(console.screen().contains("⠙ resume billing"));
        console.tell(Message::Answered {
            id: id + 1,
            result: Err(String::new()),
        });
        assert!(console.model.is_asking(), "that was another's answer");
        console.tell(Message::Answered { id, result });
        assert!(console.screen().contains(line), "{}", console.screen());
        assert!(!console.model.is_asking());
    }
}

#[test]
fn what_was_done_fades_and_what_was_refused_stays() {
    let later = jiff::Timestamp::from_second(now().as_second() + 3600).unwrap();
    for (outcome, stays) in [(Outcome::Done, false), (Outcome::Refused, true)] {
        let mut console = Console::on(&healthy(), SIZE);
        let (id, _) = asked(console.press("r"));
        let (text, details) = (String::new(), serde_json::Value::Null);
        let result = Ok(Answer {
            outcome,
            text,
            details,
            at: now(),
        });
        console.tell(Message::Answered { id, result });
        console.tell(Message::Tick(later));
        assert_eq!(console.model.said.is_some(), stays);
        console.press("<esc>");
        assert_eq!(console.model.said, None);
    }
}

#[test]
fn nothing_is_asked_while_the_directory_is_away() {
    let mut console = Console::on(&healthy(), SIZE);
    console.tell(Message::Link(false));
    assert!(console.press("r").is_empty());
    assert!(console.screen().contains("the directory doesn't answer"));
}

#[test]
fn the_cursor_stays_on_its_pipeline_when_the_order_changes() {
    let mut console = Console::on(&healthy(), SIZE);
    console.press("j");
    let cursor = |console: &Console| console.model.lists["pipelines"].cursor.clone();
    assert_eq!(cursor(&console).as_deref(), Some("orders"));
    console.tell(Message::Tree(troubled().tree()));
    assert_eq!(cursor(&console).as_deref(), Some("orders"));
    let (_, request) = asked(console.press("r"));
    assert_eq!(request.queue, of("orders"));
    // Orders goes: the cursor stays at its place.
    let mut nodes = troubled();
    for node in ["spec", "desired", "status", "tasks/replica/assignment"] {
        nodes.remove(&format!("pipelines/orders/{node}"));
    }
    nodes.remove("pipelines/orders");
    console.tell(Message::Tree(nodes.tree()));
    let (_, request) = asked(console.press("r"));
    assert_eq!(request.queue, of("billing"));
}

#[test]
fn the_order_goes_round_and_is_reversed() {
    let mut console = Console::on(&troubled(), SIZE);
    let first = |console: &Console| {
        super::super::listing::keys(&console.model)
            .first()
            .cloned()
            .unwrap()
    };
    assert_eq!(first(&console), "archive");
    console.press("oo");
    assert_eq!(first(&console), "billing", "the largest lag");
    console.press("oo");
    assert_eq!(first(&console), "archive");
    console.press("O");
    assert_eq!(first(&console), "kunden");
}

#[test]
fn command_lines_complete_and_say_what_there_is() {
    let mut console = Console::on(&healthy(), SIZE);
    console.press(":c<enter>");
    assert_eq!(console.model.view, View::Cluster);
    console.press(":pipeline o<tab><enter>");
    assert_eq!(
        console.model.view,
        View::Pipeline("orders".parse().unwrap())
    );
    console.press(":nonsense<enter>");
    assert!(
        console
            .screen()
            .contains("there is no :nonsense; there are :pipelines")
    );
    console.press(":dir /towpath/cores/core-1<enter>");
    assert_eq!(console.model.view, View::Directory);
    assert!(console.screen().contains("/towpath/cores/core-1"));
    console.press(":dir /nowhere<enter>");
    assert!(console.screen().contains("/nowhere isn't there"));
    assert_eq!(console.press(":q<enter>"), [Effect::Quit]);
    assert_eq!(console.press("q"), [Effect::Quit]);
}

#[test]
fn esc_goes_back_one_thing_at_a_time() {
    let mut console = Console::on(&healthy(), SIZE);
    console.press(":dir<enter>/cores<enter><tab>");
    assert!(console.model.in_data);
    console.press("<esc>");
    assert!(!console.model.in_data && console.model.filter() == "cores");
    console.press("<esc>");
    assert_eq!(console.model.filter(), "");
    console.press("<esc>");
    assert_eq!(console.model.view, View::Pipelines);
    assert!(console.press("<esc>").is_empty(), "Esc never quits");
    // A filter that isn't taken changes nothing; while it's typed it's seen.
    console.press("/zzz");
    assert!(console.screen().contains("No pipeline passes"));
    console.press("<esc>");
    assert!(console.screen().contains("orders"));
}

#[test]
fn the_tree_opens_and_closes_and_stays_live() {
    let mut console = Console::on(&healthy(), SIZE);
    console.press(":dir<enter>");
    assert!(!console.screen().contains("core-1"));
    // cluster, cores
    console.press("jjl");
    assert!(console.screen().contains("core-1*"));
    console.press("jh");
    let cursor = console.model.lists["dir"].cursor.clone();
    assert_eq!(cursor.as_deref(), Some("/towpath/cores"));
    console.press("h");
    assert!(!console.screen().contains("core-1*"));
    let mut nodes = healthy();
    nodes.put("cores", serde_json::json!({"seen": "live"}));
    console.tell(Message::Tree(nodes.tree()));
    assert!(console.screen().contains("\"seen\": \"live\""));
}

#[test]
fn pages_end_where_the_text_does() {
    let mut console = Console::on(&troubled(), SIZE);
    console.press(":pipeline orders<enter><pgdn><pgdn><pgdn><pgdn>");
    let most = console.model.scroll;
    assert!(most > 0);
    console.press("j");
    assert_eq!(console.model.scroll, most);
    console.press("k");
    assert_eq!(console.model.scroll, most - 1);
    console.press("g");
    assert_eq!(console.model.scroll, 0);
}
