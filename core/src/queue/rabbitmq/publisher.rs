//! Writes messages into the log.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Confirmation, PublisherConfirm};
use tokio::sync::watch;

use super::error::RabbitError;
use super::link::{Connector, Link, LinkState};
use super::options::Options;
use crate::queue::pack::Sealed;

/// The content type of a message.
const CONTENT_TYPE: &str = "application/vnd.towpath.queue";

/// Writes a log, in order.
///
/// Cancelling one of its futures loses the connection, not a message: what isn't confirmed is
/// written again, with the next call.
pub struct Publisher {
    connector: Connector,
    /// Taken out while it is used, so that one whose use was cancelled is dropped.
    link: Option<Link>,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    confirmed: Option<u64>,
}

struct Pending {
    sealed: Sealed,
    /// `None` until it is written on the present connection.
    confirm: Option<PublisherConfirm>,
}

/// Until when.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// What is unconfirmed fits into the window.
    Window,
    /// Everything is confirmed.
    Settled,
}

impl Publisher {
    /// A publisher; it connects with the first message.
    pub fn new(options: Arc<Options>) -> Self {
        Self {
            connector: Connector::new(options, "publisher"),
            link: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            confirmed: None,
        }
    }

    /// What others see of its connection.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.connector.state()
    }

    /// Number of the last message up to which all are confirmed.
    pub fn confirmed(&self) -> Option<u64> {
        self.confirmed
    }

    /// Bytes that were written and aren't confirmed.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Writes a message, and waits until what is unconfirmed fits into the window.
    ///
    /// # Errors
    /// What needs an operator. Everything else is tried until it succeeds.
    pub async fn publish(&mut self, sealed: Sealed) -> Result<(), RabbitError> {
        self.pending_bytes += sealed.bytes.len();
        self.pending.push_back(Pending {
            sealed,
            confirm: None,
        });
        self.drive(Goal::Window).await
    }

    /// Waits until everything is confirmed.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn settle(&mut self) -> Result<(), RabbitError> {
        self.drive(Goal::Settled).await
    }

    async fn drive(&mut self, goal: Goal) -> Result<(), RabbitError> {
        loop {
            let mut link = match self.link.take() {
                Some(link) => link,
                None => self.connect().await?,
            };
            match self.work(&mut link, goal).await {
                Ok(()) => {
                    self.link = Some(link);
                    return Ok(());
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    drop(link);
                    self.connector.failed(&error);
                    self.connector.rest().await;
                }
            }
        }
    }

    /// A new connection, on which nothing has been written yet.
    async fn connect(&mut self) -> Result<Link, RabbitError> {
        for pending in &mut self.pending {
            pending.confirm = None;
        }
        loop {
            let link = self.connector.link().await?;
            let select = link.channel.confirm_select(ConfirmSelectOptions::default());
            match select.await {
                Ok(()) => return Ok(link),
                Err(error) => {
                    let error = RabbitError::lost(&link.broker, error);
                    self.connector.failed(&error);
                    self.connector.rest().await;
                }
            }
        }
    }

    async fn work(&mut self, link: &mut Link, goal: Goal) -> Result<(), RabbitError> {
        let written = self
            .pending
            .partition_point(|pending| pending.confirm.is_some());
        let options = Arc::clone(&self.connector.options);
        let queue = ShortString::from(options.queue.as_str());
        for at in written..self.pending.len() {
            let Some(pending) = self.pending.get_mut(at) else {
                break;
            };
            let publish = link.channel.basic_publish(
                ShortString::default(),
                queue.clone(),
                BasicPublishOptions {
                    mandatory: true,
                    ..BasicPublishOptions::default()
                },
                &pending.sealed.bytes,
                BasicProperties::default().with_content_type(CONTENT_TYPE.into()),
            );
            let confirm = self
                .connector
                .watching(&mut link.events, &link.broker, publish)
                .await
                .map_err(|error| RabbitError::of(&link.broker, &options.queue, &error, false))?;
            pending.confirm = Some(confirm);
        }
        loop {
            let enough = match goal {
                Goal::Window => self.fits(),
                Goal::Settled => self.pending.is_empty(),
            };
            let Some(confirm) = self
                .pending
                .front_mut()
                .and_then(|front| front.confirm.as_mut())
            else {
                return Ok(());
            };
            let answer = if enough {
                // What has come meanwhile.
                let mut context = Context::from_waker(Waker::noop());
                match Pin::new(confirm).poll(&mut context) {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => return Ok(()),
                }
            } else {
                self.connector
                    .watching(&mut link.events, &link.broker, confirm)
                    .await
            };
            match answer {
                Ok(Confirmation::Ack(None)) => self.confirm(),
                Ok(Confirmation::Ack(Some(_)) | Confirmation::NotRequested) => {
                    // What was confirmed is gone, too: that is another term's beginning.
                    return Err(RabbitError::Gone {
                        broker: link.broker.clone(),
                        queue: options.queue.clone(),
                    });
                }
                Ok(Confirmation::Nack(_)) => {
                    let cause = "it can't store a message; its log says why";
                    return Err(RabbitError::lost(&link.broker, cause));
                }
                Err(error) => {
                    return Err(RabbitError::of(&link.broker, &options.queue, &error, false));
                }
            }
        }
    }

    fn fits(&self) -> bool {
        let window = self.connector.options.window;
        let fits =
            self.pending_bytes <= window.bytes_max && self.pending.len() <= window.messages_max;
        fits || self.pending.is_empty()
    }

    fn confirm(&mut self) {
        if let Some(front) = self.pending.pop_front() {
            self.pending_bytes -= front.sealed.bytes.len();
            self.confirmed = Some(front.sealed.seq);
            self.connector.holds();
        }
    }
}
