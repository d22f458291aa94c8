//! Which parser reads a flow: the probe, and one value for whatever it finds.
//!
//! In: the first bytes of a flow, from either side. Out: a [`Verdict`], then a [`Parser`].
//! Limits: [`PROBE_MAX`] bytes decide; a flow that nobody recognises by then only counts.
//! To add a protocol: one line in [`probe`], one arm in [`Parser`].

use super::{
    DatagramParser, Out, Protocol, StreamParser, Then, Turn, dhcp, dns, dtls, http1, http2,
    kerberos, local, ntlm, quic, radius, socks, ssdp, starttls, tls,
};
use crate::types::Direction;
use crate::watcher::wire::ParseError;

/// Bytes after which an undecided probe gives up: the longest sign is the preface of HTTP/2
/// (24 bytes); banners need a line.
pub const PROBE_MAX: usize = 512;

/// What the probe thinks of some first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Recognised; and which side speaks like this.
    Is(Protocol, Direction),
    /// More bytes will decide.
    Undecided,
    /// Nobody we know.
    Nobody,
}

/// Recognises a TCP protocol by content. `from` is where the bytes are thought to come from, and
/// `port` the server's port: it only breaks ties that content leaves.
pub fn probe(from: Direction, bytes: &[u8], port: u16) -> Verdict {
    use Direction::{Down, Up};
    let mut undecided = false;
    let mut ask = |answer: Option<bool>| {
        undecided |= answer.is_none();
        answer == Some(true)
    };
    if ask(tls::looks_like(bytes)) {
        // A ClientHello (1) or ServerHello (2) tells who is who (RFC 8446 §4); nothing else does.
        let speaker = match (bytes.first(), bytes.get(5)) {
            (Some(22), Some(1)) => Up,
            (Some(22), Some(2)) => Down,
            _ => from,
        };
        return Verdict::Is(Protocol::Tls, speaker);
    }
    if ask(http2::looks_like(Up, bytes)) {
        return Verdict::Is(Protocol::Http2, Up);
    }
    if ask(http1::looks_like(Up, bytes)) {
        return Verdict::Is(Protocol::Http1, Up);
    }
    if ask(http1::looks_like(Down, bytes)) {
        return Verdict::Is(Protocol::Http1, Down);
    }
    if ask(socks::proxy_looks_like(Up, bytes)) {
        return Verdict::Is(Protocol::ProxyHeader, Up);
    }
    if ask(socks::looks_like(Up, bytes)) {
        return Verdict::Is(Protocol::Socks, Up);
    }
    if ntlm::looks_like(bytes) {
        return Verdict::Is(Protocol::Ntlm, ntlm::speaker(bytes));
    }
    if port == 53 {
        return Verdict::Is(Protocol::Dns, from);
    }
    if port == 88 {
        return Verdict::Is(Protocol::Kerberos, from);
    }
    if ask(dns::looks_like_tcp(bytes)) {
        return Verdict::Is(Protocol::Dns, dns::speaker(bytes.get(2..).unwrap_or_default()));
    }
    if ask(starttls::looks_like(from, bytes)) {
        return Verdict::Is(Protocol::StartTls, from);
    }
    if undecided && bytes.len() < PROBE_MAX { Verdict::Undecided } else { Verdict::Nobody }
}

/// Recognises what a UDP flow between these ports begins with, by content, and who speaks.
pub fn probe_datagram(ports: [u16; 2], bytes: &[u8]) -> Option<(Protocol, Direction)> {
    if quic::looks_like(bytes) {
        return Some((Protocol::Quic, Direction::Up));
    }
    if dtls::looks_like(ports, bytes) {
        return Some((Protocol::Dtls, Direction::Up));
    }
    dns::looks_like(bytes).then(|| (Protocol::Dns, dns::speaker(bytes)))
}

/// A protocol whose datagrams are read one by one, by the ports it is bound to.
pub fn datagram_protocol(client_port: u16, server_port: u16) -> Option<Protocol> {
    let of = |port| match port {
        53 => Some(Protocol::Dns),
        67 | 68 => Some(Protocol::Dhcp),
        88 => Some(Protocol::Kerberos),
        137 => Some(Protocol::Nbns),
        546 | 547 => Some(Protocol::Dhcp6),
        1812 | 1813 | 1645 | 1646 => Some(Protocol::Radius),
        1900 => Some(Protocol::Ssdp),
        5353 => Some(Protocol::Mdns),
        5355 => Some(Protocol::Llmnr),
        _ => None,
    };
    // A client may draw any port from 1,024 on, also one that serves something else: of what goes to
    // a web server, that says nothing.
    if server_port == 443 { None } else { of(server_port).or_else(|| of(client_port)) }
}

/// Reads one datagram of such a protocol.
pub fn datagram(protocol: Protocol, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
    match protocol {
        Protocol::Dns => dns::Dns::default().datagram(from, bytes, out),
        Protocol::Mdns => local::Mdns.datagram(from, bytes, out),
        Protocol::Llmnr => local::Llmnr.datagram(from, bytes, out),
        Protocol::Nbns => local::Nbns.datagram(from, bytes, out),
        Protocol::Dhcp => dhcp::Dhcp.datagram(from, bytes, out),
        Protocol::Dhcp6 => dhcp::Dhcp6.datagram(from, bytes, out),
        Protocol::Kerberos => kerberos::Kerberos::default().datagram(from, bytes, out),
        Protocol::Radius => radius::Radius.datagram(from, bytes, out),
        Protocol::Ssdp => ssdp::Ssdp.datagram(from, bytes, out),
        _ => Then::Done,
    }
}

