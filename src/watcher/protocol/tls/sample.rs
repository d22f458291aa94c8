//! Hellos to test with, and a player of the flow stage's part.

use std::fmt::Write;

use super::*;
use crate::types::Direction::{Down, Up};
use crate::watcher::protocol::ja4::JA4_LEN;
use crate::watcher::protocol::{HelloTransport, Protocol};

/// `ClientHello` of OpenSSL 3.0 for `chat.example`, offering h2 and http/1.1.
pub const OPENSSL_13: &str = "\
    160301014b0100014703038fae046e80310ddde7e53530d0cca076ac3fbbc9e073c40de24f02465105d2cd204a36\
    32d53a860e1f67151a8324c637521155cb49081e110ed94896136458f663003e130213031301c02cc030009fcca9\
    cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f\
    00ff010000c000000011000f00000c636861742e6578616d706c65000b000403000102000a00160014001d001700\
    1e0019001801000101010201030104002300000010000e000c02683208687474702f312e31001600000017000000\
    0d002a0028040305030603080708080809080a080b08040805080604010501060103030301030204020502060200\
    2b0009080304030303020301002d00020101003300260024001d00209794bb405bc22daf58e844699cec2bbe85c4\
    b62fe21090f7e3e34eafb7a3221d";

/// `ClientHello` of OpenSSL 3.0, TLS 1.2 at most and without a name.
pub const OPENSSL_12: &str = "\
    16030100b7010000b3030316166a4113b2e42a0a9972db44369259660d36464a4e2bfde3d45f32a04397ab000038\
    c02cc030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c\
    003d003c0035002f00ff01000052000b000403000102000a000c000a001d0017001e001900180023000000160000\
    00170000000d002a0028040305030603080708080809080a080b0804080508060401050106010303030103020402\
    05020602";

/// The answer to it: `ServerHello`, and a certificate with alternative names.
pub const SERVER_12: &str = "\
    16030300410200003d030383193510c951f4f3155b35c986e69040522bb37603fec728229ae8b470a68e4700c02c\
    000015ff01000100000b000403000102002300000017000016030301dc0b0001d80001d50001d2308201ce308201\
    75a0030201020214605be6f5740f27984cbfd40f7da50bc993e1b06d300a06082a8648ce3d040302301a31183016\
    06035504030c0f636e2e636861742e6578616d706c65301e170d3236313132333131323430345a170d3336313132\
    303131323430345a301a3118301606035504030c0f636e2e636861742e6578616d706c653059301306072a8648ce\
    3d020106082a8648ce3d030107034200049f941c6d97a60dcb615a83429f65f84328753afc6e25a05c600a3e6d5f\
    48d7d79149489330693ca6950fa48eb12a0fd51d9b4b53ac95f990f29e1e115520bd9ba38198308195301d060355\
    1d0e04160414df5a24a24fc5c91ac8035c16038cbf7e9cc5d13e301f0603551d23041830168014df5a24a24fc5c9\
    1ac8035c16038cbf7e9cc5d13e300f0603551d130101ff040530030101ff30420603551d11043b3039820c636861\
    742e6578616d706c65820e2a2e636861742e6578616d706c658704c000020181136e6f626f647940636861742e65\
    78616d706c65300a06082a8648ce3d040302034700304402204ec292e8e42ed063f5187ad4ed1921895d480a2892\
    275eb990d8ae5c6d17885702200b1a28a8907afcceb208dbc4de14b2428f96cc357a9a9f7377bdbf9e26796173";

/// Another, whose certificate has a common name only.
pub const SERVER_12_CN: &str = "\
    16030300410200003d030351d985bb41ef78f3a84fb4535cf03382512dc6ad6ab5ebfd51666aa3a22eee2d00c02c\
    000015ff01000100000b000403000102002300000017000016030301ba0b0001b60001b30001b0308201ac308201\
    53a003020102021466c6d18d689c4d14d62f4e4a39764abab7c2b515300a06082a8648ce3d040302302c3110300e\
    060355040a0c074578616d706c653118301606035504030c0f636e2e636861742e6578616d706c65301e170d3236\
    313132333131323430345a170d3336313132303131323430345a302c3110300e060355040a0c074578616d706c65\
    3118301606035504030c0f636e2e636861742e6578616d706c653059301306072a8648ce3d020106082a8648ce3d\
    03010703420004e6863e61f2e64a9f9fd0073b41251c47ed1da5f25ca22c22641d4a70649a942a8505e41df4813e\
    29667745e25354a6359e214e5429ff3fcaea72d2d11b0cca39a3533051301d0603551d0e04160414d2feb914295a\
    f34377677e8dd93c2e6927110dcb301f0603551d23041830168014d2feb914295af34377677e8dd93c2e6927110d\
    cb300f0603551d130101ff040530030101ff300a06082a8648ce3d040302034700304402201f3b96ad0e937bfbbe\
    ddbb1f9abbc8ca555f5893471a8f19e7322641e5b12e1302204c6720298027ce7495a587ce00bd481cd3341112c7\
    afa68add41b3420aea9006";

