//! The tables that hold the offset, in the sink's own schema `towpath`. They are never replicated.

/// The schema's name.
pub const DATABASE: &str = "towpath";

/// How many tables there are.
pub const TABLES: u64 = 3;

/// Creates what is missing; harmless where everything exists.
///
/// `offset` has one row per pipeline and sink. `commit_seq` counts commits of this sink and belongs
/// to the compare-and-set alone. `generation` and `epoch` say who may write, `lanes` how many
/// connections hold named locks. `cluster` is the directory whose epochs these are; NULL until the
/// first takeover by a Core of one, which stamps it. `source_uuid` is the server UUID of the source
/// that the GTIDs were read from. `ddl_seq` numbers the DDL statements that were carried;
/// `ddl_intent` is the one in progress (JSON).
///
/// `offset_gtid` has one row per origin (server UUID and tag): the intervals that the sink holds.
///
/// `snapshot` has one row per table whose rows are copied: see [`super::copies`]. Keys are JSON
/// arrays of SQL literals.
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
    "CREATE TABLE IF NOT EXISTS towpath.snapshot (\
       pipeline VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
       sink VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
       `database` VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
       `table` VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
       state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
       `condition` TEXT CHARACTER SET utf8mb4 NULL, \
       key_columns JSON NULL, \
       after_key JSON NULL, \
       until_key JSON NULL, \
       rows_copied BIGINT UNSIGNED NOT NULL DEFAULT 0, \
       rows_estimated BIGINT UNSIGNED NULL, \
       settles_at MEDIUMTEXT CHARACTER SET ascii COLLATE ascii_bin NULL, \
       begun DATETIME(6) NULL, \
       ended DATETIME(6) NULL, \
       PRIMARY KEY (pipeline, sink, `database`, `table`)) ENGINE=InnoDB",
];
