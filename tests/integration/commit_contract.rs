//! The commit contract (`towpath_core::commit`), clause by clause: who may write, what a commit
//! holds, what a failure leaves.

use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath_core::commit::SinkError;
use towpath_core::commit::lock::Lane;
use towpath_core::commit::offset::{Advance, OffsetWriter};
use towpath_core::commit::session::Session;
use towpath_core::commit::takeover::{Claim, Grant, Held, Right, take_over};
use towpath_protocol::epoch::{Epoch, Generation};
use towpath_protocol::gtid::GtidSet;
use towpath_testing::{MysqlServer, gtid_executed, wait_until};

use crate::commit_proxy::{CommitProxy, Strike};
use crate::harness::{
    Pair, SINK, WAIT, endpoint, number, rows, same, same_table, stop, until_blocked,
};

/// Rows of an open transaction that takes long enough to roll back to be watched.
const ROLLED_BACK_ROWS: u64 = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_held_and_a_lost_connection_ends_the_epoch() -> Result<()> {
    let pair = Pair::start().await?;
    let pipeline = pair
        .pipeline(
            "lost",
            &[
                "CREATE TABLE t (id INT PRIMARY KEY)",
                "CREATE TABLE log (n INT)",
            ],
        )
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    let process = pipeline.run()?;
    let mut n = 0;
    write(&mut source, &mut n).await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let first = pipeline.row(&mut sink).await?;

    // The lane's connection, in the middle of a load.
    let lane = pipeline
        .holder(&mut sink, Lane::Rows(0))
        .await?
        .context("the lane has no lock")?;
    let ddl = pipeline
        .holder(&mut sink, Lane::Ddl)
        .await?
        .context("DDL has no lock")?;
    ensure!(lane != ddl, "one connection holds both locks");
    write(&mut source, &mut n).await?;
    sink.query_drop(format!("KILL {lane}")).await?;
    write(&mut source, &mut n).await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let second = pipeline.row(&mut sink).await?;
    ensure!(
        second.epoch > first.epoch,
        "the epoch went on: {first:?}, {second:?}"
    );
    ensure!(
        second.uuid == first.uuid,
        "another pipeline UUID: {first:?}, {second:?}"
    );
    let lane = pipeline
        .holder(&mut sink, Lane::Rows(0))
        .await?
        .context("no lock again")?;

    // The DDL connection: noticed by the next statement, which must run once all the same.
    let ddl = pipeline
        .holder(&mut sink, Lane::Ddl)
        .await?
        .context("no DDL lock again")?;
    sink.query_drop(format!("KILL {ddl}")).await?;
    source
        .query_drop("ALTER TABLE lost.t ADD COLUMN v INT")
        .await?;
    write(&mut source, &mut n).await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let third = pipeline.row(&mut sink).await?;
    ensure!(
        third.epoch > second.epoch,
        "the epoch went on: {second:?}, {third:?}"
    );
    ensure!(third.ddl_seq == 1, "{third:?}");
    let after = pipeline.holder(&mut sink, Lane::Rows(0)).await?;
    ensure!(
        after.is_some_and(|after| after != lane),
        "a connection outlived its epoch"
    );

    same(&mut source, &mut sink, "SELECT * FROM lost.t").await?;
    same(&mut source, &mut sink, "SELECT * FROM lost.log").await?;
    stop(&process).await?;
    for lane in [Lane::Rows(0), Lane::Ddl] {
        wait_until("the locks to be released", WAIT, async || {
            Ok(pipeline.holder(&mut sink, lane).await?.is_none())
        })
        .await?;
    }
    Ok(())
}

