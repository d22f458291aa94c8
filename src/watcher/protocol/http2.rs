//! HTTP/2 in clear: by prior knowledge, or behind an upgrade from HTTP/1.1. gRPC is among it.
//!
//! In: both directions of a TCP stream, the client's from its preface on.
//! Out: [`HttpRequest`](super::HttpRequest) and [`HttpResponse`](super::HttpResponse) for each stream's first header.
//! Never: buffers DATA, keeps what header fields say, emits trailers.
//! Limits: [`BLOCK_MAX`], [`CONTINUATIONS_MAX`], [`FRAME_MAX`]; those of `hpack`.
//! Source: RFC 9113 §3.4, §4, §6; RFC 7541; RFC 8441.
//!
//! The compression state needs every header block: a hole or a block that cannot be decoded ends
//! the reading.

use super::grammar;
use super::hpack::Decoder;
use super::http1::{Answer, Head, Text};
use super::{HostSource, Metadata, Out, StreamParser, Then, Turn};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader, Why};

/// Longest header block, over all its frames: as long as HTTP/1 may have it.
pub const BLOCK_MAX: usize = 64 * 1024;

/// Most CONTINUATION frames of a block: with frames of the default size 4 are enough for
/// [`BLOCK_MAX`]; floods of small ones are an attack.
pub const CONTINUATIONS_MAX: usize = 32;

/// Longest frame that is passed over. The default is 16 KiB (RFC 9113 §6.5.2), some programs ask
/// for 1 MiB; what is beyond is most likely no frame.
pub const FRAME_MAX: usize = 1024 * 1024;

/// First bytes of a client (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length of a frame's header (RFC 9113 §4.1).
const FRAME_HEADER: usize = 9;

/// Settings in the first frame that are believable: 6 are defined, a few more are in use.
const SETTINGS_BYTES_MAX: usize = 16 * 6;

const TYPE_HEADERS: u8 = 1;
const TYPE_SETTINGS: u8 = 4;
const TYPE_PUSH_PROMISE: u8 = 5;
const TYPE_CONTINUATION: u8 = 9;

const FLAG_END_HEADERS: u8 = 0x4;
const FLAG_PADDED: u8 = 0x8;
const FLAG_PRIORITY: u8 = 0x20;

/// Whether a direction's first bytes are HTTP/2; `None` while they may be: the client's preface,
/// the server's SETTINGS.
pub fn looks_like(from: Direction, bytes: &[u8]) -> Option<bool> {
    if from == Direction::Up {
        let len = bytes.len().min(PREFACE.len());
        let same = bytes.get(..len) == PREFACE.get(..len);
        return if same && len < PREFACE.len() { None } else { Some(same) };
    }
    let shape =
        [Some(0), Some(0), None, Some(TYPE_SETTINGS), Some(0), Some(0), Some(0), Some(0), Some(0)];
    if bytes.iter().zip(shape).any(|(&byte, wanted)| wanted.is_some_and(|wanted| wanted != byte)) {
        return Some(false);
    }
    match bytes.get(2) {
        Some(&len) if usize::from(len) > SETTINGS_BYTES_MAX || len % 6 != 0 => Some(false),
        _ => (bytes.len() >= FRAME_HEADER).then_some(true),
    }
}

/// Reads the streams of one connection.
#[derive(Debug)]
pub struct Http2 {
    sides: [Side; 2],
    /// The client's preface was read.
    begun: bool,
}

#[derive(Debug)]
struct Side {
    decoder: Decoder,
    /// Fragments of a block whose end is not there yet.
    block: Vec<u8>,
    open: Option<Block>,
}

/// A block that CONTINUATION goes on with.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// A promise is decoded to stay in step, and not told.
    promise: bool,
    stream: u32,
    continuations: usize,
}

