//! What a parser is: bytes of one flow in, [`Metadata`] out, by a resumable state.
//!
//! In: the bytes of a TCP stream in order, each once, or whole UDP datagrams.
//! Out: metadata through [`Out`], and a [`Then`] that says what the parser wants next.
//! Never: knows flows, addresses, time, services or people; keeps payload.
//! Limits: each parser names its own; the flow stage adds a byte cap a direction.
//!
//! To add a protocol: one file here, one line in [`parser::probe`], one arm in [`parser::Parser`], one fixture.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::types::{Direction, MacAddr};
use crate::watcher::wire::ParseError;

/// Where parsers put what they read. Borrowed bytes live until the call returns.
pub type Out<'o> = dyn FnMut(Metadata<'_>) + 'o;

/// A parser's answer to some bytes: how many it is through with, and what it wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Bytes from the front of the slice that need not be shown again.
    pub consumed: usize,
    /// What to do next.
    pub then: Then,
}

/// What a stream parser wants after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Call again for this direction once at least this many unconsumed bytes are there (≥ 1,
    /// counted from the first byte not consumed). Keeps the work linear: a parser that needs
    /// 1,700 more bytes is not called for each of them.
    Need(usize),
    /// Pass over this many bytes behind the consumed ones, unbuffered; then go on.
    Skip(u64),
    /// Nothing more is wanted from this direction; the other one goes on.
    Deaf,
    /// From the first unconsumed byte of either direction on, somebody else reads:
    /// `None` lets the probe decide (CONNECT, SOCKS, PROXY), `Some` names the reader (STARTTLS).
    /// `consumed` of this turn is counted first; the other direction stands where its own last
    /// turn left it. What either direction had answered before ([`Then::Need`], [`Then::Deaf`])
    /// is forgotten, a [`Then::Skip`] is still carried out. Bytes that are held unconsumed are
    /// shown to the new reader at once, those of [`Direction::Up`] first: a parser may have held
    /// them back with `Need` until the other direction said that the change is agreed on.
    Handover(Option<Protocol>),
    /// All was read that this flow has to say; from now on it only counts.
    Done,
    /// Not this protocol, or broken beyond recovery.
    NotThis(ParseError),
}

