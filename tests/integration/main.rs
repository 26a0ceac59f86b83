//! Tests of the program as a whole, against real servers.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "in tests a panic is the report"
)]

mod harness;
mod commit_proxy;
mod commit_contract;
mod crash;
mod delivery;
mod large;
mod damage;
mod values;
mod verify;
mod leave;
mod types;
mod scan;
mod rival;
mod check;
mod zombie;
mod ddl;
mod run;
mod snapshot;
mod bad_input;
mod dir;
mod verbs;
mod operator;
mod ports;
mod many;
mod security;
mod monitor;
mod alerts;
mod core;
mod logs;
mod tui;
mod cluster;
mod queue;
