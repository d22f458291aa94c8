//! DNS messages, one a datagram or behind a length in a TCP stream.
//!
//! In: UDP payloads or a TCP stream, either direction; on another port than a resolver's nothing is
//! told until a question and its answer, or [`PROOF`] messages, were strictly of this shape.
//! Out: questions of queries; of responses the code, addresses under the name of the question
//! (CNAMEs followed), and the public name of ECH configurations.
//! Never: reads authority or additional records, so that no unasked glue names an address.
//! Limits: 8 questions and 128 answer records a message, 8 CNAMEs in a chain, 64 compression
//! pointers a name, 4096 steps of comparing names a message; a name has at most 255 octets.
//! Source: RFC 1035 §4 (messages), RFC 2136 §2.2 (update), RFC 6891 (EDNS),
//! RFC 7766 §8 (TCP), RFC 9460 §2.2 (SVCB), RFC 9848 and RFC 9849 §4 (ECH).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{DatagramParser, DnsQuestion, Metadata, Out, StreamParser, Then, Turn};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Port of resolvers (RFC 1035 §4.2).
const RESOLVER: u16 = 53;

/// Octets of the fixed header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// Longest name on the wire, length octets and root included (RFC 1035 §2.3.4).
const NAME_WIRE_MAX: usize = 255;

/// Compression pointers followed in one name. Encoders use one or two; 127 labels, each behind
/// its own pointer, would be legal but nobody writes that.
const POINTERS_MAX: u32 = 64;

/// Questions read of one message. RFC 9619 allows one; mDNS asks a handful together.
const QUESTIONS_MAX: u16 = 8;

/// Answer records read of one message. The largest honest address sets have a few dozen; a
/// zone transfer has thousands, which are nobody's answers.
pub(super) const RECORDS_MAX: u16 = 128;

/// CNAMEs that one answer may chain. Resolvers themselves stop at 8 to 16.
const CHAIN_MAX: usize = 8;

/// Label comparisons in one message: a bound for crafted names that differ in the last label
/// only. 128 records of a chain of 8 names of 4 labels need as many.
const STEPS_MAX: u32 = 4096;

/// Unreadable messages in a row after which a flow is no longer taken for DNS. Some, because
/// port 53 carries a stray keep-alive or a cut datagram now and then.
const BAD_MAX: u8 = 4;

/// Messages of the strict shape, all there were, after which a flow on another port is DNS although
/// no two of them belong together: the capture may show one direction only.
pub const PROOF: usize = 3;

/// Longest message that is kept until then: what resolvers put in one datagram (DNS flag day 2020),
/// and some more for EDNS.
pub const KEPT_MAX: usize = 1_500;

/// Opcode of dynamic update, whose sections hold a zone and changes to it in place of a question
/// and answers (RFC 2136 §2.2). Every other opcode asks for what stands in its question.
const UPDATE: u16 = 5;

/// Record types (RFC 1035 §3.2.2, RFC 3596 §2.1, RFC 9460 §14.1).
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;

/// Class IN (RFC 1035 §3.2.4).
const IN: u16 = 1;

/// Not part of the class in a record of mDNS: it replaces what is known (RFC 6762 §10.2).
const CACHE_FLUSH: u16 = 0x8000;

/// Key of the service parameter `ech` (RFC 9848 §3).
const SVC_PARAM_ECH: u16 = 5;

/// Version of an ECH configuration (RFC 9849 §4).
const ECH_VERSION: u16 = 0xfe0d;

/// DNS over UDP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dns {
    bad: u8,
}

/// DNS of one flow. Over TCP each message stands behind its length in two octets (RFC 7766 §8).
#[derive(Debug, Default)]
pub struct DnsFlow {
    bad: u8,
    doubt: Option<Doubt>,
}

/// What waits for the proof that a flow is DNS.
#[derive(Debug, Default)]
struct Doubt {
    kept: Vec<Box<[u8]>>,
}

impl Doubt {
    /// `true` if the flow is proven with this message. Until then it is kept.
    fn weigh(&mut self, message: &[u8]) -> Parsed<bool> {
        if !looks_like(message) {
            return Err(ParseError::invalid("message"));
        }
        if self.kept.len().saturating_add(1) >= PROOF || self.kept.iter().any(|m| pair(m, message))
        {
            return Ok(true);
        }
        if message.len() > KEPT_MAX {
            return Err(ParseError::limit("message"));
        }
        self.kept.push(message.into());
        Ok(false)
    }
}

/// `true` if one of these messages of sound shape answers the other.
fn pair(one: &[u8], other: &[u8]) -> bool {
    let parts = |message: &[u8]| {
        let (header, behind) = sound_question(message)?;
        let end = message.len().saturating_sub(behind);
        Some((header, message.get(HEADER..end)?.to_ascii_lowercase()))
    };
    match (parts(one), parts(other)) {
        (Some((a, asked)), Some((b, answered))) => {
            a.id == b.id && a.response() != b.response() && asked == answered
        }
        _ => false,
    }
}

impl DnsFlow {
    /// DNS is expected here if the server's port is a resolver's.
    pub fn on(port: u16) -> Self {
        Self { bad: 0, doubt: (port != RESOLVER).then(Doubt::default) }
    }

    /// Bytes of memory behind this value.
    pub fn memory(&self) -> usize {
        self.doubt.iter().flat_map(|d| &d.kept).map(|m| m.len()).sum()
    }

    /// Reads a message, or keeps it while nobody knows whether it is one.
    fn take(&mut self, bytes: &[u8], out: &mut Out<'_>) -> Parsed<()> {
        if let Some(doubt) = &mut self.doubt {
            if !doubt.weigh(bytes)? {
                return Ok(());
            }
            let kept = std::mem::take(&mut doubt.kept);
            self.doubt = None;
            for earlier in kept {
                judged(&earlier, &mut self.bad, out)?;
            }
        }
        judged(bytes, &mut self.bad, out)
    }
}

impl DatagramParser for DnsFlow {
    fn datagram(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        self.take(bytes, out).map_or_else(Then::NotThis, |()| Then::Need(1))
    }
}

impl DatagramParser for Dns {
    fn datagram(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        match judged(bytes, &mut self.bad, out) {
            Ok(()) => Then::Need(1),
            Err(error) => Then::NotThis(error),
        }
    }
}

impl StreamParser for DnsFlow {
    fn feed(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
        let mut rest = Reader::new(bytes);
        loop {
            let consumed = bytes.len().saturating_sub(rest.len());
            let Some((message, need)) = framed(&mut rest) else {
                return Turn { consumed, then: Then::Need(2) };
            };
            // The same whether it is whole or not: how it was cut must not decide.
            let begun = message.or_else(|| rest.rest().get(2..)).unwrap_or_default();
            let sound = hopeful(begun, need).and_then(|()| match message {
                Some(message) => self.take(message, out),
                None => Ok(()),
            });
            match (sound, message) {
                (Err(error), _) => return Turn { consumed, then: Then::NotThis(error) },
                (Ok(()), None) => {
                    // The header first, which may end it.
                    let need = if begun.len() < HEADER { need.min(2 + HEADER) } else { need };
                    return Turn { consumed, then: Then::Need(need) };
                }
                (Ok(()), Some(_)) => {}
            }
        }
    }
}

