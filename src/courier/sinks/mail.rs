//! Alerts by mail: one mail for all that gathered since the last.
//!
//! In: batches of the outbox. Out: a plain text mail, the gravest first. Never: one mail an alert;
//! a header made of what an attacker wrote.
//! Limits: [`SHOWN_MAX`] alerts in one mail, the rest counted; [`WAIT`].
//! Source: RFC 5321, RFC 8314 for TLS.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde_json::Value;

use crate::courier::{Delivering, Sink, Undelivered};
use crate::recorder::store::OutboxRow;

/// Alerts that are written out in one mail: what a person reads.
const SHOWN_MAX: usize = 50;

/// How long the server may take.
const WAIT: Duration = Duration::from_secs(30);

/// How the connection is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// From the first octet (port 465).
    Tls,
    /// After STARTTLS, and not without it.
    StartTls,
    /// Not at all: for a server on this machine.
    None,
}

/// Where mails go.
#[derive(Debug)]
pub struct Address<'a> {
    /// Server as `HOST:PORT`.
    pub server: &'a str,
    /// How the connection is kept private.
    pub privacy: Privacy,
    /// Authorities that vouch for it.
    pub ca: Option<&'a Path>,
    /// Who sends.
    pub from: &'a str,
    /// Who gets them.
    pub to: &'a [String],
    /// User and password.
    pub login: Option<(String, String)>,
}

/// Sends alerts by mail.
#[derive(Debug)]
pub struct Mail {
    name: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    every: Duration,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Mail {
    /// Mails to `address`, at most one every `every`.
    ///
    /// # Errors
    /// If an address or the authorities make no sense.
    pub fn new(name: &str, address: &Address<'_>, every: Duration) -> Result<Self, String> {
        super::tls::prepare();
        let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|e| format!("{text}: {e}"));
        let from = mailbox(address.from)?;
        let to = address.to.iter().map(|t| mailbox(t)).collect::<Result<Vec<_>, _>>()?;
        let (host, port) = address
            .server
            .rsplit_once(':')
            .ok_or_else(|| format!("{}: must be HOST:PORT", address.server))?;
        let port: u16 = port.parse().map_err(|e| format!("{}: {e}", address.server))?;
        let host = host.trim_matches(['[', ']']);
        let mut parameters = TlsParameters::builder(host.to_owned());
        if let Some(path) = address.ca {
            for der in super::tls::certificates(Some(path))? {
                let root = Certificate::from_der(der.to_vec()).map_err(|e| e.to_string())?;
                parameters = parameters.add_root_certificate(root);
            }
        }
        let tls = match address.privacy {
            Privacy::None => Tls::None,
            privacy => {
                let parameters = parameters.build().map_err(|e| e.to_string())?;
                match privacy {
                    Privacy::Tls => Tls::Wrapper(parameters),
                    _ => Tls::Required(parameters),
                }
            }
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .tls(tls)
            .timeout(Some(WAIT));
        if let Some((user, password)) = &address.login {
            builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(Self { name: name.to_owned(), from, to, every, transport: builder.build() })
    }

    fn message(&self, batch: &[OutboxRow]) -> Result<Message, String> {
        let grave = batch.iter().map(|row| row.severity).max().unwrap_or(0);
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(format!("shadowtap: {} alerts, severity up to {grave}/10", batch.len()))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder.body(body(batch)).map_err(|e| e.to_string())
    }
}

impl Sink for Mail {
    fn name(&self) -> &str {
        &self.name
    }

    fn gathers(&self) -> Option<Duration> {
        Some(self.every)
    }

    fn deliver<'a>(&'a mut self, batch: &'a [OutboxRow]) -> Delivering<'a> {
        Box::pin(async move {
            let message = self.message(batch).map_err(|e| Undelivered::refused(0, e))?;
            match self.transport.send(message).await {
                Ok(_) => Ok(()),
                // Also what a server refuses for good can be mended here: alerts wait for it.
                Err(e) => Err(Undelivered::later(0, e.to_string())),
            }
        })
    }
}

/// The alerts as text, the gravest first.
fn body(batch: &[OutboxRow]) -> String {
    let mut rows: Vec<&OutboxRow> = batch.iter().collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.severity), row.seq));
    let mut text = String::new();
    for row in rows.iter().take(SHOWN_MAX) {
        let event: Value = serde_json::from_str(&row.payload).unwrap_or(Value::Null);
        let field = |name: &str| {
            let value = event.get(name).and_then(Value::as_str).unwrap_or("");
            value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>()
        };
        let who = [field("src_host"), field("src_ip")].join(" ");
        let _ = write!(
            text,
            "[{}/10] {}\n  {}  {}  {}\n  {}\n  {}\n\n",
            row.severity,
            field("title"),
            field("ts"),
            who.trim(),
            field("host"),
            field("next_steps"),
            row.event_id,
        );
    }
    let more = rows.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        let _ = writeln!(text, "and {more} more: `shadowtap report` shows them all.");
    }
    text
}
