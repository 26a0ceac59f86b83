//! The load keeps its promises, and the check sees what it is there to see.

use std::time::Duration;

use super::*;
use crate::{MysqlServer, wait_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_keeps_its_invariants_and_survives_the_server() {
    let server = MysqlServer::builder().start().await.unwrap();
    let bank = Bank::default();
    bank.create(&mut server.conn().await.unwrap())
        .await
        .unwrap();
    let load = bank
        .start_load(&server.url("app"), &LoadSettings::default())
        .unwrap();
    let reader = bank.start_reader(&server.url("root")).await.unwrap();
    let more = async |count: u64| {
        let before = load.committed();
        wait_until("transactions", Duration::from_secs(30), async || {
            assert!(!load.has_failed());
            Ok(load.committed() > before + count)
        })
        .await
    };
    more(1_000).await.unwrap();
    let seen = reader.stop().await.unwrap();
    assert!(seen.looks > 2 && seen.highest > 0, "{seen:?}");
    assert_eq!((seen.reordered, seen.torn), (0, 0), "{seen:?}");

    server.kill9().unwrap();
    server.restart().await.unwrap();
    more(500).await.unwrap();
    let report = load.stop().await.unwrap();
    eprintln!("{report:?}");
    assert!(
        report.rolled_back > 0 && report.reconnects > 0,
        "{report:?}"
    );
    assert!(report.refused < report.committed / 5, "{report:?}");

    let mut one = server.conn().await.unwrap();
    let mut two = server.conn().await.unwrap();
    let verdict = bank.check(&mut one, &mut two).await.unwrap();
    assert!(verdict.is_equal(), "{verdict}");
    assert!(verdict.transactions >= report.committed, "{verdict}");
    let snapshot = bank.look(&mut one, 0).await.unwrap();
    assert_eq!(snapshot.new_rows, snapshot.highest);
    assert_eq!(snapshot.sequence, snapshot.highest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_difference_is_found() {
    let (source, target) = tokio::try_join!(
        MysqlServer::builder().start(),
        MysqlServer::builder().without_binlog().start()
    )
    .unwrap();
    let bank = Bank::default();
    let mut source = source.conn().await.unwrap();
    let mut target = target.conn().await.unwrap();
    bank.create(&mut source).await.unwrap();
    bank.create(&mut target).await.unwrap();
    let verdict = bank.check(&mut source, &mut target).await.unwrap();
    assert!(verdict.is_equal(), "{verdict}");

    let audit = |n: u32| {
        format!(
            "INSERT INTO audit VALUES ({n}, {n}, UNHEX(REPEAT('{n:02x}', 16)), '', '', 0, '2026-01-01')"
        )
    };
    for n in [1, 2] {
        source.query_drop(audit(n)).await.unwrap();
    }
    let repeated = audit(2).replacen("(2", "(3", 1);
    for statement in [audit(2), repeated] {
        target.query_drop(statement).await.unwrap();
    }
    target
        .query_drop("UPDATE account SET note = '' WHERE id = 7")
        .await
        .unwrap();
    target
        .query_drop("UPDATE named_account SET name = UPPER(name) LIMIT 1")
        .await
        .unwrap();
    target
        .query_drop("DELETE FROM branch_account WHERE number = 9")
        .await
        .unwrap();
    let verdict = bank.check(&mut source, &mut target).await.unwrap();
    assert!(!verdict.is_equal());
    assert_eq!(
        (verdict.transactions, verdict.lost, verdict.duplicated),
        (2, 1, 1),
        "{verdict}"
    );
    let text = verdict.to_string();
    assert!(
        text.contains("account '0000000007': note is NULL in the source, '' in"),
        "{text}"
    );
    assert!(
        text.contains("bank.branch_account '00001/0000000009': only in the source"),
        "{text}"
    );
    assert!(
        text.contains("the balances of the target add up to"),
        "{text}"
    );
}
