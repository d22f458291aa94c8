//! QUIC: the hello in a client's Initial packets.
//!
//! In: the datagrams of one flow, both directions, in any order.
//! Out: the hello once its CRYPTO stream is whole, then that the server answered. Google's own
//! handshake (Q009 to Q050) gives a name at most: no ALPN, no fingerprint, version 0, also in the
//! answer.
//! Never: opens a server's packet; uses a byte that no tag vouches for.
//! Limits: 8 key derivations and 96 packets opened a flow, 16 packets a datagram, 64 datagrams up
//! to the hello and 32 behind it; 64 KiB of CRYPTO stream in 64 pieces.
//! Source: RFC 9000 §17.2 (headers), §19 (frames), §12.2 (coalescing), §17.2.5 (Retry);
//! RFC 9001 §5.2 (keys); RFC 9368 §2, RFC 9369 (change of version).

mod crypto_stream;
#[cfg(test)]
mod forge;
mod google;
mod header;
mod keys;

use std::ops::Range;

use self::crypto_stream::{Agreement, CryptoStream};
use self::google::ClientMessage;
use self::header::{Kind, Packet, Version};
use self::keys::{Keys, Scheme};
use super::{ClientHello, DatagramParser, HelloTransport, Metadata, Out, Then, tls};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Key sets derived for one flow. A client needs one, another behind a Retry and another to change
/// its version; a packet that nothing opens costs one too, so that a flow can waste 20 µs on them.
const DERIVATIONS_MAX: u8 = 8;

/// Packets opened for one flow: 55 of 1,200 bytes hold the longest hello, the rest are repetitions.
const OPENS_MAX: u8 = 96;

/// Packets read of one datagram. Senders put one of each level into it, some clients one or two
/// Initials more.
const PACKETS_MAX: usize = 16;

/// Datagrams of both directions up to the hello, the 55 of the longest among them.
const DATAGRAMS_MAX: u8 = 64;

/// Datagrams still waited for once the server went on from a hello that we did not read yet: what
/// the capture put out of order comes among the next few, what it lost never comes.
const REORDER_MAX: u8 = 8;

/// Datagrams of both directions behind the hello among which the answer is looked for: a client may
/// send a first congestion window of early data, and some again, before it comes.
const ANSWER_DATAGRAMS_MAX: u8 = 32;

/// Length from which on a server's Initial is taken to hold a `ServerHello`, which alone has 90
/// bytes: what is shorter acknowledges or refuses.
const ANSWER_MIN: usize = 100;

/// The only version of TLS in QUIC, RFC 9001 §4.2.
const TLS_1_3: u16 = 0x0304;

/// Longest connection id of a version that we know, RFC 9000 §17.2.
const ID_MAX: usize = header::ID_MAX as usize;

/// `true` if `datagram` can be the first that a QUIC client sends.
///
/// Asks for a version that we know or that is there to be refused, and for an Initial with a
/// connection id of a client's making whose lengths hold together. Does not ask for the 1,200 bytes
/// that RFC 9000 §14.1 prescribes, for captures are cut.
pub fn looks_like(datagram: &[u8]) -> bool {
    header::is_opening(datagram) || google::is_clear(datagram)
}

/// Reads the QUIC of one UDP flow.
pub struct Quic {
    stage: Stage,
    /// Datagrams that this stage may still look at.
    left: u8,
    told: Told,
}

/// How far the flow is read.
enum Stage {
    /// The hello is wanted.
    Hello(Box<Initials>),
    /// The hello is out, the answer of the other side is wanted.
    Answer(Handshake, Direction),
}

/// Which handshake a hello opened, and how much of it can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    /// TLS in CRYPTO frames.
    Tls,
    /// Google's in packets of IETF form.
    Google,
    /// Google's in packets of its own form.
    GoogleClear,
}

impl Quic {
    /// Starts with the first datagram of a flow.
    pub fn new() -> Self {
        let stage = Stage::Hello(Box::default());
        Self { stage, left: DATAGRAMS_MAX, told: Told::default() }
    }

