//! The `ClientHello` message: what a client says of itself before anything is encrypted.
//!
//! In: one handshake message, whole or cut. Out: [`ClientHello`]. Never: keeps randoms, session
//! ids or key shares; allocates. Limits: [`MESSAGE_MAX`], [`ALPN_MAX`].
//! Source: RFC 8446 §4.1.2 and §4.2, RFC 6066 §3 (names), RFC 7301 §3.1 (ALPN), RFC 9849 §5
//! (ECH), RFC 9147 §5.2 (DTLS header).

use super::{CLIENT_HELLO, MESSAGE_MAX};
use crate::watcher::protocol::ja4::{self, is_grease, values};
use crate::watcher::protocol::{ClientHello, EchOuter, HelloTransport};
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Room for the joined ALPN protocols, in bytes. Browsers offer 11; all that IANA lists for HTTP
/// take 30.
pub const ALPN_MAX: usize = 64;

/// Extension types, IANA "TLS `ExtensionType` Values".
const SERVER_NAME: u16 = 0x0000;
const SIGNATURE_ALGORITHMS: u16 = 0x000d;
const ALPN: u16 = 0x0010;
pub(super) const SUPPORTED_VERSIONS: u16 = 0x002b;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// Longest `legacy_session_id`, RFC 8446 §4.1.2.
const SESSION_ID_MAX: u8 = 32;

/// Room for the text of a hello that does not stand in the message as such.
#[derive(Clone, Debug)]
pub struct Scratch {
    alpn: [u8; ALPN_MAX],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { alpn: [0; ALPN_MAX] }
    }
}

/// Reads one whole `ClientHello`, `message` being the handshake message with its header of 4 bytes
/// (12 for DTLS, not fragmented).
///
/// Only the framing of the message can be wrong: an extension whose inside does not read counts as
/// present and empty, since servers that do not know it accept it too.
///
/// # Errors
/// `Short` or `Invalid` if the lengths contradict each other, `Limit` beyond [`MESSAGE_MAX`]. A
/// name may have been whole nonetheless: see [`partial_hello`].
pub fn client_hello<'a>(
    message: &'a [u8],
    transport: HelloTransport,
    scratch: &'a mut Scratch,
) -> Parsed<ClientHello<'a>> {
    if message.len() > MESSAGE_MAX {
        return Err(ParseError::limit("length"));
    }
    let mut fields = Fields::default();
    fields.read(message, transport)?;
    if u32::try_from(message.len()).is_ok_and(|there| there < fields.length) {
        return Err(ParseError::short("length"));
    }
    let offer = ja4::Offer {
        transport,
        version: fields.version,
        alpn: protocols(fields.alpn).next().unwrap_or_default(),
        ciphers: fields.ciphers,
        extensions: fields.extensions,
        signatures: fields.signatures,
    };
    Ok(fields.into_hello(transport, Some(offer), &mut scratch.alpn))
}

/// What a `ClientHello` that was cut or that breaks behind its name says up to there: `None` unless
/// a name stands wholly in `prefix`. The fingerprint is empty, for it needs all extensions.
pub fn partial_hello<'a>(
    prefix: &'a [u8],
    transport: HelloTransport,
    scratch: &'a mut Scratch,
) -> Option<ClientHello<'a>> {
    let mut fields = Fields::default();
    let _ = fields.read(prefix, transport);
    fields.server_name?;
    Some(fields.into_hello(transport, None, &mut scratch.alpn))
}

/// The server name of a `ClientHello` of which only `prefix` is there, if it stands wholly in it.
pub fn partial_name(prefix: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields::default();
    let _ = fields.read(prefix, HelloTransport::Tls);
    fields.server_name
}

/// The parts of a hello as far as they were read, so that what precedes a fault is not lost.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    length: u32,
    version: u16,
    ciphers: &'a [u8],
    extensions: &'a [u8],
    server_name: Option<&'a [u8]>,
    alpn: &'a [u8],
    signatures: &'a [u8],
    ech: Option<EchOuter>,
    esni: bool,
    grease: bool,
}

