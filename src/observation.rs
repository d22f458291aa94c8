//! The message between watcher and recorder, and nothing else.
//!
//! A watcher sends one [`Batch`] a block. Observations are of fixed size; texts (names,
//! fingerprints, user agents) are numbers that the watcher's interner gave out, and a batch
//! brings the texts that are new since the one before. No byte of payload crosses here.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::types::{Endpoint, MacAddr, Realm, Timestamp};
use crate::watcher::packet::NeighborSource;
use crate::watcher::protocol::grammar::Api;
use crate::watcher::protocol::tunnel::Tunnel;
use crate::watcher::protocol::{
    AccountSource, EchOuter, HelloTransport, HostSource, Protocol, SessionState,
};

/// A text by its number in the interner of the watcher that sent it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct TextId(pub u32);

impl TextId {
    /// The empty text, known to everybody.
    pub const NONE: TextId = TextId(0);

    /// `true` for the empty text.
    pub fn is_none(self) -> bool {
        self == TextId::NONE
    }
}

/// Everything one watcher has to say of one block.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Batch {
    /// Which watcher.
    pub watcher: usize,
    /// Which block.
    pub block: u64,
    /// Sensor time of the block's first frame.
    pub begin: Timestamp,
    /// Sensor time after the block.
    pub now: Timestamp,
    /// Texts first used, or given to somebody else, in this batch.
    pub texts: Vec<(TextId, Arc<str>)>,
    /// Sorted by [`Observation::order`].
    pub observations: Vec<Observation>,
    /// Input of the block's first frame.
    pub input: u16,
    /// What the block added to the coverage ledger besides, by name.
    #[serde(with = "names")]
    pub counts: Vec<(&'static str, u64)>,
}

/// Names of ours on their way between processes of one program.
mod names {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Names that there can be: some dozens are ours; the rest is room for those of later versions.
    const NAMES_MAX: usize = 512;

    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

    pub fn serialize<S: Serializer>(
        counts: &[(&'static str, u64)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        counts.serialize(to)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(
        from: D,
    ) -> Result<Vec<(&'static str, u64)>, D::Error> {
        let counts = Vec::<(String, u64)>::deserialize(from)?;
        Ok(counts.into_iter().filter_map(|(name, n)| Some((known(name)?, n))).collect())
    }

    /// The name for good; `None` once there are more than a program of ours can send.
    fn known(name: String) -> Option<&'static str> {
        let mut names = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(name.as_str()) {
            return Some(known);
        }
        if names.len() >= NAMES_MAX {
            return None;
        }
        let name: &'static str = Box::leak(name.into_boxed_str());
        names.insert(name);
        Some(name)
    }
}

/// Place of an observation in the run: independent of how many watchers there are.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Order {
    /// Index of the frame in its block; `u32::MAX` for what the passing of time brought about.
    pub frame: u32,
    /// Logical shard of the flow.
    pub shard: u8,
}

/// Identity of a flow, client first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowRef {
    /// Address space.
    pub realm: Realm,
    /// IP protocol number.
    pub protocol: u8,
    /// Shard and counter: tells two flows of one five-tuple apart.
    pub id: u64,
    /// Who began it.
    pub client: Endpoint,
    /// Whom it went to.
    pub server: Endpoint,
}

/// One thing that was seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// Place in the run.
    pub order: Order,
    /// Input (file or interface) of the frame.
    pub input: u16,
    /// Number of the frame in its input, from 1.
    pub frame_number: u64,
    /// Sensor time.
    pub time: Timestamp,
    /// The flow it belongs to.
    pub flow: FlowRef,
    /// What it says.
    pub fact: Fact,
}

/// How a name became known, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NameSource {
    /// Nothing named the flow.
    None,
    /// TLS server_name.
    Sni,
    /// QUIC server_name.
    QuicSni,
    /// HTTP/1 Host or absolute URI.
    HttpHost,
    /// HTTP/2 `:authority`.
    Authority,
    /// Target of CONNECT.
    Connect,
    /// Target of a SOCKS request.
    Socks,
    /// Server certificate.
    Certificate,
}

