//! Reads messages from the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Acker, Consumer};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::error::RabbitError;
use super::link::{Connector, Link, LinkState};
use super::options::Options;
use crate::queue::log::{Fetched, ReadFrom};

/// Where a delivery says its offset, and a subscription its beginning.
const OFFSET: &str = "x-stream-offset";

/// A message that is there comes at once; a busy broker may take a while.
const PROOF_MAX: Duration = Duration::from_secs(5);

/// Reads a log, from any offset on.
pub struct Subscriber {
    connector: Connector,
    from: ReadFrom,
    subscription: Option<Subscription>,
}

struct Subscription {
    consumer: Consumer,
    /// Of the last delivery that was handed out, unless that is acknowledged.
    unacked: Option<Acker>,
    unacked_count: u16,
    /// An offset was asked for. Until when the message before it must have come: RabbitMQ is silent
    /// where a log ends before the offset, until that is in use again.
    proof: Option<(u64, Instant)>,
    link: Link,
}

impl Subscriber {
    /// A subscriber; it connects when it is asked for the first message.
    pub fn new(options: Arc<Options>, from: ReadFrom) -> Self {
        Self {
            connector: Connector::new(options, "subscriber"),
            from,
            subscription: None,
        }
    }

    /// What others see of its connection.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.connector.state()
    }

    /// The next message; waits for one. Cancelling it loses nothing.
    ///
    /// # Errors
    /// What needs an operator. Everything else is tried until it succeeds.
    pub async fn next(&mut self) -> Result<Fetched, RabbitError> {
        loop {
            match self.fetch().await {
                Ok(Some(fetched)) => {
                    self.connector.holds();
                    return Ok(fetched);
                }
                Ok(None) => {}
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    self.subscription = None;
                    self.connector.failed(&error);
                    self.connector.rest().await;
                }
            }
        }
    }

    /// Reads on from elsewhere.
    pub fn seek(&mut self, from: ReadFrom) {
        self.subscription = None;
        self.from = from;
    }

    /// `None` for the message before the one that was asked for.
    async fn fetch(&mut self) -> Result<Option<Fetched>, RabbitError> {
        if self.subscription.is_none() {
            let link = self.connector.link().await?;
            let subscription = subscribe(link, &self.connector.options, self.from).await?;
            self.subscription = Some(subscription);
        }
        let Some(subscription) = &mut self.subscription else {
            return Err(RabbitError::lost("-", "no subscription"));
        };
        subscription
            .acknowledge(self.connector.options.prefetch)
            .await?;
        let Subscription {
            consumer,
            link,
            proof,
            ..
        } = &mut *subscription;
        let delivery = self
            .connector
            .watching(&mut link.events, &link.broker, consumer.next());
        let delivery = match *proof {
            None => delivery.await,
            Some((wanted, until)) => match timeout_at(until, delivery).await {
                Ok(delivery) => delivery,
                Err(_elapsed) => {
                    let cause = format!("the queue ends before offset {wanted}; its tail was lost");
                    let error = RabbitError::lost(&link.broker, cause);
                    self.from = ReadFrom::Last;
                    return Err(error);
                }
            },
        };
        let delivery = match delivery {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => {
                let queue = &self.connector.options.queue;
                return Err(RabbitError::of(&link.broker, queue, &error, false));
            }
            None => {
                return Err(RabbitError::lost(
                    &link.broker,
                    "the subscription was cancelled",
                ));
            }
        };
        let offset = offset(&delivery).ok_or_else(|| {
            RabbitError::lost(
                &link.broker,
                "a delivery without an offset: is it a stream?",
            )
        })?;
        let proven = proof.take();
        subscription.unacked = Some(delivery.acker);
        subscription.unacked_count = subscription.unacked_count.saturating_add(1);
        if proven.is_some_and(|(wanted, _)| offset < wanted) {
            return Ok(None);
        }
        self.from = ReadFrom::Offset(offset.saturating_add(1));
        Ok(Some(Fetched {
            offset,
            bytes: Bytes::from(delivery.data),
        }))
    }
}

impl Subscription {
    /// Acknowledges what was handed out, in groups: half of what the broker sends in advance. Cancelled,
    /// it is made up for by the next one, which covers all before it.
    async fn acknowledge(&mut self, prefetch: u16) -> Result<(), RabbitError> {
        if self.unacked_count < (prefetch / 2).max(1) {
            return Ok(());
        }
        let Some(acker) = self.unacked.take() else {
            return Ok(());
        };
        self.unacked_count = 0;
        let acked = acker.ack(BasicAckOptions { multiple: true }).await;
        acked
            .map(|_| ())
            .map_err(|error| RabbitError::lost(&self.link.broker, error))
    }
}

async fn subscribe(
    link: Link,
    options: &Options,
    from: ReadFrom,
) -> Result<Subscription, RabbitError> {
    let failed = |error: lapin::Error| RabbitError::of(&link.broker, &options.queue, &error, false);
    link.channel
        .basic_qos(options.prefetch.max(1), BasicQosOptions::default())
        .await
        .map_err(failed)?;
    let proof = match from {
        ReadFrom::Offset(offset) if offset > 0 => Some((offset, Instant::now() + PROOF_MAX)),
        _ => None,
    };
    let from = match from {
        ReadFrom::First => AMQPValue::LongString(LongString::from("first")),
        ReadFrom::Last => AMQPValue::LongString(LongString::from("last")),
        ReadFrom::Offset(offset) => {
            let before = offset.saturating_sub(1);
            AMQPValue::LongLongInt(i64::try_from(before).unwrap_or(i64::MAX))
        }
    };
    let mut arguments = FieldTable::default();
    arguments.insert(ShortString::from(OFFSET), from);
    let consumer = link
        .channel
        .basic_consume(
            ShortString::from(options.queue.as_str()),
            ShortString::default(),
            BasicConsumeOptions::default(),
            arguments,
        )
        .await
        .map_err(failed)?;
    Ok(Subscription {
        consumer,
        unacked: None,
        unacked_count: 0,
        proof,
        link,
    })
}

fn offset(delivery: &Delivery) -> Option<u64> {
    let headers = delivery.properties.headers().as_ref()?;
    let value = headers.inner().get(&ShortString::from(OFFSET))?;
    u64::try_from(value.as_long_long_int()?).ok()
}