/// Twenty transactions; `log` has no key, so that a repetition would be stored.
async fn write(source: &mut Conn, n: &mut u32) -> Result<()> {
    for _ in 0..20 {
        *n += 1;
        source
            .query_drop(format!(
                "BEGIN; INSERT INTO lost.t (id) VALUES ({n}); INSERT INTO lost.log VALUES ({n}); COMMIT"
            ))
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_waits_for_the_rollback_and_kills_nobody_else() -> Result<()> {
    let server = MysqlServer::builder().start().await?;
    let mut conn = server.conn().await?;
    conn.query_drop("CREATE DATABASE d").await?;
    conn.query_drop("CREATE TABLE d.t (id INT UNSIGNED PRIMARY KEY)")
        .await?;

    let (mut old, mut old_ddl, before) = own(&server, None).await?;
    old.execute("open", "BEGIN").await?;
    old.execute("open", "SET SESSION cte_max_recursion_depth = 1000000")
        .await?;
    old.execute(
        "write",
        &format!(
            "INSERT INTO d.t WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n \
             WHERE n < {ROLLED_BACK_ROWS}) SELECT n FROM n"
        ),
    )
    .await?;
    // Somebody whose id the row could be thought to remember.
    let mut stranger = server.conn_as("app").await?;
    stranger
        .query_drop("DO GET_LOCK('towpath:stranger:0', 0)")
        .await?;
    conn.query_drop(format!(
        "UPDATE towpath.`offset` SET owner = 'host:{}'",
        stranger.id()
    ))
    .await?;

    let mut watcher = server.conn().await?;
    watcher
        .query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
        .await?;
    ensure!(number(&mut watcher, "SELECT COUNT(*) FROM d.t").await? == ROLLED_BACK_ROWS);
    let watched = tokio::spawn(async move {
        loop {
            // In this order: whatever is left once the epoch is raised was not rolled back.
            let epoch = number(&mut watcher, "SELECT epoch FROM towpath.`offset`").await?;
            let left = number(&mut watcher, "SELECT COUNT(*) FROM d.t").await?;
            if epoch > before.epoch.0 {
                return anyhow::Ok(left);
            }
        }
    });
    let (mut new, mut new_ddl, after) = own(&server, None).await?;
    ensure!(after.epoch.0 == before.epoch.0 + 1, "{before:?}, {after:?}");
    let left = tokio::time::timeout(WAIT, watched).await???;
    ensure!(
        left == 0,
        "the epoch was raised with {left} rows of the predecessor not rolled back"
    );
    ensure!(
        old.execute("write", "COMMIT").await.is_err(),
        "the predecessor still has a connection"
    );
    ensure!(
        old_ddl.execute("write", "DO 1").await.is_err(),
        "so does its DDL"
    );
    stranger
        .query_drop("DO 1")
        .await
        .context("a stranger was killed")?;

    // Without a predecessor nobody at all is killed.
    let sink = claim(None).sink;
    new.execute("leave", "DO RELEASE_ALL_LOCKS()").await?;
    new_ddl.execute("leave", "DO RELEASE_ALL_LOCKS()").await?;
    let (_third, _third_ddl, third) = own(&server, None).await?;
    ensure!(third.epoch.0 == after.epoch.0 + 1, "{after:?}, {third:?}");
    new.execute("live", "DO 1").await?;
    new_ddl.execute("live", "DO 1").await?;
    stranger.query_drop("DO 1").await?;

    // Whoever held an older epoch gives up, and leaves the row as it is.
    let held = Some((after.generation, after.epoch));
    match own(&server, held).await {
        Err(SinkError::Superseded {
            epoch, own_epoch, ..
        }) => {
            ensure!((epoch, own_epoch) == (third.epoch.0, after.epoch.0));
        }
        other => bail!(
            "not superseded on {sink}: {:?}",
            other.map(|(_, _, held)| held)
        ),
    }
    ensure!(number(&mut conn, "SELECT epoch FROM towpath.`offset`").await? == third.epoch.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_owner_commits_nothing() -> Result<()> {
    let server = MysqlServer::builder().start().await?;
    let mut conn = server.conn().await?;
    conn.query_drop("CREATE DATABASE d").await?;
    conn.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY)")
        .await?;
    let uuid = uuid::Uuid::from_u128(7);
    let moves = [
        "UPDATE towpath.`offset` SET epoch = epoch + 1",
        "UPDATE towpath.`offset` SET generation = generation + 1",
        "UPDATE towpath.`offset` SET commit_seq = commit_seq + 1",
        "DELETE FROM towpath.`offset`",
    ];
    for (n, moved) in moves.iter().enumerate() {
        let (mut session, _ddl, held) = own(&server, None).await?;
        let mut writer = OffsetWriter::new("d", SINK, &held, uuid, GtidSet::new());
        let commit = async |session: &mut Session, writer: &mut OffsetWriter, id: usize| {
            session.execute("begin", "BEGIN").await?;
            session
                .execute("write", &format!("INSERT INTO d.t VALUES ({id})"))
                .await?;
            let gtids = format!("{uuid}:{id}").parse().unwrap_or_default();
            writer
                .commit(
                    session,
                    &Advance {
                        gtids,
                        ..Advance::default()
                    },
                )
                .await
        };
        commit(&mut session, &mut writer, 10 * n + 1).await?;
        let offset = "SELECT * FROM towpath.`offset`";
        conn.query_drop(*moved).await?;
        let before = (
            rows(&mut conn, offset).await?,
            rows(&mut conn, GTIDS).await?,
        );
        match commit(&mut session, &mut writer, 10 * n + 2).await {
            Err(SinkError::Fenced { epoch, .. }) => ensure!(epoch == held.epoch.0),
            other => bail!("{moved}: not fenced but {other:?}"),
        }
        let after = (
            rows(&mut conn, offset).await?,
            rows(&mut conn, GTIDS).await?,
        );
        ensure!(before == after, "{moved}: {before:?} became {after:?}");
        let last = number(&mut conn, "SELECT MAX(id) FROM d.t").await?;
        ensure!(
            last == 10 * n as u64 + 1,
            "{moved}: the stale owner's row {last} is there"
        );
        // It was rolled back and not merely left open.
        conn.query_drop("SELECT id FROM d.t FOR UPDATE NOWAIT")
            .await
            .context("still open")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_any_statement_of_a_packet_is_told_at_once() -> Result<()> {
    let server = MysqlServer::builder().without_binlog().start().await?;
    let (mut session, _ddl, _held) = own(&server, None).await?;
    for (packet, wrong) in [
        ("SELECT nothing; DO 1", 0),
        ("DO 1; SELECT nothing; DO 1", 1),
        ("DO 1; SELECT 1; DO 1; SELECT nothing", 3),
        ("SELECT 1; SELECT (SELECT 1 UNION SELECT 2); DO 1", 1),
    ] {
        match session
            .packet("try", packet.as_bytes(), packet.split(';').count())
            .await
        {
            Err((at, SinkError::Server { .. })) => ensure!(at == wrong, "{packet}: at {at}"),
            other => bail!("{packet}: {other:?}"),
        }
        session
            .execute("go on", "DO 1")
            .await
            .context("the error came again")?;
    }
    let matched = session
        .packet(
            "try",
            b"DO 1; UPDATE towpath.`offset` SET epoch = epoch; SELECT 1; DO 1",
            4,
        )
        .await;
    ensure!(
        matches!(matched.as_deref(), Ok([0, 1, _, 0])),
        "{matched:?}"
    );
    Ok(())
}

const GTIDS: &str = "SELECT * FROM towpath.offset_gtid";

fn claim(held: Option<(Generation, Epoch)>) -> Claim {
    Claim {
        pipeline: "d".into(),
        sink: SINK.into(),
        owner: "test".into(),
        held,
        right: Right::RowPlusOne,
    }
}

/// Takes the sink over by the library, as pipeline `d`.
async fn own(
    server: &MysqlServer,
    held: Option<(Generation, Epoch)>,
) -> Result<(Session, Session, Held), SinkError> {
    own_as(server, &claim(held)).await
}

/// Takes the sink over by the library.
async fn own_as(
    server: &MysqlServer,
    claim: &Claim,
) -> Result<(Session, Session, Held), SinkError> {
    let endpoint = endpoint(server);
    let mut rows = Session::connect(SINK, &endpoint).await?;
    let mut ddl = Session::connect(SINK, &endpoint).await?;
    let held = take_over(claim, &mut rows, &mut ddl).await?;
    Ok((rows, ddl, held))
}

/// Clause 3: the directory's epochs, and whose row it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_s_epoch_must_be_above_the_row_s_and_of_the_row_s_directory() -> Result<()> {
    let server = MysqlServer::builder().start().await?;
    let mut conn = server.conn().await?;
    let (ours, other) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
    let granted = |cluster, generation, epoch| Claim {
        right: Right::Granted(Grant {
            cluster,
            generation: Generation(generation),
            epoch: Epoch(epoch),
        }),
        ..claim(None)
    };
    const ROW: &str =
        "SELECT CONCAT_WS(' ', cluster, generation, epoch, commit_seq) FROM towpath.`offset`";
    let refused = async |claim: &Claim, what: &str| match own_as(&server, claim).await {
        Err(error) => Ok(error),
        Ok((_, _, held)) => bail!("{what}: taken over with {held:?}"),
    };

    // A row without a directory is stamped by the first one.
    let (_, _, held) = own(&server, None).await?;
    ensure!((held.generation, held.epoch) == (Generation(0), Epoch(1)));
    let (_, _, held) = own_as(&server, &granted(ours, 1, 7)).await?;
    ensure!((held.generation, held.epoch) == (Generation(1), Epoch(7)));
    let stamped = rows(&mut conn, ROW).await?;
    ensure!(stamped == [format!("'{ours} 1 7 0'")], "{stamped:?}");

    // Not above: equal, lower, a lower generation.
    for (generation, epoch) in [(1, 7), (1, 6), (0, 900)] {
        let error = refused(&granted(ours, generation, epoch), "not above").await?;
        ensure!(
            matches!(error, SinkError::Superseded { epoch: 7, .. }),
            "{generation}/{epoch}: {error}"
        );
    }
    // Another directory's, however high; and none at all.
    let error = refused(&granted(other, 9, 900), "another directory").await?;
    let said = error.to_string();
    ensure!(matches!(error, SinkError::Cluster { .. }), "{said}");
    for part in [&ours.to_string(), &other.to_string(), "towpath adopt"] {
        ensure!(said.contains(part), "{part:?} is not in {said}");
    }
    let error = refused(&claim(None), "no directory").await?;
    ensure!(matches!(error, SinkError::Cluster { .. }), "{error}");
    ensure!(
        rows(&mut conn, ROW).await? == stamped,
        "a refusal has changed the row"
    );

    // What that page says, for a directory that is gone for good: then another one takes the row over.
    conn.query_drop(
        "UPDATE towpath.`offset` SET cluster = NULL, generation = 0, epoch = 0 \
         WHERE pipeline = 'd' AND sink = 'replica'",
    )
    .await?;
    own_as(&server, &granted(other, 1, 2)).await?;
    let taken = rows(&mut conn, ROW).await?;
    ensure!(taken == [format!("'{other} 1 2 0'")], "{taken:?}");
    conn.query_drop(format!(
        "UPDATE towpath.`offset` SET cluster = '{ours}', generation = 1, epoch = 7"
    ))
    .await?;

    // Above it is taken; a rebuilt directory's generation counts before its epoch.
    for (generation, epoch) in [(1, 8), (2, 3)] {
        let (_, _, held) = own_as(&server, &granted(ours, generation, epoch)).await?;
        ensure!((held.generation.0, held.epoch.0) == (generation, epoch));
    }
    Ok(())
}

/// What is planted on the sink, the source's transaction that meets it, what the error must say,
/// and the repair.
struct Trap {
    name: &'static str,
    plant: &'static str,
    statement: &'static str,
    says: &'static [&'static str],
    repair: &'static str,
}

const TRAPS: &[Trap] = &[
    Trap {
        name: "duplicate",
        plant: "INSERT INTO t VALUES (5, 'planted', NULL)",
        statement: "INSERT INTO t VALUES (4, 'x', NULL), (5, 'x', NULL), (6, 'x', NULL)",
        says: &[
            "INSERT on duplicate.t",
            "already there",
            "key (5)",
            "of transaction {gtid}",
        ],
        repair: "DELETE FROM t WHERE id = 5",
    },
    Trap {
        name: "duplicate_unique",
        plant: "INSERT INTO t VALUES (50, 'planted', 5)",
        statement: "INSERT INTO t VALUES (5, 'x', 5)",
        says: &[
            "INSERT on duplicate_unique.t",
            "'5' for key 't.u'",
            "transaction {gtid}",
        ],
        repair: "DELETE FROM t WHERE id = 50",
    },
    Trap {
        name: "missing_update",
        plant: "DELETE FROM t WHERE id = 2",
        statement: "UPDATE t SET v = 'new'",
        says: &[
            "UPDATE on missing_update.t matched 2 of 3",
            "missing",
            "key (2)",
            "{gtid}",
        ],
        repair: "INSERT INTO t VALUES (2, 'old', NULL)",
    },
    Trap {
        name: "missing_delete",
        plant: "DELETE FROM t WHERE id = 2",
        statement: "DELETE FROM t",
        says: &[
            "DELETE on missing_delete.t matched 2 of 3",
            "missing",
            "key (2)",
            "{gtid}",
        ],
        repair: "INSERT INTO t VALUES (2, 'old', NULL)",
    },
    Trap {
        name: "missing_without_key",
        plant: "DELETE FROM k WHERE n = 2",
        statement: "UPDATE k SET v = 'new' WHERE n = 2",
        says: &[
            "UPDATE on missing_without_key.k matched 0 of 1",
            "transaction {gtid}",
        ],
        repair: "INSERT INTO k VALUES (2, 'old')",
    },
    Trap {
        name: "dropped",
        plant: "DROP TABLE t",
        statement: "INSERT INTO t VALUES (4, 'x', NULL)",
        says: &["dropped.t does not exist on the sink", "transaction {gtid}"],
        repair: "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), u INT UNIQUE) \
                 SELECT 1 AS id, 'old' AS v, CAST(NULL AS SIGNED) AS u UNION SELECT 2, 'old', NULL \
                 UNION SELECT 3, 'old', NULL",
    },
    Trap {
        name: "out_of_range",
        plant: "ALTER TABLE t MODIFY v VARCHAR(5)",
        statement: "INSERT INTO t VALUES (4, 'x', NULL), (5, 'too long', NULL)",
        says: &[
            "INSERT on out_of_range.t",
            "column 'v'",
            "transaction {gtid}",
        ],
        repair: "ALTER TABLE t MODIFY v VARCHAR(20)",
    },
    Trap {
        name: "narrower",
        plant: "ALTER TABLE t MODIFY u SMALLINT",
        statement: "INSERT INTO t VALUES (4, 'x', 1)",
        says: &[
            "table narrower.t",
            "column u is smallint on the sink, but int",
            "{gtid}",
        ],
        repair: "ALTER TABLE t MODIFY u INT",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_rolls_everything_back_and_names_the_row() -> Result<()> {
    let pair = Pair::start().await?;
    let (mut source, mut sink) = pair.conns().await?;
    for trap in TRAPS {
        let name = trap.name;
        let pipeline = pair
            .pipeline(
                name,
                &[
                    "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), u INT UNIQUE)",
                    "CREATE TABLE k (n INT, v VARCHAR(20))",
                    "CREATE TABLE other (id INT PRIMARY KEY)",
                    "INSERT INTO t VALUES (1, 'old', NULL), (2, 'old', NULL), (3, 'old', NULL)",
                    "INSERT INTO k VALUES (1, 'old'), (2, 'old')",
                ],
            )
            .await?;
        // Something is committed before, so that the offset has a place to stay at.
        source.query_drop(format!("USE {name}")).await?;
        sink.query_drop(format!("USE {name}")).await?;
        source.query_drop("INSERT INTO other VALUES (1)").await?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        let stored = pipeline.stored(&mut sink).await?;

        sink.query_drop(trap.plant).await?;
        let statement = trap.statement;
        let batch = format!(
            "BEGIN; INSERT INTO other VALUES (2); {statement}; INSERT INTO other VALUES (3); COMMIT"
        );
        source.query_drop(batch).await?;
        let gtid = last_gtid(&mut source).await?;
        let said = pipeline.run_until_it_fails().await?;
        for says in trap.says {
            let says = says.replace("{gtid}", &gtid);
            ensure!(said.contains(&says), "{name}: {says:?} is not in\n{said}");
        }
        ensure!(
            pipeline.stored(&mut sink).await? == stored,
            "{name}: the offset moved"
        );
        ensure!(
            number(&mut sink, "SELECT COUNT(*) FROM other").await? == 1,
            "{name}: another statement of the batch stayed"
        );
        sink.query_drop(trap.repair).await?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        for table in ["t", "k", "other"] {
            same(
                &mut source,
                &mut sink,
                &format!("SELECT * FROM {name}.{table}"),
            )
            .await?;
        }
    }
    Ok(())
}

/// The GTID of the last transaction of a source that has none but its own.
async fn last_gtid(source: &mut Conn) -> Result<String> {
    let set = gtid_executed(source).await?;
    let (uuid, intervals) = set.split_once(':').context("no GTID")?;
    let last = intervals.rsplit('-').next().unwrap_or(intervals);
    Ok(format!("{uuid}:{last}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_commit_is_neither_repeated_nor_forgotten() -> Result<()> {
    let pair = Pair::start().await?;
    let mut pipeline = pair
        .pipeline(
            "lost",
            &[
                "CREATE TABLE t (id INT PRIMARY KEY)",
                "CREATE TABLE log (n INT)",
            ],
        )
        .await?;
    let proxy = CommitProxy::start(pair.sink.port()).await?;
    pipeline.sink_port = proxy.port().to_string();
    pipeline.sink_parameters = "?ssl-mode=disabled".into();
    let (mut source, mut sink) = pair.conns().await?;
    let process = pipeline.run()?;
    let mut n = 0;
    write(&mut source, &mut n).await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    for strike in [
        Strike::LoseAnswer,
        Strike::LoseCommit,
        Strike::LoseAnswer,
        Strike::LoseCommit,
    ] {
        let before = pipeline.row(&mut sink).await?;
        proxy.arm(strike);
        write(&mut source, &mut n).await?;
        wait_until("the strike", WAIT, async || Ok(proxy.has_struck())).await?;
        pipeline.caught_up(&process, &mut source, &mut sink).await?;
        let after = pipeline.row(&mut sink).await?;
        ensure!(
            after.epoch > before.epoch,
            "{strike:?}: {before:?}, {after:?}"
        );
        same(&mut source, &mut sink, "SELECT * FROM lost.log").await?;
    }

    // A commit that is under way in the server while the next epoch begins.
    let mut holder = pair.sink.conn().await?;
    let before = pipeline.row(&mut sink).await?;
    holder.query_drop("BEGIN").await?;
    holder
        .query_drop("SELECT * FROM towpath.`offset` FOR UPDATE")
        .await?;
    let lane = pipeline.holder(&mut sink, Lane::Rows(0)).await?;
    proxy.arm(Strike::LeaveInFlight);
    write(&mut source, &mut n).await?;
    wait_until("the strike", WAIT, async || Ok(proxy.has_struck())).await?;
    wait_until("the next epoch to take the lock", WAIT, async || {
        let now = pipeline.holder(&mut sink, Lane::Rows(0)).await?;
        Ok(now.is_some() && now != lane)
    })
    .await?;
    until_blocked(&mut sink, "towpath").await?;
    ensure!(
        pipeline.row(&mut sink).await? == before,
        "the commit in flight went through"
    );
    holder.query_drop("ROLLBACK").await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "lost.t").await?;
    same(&mut source, &mut sink, "SELECT * FROM lost.log").await?;
    let counted = number(&mut sink, "SELECT COUNT(*) FROM lost.log").await?;
    ensure!(counted == u64::from(n), "{counted} of {n}");
    stop(&process).await
}

/// Where data is committed without the offset: a COMMIT that was refused leaves the transaction open, and a BEGIN
/// would commit it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_commit_is_rolled_back_before_it_is_tried_again() -> Result<()> {
    let pair = Pair::start().await?;
    let schema = ["CREATE TABLE log (n INT)"];
    let mut pipeline = pair.pipeline("refused", &schema).await?;
    let proxy = CommitProxy::start(pair.sink.port()).await?;
    pipeline.sink_port = proxy.port().to_string();
    pipeline.sink_parameters = "?ssl-mode=disabled".into();
    pipeline.further = "delivery = \"at-least-once\"".into();
    let (mut source, mut sink) = pair.conns().await?;
    let process = pipeline.run()?;
    proxy.arm(Strike::Refuse);
    source
        .query_drop("INSERT INTO refused.log VALUES (1), (2)")
        .await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    ensure!(proxy.has_struck(), "nothing was refused");
    same(&mut source, &mut sink, "SELECT * FROM refused.log").await?;
    stop(&process).await
}
