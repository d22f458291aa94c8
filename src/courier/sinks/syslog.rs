//! Alerts to a syslog collector over UDP, TCP or TLS.
//!
//! In: batches of the outbox. Out: RFC 5424 messages whose text is the alert in its shape; over
//! TCP and TLS framed by octet count (RFC 6587 §3.4.1, RFC 5425 §4.3).
//! Never: counts a batch as taken before the collector has read it to the end: each batch is a
//! connection that we close and the collector closes back. UDP gives no such word, and the
//! configuration says so.
//! Limits: [`DATAGRAM_MAX`], [`WAIT`]; an alert too long for a datagram loses its list of evidence
//! first, then is put aside.
//! Source: RFC 5424 §6, RFC 5425, RFC 5426 §3.2, RFC 6587.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::courier::shape::Shape;
use crate::courier::{Delivering, Sink, Undelivered};
use crate::recorder::store::OutboxRow;

/// Longest datagram sent, in octets: RFC 5426 §3.2 lets every collector take 2,048 at least, and
/// those in use take 8,192.
const DATAGRAM_MAX: usize = 8_192;

/// How long a collector may take to connect, and to read a batch to its end.
const WAIT: Duration = Duration::from_secs(10);

/// Facility `local4`, where sensors usually are (RFC 5424 §6.2.1).
pub const LOCAL4: u8 = 20;

/// How messages get there.
#[derive(Clone, Debug)]
pub enum Carrier {
    /// Datagrams: nobody says whether they arrived.
    Udp,
    /// A connection.
    Tcp,
    /// A connection whose other end is known.
    Tls {
        /// Authorities that vouch for it; the system's if absent.
        ca: Option<PathBuf>,
    },
}

/// Sends alerts to a collector.
#[derive(Debug)]
pub struct Syslog {
    name: String,
    /// `HOST:PORT`.
    address: String,
    carrier: Carrier,
    facility: u8,
    shape: Shape,
    /// Our name in the messages.
    host: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Syslog {
    /// A collector at `HOST:PORT`.
    pub fn new(name: &str, address: &str, carrier: Carrier, facility: u8, shape: Shape) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        // RFC 5424 §6.2.4: printable, without a space; `-` for unknown.
        let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
        let host = if host.is_empty() { "-".to_owned() } else { host };
        let (name, address) = (name.to_owned(), address.to_owned());
        Self { name, address, carrier, facility, shape, host, tls: None }
    }

    fn message(&self, row: &OutboxRow, room: usize) -> Result<Vec<u8>, String> {
        let whole = self.framed(row, &row.payload)?;
        if whole.len() <= room {
            return Ok(whole);
        }
        let mut event: Value = serde_json::from_str(&row.payload).map_err(|e| e.to_string())?;
        if let Some(event) = event.as_object_mut() {
            let items = event.get("evidence").and_then(Value::as_array).map_or(0, Vec::len);
            event.insert("evidence".to_owned(), Value::Array(Vec::new()));
            let more = event.get("evidence_more").and_then(Value::as_u64).unwrap_or(0);
            event.insert("evidence_more".to_owned(), more.saturating_add(items as u64).into());
        }
        let short = self.framed(row, &event.to_string())?;
        if short.len() <= room { Ok(short) } else { Err(format!("longer than {room} octets")) }
    }

    fn framed(&self, row: &OutboxRow, payload: &str) -> Result<Vec<u8>, String> {
        let text = self.shape.render(payload).map_err(|e| e.to_string())?;
        let event: Value = serde_json::from_str(payload).map_err(|e| e.to_string())?;
        let field = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let priority = u16::from(self.facility).saturating_mul(8) + u16::from(severity(row));
        let head = format!(
            "<{priority}>1 {} {} shadowtap {} {} - ",
            field("ts"),
            self.host,
            std::process::id(),
            field("kind"),
        );
        Ok([head.as_bytes(), text.as_bytes()].concat())
    }