impl Default for Http2 {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamParser for Http2 {
    fn feed(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
        let mut consumed: usize = 0;
        if from == Direction::Up && !self.begun {
            match looks_like(from, bytes) {
                // Octet by octet, so that it ends at the same one however the stream is cut.
                None => return Turn { consumed, then: Then::Need(bytes.len().saturating_add(1)) },
                Some(false) => {
                    let then = Then::NotThis(ParseError::invalid("preface"));
                    return Turn { consumed, then };
                }
                Some(true) => consumed = PREFACE.len(),
            }
            self.begun = true;
        }
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            let Some(frame) = Frame::read(rest) else {
                return Turn { consumed, then: Then::Need(FRAME_HEADER) };
            };
            let Ok(whole) = self.wants(from, &frame) else {
                return Turn { consumed, then: Then::Done };
            };
            let end = FRAME_HEADER.saturating_add(frame.len);
            if let Some(frame_bytes) = rest.get(..end) {
                let payload = frame_bytes.get(FRAME_HEADER..).unwrap_or_default();
                if whole && self.header(from, &frame, payload, out).is_err() {
                    return Turn { consumed, then: Then::Done };
                }
                consumed = consumed.saturating_add(end);
            } else if whole {
                return Turn { consumed, then: Then::Need(end) };
            } else {
                let missing = u64::try_from(end.saturating_sub(rest.len())).unwrap_or(u64::MAX);
                return Turn { consumed: bytes.len(), then: Then::Skip(missing) };
            }
        }
    }
}

impl Http2 {
    /// Bytes of memory behind this value.
    pub fn memory(&self) -> usize {
        let of = |side: &Side| side.block.capacity().saturating_add(side.decoder.memory());
        let [up, down] = &self.sides;
        of(up).saturating_add(of(down))
    }

    /// Starts at the client's preface and the server's first frame.
    pub fn new() -> Self {
        let side = || Side { decoder: Decoder::new(kept), block: Vec::new(), open: None };
        Self { sides: [side(), side()], begun: false }
    }

    fn side(&mut self, from: Direction) -> &mut Side {
        let [up, down] = &mut self.sides;
        match from {
            Direction::Up => up,
            Direction::Down => down,
        }
    }

    /// Whether a frame is to be read whole, rather than passed over.
    fn wants(&mut self, from: Direction, frame: &Frame) -> Parsed<bool> {
        let open = self.side(from).open.map(|block| block.stream);
        let continues = frame.kind == TYPE_CONTINUATION;
        if continues != open.is_some() || open.is_some_and(|stream| stream != frame.stream) {
            return Err(ParseError::invalid("continuation"));
        }
        let whole = continues
            || frame.kind == TYPE_HEADERS
            || frame.kind == TYPE_PUSH_PROMISE && from == Direction::Down;
        let max = if whole { BLOCK_MAX } else { FRAME_MAX };
        if frame.len > max { Err(ParseError::limit("frame")) } else { Ok(whole) }
    }

    /// A frame that holds a header block, or a part of one.
    fn header(
        &mut self,
        from: Direction,
        frame: &Frame,
        payload: &[u8],
        out: &mut Out<'_>,
    ) -> Parsed<()> {
        let side = self.side(from);
        let promise = frame.kind == TYPE_PUSH_PROMISE;
        let ends = frame.flags & FLAG_END_HEADERS != 0;
        let fragment = frame.fragment(payload)?;
        let Some(mut block) = side.open.take() else {
            if ends {
                return side.tell(from, promise, fragment, out);
            }
            side.block.clear();
            side.block.extend_from_slice(fragment);
            side.open = Some(Block { promise, stream: frame.stream, continuations: 0 });
            return Ok(());
        };
        block.continuations = block.continuations.saturating_add(1);
        let len = side.block.len().saturating_add(fragment.len());
        if len > BLOCK_MAX || block.continuations > CONTINUATIONS_MAX {
            return Err(ParseError::limit("block"));
        }
        side.block.extend_from_slice(fragment);
        if !ends {
            side.open = Some(block);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut side.block);
        let told = side.tell(from, block.promise, &whole, out);
        whole.fill(0);
        told
    }
}

