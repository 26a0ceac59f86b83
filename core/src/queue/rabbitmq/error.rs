//! What can go wrong with a broker, and whether it passes.

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

/// A failure of, or on the way to, a broker.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RabbitError {
    /// Options that can't work.
    #[error("the queue's options: {what}")]
    Options {
        /// What is wrong with them.
        what: String,
    },
    /// The account isn't let in, or may not do what it must.
    #[error(
        "RabbitMQ at {broker} refuses this account: {cause}; give it a password that is right, and the rights \
         configure, write and read on {queue} in its virtual host (rabbitmqctl set_permissions)"
    )]
    Refused {
        /// Which broker.
        broker: String,
        /// The queue.
        queue: String,
        /// What it says.
        cause: String,
    },
    /// The queue is there, and was declared otherwise.
    #[error(
        "the queue {queue} at {broker} was declared otherwise: {cause}; RabbitMQ doesn't change a queue's \
         arguments: set the pipeline file's retention back, or override it by a policy (rabbitmqctl set_policy), \
         or delete the queue, after which all sinks are filled from the source's binlog"
    )]
    Declared {
        /// Which broker.
        broker: String,
        /// The queue.
        queue: String,
        /// What it says.
        cause: String,
    },
    /// The queue was deleted, with all that was in it.
    #[error("the queue {queue} at {broker} is gone; it is made anew, from what the sinks hold")]
    Gone {
        /// Which broker.
        broker: String,
        /// The queue.
        queue: String,
    },
    /// The broker can't be reached, was lost, or doesn't take messages. It passes, or not; it is tried
    /// again.
    #[error("RabbitMQ at {broker}: {cause}")]
    Lost {
        /// Which broker.
        broker: String,
        /// What happened.
        cause: String,
    },
}

impl RabbitError {
    /// Whether trying again can't help.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Options { .. }
            | Self::Refused { .. }
            | Self::Declared { .. }
            | Self::Gone { .. } => true,
            Self::Lost { .. } => false,
        }
    }

    pub(super) fn lost(broker: &str, cause: impl ToString) -> Self {
        Self::Lost {
            broker: broker.to_owned(),
            cause: cause.to_string(),
        }
    }

    /// What the library says, classified. `declares`: it came of declaring the queue.
    pub(super) fn of(broker: &str, queue: &str, error: &lapin::Error, declares: bool) -> Self {
        let cause = error.to_string();
        let (broker, queue) = (broker.to_owned(), queue.to_owned());
        if let ErrorKind::ProtocolError(protocol) = error.kind() {
            match protocol.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
                | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                    return Self::Refused {
                        broker,
                        queue,
                        cause,
                    };
                }
                AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if declares => {
                    return Self::Declared {
                        broker,
                        queue,
                        cause,
                    };
                }
                _ => {}
            }
        }
        Self::Lost { broker, cause }
    }
}
