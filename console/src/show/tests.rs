//! Each list as it is on a terminal without colours.

use insta::assert_snapshot;

use super::*;
use crate::model::{View, example};
use crate::screen::Paint;
use crate::tree::Tree;

const PLAIN: fn() -> Paint = || Paint::new(false);

#[test]
fn status_of_a_cluster_in_trouble() {
    let view = example::view();
    assert_snapshot!(status(&view, None, PLAIN()));
    let coloured = status(&view, None, Paint::new(true));
    assert!(
        coloured.contains("\x1b[1;31m✗\x1b[0m  orders"),
        "{coloured:?}"
    );
    let uncoloured: String = coloured
        .split("\x1b[")
        .enumerate()
        .map(|(index, part)| match index {
            0 => part,
            _ => part.split_once('m').unwrap().1,
        })
        .collect();
    assert_eq!(
        uncoloured,
        status(&view, None, PLAIN()),
        "colours move nothing"
    );
}

#[test]
fn status_of_one_and_of_nothing() {
    assert_snapshot!(
        "status_of_one",
        status(&example::view(), Some("users"), PLAIN())
    );
    let nothing = View::new(&Tree::default(), example::now());
    assert_snapshot!("status_of_nothing", status(&nothing, None, PLAIN()));
}

#[test]
fn lists() {
    let view = example::view();
    assert_snapshot!("pipelines", pipelines(&view, PLAIN()));
    assert_snapshot!("tasks", tasks(&view, PLAIN()));
    assert_snapshot!("cores", cores(&view, PLAIN()));
    assert_snapshot!("servers", servers(&view, PLAIN()));
    assert_snapshot!("sources", sources(&view, PLAIN()));
    assert_snapshot!("alerts", alerts(&view, true, PLAIN()));
    assert_snapshot!("monitors", monitors(&view, PLAIN()));
}

fn told() -> Vec<Told> {
    let told = |event| Told {
        pipeline: Some("orders".to_owned()),
        event,
    };
    example::events().into_iter().map(told).collect()
}

#[test]
fn a_history() {
    assert_snapshot!(history(&told(), example::now(), PLAIN()));
}

#[test]
fn descriptions() {
    let view = example::view();
    for name in ["orders", "users"] {
        let what = Described::Pipeline(view.pipeline(name).unwrap());
        let text = describe(&view, what, &told(), PLAIN());
        assert!(!text.contains("secret"), "{text}");
        assert_snapshot!(format!("describe_{name}"), text);
    }
    let (id, core) = view.cores.first_key_value().unwrap();
    assert_snapshot!(
        "describe_core",
        describe(&view, Described::Core(id, core), &[], PLAIN())
    );
    let (id, alert) = view.alerts.last_key_value().unwrap();
    assert_snapshot!(
        "describe_alert",
        describe(&view, Described::Alert(id, alert), &[], PLAIN())
    );
    let (name, (source, probe)) = view.sources.first_key_value().unwrap();
    let what = Described::Source(name, source, probe.as_ref());
    assert_snapshot!("describe_source", describe(&view, what, &[], PLAIN()));
}