impl Side {
    /// Decodes a whole block and tells what it says.
    fn tell(
        &mut self,
        from: Direction,
        promise: bool,
        block: &[u8],
        out: &mut Out<'_>,
    ) -> Parsed<()> {
        match from {
            _ if promise => self.decoder.decode(block, &mut |_, _| ()),
            Direction::Up => request(&mut self.decoder, block, out),
            Direction::Down => response(&mut self.decoder, block, out),
        }
    }
}

fn request(decoder: &mut Decoder, block: &[u8], out: &mut Out<'_>) -> Parsed<()> {
    let mut head = Head::http2();
    let mut path = Text::<{ grammar::MATCH_BYTES_MAX }>::default();
    let mut method_seen = false;
    let mut connect = false;
    let decoded = decoder.decode(block, &mut |name, value| match name {
        b":method" => {
            method_seen = true;
            connect = value == b"CONNECT";
            head.method(value);
        }
        b":path" => path.set(kept(name, value)),
        b":authority" => head.authority(value, HostSource::Authority),
        b":protocol" => {
            // An extended CONNECT asks for a page's socket, not for a tunnel.
            connect = false;
            head.protocol(value);
        }
        _ => head.field(name, value),
    });
    // What stood in front of too much is whole; behind a fault of the coding nothing is sure.
    if !method_seen || decoded.is_err_and(|fault| fault.why != Why::Limit) {
        return decoded;
    }
    if connect {
        head.tunnel();
    }
    head.target(path.get());
    head.emit(out);
    decoded
}

fn response(decoder: &mut Decoder, block: &[u8], out: &mut Out<'_>) -> Parsed<()> {
    let mut answer = Answer::default();
    decoder.decode(block, &mut |name, value| match name {
        b":status" => answer.status(value),
        _ => answer.field(name, value),
    })?;
    if answer.is_final() {
        out(Metadata::HttpResponse(answer.tell(None)));
    }
    Ok(())
}

/// What the compression table keeps of a value: that of fields whose value is read, a path without
/// its query, of all others nothing.
fn kept<'v>(name: &[u8], value: &'v [u8]) -> &'v [u8] {
    match name {
        b":path" => value.split(|&b| b == b'?').next().unwrap_or_default(),
        b":method"
        | b":authority"
        | b":status"
        | b":protocol"
        | b"host"
        | b"user-agent"
        | b"content-type"
        | b"content-length"
        | b"accept"
        | b"server"
        | b"purpose"
        | b"sec-purpose"
        | b"x-moz"
        | b"sec-fetch-site"
        | b"sec-fetch-dest"
        | b"originator"
        | b"x-goog-api-client"
        | b"openai-organization"
        | b"mcp-method"
        | b"mcp-protocol-version" => value,
        _ => &[],
    }
}

/// Header of a frame (RFC 9113 §4.1).
#[derive(Clone, Copy, Debug)]
struct Frame {
    len: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Frame> {
        let mut reader = Reader::new(bytes);
        let len = usize::try_from(reader.u24("length").ok()?).ok()?;
        let kind = reader.u8("type").ok()?;
        let flags = reader.u8("flags").ok()?;
        let stream = reader.u32("stream").ok()? & 0x7fff_ffff;
        Some(Frame { len, kind, flags, stream })
    }

    /// The part of a header block within a payload (RFC 9113 §6.2, §6.6, §6.10).
    fn fragment<'p>(&self, payload: &'p [u8]) -> Parsed<&'p [u8]> {
        let mut reader = Reader::new(payload);
        if self.kind == TYPE_CONTINUATION {
            return Ok(payload);
        }
        let padding = if self.flags & FLAG_PADDED != 0 { reader.u8("pad length")? } else { 0 };
        if self.kind == TYPE_PUSH_PROMISE {
            reader.skip(4, "promised stream")?;
        } else if self.flags & FLAG_PRIORITY != 0 {
            reader.skip(5, "priority")?;
        }
        let len = reader.len().checked_sub(usize::from(padding));
        reader.take(len.ok_or(ParseError::invalid("pad length"))?, "fragment")
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::too_many_lines,
    reason = "a test may panic, and a table is as long as it is"
)]
mod tests {
    use proptest::prelude::*;