/// One message behind its length: `None` without a length, no message while it is not whole.
/// The number is what length and message take together.
fn framed<'a>(rest: &mut Reader<'a>) -> Option<(Option<&'a [u8]>, usize)> {
    let mut ahead = *rest;
    let length = usize::from(ahead.u16("length").ok()?);
    let message = ahead.take(length, "message").ok();
    if message.is_some() {
        *rest = ahead;
    }
    Some((message, length.saturating_add(2)))
}

/// An error if the header of a message, as far as it is there, announces more than can fit in `size`
/// octets with its length: waiting for 64 KiB of something else would be in vain.
fn hopeful(begun: &[u8], size: usize) -> Parsed<()> {
    let Ok((header, _)) = Header::read(begun) else { return Ok(()) };
    // A question has at least a root name, type and class.
    let least = u64::from(header.questions).saturating_mul(5).saturating_add(header.least());
    if least > size as u64 { Err(ParseError::invalid("counts")) } else { Ok(()) }
}

/// Reads a message and keeps count of those in a row that do not look like DNS at all. One that
/// breaks off behind a sound question, as short snap lengths make them, is not held against it.
fn judged(bytes: &[u8], bad: &mut u8, out: &mut Out<'_>) -> Parsed<()> {
    match message(bytes, out) {
        Err(error) if sound_question(bytes).is_none() => {
            *bad = bad.saturating_add(1);
            if *bad >= BAD_MAX { Err(error) } else { Ok(()) }
        }
        _ => {
            *bad = 0;
            Ok(())
        }
    }
}

/// Reads one DNS message.
///
/// What stood before the first fault has been put out when an error is returned.
///
/// # Errors
/// `Short` if the message ends inside a field, `Invalid` for a name that cannot be one, `Limit`
/// for more questions, records or comparisons than are read.
pub fn message(bytes: &[u8], out: &mut Out<'_>) -> Parsed<()> {
    let (header, mut cursor) = Header::read(bytes)?;
    if header.response() {
        response(header, &mut cursor, out)
    } else {
        query(header, &mut cursor, out)
    }
}

/// Who sends a message, by its header (RFC 1035 §4.1.1, QR).
pub fn speaker(message: &[u8]) -> Direction {
    let answers = message.get(2).is_some_and(|flags| flags & 0x80 != 0);
    if answers { Direction::Down } else { Direction::Up }
}

/// `true` if the bytes have the strict shape of a DNS query or response, whatever the port.
///
/// Asks for one question with a host-like name, opcode QUERY, a clear Z bit, and counts that fit
/// the length: random bytes pass about once in 2^40.
pub fn looks_like(bytes: &[u8]) -> bool {
    sound_question(bytes).is_some_and(|(header, rest)| {
        if header.response() {
            rest as u64 >= header.least()
        } else {
            header.flags & Header::ONLY_IN_RESPONSES == 0
                && (header.answers, header.authorities) == (0, 0)
                && if header.additionals == 0 { rest == 0 } else { rest as u64 >= header.least() }
        }
    })
}

/// The header, and the number of octets behind the question, if both are as resolvers write them.
fn sound_question(bytes: &[u8]) -> Option<(Header, usize)> {
    let (header, mut cursor) = Header::read(bytes).ok()?;
    let mut name = Name::new();
    let question = cursor.question(&mut name).ok()?;
    let plain = |&b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'*');
    let sound = header.opcode() == 0
        && header.flags & Header::Z == 0
        && header.questions == 1
        && question.rtype != 0
        && matches!(question.class, IN | 3 | 4 | 254 | 255)
        && name.text()?.iter().all(plain);
    sound.then_some((header, bytes.len().saturating_sub(cursor.at)))
}

/// Whether a TCP stream starts with a length and a message of the shape that [`looks_like`] asks
/// for; `None` while it may.
pub fn looks_like_tcp(bytes: &[u8]) -> Option<bool> {
    let (message, need) = framed(&mut Reader::new(bytes))?;
    if let Some(message) = message {
        return Some(looks_like(message));
    }
    // The question stands in front, the shape of the header decides before the rest is there.
    let begun = bytes.get(2..).unwrap_or_default();
    // Opcode 0, no Z bit, one question: what nearly all bytes of others are not.
    let is = |at: usize, fits: fn(u8) -> bool| begun.get(at).is_none_or(|octet| fits(*octet));
    let plain = is(2, |flags| flags & 0x78 == 0)
        && is(3, |more| more & 0x40 == 0)
        && is(4, |high| high == 0)
        && is(5, |low| low == 1);
    let question = begun.get(2).is_none_or(|flags| flags & 0x80 == 0);
    let empty =
        begun.get(6..10.min(begun.len())).is_none_or(|counts| counts.iter().all(|n| *n == 0));
    let plain = plain && (empty || !question) && is(HEADER, |label| (1..=63).contains(&label));
    let fits = need > 2 + HEADER && hopeful(begun, need).is_ok();
    if plain && fits { None } else { Some(false) }
}

fn query(header: Header, cursor: &mut Cursor<'_>, out: &mut Out<'_>) -> Parsed<()> {
    for _ in 0..header.questions.min(QUESTIONS_MAX) {
        let mut name = Name::new();
        let question = cursor.question(&mut name)?;
        if header.opcode() != UPDATE {
            match name.text() {
                Some(name) => out(Metadata::DnsQuery(DnsQuestion {
                    id: header.id,
                    name,
                    rtype: question.rtype,
                })),
                None => out(Metadata::Anomaly(DOT_IN_LABEL)),
            }
        }
    }
    within(header.questions, QUESTIONS_MAX, "question")
}

/// Name under which a label that holds a dot is counted: as text it would be two labels.
pub(super) const DOT_IN_LABEL: &str = "dns_dot_in_label";

fn response(header: Header, cursor: &mut Cursor<'_>, out: &mut Out<'_>) -> Parsed<()> {
    if header.opcode() == UPDATE || header.questions == 0 {
        return Ok(());
    }
    let asked_at = cursor.at;
    let mut name = Name::new();
    let question = cursor.question(&mut name)?;
    let Some(text) = name.text() else {
        out(Metadata::Anomaly(DOT_IN_LABEL));
        return Ok(());
    };
    let question = DnsQuestion { id: header.id, name: text, rtype: question.rtype };
    out(Metadata::DnsResponse { question, rcode: header.rcode() });
    within(header.questions, QUESTIONS_MAX, "question")?;
    for _ in 1..header.questions {
        cursor.question(&mut Name::new())?;
    }

    let mut names = Comparison { message: cursor.message, steps_left: STEPS_MAX };
    let chain = Chain::read(asked_at, header.answers, *cursor, &mut names)?;
    for _ in 0..header.answers.min(RECORDS_MAX) {
        let record = cursor.record()?;
        let addr = record.address();
        let public_name = ech_public_name(&record);
        if addr.is_none() && public_name.is_none() {
            continue;
        }
        let Some(ttl_s) = chain.ttl_s(record.owner_at, &mut names)? else { continue };
        let ttl_s = ttl_s.min(record.ttl_s);
        if let Some(addr) = addr {
            out(Metadata::DnsAddress { question, addr, ttl_s });
        }
        if let Some(public_name) = public_name {
            out(Metadata::DnsEch { question, public_name, ttl_s });
        }
    }
    within(header.answers, RECORDS_MAX, "answer")
}

/// An error if `count` is more than is read.
pub(super) fn within(count: u16, limit: u16, field: &'static str) -> Parsed<()> {
    if count > limit { Err(ParseError::limit(field)) } else { Ok(()) }
}

