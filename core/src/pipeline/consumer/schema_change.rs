//! Statements in the binlog: what `apply::ddl` decides about them is done here, between the rows.
//!
//! A statement that is carried is a barrier: all that came before is committed, then its intent,
//! then it runs, then its GTID is committed with the intent's end. `CREATE TABLE ... SELECT` ends
//! with its rows: they, the GTID and the intent's end are one commit.

use std::borrow::Cow;

use towpath_protocol::gtid::Gtid;

use super::{Consumer, Outcome, decode};
use crate::apply::ddl::{Carried, Decision, Pass, Statement, decide};
use crate::apply::literal::charset_name;
use crate::batch::Chunk;
use crate::commit::SinkError;
use crate::commit::ddl::{self, Answer, DdlIntent, DdlStatement, Definitions};
use crate::commit::offset::{Advance, DdlChange};
use crate::decode::{Event, QueryEvent, StatusVars};
use crate::failpoint::Point;
use crate::pipeline::PipelineError;
use crate::pipeline::asked;

/// With what the source ends the first half of a `CREATE TABLE ... SELECT`.
const ROWS_FOLLOW: &[u8] = b"START TRANSACTION";

impl Consumer {
    /// A statement in the binlog: DDL or what goes with it.
    pub(super) async fn query(
        &mut self,
        chunk: &Chunk,
        event: Event<'_>,
    ) -> Result<Outcome, PipelineError> {
        let gtid = &chunk.gtid;
        let query = QueryEvent::parse(event.body).map_err(|source| decode(gtid, source))?;
        let vars = query.status_vars().map_err(|source| decode(gtid, source))?;
        let sql = self.statement_text(query.sql, &vars).await?;
        let database = String::from_utf8_lossy(query.schema);
        let statement = Statement {
            sql: &sql,
            sql_mode: vars.sql_mode.unwrap_or(0),
            database: &database,
            updated_databases: vars.updated_databases.as_deref(),
            lower_case_names: self.facts.lower_case_names,
        };
        match decide(&statement, &self.filter, &self.rules) {
            Decision::Pass(pass) => {
                self.tell(gtid, &sql, &pass);
                Ok(Outcome::Gathered)
            }
            Decision::Refuse(why) => Err(self.refuse(gtid, why, &sql).await),
            Decision::Carry(carried) => {
                let bytes = match &carried.narrowed {
                    Some(narrowed) => narrowed.as_bytes(),
                    None if carried.with_rows => match without_rows(query.sql) {
                        Some(bytes) => bytes,
                        None => {
                            let why = "it ends with START TRANSACTION and a comment".to_owned();
                            return Err(self.refuse(gtid, why, &sql).await);
                        }
                    },
                    None => query.sql,
                };
                // A barrier: all that came before is committed.
                self.inside = false;
                self.drain().await?;
                let way_past = self.way_past(gtid);
                let pipeline = self.pipeline.clone();
                let statement = DdlStatement {
                    gtid: gtid.to_string(),
                    sql: bytes,
                    rewritten: carried.narrowed.is_some(),
                    database: &database,
                    vars: &vars,
                    timestamp_s: event.header.timestamp,
                    objects: &carried.objects,
                    way_past: &way_past,
                    pipeline: &pipeline,
                };
                self.carry(chunk, &carried, &statement).await
            }
        }
    }

    /// Logs a statement that isn't run.
    fn tell(&self, gtid: &Gtid, sql: &str, pass: &Pass) {
        let (pipeline, sink) = (&self.pipeline, &self.sink);
        match pass {
            Pass::Outside => {
                tracing::debug!(%gtid, statement = %sql, "a statement that is not replicated");
            }
            Pass::Never(kind) => tracing::info!(
                pipeline, sink, %gtid, kind, statement = %sql,
                "not run on the sink: what it does is in the binlog as rows"
            ),
            Pass::Ignored { class, consequence } => tracing::info!(
                pipeline, sink, %gtid, class = class.key(), statement = %sql, consequence,
                "ignored, as [ddl] says"
            ),
        }
    }