    /// Looks for the hello in `bytes`: which handshake it opened once it was told.
    fn find_hello(
        &mut self,
        from: Direction,
        bytes: &[u8],
        out: &mut Out<'_>,
    ) -> Parsed<Option<Handshake>> {
        let Stage::Hello(initials) = &mut self.stage else { return Ok(None) };
        if google::is_clear(bytes) {
            let Some(message) = google::client_message(bytes) else { return Ok(None) };
            out(Metadata::Hello(google_hello(&message)));
            return Ok(Some(Handshake::GoogleClear));
        }
        for packet in packets(bytes) {
            let is_client = initials.client.is_none_or(|client| client == from);
            match packet.kind {
                Kind::Initial if is_client => {
                    if let Some(found) = initials.read(&packet, from, &mut self.told, out)? {
                        return Ok(Some(found));
                    }
                }
                Kind::Handshake if !is_client => {
                    initials.answered = true;
                    self.left = self.left.min(REORDER_MAX);
                }
                _ => {}
            }
        }
        initials.hopeless()
    }

    /// Goes on to wait for the answer of the side that `client` speaks to.
    fn await_answer(&mut self, handshake: Handshake, client: Direction, out: &mut Out<'_>) -> Then {
        if matches!(&self.stage, Stage::Hello(initials) if initials.answered) {
            return answer(handshake, out);
        }
        self.stage = Stage::Answer(handshake, client.reverse());
        self.left = ANSWER_DATAGRAMS_MAX;
        Then::Need(1)
    }

    /// The hello will not be whole: tells what its first part says, if that holds a name.
    fn give_up(&mut self, why: ParseError, out: &mut Out<'_>) -> Then {
        let Stage::Hello(initials) = &mut self.stage else { return Then::Done };
        let mut scratch = tls::Scratch::default();
        let prefix = initials.stream.prefix();
        let hello = tls::partial_hello(prefix, HelloTransport::Quic, &mut scratch);
        let (Some(hello), Some(client)) = (hello, initials.client) else {
            return Then::NotThis(why);
        };
        out(Metadata::Hello(hello));
        self.told.tell(Oddity::HelloPartial, out);
        self.await_answer(Handshake::Tls, client, out)
    }
}

impl Default for Quic {
    fn default() -> Self {
        Self::new()
    }
}

impl DatagramParser for Quic {
    fn datagram(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        self.left = self.left.saturating_sub(1);
        self.told.version(bytes, out);
        if let Stage::Answer(handshake, server) = self.stage {
            return match from == server && answers(handshake, bytes) {
                true => answer(handshake, out),
                false if self.left == 0 => Then::Done,
                false => Then::Need(1),
            };
        }
        match self.find_hello(from, bytes, out) {
            Ok(Some(handshake)) => self.await_answer(handshake, from, out),
            Ok(None) if self.left > 0 => Then::Need(1),
            Ok(None) => self.give_up(ParseError::limit("datagrams"), out),
            Err(why) => self.give_up(why, out),
        }
    }
}

/// A client's Initial packets, as far as they came.
#[derive(Default)]
struct Initials {
    opener: Opener,
    stream: CryptoStream,
    /// Who sent the packets that client keys open.
    client: Option<Direction>,
    /// The other side is in the second flight already.
    answered: bool,
}

impl Initials {
    /// Reads one Initial: which handshake it opened if the hello is whole with it.
    fn read(
        &mut self,
        packet: &Packet<'_>,
        from: Direction,
        told: &mut Told,
        out: &mut Out<'_>,
    ) -> Parsed<Option<Handshake>> {
        if !packet.is_whole() {
            told.tell(Oddity::InitialTruncated, out);
            return Ok(None);
        }
        let Some((frames, connection)) = self.opener.open(packet) else { return Ok(None) };
        self.client = Some(from);
        if connection == Connection::New {
            self.stream.clear();
        }
        if packet.scheme == Scheme::Q050 {
            let message = google::client_message(frames);
            return Ok(message.map(|message| {
                out(Metadata::Hello(google_hello(&message)));
                Handshake::Google
            }));
        }
        let mut rest = Reader::new(frames);
        // What follows a frame that does not read is unknown; what preceded it was authenticated.
        while let Ok(Some((offset, data))) = next_crypto(&mut rest) {
            if self.stream.insert(offset, data)? == Agreement::Conflicts {
                told.tell(Oddity::CryptoConflict, out);
            }
        }
        let Some(message) = self.stream.hello()? else { return Ok(None) };
        let mut scratch = tls::Scratch::default();
        let hello = tls::client_hello(message, HelloTransport::Quic, &mut scratch)?;
        out(Metadata::Hello(hello));
        Ok(Some(Handshake::Tls))
    }