pub fn hex(text: &str) -> Vec<u8> {
    let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

pub fn vector(length_bytes: usize, inside: &[u8]) -> Vec<u8> {
    let length = u32::try_from(inside.len()).unwrap().to_be_bytes();
    [&length[4 - length_bytes..], inside].concat()
}

pub fn list(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

/// What a test hello offers.
#[derive(Clone, Debug)]
pub struct Offer {
    pub version: u16,
    pub session_id: usize,
    pub ciphers: Vec<u16>,
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl Offer {
    pub fn new(name: &str) -> Self {
        let this = Self {
            version: 0x0303,
            session_id: 32,
            ciphers: vec![0x1301, 0x1302, 0xc02f],
            extensions: vec![],
        };
        if name.is_empty() { this } else { this.name(name) }
    }

    pub fn with(mut self, kind: u16, body: Vec<u8>) -> Self {
        self.extensions.push((kind, body));
        self
    }

    pub fn name(self, name: &str) -> Self {
        let entry = [&[0][..], &vector(2, name.as_bytes())].concat();
        self.with(0x0000, vector(2, &entry))
    }

    pub fn alpn(self, names: &[&[u8]]) -> Self {
        let names: Vec<u8> = names.iter().flat_map(|n| vector(1, n)).collect();
        self.with(0x0010, vector(2, &names))
    }

    pub fn versions(self, versions: &[u16]) -> Self {
        self.with(0x002b, vector(1, &list(versions)))
    }

    /// What a present browser adds: GREASE, a post-quantum key share of 1,216 bytes, ECH.
    pub fn browser(self) -> Self {
        let mut this = self.with(0x1a1a, vec![]);
        this.ciphers.insert(0, 0x4a4a);
        let ech = [&[0, 0, 1, 0, 1, 7][..], &vector(2, &[5; 32]), &vector(2, &[6; 144])];
        this.versions(&[0x3a3a, 0x0304, 0x0303])
            .alpn(&[b"h2", b"http/1.1"])
            .with(0x000d, vector(2, &list(&[0x0403, 0x0804, 0x0401])))
            .with(0x0033, vector(2, &[&[0x11, 0xec][..], &vector(2, &[9; 1216])].concat()))
            .with(0xfe0d, ech.concat())
            .with(0xdada, vec![0])
    }

    pub fn message(&self) -> Vec<u8> {
        self.built(HelloTransport::Tls)
    }

    pub fn built(&self, transport: HelloTransport) -> Vec<u8> {
        let mut body = [&self.version.to_be_bytes()[..], &[0xaa; 32]].concat();
        body.extend(vector(1, &vec![0xbb; self.session_id]));
        if transport == HelloTransport::Dtls {
            body.extend(vector(1, &[0xcc; 20]));
        }
        body.extend(vector(2, &list(&self.ciphers)));
        body.extend([1, 0]);
        let extension =
            |(kind, body): &(u16, Vec<u8>)| [&kind.to_be_bytes()[..], &vector(2, body)].concat();
        let extensions: Vec<u8> = self.extensions.iter().flat_map(extension).collect();
        body.extend(vector(2, &extensions));
        let mut message = [&[CLIENT_HELLO][..], &vector(3, &body)].concat();
        if transport == HelloTransport::Dtls {
            let fragment = [&[0; 5][..], &message[1..4]].concat();
            message.splice(4..4, fragment);
        }
        message
    }

    pub fn record(&self) -> Vec<u8> {
        records(&self.message(), &[])
    }
}

/// Splits a message into records of the given sizes, the rest into the last.
pub fn records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut rest = message;
    let mut stream = vec![];
    for size in sizes.iter().copied().chain([1 << 14; 8]) {
        let (fragment, behind) = rest.split_at(size.min(rest.len()));
        if !fragment.is_empty() {
            stream.extend([&[HANDSHAKE, 3, 1][..], &vector(2, fragment)].concat());
        }
        rest = behind;
    }
    stream
}

pub fn record_of(kind: u8, length: usize) -> Vec<u8> {
    [&[kind, 3, 3][..], &vector(2, &vec![1; length])].concat()
}

pub fn server_hello(version: u16, random: [u8; 32], supported: Option<u16>) -> Vec<u8> {
    let mut body = [&version.to_be_bytes()[..], &random, &[0, 0x13, 0x01, 0]].concat();
    if let Some(version) = supported {
        let extension = [list(&[0x002b, 2, version])].concat();
        body.extend(vector(2, &extension));
    }
    records(&[&[SERVER_HELLO][..], &vector(3, &body)].concat(), &[])
}

/// What each side says in turn.
pub type Conversation = Vec<(Direction, Vec<u8>)>;

/// Plays the part of the flow stage: holds what a parser has not consumed, honours what it
/// wants, and writes down what it says.
pub struct Player {
    parser: Box<dyn StreamParser>,
    held: [Vec<u8>; 2],
    need: [usize; 2],
    skip: [usize; 2],
    pub deaf: [bool; 2],
    pub said: Vec<String>,
    pub turns: usize,
    pub end: Option<Then>,
    /// Bytes that each direction had consumed when TLS took over.
    pub handed_over: Option<[usize; 2]>,
    pub consumed: [usize; 2],
}

impl Player {
    pub fn new(parser: impl StreamParser + 'static) -> Self {
        Self {
            parser: Box::new(parser),
            held: [vec![], vec![]],
            need: [1; 2],
            skip: [0; 2],
            deaf: [false; 2],
            said: vec![],
            turns: 0,
            end: None,
            handed_over: None,
            consumed: [0; 2],
        }
    }

    pub fn push(&mut self, from: Direction, bytes: &[u8]) {
        self.held[from.index()].extend(bytes);
        self.run(from);
    }

    fn run(&mut self, from: Direction) {
        let at = from.index();
        loop {
            let skipped = self.skip[at].min(self.held[at].len());
            self.held[at].drain(..skipped);
            self.skip[at] -= skipped;
            let there = self.held[at].len();
            if self.end.is_some() || self.deaf[at] || there == 0 || there < self.need[at] {
                return;
            }
            self.turns += 1;
            let said = &mut self.said;
            let turn = self.parser.feed(from, &self.held[at], &mut |m| said.push(written(&m)));
            assert!(turn.consumed <= there);
            self.held[at].drain(..turn.consumed);
            self.consumed[at] += turn.consumed;
            self.need[at] = 1;
            match turn.then {
                Then::Need(n) => {
                    assert!(n > self.held[at].len(), "asks for what it was shown");
                    self.need[at] = n;
                    return;
                }
                Then::Skip(n) => {
                    assert!(n > 0);
                    self.skip[at] = usize::try_from(n).unwrap();
                }
                Then::Deaf => self.deaf[at] = true,
                Then::Handover(to) => {
                    assert_eq!((to, self.handed_over), (Some(Protocol::Tls), None));
                    self.handed_over = Some(self.consumed);
                    self.parser = Box::new(Tls::default());
                    self.need = [1; 2];
                    self.deaf = [false; 2];
                    self.run(Up);
                    self.run(Down);
                    return;
                }
                then @ (Then::Done | Then::NotThis(_)) => self.end = Some(then),
            }
        }
    }

    /// A hole in the capture.
    pub fn hole(&mut self, from: Direction) {
        self.cut(from);
        if !self.parser.gap(from) {
            self.end = Some(Then::Done);
        }
        self.held[from.index()].clear();
        self.need[from.index()] = 1;
    }

    fn cut(&mut self, from: Direction) {
        if self.end.is_none() && !self.deaf[from.index()] {
            let said = &mut self.said;
            let held = &self.held[from.index()];
            self.parser.cut(from, held, &mut |m| said.push(written(&m)));
        }
    }

    /// The end of the flow.
    pub fn ended(mut self) -> Self {
        self.cut(Up);
        self.cut(Down);
        self
    }
}

pub fn written(metadata: &Metadata<'_>) -> String {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    match metadata {
        Metadata::Hello(h) => {
            let mut line = h.server_name.map_or("-".into(), text);
            let mut room = [0; JA4_LEN];
            let ja4 = h.ja4(&mut room);
            let ja4 = ja4.get(..10).unwrap_or(ja4);
            write!(line, " {:04x} [{}] {ja4}", h.version, h.alpn).unwrap();
            let flags = [(h.ech.is_some(), " ech"), (h.esni, " esni"), (h.grease, " grease")];
            line.extend(flags.iter().filter(|f| f.0).map(|f| f.1));
            line
        }
        Metadata::ServerHello { version } => format!("server {version:04x}"),
        Metadata::CertificateName(name) => format!("certificate {}", text(name)),
        Metadata::Anomaly(name) => format!("anomaly {name}"),
        other => panic!("{other:?} from TLS"),
    }
}

/// Random numbers that are the same each time (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % n
    }

    /// Changes bytes, cuts, doubles or inserts.
    pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => {
                    let end = bytes.len().min(at + self.below(40));
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                2 => drop(bytes.drain(at..bytes.len().min(at + self.below(20)))),
                3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                4 => bytes[at] ^= 1 << self.below(8),
                _ => bytes[at] = u8::try_from(self.below(256)).unwrap(),
            }
        }
    }
}
