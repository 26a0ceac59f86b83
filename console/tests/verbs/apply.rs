use std::fs;

use serde_json::json;
use tempfile::TempDir;
use towpath_protocol::tree::record::{Action, AppliedSpec, Journal, Outcome};

use crate::support::{World, done, file};

/// Writes a pipeline file; says where.
fn written(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_one_an_unchanged_one_and_a_new_version() {
    let world = World::start().await;
    world.answering(&[], done).await;
    let dir = TempDir::new().unwrap();
    let (old, new) = (file("orders", "shop.*"), file("orders", "shop.o*"));
    let orders = written(&dir, "orders.toml", &old);

    let said = world.towpath(&format!("apply -f {orders} --dry-run")).await;
    assert!(said.done, "{said:?}");
    assert_eq!(
        said.out,
        "orders is new\n\
         the Cores that run it need in their environment: SOURCE_PASSWORD, TARGET_PASSWORD\n"
    );
    let asks = world.bad(&format!("apply -f {orders}")).await;
    assert!(asks.contains("nothing was applied; --yes"), "{asks}");
    assert_eq!(world.asked(), [], "neither has changed anything");

    let out = world.good(&format!("apply -f {orders} --yes")).await;
    assert!(out.ends_with("orders: it is so\n"), "{out}");
    let apply = |text: &str, revision| {
        (
            Action::Apply {
                text: text.to_owned(),
                revision,
            },
            None,
        )
    };
    assert_eq!(world.asked(), [apply(&old, 0)]);

    world
        .put::<AppliedSpec>("pipelines/orders/spec", json!({"text": old, "revision": 7}))
        .await;
    let out = world.good(&format!("apply -f {orders} --yes")).await;
    assert_eq!(out, "orders is unchanged, at revision 7\n");
    assert_eq!(world.asked(), []);

    fs::write(&orders, &new).unwrap();
    let out = world.good(&format!("apply -f {orders} --yes")).await;
    let diff = format!(
        "--- orders, revision 7, by anna\n+++ {orders}\n@@ -2,7 +2,7 @@\n \n [source]\n \
         url = \"mysql://repl:${{SOURCE_PASSWORD}}@127.0.0.1:3306\"\n-tables = [\"shop.*\"]\n\
         +tables = [\"shop.o*\"]\n \n [[sink]]\n name = \"replica\"\norders: it is so\n"
    );
    assert_eq!(out, diff);
    assert_eq!(world.asked(), [apply(&new, 7)], "based on what was shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_in_force_is_not_unchanged_while_another_is_on_its_way() {
    let world = World::start().await;
    world
        .answering(&[], |_| {
            (Outcome::Refused, "an update is under way".to_owned())
        })
        .await;
    let dir = TempDir::new().unwrap();
    let text = file("orders", "shop.*");
    let orders = written(&dir, "orders.toml", &text);
    let spec = json!({"text": text, "revision": 3});
    world
        .put::<AppliedSpec>("pipelines/orders/spec", spec)
        .await;
    // The example: an update whose old runs are ending.
    world
        .put::<Journal>("pipelines/orders/journal", json!({}))
        .await;
    let said = world.towpath(&format!("apply -f {orders} --yes")).await;
    assert!(!said.done, "{said:?}");
    assert_eq!(
        said.out,
        "orders has this text, at revision 3, and is being updated to another\n"
    );
    assert!(
        said.err
            .contains("refused, nothing was changed: an update is under way"),
        "{said:?}"
    );
    assert_eq!(world.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_is_applied_if_one_is_wrong() {
    let world = World::start().await;
    world.answering(&[], done).await;
    let dir = TempDir::new().unwrap();
    let good = written(&dir, "good.toml", &file("orders", "shop.*"));
    let twin = written(&dir, "twin.toml", &file("orders", "shop.a"));
    let wrong = written(&dir, "wrong.toml", &file("Orders", "shop.*"));
    for (files, said) in [
        (format!("{good} {wrong}"), "wrong.toml:1: name:"),
        (
            format!("{good} {}/none.toml", dir.path().display()),
            "none.toml: can't be read",
        ),
        (format!("{good} {twin}"), "are both pipeline orders"),
    ] {
        let error = world.bad(&format!("apply --yes -f {files}")).await;
        assert!(
            error.contains("nothing was applied") && error.contains(said),
            "{error}"
        );
        assert_eq!(world.asked(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_in_clear_is_warned_of_and_never_shown() {
    let world = World::start().await;
    world
        .answering(&[], |_| {
            (Outcome::Refused, "revision 8 is in force by now".to_owned())
        })
        .await;
    let dir = TempDir::new().unwrap();
    let with = |password: &str| file("orders", "shop.*").replace("${TARGET_PASSWORD}", password);
    world
        .put::<AppliedSpec>("pipelines/orders/spec", json!({"text": with("0ldsecret")}))
        .await;
    let orders = written(&dir, "orders.toml", &with("n3wsecret"));
    let said = world.towpath(&format!("apply -f {orders} --yes")).await;
    assert!(!said.done, "{said:?}");
    assert_eq!(
        said.out,
        "orders changes only in a password, which isn't shown\n"
    );
    for part in [
        "has a password in clear",
        "towpath: orders: refused, nothing was changed: revision 8",
    ] {
        assert!(said.err.contains(part), "{said:?}");
    }
    assert_eq!(world.asked().len(), 1);
    assert!(!said.err.contains("secret"), "{said:?}");
}
