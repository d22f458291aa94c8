//! QUIC: the hello in a client's Initial packets.
//!
//! In: the datagrams of one flow, both directions, in any order.
//! Out: the hello once its CRYPTO stream is whole, then that the server answered. Google's own
//! handshake (Q009 to Q050) gives a name at most: no ALPN, no fingerprint, version 0, also in the
//! answer.
//! Never: opens a server's packet; uses a byte that no tag vouches for.
//! Limits: 64 datagrams up to the hello and 32 behind it, 16 packets a datagram; 8 key derivations
//! and 96 packets opened a flow; 64 KiB of CRYPTO stream in 64 pieces.
//! Source: RFC 9000 §12.2 (coalescing), §17.2 (headers), §19 (frames); RFC 9001 §5.2 (keys); RFC 9369.

mod crypto_stream;
#[cfg(test)]
mod forge;
mod frames;
mod google;
mod header;
mod keys;
mod opener;

use self::crypto_stream::{Agreement, CryptoStream};
use self::frames::next_crypto;
use self::google::ClientMessage;
use self::header::{Kind, Packet, Version};
use self::keys::Scheme;
use self::opener::{Connection, Opener};
use super::{ClientHello, DatagramParser, HelloTransport, Metadata, Out, Then, tls};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader};

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

/// `true` if `datagram` can be the first that a QUIC client sends.
///
/// Asks for a version that we know or that is there to be refused, and for an Initial with a
/// connection id of a client's making whose lengths hold together. Does not ask for the 1,200 bytes
/// that RFC 9000 §14.1 prescribes, for captures are cut.
pub fn looks_like(datagram: &[u8]) -> bool {
    header::is_opening(datagram) || google::is_clear(datagram)
}