    async fn refuse(&mut self, gtid: &Gtid, why: String, sql: &str) -> PipelineError {
        // All that came before is kept, so that only this one is in the way.
        self.inside = false;
        if let Err(error) = self.drain().await {
            return error;
        }
        SinkError::Ddl {
            sink: self.sink.clone(),
            gtid: gtid.to_string(),
            detail: format!("{why}; {}", self.way_past(gtid)),
            statement: sql.to_owned(),
        }
        .into()
    }

    /// Runs a statement; all that came before it is committed.
    async fn carry(
        &mut self,
        chunk: &Chunk,
        carried: &Carried,
        statement: &DdlStatement<'_>,
    ) -> Result<Outcome, PipelineError> {
        if !self.confirmed(&statement.gtid).await {
            return Ok(Outcome::Stopped);
        }
        self.ddl.reach(Point::DdlBeforeIntent).await?;
        let (intent, resumed) = match self.ddl_intent.take() {
            // Once it is answered that it has not run, the answer is spent: it runs now, under an
            // intent of its own, and whether that has run is another question.
            Some(intent)
                if intent.gtid == statement.gtid && intent.answer != Some(Answer::NotRun) =>
            {
                (intent, true)
            }
            _ => (self.intend(carried, statement).await?, false),
        };
        self.ddl.reach(Point::DdlAfterIntent).await?;
        self.ddl_seq = intent.seq;
        let ran = ddl::run(
            &mut self.ddl,
            &self.facts,
            self.pipeline_uuid,
            &intent,
            resumed,
            statement,
        )
        .await;
        if matches!(ran, Err(SinkError::DdlRefused { .. })) {
            // It was refused and did not run. The repair may change the definitions that the intent
            // recorded, which would then look as if it had: the next try begins with a new intent.
            self.commit_now(Advance {
                ddl: DdlChange::Done,
                ..Advance::default()
            })
            .await?;
        }
        ran?;
        self.ddl.reach(Point::DdlBeforeDone).await?;
        self.plans.clear();
        let states = self
            .copies
            .schema_changed(&chunk.gtid, carried, statement.sql, &mut self.ddl)
            .await?;
        if carried.with_rows {
            // Until its rows are there it isn't done: the commit that has them ends the intent.
            self.inside = true;
            self.advance.ddl = DdlChange::Done;
            self.advance.copies.extend(states);
            self.builder.begin(&chunk.gtid);
            self.builder.read_from(chunk.events.clone());
            return Ok(Outcome::Gathered);
        }
        let mut advance = Advance {
            ddl: DdlChange::Done,
            copies: states,
            ..Advance::default()
        };
        advance.add(&chunk.gtid, &chunk.after, chunk.commit_time_us);
        self.commit_now(advance).await?;
        self.ddl.reach(Point::DdlAfterDone).await?;
        Ok(Outcome::Committed)
    }

    /// Commits the intent to run a statement next.
    async fn intend(
        &mut self,
        carried: &Carried,
        statement: &DdlStatement<'_>,
    ) -> Result<DdlIntent, PipelineError> {
        let before = Definitions::read(&mut self.ddl, &carried.objects).await?;
        let (uuid, last) = (self.pipeline_uuid, self.ddl_seq);
        let intent = DdlIntent {
            seq: ddl::next_seq(&mut self.ddl, &self.facts, uuid, last).await?,
            gtid: statement.gtid.clone(),
            statement: String::from_utf8_lossy(statement.sql).into_owned(),
            before: before.fingerprint(),
            traceless: before.hide(&carried.trace),
            answer: None,
        };
        self.commit_now(Advance {
            ddl: DdlChange::Intent(intent.clone()),
            ..Advance::default()
        })
        .await?;
        Ok(intent)
    }