impl<'a> Fields<'a> {
    fn read(&mut self, message: &'a [u8], transport: HelloTransport) -> Parsed<()> {
        let (length, mut rest) = body(message, transport)?;
        self.length = length;
        self.version = rest.u16("legacy_version")?;
        rest.skip(32, "random")?;
        let session_id = rest.u8("legacy_session_id")?;
        if session_id > SESSION_ID_MAX {
            return Err(ParseError::invalid("legacy_session_id"));
        }
        rest.skip(session_id.into(), "legacy_session_id")?;
        if transport == HelloTransport::Dtls {
            let cookie = rest.u8("cookie")?;
            rest.skip(cookie.into(), "cookie")?;
        }
        let ciphers = rest.u16("cipher_suites")?;
        if ciphers % 2 != 0 {
            return Err(ParseError::invalid("cipher_suites"));
        }
        self.ciphers = rest.take(ciphers.into(), "cipher_suites")?;
        self.grease = values(self.ciphers).any(is_grease);
        let compression = rest.u8("legacy_compression_methods")?;
        rest.skip(compression.into(), "legacy_compression_methods")?;
        if rest.is_empty() {
            return Ok(()); // before TLS 1.3 the extensions may be absent as a whole
        }
        let length = usize::from(rest.u16("extensions")?);
        self.extensions = rest.rest().get(..length).unwrap_or(rest.rest());
        for extension in extensions(self.extensions) {
            let (kind, body) = extension?;
            self.extension(kind, body, transport);
        }
        match rest.len() {
            there if there < length => Err(ParseError::short("extensions")),
            there if there > length => Err(ParseError::invalid("extensions")),
            _ => Ok(()),
        }
    }

    fn extension(&mut self, kind: u16, body: &'a [u8], transport: HelloTransport) {
        self.grease |= is_grease(kind);
        match kind {
            SERVER_NAME => self.server_name = self.server_name.or_else(|| host_name(body)),
            ALPN => self.alpn = vector16(body),
            SIGNATURE_ALGORITHMS => self.signatures = vector16(body),
            SUPPORTED_VERSIONS => {
                self.version = highest(body, transport).unwrap_or(self.version);
            }
            ENCRYPTED_CLIENT_HELLO => self.ech = ech_outer(body).ok().flatten(),
            ENCRYPTED_SERVER_NAME => self.esni = true,
            _ => {}
        }
    }

    fn into_hello(
        self,
        transport: HelloTransport,
        offer: Option<ja4::Offer<'a>>,
        alpn: &'a mut [u8; ALPN_MAX],
    ) -> ClientHello<'a> {
        ClientHello {
            transport,
            server_name: self.server_name,
            alpn: joined(self.alpn, alpn),
            version: self.version,
            offer,
            ech: self.ech,
            esni: self.esni,
            grease: self.grease,
            length: self.length,
        }
    }
}

/// Length that the message claims to have, and a reader over its body: no further than it says,
/// and no further than the bytes are there.
fn body(message: &[u8], transport: HelloTransport) -> Parsed<(u32, Reader<'_>)> {
    let mut rest = Reader::new(message);
    if rest.u8("msg_type")? != CLIENT_HELLO {
        return Err(ParseError::invalid("msg_type"));
    }
    let declared = rest.u24("length")?;
    if transport == HelloTransport::Dtls {
        rest.skip(2, "message_seq")?;
        let offset = rest.u24("fragment_offset")?;
        if offset != 0 || rest.u24("fragment_length")? != declared {
            return Err(ParseError::invalid("fragment_offset"));
        }
    }
    let length = usize::try_from(declared).unwrap_or(usize::MAX);
    let header = u32::try_from(message.len().saturating_sub(rest.len())).unwrap_or(0);
    let body = Reader::new(rest.rest().get(..length).unwrap_or(rest.rest()));
    Ok((declared.saturating_add(header), body))
}

/// Type and body of each extension; an error ends it.
pub(super) fn extensions(block: &[u8]) -> impl Iterator<Item = Parsed<(u16, &[u8])>> {
    let mut rest = Reader::new(block);
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || rest.is_empty() {
            return None;
        }
        let one = extension(&mut rest);
        broken = one.is_err();
        Some(one)
    })
}

fn extension<'a>(rest: &mut Reader<'a>) -> Parsed<(u16, &'a [u8])> {
    let kind = rest.u16("extension_type")?;
    let length = rest.u16("extension_data")?;
    Ok((kind, rest.take(length.into(), "extension_data")?))
}

/// What a vector with a 16-bit length holds; empty if the length lies.
fn vector16(body: &[u8]) -> &[u8] {
    let mut rest = Reader::new(body);
    rest.u16("length").and_then(|n| rest.take(n.into(), "vector")).unwrap_or_default()
}