/// `public_name` of the first ECH configuration of the known version in an SVCB or HTTPS record,
/// if it has one that is whole.
fn ech_public_name<'m>(record: &Record<'m>) -> Option<&'m [u8]> {
    if !matches!(record.rtype, SVCB | HTTPS) || !record.of_internet() {
        return None;
    }
    let mut rdata = Reader::new(record.rdata);
    // The target is never compressed (RFC 9460 §2.2); in alias mode nothing follows it.
    rdata.skip(2, "SvcPriority").ok()?;
    loop {
        let length = usize::from(rdata.u8("TargetName").ok()?);
        if length == 0 {
            break;
        }
        rdata.skip(length, "TargetName").ok()?;
    }
    loop {
        let key = rdata.u16("SvcParamKey").ok()?;
        let length = usize::from(rdata.u16("SvcParamValue").ok()?);
        let value = rdata.sub(length, "SvcParamValue").ok()?;
        if key == SVC_PARAM_ECH {
            return ech_config_list(value).ok().flatten();
        }
    }
}

/// The `ECHConfigList` of RFC 9849 §4.
fn ech_config_list(mut value: Reader<'_>) -> Parsed<Option<&[u8]>> {
    let length = usize::from(value.u16("ECHConfigList")?);
    let mut list = value.sub(length, "ECHConfigList")?;
    while !list.is_empty() {
        let version = list.u16("ECHConfig.version")?;
        let length = usize::from(list.u16("ECHConfig.length")?);
        let mut config = list.sub(length, "ECHConfigContents")?;
        if version != ECH_VERSION {
            continue;
        }
        config.skip(3, "config_id, kem_id")?;
        let length = usize::from(config.u16("public_key")?);
        config.skip(length, "public_key")?;
        let length = usize::from(config.u16("cipher_suites")?);
        config.skip(length, "cipher_suites")?;
        config.skip(1, "maximum_name_length")?;
        let length = usize::from(config.u8("public_name")?);
        return config.take(length, "public_name").map(Some);
    }
    Ok(None)
}

/// Names that stand for the question: itself first, then along its CNAMEs.
struct Chain {
    /// Offset of each name, and the lowest TTL of the CNAMEs up to it.
    names: [(usize, u32); CHAIN_MAX],
    len: usize,
}

impl Chain {
    /// Follows the CNAMEs of the answer section, in whatever order they stand there.
    fn read(
        asked_at: usize,
        answers: u16,
        mut cursor: Cursor<'_>,
        names: &mut Comparison<'_>,
    ) -> Parsed<Self> {
        let mut links = [(0, 0, 0); CHAIN_MAX];
        let mut count = 0_usize;
        for _ in 0..answers.min(RECORDS_MAX) {
            // The records in front of a fault still count; the caller meets it again.
            let Ok(record) = cursor.record() else { break };
            if record.rtype == CNAME
                && record.of_internet()
                && record.is_a_name()
                && let Some(link) = links.get_mut(count)
            {
                *link = (record.owner_at, record.rdata_at, record.ttl_s);
                count = count.saturating_add(1);
            }
        }
        let mut chain = Self { names: [(asked_at, u32::MAX); CHAIN_MAX], len: 1 };
        let links = links.get(..count).unwrap_or_default();
        let mut end = (asked_at, u32::MAX);
        while let Some(next) = chain.names.get_mut(chain.len) {
            let Some(&(_, target, ttl_s)) = names.find(links, |link| link.0, end.0)? else { break };
            end = (target, ttl_s.min(end.1));
            *next = end;
            chain.len = chain.len.saturating_add(1);
        }
        Ok(chain)
    }

    /// Lowest TTL of the CNAMEs between the question and `owner_at`; `None` if that name was
    /// neither asked for nor reached.
    fn ttl_s(&self, owner_at: usize, names: &mut Comparison<'_>) -> Parsed<Option<u32>> {
        let chain = self.names.get(..self.len).unwrap_or_default();
        Ok(names.find(chain, |name| name.0, owner_at)?.map(|name| name.1))
    }
}

/// Compares names where they stand, with a bound for the whole message.
struct Comparison<'m> {
    message: &'m [u8],
    steps_left: u32,
}

impl<'m> Comparison<'m> {
    /// The first item whose name (at the offset that `at` gives) equals the one at `sought`.
    fn find<'i, T>(
        &mut self,
        items: &'i [T],
        at: impl Fn(&T) -> usize,
        sought: usize,
    ) -> Parsed<Option<&'i T>> {
        for item in items {
            if self.same(at(item), sought)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// `true` if the names at two offsets are equal, letter case aside. Names that end in the
    /// same pointer are equal from there on, which is how nearly all of them are written.
    fn same(&mut self, mut left: usize, mut right: usize) -> Parsed<bool> {
        loop {
            let (Some(l), Some(r)) = (self.label(&mut left)?, self.label(&mut right)?) else {
                return Ok(false);
            };
            if l.as_ptr() == r.as_ptr() {
                return Ok(true);
            }
            if !l.eq_ignore_ascii_case(r) {
                return Ok(false);
            }
            if l.is_empty() {
                return Ok(true);
            }
        }
    }

    /// The label at `at` behind any pointers, and moves on; `None` if there is none.
    fn label(&mut self, at: &mut usize) -> Parsed<Option<&'m [u8]>> {
        loop {
            self.steps_left =
                self.steps_left.checked_sub(1).ok_or(ParseError::limit("name comparison"))?;
            let mut reader = Reader::new(self.message.get(*at..).unwrap_or_default());
            match Piece::read(&mut reader) {
                Ok(Piece::Label(label)) => {
                    *at = self.message.len().saturating_sub(reader.len());
                    return Ok(Some(label));
                }
                Ok(Piece::Pointer(target)) => *at = target,
                Err(_) => return Ok(None),
            }
        }
    }
}

/// The fixed header.
#[derive(Clone, Copy)]
pub(super) struct Header {
    id: u16,
    flags: u16,
    pub(super) questions: u16,
    pub(super) answers: u16,
    authorities: u16,
    additionals: u16,
}

impl Header {
    /// The reserved bit (RFC 1035 §4.1.1, as narrowed by RFC 4035 §3.2).
    const Z: u16 = 0x0040;
    /// AA, TC, RA and the code mean nothing in a query.
    const ONLY_IN_RESPONSES: u16 = 0x068f;

    pub(super) fn read(message: &[u8]) -> Parsed<(Self, Cursor<'_>)> {
        let mut r = Reader::new(message);
        let header = Self {
            id: r.u16("ID")?,
            flags: r.u16("flags")?,
            questions: r.u16("QDCOUNT")?,
            answers: r.u16("ANCOUNT")?,
            authorities: r.u16("NSCOUNT")?,
            additionals: r.u16("ARCOUNT")?,
        };
        Ok((header, Cursor { message, at: HEADER }))
    }

    /// Octets that the announced records take at least: root name, type, class, TTL, no data.
    fn least(self) -> u64 {
        u64::from(self.answers)
            .saturating_add(u64::from(self.authorities))
            .saturating_add(u64::from(self.additionals))
            .saturating_mul(11)
    }

    /// Records in all sections together.
    pub(super) fn records(self) -> u16 {
        self.answers.saturating_add(self.authorities).saturating_add(self.additionals)
    }

