//! Syslog messages of those who know who logs on, over UDP, TCP or TLS.
//!
//! In: addresses to listen at, networks that may send. Out: each message as text, in the order in
//! which it came.
//! Never: takes a message of anybody else; answers; keeps a message that nobody takes.
//! Limits: [`MESSAGE_MAX`] octets a message, [`PEERS_MAX`] connections, [`SILENCE_MAX`] between two
//! messages of one.
//! Source: RFC 5424 and RFC 3164 (what is in them is the reader's), RFC 5426 (UDP), RFC 6587 §3.4
//! (TCP), RFC 5425 §4.3 (TLS).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as Listening, UdpSocket as Bound};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::courier::sinks::tls;

/// Longest message: Windows events as JSON come to some ten KiB.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Connections at once: domain controllers, VPN servers and collectors of a large site.
pub const PEERS_MAX: usize = 256;

/// A sender that says nothing for so long has gone without saying so, and will come again.
pub const SILENCE_MAX: Duration = Duration::from_hours(1);

/// How long a sender may take to agree on TLS.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Octets read at once.
const READ_BYTES: usize = 16 * 1024;

/// How messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A datagram each.
    Udp,
    /// Lines or counted octets.
    Tcp,
    /// The same under TLS.
    Tls,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// For what.
    pub carrier: Carrier,
    /// Where.
    pub at: SocketAddr,
}

impl FromStr for Endpoint {
    type Err = &'static str;

    /// `udp://192.0.2.1:514`, `tcp://…`, `tls://…`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, at) = text.split_once("://").ok_or("has no carrier")?;
        let carrier = match scheme {
            "udp" => Carrier::Udp,
            "tcp" => Carrier::Tcp,
            "tls" => Carrier::Tls,
            _ => return Err("has an unknown carrier"),
        };
        let at = at.parse().map_err(|_| "has no address with a port")?;
        Ok(Endpoint { carrier, at })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.carrier {
            Carrier::Udp => "udp",
            Carrier::Tcp => "tcp",
            Carrier::Tls => "tls",
        };
        write!(f, "{scheme}://{}", self.at)
    }
}

/// Who may tell what where.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where to listen.
    pub endpoints: Vec<Endpoint>,
    /// Networks that may send, as address and bits.
    pub from: Vec<(IpAddr, u8)>,
    /// Certificate for TLS, with those that lead to its authority.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

enum Socket {
    Udp(Bound),
    Tcp(Listening, Option<TlsAcceptor>),
}

/// Sockets that were bound while that was still allowed.
pub struct Receiver {
    sockets: Vec<Socket>,
    from: Arc<[(IpAddr, u8)]>,
}

impl Receiver {
    /// Binds all sockets and reads certificate and key.
    ///
    /// # Errors
    /// The first thing that cannot be had, for a person.
    pub fn bind(settings: &Settings) -> Result<Self, String> {
        let bind = |endpoint: &Endpoint| {
            let failed = |e: &dyn fmt::Display| format!("cannot listen at {endpoint}: {e}");
            let socket = match endpoint.carrier {
                Carrier::Udp => Socket::Udp(Bound::bind(endpoint.at).map_err(|e| failed(&e))?),
                Carrier::Tcp => {
                    Socket::Tcp(Listening::bind(endpoint.at).map_err(|e| failed(&e))?, None)
                }
                Carrier::Tls => {
                    let acceptor = acceptor(settings).map_err(|e| failed(&e))?;
                    let listening = Listening::bind(endpoint.at).map_err(|e| failed(&e))?;
                    Socket::Tcp(listening, Some(acceptor))
                }
            };
            match &socket {
                Socket::Udp(socket) => socket.set_nonblocking(true),
                Socket::Tcp(socket, _) => socket.set_nonblocking(true),
            }
            .map_err(|e| failed(&e))?;
            Ok(socket)
        };
        let sockets = settings.endpoints.iter().map(bind).collect::<Result<_, String>>()?;
        Ok(Self { sockets, from: Arc::from(&*settings.from) })
    }