/// First `host_name` of a `ServerNameList` that is not empty, RFC 6066 §3.
fn host_name(body: &[u8]) -> Option<&[u8]> {
    let mut list = Reader::new(vector16(body));
    while let Ok(kind) = list.u8("name_type") {
        let length = list.u16("host_name").ok()?;
        let name = list.take(length.into(), "host_name").ok()?;
        if kind == 0 {
            return Some(name).filter(|n| !n.is_empty());
        }
    }
    None
}

/// Highest version of `supported_versions` (RFC 8446 §4.2.1); DTLS counts downwards.
fn highest(body: &[u8], transport: HelloTransport) -> Option<u16> {
    let offered = values(body.get(1..)?).filter(|&v| !is_grease(v));
    match transport {
        HelloTransport::Dtls => offered.min(),
        HelloTransport::Tls | HelloTransport::Quic => offered.max(),
    }
}

/// The outer form of `encrypted_client_hello`; `None` for the inner one.
fn ech_outer(body: &[u8]) -> Parsed<Option<EchOuter>> {
    let mut rest = Reader::new(body);
    if rest.u8("ech_type")? != 0 {
        return Ok(None);
    }
    let kdf = rest.u16("kdf_id")?;
    let aead = rest.u16("aead_id")?;
    let config_id = rest.u8("config_id")?;
    let enc_bytes = rest.u16("enc")?;
    rest.skip(enc_bytes.into(), "enc")?;
    let payload_bytes = rest.u16("payload")?;
    rest.skip(payload_bytes.into(), "payload")?;
    Ok(Some(EchOuter { config_id, kdf, aead, enc_bytes, payload_bytes }))
}

/// The names of a `ProtocolNameList` without its length, RFC 7301 §3.1.
fn protocols(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Reader::new(list);
    std::iter::from_fn(move || {
        let length = rest.u8("protocol_name").ok()?;
        rest.take(length.into(), "protocol_name").ok()
    })
}

