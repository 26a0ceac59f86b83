//! Mending rows that differ: the source's rows, written into the sink under the pipeline's own
//! offset.
//!
//! In one transaction of the sink: the offset row is locked, so the sink stands at O and nothing
//! moves. The source is read at a state c that has all of O; what it has executed after that is HW.
//! The sink's rows are deleted where their key goes, the source's written, and the table settles
//! until the sink holds HW: from O on the stream comes again to what the rows of c have already,
//! and is applied by key, whatever is there, until then.

use std::time::Duration;

use tokio::time::Instant;
use towpath_protocol::spec::Endpoint;

use super::VerifyError;
use super::report::{Difference, Kind};
use super::server::{Place, Server};
use super::statement::Statements;
use crate::apply::target::TargetTable;
use crate::check::Side;
use crate::commit::SinkError;
use crate::commit::copies::CopyState;
use crate::commit::intervene::Intervention;
use crate::failpoint::Point;
use crate::scan::{KeyRange, ScanError, upserts};

/// Rows of one transaction: the pipeline waits for it, and begins an epoch after it.
const ROWS_MAX: usize = 500;

/// Bytes of rows that are read at once.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How often a transaction is tried that the server chose as the victim of a deadlock.
const TRIES_MAX: u32 = 5;

/// A source has what it sent us; it may take a moment until it says so.
const EXECUTED_MAX: Duration = Duration::from_secs(10);

/// How often it's asked.
const EXECUTED_PAUSE: Duration = Duration::from_millis(20);

/// Mends rows of one table, and marks those that it mended.
///
/// # Errors
/// What a server refuses; what was marked before is mended for good.
pub(super) async fn repair(
    source: &mut Server,
    place: &Place,
    sink: &Endpoint,
    of: &Statements,
    differences: &mut [Difference],
) -> Result<(), VerifyError> {
    for some in differences.chunks_mut(ROWS_MAX) {
        let mut tries = 0;
        loop {
            tries += 1;
            match transaction(source, place, sink, of, some).await {
                Err(error) if error.is_lock_clash() && tries < TRIES_MAX => {}
                done => break done?,
            }
        }
        some.iter_mut().for_each(|row| row.repaired = true);
    }
    Ok(())
}

async fn transaction(
    source: &mut Server,
    place: &Place,
    address: &Endpoint,
    of: &Statements,
    rows: &[Difference],
) -> Result<(), VerifyError> {
    let definition = of.table().definition();
    let (database, table) = (&definition.database, &definition.table);
    let mut change = Intervention::begin(&place.pipeline, &place.sink, address).await?;
    change.session().reach(Point::RepairLocked).await?;
    if let Some(copy) = change.copy_of(database, table)
        && matches!(copy.state, CopyState::Waiting | CopyState::Copying)
    {
        return Err(VerifyError::Copying {
            table: of.name().to_owned(),
            state: copy.state.word(),
        });
    }
    let target = TargetTable::read(change.conn(), database, table).await;
    let target = target.map_err(|error| {
        let doing = "read a definition";
        VerifyError::statement(Side::Sink, doing, of.name(), error)
    })?;
    let Some(target) = target else {
        return Err(VerifyError::Scan {
            side: Side::Sink,
            error: ScanError::Stale {
                table: of.name().to_owned(),
                detail: "the sink has no such table any more".to_owned(),
            },
        });
    };

    let key = of.table().key_columns();
    if !target.is_unique_by(&key) {
        return Err(VerifyError::NoSinkKey {
            table: of.name().to_owned(),
            key: key.join(", "),
        });
    }

    let since = Instant::now();
    while !change.gtids().is_subset(&source.gtid_executed().await?) {
        if since.elapsed() > EXECUTED_MAX {
            return Err(VerifyError::Answer {
                side: Side::Source,
                doing: "wait until the source has executed what the sink holds",
                why: "it lacks transactions of the sink's offset; is it another server, or was it restored?"
                    .to_owned(),
            });
        }
        tokio::time::sleep(EXECUTED_PAUSE).await;
    }
    let goes = |row: &&Difference| row.kind == Kind::Extra || row.at_source != row.at_sink;
    let going: Vec<&[String]> = rows
        .iter()
        .filter(goes)
        .flat_map(|row| row.at_sink.iter().map(Vec::as_slice))
        .collect();
    change.session().read_bytes().await?;
    if !going.is_empty() {
        let sql = of.delete(going.into_iter());
        write(&mut change, sql.as_bytes()).await?;
    }
    let keys = rows
        .iter()
        .flat_map(|row| row.at_source.iter().chain(&row.at_sink));
    let condition = of.any_of(Side::Source, keys.map(Vec::as_slice));
    let at_source = |error| VerifyError::Scan {
        side: Side::Source,
        error,
    };
    let mut range = KeyRange::default();
    loop {
        let conn = source.conn();
        let chunk = of
            .table()
            .chunk(conn, &range, Some(&condition), ROWS_MAX as u32, BYTES_MAX)
            .await
            .map_err(at_source)?;
        let written = upserts(&chunk, of.table(), &target);
        let written = written.map_err(|error| VerifyError::Scan {
            side: Side::Sink,
            error,
        })?;
        for sql in &written {
            write(&mut change, sql).await?;
        }
        if chunk.rows == 0 || chunk.ended {
            break;
        }
        range.after = chunk.last;
    }
    // Another type of a column doesn't show in the rows that were read.
    of.table().confirm(source.conn()).await.map_err(at_source)?;
    let settles_at = source.executed_with_all_seen(EXECUTED_MAX).await?;
    change.settle(database, table, &settles_at).await?;
    Ok(change.commit().await?)
}

async fn write(change: &mut Intervention, sql: &[u8]) -> Result<(), SinkError> {
    let done = change.session().packet("repair rows", sql, 1).await;
    done.map(|_| ()).map_err(|(_, error)| error)
}
