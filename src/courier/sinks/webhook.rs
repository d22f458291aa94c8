//! Alerts to a URL: one POST an alert, signed.
//!
//! In: batches of the outbox. Out: the alert in its shape as the body of a POST; with a secret,
//! `X-Shadowtap-Signature: t=UNIX,v1=HEX`, where HEX is HMAC-SHA-256 over `UNIX.BODY`.
//! Never: follows a redirect, which could carry an alert to somebody else; tries again what a
//! receiver refused as wrong.
//! Limits: [`WAIT`]; a pause that a receiver asks for counts up to the courier's longest.
//! Source: RFC 2104; RFC 9110 §10.2.3 for Retry-After.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use sha2::Sha256;

use crate::courier::shape::Shape;
use crate::courier::{Delivering, Sink, Undelivered};
use crate::recorder::store::OutboxRow;

/// How long a receiver may take for one alert.
const WAIT: Duration = Duration::from_secs(15);

/// Posts alerts.
#[derive(Debug)]
pub struct Webhook {
    name: String,
    url: Url,
    secret: Option<Vec<u8>>,
    shape: Shape,
    client: Client,
}

impl Webhook {
    /// A receiver at `url`; `authorization` is sent as it is, `secret` signs.
    ///
    /// # Errors
    /// If the URL or the authorities make no sense.
    pub fn new(
        name: &str,
        url: &str,
        shape: Shape,
        secret: Option<Vec<u8>>,
        authorization: Option<&str>,
        ca: Option<&Path>,
    ) -> Result<Self, String> {
        super::tls::prepare();
        let url: Url = url.parse().map_err(|e| format!("{url}: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(format!("{url}: must begin with https:// or http://"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(text) = authorization {
            let mut value = HeaderValue::from_str(text).map_err(|e| e.to_string())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .timeout(WAIT)
            .default_headers(headers)
            .user_agent(concat!("shadowtap/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = ca {
            let roots = super::tls::certificates(Some(path))?;
            let roots = roots.iter().map(|c| reqwest::Certificate::from_der(c));
            let roots: Vec<_> = roots.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
            builder = builder.tls_certs_only(roots);
        }
        let client = builder.build().map_err(|e| e.to_string())?;
        Ok(Self { name: name.to_owned(), url, secret, shape, client })
    }

    async fn post(&self, at: usize, row: &OutboxRow) -> Result<(), Undelivered> {
        let body =
            self.shape.render(&row.payload).map_err(|e| Undelivered::refused(at, e.to_string()))?;
        let mut request = self
            .client
            .post(self.url.clone())
            .header("Idempotency-Key", &row.event_id)
            .header("X-Shadowtap-Event", &row.event_id);
        if let Some(signature) = self.signature(&body) {
            request = request.header("X-Shadowtap-Signature", signature);
        }
        let answer = request.body(body).send().await.map_err(|e| {
            // The URL may hold a token, and an error is shown and stored.
            Undelivered::later(at, told(&e.without_url()))
        })?;
        let status = answer.status();
        let why = format!("the receiver answered {status}");
        let asked = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
        let pause = asked.and_then(|s| s.trim().parse().ok()).map(Duration::from_secs);
        match status.as_u16() {
            200..300 => Ok(()),
            // Not now, says the receiver: RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4.
            408 | 425 | 429 => Err(Undelivered { pause, ..Undelivered::later(at, why) }),
            // Who may post and where can be mended here: alerts wait for it.
            401 | 403 | 404 => Err(Undelivered::later(at, why)),
            400..500 => Err(Undelivered::refused(at, why)),
            _ => Err(Undelivered { pause, ..Undelivered::later(at, why) }),
        }
    }

    /// Signature over the time and the body, so that neither can be replaced.
    fn signature(&self, body: &str) -> Option<String> {
        let now = jiff::Timestamp::now().as_second();
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_ref()?).ok()?;
        mac.update(format!("{now}.{body}").as_bytes());
        let mut text = format!("t={now},v1=");
        for octet in mac.finalize().into_bytes() {
            let _ = write!(text, "{octet:02x}");
        }
        Some(text)
    }
}

/// An error with its causes, which is where the reason stands.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver<'a>(&'a mut self, batch: &'a [OutboxRow]) -> Delivering<'a> {
        Box::pin(async move {
            for (at, row) in batch.iter().enumerate() {
                self.post(at, row).await?;
            }
            Ok(())
        })
    }
}