/// Joins whole protocol names by commas as far as they fit; bytes that are not printable ASCII, or
/// are a comma, become `?`.
fn joined<'t>(list: &[u8], text: &'t mut [u8; ALPN_MAX]) -> &'t str {
    let mut used = 0_usize;
    for name in protocols(list) {
        let start = if used == 0 { 0 } else { used.saturating_add(1) };
        let end = start.saturating_add(name.len());
        let Some(room) = text.get_mut(start..end) else { break };
        for (to, &from) in room.iter_mut().zip(name) {
            *to = if from.is_ascii_graphic() && from != b',' { from } else { b'?' };
        }
        if start > used
            && let Some(comma) = text.get_mut(used)
        {
            *comma = b',';
        }
        used = end;
    }
    std::str::from_utf8(text.get(..used).unwrap_or_default()).unwrap_or("")
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;
    use tls_parser::{TlsExtension, TlsMessage, TlsMessageHandshake, parse_tls_plaintext};

    use super::super::RECORD_HEADER;
    use super::super::sample::{self, *};
    use super::*;
    use crate::watcher::protocol::Metadata;
    use crate::watcher::protocol::ja4::JA4_LEN;
    use sample::Offer;

    fn read(message: &[u8], transport: HelloTransport) -> String {
        match client_hello(message, transport, &mut Scratch::default()) {
            Ok(hello) => written(&Metadata::Hello(hello)),
            Err(error) => format!("{} {:?}", error.field, error.why),
        }
    }

    #[test]
    fn reads_hellos() {
        let b = || Offer::new("chat.example");
        let none = || Offer::new("");
        let ciphers = |n| Offer { ciphers: (0..n).collect(), ..b() };
        let extensions = |n| (1..n).fold(b(), |o, kind| o.with(0x5000 + kind, vec![]));
        let entry = |kind, name: &[u8]| [&[kind][..], &vector(2, name)].concat();
        let names = |e: &[Vec<u8>]| none().with(SERVER_NAME, vector(2, &e.concat()));
        let a60 = [b'a'; 60];
        let joined = format!("chat.example 0303 [{},hh] t12d0302aa", "a".repeat(60));
        let cases: [(&str, Offer, &str); 24] = [
            ("browser", b().browser(), "chat.example 0304 [h2,http/1.1] t13d0306h2 ech grease"),
            ("ESNI", b().with(0xffce, vec![1]), "chat.example 0303 [] t12d030200 esni"),
            ("name only", b(), "chat.example 0303 [] t12d030100"),
            ("nothing", none(), "- 0303 [] t12i030000"),
            ("99 ciphers are printed of 150", ciphers(150), "chat.example 0303 [] t12d990100"),
            ("no ciphers", ciphers(0), "chat.example 0303 [] t12d000100"),
            ("too many ciphers to sort", ciphers(1_001), "chat.example 0303 [] "),
            (
                "as many extensions as are sorted",
                extensions(256),
                "chat.example 0303 [] t12d039900",
            ),
            ("too many extensions to sort", extensions(257), "chat.example 0303 [] "),
            ("empty name", names(&[entry(0, b"")]), "- 0303 [] t12d030100"),
            (
                "name behind one of another type",
                names(&[entry(1, b"x"), entry(0, b"chat.example")]),
                "chat.example 0303 [] t12d030100",
            ),
            (
                "two names",
                names(&[entry(0, b"chat.example"), entry(0, b"b.example")]),
                "chat.example 0303 [] t12d030100",
            ),
            ("name twice", b().name("b.example"), "chat.example 0303 [] t12d030200"),
            (
                "list of names that lies",
                none().with(0, vec![0, 9, 0, 0, 1, 1]),
                "- 0303 [] t12d030100",
            ),
            (
                "ALPN of odd bytes",
                b().alpn(&[b"\xab\xcd", b"a,b"]),
                "chat.example 0303 [??,a?b] t12d0302ad",
            ),
            ("ALPN with no room for the last", b().alpn(&[&a60, b"hh", b"h3"]), &joined),
            (
                "highest version",
                b().versions(&[0x0301, 0x0304, 0x0303, 0x8a8a]),
                "chat.example 0304 [] t13d030200",
            ),
            ("only GREASE as version", b().versions(&[0x8a8a]), "chat.example 0303 [] t12d030200"),
            (
                "GREASE cipher",
                Offer { ciphers: vec![0xfafa, 1], ..b() },
                "chat.example 0303 [] t12d010100 grease",
            ),
            ("inner ECH", b().with(0xfe0d, vec![1]), "chat.example 0303 [] t12d030200"),
            ("broken ECH", b().with(0xfe0d, vec![0, 1]), "chat.example 0303 [] t12d030200"),
            ("SSL 3.0", Offer { version: 0x0300, ..none() }, "- 0300 [] ts3i030000"),
            ("no session id", Offer { session_id: 0, ..b() }, "chat.example 0303 [] t12d030100"),
            ("session id too long", Offer { session_id: 33, ..b() }, "legacy_session_id Invalid"),
        ];
        for (name, offer, expected) in cases {
            assert_eq!(read(&offer.message(), HelloTransport::Tls), expected, "{name}");
        }
        for (transport, expected) in [(HelloTransport::Quic, 'q'), (HelloTransport::Dtls, 'd')] {
            let offer = Offer { version: 0xfefd, ..b() };
            let offer = if expected == 'd' { offer } else { b() };
            let head = if expected == 'd' { "fefd [] dd2" } else { "0303 [] q12" };
            let message = offer.built(transport);
            assert_eq!(read(&message, transport), format!("chat.example {head}d030100"));
        }
    }

    #[test]
    fn fingerprints_recorded_hellos() {
        let cases = [
            (OPENSSL_13, "t13d3111h2_e8f1e7e78f70_1f22a2ca17c4"),
            (OPENSSL_12, "t12i280600_d943125447b4_e7e480e5a997"),
        ];
        for (sample, expected) in cases {
            let record = hex(sample);
            let mut scratch = Scratch::default();
            let hello = client_hello(&record[5..], HelloTransport::Tls, &mut scratch).unwrap();
            assert_eq!(hello.ja4(&mut [0; JA4_LEN]), expected);
            assert_eq!(hello.length as usize, record.len() - RECORD_HEADER);
        }
    }

    #[test]
    fn reads_the_outer_ech() {
        let message = Offer::new("public.example").browser().message();
        let mut scratch = Scratch::default();
        let hello = client_hello(&message, HelloTransport::Tls, &mut scratch).unwrap();
        let expected =
            EchOuter { config_id: 7, kdf: 1, aead: 1, enc_bytes: 32, payload_bytes: 144 };
        assert_eq!(hello.ech, Some(expected));
    }

    /// What each cut of a hello gives: nothing before the name is whole, then the name, and never
    /// an empty or shortened one.
    #[test]
    fn a_cut_hello_gives_its_name_as_soon_as_it_is_whole() {
        for offer in [Offer::new("chat.example"), Offer::new("chat.example").browser()] {
            let message = offer.message();
            let at = message.windows(12).position(|w| w == b"chat.example").unwrap();
            for end in 0..message.len() {
                let prefix = &message[..end];
                let expected = (end >= at + 12).then_some(&b"chat.example"[..]);
                assert_eq!(partial_name(prefix), expected, "{end} bytes");
                assert!(
                    client_hello(prefix, HelloTransport::Tls, &mut Scratch::default()).is_err()
                );
            }
            assert_eq!(partial_name(&message), Some(&b"chat.example"[..]));
        }
    }

    proptest! {
        /// The oracle reads what is built here just like this reader does.
        #[test]
        fn agrees_with_tls_parser(
            name in "[a-z]{1,20}\\.example",
            ciphers in prop::collection::vec(any::<u16>(), 1..60),
            protocols in prop::collection::vec("[!-+\\--~]{1,12}", 1..5),
            versions in prop::collection::vec(0x0301_u16..=0x0304, 1..5),
            shift in 0..4_usize,
            // The oracle counts what JA4 leaves out, and 0x5a5a is a decoy.
            other in (0x5000_u16..0x5fff).prop_filter("no decoy", |o| !is_grease(*o)),
        ) {
            let names: Vec<&[u8]> = protocols.iter().map(String::as_bytes).collect();
            let mut offer =
                Offer::new(&name).alpn(&names).versions(&versions).with(other, vec![1, 2, 3]);
            offer.ciphers = ciphers;
            offer.extensions.rotate_left(shift);
            let record = offer.record();

            let (_, plaintext) = parse_tls_plaintext(&record).unwrap();
            let [TlsMessage::Handshake(TlsMessageHandshake::ClientHello(oracle))] =
                &plaintext.msg[..]
            else {
                panic!("no hello")
            };
            let (_, extensions) =
                tls_parser::parse_tls_client_hello_extensions(oracle.ext.unwrap()).unwrap();

            let mut scratch = Scratch::default();
            let hello = client_hello(&record[5..], HelloTransport::Tls, &mut scratch).unwrap();
            for extension in &extensions {
                match extension {
                    TlsExtension::SNI(list) => prop_assert_eq!(hello.server_name, Some(list[0].1)),
                    TlsExtension::ALPN(list) => {
                        let mut all = list.iter().map(|p| String::from_utf8_lossy(p).into_owned());
                        let mut expected = all.next().unwrap();
                        for name in all.take_while(|_| true) {
                            if expected.len() + 1 + name.len() > ALPN_MAX {
                                break;
                            }
                            expected = expected + "," + &name;
                        }
                        prop_assert_eq!(hello.alpn, expected);
                    }
                    TlsExtension::SupportedVersions(list) => {
                        prop_assert_eq!(Some(hello.version), list.iter().map(|v| v.0).max());
                    }
                    _ => {}
                }
            }
            let counted = oracle.ciphers.iter().filter(|c| !is_grease(c.0)).count();
            let mut room = [0; JA4_LEN];
            let ja4 = hello.ja4(&mut room);
            prop_assert_eq!(&ja4[4..6], format!("{counted:02}"));
            prop_assert_eq!(&ja4[6..8], format!("{:02}", extensions.len()));
        }
    }

    #[test]
    fn spoiled_hellos_give_names_that_stand_in_them() {
        let mut dice = Dice::new(2);
        let samples = [
            Offer::new("chat.example").browser().message(),
            Offer::new("chat.example").alpn(&[b"h2"]).message(),
            hex(OPENSSL_13)[5..].to_vec(),
        ];
        let mut named = 0;
        for _ in 0..20_000 {
            let mut message = samples[dice.below(samples.len())].clone();
            dice.spoil(&mut message);
            let mut scratch = Scratch::default();
            let mut room = [0; JA4_LEN];
            let stands = |name: &[u8]| message.windows(name.len()).any(|w| w == name);
            match client_hello(&message, HelloTransport::Tls, &mut scratch) {
                Ok(hello) => {
                    let ja4 = hello.ja4(&mut room).len();
                    assert!(ja4 == JA4_LEN || ja4 == 0);
                    assert!(hello.server_name.is_none_or(stands));
                    assert_eq!(hello.server_name, partial_name(&message));
                    named += usize::from(hello.server_name.is_some());
                }
                Err(_) => assert!(partial_name(&message).is_none_or(stands)),
            }
        }
        assert!(named > 4_000, "only {named} were read at all");
    }
}
