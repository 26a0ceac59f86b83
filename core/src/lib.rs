//! Towpath's data path. The modules are in the order in which a change passes through them:
//! a source's binlog is read, decoded, batched into chunks of whole transactions, queued, applied
//! and committed together with the offset. `pipeline` is the only module that names all of them;
//! `agent` runs pipelines as the directory says.

pub mod failpoint;
mod task;
pub mod endpoint;
pub mod source;
pub mod decode;
pub mod batch;
pub mod queue;
pub mod apply;
pub mod commit;
pub mod scan;
pub mod pipeline;
pub mod tail;
pub mod check;
pub mod verify;
pub mod leave;
pub mod agent;