/// The things that can be seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Fact {
    /// ClientHello.
    Hello(Hello),
    /// A name in a server certificate.
    CertificateName(TextId),
    /// A QUIC server said by which id it wants to be called; and the name of the connection.
    QuicServerId {
        /// Name that the hello said; `NONE` if none.
        name: TextId,
        /// The id.
        id: QuicId,
    },
    /// A flow begins amid a QUIC connection: what stands where the server's id would.
    QuicMoved(QuicId),
    /// Question in a DNS query.
    DnsQuery {
        /// Name asked for.
        name: TextId,
        /// Record type.
        rtype: u16,
        /// Message id.
        id: u16,
    },
    /// Address in a DNS response.
    DnsAddress {
        /// Name asked for.
        name: TextId,
        /// The answer.
        addr: IpAddr,
        /// Seconds.
        ttl_s: u32,
        /// Message id.
        id: u16,
    },
    /// Response code of a DNS response.
    DnsResponse {
        /// Name asked for.
        name: TextId,
        /// RCODE.
        rcode: u8,
    },
    /// HTTPS/SVCB answer with an ECH configuration.
    DnsEch {
        /// Name asked for.
        name: TextId,
        /// Outer name to use.
        public_name: TextId,
        /// Seconds.
        ttl_s: u32,
    },
    /// Name asked or announced on the local link.
    LocalName {
        /// Carrier.
        protocol: Protocol,
        /// Announced as one's own.
        announced: bool,
        /// The name.
        name: TextId,
        /// Its address.
        addr: Option<IpAddr>,
    },
    /// HTTP request.
    Http(Http),
    /// HTTP response that tells something.
    HttpAnswer {
        /// Status code.
        status: u16,
        /// The body streams.
        streamed: bool,
        /// API signs.
        api: Option<Api>,
    },
    /// Signs of an API in the flow.
    Api(Api),
    /// Target asked of a SOCKS proxy.
    SocksTarget {
        /// Host name or address.
        host: TextId,
        /// Port.
        port: u16,
    },
    /// Client behind a load balancer.
    ProxySource(IpAddr),
    /// DHCP message.
    Dhcp(Dhcp),
    /// A device says what it is or runs.
    Runs(TextId),
    /// Account name.
    Account {
        /// Where it stood.
        source: AccountSource,
        /// User.
        user: TextId,
        /// Realm or domain.
        domain: TextId,
    },
    /// A server's answer to a login in the flow.
    LoginAnswer {
        /// It let somebody in.
        granted: bool,
    },
    /// Somebody is let into the network.
    Session(Session),
    /// Address and MAC belong together.
    Neighbor {
        /// Who says so.
        source: NeighborSource,
        /// The MAC.
        mac: MacAddr,
    },
    /// Bytes since the last delta of the flow.
    Delta(Delta),
}

impl Fact {
    /// The name that it is about, if it is about one.
    pub fn name(&self) -> TextId {
        match self {
            Fact::Hello(hello) => hello.name,
            Fact::DnsQuery { name, .. } | Fact::DnsAddress { name, .. } => *name,
            Fact::Http(http) => http.host,
            Fact::Delta(delta) => delta.name,
            _ => TextId::NONE,
        }
    }
}

/// A QUIC connection id, or what may begin with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QuicId {
    /// Octets, zeros behind the last.
    pub octets: [u8; 20],
    /// How many.
    pub len: u8,
}

impl QuicId {
    /// The first twenty of `octets`.
    pub fn new(octets: &[u8]) -> Self {
        let mut id = Self::default();
        for (to, from) in id.octets.iter_mut().zip(octets) {
            *to = *from;
            id.len = id.len.saturating_add(1);
        }
        id
    }
}

/// A ClientHello.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Carrier.
    pub transport: HelloTransport,
    /// server_name; `NONE` if absent.
    pub name: TextId,
    /// ALPN list.
    pub alpn: TextId,
    /// JA4.
    pub ja4: TextId,
    /// Highest version offered.
    pub version: u16,
    /// Outer ECH.
    pub ech: Option<EchOuter>,
    /// Old ESNI extension.
    pub esni: bool,
    /// RFC 8701 values.
    pub grease: bool,
    /// MAC that the client's frames carry.
    pub mac: MacAddr,
    /// TTL of the client's packet, 0 if it is not known.
    pub ttl: u8,
}

/// An HTTP request.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Http {
    /// 10, 11 or 20.
    pub version: u8,
    /// Method.
    pub method: TextId,
    /// Host; `NONE` if absent.
    pub host: TextId,
    /// Where it stood.
    pub source: HostSource,
    /// User agent.
    pub user_agent: TextId,
    /// API grammar.
    pub api: Option<Api>,
    /// Headers of an AI SDK.
    pub sdk: bool,
    /// WebSocket asked for.
    pub websocket: bool,
    /// Prefetch or prerender.
    pub prefetch: bool,
    /// Loaded into somebody else's page.
    pub embedded: bool,
    /// MAC that the client's frames carry.
    pub mac: MacAddr,
    /// TTL of the client's packet, 0 if it is not known.
    pub ttl: u8,
    /// Login of HTTP Basic; `NONE` if there is none.
    pub user: TextId,
    /// Client of the proxy that speaks here, by its own word.
    pub forwarded: Option<IpAddr>,
    /// Whom that proxy let in, by its own word; `NONE` if it says nothing.
    pub vouched: TextId,
}