/// Reads a TCP stream.
pub trait StreamParser {
    /// `bytes` starts at the first byte of `from` not consumed yet, and is never empty.
    fn feed(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn;

    /// `from` lost bytes that will not come (a hole in the capture); the next `feed` starts
    /// behind it. Return `false` to give up on the flow, which is what most parsers do.
    fn gap(&mut self, _from: Direction) -> bool {
        false
    }

    /// `bytes` of `from`, which [`Then::Need`] left unconsumed (empty if none), is all that will
    /// come: a hole or a cut packet follows, a cap is met, or the flow ends. A parser may report
    /// what stands whole in them. Called before [`StreamParser::gap`].
    fn cut(&mut self, _from: Direction, _bytes: &[u8], _out: &mut Out<'_>) {}
}

/// Reads UDP datagrams.
pub trait DatagramParser {
    /// One whole datagram. `Need` and `Skip` both mean: show me the next one.
    fn datagram(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then;
}

/// The protocols that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TLS over TCP.
    Tls,
    /// QUIC over UDP.
    Quic,
    /// DTLS over UDP.
    Dtls,
    /// DNS over TCP or UDP.
    Dns,
    /// Multicast DNS.
    Mdns,
    /// Link-local multicast name resolution.
    Llmnr,
    /// NetBIOS name service.
    Nbns,
    /// HTTP/1.x.
    Http1,
    /// HTTP/2 in clear text.
    Http2,
    /// SOCKS 4, 4a, 5.
    Socks,
    /// PROXY header, version 1 or 2.
    ProxyHeader,
    /// A protocol that may turn to TLS by STARTTLS.
    StartTls,
    /// DHCP for IPv4.
    Dhcp,
    /// DHCP for IPv6.
    Dhcp6,
    /// Kerberos over UDP or TCP.
    Kerberos,
    /// NTLM inside SMB and others.
    Ntlm,
    /// RADIUS.
    Radius,
    /// SSDP: devices that announce their kind.
    Ssdp,
}

/// One thing that bytes said. Borrowed: whoever keeps it copies it.
#[derive(Clone, Debug, PartialEq)]
pub enum Metadata<'a> {
    /// ClientHello of TLS, QUIC or DTLS.
    Hello(ClientHello<'a>),
    /// The server answered the hello: version chosen (0x0304 = TLS 1.3), after supported_versions.
    ServerHello {
        /// Wire value, RFC 8446 §4.1.3.
        version: u16,
    },
    /// The connection id that a QUIC server chose for itself.
    QuicServerId(&'a [u8]),
    /// A name in a server certificate in clear (TLS ≤ 1.2): subjectAltName dNSName first, else CN.
    CertificateName(&'a [u8]),
    /// A question in a query message.
    DnsQuery(DnsQuestion<'a>),
    /// One address record of a response, under the name of its question (CNAMEs followed).
    DnsAddress {
        /// Message id and question.
        question: DnsQuestion<'a>,
        /// A or AAAA.
        addr: IpAddr,
        /// Seconds; the lowest along the CNAME chain.
        ttl_s: u32,
    },
    /// An SVCB or HTTPS record of a response that carries `ech` (RFC 9849).
    DnsEch {
        /// The question answered.
        question: DnsQuestion<'a>,
        /// `public_name` of the first ECHConfig.
        public_name: &'a [u8],
        /// Seconds.
        ttl_s: u32,
    },
    /// A response was seen: its code, whatever it carried.
    DnsResponse {
        /// Message id and question.
        question: DnsQuestion<'a>,
        /// RFC 1035 §4.1.1 RCODE; 3 is NXDOMAIN.
        rcode: u8,
    },
    /// A name announced or asked on the local link.
    LocalName(LocalName<'a>),
    /// What a device says that it is or runs: words of makers, never a name.
    Runs(&'a [u8]),
    /// A request line and its header.
    HttpRequest(HttpRequest<'a>),
    /// A status line and its header.
    HttpResponse(HttpResponse),
    /// Protocol signs in a body or a header that name an API, whoever speaks it.
    Api(grammar::Api),
    /// The name or address that a SOCKS client asked for.
    SocksTarget {
        /// Host name or address literal.
        host: &'a [u8],
        /// Port asked for.
        port: u16,
    },
    /// The source that a PROXY header names (behind a load balancer).
    ProxySource {
        /// Client as the header says.
        addr: IpAddr,
    },
    /// What a DHCP client or server said.
    Dhcp(DhcpMessage<'a>),
    /// A person's or machine's account name.
    Account {
        /// Where it stood.
        source: AccountSource,
        /// User or principal as written, without realm or domain.
        user: &'a [u8],
        /// Realm or domain, empty if not said.
        domain: &'a [u8],
    },
    /// A server's answer to a login.
    LoginAnswer {
        /// It let somebody in.
        granted: bool,
    },
    /// Somebody is let into the network.
    Session(Session<'a>),
    /// Something odd that is worth counting, by a name of ours.
    Anomaly(&'static str),
}

/// Where a ClientHello came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HelloTransport {
    /// TLS over TCP.
    Tls,
    /// QUIC CRYPTO frames.
    Quic,
    /// DTLS.
    Dtls,
}

/// What a ClientHello says in clear.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientHello<'a> {
    /// Carrier.
    pub transport: HelloTransport,
    /// server_name (RFC 6066 §3) as written; `None` if absent or not a host_name.
    pub server_name: Option<&'a [u8]>,
    /// ALPN protocols, joined by commas, at most 64 bytes; empty if none were offered.
    pub alpn: &'a str,
    /// Highest version offered, GREASE left out (0x0304 = TLS 1.3).
    pub version: u16,
    /// What its fingerprint is made of; `None` if the hello is cut or broken, or of a kind that
    /// has none.
    pub offer: Option<ja4::Offer<'a>>,
    /// encrypted_client_hello (RFC 9849), outer form.
    pub ech: Option<EchOuter>,
    /// An older encrypted_server_name extension (0xffce) is there.
    pub esni: bool,
    /// Values of RFC 8701 are among ciphers or extensions: a browser or one that imitates it.
    pub grease: bool,
    /// Length of the handshake message in bytes.
    pub length: u32,
}

impl ClientHello<'_> {
    /// The JA4 fingerprint, written into `text`; empty if there is none.
    pub fn ja4<'t>(&self, text: &'t mut [u8; ja4::JA4_LEN]) -> &'t str {
        self.offer.as_ref().map_or("", |offer| ja4::ja4(offer, text))
    }
}

/// Clear facts of the outer ECH extension (RFC 9849 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchOuter {
    /// config_id.
    pub config_id: u8,
    /// HPKE KDF id.
    pub kdf: u16,
    /// HPKE AEAD id.
    pub aead: u16,
    /// Length of `enc` in bytes (32 for X25519; 0 in the second hello).
    pub enc_bytes: u16,
    /// Length of the encrypted payload in bytes.
    pub payload_bytes: u16,
}

/// Question of a DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsQuestion<'a> {
    /// Message id, which ties answer to question.
    pub id: u16,
    /// Name in text form as written, labels joined by dots, without final dot; `.` is the root.
    pub name: &'a [u8],
    /// Record type (1 A, 28 AAAA, 65 HTTPS).
    pub rtype: u16,
}

/// A name on the local link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalName<'a> {
    /// Protocol that carried it.
    pub protocol: Protocol,
    /// Asked for, or announced as one's own.
    pub announced: bool,
    /// The name as text.
    pub name: &'a [u8],
    /// Address that goes with an announcement.
    pub addr: Option<IpAddr>,
}

/// How the name of an HTTP request was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HostSource {
    /// Host header field.
    Host,
    /// Absolute URI in the request line: a proxy is asked.
    AbsoluteUri,
    /// Target of CONNECT: a proxy is asked for a tunnel.
    Connect,
    /// `:authority` of HTTP/2.
    Authority,
}

/// What an HTTP request says.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRequest<'a> {
    /// 10 or 11 or 20.
    pub version: u8,
    /// As written, at most 16 bytes.
    pub method: &'a [u8],
    /// Host without port or brackets' port; `None` if the request has none.
    pub host: Option<&'a [u8]>,
    /// Where `host` stood.
    pub source: HostSource,
    /// User-Agent, at most 256 bytes; empty if absent.
    pub user_agent: &'a [u8],
    /// API grammar that path and header match.
    pub api: Option<grammar::Api>,
    /// Headers only an AI SDK sends (x-stainless-*, anthropic-version, x-goog-api-client ...).
    pub sdk: bool,
    /// Upgrade to WebSocket asked for.
    pub websocket: bool,
    /// `Purpose`/`Sec-Purpose: prefetch` or `prerender` is there: nobody looked at it yet.
    pub prefetch: bool,
    /// `Sec-Fetch-Dest` is not `document`/`empty` of one's own site: see `http1` for the rule.
    pub embedded: bool,
    /// Body length announced in bytes, 0 if none or unknown.
    pub body_bytes: u64,
    /// Any field that carries a login: scheme only, never the secret.
    pub user: Option<&'a [u8]>,
    /// Last address of X-Forwarded-For: what the proxy next to us says of its client.
    pub forwarded: Option<IpAddr>,
    /// X-Authenticated-User: whom that proxy let in.
    pub vouched: Option<&'a [u8]>,
}

/// What an HTTP response says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HttpResponse {
    /// Status code; 0 if it could not be read.
    pub status: u16,
    /// Body is a stream of events or lines: text/event-stream, application/x-ndjson, AWS event stream.
    pub streamed: bool,
    /// Server signs of an AI API (Server: llama.cpp, mcp-session-id ...).
    pub api: Option<grammar::Api>,
}