    pub(super) fn response(self) -> bool {
        self.flags & 0x8000 != 0
    }

    pub(super) fn opcode(self) -> u16 {
        self.flags >> 11 & 0xf
    }

    pub(super) fn rcode(self) -> u8 {
        self.flags.to_be_bytes()[1] & 0xf
    }
}

/// Type and class of a question.
pub(super) struct Question {
    pub(super) rtype: u16,
    class: u16,
}

/// A resource record; its owner is read where it is needed.
pub(super) struct Record<'m> {
    pub(super) owner_at: usize,
    pub(super) rtype: u16,
    class: u16,
    ttl_s: u32,
    pub(super) rdata: &'m [u8],
    rdata_at: usize,
}

impl Record<'_> {
    /// Class IN, the cache-flush bit of mDNS aside.
    fn of_internet(&self) -> bool {
        self.class & !CACHE_FLUSH == IN
    }

    /// Data is one name and no more.
    fn is_a_name(&self) -> bool {
        let mut r = Reader::new(self.rdata);
        Piece::pass_name(&mut r).is_ok() && r.is_empty()
    }

    /// The address in an A or AAAA record of class IN.
    pub(super) fn address(&self) -> Option<IpAddr> {
        if !self.of_internet() {
            return None;
        }
        match self.rtype {
            A => <[u8; 4]>::try_from(self.rdata).ok().map(|a| Ipv4Addr::from(a).into()),
            AAAA => <[u8; 16]>::try_from(self.rdata).ok().map(|a| Ipv6Addr::from(a).into()),
            _ => None,
        }
    }
}

/// Walks the sections of a message; copies where it stands.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Cursor<'m> {
    pub(super) fn question(&mut self, name: &mut Name) -> Parsed<Question> {
        let mut r = self.behind(name.read(self.message, self.at)?);
        let question = Question { rtype: r.u16("QTYPE")?, class: r.u16("QCLASS")? };
        self.at = self.position(&r);
        Ok(question)
    }

    /// The next record, if it stands wholly in the bytes.
    pub(super) fn record(&mut self) -> Parsed<Record<'m>> {
        let owner_at = self.at;
        let mut r = self.behind(self.at);
        Piece::pass_name(&mut r)?;
        let (rtype, class, ttl_s) = (r.u16("TYPE")?, r.u16("CLASS")?, r.u32("TTL")?);
        let length = usize::from(r.u16("RDLENGTH")?);
        let rdata_at = self.position(&r);
        let rdata = r.take(length, "RDATA")?;
        self.at = self.position(&r);
        Ok(Record { owner_at, rtype, class, ttl_s, rdata, rdata_at })
    }

    /// The name at an offset.
    pub(super) fn name(&self, at: usize) -> Parsed<Name> {
        let mut name = Name::new();
        name.read(self.message, at)?;
        Ok(name)
    }

    fn behind(&self, at: usize) -> Reader<'m> {
        Reader::new(self.message.get(at..).unwrap_or_default())
    }

    fn position(&self, r: &Reader<'_>) -> usize {
        self.message.len().saturating_sub(r.len())
    }
}

/// A label, empty for the root, or a compression pointer (RFC 1035 §4.1.4).
enum Piece<'m> {
    Label(&'m [u8]),
    Pointer(usize),
}

impl<'m> Piece<'m> {
    /// Moves behind a name, without going where its pointer leads.
    fn pass_name(r: &mut Reader<'m>) -> Parsed<()> {
        while let Piece::Label([_, ..]) = Self::read(r)? {}
        Ok(())
    }

    fn read(r: &mut Reader<'m>) -> Parsed<Self> {
        let length = r.u8("name")?;
        match length >> 6 {
            0 => r.take(usize::from(length), "label").map(Piece::Label),
            3 => {
                let low = r.u8("compression pointer")?;
                let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                Ok(Piece::Pointer(target))
            }
            _ => Err(ParseError::invalid("label type")),
        }
    }
}

/// A name in text form on the stack: labels as they stood, joined by dots.
pub(super) struct Name {
    text: [u8; NAME_WIRE_MAX],
    len: usize,
    dot_in_label: bool,
}

impl Name {
    pub(super) const fn new() -> Self {
        Self { text: [0; NAME_WIRE_MAX], len: 0, dot_in_label: false }
    }

    /// Text without final dot, `.` for the root; `None` if it would read as other labels.
    pub(super) fn text(&self) -> Option<&[u8]> {
        let text = self.text.get(..self.len)?;
        let text = text.strip_suffix(b".").unwrap_or(text);
        (!self.dot_in_label).then_some(if text.is_empty() { b"." } else { text })
    }

    /// Reads a name that stands alone, neither compressed nor necessarily ended by the root, as
    /// DHCP has them (RFC 4704 §4.2).
    pub(super) fn read_alone(&mut self, bytes: &[u8]) -> Parsed<()> {
        let mut r = Reader::new(bytes);
        while !r.is_empty() {
            match Piece::read(&mut r)? {
                Piece::Label([]) => break,
                Piece::Label(label) => self.push(label)?,
                Piece::Pointer(_) => return Err(ParseError::invalid("label type")),
            }
        }
        Ok(())
    }

    /// Reads the name at `at`; the answer is the offset behind it. Pointers should lead backwards
    /// (RFC 1035 §4.1.4), but common resolvers follow others too; what goes round meets the limit.
    fn read(&mut self, message: &[u8], at: usize) -> Parsed<usize> {
        let mut r = Reader::new(message.get(at..).unwrap_or_default());
        let mut end = None;
        let mut pointers_left = POINTERS_MAX;
        loop {
            let piece = Piece::read(&mut r)?;
            let here = message.len().saturating_sub(r.len());
            match piece {
                Piece::Label([]) => return Ok(end.unwrap_or(here)),
                Piece::Label(label) => self.push(label)?,
                Piece::Pointer(target) => {
                    if target < HEADER {
                        return Err(ParseError::invalid("compression pointer"));
                    }
                    pointers_left = pointers_left
                        .checked_sub(1)
                        .ok_or(ParseError::limit("compression pointer"))?;
                    end = end.or(Some(here));
                    r = Reader::new(message.get(target..).unwrap_or_default());
                }
            }
        }
    }

    /// Appends a label and a dot: as many octets as on the wire, so the root's must still fit.
    fn push(&mut self, label: &[u8]) -> Parsed<()> {
        const TOO_LONG: ParseError = ParseError::invalid("name");
        let len = self.len.saturating_add(label.len()).saturating_add(1);
        if len >= NAME_WIRE_MAX {
            return Err(TOO_LONG);
        }
        let (dot, to) =
            self.text.get_mut(self.len..len).and_then(<[u8]>::split_last_mut).ok_or(TOO_LONG)?;
        to.copy_from_slice(label);
        *dot = b'.';
        self.dot_in_label |= label.contains(&b'.');
        self.len = len;
        Ok(())
    }
}

/// What the tests of the parsers beside this one share: a stream in pieces, damage, and metadata
/// as lines of text.
#[cfg(test)]
pub(super) mod trial {
    use super::super::{DatagramParser, Metadata, Out, StreamParser, Then};
    use crate::types::Direction;
    use crate::watcher::wire::ParseError;

    fn text(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }

