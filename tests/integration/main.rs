//! Tests of the program as a whole, against real servers.

mod harness;
mod commit_proxy;
mod commit_contract;
mod values;
mod check;
mod zombie;
mod ddl;
mod run;