/// What a DHCP message says of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct DhcpMessage<'a> {
    /// 4 or 6.
    pub version: u8,
    /// Message type of RFC 2132 §9.6 (1 DISCOVER, 3 REQUEST, 5 ACK ...) or RFC 8415 §7.3.
    pub message: u8,
    /// `true` if a client sent it.
    pub from_client: bool,
    /// chaddr, or the link-layer address inside a DUID.
    pub mac: MacAddr,
    /// Address that the client has, asks for, or was given.
    pub addr: Option<IpAddr>,
    /// Host name (option 12), as written.
    pub host_name: Option<&'a [u8]>,
    /// Fully qualified name (option 81 / option 39).
    pub fqdn: Option<&'a [u8]>,
    /// Vendor class (option 60 / 16), at most 64 bytes.
    pub vendor_class: Option<&'a [u8]>,
    /// Seconds of the lease, 0 if not said.
    pub lease_s: u32,
}

/// What RADIUS says of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Session<'a> {
    /// Number that ties an answer to its question.
    pub id: u8,
    /// How far it is.
    pub state: SessionState,
    /// User-Name, or the identity of EAP; empty if not said.
    pub user: &'a [u8],
    /// Address that the device was given.
    pub addr: Option<IpAddr>,
    /// Link address of the device; zeros if not said.
    pub mac: MacAddr,
    /// Seconds for which it may last, 0 if not said.
    pub lasts_s: u32,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SessionState {
    /// Somebody wants in.
    Asked,
    /// The answer is yes.
    Granted,
    /// It has begun, or goes on.
    Begun,
    /// It is over.
    Ended,
}

/// Where an account name stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AccountSource {
    /// Kerberos cname of a ticket granted.
    Kerberos,
    /// Kerberos cname of a ticket asked for.
    KerberosRequest,
    /// NTLM AUTHENTICATE message.
    Ntlm,
    /// RADIUS User-Name.
    Radius,
    /// LDAP bind.
    Ldap,
    /// HTTP Basic credentials, name part.
    HttpBasic,
}

pub mod dhcp;
pub mod dns;
pub mod dtls;
pub mod grammar;
pub mod hpack;
pub mod http1;
pub mod http2;
pub mod ja4;
pub mod kerberos;
pub mod ldap;
pub mod local;
pub mod ntlm;
pub mod parser;
pub mod quic;
pub mod radius;
pub mod socks;
pub mod ssdp;
pub mod starttls;
pub mod tls;
pub mod tunnel;
