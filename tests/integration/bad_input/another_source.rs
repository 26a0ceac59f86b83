//! Bad input where a third server takes part: another source, a promoted replica, a copy of the sink.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_that_part() -> Result<()> {
    let (pair, other) = tokio::try_join!(Pair::start(), async {
        MysqlServer::builder().server_id(3).start().await
    })?;
    let mut scene = Scene::start(&pair, "p").await?;
    scene.at_source("INSERT INTO p.t VALUES (2, 'two')").await?;

    // A second pipeline of the same name, which reads another source.
    let mut conn = other.conn().await?;
    for statement in [
        "CREATE DATABASE p",
        "CREATE TABLE p.t (id INT PRIMARY KEY, v VARCHAR(20))",
        "INSERT INTO p.t VALUES (7, 'seven')",
    ] {
        conn.query_drop(statement).await?;
    }
    let epoch = scene.pipeline.row(&mut scene.sink).await?.epoch;
    let foreign = Pipeline {
        source_port: other.port().to_string(),
        start: "now".into(),
        ..scene.pipeline.clone()
    };
    scene
        .refused_as(
            &foreign,
            "TP1604",
            &["written by a pipeline that reads source", "another name"],
        )
        .await?;
    let now = scene.pipeline.row(&mut scene.sink).await?.epoch;
    ensure!(now == epoch, "the epoch was raised from {epoch} to {now}");
    // By another name it begins on its own.
    let named = Pipeline {
        name: "q".into(),
        file: foreign.file.with_file_name("q.toml"),
        ..foreign.clone()
    };
    let mut sink = pair.sink.conn().await?;
    named.run_until_caught_up(&mut conn, &mut sink).await?;
    scene.goes_on().await?;

    // The same name and the same source is a takeover by design: the other one stops with 3.
    let first = scene.pipeline.run()?;
    first
        .wait_for_line(|line| line.contains("took the sink over"), WAIT)
        .await?;
    let second = Pipeline {
        file: scene.pipeline.file.with_file_name("second.toml"),
        ..scene.pipeline.clone()
    };
    let second = second.run()?;
    let status = first.wait_exit(WAIT).await?;
    let said = first.stderr().join("\n");
    ensure!(status.code() == Some(3), "{status}: {said}");
    ensure!(
        said.contains("error[TP1601]: ") && said.contains("different names"),
        "{said}"
    );
    scene
        .at_source("INSERT INTO p.t VALUES (3, 'three')")
        .await?;
    scene.caught_up(&second).await?;
    stop(&second).await?;

    // A promoted replica that lacks the last transaction.
    let (uuid, number) = last_gtid(&mut scene.source).await?;
    conn.query_drop("RESET BINARY LOGS AND GTIDS").await?;
    conn.query_drop(format!(
        "SET GLOBAL gtid_purged = '{uuid}:1-{}'",
        number - 1
    ))
    .await?;
    let promoted = Pipeline {
        source_port: other.port().to_string(),
        ..scene.pipeline.clone()
    };
    let extra = format!("{uuid}:{number}");
    scene
        .refused_as(&promoted, "TP1211", &["lacks transactions", extra.as_str()])
        .await?;
    // The old one can be had: the new source gets it from there, and the pipeline goes on.
    conn.query_drop(format!("SET gtid_next = '{extra}'"))
        .await?;
    conn.query_drop("REPLACE INTO p.t VALUES (3, 'three')")
        .await?;
    conn.query_drop("SET gtid_next = 'AUTOMATIC'").await?;
    conn.query_drop("INSERT INTO p.t VALUES (4, 'of the new source')")
        .await?;
    promoted
        .run_until_caught_up(&mut conn, &mut scene.sink)
        .await?;
    ensure!(rows(&mut scene.sink, "SELECT id FROM p.t").await? == ["'1'", "'2'", "'3'", "'4'"]);

    // Back at the old source, the sink is ahead of it: until that has caught up.
    scene
        .refused("TP1211", &["lacks transactions that are already here"])
        .await?;
    let (new, first) = last_gtid(&mut conn).await?;
    scene
        .at_source(&format!("SET gtid_next = '{new}:{first}'"))
        .await?;
    scene
        .at_source("INSERT INTO p.t VALUES (4, 'of the new source')")
        .await?;
    scene.at_source("SET gtid_next = 'AUTOMATIC'").await?;
    scene.goes_on().await?;

    // What it needs is purged.
    scene
        .at_source("INSERT INTO p.t VALUES (5, 'five')")
        .await?;
    let (uuid, number) = last_gtid(&mut scene.source).await?;
    scene.at_source("FLUSH BINARY LOGS").await?;
    let files: Vec<Row> = scene.source.query("SHOW BINARY LOGS").await?;
    let last: String = files.last().and_then(|row| row.get(0)).context("no file")?;
    scene
        .at_source(&format!("PURGE BINARY LOGS TO '{last}'"))
        .await?;
    let missing = format!("{uuid}:{number}");
    scene
        .refused(
            "TP1210",
            &[
                "purged transactions that are still needed",
                missing.as_str(),
            ],
        )
        .await?;
    let (what, _) = scene.checked("TP1210").await?;
    ensure!(what.contains(&missing), "{what}");
    // It comes to the sink in another way, and is marked as done.
    scene.at_sink("INSERT INTO p.t VALUES (5, 'five')").await?;
    step_over(&mut scene, &uuid, number).await?;
    scene.at_source("INSERT INTO p.t VALUES (6, 'six')").await?;
    scene.goes_on().await
}

