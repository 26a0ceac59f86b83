//! What Towpath's tests, demo and soak run against: real servers, real processes, a bad network.
//!
//! Everything that is started here ends with the value that stands for it: a dropped
//! [`MysqlServer`] or [`TowpathProcess`] is killed and its directory removed, and should the test
//! itself be killed, the kernel ends what it had started. Nothing here listens on anything but
//! loopback, and nothing here touches an installed server.

mod scratch;
mod process;
mod programs;
mod template;
mod server;
mod rabbitmq;
mod towpath;
mod proxy;
mod position;
mod wait;
pub mod bank;
pub mod cluster;
mod rig;
mod subject;
mod trial;
pub mod linear;
pub mod workload;
pub mod ensemble;
pub mod nemesis;

pub use cluster::{Cluster, Said};
pub use position::{caught_up, gtid_executed, stored_gtid_set};
pub use process::Pid;
pub use programs::{Programs, ServerKind};
pub use proxy::{Direction, TcpProxy};
pub use rabbitmq::{BrokerTls, RabbitMq};
pub use rig::Rig;
pub use server::{MysqlServer, ServerBuilder};
pub use subject::{Alone, Members, Subject};
pub use towpath::{TowpathBuilder, TowpathProcess, towpath_program};
pub use trial::{Moment, Outcome, Tick, Trial};
pub use wait::wait_until;
