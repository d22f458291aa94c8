//! HTTP/1.0 and HTTP/1.1 in clear, for the life of the connection.
//!
//! In: both directions of a TCP stream, on any port, from the start or from the middle.
//! Out: [`HttpRequest`] and [`HttpResponse`], one each a message; [`Metadata::Api`] where a body
//! starts with a fixed marker of an API; hand-over after CONNECT and upgrades.
//! Never: keeps or emits targets, queries, cookies, bodies, passwords, tokens. Bodies are passed
//! over unbuffered, but for the first bytes of two kinds, in which only the fixed words of
//! `grammar` are looked for, in place, and of which nothing is kept: JSON-RPC requests to what may
//! be an MCP or A2A endpoint, and a server's own answers about itself (models, health, sessions).
//! A body to or from a known generating API, where prompts are, is never looked at.
//! Limits: [`LINE_MAX`], [`HEADER_MAX`], [`FIELDS_MAX`], [`ASKED_MAX`], [`GAPS_MAX`],
//! [`SEARCH_MAX`].
//! Source: RFC 9112; RFC 9110 §7 (routing), §9.3.6 (CONNECT); RFC 7617 (Basic).
//!
//! What `embedded` means: `Sec-Fetch-Site: cross-site` with a `Sec-Fetch-Dest` of iframe, script,
//! image, style, font and their like: a page of somebody else pulled it in.

use std::net::IpAddr;

use std::collections::VecDeque;

use super::grammar::{self, Fields, Proof, Sign};
use super::ntlm::{self, Logon};
use super::{
    HostSource, HttpRequest, HttpResponse, Metadata, Out, Protocol, StreamParser, Then, Turn,
};
use crate::types::Direction;
use crate::watcher::wire::ParseError;

/// Longest line that is read: twice what common servers take, as proxies see longer URLs. A field
/// line beyond it is passed over, a request line ends the reading.
pub const LINE_MAX: usize = 16 * 1024;

/// Longest header section; servers refuse from 8 to 64 KiB on.
pub const HEADER_MAX: usize = 64 * 1024;

/// Most fields of a header section; browsers send about 30, servers refuse from 100 on.
pub const FIELDS_MAX: usize = 200;

/// Most requests without an answer yet. Clients pipeline 10 or fewer; beyond this answers are no
/// longer read, as it is unknown which is without a body.
pub const ASKED_MAX: usize = 64;

/// Holes after which the flow is given up: the capture is too poor to read.
pub const GAPS_MAX: u32 = 32;

/// Bytes searched for the next message after a hole or a fault, in one direction in total: a large
/// body costs no more than this.
pub const SEARCH_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a message line that show it is one, though its end is not there yet.
const SHOWN: usize = 64;

/// The same where the target is no path: the longest `host:port` of CONNECT fits.
const SHOWN_OTHER: usize = 512;

/// Bytes of empty lines before a request that are no reason for doubt (RFC 9112 §2.2).
const EMPTY_MAX: usize = 4;

/// Longest method that is read; no method in use is longer.
const METHOD_MAX: usize = 16;

/// Longest field name that matters here.
const NAME_MAX: usize = 48;

/// Longest host that is kept: a name has 253 bytes at most (RFC 1035 §2.3.4).
const HOST_MAX: usize = 255;

/// Longest part of a User-Agent that is kept: the product and platform stand in front.
const AGENT_MAX: usize = 256;

/// Longest account name that is kept, as directories allow it.
const USER_MAX: usize = 64;

/// Bytes of an answer's body in which a server may name itself.
const SIGNED_MAX: usize = 256;

/// How a status line begins; `0` stands for any digit (RFC 9112 §4).
const STATUS_SHAPE: &[u8] = b"HTTP/1.0 000";

/// Where the status code starts in it.
const STATUS_AT: usize = 9;

/// Registered methods (RFC 9110, RFC 4918, RFC 5789 and others) that a stream may begin with.
#[rustfmt::skip]
const METHODS: &[&str] = &[
    "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PROPFIND",
    "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "REPORT", "MKCALENDAR",
    "BIND", "REBIND", "UNBIND", "ACL", "CHECKOUT", "CHECKIN", "MERGE", "MKACTIVITY", "ORDERBY",
    "UPDATE", "LABEL", "LINK", "UNLINK", "PURGE", "SUBSCRIBE", "UNSUBSCRIBE", "NOTIFY", "POLL",
    "BMOVE", "BCOPY", "BDELETE", "BPROPFIND", "BPROPPATCH", "QUERY", "M-SEARCH", "RPC_IN_DATA",
    "RPC_OUT_DATA", "CCM_POST", "BASELINE-CONTROL", "VERSION-CONTROL", "MKWORKSPACE",
];

/// First line of an HTTP/2 client (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Whether a direction's first bytes are HTTP/1; `None` while they may be.
///
/// Strict, as RTSP, SIP, ICAP and many line protocols begin alike: the method must be a
/// registered one and the line must end in `HTTP/1.x`, or be a long path without its end yet.
pub fn looks_like(from: Direction, bytes: &[u8]) -> Option<bool> {
    match from {
        Direction::Up => {
            let empty = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            let line = bytes.get(empty..).unwrap_or_default();
            if empty > EMPTY_MAX { Some(false) } else { looks_like_request(line) }
        }
        Direction::Down => {
            let fits = |(at, byte): (usize, &u8)| match STATUS_SHAPE.get(at) {
                Some(b'0') => byte.is_ascii_digit(),
                wanted => wanted == Some(byte),
            };
            let len = STATUS_SHAPE.len();
            if !bytes.iter().take(len).enumerate().all(fits) {
                return Some(false);
            }
            (bytes.len() >= len).then_some(true)
        }
    }
}

fn looks_like_request(bytes: &[u8]) -> Option<bool> {
    let Some(space) = bytes.iter().take(METHOD_MAX + 1).position(|&b| b == b' ') else {
        let may_grow = METHODS.iter().any(|m| m.as_bytes().starts_with(bytes));
        return if may_grow { None } else { Some(false) };
    };
    let (method, rest) = bytes.split_at_checked(space)?;
    if !METHODS.iter().any(|m| m.as_bytes() == method) {
        return Some(false);
    }
    if let Some(end) = rest.iter().take(LINE_MAX).position(|&b| b == b'\n') {
        let line = bytes.get(..space.saturating_add(end)).unwrap_or_default();
        return Some(request_line(line).is_some());
    }
    let target = rest.get(1..).unwrap_or_default();
    let path = target.starts_with(b"/") || target.starts_with(b"http");
    match target.len() {
        ..SHOWN => None,
        _ if path && target.iter().take(SHOWN).all(u8::is_ascii_graphic) => Some(true),
        SHOWN..SHOWN_OTHER => None,
        _ => Some(false),
    }
}

/// Reads requests and answers of one connection.
#[derive(Debug, Default)]
pub struct Http1 {
    up: Side,
    down: Side,
    head: Head,
    answer: Answer,
    /// Requests without an answer yet, oldest first; at most [`ASKED_MAX`].
    asked: VecDeque<Asked>,
    /// A whole start line was read, so this is HTTP, whatever comes later.
    started: bool,
    /// Bytes of the server were seen: the capture is not of one direction only.
    two_way: bool,
    /// A hole hides whether a tunnel was granted.
    tunnel_unsure: bool,
    gaps: u32,
}

impl StreamParser for Http1 {
    fn feed(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
        self.two_way |= from == Direction::Down;
        if self.up.state == State::Cut {
            self.head.emit(out);
            self.up.state = State::Lost { mid: false };
        }
        let mut consumed: usize = 0;
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            if rest.is_empty() && self.side(from).state.wants_bytes() {
                return Turn { consumed, then: Then::Need(1) };
            }
            match self.step(from, rest, out) {
                Step::Took(len) => consumed = consumed.saturating_add(len),
                Step::End(len, then) => {
                    return Turn { consumed: consumed.saturating_add(len), then };
                }
            }
        }
    }

    fn gap(&mut self, from: Direction) -> bool {
        self.gaps = self.gaps.saturating_add(1);
        self.asked.clear();
        self.tunnel_unsure |= self.up.state == State::Tunnel;
        let side = self.side(from);
        side.scanned = 0;
        side.state = match (from, side.state) {
            (_, State::Deaf) => State::Deaf,
            (_, State::Tunnel) => State::Tunnel,
            (Direction::Up, State::Field | State::LongField) => State::Cut,
            _ => State::Lost { mid: false },
        };
        self.gaps <= GAPS_MAX
    }
}

impl Http1 {
    /// Bytes of memory behind this value.
    pub fn memory(&self) -> usize {
        self.asked.capacity().saturating_mul(size_of::<Asked>())
    }

    /// Starts at the first byte of either direction, or in the middle.
    pub fn new() -> Self {
        Self::default()
    }

