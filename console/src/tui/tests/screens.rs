//! What each view looks like, small and large; and that colours mean states.

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use serde_json::json;

use super::super::message::Message;
use super::super::theme::Theme;
use super::fixture::{Console, Nodes, empty, healthy, now, troubled};

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (160, 40);

/// The screens of a walk by keys, at both sizes.
/// It stands in clear in the pipelines' specs.
const PASSWORD: &str = "hunter2";

fn both(name: &str, nodes: &Nodes, keys: &str) {
    for size in [SMALL, LARGE] {
        let mut console = Console::on(nodes, size);
        console.press(keys);
        let screen = console.screen();
        assert!(!screen.contains(PASSWORD), "{screen}");
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), screen);
    }
}

#[test]
fn each_view_of_each_cluster() {
    for (cluster, nodes) in [
        ("empty", empty()),
        ("healthy", healthy()),
        ("troubled", troubled()),
    ] {
        both(&format!("{cluster}_pipelines"), &nodes, "");
        both(&format!("{cluster}_cluster"), &nodes, ":cluster<enter>");
        both(&format!("{cluster}_alerts"), &nodes, ":alerts<enter>");
        both(&format!("{cluster}_dir"), &nodes, ":dir<enter>");
    }
}

#[test]
fn one_pipeline_and_its_parts() {
    both("healthy_pipeline", &healthy(), ":pipeline orders<enter>");
    both("troubled_pipeline", &troubled(), ":pipeline orders<enter>");
    both(
        "troubled_history",
        &troubled(),
        ":pipeline orders<enter><tab>",
    );
    both(
        "healthy_spec",
        &healthy(),
        ":pipeline orders<enter><tab><tab>",
    );
}

#[test]
fn what_lies_over_a_view() {
    both("help", &healthy(), "?");
    both("confirm", &healthy(), "p");
    both("choose", &troubled(), ":pipeline billing<enter>m");
    both("command_line", &healthy(), ":p");
    both("filter", &troubled(), "/bil<enter>");
    both("dir_filter", &troubled(), ":dir<enter>/failure<enter>");
    both("dir_bytes", &troubled(), ":dir /towpath/config/raw<enter>");
}

#[test]
fn lag_and_rows_over_the_last_minutes() {
    let mut nodes = healthy();
    let mut console = Console::on(&nodes, SMALL);
    for step in 0..40u32 {
        nodes.progress(
            "orders",
            u64::from(step * step) * 10,
            u64::from(9_000 - step * 200),
        );
        console.tell(Message::Tree(nodes.tree()));
        let at = now().as_second() + i64::from(step) * 5;
        console.tell(Message::Tick(jiff::Timestamp::from_second(at).unwrap()));
    }
    console.press(":pipeline orders<enter>");
    insta::assert_snapshot!("sparklines", console.screen());
}

#[test]
fn a_lost_directory_can_t_be_overlooked() {
    let mut console = Console::on(&healthy(), SMALL);
    console.tell(Message::Link(false));
    let later = jiff::Timestamp::from_second(now().as_second() + 12).unwrap();
    console.tell(Message::Tick(later));
    insta::assert_snapshot!("lost", console.screen());
    let buffer = console.buffer();
    assert!(
        cell(&buffer, "NO DIRECTORY")
            .modifier
            .contains(Modifier::REVERSED)
    );
    assert!(cell(&buffer, "billing").modifier.contains(Modifier::DIM));
    console.tell(Message::Link(true));
    assert!(!console.screen().contains("NO DIRECTORY"));
    assert!(
        console
            .screen()
            .contains("connected to the directory again")
    );
    assert!(
        !cell(&console.buffer(), "billing")
            .modifier
            .contains(Modifier::DIM)
    );
}

/// The first cell of the first place where this text stands.
fn cell(buffer: &Buffer, text: &str) -> Cell {
    let area = buffer.area;
    for y in 0..area.height {
        for x in 0..area.width {
            let here: String = (x..area.width)
                .take(text.chars().count())
                .map(|x| buffer[(x, y)].symbol())
                .collect();
            if here == text {
                return buffer[(x, y)].clone();
            }
        }
    }
    panic!("{text:?} isn't on the screen");
}

#[test]
fn colour_means_state() {
    let console = Console::on(&troubled(), SMALL);
    let buffer = console.buffer();
    for (text, colour) in [
        ("✗ unplaced", Color::Red),
        ("✗ failed", Color::Red),
        ("! running", Color::Yellow),
        ("1m08s", Color::Yellow),
        ("· paused", Color::DarkGray),
    ] {
        assert_eq!(cell(&buffer, text).fg, colour, "{text}");
    }
    assert!(
        cell(&buffer, "archive")
            .modifier
            .contains(Modifier::REVERSED)
    );
    let buffer = Console::on(&healthy(), SMALL).buffer();
    assert_eq!(cell(&buffer, "● running").fg, Color::Green);
    assert_eq!(cell(&buffer, "orders").fg, Color::Reset);
}

#[test]
fn without_colour_and_without_unicode_it_says_the_same() {
    let mut console = Console::on(&troubled(), SMALL);
    console.theme = Theme::new(false, false);
    insta::assert_snapshot!("ascii", console.screen());
    let buffer = console.buffer();
    let mut cells = buffer.content.iter();
    assert!(cells.all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}

#[test]
fn foreign_text_does_no_harm() {
    let mut nodes = troubled();
    nodes.alert(
        "evil",
        "critical",
        "客户/注文",
        "\u{1b}]0;owned\u{7}\u{202e}txt\u{9b}31m 客户客户客户客户客户客户客户客户客户客户",
    );
    let mut console = Console::on(&nodes, SMALL);
    for keys in ["", ":alerts<enter>", ":dir /towpath/alerts/evil<enter>"] {
        console.press(keys);
        for cell in &console.buffer().content {
            let control = |c: char| c.is_control() || c == '\u{202e}';
            assert!(!cell.symbol().chars().any(control), "{:?}", cell.symbol());
        }
    }
    console.press(":alerts<enter>");
    insta::assert_snapshot!("foreign_text", console.screen());
}

#[test]
fn no_size_is_too_small_to_draw() {
    for columns in [1, 2, 7, 20, 41, 79, 300] {
        for rows in [1, 2, 3, 5, 8, 13, 90] {
            let mut console = Console::on(&troubled(), (columns, rows));
            for keys in [
                "",
                ":cluster<enter>",
                ":alerts<enter>",
                ":dir<enter>",
                ":pipeline orders<enter>",
                "<tab>",
                "<tab>",
                "m",
                "<esc>p",
                "<esc>?",
            ] {
                console.press(keys);
                console.screen();
            }
        }
    }
}

#[test]
fn a_node_that_can_t_be_read_hides_nothing_else() {
    let mut nodes = healthy();
    nodes.bytes("pipelines/orders/status", b"{", 0);
    nodes.put("pipelines/NOT A NAME/status", json!({}));
    let screen = Console::on(&nodes, SMALL).screen();
    assert!(
        screen.contains("to be running") && screen.contains("billing"),
        "{screen}"
    );
}