    /// Waits until the right to write is confirmed; `false` if a stop was asked for first. The sink
    /// judges every commit of rows, but a DDL statement commits by itself (`commit`'s contract).
    async fn confirmed(&mut self, gtid: &str) -> bool {
        if *self.waits.confirmed.borrow() {
            return true;
        }
        tracing::warn!(
            pipeline = self.pipeline,
            sink = self.sink,
            gtid,
            "a DDL statement waits until the directory confirms that this process still leads"
        );
        self.progress.waiting(true);
        let (confirmed, stop) = (&mut self.waits.confirmed, &mut self.waits.stop);
        let confirmed = tokio::select! {
            confirmed = confirmed.wait_for(|confirmed| *confirmed) => confirmed.is_ok(),
            () = asked(stop) => false,
        };
        if !confirmed {
            // Nobody can confirm any more: whoever ended that ends this epoch, too.
            asked(&mut self.waits.stop).await;
        }
        self.progress.waiting(false);
        if confirmed {
            tracing::info!(
                pipeline = self.pipeline,
                sink = self.sink,
                gtid,
                "confirmed; the DDL statement goes on"
            );
        }
        confirmed
    }

    /// How an operator goes on behind a transaction that was dealt with by hand. It names all that
    /// the sink holds, so nothing may be on its way.
    fn way_past(&self, gtid: &Gtid) -> String {
        let mut gtids = self.progress.view().gtids;
        let is_known = gtids.origins().any(|(origin, _)| *origin == gtid.origin);
        gtids.add(gtid);
        let intervals = gtids.intervals_text(&gtid.origin).unwrap_or_default();
        let (pipeline, sink) = (&self.pipeline, &self.sink);
        let (uuid, tag) = (&gtid.origin.uuid, &gtid.origin.tag);
        let mark = if is_known {
            format!(
                "UPDATE towpath.offset_gtid SET intervals = '{intervals}' WHERE pipeline = '{pipeline}' AND \
                 sink = '{sink}' AND source_uuid = '{uuid}' AND tag = '{tag}'"
            )
        } else {
            format!(
                "INSERT INTO towpath.offset_gtid (pipeline, sink, source_uuid, tag, intervals) VALUES \
                 ('{pipeline}', '{sink}', '{uuid}', '{tag}', '{intervals}')"
            )
        };
        format!(
            "run it, or what stands for it, on the sink yourself, then mark it as done and start again: {mark}"
        )
    }

    /// A statement's text, by the character set of the client that sent it: names in it decide what
    /// is replicated, and in some character sets a quote can be the second byte of a letter.
    async fn statement_text<'a>(
        &mut self,
        sql: &'a [u8],
        vars: &StatusVars,
    ) -> Result<Cow<'a, str>, PipelineError> {
        let client = vars
            .charset
            .and_then(|charset| charset_name(charset.client));
        match client {
            Some(client)
                if !sql.is_ascii()
                    && !matches!(client.as_str(), "utf8mb4" | "utf8mb3" | "ascii" | "binary") =>
            {
                let hex: String = sql.iter().map(|byte| format!("{byte:02X}")).collect();
                let convert = format!("SELECT CONVERT(_{client} X'{hex}' USING utf8mb4)");
                let text: Option<String> =
                    self.ddl.first("read a statement's text", &convert).await?;
                Ok(text.map_or_else(|| String::from_utf8_lossy(sql), Cow::Owned))
            }
            _ => Ok(String::from_utf8_lossy(sql)),
        }
    }
}

/// A `CREATE TABLE` without the clause that says that its rows follow.
fn without_rows(sql: &[u8]) -> Option<&[u8]> {
    let sql = sql.trim_ascii_end();
    let (head, tail) = sql.split_at_checked(sql.len().checked_sub(ROWS_FOLLOW.len())?)?;
    tail.eq_ignore_ascii_case(ROWS_FOLLOW).then_some(head)
}