    /// Hands each message to `tell` until it answers `false`, which ends this.
    ///
    /// # Errors
    /// If the system gives no event queue, or takes a socket back.
    pub fn serve(self, tell: impl Fn(String) -> bool + Clone + Send + 'static) -> io::Result<()> {
        let from = self.from;
        super::super::runtime()?.block_on(async {
            let room = Arc::new(Semaphore::new(PEERS_MAX));
            let mut serving = tokio::task::JoinSet::new();
            for socket in self.sockets {
                let (tell, from, room) = (tell.clone(), from.clone(), room.clone());
                match socket {
                    Socket::Udp(socket) => {
                        serving.spawn(datagrams(UdpSocket::from_std(socket)?, from, tell));
                    }
                    Socket::Tcp(socket, tls) => {
                        let socket = TcpListener::from_std(socket)?;
                        serving.spawn(connections(socket, tls, from, room, tell));
                    }
                }
            }
            match serving.join_next().await {
                Some(Ok(outcome)) => outcome,
                Some(Err(error)) => Err(io::Error::other(error)),
                None => Ok(()),
            }
        })
    }
}

/// A server's side of TLS with the certificate of the settings.
fn acceptor(settings: &Settings) -> Result<TlsAcceptor, String> {
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
        return Err("TLS needs `listen_cert` and `listen_key`".to_owned());
    };
    tls::prepare();
    let chain = tls::certificates(Some(certificate))?;
    let failed = |path: &Path, e: &dyn fmt::Display| format!("{}: {e}", path.display());
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| failed(key, &e))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, secret);
    Ok(TlsAcceptor::from(Arc::new(config.map_err(|e| failed(certificate, &e))?)))
}

/// `true` if one of the networks holds the address, also as a socket for both families shows it.
fn allowed(addr: IpAddr, from: &[(IpAddr, u8)]) -> bool {
    let addr = addr.to_canonical();
    let same = |(net, bits): &(IpAddr, u8)| match (addr, net) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let shift = 32_u32.saturating_sub((*bits).into());
            a.to_bits().checked_shr(shift) == n.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let shift = 128_u32.saturating_sub((*bits).into());
            a.to_bits().checked_shr(shift) == n.to_bits().checked_shr(shift)
        }
        _ => false,
    };
    from.iter().any(same)
}

async fn datagrams(
    socket: UdpSocket,
    from: Arc<[(IpAddr, u8)]>,
    tell: impl Fn(String) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        let (length, sender) = match socket.recv_from(&mut buffer).await {
            Ok(came) => came,
            // An answer to something that this socket never sent.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(e) => return Err(e),
        };
        let message = buffer.get(..length).unwrap_or_default();
        if allowed(sender.ip(), &from) && !tell(text(message)) {
            return Ok(());
        }
    }
}

async fn connections(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    from: Arc<[(IpAddr, u8)]>,
    room: Arc<Semaphore>,
    tell: impl Fn(String) -> bool + Clone + Send + 'static,
) -> io::Result<()> {
    loop {
        let Ok((stream, sender)) = listener.accept().await else {
            // Out of descriptors, or gone before it was taken: others come.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if !allowed(sender.ip(), &from) {
            continue;
        }
        let Ok(place) = room.clone().try_acquire_owned() else { continue };
        let (tls, tell) = (tls.clone(), tell.clone());
        tokio::spawn(async move {
            match tls {
                None => messages(stream, tell).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) =
                        tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await
                    {
                        messages(stream, tell).await;
                    }
                }
            }
            drop(place);
        });
    }
}

/// Reads one sender until it ends, is silent for too long, or makes no sense.
async fn messages(mut stream: impl AsyncRead + Unpin, tell: impl Fn(String) -> bool) {
    let mut frames = Frames::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = tokio::time::timeout(SILENCE_MAX, stream.read(&mut buffer)).await;
        let Ok(Ok(length @ 1..)) = read else {
            if let Some(last) = frames.last() {
                tell(last);
            }
            return;
        };
        frames.push(buffer.get(..length).unwrap_or_default());
        loop {
            match frames.next() {
                Ok(Some(message)) => {
                    if !tell(message) {
                        return;
                    }
                }
                Ok(None) => break,
                Err(TooLong) => return,
            }
        }
    }
}

/// A message, or a count, beyond its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TooLong;

/// Messages out of a stream: each behind its length, or up to the end of its line.
#[derive(Debug, Default)]
struct Frames(Vec<u8>);