    /// An error once nothing was opened and nothing more will be tried.
    fn hopeless<T>(&self) -> Parsed<Option<T>> {
        if self.client.is_none() && self.opener.derivations >= DERIVATIONS_MAX {
            return Err(ParseError::invalid("packet protection"));
        }
        Ok(None)
    }
}

/// Opens packets with the keys at hand, or with those that a packet itself suggests.
#[derive(Default)]
struct Opener {
    last: Option<KeySet>,
    derivations: u8,
    opens: u8,
    /// The packet opened last.
    buffer: Vec<u8>,
}

struct KeySet {
    scheme: Scheme,
    dcid: Id,
    keys: Keys,
}

/// Whether a packet goes on with the stream of the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Same,
    /// The first, one behind a Retry, or of another connection between the same two ports.
    New,
}

impl Opener {
    /// Frames of `packet`, if it is a client's.
    ///
    /// Keys stay those of the client's first connection id although it soon uses one of the
    /// server's; so the ones that opened a packet come first, under another version the same id
    /// comes second, and the packet's own id last.
    fn open(&mut self, packet: &Packet<'_>) -> Option<(&[u8], Connection)> {
        let range = match self.last.take() {
            None => None,
            Some(set) if set.scheme == packet.scheme => {
                let range = self.attempt(&set.keys, packet);
                let is_own = set.dcid.as_slice() == packet.dcid;
                self.last = Some(set);
                if range.is_none() && is_own {
                    return None;
                }
                range
            }
            Some(set) => {
                let range = self.derive(packet, set.dcid);
                if range.is_none() {
                    self.last = Some(set);
                }
                range
            }
        };
        let (range, connection) = match range {
            Some(range) => (range, Connection::Same),
            None => (self.derive(packet, Id::new(packet.dcid)?)?, Connection::New),
        };
        self.buffer.get(range).map(|frames| (frames, connection))
    }

    /// Tries keys of `dcid`, and keeps them if they open the packet.
    fn derive(&mut self, packet: &Packet<'_>, dcid: Id) -> Option<Range<usize>> {
        if self.derivations >= DERIVATIONS_MAX {
            return None;
        }
        self.derivations = self.derivations.saturating_add(1);
        let keys = Keys::derive(packet.scheme, dcid.as_slice());
        let range = self.attempt(&keys, packet)?;
        self.last = Some(KeySet { scheme: packet.scheme, dcid, keys });
        Some(range)
    }

    fn attempt(&mut self, keys: &Keys, packet: &Packet<'_>) -> Option<Range<usize>> {
        if self.opens >= OPENS_MAX {
            return None;
        }
        self.opens = self.opens.saturating_add(1);
        keys.open(packet.bytes, packet.number_at, &mut self.buffer)
    }
}

/// A connection id.
#[derive(Clone, Copy)]
struct Id {
    bytes: [u8; ID_MAX],
    len: usize,
}

impl Id {
    fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; ID_MAX];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self { bytes, len: id.len() })
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What is odd about a flow. Told once each: the count is of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oddity {
    VersionNegotiation = 1,
    VersionGreased = 2,
    VersionUnknown = 4,
    InitialTruncated = 8,
    CryptoConflict = 16,
    HelloPartial = 32,
}

impl Oddity {
    fn name(self) -> &'static str {
        match self {
            Oddity::VersionNegotiation => "quic_version_negotiation",
            Oddity::VersionGreased => "quic_version_greased",
            Oddity::VersionUnknown => "quic_version_unknown",
            Oddity::InitialTruncated => "quic_initial_truncated",
            Oddity::CryptoConflict => "quic_crypto_conflict",
            Oddity::HelloPartial => "quic_hello_partial",
        }
    }
}

/// Set of the oddities that were told.
#[derive(Default)]
struct Told(u8);

