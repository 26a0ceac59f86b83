//! The tables that hold the offset, in the sink's own schema `towpath`. They are never replicated.

/// The schema's name.
pub const DATABASE: &str = "towpath";

/// Creates what is missing; harmless where everything exists.
///
/// `offset` has one row per pipeline and sink. `commit_seq` counts commits of this sink and belongs to
/// the compare-and-set alone. `generation` and `epoch` say who may write, `lanes` how many connections
/// hold named locks. `cluster` is the directory whose epochs these are; NULL until the first takeover
/// by a Core of one, which stamps it. `source_uuid` is the server UUID of the source that the GTIDs were read from.
/// `ddl_seq` numbers the DDL statements that were carried; `ddl_intent` is the one in progress (JSON).
///
/// `offset_gtid` has one row per origin (server UUID and tag): the intervals that the sink holds.
pub const STATEMENTS: &[&str] = &[
    "CREATE DATABASE IF NOT EXISTS towpath",
    "CREATE TABLE IF NOT EXISTS towpath.`offset` (\
       pipeline VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
       sink VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
       pipeline_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
       source_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL, \
       cluster CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL, \
       generation BIGINT UNSIGNED NOT NULL, \
       epoch BIGINT UNSIGNED NOT NULL, \
       owner VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL, \
       lanes INT UNSIGNED NOT NULL, \
       commit_seq BIGINT UNSIGNED NOT NULL, \
       source_file VARCHAR(512) CHARACTER SET utf8mb4 NULL, \
       source_offset BIGINT UNSIGNED NULL, \
       source_commit_time DATETIME(6) NULL, \
       ddl_seq BIGINT UNSIGNED NOT NULL DEFAULT 0, \
       ddl_intent JSON NULL, \
       PRIMARY KEY (pipeline, sink)) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS towpath.offset_gtid (\
       pipeline VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
       sink VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
       source_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
       tag VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', \
       intervals MEDIUMTEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
       PRIMARY KEY (pipeline, sink, source_uuid, tag)) ENGINE=InnoDB",
];