    fn side(&mut self, from: Direction) -> &mut Side {
        match from {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    /// One step. Each either takes bytes, or ends the turn, or goes to a state that does.
    fn step(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Step {
        let tunnel = self.up.state == State::Tunnel;
        let untold = self.tunnel_unsure || !self.two_way;
        let side = self.side(from);
        match side.state {
            State::Start => self.start(from, bytes),
            State::Field => match side.line(bytes) {
                Line::Whole(line, len) => self.field(from, line, len, out),
                Line::Partial => more(bytes),
                Line::Long => {
                    side.state = State::LongField;
                    self.head.odd.set(Odd::LONG, from == Direction::Up);
                    Step::Took(0)
                }
            },
            State::LongField => self.long_field(from, bytes, out),
            State::Body { length, peek } => {
                let Some(window) = bytes.get(..peek) else { return Step::End(0, Then::Need(peek)) };
                side.state = State::Start;
                self.peek(from, window, out);
                skip(length, bytes)
            }
            State::Rest { peek } => {
                let Some(window) = bytes.get(..peek) else { return Step::End(0, Then::Need(peek)) };
                side.state = State::Deaf;
                self.peek(from, window, out);
                Step::Took(0)
            }
            State::ChunkSize { peek } => match side.line(bytes) {
                Line::Whole(line, len) => match chunk_size(line) {
                    Some(0) => side.go(State::Trailer, len),
                    Some(size) => {
                        let peek = if peek { window(size, from) } else { 0 };
                        side.go(State::Chunk { size, peek }, len)
                    }
                    None => self.lose(from, false),
                },
                Line::Partial => more(bytes),
                Line::Long => self.lose(from, true),
            },
            State::Chunk { size, peek } => {
                let Some(window) = bytes.get(..peek) else { return Step::End(0, Then::Need(peek)) };
                side.state = State::ChunkEnd;
                self.peek(from, window, out);
                skip(size, bytes)
            }
            State::ChunkEnd => match side.line(bytes) {
                Line::Whole([], len) => side.go(State::ChunkSize { peek: false }, len),
                Line::Partial if bytes.len() < EMPTY_MAX => more(bytes),
                _ => self.lose(from, false),
            },
            State::Trailer => match side.line(bytes) {
                Line::Whole([], len) => side.go(State::Start, len),
                Line::Whole(_, len) => Step::Took(len),
                Line::Partial => more(bytes),
                Line::Long => self.lose(from, true),
            },
            State::Expect { length } => match looks_like(Direction::Up, bytes) {
                None => more(bytes),
                Some(true) => side.go(State::Start, 0),
                Some(false) => side.go(State::Body { length, peek: 0 }, 0),
            },
            // Bytes behind a CONNECT whose answer is not seen: the tunnel's, or the next try.
            State::Tunnel => match looks_like(Direction::Up, bytes) {
                Some(true) if untold => side.go(State::Start, 0),
                Some(false) if untold => Step::End(0, Then::Handover(None)),
                _ => more(bytes),
            },
            State::Cut => self.lose(from, false),
            State::Lost { mid: false } if tunnel && looks_like(from, bytes) == Some(false) => {
                Step::End(0, Then::Handover(None))
            }
            State::Lost { mid } => side.search(from, mid, bytes),
            State::Deaf => Step::End(bytes.len(), Then::Deaf),
        }
    }

    /// A start line, behind any empty lines.
    fn start(&mut self, from: Direction, bytes: &[u8]) -> Step {
        let empty = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        if empty > 0 {
            self.side(from).scanned = 0;
            return Step::Took(empty);
        }
        if from == Direction::Up && bytes.starts_with(PREFACE) {
            return Step::End(0, Then::Handover(Some(Protocol::Http2)));
        }
        let plausible = match from {
            Direction::Up => method_shape(bytes),
            Direction::Down => looks_like(from, bytes) != Some(false),
        };
        if !plausible {
            return self.lose(from, false);
        }
        let (line, len) = match self.side(from).line(bytes) {
            Line::Whole(line, len) => (line, len),
            Line::Partial => return more(bytes),
            Line::Long if self.started => return self.lose(from, true),
            Line::Long => return Step::End(0, Then::NotThis(ParseError::limit("start-line"))),
        };
        let read = match from {
            Direction::Up => self.head.start(line),
            Direction::Down => self.answer.start(line),
        };
        if !read {
            return self.lose(from, true);
        }
        self.started = true;
        let side = self.side(from);
        side.header_bytes = len;
        side.fields = 0;
        side.searched = 0;
        side.go(State::Field, len)
    }

    /// A field line, or the empty one behind the last.
    fn field(&mut self, from: Direction, line: &[u8], len: usize, out: &mut Out<'_>) -> Step {
        if line.is_empty() {
            return match from {
                Direction::Up => self.request(len, out),
                Direction::Down => self.response(len, out),
            };
        }
        let side = self.side(from);
        side.fields = side.fields.saturating_add(1);
        side.header_bytes = side.header_bytes.saturating_add(len);
        if side.fields > FIELDS_MAX || side.header_bytes > HEADER_MAX {
            return self.too_long(from, out);
        }
        match from {
            Direction::Up => self.head.line(line),
            Direction::Down => self.answer.line(line),
        }
        Step::Took(len)
    }

    /// The rest of a field line that is too long to be read.
    fn long_field(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Step {
        let side = self.side(from);
        side.scanned = 0;
        let end = bytes.iter().position(|&b| b == b'\n');
        let len = end.map_or(bytes.len(), |at| at.saturating_add(1));
        side.header_bytes = side.header_bytes.saturating_add(len);
        if end.is_some() {
            side.state = State::Field;
        }
        if side.header_bytes > HEADER_MAX { self.too_long(from, out) } else { Step::Took(len) }
    }

    /// The header section is beyond our limits: tell what is known of the request, and stop.
    fn too_long(&mut self, from: Direction, out: &mut Out<'_>) -> Step {
        if from == Direction::Up {
            self.head.odd.set(Odd::LONG, true);
            self.head.emit(out);
        }
        Step::End(0, Then::NotThis(ParseError::limit("header")))
    }

    /// A request's header section is complete.
    fn request(&mut self, len: usize, out: &mut Out<'_>) -> Step {
        let head = &mut self.head;
        let login = head.logon.is_some() || !head.user.get().is_empty();
        let sign = head.emit(out);
        let connect = head.source == HostSource::Connect;
        let peek = grammar::may_be_rpc(head.method.get(), sign, &head.fields);
        let asked = Asked { sign, head: head.method.get() == b"HEAD", login };
        let next = match (head.framing.chunked, head.framing.length) {
            _ if connect => State::Tunnel,
            (true, _) => State::ChunkSize { peek },
            (false, None | Some(0)) => State::Start,
            (false, Some(length)) if head.expect => State::Expect { length },
            (false, Some(length)) => {
                State::Body { length, peek: if peek { window(length, Direction::Up) } else { 0 } }
            }
        };
        if self.down.state != State::Deaf {
            if self.asked.len() < ASKED_MAX {
                self.asked.push_back(asked);
            } else {
                self.down.state = State::Deaf;
            }
        }
        self.up.go(next, len)
    }

    /// An answer's header section is complete.
    fn response(&mut self, len: usize, out: &mut Out<'_>) -> Step {
        let answer = &mut self.answer;
        let status = answer.status;
        if !answer.is_final() {
            return self.down.go(State::Start, len);
        }
        let Asked { sign, head, login } = self.asked.pop_front().unwrap_or_default();
        // CONNECT waits, so it is the last one asked; a hole may have hidden how many came before.
        let connect = self.up.state == State::Tunnel && self.asked.is_empty();
        out(Metadata::HttpResponse(answer.tell(sign)));
        if login {
            // RFC 9110 §15.5.2 and §15.5.8: a login is missing, or was not accepted.
            out(Metadata::LoginAnswer { granted: !matches!(status, 401 | 407) });
        }
        if status == 101 {
            let then = match answer.upgrade {
                Upgrade::H2c => Then::Handover(Some(Protocol::Http2)),
                Upgrade::WebSocket => Then::Done,
                Upgrade::None | Upgrade::Other => Then::Handover(None),
            };
            return Step::End(len, then);
        }
        if connect && (200..300).contains(&status) {
            return Step::End(len, Then::Handover(None));
        }
        if connect {
            self.up.state = State::Start;
            self.tunnel_unsure = false;
        }
        let peek = grammar::may_be_signed(sign, answer.fields.content);
        let peeked = |length| if peek { window(length, Direction::Down) } else { 0 };
        let next = match (answer.framing.chunked, answer.framing.length) {
            _ if head || matches!(status, 204 | 304) => State::Start,
            (true, _) => State::ChunkSize { peek },
            (false, Some(0)) => State::Start,
            (false, Some(length)) => State::Body { length, peek: peeked(length) },
            (false, None) => State::Rest { peek: peeked(u64::MAX) },
        };
        self.down.go(next, len)
    }

    /// Looks for fixed words at the start of a body.
    fn peek(&self, from: Direction, window: &[u8], out: &mut Out<'_>) {
        if window.is_empty() {
            return;
        }
        let api = match from {
            Direction::Up => grammar::request_body(self.head.sign, window),
            Direction::Down => grammar::response_body(self.answer.asked, window),
        };
        if let Some(api) = api {
            out(Metadata::Api(api));
        }
    }

    /// What comes is no message: search for the next one, if there was one ever.
    fn lose(&mut self, from: Direction, mid: bool) -> Step {
        if !self.started {
            return Step::End(0, Then::NotThis(ParseError::invalid("start-line")));
        }
        if from == Direction::Up && self.head.upgrade == Upgrade::WebSocket {
            return Step::End(0, Then::Done);
        }
        if from == Direction::Down {
            self.tunnel_unsure |= self.up.state == State::Tunnel;
            self.asked.clear();
        }
        let side = self.side(from);
        side.scanned = 0;
        side.go(State::Lost { mid }, 0)
    }
}

/// What is remembered of a request until its answer is there.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    sign: Option<Sign>,
    /// HEAD: the answer has no body.
    head: bool,
    /// It came with a login.
    login: bool,
}

/// Where one direction stands.
#[derive(Debug, Default)]
struct Side {
    state: State,
    /// Bytes of the unfinished line that are known to hold no line end.
    scanned: usize,
    /// Bytes of the header section so far.
    header_bytes: usize,
    /// Field lines so far.
    fields: usize,
    /// Bytes searched since the last start line.
    searched: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A start line comes, or empty lines.
    #[default]
    Start,
    /// Field lines come.
    Field,
    /// The rest of a field line that is too long comes.
    LongField,
    /// A body comes, of whose start `peek` bytes are looked at.
    Body { length: u64, peek: usize },
    /// A body to the end of the connection comes.
    Rest { peek: usize },
    /// A chunk-size line comes.
    ChunkSize { peek: bool },
    /// The data of a chunk comes.
    Chunk { size: u64, peek: usize },
    /// The line end behind a chunk comes.
    ChunkEnd,
    /// Trailer lines come.
    Trailer,
    /// A body comes if the server says 100, and the next request if it does not.
    Expect { length: u64 },
    /// CONNECT was asked for; what follows waits for the answer.
    Tunnel,
    /// A hole cut a header section: to be told, then to search.
    Cut,
    /// The next start line is searched; `mid` if this is not the start of a line.
    Lost { mid: bool },
    /// Nothing more is read.
    Deaf,
}

impl State {
    /// Whether there is nothing to do before another byte is there.
    fn wants_bytes(self) -> bool {
        !matches!(self, State::Body { .. } | State::Rest { .. } | State::Chunk { .. } | State::Deaf)
    }
}

/// What a step came to.
enum Step {
    /// So many bytes are read; go on.
    Took(usize),
    /// So many bytes are read; the turn ends.
    End(usize, Then),
}

enum Line<'b> {
    /// The line without its end, and its length with it.
    Whole(&'b [u8], usize),
    /// The end is not there yet.
    Partial,
    /// No end within [`LINE_MAX`].
    Long,
}

impl Side {
    fn go(&mut self, next: State, len: usize) -> Step {
        self.state = next;
        Step::Took(len)
    }

    /// The next line; an end is LF, with or without CR. Bytes once searched are not searched again.
    fn line<'b>(&mut self, bytes: &'b [u8]) -> Line<'b> {
        let fresh = bytes.iter().take(LINE_MAX).skip(self.scanned);
        let Some(at) = fresh.into_iter().position(|&b| b == b'\n') else {
            self.scanned = bytes.len().min(LINE_MAX);
            return if bytes.len() < LINE_MAX { Line::Partial } else { Line::Long };
        };
        let end = self.scanned.saturating_add(at);
        self.scanned = 0;
        let line = bytes.get(..end).unwrap_or_default();
        Line::Whole(line.strip_suffix(b"\r").unwrap_or(line), end.saturating_add(1))
    }

    /// Looks for the next line that is a start line.
    fn search(&mut self, from: Direction, mid: bool, bytes: &[u8]) -> Step {
        if self.searched > SEARCH_MAX {
            return self.go(State::Deaf, 0);
        }
        if mid {
            let end = bytes.iter().position(|&b| b == b'\n');
            let len = end.map_or(bytes.len(), |at| at.saturating_add(1));
            self.searched = self.searched.saturating_add(len);
            return self.go(State::Lost { mid: end.is_none() }, len);
        }
        match looks_like(from, bytes) {
            None => more(bytes),
            Some(true) => self.go(State::Start, 0),
            Some(false) => self.go(State::Lost { mid: true }, 0),
        }
    }
}

fn more(bytes: &[u8]) -> Step {
    Step::End(0, Then::Need(bytes.len().saturating_add(1)))
}

/// Passes over `length` bytes, of which some may be here already.
fn skip(length: u64, bytes: &[u8]) -> Step {
    match usize::try_from(length) {
        Ok(length) if length <= bytes.len() => Step::Took(length),
        _ => {
            let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            Step::End(bytes.len(), Then::Skip(length.saturating_sub(here)))
        }
    }
}

/// How many of a body's first bytes are looked at.
fn window(length: u64, from: Direction) -> usize {
    let max = match from {
        Direction::Up => grammar::WINDOW_MAX,
        Direction::Down => SIGNED_MAX,
    };
    usize::try_from(length).map_or(max, |length| length.min(max))
}

/// Size in a chunk-size line, extensions left out (RFC 9112 §7.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&b| b == b';').next()?.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Whether bytes begin as a method does: capitals, then a space.
fn method_shape(bytes: &[u8]) -> bool {
    let fits = |b: &u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
    let len = bytes.iter().take(METHOD_MAX + 1).take_while(|b| fits(b)).count();
    (1..=METHOD_MAX).contains(&len) && bytes.get(len).is_none_or(|&b| b == b' ')
}

/// Method, target and version (10 or 11) of a request line.
fn request_line(line: &[u8]) -> Option<(&[u8], &[u8], u8)> {
    if !method_shape(line) {
        return None;
    }
    let line = line.trim_ascii_end();
    let (method, rest) = line.split_at_checked(line.iter().position(|&b| b == b' ')?)?;
    let (target, version) = rest.split_at_checked(rest.iter().rposition(|&b| b == b' ')?)?;
    let version = match version {
        b" HTTP/1.0" => 10,
        [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] => 11,
        _ => return None,
    };
    let target = target.trim_ascii();
    (!target.is_empty()).then_some((method, target, version))
}

/// The header section of one request; HTTP/2 fills it too.
#[derive(Debug)]
pub(super) struct Head {
    version: u8,
    method: Text<METHOD_MAX>,
    host: Text<HOST_MAX>,
    source: HostSource,
    /// A Host field was there.
    host_seen: bool,
    /// Another name that the request gives for its host: nobody knows which one the server takes.
    other: Option<Box<(Text<HOST_MAX>, HostSource)>>,
    agent: Text<AGENT_MAX>,
    user: Text<USER_MAX>,
    /// Who logs on by NTLM; in few requests, so not part of each.
    logon: Option<Box<Logon>>,
    /// What a proxy says of its client.
    forwarded: Option<IpAddr>,
    vouched: Option<Box<Text<USER_MAX>>>,
    fields: Fields,
    /// What the target says, and what all of it says.
    target: Option<Sign>,
    sign: Option<Sign>,
    framing: Framing,
    upgrade: Upgrade,
    expect: bool,
    prefetch: bool,
    cross_site: bool,
    /// Sec-Fetch-Dest is a part of a page.
    part: bool,
    /// Name of a field whose value may stand on the next line (obsolete folding).
    open: Text<NAME_MAX>,
    odd: Odd,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            version: 0,
            method: Text::default(),
            host: Text::default(),
            source: HostSource::Host,
            host_seen: false,
            other: None,
            agent: Text::default(),
            user: Text::default(),
            logon: None,
            forwarded: None,
            vouched: None,
            fields: Fields::default(),
            target: None,
            sign: None,
            framing: Framing::default(),
            upgrade: Upgrade::None,
            expect: false,
            prefetch: false,
            cross_site: false,
            part: false,
            open: Text::default(),
            odd: Odd::default(),
        }
    }
}