/// The parser of a flow.
pub enum Parser {
    /// Nobody yet: asks the probe.
    Probing {
        /// Port of the server.
        port: u16,
    },
    /// TLS.
    Tls(tls::Tls),
    /// Clear text that may turn to TLS.
    StartTls(starttls::StartTls),
    /// HTTP/1.
    Http1(Box<http1::Http1>),
    /// HTTP/2.
    Http2(Box<http2::Http2>),
    /// DNS over TCP, or on another port than a resolver's.
    Dns(dns::DnsFlow),
    /// SOCKS.
    Socks(socks::Socks),
    /// PROXY header.
    ProxyHeader(socks::ProxyHeader),
    /// Kerberos over TCP.
    Kerberos(kerberos::KerberosTcp),
    /// NTLM in SMB.
    Ntlm(ntlm::Ntlm),
    /// QUIC.
    Quic(Box<quic::Quic>),
    /// DTLS.
    Dtls(dtls::Dtls),
}

impl Parser {
    /// The parser of `protocol`; `port` is the server's, for the probe.
    pub fn new(protocol: Option<Protocol>, port: u16) -> Parser {
        match protocol {
            Some(Protocol::Tls) => Parser::Tls(tls::Tls::default()),
            Some(Protocol::StartTls) => Parser::StartTls(starttls::StartTls::default()),
            Some(Protocol::Http1) => Parser::Http1(Box::default()),
            Some(Protocol::Http2) => Parser::Http2(Box::default()),
            Some(Protocol::Dns) => Parser::Dns(dns::DnsFlow::on(port)),
            Some(Protocol::Socks) => Parser::Socks(socks::Socks::default()),
            Some(Protocol::ProxyHeader) => Parser::ProxyHeader(socks::ProxyHeader::default()),
            Some(Protocol::Kerberos) => Parser::Kerberos(kerberos::KerberosTcp),
            Some(Protocol::Ntlm) => Parser::Ntlm(ntlm::Ntlm::default()),
            Some(Protocol::Quic) => Parser::Quic(Box::default()),
            Some(Protocol::Dtls) => Parser::Dtls(dtls::Dtls::default()),
            _ => Parser::Probing { port },
        }
    }

    /// Word for counters.
    pub fn name(&self) -> &'static str {
        match self {
            Parser::Probing { .. } => "probe",
            Parser::Tls(_) => "tls",
            Parser::StartTls(_) => "starttls",
            Parser::Http1(_) => "http1",
            Parser::Http2(_) => "http2",
            Parser::Dns(_) => "dns",
            Parser::Socks(_) => "socks",
            Parser::ProxyHeader(_) => "proxy",
            Parser::Kerberos(_) => "kerberos",
            Parser::Ntlm(_) => "ntlm",
            Parser::Quic(_) => "quic",
            Parser::Dtls(_) => "dtls",
        }
    }

    /// Bytes of memory behind this value: what a parser keeps counts like what its streams hold.
    pub fn memory(&self) -> usize {
        match self {
            Parser::Tls(p) => p.memory(),
            Parser::StartTls(p) => p.memory(),
            Parser::Http1(p) => size_of_val(p.as_ref()).saturating_add(p.memory()),
            Parser::Http2(p) => size_of_val(p.as_ref()).saturating_add(p.memory()),
            Parser::Dns(p) => p.memory(),
            Parser::Quic(p) => size_of_val(p.as_ref()).saturating_add(p.memory()),
            Parser::Dtls(p) => p.memory(),
            Parser::Probing { .. }
            | Parser::Socks(_)
            | Parser::ProxyHeader(_)
            | Parser::Kerberos(_)
            | Parser::Ntlm(_) => 0,
        }
    }

    fn stream(&mut self) -> Option<&mut dyn StreamParser> {
        Some(match self {
            Parser::Tls(p) => p,
            Parser::StartTls(p) => p,
            Parser::Http1(p) => p.as_mut(),
            Parser::Http2(p) => p.as_mut(),
            Parser::Dns(p) => p,
            Parser::Socks(p) => p,
            Parser::ProxyHeader(p) => p,
            Parser::Kerberos(p) => p,
            Parser::Ntlm(p) => p,
            Parser::Probing { .. } | Parser::Quic(_) | Parser::Dtls(_) => return None,
        })
    }

    /// Bytes of a stream, from the first not consumed.
    pub fn feed(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
        if let Parser::Probing { port } = self {
            let then = match probe(from, bytes, *port) {
                Verdict::Is(protocol, _) => Then::Handover(Some(protocol)),
                Verdict::Undecided => Then::Need(bytes.len().saturating_add(1)),
                Verdict::Nobody => Then::Done,
            };
            return Turn { consumed: 0, then };
        }
        match self.stream() {
            Some(parser) => parser.feed(from, bytes, out),
            None => Turn { consumed: 0, then: Then::NotThis(ParseError::invalid("stream")) },
        }
    }

    /// What is left of a direction that ends here.
    pub fn cut(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) {
        if let Some(parser) = self.stream() {
            parser.cut(from, bytes, out);
        }
    }

    /// A hole in the stream; `false` if the parser cannot go on behind it.
    pub fn gap(&mut self, from: Direction) -> bool {
        if let Parser::Probing { .. } = self {
            // What begins behind the hole can be recognised as well.
            return true;
        }
        self.stream().is_some_and(|p| p.gap(from))
    }

    /// One datagram.
    pub fn datagram(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        match self {
            Parser::Quic(p) => p.datagram(from, bytes, out),
            Parser::Dtls(p) => p.datagram(from, bytes, out),
            Parser::Dns(p) => p.datagram(from, bytes, out),
            _ => Then::NotThis(ParseError::invalid("datagram")),
        }
    }
}