    /// One line for one thing that was said.
    pub fn line(said: &Metadata<'_>) -> String {
        match said {
            Metadata::DnsQuery(q) => format!("{} asks {} {}", q.id, text(q.name), q.rtype),
            Metadata::DnsResponse { question: q, rcode } => {
                format!("{} code {rcode} {} {}", q.id, text(q.name), q.rtype)
            }
            Metadata::DnsAddress { question: q, addr, ttl_s } => {
                format!("{} {} = {addr} for {ttl_s} s", q.id, text(q.name))
            }
            Metadata::DnsEch { question: q, public_name, ttl_s } => {
                format!("{} {} ech {} for {ttl_s} s", q.id, text(q.name), text(public_name))
            }
            Metadata::LocalName(n) => {
                let verb = if n.announced { "is" } else { "wanted" };
                let addr = n.addr.map(|a| format!(" {a}")).unwrap_or_default();
                format!("{:?} {verb} {}{addr}", n.protocol, text(n.name))
            }
            Metadata::Account { source, user, domain } => {
                format!("{source:?} {} of {}", text(user), text(domain))
            }
            Metadata::Anomaly(what) => format!("odd: {what}"),
            other => format!("{other:?}"),
        }
    }

    /// Every line that a reader puts out.
    pub fn lines<T>(read: impl FnOnce(&mut Out<'_>) -> T) -> (Vec<String>, T) {
        let mut seen = Vec::new();
        let answer = read(&mut |said| seen.push(line(&said)));
        (seen, answer)
    }

    /// What a datagram parser says to one datagram.
    pub fn datagram(parser: &mut impl DatagramParser, bytes: &[u8]) -> (Vec<String>, Then) {
        lines(|out| parser.datagram(Direction::Up, bytes, out))
    }

    /// Feeds a stream that arrives in pieces which end at `cuts`, keeping the contract of
    /// `Then` as the flow stage does; also proves that the parser keeps it.
    pub fn stream(
        parser: &mut impl StreamParser,
        bytes: &[u8],
        cuts: &[usize],
    ) -> (Vec<String>, Option<ParseError>) {
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut fault = None;
        let (seen, ()) = lines(|out| {
            let (mut start, mut need, mut skip) = (0_usize, 1_usize, 0_u64);
            'pieces: for end in cuts {
                loop {
                    let passed = skip.min((end - start.min(end)) as u64);
                    start += usize::try_from(passed).unwrap();
                    skip -= passed;
                    if skip > 0 || end - start < need || end == start {
                        continue 'pieces;
                    }
                    let turn = parser.feed(Direction::Up, &bytes[start..end], out);
                    assert!(turn.consumed <= end - start, "consumed what was not there");
                    start += turn.consumed;
                    need = 1;
                    match turn.then {
                        Then::Need(n) => {
                            assert!(n > end - start, "asks for what it has");
                            need = n;
                        }
                        Then::Skip(n) => {
                            assert!(n > 0 || turn.consumed > 0, "no progress");
                            skip = n;
                        }
                        Then::NotThis(error) => {
                            fault = Some(error);
                            break 'pieces;
                        }
                        _ => break 'pieces,
                    }
                }
            }
        });
        (seen, fault)
    }

    /// A small generator, so that every damaged message can be made again from its number.
    pub struct Dice(u64);

    impl Dice {
        pub fn new(seed: u64) -> Self {
            Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
        }

        pub fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % n.max(1)
        }
    }

    /// `bytes` with up to four faults: flipped, lost, doubled or extreme octets, a cut.
    pub fn damaged(bytes: &[u8], seed: u64) -> Vec<u8> {
        let mut dice = Dice::new(seed);
        let mut damaged = bytes.to_vec();
        for _ in 0..=dice.below(4) {
            let at = dice.below(damaged.len());
            match dice.below(6) {
                _ if damaged.is_empty() => damaged.push(0xc0),
                0 => damaged.truncate(at),
                1 => drop(damaged.remove(at)),
                2 => damaged.insert(at, damaged[at]),
                3 => damaged[at] = [0, 1, 0x7f, 0x80, 0xc0, 0xff][dice.below(6)],
                _ => damaged[at] ^= 1 << dice.below(8),
            }
        }
        damaged
    }
}

#[cfg(test)]
mod tests {
    use super::trial::{Dice, damaged, datagram, lines, stream};
    use super::*;
    use proptest::prelude::*;

    /// Header, then the parts as they come.
    fn packet(flags: u16, counts: [u16; 4], parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = [0x1234, flags].map(u16::to_be_bytes).concat();
        bytes.extend(counts.map(u16::to_be_bytes).concat());
        bytes.extend(parts.concat());
        bytes
    }

    fn wire(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in name.split('.').filter(|l| !l.is_empty()) {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes
    }

    fn question(name: &str, rtype: u16) -> Vec<u8> {
        [wire(name), rtype.to_be_bytes().to_vec(), vec![0, 1]].concat()
    }

    fn record(owner: &[u8], rtype: u16, ttl_s: u32, rdata: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rdata.len()).unwrap().to_be_bytes();
        let rtype = rtype.to_be_bytes();
        [owner, &rtype, &[0, 1], &ttl_s.to_be_bytes(), &length, rdata].concat()
    }

    fn ech_rdata() -> Vec<u8> {
        let contents = [
            &[7, 0, 0x20, 0, 4, 1, 2, 3, 4, 0, 4, 0, 1, 0, 1, 0][..],
            &[10],
            b"outer.test",
            &[0, 0],
        ]
        .concat();
        let length = u8::try_from(contents.len()).unwrap();
        // An older version first, which is passed over.
        let list = [&[0xfe, 0x0a, 0, 2, 9, 9, 0xfe, 0x0d, 0, length][..], &contents].concat();
        let size = u8::try_from(list.len()).unwrap();
        [&[0, 1, 0][..], &[0, 1, 0, 3, 2, b'h', b'2'], &[0, 5, 0, size + 2, 0, size], &list]
            .concat()
    }

    const QUERY: u16 = 0x0100;
    const RESPONSE: u16 = 0x8180;
    /// Pointer to the name of the question.
    const ASKED: &[u8] = &[0xc0, 12];

    fn check(name: &str, bytes: &[u8], expected: &[&str], answer: Parsed<()>) {
        assert_eq!(
            lines(|out| message(bytes, out)),
            (expected.iter().map(ToString::to_string).collect(), answer),
            "{name}"
        );
    }