impl Told {
    fn tell(&mut self, oddity: Oddity, out: &mut Out<'_>) {
        if self.0 & oddity as u8 == 0 {
            self.0 |= oddity as u8;
            out(Metadata::Anomaly(oddity.name()));
        }
    }

    /// Tells what is odd about the version that a datagram starts with.
    fn version(&mut self, datagram: &[u8], out: &mut Out<'_>) {
        match header::long(datagram) {
            Some(Version::Negotiation) => self.tell(Oddity::VersionNegotiation, out),
            Some(Version::Greased) => self.tell(Oddity::VersionGreased, out),
            Some(Version::Unknown) => self.tell(Oddity::VersionUnknown, out),
            Some(Version::Known(_) | Version::Clear) | None => {}
        }
    }
}

/// Packets with long headers at the front of a datagram.
fn packets(datagram: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let packet = header::packet(rest).ok()?;
        rest = packet.behind;
        Some(packet)
    })
    .take(PACKETS_MAX)
}

/// Passes over frames up to the next CRYPTO frame (RFC 9000 §19): its offset and data, `None` at
/// the end of the packet.
fn next_crypto<'a>(rest: &mut Reader<'a>) -> Parsed<Option<(u64, &'a [u8])>> {
    while !rest.is_empty() {
        match rest.u8("frame type")? {
            0x00 => skip_padding(rest)?,
            0x01 => {}
            kind @ (0x02 | 0x03) => skip_ack(rest, kind)?,
            0x06 => {
                let offset = header::varint(rest, "crypto offset")?;
                let length = header::varint(rest, "crypto length")?;
                return Ok(Some((offset, rest.take(header::size(length), "crypto data")?)));
            }
            0x1c => {
                header::varint(rest, "error code")?;
                header::varint(rest, "frame type")?;
                let length = header::varint(rest, "reason length")?;
                rest.skip(header::size(length), "reason")?;
            }
            _ => return Err(ParseError::invalid("frame type")),
        }
    }
    Ok(None)
}

/// Passes over zeros, which fill most of an Initial: 32 at a time as long as they last.
fn skip_padding(rest: &mut Reader<'_>) -> Parsed<()> {
    const STRIDE: usize = 32;
    let (strides, _) = rest.rest().as_chunks::<STRIDE>();
    let zero = strides.iter().take_while(|stride| **stride == [0; STRIDE]).count();
    rest.skip(zero.saturating_mul(STRIDE), "padding")?;
    let zeros = rest.rest().iter().take_while(|octet| **octet == 0).count();
    rest.skip(zeros, "padding")
}

fn skip_ack(rest: &mut Reader<'_>, kind: u8) -> Parsed<()> {
    header::varint(rest, "largest acknowledged")?;
    header::varint(rest, "ack delay")?;
    let ranges = header::varint(rest, "ack range count")?;
    header::varint(rest, "first ack range")?;
    // Each range has two bytes at least, so that the packet's end bounds the loop.
    for _ in 0..ranges {
        header::varint(rest, "gap")?;
        header::varint(rest, "ack range length")?;
    }
    if kind == 0x03 {
        for field in ["ect0 count", "ect1 count", "ecn-ce count"] {
            header::varint(rest, field)?;
        }
    }
    Ok(())
}

/// `true` if a server's datagram goes on with the handshake that the hello opened.
fn answers(handshake: Handshake, datagram: &[u8]) -> bool {
    if handshake == Handshake::GoogleClear {
        return google::answers(datagram);
    }
    packets(datagram).any(|packet| match packet.kind {
        Kind::Handshake => true,
        Kind::Initial => packet.length >= ANSWER_MIN,
        Kind::ZeroRtt | Kind::Retry => false,
    })
}

fn answer(handshake: Handshake, out: &mut Out<'_>) -> Then {
    let version = if handshake == Handshake::Tls { TLS_1_3 } else { 0 };
    out(Metadata::ServerHello { version });
    Then::Done
}

/// What Google's handshake says of what a TLS hello would.
fn google_hello<'a>(message: &ClientMessage<'a>) -> ClientHello<'a> {
    ClientHello {
        transport: HelloTransport::Quic,
        server_name: message.server_name,
        alpn: "",
        version: 0,
        ja4: "",
        ech: None,
        esni: false,
        grease: false,
        length: message.length,
    }
}
