//! What ends a use of a log, and whether another one may help.

use towpath_protocol::code::{self, Code};
use towpath_protocol::gtid::{Gtid, GtidSet};

use super::disk::DiskError;
use super::inlet::InletError;
use super::log::{LogError, TailError};
use super::outlet::OutletError;
use super::pack::PackError;
use super::rabbitmq::RabbitError;

/// An error of a log.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The producer's end.
    #[error("queue: {0}")]
    Outlet(#[from] OutletError),
    /// The consumer's end.
    #[error("queue: {0}")]
    Inlet(#[from] InletError),
    /// Neither of them.
    #[error("queue: {0}")]
    Log(#[from] LogError),
    /// The producer of a transaction ended inside it, or the log has lost its end.
    #[error(
        "queue: the rest of transaction {gtid} won't come from a producer that is gone; it is rolled back, and comes \
         again from its beginning"
    )]
    RolledBack {
        /// The transaction.
        gtid: Gtid,
    },
    /// A sink asks for what the log doesn't have any more.
    #[error(
        "queue: sink {sink} needs transactions that the queue doesn't have any more; reading them from the source again"
    )]
    Asked {
        /// The sink.
        sink: String,
    },
    /// Neither log nor source have what a sink needs.
    #[error(
        "queue: the queue doesn't have transactions {missing} any more, and the source has purged them; copy the \
         tables anew (towpath resnapshot), and keep more in the queue (queue.retention_bytes)"
    )]
    Lost {
        /// What is lost to the sink.
        missing: GtidSet,
    },
}

impl QueueError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Log(log) => of_log(log),
            Self::Outlet(OutletError::Log(log)) => of_log(log),
            Self::Outlet(OutletError::Tail(tail)) => match tail {
                TailError::Superseded { .. } => code::QUEUE_SUPERSEDED,
                TailError::Log(log) => of_log(log),
                TailError::Wire(_) | TailError::Follow(_) => code::QUEUE_DAMAGED,
            },
            Self::Outlet(OutletError::Pack(pack)) => match pack {
                PackError::Gtids { .. } => code::TOO_MANY_INTERVALS,
                PackError::Events { .. } | PackError::Disorder { .. } | PackError::Wire(_) => {
                    code::DAMAGED
                }
            },
            Self::Inlet(InletError::Log(log)) => of_log(log),
            Self::Inlet(InletError::Wire(_) | InletError::Follow(_) | InletError::Join(_)) => {
                code::QUEUE_DAMAGED
            }
            Self::RolledBack { .. } => code::QUEUE_SUPERSEDED,
            Self::Asked { .. } | Self::Lost { .. } => code::QUEUE_RETENTION,
        }
    }

    /// Whether another epoch may help.
    pub fn passes(&self) -> bool {
        let log = match self {
            Self::RolledBack { .. } | Self::Asked { .. } => return true,
            Self::Log(log)
            | Self::Outlet(OutletError::Log(log) | OutletError::Tail(TailError::Log(log)))
            | Self::Inlet(InletError::Log(log)) => log,
            Self::Outlet(_) | Self::Inlet(_) | Self::Lost { .. } => return false,
        };
        match log {
            LogError::RabbitMq(RabbitError::Gone { .. }) => true,
            LogError::RabbitMq(rabbit) => !rabbit.is_final(),
            // A predecessor that is still closing it, or a full disk.
            LogError::Disk(DiskError::Busy { .. } | DiskError::Failed { .. }) => true,
        }
    }

    /// Whether another producer has the log.
    pub fn is_superseded(&self) -> bool {
        matches!(
            self,
            Self::Outlet(OutletError::Tail(TailError::Superseded { .. }))
        )
    }
}

fn of_log(error: &LogError) -> Code {
    match error {
        LogError::RabbitMq(RabbitError::Declared { .. }) => code::QUEUE_DECLARED,
        LogError::RabbitMq(
            RabbitError::Options { .. }
            | RabbitError::Refused { .. }
            | RabbitError::Gone { .. }
            | RabbitError::Lost { .. },
        ) => code::QUEUE_BROKER,
        LogError::Disk(_) => code::QUEUE_FILE,
    }
}