impl Head {
    /// A request over HTTP/2.
    pub(super) fn http2() -> Self {
        Self { version: 20, source: HostSource::Authority, ..Self::default() }
    }

    /// Begins anew with a request line; `false` if it is none.
    fn start(&mut self, line: &[u8]) -> bool {
        let Some((method, target, version)) = request_line(line) else { return false };
        *self = Self { version, ..Self::default() };
        self.method(method);
        if method == b"CONNECT" {
            self.authority(target, HostSource::Connect);
        } else if let Some(authority) = authority_of(target) {
            self.authority(authority, HostSource::AbsoluteUri);
        }
        self.target(target);
        true
    }

    pub(super) fn method(&mut self, method: &[u8]) {
        self.method.set(method);
    }

    /// Notes what the target says of an API; call after [`Head::method`]. It is not kept.
    pub(super) fn target(&mut self, target: &[u8]) {
        self.target = grammar::target(self.method.get(), target);
    }

    /// Notes host and port that the request itself names.
    pub(super) fn authority(&mut self, authority: &[u8], source: HostSource) {
        self.source = source;
        self.odd.set(Odd::USER_INFO, authority.contains(&b'@'));
        let (host, port) = host_and_port(authority);
        let before = self.host.get();
        let differs = !before.is_empty() && !before.eq_ignore_ascii_case(host);
        self.odd.set(Odd::HOST_DIFFERS, differs);
        self.host.set_whole(host, &mut self.odd);
        self.fields.request_port(port);
    }

    /// The authority is the target of a tunnel.
    pub(super) fn tunnel(&mut self) {
        self.source = HostSource::Connect;
    }