    async fn datagrams(&self, batch: &[OutboxRow]) -> Result<(), Undelivered> {
        let later = |at: usize, e: &dyn std::fmt::Display| {
            Undelivered::later(at, format!("{}: {e}", self.address))
        };
        let target = tokio::net::lookup_host(&self.address)
            .await
            .map_err(|e| later(0, &e))?
            .next()
            .ok_or_else(|| later(0, &"no address"))?;
        let here = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(here).await.map_err(|e| later(0, &e))?;
        socket.connect(target).await.map_err(|e| later(0, &e))?;
        for (at, row) in batch.iter().enumerate() {
            let message =
                self.message(row, DATAGRAM_MAX).map_err(|e| Undelivered::refused(at, e))?;
            socket.send(&message).await.map_err(|e| later(at, &e))?;
        }
        Ok(())
    }

    async fn connection(&mut self, batch: &[OutboxRow]) -> Result<(), Undelivered> {
        let mut octets = Vec::new();
        for (at, row) in batch.iter().enumerate() {
            match self.message(row, usize::MAX) {
                Ok(message) => {
                    octets.extend_from_slice(format!("{} ", message.len()).as_bytes());
                    octets.extend_from_slice(&message);
                }
                // What stands before it goes out first, so that the place is right.
                Err(why) if at == 0 => return Err(Undelivered::refused(0, why)),
                Err(why) => {
                    self.send(&octets).await.map_err(|e| Undelivered::later(0, e))?;
                    return Err(Undelivered::refused(at, why));
                }
            }
        }
        self.send(&octets).await.map_err(|e| Undelivered::later(0, e))
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), String> {
        let told = |e: &dyn std::fmt::Display| format!("{}: {e}", self.address);
        let late = |_| told(&"no answer in time");
        let plain = timeout(WAIT, TcpStream::connect(&self.address))
            .await
            .map_err(late)?
            .map_err(|e| told(&e))?;
        let outcome = match &self.carrier {
            Carrier::Udp | Carrier::Tcp => timeout(WAIT, hand_over(plain, octets)).await,
            Carrier::Tls { ca } => {
                let config = match &self.tls {
                    Some(config) => config.clone(),
                    None => super::tls::client(ca.as_deref())?,
                };
                let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host);
                let host = host.trim_matches(['[', ']']).to_owned();
                let server = ServerName::try_from(host).map_err(|e| told(&e))?;
                let connecting = TlsConnector::from(config.clone()).connect(server, plain);
                let stream =
                    timeout(WAIT, connecting).await.map_err(late)?.map_err(|e| told(&e))?;
                self.tls = Some(config);
                timeout(WAIT, hand_over(stream, octets)).await
            }
        };
        match outcome {
            Ok(outcome) => outcome.map_err(|e| format!("{}: {e}", self.address)),
            Err(_) => Err(format!("{}: did not read to the end in time", self.address)),
        }
    }
}

impl Sink for Syslog {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver<'a>(&'a mut self, batch: &'a [OutboxRow]) -> Delivering<'a> {
        Box::pin(async move {
            match self.carrier {
                Carrier::Udp => self.datagrams(batch).await,
                Carrier::Tcp | Carrier::Tls { .. } => self.connection(batch).await,
            }
        })
    }
}

/// Writes everything, closes our half, and waits until the other side closes its own: it has
/// then read all of it.
async fn hand_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    octets: &[u8],
) -> std::io::Result<()> {
    stream.write_all(octets).await?;
    stream.shutdown().await?;
    let mut answer = [0; 256];
    loop {
        match stream.read(&mut answer).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Some close without saying so in TLS; the octets before were acknowledged by TCP.
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// Severity of RFC 5424 §6.2.1 for ours of 0 to 10.
fn severity(row: &OutboxRow) -> u8 {
    match row.severity {
        9.. => 2,
        7..=8 => 3,
        4..=6 => 4,
        1..=3 => 5,
        0 => 6,
    }
}