    use super::super::http1::tests::{Event, down, play, play_short, split, torture, up};
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![len[1], len[2], len[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Literal fields, remembered by both sides.
    fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in fields {
            bytes.push(0x40);
            for text in [name, value] {
                assert!(text.len() < 127);
                bytes.push(u8::try_from(text.len()).unwrap());
                bytes.extend(text.as_bytes());
            }
        }
        bytes
    }

    fn headers(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
        frame(TYPE_HEADERS, FLAG_END_HEADERS, stream, &block(fields))
    }

    const GET: &[(&str, &str)] = &[(":method", "GET"), (":path", "/"), (":authority", "a.example")];

    fn client(frames: &[Vec<u8>]) -> Event {
        let settings = frame(TYPE_SETTINGS, 0, 0, &[0; 6]);
        up([PREFACE, &settings, &frames.concat()].concat())
    }

    fn check(script: &[Event]) -> Vec<String> {
        play_short(&mut Http2::new(), script)
    }

    #[test]
    fn streams() {
        let post = [
            (":method", "POST"),
            (":path", "/v1/chat/completions?key=0"),
            (":authority", "m.example:8080"),
            ("user-agent", "agent/1"),
            ("x-stainless-lang", "rust"),
            ("content-length", "5"),
        ];
        let status = [(":status", "200"), ("content-type", "text/event-stream")];
        let padded = [&[3][..], &[0; 5], &block(GET), &[0; 3]].concat();
        let cut = block(GET);
        let (one, two) = cut.split_at(7);
        let cases: &[(&str, Vec<Event>, &[&str])] = &[
            ("request", vec![client(&[headers(1, GET)])], &["GET a.example"]),
            (
                "request, body, answer, trailer",
                vec![
                    client(&[headers(1, &post), frame(0, 1, 1, b"prompt"), headers(3, GET)]),
                    down(
                        [
                            frame(TYPE_SETTINGS, 0, 0, &[]),
                            headers(1, &[(":status", "100")]),
                            headers(1, &status),
                            frame(0, 0, 1, b"answer"),
                            headers(1, &[("grpc-status", "0")]),
                            headers(3, &[(":status", "404"), ("x-litellm-version", "1")]),
                        ]
                        .concat(),
                    ),
                ],
                &[
                    "POST m.example sdk agent=agent/1 openai.generate body=5",
                    "GET a.example",
                    "200 streamed",
                    "404 litellm.other",
                ],
            ),
            (
                "remembered fields, the last first",
                vec![client(&[headers(1, GET), frame(TYPE_HEADERS, 4, 3, &[0xbe, 0xbf, 0xc0])])],
                &["GET a.example", "GET a.example"],
            ),
            (
                "padding and priority",
                vec![client(&[frame(TYPE_HEADERS, 0x2c, 1, &padded)])],
                &["GET a.example"],
            ),
            (
                "continuation",
                vec![client(&[
                    frame(TYPE_HEADERS, 0, 1, one),
                    frame(TYPE_CONTINUATION, 0, 1, &[]),
                    frame(TYPE_CONTINUATION, 4, 1, two),
                    headers(3, GET),
                ])],
                &["GET a.example", "GET a.example"],
            ),
            (
                "another stream within a block",
                vec![client(&[
                    frame(TYPE_HEADERS, 0, 1, one),
                    frame(TYPE_CONTINUATION, 4, 3, two),
                ])],
                &["Done"],
            ),
            (
                "promise is decoded, not told",
                vec![down(
                    [
                        frame(TYPE_PUSH_PROMISE, 4, 1, &[&[0, 0, 0, 2][..], &block(GET)].concat()),
                        headers(2, &[(":status", "204")]),
                    ]
                    .concat(),
                )],
                &["204"],
            ),
            (
                "host instead of authority",
                vec![client(&[headers(1, &[(":method", "GET"), ("host", "b.example")])])],
                &["GET b.example"],
            ),
            (
                "host beside authority",
                vec![client(&[headers(1, &[&[("host", "b.example")], GET].concat())])],
                &["GET a.example", "odd http.host-differs"],
            ),
            (
                "user info makes the request malformed, whatever else names a host",
                vec![client(&[headers(
                    1,
                    &[
                        (":method", "GET"),
                        (":authority", "a.example@b.example"),
                        ("host", "c.example"),
                    ],
                )])],
                &["GET -", "odd http.host-differs", "odd http.user-info"],
            ),
            (
                "tunnel in a stream",
                vec![client(&[headers(1, &[(":method", "CONNECT"), (":authority", "t:443")])])],
                &["CONNECT t connect"],
            ),
            (
                "WebSocket in a stream",
                vec![client(&[headers(
                    1,
                    &[(":method", "CONNECT"), (":protocol", "websocket"), (":authority", "w")],
                )])],
                &["CONNECT w websocket"],
            ),
            (
                "block that cannot be decoded",
                vec![client(&[frame(TYPE_HEADERS, 4, 1, &[0x80]), headers(3, GET)])],
                &["Done"],
            ),
            (
                "too much padding",
                vec![client(&[frame(TYPE_HEADERS, 0xc, 1, &[9, 0x82])])],
                &["Done"],
            ),
            (
                "no preface",
                vec![up("GET / HTTP/1.1\r\n\r\n")],
                &["NotThis(ParseError { field: \"preface\", why: Invalid })"],
            ),
        ];
        for (name, script, expected) in cases {
            let told = check(script);
            let told: Vec<_> = told.iter().filter(|line| !line.contains(" left: ")).collect();
            assert_eq!(told, *expected, "{name}");
        }
    }

    #[test]
    fn what_looks_like_it() {
        for (from, bytes, expected) in [
            (Direction::Up, &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], Some(true)),
            (Direction::Up, b"PRI * HTTP/2.0\r\n", None),
            (Direction::Up, b"PRI * HTTP/1", Some(false)),
            (Direction::Up, b"", None),
            (Direction::Down, b"\0\0\x06\x04\0\0\0\0\0\0\x03", Some(true)),
            (Direction::Down, b"\0\0\0\x04\0\0\0\0\0", Some(true)),
            (Direction::Down, b"\0\0\x06\x04", None),
            (Direction::Down, b"\0\0\x05\x04\0\0\0\0\0", Some(false)),
            (Direction::Down, b"\0\0\x06\x04\0\0\0\0\x01", Some(false)),
            (Direction::Down, b"HTTP/1.1 200", Some(false)),
        ] {
            assert_eq!(looks_like(from, bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn limits() {
        let told = |frames: &[Vec<u8>]| check(&[client(frames)]).join(" | ");
        for (len, found) in [(FRAME_MAX - 1, true), (FRAME_MAX, true), (FRAME_MAX + 1, false)] {
            let told = told(&[frame(0, 0, 1, &vec![0; len]), headers(3, GET)]);
            assert_eq!(told.contains("GET a.example"), found, "DATA of {len}");
        }
        for (count, found) in [
            (CONTINUATIONS_MAX - 1, true),
            (CONTINUATIONS_MAX, true),
            (CONTINUATIONS_MAX + 1, false),
        ] {
            let mut frames = vec![frame(TYPE_HEADERS, 0, 1, &block(GET))];
            frames.extend((1..count).map(|_| frame(TYPE_CONTINUATION, 0, 1, &[])));
            frames.push(frame(TYPE_CONTINUATION, 4, 1, &[]));
            assert_eq!(told(&frames).contains("GET a.example"), found, "{count} continuations");
        }
        for (len, found) in [(BLOCK_MAX - 1, true), (BLOCK_MAX, true), (BLOCK_MAX + 1, false)] {
            // One field whose value fills the block, in one frame and in two.
            let mut bytes = block(GET);
            let rest = len - bytes.len() - 7 - 127;
            let seven = |shift: usize| u8::try_from(rest >> shift & 0x7f).unwrap();
            bytes.extend([0x00, 2, b'n', b'n', 0x7f, seven(0) | 0x80, seven(7)]);
            let more = rest >> 14;
            if more > 0 {
                let last = bytes.len() - 1;
                bytes[last] |= 0x80;
                bytes.push(u8::try_from(more).unwrap());
                bytes.truncate(bytes.len());
            }
            let fill = rest + 127 - usize::from(more > 0);
            // The length says one more than is left if a third byte was needed.
            let low = bytes.len() - 2 - usize::from(more > 0);
            bytes[low] = bytes[low].wrapping_sub(u8::from(more > 0));
            bytes.resize(bytes.len() + fill, b'v');
            assert_eq!(bytes.len(), len);
            let (one, two) = bytes.split_at(len / 2);
            let split = [frame(TYPE_HEADERS, 0, 1, one), frame(TYPE_CONTINUATION, 4, 1, two)];
            for frames in [&[frame(TYPE_HEADERS, 4, 1, &bytes)][..], &split] {
                assert_eq!(told(frames).contains("GET a.example"), found, "block of {len}");
            }
        }
    }

    /// A connection with everything in it, and secrets wherever there is room for one.
    fn rich() -> Vec<Event> {
        let secret = "s3cr3t";
        let call = block(&[
            (":method", "POST"),
            (":path", "/mcp?key=s3cr3t"),
            (":authority", "tools.example"),
            ("authorization", "Bearer s3cr3t"),
            ("cookie", "c=s3cr3t"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "s3cr3t"),
            ("mcp-param-x", "s3cr3t"),
        ]);
        let (one, two) = call.split_at(40);
        let again: Vec<u8> = (0xbe..0xc6).collect();
        vec![
            client(&[
                frame(TYPE_HEADERS, 0, 1, one),
                frame(TYPE_CONTINUATION, 4, 1, two),
                frame(0, 1, 1, secret.as_bytes()),
            ]),
            down(
                [
                    frame(TYPE_SETTINGS, 0, 0, &[0; 12]),
                    headers(1, &[(":status", "200"), ("mcp-session-id", secret)]),
                    frame(0, 1, 1, secret.as_bytes()),
                ]
                .concat(),
            ),
            up(frame(TYPE_HEADERS, 5, 3, &again)),
            down(headers(3, &[(":status", "500"), ("set-cookie", secret)])),
        ]
    }

    #[test]
    fn a_rich_connection_without_its_secrets() {
        let expected = [
            "POST tools.example mcp-2026.tool",
            "200 mcp-2025.session",
            "POST tools.example mcp-2026.tool",
            "500",
        ];
        assert_eq!(check(&rich()), expected);
        let bytes: Vec<String> = b"s3cr3t".iter().map(u8::to_string).collect();
        for line in play(&mut Http2::new(), &rich()) {
            assert!(!line.contains("s3cr3t") && !line.contains(&bytes.join(", ")), "{line}");
        }
    }

    #[test]
    fn the_table_holds_no_secret() {
        let mut parser = Http2::new();
        play(&mut parser, &rich());
        let held = format!("{parser:?}");
        let bytes: Vec<String> = b"s3cr3t".iter().map(u8::to_string).collect();
        assert!(held.contains("116, 111, 111, 108, 115"), "the method is kept");
        assert!(!held.contains(&bytes.join(", ")), "{held}");
    }

    #[test]
    fn survives_hostile_bytes() {
        torture(&|| Box::new(Http2::new()), &rich());
    }

    proptest! {
        #[test]
        fn any_split_tells_the_same(lengths in proptest::collection::vec(1_usize..60, 1..20)) {
            let whole = play(&mut Http2::new(), &rich());
            prop_assert_eq!(whole, play(&mut Http2::new(), &split(&rich(), &lengths)));
        }
    }
}