/// What follows the first octet of a packet with a short header, at most as much as an id can have
/// (RFC 9000 §17.3): nothing if the datagram is none that a client could go on with.
pub fn short(datagram: &[u8]) -> Option<&[u8]> {
    let (first, rest) = datagram.split_first()?;
    // Header form 0, fixed bit 1; id, packet number, and what protection needs.
    (first & 0xc0 == 0x40).then(|| rest.get(..usize::from(header::ID_MAX)))?
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

    /// Bytes of memory behind this value.
    pub fn memory(&self) -> usize {
        match &self.stage {
            Stage::Hello(initials) => size_of_val(initials.as_ref())
                .saturating_add(initials.opener.memory())
                .saturating_add(initials.stream.memory()),
            Stage::Answer(..) => 0,
        }
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
            return initials.read_clear(bytes, from, out);
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
        // Its version may stand in the part that is missing, but there is no choice.
        out(Metadata::Hello(ClientHello { version: TLS_1_3, ..hello }));
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
                true => {
                    if let Some(packet) = packets(bytes).find(|p| !p.scid.is_empty()) {
                        out(Metadata::QuicServerId(packet.scid));
                    }
                    answer(handshake, out)
                }
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
        if packet.scheme == Scheme::Q050
            && let Some(message) = google::client_message(frames)
            && (message.whole || message.server_name.is_some())
        {
            out(Metadata::Hello(google_hello(&message)));
            return Ok(Some(Handshake::Google));
        }
        let mut rest = Reader::new(frames);
        // What follows a frame that does not read is unknown; what preceded it was authenticated.
        while let Ok(Some((offset, data))) = next_crypto(&mut rest, packet.scheme) {
            if self.stream.insert(offset, data)? == Agreement::Conflicts {
                told.tell(Oddity::CryptoConflict, out);
            }
        }
        if packet.scheme == Scheme::Q050 {
            return Ok(self.google(Handshake::Google, out));
        }
        let Some(message) = self.stream.hello()? else { return Ok(None) };
        let mut scratch = tls::Scratch::default();
        let hello = tls::client_hello(message, HelloTransport::Quic, &mut scratch)?;
        out(Metadata::Hello(hello));
        Ok(Some(Handshake::Tls))
    }

    /// Reads a client's datagram of a version in clear.
    fn read_clear(
        &mut self,
        bytes: &[u8],
        from: Direction,
        out: &mut Out<'_>,
    ) -> Parsed<Option<Handshake>> {
        // Nearly always one packet has all of it, wherever its frames begin.
        let at_once = google::client_message(bytes);
        let pieces = google::pieces(bytes).filter(|_| self.client.is_none_or(|c| c == from));
        if let Some(message) = at_once
            && (message.whole || message.server_name.is_some() || pieces.is_none())
        {
            out(Metadata::Hello(google_hello(&message)));
            return Ok(Some(Handshake::GoogleClear));
        }
        for (offset, data) in pieces.into_iter().flatten() {
            self.client = Some(from);
            self.stream.insert(offset, data)?;
        }
        Ok(self.google(Handshake::GoogleClear, out))
    }

    /// Tells Google's message once its name, or all of it, has come.
    fn google(&mut self, handshake: Handshake, out: &mut Out<'_>) -> Option<Handshake> {
        let message = google::stream_message(self.stream.prefix())?;
        if message.server_name.is_none() && !message.whole {
            return None;
        }
        out(Metadata::Hello(google_hello(&message)));
        Some(handshake)
    }

    /// An error once nothing was opened and nothing more will be tried.
    fn hopeless<T>(&self) -> Parsed<Option<T>> {
        if self.client.is_none() && self.opener.is_spent() {
            return Err(ParseError::invalid("packet protection"));
        }
        Ok(None)
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
        offer: None,
        ech: None,
        esni: false,
        grease: false,
        length: message.length,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::forge::{
        DRAFT_29, Initial, Q050, T051, V1, V2, client_hello, crypto, unhex, varint,
    };
    use super::opener::{DERIVATIONS_MAX, OPENS_MAX};
    use super::*;
    use Direction::{Down, Up};

    const DCID: &[u8] = b"\x83\x94\xc8\xf0\x3e\x51\x57\x08";
    const NAME: &str = "chat.example";

    /// RFC 9001 §A.3 and §A.4: a server's Initial with its hello, and a Retry.
    const SERVER_INITIAL: &str = "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a\
        5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df354\
        8e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d\
        20398c276456cbc42158407dd074ee";
    const RETRY: &str = "ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba";

    /// What a new parser says of these datagrams, in words, and how it takes the last.
    fn read<B: AsRef<[u8]>>(
        datagrams: impl IntoIterator<Item = (Direction, B)>,
    ) -> (Vec<String>, Then) {
        let (mut quic, mut said, mut then) = (Quic::new(), Vec::new(), Then::Need(1));
        for (from, datagram) in datagrams {
            then = quic.datagram(from, datagram.as_ref(), &mut |metadata| {
                // Ids are told beside, for flows that move; other tests look at them.
                if matches!(metadata, Metadata::QuicServerId(_)) {
                    return;
                }
                said.push(match metadata {
                    Metadata::Hello(hello) => {
                        let name = String::from_utf8_lossy(hello.server_name.unwrap_or(b"-"));
                        assert_eq!(hello.transport, HelloTransport::Quic);
                        format!(
                            "{name} {} {:04x} {}",
                            hello.alpn,
                            hello.version,
                            hello.ja4(&mut [0; 36]).len()
                        )
                    }
                    Metadata::ServerHello { version } => format!("server {version:04x}"),
                    Metadata::Anomaly(what) => what.to_owned(),
                    other => format!("{other:?}"),
                });
            });
        }
        (said, then)
    }

    fn up(datagrams: &[Vec<u8>]) -> (Vec<String>, Then) {
        read(datagrams.iter().map(|datagram| (Up, datagram)))
    }

    fn seal(version: u32, frames: &[u8]) -> Vec<u8> {
        Initial::new(version, DCID, frames).seal()
    }

    /// The hello in one packet.
    fn whole(version: u32) -> Vec<u8> {
        seal(version, &crypto(0, &client_hello(NAME, 0)))
    }

    /// Frames with the two halves of a hello whose name stands in the first.
    fn halves() -> [Vec<u8>; 2] {
        let hello = client_hello(NAME, 0);
        let at = hello.len() - 10;
        [crypto(0, &hello[..at]), crypto(at, &hello[at..])]
    }

    /// A packet of the second flight, as short as can be.
    fn handshake() -> Vec<u8> {
        let mut packet = b"\xe0\0\0\0\x01\0\x04scid\x14".to_vec();
        packet.extend([0x55; 20]);
        packet
    }

    /// A datagram and who sent it.
    type Sent = (Direction, Vec<u8>);

    const HELLO: &str = "chat.example h3 0304 36";
    const PARTIAL: &str = "chat.example h3 0304 0";

    #[test]
    fn hello_and_answer_in_every_version() {
        for version in [V1, V2, DRAFT_29] {
            let (said, then) = up(&[whole(version)]);
            assert_eq!((said, then), (vec![HELLO.to_owned()], Then::Need(1)), "{version:08x}");
        }
        let hello = client_hello(NAME, 0);
        let of_google = [&[0x07, 0x08, 0][..], &varint(hello.len()), &hello].concat();
        assert_eq!(up(&[seal(T051, &of_google)]).0, [HELLO]);

        let (said, then) = read([(Up, whole(V1)), (Down, unhex(SERVER_INITIAL))]);
        assert_eq!((said, then), (vec![HELLO.to_owned(), "server 0304".to_owned()], Then::Done));
    }

    #[test]
    fn what_goes_before_and_beside_the_frame_is_passed_over() {
        let ok = crypto(0, &client_hello(NAME, 0));
        let table: &[(&str, &[u8], bool)] = &[
            ("padding", &[0; 100], true),
            ("ping", &[1, 1], true),
            ("ack of three ranges", &[2, 0x40, 0x80, 0, 2, 1, 0, 3, 2, 1], true),
            ("ack with counts", &[3, 9, 0, 0, 1, 0x40, 7, 0x80, 0, 0, 1, 5], true),
            ("close", &[0x1c, 0x41, 0x00, 6, 3, b'b', b'y', b'e'], true),
            (
                "ack whose ranges reach beyond",
                &[2, 9, 0, 0xff, 255, 255, 255, 255, 255, 255, 255, 1],
                false,
            ),
            ("stream", &[8, 0], false),
            ("frame type in two bytes", &[0x40, 0x01], false),
        ];
        for (name, before, read) in table {
            let (said, _) = up(&[seal(V1, &[before, &ok[..]].concat())]);
            assert_eq!(said.len(), usize::from(*read), "{name}");
            let (said, _) = up(&[seal(V1, &[&ok[..], before].concat())]);
            assert_eq!(said, [HELLO], "behind: {name}");
        }
    }

    #[test]
    fn packets_in_one_datagram() {
        let [first, second] = halves();
        let small =
            |frames: &[u8]| Initial { packet_bytes: 0, ..Initial::new(V1, DCID, frames) }.seal();
        let early =
            [&b"\xd0\0\0\0\x01\x08\x83\x94\xc8\xf0\x3e\x51\x57\x08\0\x20"[..], &[9; 32]].concat();
        let table: &[(&str, Vec<Vec<u8>>, bool)] = &[
            ("two Initials", vec![small(&first), small(&second)], true),
            ("early data between", vec![small(&first), early.clone(), small(&second)], true),
            ("second flight behind", vec![whole(V1), handshake()], true),
            ("zeros behind", vec![whole(V1), vec![0; 100]], true),
            ("zeros between", vec![small(&first), vec![0; 100], small(&second)], false),
        ];
        for (name, packets, read) in table {
            assert_eq!(!up(&[packets.concat()]).0.is_empty(), *read, "{name}");
        }
        for (before, read) in
            [(PACKETS_MAX - 2, true), (PACKETS_MAX - 1, true), (PACKETS_MAX, false)]
        {
            let datagram = [small(&[1]).repeat(before), whole(V1)].concat();
            assert_eq!(!up(&[datagram]).0.is_empty(), read, "{before} packets before");
        }
    }

    #[test]
    fn ids_that_change() {
        let [first, second] = halves();
        let hello = crypto(0, &client_hello(NAME, 0));
        let theirs = b"\xf0\x67\xa5\x50\x2a\x42\x62\xb5";
        let own = Initial::new(V1, DCID, &first).seal();
        let moved = Initial { dcid: theirs, number: 1, ..Initial::new(V1, DCID, &second) }.seal();
        let short = Initial { dcid: b"", scid: b"", ..Initial::new(V1, DCID, &second) }.seal();
        let retried = Initial { token: b"token", ..Initial::new(V1, theirs, &hello) }.seal();
        let other_version =
            Initial { dcid: theirs, first_dcid: DCID, ..Initial::new(V2, DCID, &second) }.seal();
        let other = client_hello("other.example", 0);
        let begun_again = Initial::new(V1, b"fresh-id", &crypto(0, &other)).seal();
        let table: &[(&str, Vec<Sent>, &str)] = &[
            ("the server's id", vec![(Up, own.clone()), (Up, moved)], HELLO),
            ("a server without id", vec![(Up, own.clone()), (Up, short)], HELLO),
            ("Retry", vec![(Up, own.clone()), (Down, unhex(RETRY)), (Up, retried.clone())], HELLO),
            ("Retry not seen", vec![(Up, own.clone()), (Up, retried)], HELLO),
            ("version 2 from here on", vec![(Up, own.clone()), (Up, other_version)], HELLO),
            ("another connection", vec![(Up, own), (Up, begun_again)], "other.example h3 0304 36"),
        ];
        for (name, datagrams, expected) in table {
            assert_eq!(read(datagrams.iter().cloned()).0, [*expected], "{name}");
        }
    }

    #[test]
    fn odd_versions_are_told_once() {
        let greased = [&b"\xc3\x1a\x2a\x3a\x4a\x08abcdefgh\0"[..], &[0; 1200]].concat();
        let negotiation = b"\x80\0\0\0\0\0\x08abcdefgh\0\0\0\x01".to_vec();
        let unknown = [&b"\xc3\0\0\0\x02\x08abcdefgh\0"[..], &[0; 1200]].concat();
        let (said, then) = read([
            (Up, greased.clone()),
            (Up, greased),
            (Down, negotiation.clone()),
            (Down, negotiation),
            (Up, unknown),
            (Up, whole(V1)),
        ]);
        let expected =
            ["quic_version_greased", "quic_version_negotiation", "quic_version_unknown", HELLO];
        assert_eq!((said, then), (expected.map(str::to_owned).to_vec(), Then::Need(1)));
    }

    #[test]
    fn without_its_end_a_packet_says_nothing() {
        for end in [100, 1199] {
            let cut = whole(V1)[..end].to_vec();
            let (said, _) = up(&[cut.clone(), cut]);
            assert_eq!(said, ["quic_initial_truncated"], "{end}");
        }
        let mut forged = whole(V1);
        forged[700] ^= 1;
        assert_eq!(up(&[forged]).0, [""; 0]);
    }

    #[test]
    fn first_copy_wins() {
        let hello = client_hello(NAME, 0);
        let mut other = hello.clone();
        other[20] ^= 1;
        let at = hello.len() - 1;
        let frames = [crypto(0, &hello[..at]), crypto(0, &other)].concat();
        assert_eq!(up(&[seal(V1, &frames)]).0, ["quic_crypto_conflict", HELLO]);
    }

    #[test]
    fn answers_are_of_the_server_and_of_substance() {
        let refusal = Initial { packet_bytes: 90, ..Initial::new(V1, DCID, &[1]) }.seal();
        let table: &[(&str, Direction, Vec<u8>, bool)] = &[
            ("Initial with hello", Down, unhex(SERVER_INITIAL), true),
            ("second flight", Down, handshake(), true),
            ("second flight of the client", Up, handshake(), false),
            ("short Initial", Down, refusal, false),
            ("Retry", Down, unhex(RETRY), false),
            ("short header", Down, vec![0x41; 50], false),
        ];
        for (name, from, datagram, is_answer) in table {
            let (said, then) = read([(Up, whole(V1)), (*from, datagram.clone())]);
            assert_eq!(said.len(), 1 + usize::from(*is_answer), "{name}");
            assert_eq!(then == Then::Done, *is_answer, "{name}");
        }
        // Who sends what client keys open is the client, wherever the capture started.
        let (said, _) = read([(Up, unhex(SERVER_INITIAL)), (Down, whole(V1)), (Up, handshake())]);
        assert_eq!(said, [HELLO, "server 0304"]);
    }

    #[test]
    fn a_lost_datagram_leaves_the_name_in_front_of_it() {
        let [first, second] = halves();
        let begin = [(Up, seal(V1, &first)), (Down, handshake())];
        let wait = |n: u8| (1..n).map(|_| (Down, vec![0x41; 50]));
        let late = [(Up, seal(V1, &second))];

        let (said, then) =
            read(begin.clone().into_iter().chain(wait(REORDER_MAX)).chain(late.clone()));
        assert_eq!(
            (&said[..], then),
            (&[HELLO.to_owned(), "server 0304".to_owned()][..], Then::Done)
        );

        let (said, then) = read(begin.into_iter().chain(wait(REORDER_MAX + 1)));
        assert_eq!(said, [PARTIAL, "quic_hello_partial", "server 0304"]);
        assert_eq!(then, Then::Done);

        let (said, then) = read(
            [(Up, seal(V1, &second)), (Down, handshake())].into_iter().chain(wait(REORDER_MAX + 1)),
        );
        assert_eq!((said.len(), then), (0, Then::NotThis(ParseError::limit("datagrams"))));
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let junk = |i: usize| {
            let dcid = [0xd0, 0, 0, 0, 0, 0, 0, u8::try_from(i).unwrap()];
            let mut packet = Initial::new(V1, &dcid, &[1]).seal();
            packet[1000] ^= 1;
            packet
        };
        let most = usize::from(DERIVATIONS_MAX);
        for (before, said) in [(most - 1, 1), (most, 0)] {
            let junk = (0..before).map(junk);
            assert_eq!(up(&junk.chain([whole(V1)]).collect::<Vec<_>>()).0.len(), said, "{before}");
        }
        let refused = Then::NotThis(ParseError::invalid("packet protection"));
        assert_eq!(up(&(0..most - 1).map(junk).collect::<Vec<_>>()).1, Then::Need(1));
        assert_eq!(up(&(0..most).map(junk).collect::<Vec<_>>()).1, refused);

        let most = usize::from(DATAGRAMS_MAX);
        let stray = || (Down, vec![0x41; 50]);
        for (before, then) in
            [(most - 2, Then::Need(1)), (most - 1, Then::NotThis(ParseError::limit("datagrams")))]
        {
            assert_eq!(read((0..=before).map(|_| stray())).1, then, "{before}");
            let (said, _) = read((0..before).map(|_| stray()).chain([(Up, whole(V1))]));
            assert_eq!(said, [HELLO], "{before}");
        }

        let most = usize::from(ANSWER_DATAGRAMS_MAX);
        for (before, said, then) in
            [(most - 2, 2, Then::Done), (most - 1, 2, Then::Done), (most, 1, Then::Done)]
        {
            let strays = (0..before).map(|_| stray());
            let (told, last) = read([(Up, whole(V1))].into_iter().chain(strays));
            assert_eq!((told.len(), last == Then::Done), (1, before == most), "{before}");
            let strays = (0..before).map(|_| stray());
            if before < most {
                let answer = [(Down, handshake())];
                let (told, last) = read([(Up, whole(V1))].into_iter().chain(strays).chain(answer));
                assert_eq!((told.len(), last), (said, then), "{before}");
            }
        }

        let small = Initial { packet_bytes: 0, ..Initial::new(V1, DCID, &[1]) }.seal();
        let most = usize::from(OPENS_MAX);
        for (before, read) in [(most - 2, true), (most - 1, true), (most, false)] {
            let strays = vec![small.clone(); before];
            let mut datagrams: Vec<_> = strays.chunks(PACKETS_MAX).map(<[_]>::concat).collect();
            datagrams.push(whole(V1));
            assert_eq!(!up(&datagrams).0.is_empty(), read, "{before} packets before");
        }

        let far = crypto(crypto_stream::STREAM_MAX, b"x");
        assert_eq!(up(&[seal(V1, &far)]).1, Then::NotThis(ParseError::limit("crypto offset")));
    }

    #[test]
    fn repetitions_are_told_once() {
        let (said, _) = read([(Up, whole(V1)), (Up, whole(V1)), (Down, handshake())]);
        assert_eq!(said, [HELLO, "server 0304"]);
    }

    #[test]
    fn names_of_google_s_handshake() {
        let message = b"CHLO\x01\0\0\0SNI\0\x0c\0\0\0chat.example";
        let clear = [&b"\x0d12345678Q043\x01"[..], &[0; 12], b"\xa0\x01\xc0\x03", message].concat();
        let long = [&b"\xc3Q046\x5012345678\0\0\0\x01"[..], &[0; 12], b"\xa0\x01\xc0\x03", message]
            .concat();
        let sealed = seal(Q050, &[&b"\x08\0\x20"[..], message].concat());
        let reply = b"\x0812345678\x01".to_vec();
        let long_reply = b"\xc3Q046\x0512345678\0\0\0\x01".to_vec();
        let reset = b"\x0a12345678PRST".to_vec();
        let other = Initial::new(Q050, b"", &[1; 200]).seal();
        let table = [
            ("Q043", &clear, reply, true),
            ("Q043 reset", &clear, reset, false),
            ("Q046", &long, long_reply, true),
            ("Q050", &sealed, other, true),
        ];
        for (name, hello, reply, answered) in table {
            assert!(looks_like(hello), "{name}");
            let (said, _) = read([(Up, hello.clone()), (Down, reply)]);
            let expected = ["chat.example  0000 0", "server 0000"];
            assert_eq!(said, expected[..=usize::from(answered)], "{name}");
        }
    }

    #[test]
    fn recognition() {
        let initial = whole(V1);
        let mut fixed_bit_clear = initial.clone();
        fixed_bit_clear[0] &= !0x40;
        let greased = [&b"\xc3\x1a\x2a\x3a\x4a\x08abcdefgh\0\0\x44\xc0"[..], &[0; 1216]].concat();
        let rtp = [&b"\x80\0\0\0\0\0\0\xa0\x12\x34\x56\x78"[..], &[0xd5; 160]].concat();
        let utp = [&b"\x41\x02\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0"[..], &[0; 100]].concat();
        let table: &[(&str, &[u8], bool)] = &[
            ("version 1", &initial, true),
            ("version 2", &whole(V2), true),
            ("draft", &whole(DRAFT_29), true),
            ("greased fixed bit", &fixed_bit_clear, true),
            ("cut by the capture", &initial[..200], true),
            ("cut in the header", &initial[..20], false),
            ("made to be refused", &greased, true),
            ("the same, but short", &greased[..1199], false),
            ("early data", &[&[0xd3], &initial[1..]].concat(), false),
            ("second flight", &handshake(), false),
            ("server's Initial", &unhex(SERVER_INITIAL), false),
            ("Retry", &unhex(RETRY), false),
            ("negotiation", b"\x80\0\0\0\0\0\x08abcdefgh\0\0\0\x01", false),
            ("id of 21 bytes", &[&b"\xc3\0\0\0\x01\x15"[..], &[1; 1200]].concat(), false),
            ("id of 7 bytes", &[&b"\xc3\0\0\0\x01\x07"[..], &[0; 1200]].concat(), false),
            ("unknown version", &[&b"\xc3\0\0\0\x02"[..], &initial[5..]].concat(), false),
            (
                "DTLS 1.2 hello",
                &[&b"\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x80\x01"[..], &[0; 127]].concat(),
                false,
            ),
            ("STUN request", b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl", false),
            ("RTP", &rtp, false),
            ("RTCP", &[&b"\x80\xc8\0\x06"[..], &[1; 24]].concat(), false),
            ("WireGuard initiation", &[&b"\x01\0\0\0"[..], &[0xc3; 144]].concat(), false),
            ("uTP", &utp, false),
            ("DNS query", b"\xc3\x12\x01\0\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01", false),
            ("empty", b"", false),
        ];
        for (name, datagram, expected) in table {
            assert_eq!(looks_like(datagram), *expected, "{name}");
        }
        let mut random = Random(1);
        let taken = (0..200_000).filter(|_| {
            let bytes: Vec<u8> = (0..64).map(|_| random.byte()).collect();
            looks_like(&bytes)
        });
        assert_eq!(taken.count(), 0);
    }

    /// A small generator, the same every time (xorshift64).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 16).unwrap()
        }

        fn byte(&mut self) -> u8 {
            self.next().to_le_bytes()[0]
        }
    }

    #[test]
    fn hostile_bytes_do_no_harm() {
        let [first, second] = halves();
        let frames = [&[2, 9, 0, 1, 0, 1, 1][..], &second, &[0; 40], &first].concat();
        let small = Initial { packet_bytes: 0, ..Initial::new(V1, DCID, &frames) };
        let chlo =
            [&b"\x0d12345678Q043\x01"[..], &[0; 12], b"\xa0\x01CHLO\x01\0\0\0SNI\0\x02\0\0\0ab"]
                .concat();
        let datagrams = [
            [small.seal(), handshake(), unhex(RETRY)].concat(),
            [seal(V2, &first), unhex(SERVER_INITIAL)].concat(),
            chlo,
        ];
        for datagram in &datagrams {
            for end in 0..datagram.len() {
                let _ = looks_like(&datagram[..end]);
                let _ = up(&[datagram[..end].to_vec()]);
            }
        }
        let mut random = Random(0x5eed);
        let mut damage = |bytes: &mut Vec<u8>| {
            for _ in 0..=random.next() % 4 {
                let at = random.next() % bytes.len();
                match random.next() % 4 {
                    0 => bytes[at] = random.byte(),
                    1 => bytes[at] ^= 1 << (random.next() % 8),
                    2 => bytes.insert(at, 0xff),
                    _ => bytes.truncate(at + 1),
                }
            }
        };
        for i in 0..10_000 {
            let mut datagram = datagrams[i % 3].clone();
            damage(&mut datagram);
            let _ = looks_like(&datagram);
            let _ = read([(Up, &datagram), (Down, &datagram), (Up, &datagrams[i % 2])]);

            // Sealed behind the damage, so that it comes through to the frames.
            let mut frames = frames.clone();
            damage(&mut frames);
            let _ = up(&[Initial { frames: &frames, ..small.clone() }.seal(), whole(V1)]);
        }
    }

    proptest! {
        #[test]
        fn any_split_and_order_gives_the_hello(
            extra in 0_usize..3000,
            cuts in prop::collection::vec(1_usize..4000, 0..20),
            overlap in 0_usize..40,
            seed in any::<u64>(),
            datagrams in 1_usize..6,
            version in prop::sample::select(vec![V1, V2, DRAFT_29]),
        ) {
            let hello = client_hello(NAME, extra);
            let mut ends: Vec<_> = cuts.into_iter().filter(|&cut| cut < hello.len()).collect();
            ends.push(hello.len());
            ends.sort_unstable();
            ends.dedup();
            let mut from = 0_usize;
            let mut frames = Vec::new();
            for to in ends {
                let start = from.saturating_sub(overlap);
                frames.push(crypto(start, &hello[start..to]));
                from = to;
            }
            let mut random = Random(seed | 1);
            for i in (1..frames.len()).rev() {
                frames.swap(i, random.next() % (i + 1));
            }
            let share = frames.len().div_ceil(datagrams);
            let sealed: Vec<_> = frames.chunks(share).map(|part| seal(version, &part.concat())).collect();
            prop_assert_eq!(up(&sealed).0, [HELLO]);
        }
    }
}