impl Frames {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole message.
    fn next(&mut self) -> Result<Option<String>, TooLong> {
        let bytes = &self.0;
        let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
        let counted = digits > 0 && bytes.first() != Some(&b'0');
        let (from, until) = match bytes.get(digits) {
            // Up to five digits are a length that is taken.
            None if counted && digits <= 5 => return Ok(None),
            Some(b' ') if counted => {
                let length = bytes.get(..digits).and_then(|d| std::str::from_utf8(d).ok());
                let length: usize = length.and_then(|d| d.parse().ok()).ok_or(TooLong)?;
                if length > MESSAGE_MAX {
                    return Err(TooLong);
                }
                let from = digits.saturating_add(1);
                let until = from.saturating_add(length);
                if bytes.len() < until {
                    return Ok(None);
                }
                (from, until)
            }
            _ => match bytes.iter().position(|b| *b == b'\n') {
                Some(end) if end <= MESSAGE_MAX => (0, end.saturating_add(1)),
                Some(_) => return Err(TooLong),
                None if bytes.len() > MESSAGE_MAX => return Err(TooLong),
                None => return Ok(None),
            },
        };
        let message = bytes.get(from..until).map(text).unwrap_or_default();
        self.0.drain(..until);
        Ok(Some(message))
    }

    /// What stands at the end without a line end.
    fn last(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.0);
        let rest = text(&rest);
        (!rest.is_empty() && !rest.bytes().all(|b| b.is_ascii_digit())).then_some(rest)
    }
}

/// Without marks of order in front and line ends behind.
fn text(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r', '\0']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(parts: &[&[u8]]) -> Result<Vec<String>, TooLong> {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for part in parts {
            frames.push(part);
            while let Some(message) = frames.next()? {
                found.push(message);
            }
        }
        found.extend(frames.last());
        Ok(found)
    }

    #[test]
    fn messages_of_both_framings_wherever_they_are_cut() {
        let long = format!("{}\n", "x".repeat(MESSAGE_MAX + 1));
        let most = "y".repeat(MESSAGE_MAX);
        let whole = |texts: &[&str]| Ok(texts.iter().map(|t| (*t).to_owned()).collect());
        let table: [(&str, &str, Result<Vec<String>, TooLong>); 9] = [
            ("lines", "<1>a\r\n<2>b\n", whole(&["<1>a", "<2>b"])),
            ("a last line without an end", "<1>a\n<2>b", whole(&["<1>a", "<2>b"])),
            ("counted", "4 <1>a4 <2>b", whole(&["<1>a", "<2>b"])),
            ("counted, with a line end in it", "5 a\nb c2 de", whole(&["a\nb c", "de"])),
            ("a line that begins with digits", "2026-03-02 x\n", whole(&["2026-03-02 x"])),
            ("cut in its count", "12", whole(&[])),
            ("a line as long as may be", &format!("{most}\n"), whole(&[&most])),
            ("a line that is too long", &long, Err(TooLong)),
            ("a count that is too high", "99999999 x", Err(TooLong)),
        ];
        for (name, input, expected) in table {
            assert_eq!(frames(&[input.as_bytes()]), expected, "{name}");
            if input.len() < 100 {
                for cut in 0..input.len() {
                    let (a, b) = input.as_bytes().split_at(cut);
                    assert_eq!(frames(&[a, b]), expected, "{name}, cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn only_who_is_allowed_may_send() {
        let nets: Vec<(IpAddr, u8)> = vec![
            ("192.0.2.0".parse().unwrap(), 24),
            ("198.51.100.7".parse().unwrap(), 32),
            ("2001:db8::".parse().unwrap(), 32),
        ];
        let table = [
            ("192.0.2.200", true),
            ("192.0.3.1", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("::ffff:192.0.2.1", true),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ];
        for (addr, expected) in table {
            assert_eq!(allowed(addr.parse().unwrap(), &nets), expected, "{addr}");
        }
        assert!(allowed("8.8.8.8".parse().unwrap(), &[("0.0.0.0".parse().unwrap(), 0)]));
        assert!(!allowed("192.0.2.1".parse().unwrap(), &[]));
    }

    #[test]
    fn endpoints_as_they_are_written() {
        for text in ["udp://192.0.2.1:514", "tcp://[2001:db8::1]:601", "tls://0.0.0.0:6514"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in ["192.0.2.1:514", "http://192.0.2.1:80", "udp://localhost:514", "tcp://1.2.3.4"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