    /// One line of fields, or one that goes on with the field before (RFC 9112 §5.2).
    fn line(&mut self, line: &[u8]) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            let open = std::mem::take(&mut self.open);
            if !open.get().is_empty() {
                self.field(open.get(), line.trim_ascii());
            }
            return;
        }
        self.open = Text::default();
        let mut room = [0; NAME_MAX];
        let Some((name, value)) = split_field(line, &mut room) else { return };
        if value.is_empty() {
            self.open.set(name);
        } else {
            self.field(name, value);
        }
    }

    /// One field; `name` in lower case.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"host" => self.host_field(value),
            b"user-agent" => {
                self.agent.set(value);
                self.fields.request_field(name, value);
            }
            b"authorization" | b"proxy-authorization" => {
                basic_user(value, &mut self.user);
                if let Ok(Some(logon)) = ntlm::from_authorization(value) {
                    self.logon = Some(Box::new(logon));
                }
            }
            b"x-forwarded-for" => self.forwarded = last_forwarded(value),
            b"x-authenticated-user" if value.len() <= USER_MAX => {
                self.vouched.insert(Box::default()).set(value);
            }
            b"upgrade" => self.upgrade = Upgrade::from_field(value),
            b"expect" => self.expect = value.eq_ignore_ascii_case(b"100-continue"),
            b"sec-purpose" | b"purpose" | b"x-purpose" | b"x-moz" => {
                let value = value.to_ascii_lowercase();
                self.prefetch |= value.starts_with(b"prefetch") || value.starts_with(b"prerender");
            }
            b"sec-fetch-site" => self.cross_site = value == b"cross-site",
            b"sec-fetch-dest" => self.part = is_part_of_a_page(value),
            _ if self.framing.field(name, value, &mut self.odd) => {}
            _ => self.fields.request_field(name, value),
        }
    }

    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub(super) fn protocol(&mut self, value: &[u8]) {
        self.upgrade = Upgrade::from_field(value);
    }

    /// The Host field counts, except for CONNECT, whose target is what matters, and for HTTP/2,
    /// where it only stands in for a missing authority.
    fn host_field(&mut self, value: &[u8]) {
        let (host, port) = host_and_port(value);
        let known = !self.host.get().is_empty();
        let differs = known && !self.host.get().eq_ignore_ascii_case(host);
        let twice = std::mem::replace(&mut self.host_seen, true);
        self.odd.set(if twice { Odd::HOST_TWICE } else { Odd::HOST_DIFFERS }, differs);
        let stays = known && (twice || self.source != HostSource::AbsoluteUri);
        // In HTTP/2 the field means nothing beside :authority (RFC 9113 §8.3.1).
        let open = self.version != 20 && self.source != HostSource::Connect;
        if stays && differs && !host.is_empty() && open {
            let mut other = Text::default();
            other.set_whole(host, &mut self.odd);
            self.other = Some(Box::new((other, HostSource::Host)));
        }
        if stays || host.is_empty() {
            return;
        }
        if differs {
            self.other = Some(Box::new((std::mem::take(&mut self.host), self.source)));
            self.source = HostSource::Host;
        }
        self.host.set_whole(host, &mut self.odd);
        self.fields.request_port(port);
    }

    /// Tells the request, then its oddities; answers what it says of an API.
    pub(super) fn emit(&mut self, out: &mut Out<'_>) -> Option<Sign> {
        self.sign = grammar::request(self.method.get(), self.target, &self.fields);
        // With user info a request of HTTP/2 is malformed (RFC 9113 §8.3.1): it names nobody.
        let malformed = self.version == 20 && self.odd.0 & Odd::USER_INFO.0 != 0;
        if let Some(other) = self.other.take() {
            let (host, source) = *other;
            self.tell(host.get(), source, out);
        }
        self.tell(if malformed { &[] } else { self.host.get() }, self.source, out);
        self.user = Text::default();
        if let Some(logon) = self.logon.take() {
            out(logon.metadata());
        }
        self.odd.tell(out);
        self.sign
    }

    /// Tells the request under one of its names.
    fn tell(&self, host: &[u8], source: HostSource, out: &mut Out<'_>) {
        let filled = |text: &'_ [u8]| !text.is_empty();
        out(Metadata::HttpRequest(HttpRequest {
            version: self.version,
            method: self.method.get(),
            host: Some(host).filter(|host| filled(host)),
            source,
            user_agent: self.agent.get(),
            api: self.sign.filter(|sign| sign.proof == Proof::Path).map(|sign| sign.api),
            sdk: self.fields.sdk,
            websocket: self.upgrade == Upgrade::WebSocket,
            prefetch: self.prefetch,
            embedded: self.cross_site && self.part,
            body_bytes: if self.framing.chunked { 0 } else { self.framing.length.unwrap_or(0) },
            user: Some(self.user.get()).filter(|user| filled(user)),
            forwarded: self.forwarded,
            vouched: self.vouched.as_ref().map(|user| user.get()).filter(|user| filled(user)),
        }));
    }
}

/// Destinations that are a part of a page rather than a page or a call of its own script
/// (Fetch Metadata Request Headers §2.1).
fn is_part_of_a_page(destination: &[u8]) -> bool {
    matches!(
        destination,
        b"iframe"
            | b"frame"
            | b"script"
            | b"image"
            | b"style"
            | b"font"
            | b"embed"
            | b"object"
            | b"audio"
            | b"video"
            | b"track"
            | b"fencedframe"
    )
}

/// The header section of one answer; HTTP/2 fills it too.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer {
    status: u16,
    fields: Fields,
    framing: Framing,
    upgrade: Upgrade,
    /// What the request said of an API.
    asked: Option<Sign>,
}

impl Answer {
    /// Begins anew with a status line; `false` if it is none.
    fn start(&mut self, line: &[u8]) -> bool {
        *self = Self::default();
        self.status(line.get(STATUS_AT..STATUS_SHAPE.len()).unwrap_or_default());
        self.status != 0
    }

    pub(super) fn status(&mut self, digits: &[u8]) {
        let text = std::str::from_utf8(digits).unwrap_or_default();
        self.status = text.parse().ok().filter(|code| (1..1000).contains(code)).unwrap_or(0);
    }

    fn line(&mut self, line: &[u8]) {
        let mut room = [0; NAME_MAX];
        if let Some((name, value)) = split_field(line, &mut room) {
            self.field(name, value);
        }
    }

    /// One field; `name` in lower case.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"upgrade" => self.upgrade = Upgrade::from_field(value),
            _ if self.framing.field(name, value, &mut Odd::default()) => {}
            _ => self.fields.response_field(name, value),
        }
    }

    /// `false` for 100 and its like, which another answer follows, and for none at all.
    pub(super) fn is_final(&self) -> bool {
        self.status == 101 || self.status >= 200
    }

    pub(super) fn tell(&mut self, asked: Option<Sign>) -> HttpResponse {
        self.asked = asked;
        HttpResponse {
            status: self.status,
            streamed: self.fields.content.is_streamed(),
            api: grammar::response(asked, &self.fields),
        }
    }
}

/// How long a body is (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Notes a field; `false` if it is not about length.
    fn field(&mut self, name: &[u8], value: &[u8], odd: &mut Odd) -> bool {
        match name {
            b"content-length" => {
                let digits = value.split(|&b| b == b',').next().unwrap_or_default().trim_ascii();
                let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
                let length = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
                let length = length.filter(|_| plain);
                odd.set(
                    Odd::LENGTH,
                    length.is_none() || self.length.is_some_and(|l| Some(l) != length),
                );
                self.length = self.length.or(length);
            }
            b"transfer-encoding" => {
                let last = value.rsplit(|&b| b == b',').next().unwrap_or_default().trim_ascii();
                self.chunked |= last.eq_ignore_ascii_case(b"chunked");
            }
            _ => return false,
        }
        odd.set(Odd::LENGTH, self.chunked && self.length.is_some());
        true
    }
}

/// What an Upgrade field asks for or grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Upgrade {
    #[default]
    None,
    WebSocket,
    H2c,
    Other,
}

impl Upgrade {
    fn from_field(value: &[u8]) -> Upgrade {
        let first = value.split(|&b| b == b',').next().unwrap_or_default().trim_ascii();
        match first {
            b"h2c" => Upgrade::H2c,
            _ if first.eq_ignore_ascii_case(b"websocket") => Upgrade::WebSocket,
            _ => Upgrade::Other,
        }
    }
}

/// Oddities of a request, one bit each.
#[derive(Clone, Copy, Debug, Default)]
struct Odd(u8);

impl Odd {
    const HOST_DIFFERS: Odd = Odd(1);
    const HOST_TWICE: Odd = Odd(2);
    const HOST_LONG: Odd = Odd(4);
    const USER_INFO: Odd = Odd(8);
    const LENGTH: Odd = Odd(16);
    const LONG: Odd = Odd(32);

    const NAMES: &[(Odd, &'static str)] = &[
        (Odd::HOST_DIFFERS, "http.host-differs"),
        (Odd::HOST_TWICE, "http.host-twice"),
        (Odd::HOST_LONG, "http.host-long"),
        (Odd::USER_INFO, "http.user-info"),
        (Odd::LENGTH, "http.length"),
        (Odd::LONG, "http.header-long"),
    ];

    fn set(&mut self, which: Odd, there: bool) {
        if there {
            self.0 |= which.0;
        }
    }

    fn tell(self, out: &mut Out<'_>) {
        for (odd, name) in Odd::NAMES {
            if self.0 & odd.0 != 0 {
                out(Metadata::Anomaly(name));
            }
        }
    }
}

/// At most `N` bytes of text; what is longer is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Text<N> {
    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(super) fn set(&mut self, text: &[u8]) {
        self.len = self.bytes.iter_mut().zip(text).map(|(to, &from)| *to = from).count();
    }