/// Two processes of which each believes to be the same replica: a copy of the sink with its offset row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_dumps_of_one_replica() -> Result<()> {
    let (pair, copy) = tokio::try_join!(Pair::start(), async {
        MysqlServer::builder().server_id(3).start().await
    })?;
    let mut scene = Scene::start(&pair, "p").await?;
    let dump = dump(&pair.sink, &["p", "towpath"])?;
    load(&copy, &dump)?;
    let mut at_copy = copy.conn().await?;
    let twin = Pipeline {
        file: scene.pipeline.file.with_file_name("twin.toml"),
        sink_port: copy.port().to_string(),
        ..scene.pipeline.clone()
    };
    let first = scene.pipeline.run()?;
    let begun = |line: &str| line.contains("binlog dump begun");
    first.wait_for_line(begun, WAIT).await?;
    let second = twin.run()?;
    let clash = |line: &str| line.contains("TP1212") && line.contains("SHOW REPLICAS");
    first.wait_for_line(clash, WAIT).await?;
    // Both go on, since neither may judge the other.
    scene.at_source("INSERT INTO p.t VALUES (2, 'two')").await?;
    scene.caught_up(&first).await?;
    twin.caught_up(&second, &mut scene.source, &mut at_copy)
        .await?;
    stop(&second).await?;
    stop(&first).await?;

    // As the page says: the copy becomes a replica of its own.
    at_copy
        .query_drop("UPDATE towpath.`offset` SET pipeline_uuid = UUID() WHERE pipeline = 'p'")
        .await?;
    let first = scene.pipeline.run()?;
    first.wait_for_line(begun, WAIT).await?;
    let second = twin.run()?;
    second.wait_for_line(begun, WAIT).await?;
    scene
        .at_source("INSERT INTO p.t VALUES (3, 'three')")
        .await?;
    scene.caught_up(&first).await?;
    twin.caught_up(&second, &mut scene.source, &mut at_copy)
        .await?;
    let clashes = first.stderr().iter().filter(|line| clash(line)).count();
    ensure!(clashes == 0, "{}", first.tail());

    // Both have the same server_id still, which disturbs nobody, but check tells of it.
    stop(&first).await?;
    let (what, _) = scene.checked("TP1212").await?;
    ensure!(what.contains("is used by"), "{what}");
    stop(&second).await
}