    #[test]
    fn reads_questions_and_answers() {
        let a = question("chat.example.com", A);
        let first = &record(ASKED, A, 300, &[192, 0, 2, 1])[..];
        // "x" and a pointer to "example.com" in the question.
        let alias = &record(ASKED, CNAME, 60, &[1, b'x', 0xc0, 17])[..];
        let alias_at = 12 + a.len() + 12;
        let owner = [0xc0, u8::try_from(alias_at).unwrap()];
        let behind = &record(&owner, A, 90, &[192, 0, 2, 2])[..];
        let spelled = &record(&wire("X.Example.COM"), A, 30, &[192, 0, 2, 3])[..];
        let other = &record(&wire("other.test"), A, 300, &[192, 0, 2, 9])[..];
        let opt = &[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0][..];
        let aaaa: Vec<u8> = [0x20, 1, 0xd, 0xb8].into_iter().chain([0; 11]).chain([7]).collect();
        let code = "4660 code 0 chat.example.com 1";
        let short = |field| Err(ParseError::short(field));
        type Row<'a> = (&'a str, Vec<u8>, &'a [&'a str], Parsed<()>);
        let table: &[Row<'_>] = &[
            (
                "query",
                packet(QUERY, [1, 0, 0, 1], &[&a, opt]),
                &["4660 asks chat.example.com 1"],
                Ok(()),
            ),
            (
                "letter case stays",
                packet(QUERY, [1, 0, 0, 0], &[&question("ChAt.eXample.com", 28)]),
                &["4660 asks ChAt.eXample.com 28"],
                Ok(()),
            ),
            ("root", packet(QUERY, [1, 0, 0, 0], &[&question("", 2)]), &["4660 asks . 2"], Ok(())),
            (
                "two questions, the second compressed",
                packet(QUERY, [2, 0, 0, 0], &[&a, ASKED, &[0, 28, 0, 1]]),
                &["4660 asks chat.example.com 1", "4660 asks chat.example.com 28"],
                Ok(()),
            ),
            (
                "more questions than are read",
                packet(QUERY, [9, 0, 0, 0], &[&question("a", 1).repeat(9)]),
                &["4660 asks a 1"; 8],
                Err(ParseError::limit("question")),
            ),
            ("update", packet(0x2800, [1, 0, 0, 0], &[&a]), &[], Ok(())),
            (
                "notify",
                packet(0x2400, [1, 0, 0, 0], &[&a]),
                &["4660 asks chat.example.com 1"],
                Ok(()),
            ),
            (
                "odd octets are handed on",
                packet(QUERY, [1, 0, 0, 0], &[b"\x03a b\x01\x00\x00", &[0, 1, 0, 1]]),
                &["4660 asks a b.\\x00 1"],
                Ok(()),
            ),
            (
                "dot inside a label",
                packet(QUERY, [1, 0, 0, 0], &[b"\x0bexample.com\x00", &[0, 1, 0, 1]]),
                &["odd: dns_dot_in_label"],
                Ok(()),
            ),
            (
                "address",
                packet(RESPONSE, [1, 1, 0, 0], &[&a, first]),
                &[code, "4660 chat.example.com = 192.0.2.1 for 300 s"],
                Ok(()),
            ),
            (
                "address of version 6",
                packet(RESPONSE, [1, 1, 0, 0], &[&a, &record(ASKED, AAAA, 5, &aaaa)]),
                &[code, "4660 chat.example.com = 2001:db8::7 for 5 s"],
                Ok(()),
            ),
            (
                "alias: lowest time, either spelling",
                packet(RESPONSE, [1, 3, 0, 0], &[&a, alias, behind, spelled]),
                &[
                    code,
                    "4660 chat.example.com = 192.0.2.2 for 60 s",
                    "4660 chat.example.com = 192.0.2.3 for 30 s",
                ],
                Ok(()),
            ),
            (
                "alias behind its address",
                packet(RESPONSE, [1, 2, 0, 0], &[&a, spelled, alias]),
                &[code, "4660 chat.example.com = 192.0.2.3 for 30 s"],
                Ok(()),
            ),
            (
                "alias of itself",
                packet(RESPONSE, [1, 2, 0, 0], &[&a, &record(ASKED, CNAME, 1, ASKED), first]),
                &[code, "4660 chat.example.com = 192.0.2.1 for 300 s"],
                Ok(()),
            ),
            ("unasked address", packet(RESPONSE, [1, 1, 0, 0], &[&a, other]), &[code], Ok(())),
            ("glue is not read", packet(RESPONSE, [1, 0, 0, 1], &[&a, first]), &[code], Ok(())),
            (
                "no such name",
                packet(RESPONSE | 3, [1, 0, 1, 0], &[&a]),
                &["4660 code 3 chat.example.com 1"],
                Ok(()),
            ),
            (
                "no question",
                packet(RESPONSE, [0, 1, 0, 0], &[&record(&[0], A, 1, &[1; 4])]),
                &[],
                Ok(()),
            ),
            (
                "address of a wrong length",
                packet(RESPONSE, [1, 1, 0, 0], &[&a, &record(ASKED, A, 1, &[1; 5])]),
                &[code],
                Ok(()),
            ),
            (
                "ech",
                packet(RESPONSE, [1, 1, 0, 0], &[&a, &record(ASKED, HTTPS, 9, &ech_rdata())]),
                &[code, "4660 chat.example.com ech outer.test for 9 s"],
                Ok(()),
            ),
            (
                "cut in the second record",
                packet(RESPONSE, [1, 2, 0, 0], &[&a, first, &first[..14]]),
                &[code, "4660 chat.example.com = 192.0.2.1 for 300 s"],
                short("RDATA"),
            ),
            ("cut in the question", packet(QUERY, [1, 0, 0, 0], &[&a[..9]]), &[], short("label")),
            ("cut header", vec![0; 11], &[], short("ARCOUNT")),
        ];
        for (name, bytes, expected, answer) in table {
            check(name, bytes, expected, *answer);
        }
    }

    #[test]
    fn refuses_names_that_cannot_be() {
        let labels = |n: usize| [&b"\x01a".repeat(n)[..], &[0, 0, 1, 0, 1]].concat();
        let long = |last: u8| {
            let tail = [&[last][..], &vec![b'b'; last.into()], &[0, 0, 1, 0, 1]].concat();
            [[&[63][..], &[b'a'; 63]].concat().repeat(3), tail].concat()
        };
        let pointers = |n: u16| {
            let chain: Vec<u8> =
                (0..n).flat_map(|i| (0xc000 + 12 + i * 2 - 2).to_be_bytes()).collect();
            // A root where the first pointer would be, and the question behind them all.
            [&[0, 0][..], &chain[2..], &(0xc000 + 12 + n * 2 - 2).to_be_bytes(), &[0, 1, 0, 1]]
                .concat()
        };
        let invalid = ParseError::invalid;
        let round = ParseError::limit("compression pointer");
        let table: &[(&str, Vec<u8>, Option<ParseError>)] = &[
            ("127 labels", labels(127), None),
            ("128 labels", labels(128), Some(invalid("name"))),
            ("255 octets", long(61), None),
            ("256 octets", long(62), Some(invalid("name"))),
            ("pointer to itself", vec![0xc0, 12, 0, 1, 0, 1], Some(round)),
            ("pointer forward", vec![0xc0, 18, 0, 1, 0, 1, 1, b'a', 0], None),
            ("pointer to its label", vec![1, b'a', 0xc0, 12, 0, 1], Some(round)),
            (
                "pointer into the header",
                vec![0xc0, 2, 0, 1, 0, 1],
                Some(invalid("compression pointer")),
            ),
            ("label type 1", vec![0x41, 0, 0, 1, 0, 1], Some(invalid("label type"))),
            ("label type 2", vec![0x81, 0, 0, 1, 0, 1], Some(invalid("label type"))),
        ];
        for (name, bytes, expected) in table {
            let bytes = packet(QUERY, [1, 0, 0, 0], &[bytes]);
            assert_eq!(lines(|out| message(&bytes, out)).1.err(), *expected, "{name}");
        }
        for (hops, expected) in [(64, None), (65, Some(ParseError::limit("compression pointer")))] {
            let bytes = packet(QUERY, [1, 0, 0, 0], &[&pointers(hops)]);
            let at = 12 + usize::from(hops) * 2;
            assert_eq!(Name::new().read(&bytes, at).err(), expected, "{hops} pointers");
        }
    }

    #[test]
    fn bounds_work_and_output_of_one_message() {
        let a = question("a.test", A);
        let many =
            packet(RESPONSE, [1, 200, 0, 0], &[&a, &record(ASKED, A, 1, &[1; 4]).repeat(200)]);
        let (seen, answer) = lines(|out| message(&many, out));
        assert_eq!((seen.len(), answer), (129, Err(ParseError::limit("answer"))));
        // Owners that differ from the question in their last label only, each spelled out.
        let deep = "b.".repeat(120);
        let owner = wire(&format!("{deep}y"));
        let slow = packet(
            RESPONSE,
            [1, 128, 0, 0],
            &[&question(&format!("{deep}x"), A), &record(&owner, A, 1, &[1; 4]).repeat(128)],
        );
        assert_eq!(
            lines(|out| message(&slow, out)).1,
            Err(ParseError::limit("name comparison")),
            "128 records of 121 labels"
        );
    }

    #[test]
    fn a_flow_is_given_up_after_several_bad_messages_in_a_row() {
        let good = packet(QUERY, [1, 0, 0, 0], &[&question("a.test", A)]);
        let cut = packet(RESPONSE, [1, 4, 0, 0], &[&question("a.test", A), &[0xc0]]);
        let mut dns = Dns::default();
        for bytes in [&b"junk"[..], b"", b"junk", &good, b"junk", b"junk", b"junk", &cut, b"j"] {
            assert_eq!(datagram(&mut dns, bytes).1, Then::Need(1));
        }
        for _ in 0..2 {
            assert_eq!(datagram(&mut dns, b"junk").1, Then::Need(1));
        }
        assert!(matches!(datagram(&mut dns, b"junk").1, Then::NotThis(_)));
    }

    #[test]
    fn a_stream_of_something_else_is_not_waited_for() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x12\x34\x56\x78\x9a",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            &[0; 64],
        ] {
            assert!(stream(&mut DnsFlow::default(), bytes, &[]).1.is_some());
        }
    }

    #[test]
    fn on_another_port_only_proof_is_told() {
        let query = |id: u8, name: &str| {
            let mut bytes = packet(QUERY, [1, 0, 0, 0], &[&question(name, A)]);
            bytes[1] = id;
            bytes
        };
        let answer = |id: u8, name: &str| {
            let told = record(ASKED, A, 1, &[192, 0, 2, 1]);
            let mut bytes = packet(RESPONSE, [1, 1, 0, 0], &[&question(name, A), &told]);
            bytes[1] = id;
            bytes
        };
        let (a, b, c) = (query(1, "a.test"), query(2, "b.test"), query(3, "c.test"));
        let table: [(&str, Vec<Vec<u8>>, usize, bool); 8] = [
            ("a question and its answer", vec![a.clone(), answer(1, "A.test")], 3, true),
            ("the answer first", vec![answer(1, "a.test"), a.clone()], 3, true),
            ("an answer to another question", vec![a.clone(), answer(1, "b.test")], 0, true),
            ("an answer of another id", vec![a.clone(), answer(9, "a.test")], 0, true),
            ("two questions", vec![a.clone(), b.clone()], 0, true),
            ("three questions", vec![a.clone(), b.clone(), c.clone()], 3, true),
            ("something else between", vec![a.clone(), b.clone(), b"junk".to_vec(), c], 0, false),
            ("something else later", vec![a, answer(1, "a.test"), b"junk".to_vec(), b], 4, true),
        ];
        for (name, messages, told, goes_on) in table {
            let (mut over_udp, mut over_tcp) = (DnsFlow::on(5_300), DnsFlow::on(5_300));
            let (mut said, mut streamed, mut fine) = (0, 0, true);
            for message in &messages {
                if fine {
                    let then = over_udp.datagram(Direction::Up, message, &mut |_| said += 1);
                    fine = then == Then::Need(1);
                }
                let framed =
                    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
                over_tcp.feed(Direction::Up, &framed, &mut |_| streamed += 1);
            }
            // A response tells its code besides its address.
            assert_eq!((said, fine), (told, goes_on), "{name}");
            assert!(streamed >= told || !goes_on, "{name}: {streamed} over TCP");
            assert!(over_udp.memory() <= PROOF * KEPT_MAX);
        }
    }

    #[test]
    fn knows_dns_by_its_shape() {
        let a = question("a.test", A);
        let answer = record(ASKED, A, 1, &[1; 4]);
        let opt = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];
        let query = packet(QUERY, [1, 0, 0, 0], &[&a]);
        let framed = [&[0, u8::try_from(query.len()).unwrap()][..], &query].concat();
        assert_eq!(looks_like_tcp(&framed), Some(true));
        assert_eq!(looks_like_tcp(&query), Some(false));
        assert_eq!(looks_like_tcp(&framed[..20]), None);
        for (name, bytes, expected) in [
            ("query", query, true),
            ("query with EDNS", packet(0x0120, [1, 0, 0, 1], &[&a, &opt]), true),
            ("response", packet(RESPONSE, [1, 1, 0, 0], &[&a, &answer]), true),
            ("empty response", packet(RESPONSE | 3, [1, 0, 0, 0], &[&a]), true),
            ("query with more behind it", packet(QUERY, [1, 0, 0, 0], &[&a, b"x"]), false),
            ("Z bit", packet(0x0140, [1, 0, 0, 0], &[&a]), false),
            ("update", packet(0x2800, [1, 0, 0, 0], &[&a]), false),
            ("query with a code", packet(0x0103, [1, 0, 0, 0], &[&a]), false),
            ("two questions", packet(QUERY, [2, 0, 0, 0], &[&a, &a]), false),
            ("counts beyond the end", packet(RESPONSE, [1, 9, 0, 0], &[&a, &answer]), false),
            ("odd name", packet(QUERY, [1, 0, 0, 0], &[b"\x02a/\x00", &[0, 1, 0, 1]]), false),
            ("class", packet(QUERY, [1, 0, 0, 0], &[b"\x01a\x00", &[0, 1, 0, 7]]), false),
            ("zeroes", vec![0; 40], false),
        ] {
            assert_eq!(looks_like(&bytes), expected, "{name}");
        }
    }

    /// A message that simple-dns writes: up to 3 aliases, then addresses.
    fn generated(seed: u64) -> Vec<u8> {
        use simple_dns::rdata::{A, AAAA, CNAME, RData};
        use simple_dns::{CLASS, Name, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};
        let mut dice = Dice::new(seed);
        let names: Vec<String> = (0..4)
            .map(|i| {
                let labels = ["a", "chat", "cdn-7", "example", "com", "test"];
                let deep: Vec<_> = (0..=dice.below(4)).map(|_| labels[dice.below(6)]).collect();
                format!("n{i}.{}", deep.join("."))
            })
            .collect();
        let name = |i: usize| Name::new_unchecked(&names[i]);
        let id = u16::try_from(dice.below(65536)).unwrap();
        let reply = dice.below(3) > 0;
        let mut packet = simple_dns::Packet::new_query(id);
        if reply {
            packet = simple_dns::Packet::new_reply(id);
            packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
        }
        let rtype = if dice.below(2) == 0 { TYPE::A } else { TYPE::AAAA };
        packet.questions.push(Question::new(
            name(0),
            QTYPE::TYPE(rtype),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        if reply {
            let aliases = dice.below(4);
            let mut add = |owner, ttl, rdata| {
                packet.answers.push(ResourceRecord::new(name(owner), CLASS::IN, ttl, rdata));
            };
            for i in 0..aliases {
                add(
                    i,
                    10 + u32::try_from(dice.below(90)).unwrap(),
                    RData::CNAME(CNAME(name(i + 1))),
                );
            }
            for _ in 0..dice.below(5) {
                let address = u32::try_from(dice.below(1 << 31)).unwrap();
                let rdata = if rtype == TYPE::A {
                    RData::A(A { address })
                } else {
                    RData::AAAA(AAAA { address: u128::from(address) << 64 | 7 })
                };
                // Now and then a record that nobody asked for.
                add(if dice.below(6) == 0 { 3 } else { aliases }, 60, rdata);
            }
        }
        if dice.below(2) == 0 {
            packet.build_bytes_vec_compressed()
        } else {
            packet.build_bytes_vec()
        }
        .unwrap()
    }

    /// What simple-dns reads in a message, put as our lines; `None` if it refuses it.
    fn oracle(bytes: &[u8]) -> Option<Vec<String>> {
        use simple_dns::rdata::RData;
        use simple_dns::{CLASS, OPCODE, PacketFlag};
        let packet = simple_dns::Packet::parse(bytes).ok()?;
        let plain = |name: &simple_dns::Name<'_>| {
            let labels: Vec<_> = name.as_bytes().map(<[u8]>::to_vec).collect();
            assert!(labels.iter().all(|l| !l.is_empty()));
            (!labels.iter().any(|l| l.contains(&b'.'))).then_some(labels)
        };
        let shown = |labels: &[Vec<u8>]| {
            let text = labels.join(&b'.').escape_ascii().to_string();
            if text.is_empty() { ".".to_owned() } else { text }
        };
        let id = packet.id();
        let u16_at = |i: usize| u16::from_be_bytes([bytes[i], bytes[i + 1]]);
        if packet.opcode() == OPCODE::Update || packet.questions.is_empty() {
            return None;
        }
        let mut expected = Vec::new();
        if !packet.has_flags(PacketFlag::RESPONSE) {
            for question in packet.questions.iter().take(8) {
                let name = plain(&question.qname)?;
                expected.push(format!("{id} asks {} {}", shown(&name), u16::from(question.qtype)));
            }
            return Some(expected);
        }
        let question = &packet.questions[0];
        let asked = plain(&question.qname)?;
        let rtype = u16::from(question.qtype);
        expected.push(format!("{id} code {} {} {rtype}", u16_at(2) & 15, shown(&asked)));
        let lower = |name: &simple_dns::Name<'_>| -> Vec<Vec<u8>> {
            name.as_bytes().map(<[u8]>::to_ascii_lowercase).collect()
        };
        let asked_lower: Vec<_> = asked.iter().map(|l| l.to_ascii_lowercase()).collect();
        let mut chain = vec![(asked_lower, u32::MAX)];
        while chain.len() < CHAIN_MAX {
            let end = chain.last().unwrap().clone();
            let next = packet.answers.iter().find_map(|r| match &r.rdata {
                RData::CNAME(to) if r.class == CLASS::IN && lower(&r.name) == end.0 => {
                    Some((lower(&to.0), r.ttl.min(end.1)))
                }
                _ => None,
            });
            let Some(next) = next else { break };
            chain.push(next);
        }
        for answer in packet.answers.iter().filter(|r| r.class == CLASS::IN) {
            let addr: IpAddr = match &answer.rdata {
                RData::A(a) => Ipv4Addr::from(a.address).into(),
                RData::AAAA(a) => Ipv6Addr::from(a.address).into(),
                _ => continue,
            };
            let owner = lower(&answer.name);
            if let Some((_, ttl)) = chain.iter().find(|(name, _)| *name == owner) {
                let ttl_s = answer.ttl.min(*ttl);
                expected.push(format!("{id} {} = {addr} for {ttl_s} s", shown(&asked)));
            }
        }
        Some(expected)
    }

    #[test]
    fn agrees_with_another_reader_on_generated_messages() {
        for seed in 0..2_000 {
            let bytes = generated(seed);
            let (seen, answer) = lines(|out| message(&bytes, out));
            assert_eq!(answer, Ok(()), "seed {seed}");
            assert_eq!(Some(seen), oracle(&bytes), "seed {seed}: {bytes:02x?}");
            assert!(looks_like(&bytes), "seed {seed}");
        }
    }

    #[test]
    fn agrees_with_another_reader_on_damaged_messages() {
        let (mut same, mut strict) = (0, 0);
        for seed in 0..20_000 {
            let bytes = damaged(&generated(seed % 500), seed);
            let (seen, answer) = lines(|out| message(&bytes, out));
            let Some(expected) = oracle(&bytes) else { continue };
            if answer.is_ok() && seen == expected {
                same += 1;
                continue;
            }
            // It takes addresses out of records of other lengths.
            strict += 1;
            let mut rest = expected.iter();
            assert!(seen.iter().all(|s| rest.any(|e| e == s)), "seed {seed}: {bytes:02x?}");
        }
        assert!(same > 2_000 && strict * 50 < same, "{same} agree, {strict} are read by it alone");
    }

    #[test]
    fn reports_only_labels_that_stand_in_the_message() {
        for seed in 0..20_000 {
            let bytes = damaged(&generated(seed % 500), seed);
            let _ = message(&bytes, &mut |said| {
                let (Metadata::DnsQuery(question)
                | Metadata::DnsResponse { question, .. }
                | Metadata::DnsAddress { question, .. }) = said
                else {
                    return;
                };
                assert!(question.name.len() < NAME_WIRE_MAX);
                for label in question.name.split(|&b| b == b'.').filter(|l| !l.is_empty()) {
                    let found = bytes.windows(label.len()).any(|w| w == label);
                    assert!(found, "seed {seed}: {}", label.escape_ascii());
                }
            });
        }
    }

    #[test]
    fn cut_messages_say_a_part_of_what_whole_ones_say() {
        for seed in 0..200 {
            let bytes = generated(seed);
            let (whole, _) = lines(|out| message(&bytes, out));
            for end in 0..bytes.len() {
                let (seen, _) = lines(|out| message(&bytes[..end], out));
                assert!(seen.len() <= whole.len(), "seed {seed} cut at {end}");
                // An alias that is cut away can only lose addresses, and they keep their order.
                let mut rest = whole.iter();
                assert!(seen.iter().all(|s| rest.any(|w| w == s)), "seed {seed} cut at {end}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_stream_says_the_same_however_it_is_cut(
            seeds in prop::collection::vec(0_u64..10_000, 1..6),
            cuts in prop::collection::vec(0_usize..5_000, 0..12),
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for seed in seeds {
                let packet = generated(seed);
                bytes.extend(u16::try_from(packet.len()).unwrap().to_be_bytes());
                bytes.extend(&packet);
                expected.extend(lines(|out| message(&packet, out)).0);
            }
            prop_assert_eq!(stream(&mut DnsFlow::default(), &bytes, &cuts), (expected, None));
            let each: Vec<usize> = (0..bytes.len()).collect();
            let at_once = stream(&mut DnsFlow::default(), &bytes, &[]);
            prop_assert_eq!(stream(&mut DnsFlow::default(), &bytes, &each), at_once);
        }
    }
}