/// What RADIUS says of a session.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Number that ties an answer to its question.
    pub id: u8,
    /// How far it is.
    pub state: SessionState,
    /// Login; `NONE` if not said.
    pub user: TextId,
    /// Address that the device was given.
    pub addr: Option<IpAddr>,
    /// Link address of the device; zeros if not said.
    pub mac: MacAddr,
    /// Seconds for which it may last, 0 if not said.
    pub lasts_s: u32,
}

/// What a DHCP message says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Dhcp {
    /// 4 or 6.
    pub version: u8,
    /// Message type.
    pub message: u8,
    /// A client sent it.
    pub from_client: bool,
    /// Hardware address.
    pub mac: MacAddr,
    /// Address asked for or given.
    pub addr: Option<IpAddr>,
    /// Host name.
    pub host_name: TextId,
    /// Fully qualified name.
    pub fqdn: TextId,
    /// Vendor class.
    pub vendor_class: TextId,
    /// Seconds.
    pub lease_s: u32,
}

/// Bytes of a flow since its last delta, all within one minute of sensor time, one input and
/// one name. Self-contained: the recorder needs no memory of flows that do not matter.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Delta {
    /// TCP/UDP payload octets by sequence or length, client to server.
    pub up: u64,
    /// The same, server to client.
    pub down: u64,
    /// Packets came from the client, from the server.
    pub heard: [bool; 2],
    /// First packet of the delta; to the second for a flow without a name.
    pub first: Timestamp,
    /// Last packet of the delta.
    pub last: Timestamp,
    /// What named the flow: name, fingerprint, program. `None` for a flow that only counts.
    pub name: TextId,
    /// How it was named.
    pub source: Option<NameSource>,
    /// JA4 of its hello.
    pub ja4: TextId,
    /// Its user agent.
    pub user_agent: TextId,
    /// Number of its first frame in the input of its start, 0 if not kept.
    pub first_frame: u64,
    /// Number of the frame that named it, 0 if not kept.
    pub name_frame: u64,
    /// Number of its last frame, 0 if not kept.
    pub last_frame: u64,
    /// Octets of `up` that the hello took, since the flow began; for QUIC all that the client
    /// sent under long headers. 0 if none was seen.
    pub hello_bytes: u32,
    /// Next TCP sequence number of client and server; 0 where there is none.
    pub next_seq: [u32; 2],
    /// State of the flow.
    pub state: FlowState,
}

/// What is known of a flow's life. Bits, because a flow has many at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowState(pub u16);

impl FlowState {
    /// First delta of the flow.
    pub const FIRST: u16 = 1;
    /// Last one: the flow is over.
    pub const LAST: u16 = 1 << 1;
    /// A SYN was answered, or both sides sent payload.
    pub const ANSWERED: u16 = 1 << 2;
    /// The beginning was not seen.
    pub const MIDSTREAM: u16 = 1 << 3;
    /// Several names share bytes that cannot be split (HTTP/2).
    pub const SHARED: u16 = 1 << 4;
    /// A hello began and never became whole.
    pub const HELLO_INCOMPLETE: u16 = 1 << 5;
    /// Bytes are missing in the capture.
    pub const GAP: u16 = 1 << 6;
    /// The name was asked of a proxy.
    pub const PROXIED: u16 = 1 << 7;
    /// Copies of the same bytes differed.
    pub const CONFLICT: u16 = 1 << 8;

    /// The run ended before the flow did.
    pub const OPEN: u16 = 1 << 9;
    /// One side sent payload, and not one segment of the other was seen.
    pub const ONE_SIDED: u16 = 1 << 10;
    /// Place of two bits that say which tunnel it is.
    const TUNNEL: u32 = 14;

    /// State of a flow that is the `number`-th tunnel of [`Tunnel::ALL`], from 1.
    pub fn of_tunnel(number: u8) -> u16 {
        u16::from(number & 3) << Self::TUNNEL
    }

    /// The tunnel that the flow is by its shape.
    pub fn tunnel(self) -> Option<Tunnel> {
        let number = usize::from(self.0 >> Self::TUNNEL);
        Tunnel::ALL.get(number.checked_sub(1)?).copied()
    }

    /// `true` if all `bits` are set.
    pub fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }
}

/// The observations of all watchers for one block, in the order of the run, each with the number
/// of its watcher. Every batch is sorted, so the next one is the first of some batch; equal orders
/// are of one shard, so of one batch, where they follow one another.
pub fn merged(batches: &[Batch]) -> impl Iterator<Item = (usize, &Observation)> {
    let mut heads: Vec<_> =
        batches.iter().map(|b| (b.watcher, b.observations.as_slice())).collect();
    std::iter::from_fn(move || {
        let (watcher, rest) = match heads.as_mut_slice() {
            [alone] => alone,
            many => many
                .iter_mut()
                .filter(|(_, rest)| !rest.is_empty())
                .min_by_key(|(_, rest)| rest.first().map(|o| o.order))?,
        };
        let (next, behind) = rest.split_first()?;
        *rest = behind;
        Some((*watcher, next))
    })
}
