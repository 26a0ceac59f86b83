//! Tells by an HTTP request. `docs/alerts.md` describes it for receivers.

use std::time::Duration;

use jiff::Timestamp;
use ring::hmac;
use tokio::time::timeout;
use towpath_protocol::spec::Webhook;

use super::http::{Target, TargetError};
use super::message::Message;
use super::outcome::{Outcome, of_status};

/// How long a receiver may take: connection, TLS, request and the head of its answer.
const REQUEST_MAX: Duration = Duration::from_secs(10);

pub(super) struct WebhookTeller {
    webhook: Webhook,
    target: Target,
}

impl WebhookTeller {
    pub(super) fn new(webhook: Webhook) -> Result<Self, TargetError> {
        let target = Target::new(webhook.url.expose(), webhook.tls_ca.as_deref())?;
        Ok(Self { webhook, target })
    }

    pub(super) async fn tell(&self, message: &Message) -> Outcome {
        let body = match &self.webhook.body {
            Some(template) => template.render(|field| message.field(field)),
            None => message.json(),
        };
        let mut headers: Vec<_> = self
            .webhook
            .headers
            .iter()
            .map(|header| (header.name.clone(), header.value.expose().to_owned()))
            .collect();
        if !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let agent = concat!("towpath/", env!("CARGO_PKG_VERSION"));
        headers.push(("user-agent".to_owned(), agent.to_owned()));
        headers.push(("idempotency-key".to_owned(), message.notification()));
        if let Some(secret) = &self.webhook.secret {
            let now = Timestamp::now().as_second();
            let signature = signature(secret.expose(), now, &body);
            headers.push(("towpath-signature".to_owned(), signature));
        }
        match timeout(REQUEST_MAX, self.target.post(&headers, body)).await {
            Ok(Ok(answer)) => of_status(answer.status, answer.retry_after.as_deref()),
            Ok(Err(why)) => Outcome::retry(why),
            Err(_) => Outcome::retry(format!("no answer within {} s", REQUEST_MAX.as_secs())),
        }
    }
}

/// `t=<unix>,v1=<hex>`: HMAC-SHA-256 over "t.body". The time is in it, so that a receiver can
/// refuse what was recorded long ago.
fn signature(secret: &str, now: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{now}.{body}").as_bytes());
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={now},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python's `hmac.new(b"key", b"1800000000.{}", "sha256").hexdigest()` says it.
    #[test]
    fn a_signature_is_what_others_compute() {
        assert_eq!(
            signature("key", 1_800_000_000, "{}"),
            "t=1800000000,v1=7321475872b03ff21bdc2dfd86ea2d99ec29c479fbe4a77aa6acf4509505493f"
        );
    }
}
