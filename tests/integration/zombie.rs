//! A process that was frozen in the middle of a sink transaction, and comes back.

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use towpath_core::commit::lock::Lane;
use towpath_testing::wait_until;

use crate::harness::{Pair, WAIT, number, same, stop, until, until_blocked};

/// Exit code of a process that another one has superseded.
const SUPERSEDED: i32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_owner_commits_nothing_after_its_successor() -> Result<()> {
    let pair = Pair::start().await?;
    let pipeline = pair
        .pipeline(
            "zombie",
            &[
                "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
                "CREATE TABLE log (n INT, filler MEDIUMTEXT)",
                "INSERT INTO t VALUES (1, 0)",
            ],
        )
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    let mut holder = pair.sink.conn().await?;
    // Twice with the first frozen inside its transaction, once where the whole of it is with the server, once
    // between two.
    for round in 1..=4 {
        let first = pipeline.run()?;
        source
            .query_drop(format!("INSERT INTO zombie.log (n) VALUES ({round})"))
            .await?;
        pipeline.caught_up(&first, &mut source, &mut sink).await?;
        let before = pipeline.row(&mut sink).await?;
        let first_lane = pipeline.holder(&mut sink, Lane::Rows(0)).await?;
        // A batch of more than 64 KiB doesn't go out with its COMMIT.
        let filler = if round < 3 { 50_000 } else { 0 };
        if round < 4 {
            // Its transaction has written to `log` and waits for a row of `t`.
            holder.query_drop("BEGIN").await?;
            holder
                .query_drop("SELECT * FROM zombie.t FOR UPDATE")
                .await?;
            source
                .query_drop(format!(
                    "BEGIN; INSERT INTO zombie.log VALUES ({round}0, REPEAT('x', {filler})), \
                     ({round}1, REPEAT('y', {filler})); UPDATE zombie.t SET v = {round}; COMMIT"
                ))
                .await?;
            until_blocked(&mut sink, "zombie").await?;
        }
        first.freeze()?;
        holder.query_drop("ROLLBACK").await?;
        if round < 3 {
            // Its statements are done now; only its COMMIT is missing, and it can't send that.
            let open = "SELECT COUNT(*) FROM information_schema.innodb_trx \
                        WHERE trx_state = 'RUNNING' AND trx_rows_modified >= 3";
            until("an open transaction", &mut sink, open, |open| open > 0).await?;
        }
        if round == 3 {
            // The server has it all and ends it, under the epoch that is still the first's.
            wait_until("the server's own end", WAIT, async || {
                Ok(pipeline.row(&mut sink).await? != before)
            })
            .await?;
        } else {
            ensure!(pipeline.row(&mut sink).await? == before, "round {round}");
        }

        let second = pipeline.run()?;
        wait_until("the takeover", WAIT, async || {
            Ok(pipeline.row(&mut sink).await?.epoch > before.epoch)
        })
        .await
        .with_context(|| second.tail())?;
        pipeline.caught_up(&second, &mut source, &mut sink).await?;
        let taken = pipeline.row(&mut sink).await?;
        ensure!(
            taken.epoch == before.epoch + 1,
            "round {round}: {before:?}, {taken:?}"
        );
        let second_lane = pipeline.holder(&mut sink, Lane::Rows(0)).await?;
        ensure!(
            second_lane.is_some() && second_lane != first_lane,
            "round {round}"
        );
        same(&mut source, &mut sink, "SELECT * FROM zombie.log").await?;

        first.thaw()?;
        source
            .query_drop(format!("INSERT INTO zombie.log (n) VALUES ({round}2)"))
            .await?;
        let status = first.wait_exit(WAIT).await?;
        ensure!(
            status.code() == Some(SUPERSEDED),
            "round {round}: {status}; {}",
            first.tail()
        );
        let said = first.stderr().join("\n");
        for part in [
            "superseded",
            "pipeline zombie",
            &format!("epoch {}", taken.epoch),
        ] {
            ensure!(
                said.contains(part),
                "round {round}: {part:?} is not in\n{said}"
            );
        }
        pipeline.caught_up(&second, &mut source, &mut sink).await?;
        let after = pipeline.row(&mut sink).await?;
        ensure!(
            after.epoch == taken.epoch,
            "the successor was disturbed: {}",
            second.tail()
        );
        ensure!(pipeline.holder(&mut sink, Lane::Rows(0)).await? == second_lane);
        for table in ["t", "log"] {
            same(
                &mut source,
                &mut sink,
                &format!("SELECT * FROM zombie.{table}"),
            )
            .await?;
        }
        stop(&second).await?;
    }
    let count = "SELECT COUNT(*) FROM zombie.log";
    ensure!(number(&mut sink, count).await? == number(&mut source, count).await?);
    wait_until("the last lock to be released", WAIT, async || {
        Ok(pipeline.holder(&mut sink, Lane::Rows(0)).await?.is_none())
    })
    .await
}