    /// Half a name is a wrong name: what is too long counts as absent.
    fn set_whole(&mut self, text: &[u8], odd: &mut Odd) {
        odd.set(Odd::HOST_LONG, text.len() > N);
        self.set(if text.len() > N { b"" } else { text });
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len = self.len.saturating_add(1);
        }
    }
}

/// Name in lower case, and value without the white space around it. `None` if this is no field,
/// or one with a longer name than any that matters.
fn split_field<'r, 'l>(
    line: &'l [u8],
    room: &'r mut [u8; NAME_MAX],
) -> Option<(&'r [u8], &'l [u8])> {
    let colon = line.iter().position(|&b| b == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    let room = room.get_mut(..name.len())?;
    room.copy_from_slice(name);
    room.make_ascii_lowercase();
    Some((room, line.get(colon.checked_add(1)?..)?.trim_ascii()))
}

/// Authority of an absolute URI (RFC 9112 §3.2.2).
fn authority_of(target: &[u8]) -> Option<&[u8]> {
    let at = target.windows(3).take(8).position(|w| w == b"://")?;
    let rest = target.get(at.checked_add(3)?..)?;
    rest.split(|b| matches!(b, b'/' | b'?' | b'#')).next()
}

/// Host without user info and brackets, and the port, 0 if there is none.
fn host_and_port(authority: &[u8]) -> (&[u8], u16) {
    let authority = authority.trim_ascii();
    let host = authority.rsplit(|&b| b == b'@').next().unwrap_or_default();
    let (host, port) = if let Some(rest) = host.strip_prefix(b"[") {
        let close = rest.iter().position(|&b| b == b']').unwrap_or(rest.len());
        let (host, port) = rest.split_at_checked(close).unwrap_or_default();
        (host, port.strip_prefix(b"]").and_then(|port| port.strip_prefix(b":")))
    } else {
        let mut parts = host.splitn(3, |&b| b == b':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), port, None) => (name, port),
            // An IPv6 literal without brackets.
            _ => (host, None),
        }
    };
    let port = port.and_then(|port| std::str::from_utf8(port).ok());
    (host, port.and_then(|port| port.parse().ok()).unwrap_or(0))
}

/// The last address of a list: each proxy puts whom it speaks with behind what it was told, so
/// that only the last was not written by a stranger.
fn last_forwarded(value: &[u8]) -> Option<IpAddr> {
    let last = value.rsplit(|&b| b == b',').next()?;
    let text = std::str::from_utf8(last.trim_ascii()).ok()?;
    let socket = || text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    text.parse::<IpAddr>().ok().or_else(socket)
}

/// Decodes Basic credentials up to the colon. The password behind it is not decoded, but for what
/// shares the colon's three bytes, and that is not kept.
fn basic_user(value: &[u8], user: &mut Text<USER_MAX>) {
    let Some((scheme, rest)) = value.split_at_checked(5) else { return };
    if !scheme.eq_ignore_ascii_case(b"basic") || !rest.starts_with(b" ") {
        return;
    }
    let mut name = Text::<USER_MAX>::default();
    let mut bits: u32 = 0;
    let mut held: u32 = 0;
    for &symbol in rest.trim_ascii() {
        let six = match symbol {
            b'A'..=b'Z' => symbol.wrapping_sub(b'A'),
            b'a'..=b'z' => symbol.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => symbol.wrapping_sub(b'0').wrapping_add(52),
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return,
        };
        bits = (bits << 6 | u32::from(six)) & 0xffff;
        held = held.wrapping_add(6);
        if held < 8 {
            continue;
        }
        held = held.wrapping_sub(8);
        let byte = u8::try_from(bits >> held & 0xff).unwrap_or(0);
        match byte {
            b':' => {
                *user = name;
                return;
            }
            // A name that does not fit is a wrong name once cut.
            _ if name.len >= USER_MAX => return,
            _ => name.push(byte),
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::too_many_lines,
    reason = "a test may panic, and a table is as long as it is"
)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What happens to a stream in a test.
    #[derive(Clone, Debug)]
    pub enum Event {
        /// Bytes of one direction.
        Bytes(Direction, Vec<u8>),
        /// A hole of so many bytes.
        Hole(Direction, u64),
    }
    use Event::{Bytes, Hole};

    pub fn up(bytes: impl AsRef<[u8]>) -> Event {
        Bytes(Direction::Up, bytes.as_ref().to_vec())
    }

    pub fn down(bytes: impl AsRef<[u8]>) -> Event {
        Bytes(Direction::Down, bytes.as_ref().to_vec())
    }

    /// Cuts every piece of bytes at lengths taken from `lengths` in turn.
    pub fn split(script: &[Event], lengths: &[usize]) -> Vec<Event> {
        let mut lengths = lengths.iter().cycle();
        let mut cut = Vec::new();
        for event in script {
            match event {
                Bytes(from, bytes) => {
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        let (head, tail) =
                            rest.split_at((*lengths.next().unwrap()).min(rest.len()));
                        cut.push(Bytes(*from, head.to_vec()));
                        rest = tail;
                    }
                }
                hole @ Hole(..) => cut.push(hole.clone()),
            }
        }
        cut
    }

    /// Plays the flow stage: buffers, and keeps to what the parser wants. Answers what was told,
    /// one line each, and at a hand-over what each direction has left for the next reader.
    pub fn play(parser: &mut dyn StreamParser, script: &[Event]) -> Vec<String> {
        const LEAST: usize = 1;
        let mut told = Vec::new();
        let mut buffers = [Vec::new(), Vec::new()];
        let mut needs = [LEAST; 2];
        let mut skips = [0_u64; 2];
        let mut deaf = [false; 2];
        let mut ended = false;
        for event in script {
            let from = match event {
                Bytes(from, bytes) => {
                    let i = from.index();
                    let skip = usize::try_from(skips[i]).unwrap_or(usize::MAX).min(bytes.len());
                    skips[i] -= skip as u64;
                    buffers[i].extend_from_slice(&bytes[skip..]);
                    *from
                }
                Hole(from, len) => {
                    let i = from.index();
                    let within = (*len).min(skips[i]);
                    skips[i] -= within;
                    if within < *len && !ended && !deaf[i] {
                        buffers[i].clear();
                        needs[i] = LEAST;
                        if !parser.gap(*from) {
                            ended = true;
                            told.push("gave up".into());
                        }
                    }
                    continue;
                }
            };
            let i = from.index();
            let mut turns = 0;
            while !ended && !deaf[i] && !buffers[i].is_empty() && buffers[i].len() >= needs[i] {
                turns += 1;
                assert!(turns < 100_000, "a parser that never ends");
                let bytes = std::mem::take(&mut buffers[i]);
                let turn =
                    parser.feed(from, &bytes, &mut |metadata| told.push(format!("{metadata:?}")));
                assert!(turn.consumed <= bytes.len(), "consumed what was not there");
                buffers[i] = bytes[turn.consumed..].to_vec();
                needs[i] = LEAST;
                match turn.then {
                    Then::Need(need) => {
                        assert!(need > buffers[i].len(), "needs what it has");
                        needs[i] = need;
                    }
                    Then::Skip(len) => {
                        let here = usize::try_from(len).unwrap_or(usize::MAX).min(buffers[i].len());
                        buffers[i].drain(..here);
                        skips[i] = len - here as u64;
                    }
                    Then::Deaf => deaf[i] = true,
                    then => {
                        ended = true;
                        told.push(format!("{then:?}"));
                    }
                }
            }
        }
        if ended {
            for (i, name) in ["up", "down"].iter().enumerate() {
                told.push(format!("{name} left: {}", String::from_utf8_lossy(&buffers[i])));
            }
        }
        told
    }

    /// A short form of what an HTTP/1 stream tells, for tables.
    fn check(script: &[Event]) -> Vec<String> {
        play_short(&mut Http1::new(), script)
    }

    /// As [`play`], but each metadata as its telling parts.
    pub fn play_short(parser: &mut dyn StreamParser, script: &[Event]) -> Vec<String> {
        struct Short<'p>(&'p mut dyn StreamParser, Vec<String>);
        impl StreamParser for Short<'_> {
            fn feed(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
                let mut lines = Vec::new();
                let turn = self.0.feed(from, bytes, &mut |metadata| lines.push(short(&metadata)));
                for line in lines {
                    self.1.push(line);
                    out(Metadata::Anomaly(""));
                }
                turn
            }
            fn gap(&mut self, from: Direction) -> bool {
                self.0.gap(from)
            }
        }
        let mut short = Short(parser, Vec::new());
        let rest = play(&mut short, script);
        let mut lines = short.1;
        lines.extend(rest.into_iter().filter(|line| !line.starts_with("Anomaly")));
        lines
    }

    fn short(metadata: &Metadata<'_>) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match metadata {
            Metadata::HttpRequest(r) => {
                let mut line = format!("{} {}", text(r.method), r.host.map_or("-".into(), text));
                for (there, name) in [
                    (r.version == 10, "1.0"),
                    (r.source == HostSource::AbsoluteUri, "absolute"),
                    (r.source == HostSource::Connect, "connect"),
                    (r.sdk, "sdk"),
                    (r.websocket, "websocket"),
                    (r.prefetch, "prefetch"),
                    (r.embedded, "embedded"),
                ] {
                    if there {
                        line = format!("{line} {name}");
                    }
                }
                if !r.user_agent.is_empty() {
                    line = format!("{line} agent={}", text(r.user_agent));
                }
                if let Some(api) = r.api {
                    line = format!("{line} {}", api.name());
                }
                if r.body_bytes > 0 {
                    line = format!("{line} body={}", r.body_bytes);
                }
                if let Some(user) = r.user {
                    line = format!("{line} user={}", text(user));
                }
                line
            }
            Metadata::HttpResponse(r) => {
                let streamed = if r.streamed { " streamed" } else { "" };
                let api = r.api.map_or(String::new(), |api| format!(" {}", api.name()));
                format!("{}{streamed}{api}", r.status)
            }
            Metadata::Api(api) => format!("api {}", api.name()),
            Metadata::Anomaly(name) => format!("odd {name}"),
            other => format!("{other:?}"),
        }
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    fn get(lines: &str) -> Event {
        up(format!("GET / HTTP/1.1\r\n{lines}\r\n"))
    }

    #[test]
    fn requests() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("plain", "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n", &["GET a.example"]),
            ("no host", "GET /x HTTP/1.0\r\n\r\n", &["GET - 1.0"]),
            ("line feeds only", "GET /x HTTP/1.1\nHost: a.example\n\n", &["GET a.example"]),
            ("empty lines first", "\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", &["GET a"]),
            ("port", "GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", &["GET a.example"]),
            ("brackets", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", &["GET 2001:db8::1"]),
            ("bare address", "GET / HTTP/1.1\r\nHost: 2001:db8::1\r\n\r\n", &["GET 2001:db8::1"]),
            ("space around", "GET / HTTP/1.1\r\nHOST :\t a.example  \r\n\r\n", &["GET a.example"]),
            ("folded", "GET / HTTP/1.1\r\nHost:\r\n a.example\r\n\r\n", &["GET a.example"]),
            ("folded away", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n Host: b\r\n\r\n", &["GET a"]),
            (
                "absolute without Host",
                "GET http://u:p@a.example:80/x HTTP/1.0\r\n\r\n",
                &["GET a.example 1.0 absolute", "odd http.user-info"],
            ),
            (
                "absolute, same Host",
                "GET http://a.example?q HTTP/1.1\r\nHost: A.example\r\n\r\n",
                &["GET A.example absolute"],
            ),
            (
                "absolute, other Host",
                "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
                &["GET a.example absolute", "GET b.example", "odd http.host-differs"],
            ),
            (
                "two Hosts",
                "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                &["GET b", "GET a", "odd http.host-twice"],
            ),
            ("one Host said twice", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &["GET a"]),
            (
                "agent and body",
                "POST /x HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n",
                &["POST a agent=curl/8 body=3", "GET b"],
            ),
            (
                "chunks and trailer",
                "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
                &["POST a", "GET b"],
            ),
            (
                "both lengths",
                "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
                &["POST a", "odd http.length", "GET b"],
            ),
            (
                "two lengths",
                "POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                &["POST - body=1", "odd http.length"],
            ),
            (
                "basic, name only",
                "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic  YW5uYTpzZWNyZXQ=\r\n\r\n",
                &["GET a user=anna"],
            ),
            (
                "basic, no colon",
                "GET / HTTP/1.1\r\nAuthorization: Basic YW5uYQ==\r\n\r\n",
                &["GET -"],
            ),
            ("bearer", "GET / HTTP/1.1\r\nAuthorization: Bearer YTpi\r\n\r\n", &["GET -"]),
            (
                "prefetch",
                "GET / HTTP/1.1\r\nHost: a\r\nSec-Purpose: prefetch;prerender\r\n\r\n",
                &["GET a prefetch"],
            ),
            (
                "embedded",
                "GET / HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: iframe\r\n\r\n",
                &["GET - embedded"],
            ),
            (
                "followed link",
                "GET / HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n\r\n",
                &["GET -"],
            ),
            (
                "own part",
                "GET / HTTP/1.1\r\nSec-Fetch-Site: same-site\r\nSec-Fetch-Dest: iframe\r\n\r\n",
                &["GET -"],
            ),
            (
                "sdk",
                "POST /v1/messages HTTP/1.1\r\nHost: m:1\r\nanthropic-version: 2023-06-01\r\n\r\n",
                &["POST m sdk anthropic.generate"],
            ),
            (
                "tool call",
                "POST /mcp HTTP/1.1\r\nHost: m\r\nMcp-Method: tools/call\r\nMcp-Name: x\r\n\r\n",
                &["POST m mcp-2026.tool"],
            ),
            ("unknown method", "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", &["BREW a"]),
            (
                "second method broken",
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03\x01rubbish\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
                &["GET a", "GET b"],
            ),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(check(&[up(bytes)]), *expected, "{name}");
        }
    }

    #[test]
    fn conversations() {
        let hello = "\x16\x03\x01hello";
        let cases: &[(&str, Vec<Event>, &[&str])] = &[
            (
                "keep-alive",
                vec![
                    get("Host: a\r\n"),
                    down("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
                    get("Host: b\r\n"),
                    down("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
                ],
                &["GET a", "200", "GET b", "404"],
            ),
            (
                "pipelined HEAD has no body",
                vec![
                    up("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n"),
                    down(
                        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 304 -\r\nContent-Length: 9\r\n\r\n",
                    ),
                ],
                &["HEAD a", "GET b", "200", "304"],
            ),
            (
                "interim answers",
                vec![
                    up("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
                    down("HTTP/1.1 100 Continue\r\n\r\n"),
                    up("abc"),
                    down(OK),
                    get(""),
                ],
                &["POST - body=3", "200", "GET -"],
            ),
            (
                "expected body never sent",
                vec![
                    up("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
                    down("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
                    get("Host: b\r\n"),
                ],
                &["POST - body=3", "401", "GET b"],
            ),
            (
                "chunked answer",
                vec![
                    get(""),
                    down(
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n5\r\nabcde\r\n0\r\n\r\nHTTP/1.1 500 X\r\n\r\n",
                    ),
                ],
                &["GET -", "200 streamed", "500"],
            ),
            (
                "answer to the end",
                vec![get(""), down("HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 500 X\r\n\r\n")],
                &["GET -", "200"],
            ),
            (
                "tunnel",
                vec![
                    up("CONNECT a.example:443 HTTP/1.1\r\nHost: b\r\n\r\n"),
                    down("HTTP/1.1 200 Connection established\r\n\r\n"),
                    up(hello),
                ],
                &[
                    "CONNECT a.example connect",
                    "odd http.host-differs",
                    "200",
                    "Handover(None)",
                    "up left: \x16\x03\x01hello",
                    "down left: ",
                ],
            ),
            (
                "tunnel with hasty client and server",
                vec![
                    down("HTTP/1.1 408 X\r\nContent-Length: 0\r\n\r\n"),
                    up(format!("CONNECT a.example:443 HTTP/1.1\r\n\r\n{hello}")),
                    down("HTTP/1.1 200 Yes\r\nContent-Length: 5\r\n\r\nhello"),
                ],
                &[
                    "408",
                    "CONNECT a.example connect",
                    "200",
                    "Handover(None)",
                    "up left: \x16\x03\x01hello",
                    "down left: hello",
                ],
            ),
            (
                "tunnel refused",
                vec![
                    up("CONNECT a.example:443 HTTP/1.1\r\n\r\n"),
                    down("HTTP/1.1 407 Who\r\nContent-Length: 2\r\n\r\nno"),
                    up("CONNECT b.example:443 HTTP/1.1\r\n\r\n"),
                    down("HTTP/1.1 200 Yes\r\n\r\n"),
                ],
                &[
                    "CONNECT a.example connect",
                    "407",
                    "CONNECT b.example connect",
                    "200",
                    "Handover(None)",
                    "up left: ",
                    "down left: ",
                ],
            ),
            (
                "tunnel, one side seen",
                vec![up("CONNECT a.example:443 HTTP/1.1\r\n\r\n"), up(hello)],
                &[
                    "CONNECT a.example connect",
                    "Handover(None)",
                    "up left: \x16\x03\x01hello",
                    "down left: ",
                ],
            ),
            (
                "tunnel, answer lost",
                vec![
                    up("CONNECT a.example:443 HTTP/1.1\r\n\r\n"),
                    Hole(Direction::Down, 9),
                    down("\x16\x03\x03"),
                    up(hello),
                ],
                &[
                    "CONNECT a.example connect",
                    "Handover(None)",
                    "up left: \x16\x03\x01hello",
                    "down left: \x16\x03\x03",
                ],
            ),
            (
                "tunnel, hole before its refusal",
                vec![
                    up("CONNECT a.example:25 HTTP/1.1\r\n\r\n"),
                    Hole(Direction::Down, 9),
                    down("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n"),
                    up("CONNECT a.example:25 HTTP/1.1\r\n\r\nhasty"),
                    down("HTTP/1.1 200 Yes\r\n\r\n220 hello"),
                ],
                &[
                    "CONNECT a.example connect",
                    "407",
                    "CONNECT a.example connect",
                    "200",
                    "Handover(None)",
                    "up left: hasty",
                    "down left: 220 hello",
                ],
            ),
            (
                "WebSocket",
                vec![
                    get("Host: a\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"),
                    down("HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n\x01a"),
                ],
                &["GET a websocket", "101", "Done", "up left: ", "down left: \x01a"],
            ),
            (
                "WebSocket, one side seen",
                vec![get("Host: a\r\nUpgrade: websocket\r\n"), up(b"\x81\x01GET / HTTP/1.1\n")],
                &[
                    "GET a websocket",
                    "Done",
                    "up left: \u{fffd}\x01GET / HTTP/1.1\n",
                    "down left: ",
                ],
            ),
            (
                "HTTP/2 by upgrade",
                vec![
                    get("Host: a\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"),
                    down("HTTP/1.1 101 Go\r\nUpgrade: h2c\r\n\r\nSETTINGS"),
                ],
                &["GET a", "101", "Handover(Some(Http2))", "up left: ", "down left: SETTINGS"],
            ),
            (
                "HTTP/2 by prior knowledge",
                vec![up("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
                &[
                    "Handover(Some(Http2))",
                    "up left: PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                    "down left: ",
                ],
            ),
            (
                "server greets as Ollama",
                vec![
                    up("GET / HTTP/1.1\r\nHost: a:11434\r\n\r\n"),
                    down(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 17\r\n\r\nOllama is running",
                    ),
                    get("Host: b\r\n"),
                ],
                &["GET a ollama.health", "200", "api ollama.health", "GET b"],
            ),
            (
                "models say whose server it is, in chunks",
                vec![
                    up("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"),
                    down(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n51\r\n{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\",\"created\":1,\"owned_by\":\"vllm\"\r\n0\r\n\r\n",
                    ),
                ],
                &["GET a", "200", "api vllm.models"],
            ),
            (
                "answers of chats are not looked at",
                vec![
                    up(
                        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                    ),
                    down(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\nOllama is running",
                    ),
                ],
                &["POST a openai.generate", "200"],
            ),
            (
                "initialize, then a session",
                vec![
                    up(
                        "POST /mcp HTTP/1.1\r\nHost: a\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: 66\r\n\r\n{\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\"}} ",
                    ),
                    down("HTTP/1.1 200 OK\r\nMcp-Session-Id: 00\r\nContent-Length: 0\r\n\r\n"),
                ],
                &["POST a body=66", "api mcp-2025.session", "200 mcp-2025.session"],
            ),
            (
                "older MCP",
                vec![
                    up("GET /sse HTTP/1.1\r\nHost: a\r\n\r\n"),
                    down(format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: endpoint\r\ndata: /messages/?session_id=0\r\n\r\n{}",
                        ": ping\r\n".repeat(40)
                    )),
                ],
                &["GET a", "200 streamed", "api mcp-2024.session"],
            ),
            (
                "hole in a body that is passed over",
                vec![
                    up("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"),
                    Hole(Direction::Up, 100),
                    get("Host: b\r\n"),
                ],
                &["POST a body=100", "GET b"],
            ),
            (
                "hole beyond a body",
                vec![
                    up("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"),
                    Hole(Direction::Up, 101),
                    up("x: y\r\nGET me\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n"),
                ],
                &["POST a body=100", "GET b"],
            ),
            (
                "hole in a header, told at the answer",
                vec![
                    up("GET / HTTP/1.1\r\nHost: a\r\nCookie: s"),
                    Hole(Direction::Up, 20),
                    down(OK),
                ],
                &["GET a", "200"],
            ),
            (
                "hole in an answer",
                vec![get("Host: a\r\n"), Hole(Direction::Down, 20), down(format!("ent\r\n{OK}"))],
                &["GET a", "200"],
            ),
            ("answer first", vec![down(OK), get("Host: a\r\n")], &["200", "GET a"]),
            (
                "answer without a status",
                vec![get("Host: a\r\n"), down(format!("HTTP/1.1 000 X\r\n\r\n{OK}"))],
                &["GET a", "200"],
            ),
            (
                "not HTTP",
                vec![up("SSH-2.0-x\r\n")],
                &[
                    "NotThis(ParseError { field: \"start-line\", why: Invalid })",
                    "up left: SSH-2.0-x\r\n",
                    "down left: ",
                ],
            ),
        ];
        for (name, script, expected) in cases {
            assert_eq!(check(script), *expected, "{name}");
        }
    }

    #[test]
    fn what_looks_like_it() {
        let long = format!("GET /{}", "a".repeat(SHOWN));
        let authority = format!("CONNECT {}", "a".repeat(SHOWN_OTHER));
        let cases: &[(&str, Option<bool>)] = &[
            ("G", None),
            ("GET ", None),
            ("GET / HTTP/1.1\r", None),
            ("GET / HTTP/1.1\r\n", Some(true)),
            ("\r\nGET / HTTP/1.0\n", Some(true)),
            ("\r\n\r\n\r\n", Some(false)),
            ("PROPFIND /dav HTTP/1.1\r\n", Some(true)),
            ("CCM_POST /x HTTP/1.1\r\n", Some(true)),
            (&long, Some(true)),
            (&authority, Some(false)),
            ("GET key\r\n", Some(false)),
            ("GETX / HTTP/1.1\r\n", Some(false)),
            ("BREW / HTTP/1.1\r\n", Some(false)),
            ("get / HTTP/1.1\r\n", Some(false)),
            ("OPTIONS rtsp://a/ RTSP/1.0\r\n", Some(false)),
            ("DESCRIBE rtsp://a/ RTSP/1.0\r\n", Some(false)),
            ("OPTIONS sip:a SIP/2.0\r\n", Some(false)),
            ("NOTIFY sip:a SIP/2.0\r\n", Some(false)),
            ("GET icap://a/ ICAP/1.0\r\n", Some(false)),
            ("PRI * HTTP/2.0\r\n", Some(false)),
            ("SSH-2.0-x", Some(false)),
            ("\x16\x03\x01", Some(false)),
            ("", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(looks_like(Direction::Up, bytes.as_bytes()), *expected, "{bytes}");
        }
        for (bytes, expected) in [
            ("HTTP/1.1 200 OK", Some(true)),
            ("HTTP/1.0 302", Some(true)),
            ("HTTP/1.1 20", None),
            ("HTTP/1.1 2x0", Some(false)),
            ("HTTP/2 200 OK", Some(false)),
            ("ICY 200 OK", Some(false)),
            ("RTSP/1.0 200 OK", Some(false)),
        ] {
            assert_eq!(looks_like(Direction::Down, bytes.as_bytes()), expected, "{bytes}");
        }
    }

    #[test]
    fn limits() {
        let told = |script: &[Event]| check(script).join(" | ");
        for (len, expected) in [
            (LINE_MAX - 1, "GET a"),
            (LINE_MAX, "GET a"),
            (LINE_MAX + 1, "NotThis(ParseError { field: \"start-line\", why: Limit })"),
        ] {
            let target = "x".repeat(len - "GET / HTTP/1.1\r\n".len());
            let script = [up(format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n"))];
            assert!(told(&script).starts_with(expected), "line of {len}");
        }
        for (len, odd) in [(LINE_MAX - 1, false), (LINE_MAX, false), (LINE_MAX + 1, true)] {
            let cookie = "x".repeat(len - "Cookie: \r\n".len());
            let script = [get(&format!("Cookie: {cookie}\r\nHost: a\r\n"))];
            assert_eq!(told(&script) == "GET a | odd http.header-long", odd, "field of {len}");
        }
        for (count, stops) in [(FIELDS_MAX - 1, false), (FIELDS_MAX, false), (FIELDS_MAX + 1, true)]
        {
            let told = told(&[get(&format!("Host: a\r\n{}", "X: y\r\n".repeat(count - 1)))]);
            assert!(told.starts_with("GET a"), "{told}");
            assert_eq!(told.contains("NotThis"), stops, "{count} fields");
        }
        for (len, stops) in [(HEADER_MAX - 1, false), (HEADER_MAX, false), (HEADER_MAX + 1, true)] {
            let line = format!("X: {}\r\n", "y".repeat(995));
            let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n".len();
            let lines = (len - frame) / 1000;
            let fill = "y".repeat((len - frame) % 1000);
            let told = told(&[get(&format!("Host: a\r\n{}X: {fill}\r\n", line.repeat(lines)))]);
            assert!(told.starts_with("GET a"), "{told}");
            assert_eq!(told.contains("NotThis"), stops, "header of {len}");
        }
        for (count, answers) in [(ASKED_MAX - 1, 1), (ASKED_MAX, 1), (ASKED_MAX + 1, 0)] {
            let mut script = vec![get(""); count];
            script.push(down(OK));
            let seen = check(&script).iter().filter(|line| *line == "200").count();
            assert_eq!(seen, answers, "{count} requests without an answer");
        }
        for (count, stops) in [(GAPS_MAX - 1, false), (GAPS_MAX, false), (GAPS_MAX + 1, true)] {
            let mut script = vec![get("")];
            script.extend((0..count).map(|_| Hole(Direction::Up, 1)));
            assert_eq!(told(&script).contains("gave up"), stops, "{count} holes");
        }
        for (len, found) in [(SEARCH_MAX - 1, true), (SEARCH_MAX, true), (SEARCH_MAX + 1, false)] {
            let junk = format!("{}\n", "x".repeat(len - 1));
            let script = [get("Host: a\r\n"), Hole(Direction::Up, 1), up(junk), get("Host: b\r\n")];
            assert_eq!(told(&script).contains("GET b"), found, "{len} bytes searched");
        }
        for (len, kept) in [(HOST_MAX - 1, true), (HOST_MAX, true), (HOST_MAX + 1, false)] {
            let told = told(&[get(&format!("Host: {}\r\n", "h".repeat(len)))]);
            assert_eq!(told.contains("GET h"), kept, "host of {len}");
            assert_eq!(told.contains("odd http.host-long"), !kept, "host of {len}");
        }
        for (len, kept) in
            [(AGENT_MAX - 1, AGENT_MAX - 1), (AGENT_MAX, AGENT_MAX), (AGENT_MAX + 1, AGENT_MAX)]
        {
            let told = told(&[get(&format!("User-Agent: {}\r\n", "u".repeat(len)))]);
            assert_eq!(told.matches('u').count(), kept, "agent of {len}");
        }
        for (len, kept) in [(USER_MAX - 1, true), (USER_MAX, true), (USER_MAX + 1, false)] {
            let mut user = Text::default();
            basic_user(&basic(&format!("{}:x", "u".repeat(len))), &mut user);
            assert_eq!(user.get().len(), if kept { len } else { 0 }, "user of {len}");
        }
    }

    /// Basic credentials, encoded bit by bit.
    fn basic(text: &str) -> Vec<u8> {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bits: Vec<u8> =
            text.bytes().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1)).collect();
        let mut value = b"Basic ".to_vec();
        for six in bits.chunks(6) {
            let number = (0..6).fold(0, |n, i| n << 1 | six.get(i).copied().unwrap_or(0));
            value.push(alphabet[usize::from(number)]);
        }
        value
    }

    /// A conversation with everything in it, and secrets wherever there is room for one.
    fn rich() -> Vec<Event> {
        let secret = "s3cr3t";
        vec![
            up(format!(
                "POST /v1/chat/completions?key={secret} HTTP/1.1\r\nHost: llm.example:8080\r\nUser-Agent: agent/1\r\nAuthorization: Bearer {secret}\r\nCookie: c={secret}\r\nX-Stainless-Lang: {secret}\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{{\"prompt\":\"is {secret} \"}}"
            )),
            down(format!(
                "HTTP/1.1 200 OK\r\nSet-Cookie: {secret}\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{secret}\r\n0\r\n{secret}: 1\r\n\r\n"
            )),
            up(format!(
                "POST /mcp/{secret} HTTP/1.1\r\nHost: tools.example\r\nAccept: text/event-stream\r\nMcp-Method: tools/call\r\nMcp-Name: {secret}\r\nMcp-Param-City: {secret}\r\nMcp-Session-Id: {secret}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n30\r\n{{\"method\":\"tools/call\",\"params\":{{\"x\":\"{secret}\"}}}}\r\n0\r\n\r\n"
            )),
            down(format!(
                "HTTP/1.1 200 {secret}\r\nMcp-Session-Id: {secret}\r\nContent-Length: 6\r\n\r\n{secret}"
            )),
            up(format!(
                "POST /other/{secret} HTTP/1.1\r\nHost: rpc.example\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: 41\r\nReferer: http://x/{secret}\r\n\r\n{{\"method\":\"tools/call\",\"name\":\"{secret} !\"}}"
            )),
            down(format!(
                "HTTP/1.0 401 no\r\nServer: {secret}\r\nContent-Length: 6\r\n\r\n{secret}"
            )),
            up([
                b"GET http://u:s3cr3t@web.example/s3cr3t HTTP/1.1\r\nProxy-Authorization: ",
                &basic("anna:s3cr3t")[..],
                b"\r\n\r\n",
            ]
            .concat()),
            Hole(Direction::Down, 3),
            down(format!("{secret}\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{secret}")),
            up(format!("GET /v1/models HTTP/1.1\r\nHost: m.example\r\nX-{secret}: 1\r\n\r\n")),
            down(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 48\r\n\r\n{{\"owned_by\":\"vllm\",\"object\":\"model\",\"a\":\"{secret}\""
            )),
            up("CONNECT tunnel.example:443 HTTP/1.1\r\n\r\nrest of up"),
            down("HTTP/1.1 200 Yes\r\n\r\nrest of down"),
        ]
    }

    #[test]
    fn a_rich_conversation() {
        assert_eq!(
            check(&rich()),
            [
                "POST llm.example sdk agent=agent/1 openai.generate body=23",
                "200 streamed",
                "POST tools.example mcp-2026.tool",
                "200 mcp-2025.session",
                "POST rpc.example body=41",
                "api mcp.tool",
                "401",
                "GET web.example absolute user=anna",
                "odd http.user-info",
                "200",
                "GET m.example",
                "200",
                "api vllm.models",
                "CONNECT tunnel.example connect",
                "200",
                "Handover(None)",
                "up left: rest of up",
                "down left: rest of down",
            ]
        );
    }

    #[test]
    fn who_logs_on_by_ntlm_is_told() {
        use base64::Engine;
        // MS-NLMP §2.2.1.3: two challenge responses, domain, user, two empty fields, flags.
        let mut blob = [b"NTLMSSP\0\x03\0\0\0".as_slice(), &[0; 52]].concat();
        blob[28..36].copy_from_slice(&[4, 0, 4, 0, 64, 0, 0, 0]);
        blob[36..44].copy_from_slice(&[5, 0, 5, 0, 68, 0, 0, 0]);
        blob.extend_from_slice(b"CORPalice");
        let text = base64::engine::general_purpose::STANDARD.encode(&blob);
        for field in ["Authorization: NTLM", "proxy-authorization: negotiate"] {
            let head = format!("GET /a HTTP/1.1\r\nHost: a.example\r\n{field} {text}\r\n\r\n");
            let mut heard = Vec::new();
            let mut out = |m: Metadata<'_>| {
                if let Metadata::Account { source, user, domain } = m {
                    heard.push((source, user.to_vec(), domain.to_vec()));
                }
            };
            // Once, not again with the next request.
            let script = [head.as_str(), "GET /b HTTP/1.1\r\nHost: a.example\r\n\r\n"].concat();
            Http1::new().feed(Direction::Up, script.as_bytes(), &mut out);
            let expected = (super::super::AccountSource::Ntlm, b"alice".to_vec(), b"CORP".to_vec());
            assert_eq!(heard, [expected], "{field}");
        }
    }

    #[test]
    fn no_secret_comes_out() {
        for lengths in [&[usize::MAX][..], &[1], &[7, 40]] {
            for line in play(&mut Http1::new(), &split(&rich(), lengths)) {
                let bytes: Vec<String> = b"s3cr3t".iter().map(u8::to_string).collect();
                assert!(!line.contains("s3cr3t") && !line.contains(&bytes.join(", ")), "{line}");
            }
        }
    }

    #[test]
    fn reads_heads_as_another_reader_does() {
        for event in rich() {
            let Bytes(Direction::Up, bytes) = event else { continue };
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut theirs = httparse::Request::new(&mut fields);
            assert!(theirs.parse(&bytes).unwrap().is_complete());
            let mut ours = Vec::new();
            Http1::new().feed(Direction::Up, &bytes, &mut |metadata| {
                if let Metadata::HttpRequest(r) = metadata {
                    ours = vec![r.method.to_vec(), r.user_agent.to_vec()];
                }
            });
            let agent = theirs.headers.iter().find(|h| h.name.eq_ignore_ascii_case("user-agent"));
            let agent = agent.map_or(&b""[..], |h| h.value);
            assert_eq!(ours, [theirs.method.unwrap().as_bytes(), agent]);
        }
    }

    /// Cuts at every byte, and seeded changes of bytes, cuts and swaps: no panic, no endless turn.
    pub fn torture(fresh: &dyn Fn() -> Box<dyn StreamParser>, script: &[Event]) {
        for (at, event) in script.iter().enumerate() {
            let Bytes(from, bytes) = event else { continue };
            for len in 0..bytes.len() {
                let mut cut = script.to_vec();
                cut[at] = Bytes(*from, bytes[..len].to_vec());
                play(&mut *fresh(), &cut);
            }
        }
        let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % below as u64).unwrap()
        };
        for _ in 0..20_000 {
            let mut bad = script.to_vec();
            for _ in 0..=next(4) {
                let at = next(bad.len());
                let other = next(bad.len());
                let hole = next(2000) as u64;
                match (&mut bad[at], next(6)) {
                    (_, 0) => bad.swap(at, other),
                    (Bytes(from, _), 1) => bad[at] = Hole(*from, hole),
                    (Bytes(_, bytes), 2) if !bytes.is_empty() => {
                        let len = next(bytes.len());
                        bytes.truncate(len);
                    }
                    (Bytes(_, bytes), 3) if !bytes.is_empty() => {
                        let place = next(bytes.len());
                        bytes.insert(place, u8::try_from(next(256)).unwrap());
                    }
                    (Bytes(_, bytes), _) if !bytes.is_empty() => {
                        let place = next(bytes.len());
                        bytes[place] = u8::try_from(next(256)).unwrap();
                    }
                    _ => {}
                }
            }
            let lengths = [next(64) + 1, next(2000) + 1];
            play(&mut *fresh(), &split(&bad, &lengths));
        }
    }

    #[test]
    fn survives_hostile_bytes() {
        torture(&|| Box::new(Http1::new()), &rich());
    }

    proptest! {
        #[test]
        fn any_split_tells_the_same(lengths in proptest::collection::vec(1_usize..90, 1..20)) {
            let whole = play(&mut Http1::new(), &rich());
            let parts = play(&mut Http1::new(), &split(&rich(), &lengths));
            prop_assert_eq!(whole, parts);
        }
    }
}
