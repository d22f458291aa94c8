//! Header compression of HTTP/2, decoding only.
//!
//! In: whole header blocks of one direction, in order. Out: names and values, one by one.
//! Never: keeps a value in its table that the reader did not ask to keep; leaves a decoded value
//! behind in its buffers.
//! Limits: [`TABLE_MAX`] of dynamic table, [`FIELDS_MAX`] and [`DECODED_MAX`] a block.
//! Source: RFC 7541.

use std::collections::VecDeque;

use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Largest dynamic table that is followed. 4,096 is the default; the servers and proxies that ask
/// for more ask for 64 KiB at most.
pub const TABLE_MAX: usize = 64 * 1024;

/// Most fields of a block; an index of one byte may stand for 4 KiB, so bytes alone do not bound
/// the work.
pub const FIELDS_MAX: usize = 200;

/// Most bytes of names and values that a block comes to once decoded.
pub const DECODED_MAX: usize = 256 * 1024;

/// Table size before anybody changes it (RFC 9113 §6.5.2).
const TABLE_DEFAULT: usize = 4096;

/// What an entry costs beside its bytes (RFC 7541 §4.1).
const ENTRY_OVERHEAD: usize = 32;

/// What of a value may be kept in the table, given its name.
pub type Keep = for<'v> fn(name: &[u8], value: &'v [u8]) -> &'v [u8];

/// Decodes the blocks of one direction.
#[derive(Debug)]
pub struct Decoder {
    keep: Keep,
    /// Newest first.
    entries: VecDeque<Entry>,
    /// Size of the entries as the peers reckon it, and the size they agreed on.
    size: usize,
    size_max: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    name: Box<[u8]>,
    /// What was kept of it; `size` reckons with the whole.
    value: Box<[u8]>,
    size: usize,
}

impl Decoder {
    /// Starts with an empty table that keeps what `keep` allows.
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            entries: VecDeque::new(),
            size: 0,
            size_max: TABLE_DEFAULT,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Bytes of memory behind this value.
    pub fn memory(&self) -> usize {
        let buffers = self.name.capacity().saturating_add(self.value.capacity());
        let rows = self.entries.capacity().saturating_mul(size_of::<Entry>());
        // `size` is what the entries have at most.
        buffers.saturating_add(rows).saturating_add(self.size)
    }

    /// Decodes one whole block and gives each field to `each`, in order.
    ///
    /// # Errors
    /// `Short`, `Invalid` or `Limit`; the table is then of no use any more.
    pub fn decode(&mut self, block: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Parsed<()> {
        let done = self.fields(block, each);
        for buffer in [&mut self.name, &mut self.value] {
            buffer.fill(0);
            buffer.clear();
        }
        done
    }

    /// RFC 7541 §6.
    fn fields(&mut self, block: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Parsed<()> {
        let mut reader = Reader::new(block);
        let mut fields: usize = 0;
        let mut decoded: usize = 0;
        while let Ok(first) = reader.u8("field") {
            if first & 0xe0 == 0x20 {
                let size = integer(first, 5, &mut reader)?;
                if size > TABLE_MAX {
                    return Err(ParseError::limit("table size"));
                }
                self.size_max = size;
                self.shrink(size);
                continue;
            }
            fields = fields.saturating_add(1);
            if fields > FIELDS_MAX {
                return Err(ParseError::limit("fields"));
            }
            let indexed = first & 0x80 != 0;
            let len = if indexed {
                let index = integer(first, 7, &mut reader)?;
                let (name, value) = self.entry(index)?;
                each(name, value);
                name.len().saturating_add(value.len())
            } else {
                let remember = first & 0x40 != 0;
                let index = integer(first, if remember { 6 } else { 4 }, &mut reader)?;
                self.literal(index, &mut reader)?;
                each(&self.name, &self.value);
                if remember {
                    self.remember();
                }
                self.name.len().saturating_add(self.value.len())
            };
            decoded = decoded.saturating_add(len);
            if decoded > DECODED_MAX {
                return Err(ParseError::limit("decoded"));
            }
        }
        Ok(())
    }

    /// Reads name and value of a literal into the buffers; index 0 is a new name.
    fn literal(&mut self, index: usize, reader: &mut Reader<'_>) -> Parsed<()> {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        if index == 0 {
            string(reader, &mut name)?;
        } else {
            name.extend_from_slice(self.entry(index)?.0);
        }
        self.name = name;
        self.value.clear();
        string(reader, &mut self.value)
    }

    fn entry(&self, index: usize) -> Parsed<(&[u8], &[u8])> {
        let at = index.checked_sub(1).ok_or(ParseError::invalid("index"))?;
        if let Some((name, value)) = STATIC.get(at) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = at.checked_sub(STATIC.len()).and_then(|at| self.entries.get(at));
        entry.map(|e| (&*e.name, &*e.value)).ok_or(ParseError::invalid("index"))
    }

    /// Puts the buffers' field into the table (RFC 7541 §4.4).
    fn remember(&mut self) {
        let bytes = self.name.len().saturating_add(self.value.len());
        let size = bytes.saturating_add(ENTRY_OVERHEAD);
        self.shrink(self.size_max.saturating_sub(size));
        if size > self.size_max {
            return;
        }
        let value = (self.keep)(&self.name, &self.value).into();
        self.entries.push_front(Entry { name: self.name.as_slice().into(), value, size });
        self.size = self.size.saturating_add(size);
    }

    /// Drops the oldest entries until at most `size` is used.
    fn shrink(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size = self.size.saturating_sub(oldest.size);
        }
    }
}

/// An integer whose first bits stand in `first` (RFC 7541 §5.1).
fn integer(first: u8, prefix_bits: u32, reader: &mut Reader<'_>) -> Parsed<usize> {
    /// No length or index that we would follow takes more.
    const MORE_BYTES_MAX: u32 = 4;
    let mask = 0xff_u8.checked_shr(8_u32.saturating_sub(prefix_bits)).unwrap_or(0xff);
    let mut value = usize::from(first & mask);
    if first & mask < mask {
        return Ok(value);
    }
    for at in 0..MORE_BYTES_MAX {
        let byte = reader.u8("integer")?;
        let part = usize::from(byte & 0x7f).checked_shl(at.saturating_mul(7)).unwrap_or(0);
        value = value.saturating_add(part);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ParseError::limit("integer"))
}

/// A string, plain or in Huffman code (RFC 7541 §5.2).
fn string(reader: &mut Reader<'_>, into: &mut Vec<u8>) -> Parsed<()> {
    let first = reader.u8("string")?;
    let len = integer(first, 7, reader)?;
    let bytes = reader.take(len, "string")?;
    if first & 0x80 == 0 {
        into.extend_from_slice(bytes);
        return Ok(());
    }
    huffman(bytes, into)
}

/// Decodes a Huffman-coded string. The code is canonical: codes of one length follow one another
/// in the order of their symbols, so first code and first place of each length are enough.
fn huffman(bytes: &[u8], into: &mut Vec<u8>) -> Parsed<()> {
    let mut held: u64 = 0;
    let mut bits: u32 = 0;
    let mut rest = bytes.iter();
    loop {
        while bits <= 32
            && let Some(&byte) = rest.next()
        {
            held = held << 8 | u64::from(byte);
            bits = bits.saturating_add(8);
        }
        let window = held << 32_u32.saturating_sub(bits.min(32)) >> bits.saturating_sub(32);
        let window = window & 0xffff_ffff;
        let Some(row) = LENGTHS.iter().find(|row| window < row.end) else {
            return padding(held, bits);
        };
        if row.bits > bits {
            return padding(held, bits);
        }
        let code = window >> 32_u32.saturating_sub(row.bits);
        let place = usize::try_from(code.saturating_sub(row.first)).unwrap_or(usize::MAX);
        match ORDER.get(row.place.saturating_add(place)) {
            Some(&symbol) => into.push(symbol),
            // The end symbol itself is never sent.
            None => return Err(ParseError::invalid("huffman")),
        }
        bits = bits.saturating_sub(row.bits);
        held &= 1_u64.checked_shl(bits).unwrap_or(0).wrapping_sub(1);
    }
}

/// What is left must be fewer than 8 bits, all of them ones (RFC 7541 §5.2).
fn padding(held: u64, bits: u32) -> Parsed<()> {
    let ones = 1_u64.checked_shl(bits).unwrap_or(0).wrapping_sub(1);
    if bits < 8 && held == ones { Ok(()) } else { Err(ParseError::invalid("huffman")) }
}

/// Codes of one length.
#[derive(Clone, Copy)]
struct Row {
    bits: u32,
    first: u64,
    /// First value of 32 left-aligned bits behind the codes of this length.
    end: u64,
    /// Where the symbols of this length begin in [`ORDER`].
    place: usize,
}

const SYMBOLS: usize = 256;
const BITS_MAX: u8 = 30;

/// Symbols by length of their code, then by value.
const ORDER: [u8; SYMBOLS] = order();

/// Rows by length, those without codes left out by being empty.
const LENGTHS: [Row; 30] = lengths();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "computed at compile time, where a fault is a failed build"
)]
const fn order() -> [u8; SYMBOLS] {
    let mut order = [0; SYMBOLS];
    let mut next = 0;
    let mut bits = 1;
    while bits <= BITS_MAX {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if CODE_BITS[symbol] == bits {
                order[next] = symbol as u8;
                next += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    order
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "computed at compile time, where a fault is a failed build"
)]
const fn lengths() -> [Row; 30] {
    let mut rows = [Row { bits: 0, first: 0, end: 0, place: 0 }; 30];
    let mut code = 0_u64;
    let mut place = 0;
    let mut bits = 1_u8;
    while bits <= BITS_MAX {
        let mut count = 0;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if CODE_BITS[symbol] == bits {
                count += 1;
            }
            symbol += 1;
        }
        let row = &mut rows[bits as usize - 1];
        row.bits = bits as u32;
        row.first = code;
        row.place = place;
        row.end = (code + count as u64) << (32 - bits as u32);
        code = (code + count as u64) << 1;
        place += count;
        bits += 1;
    }
    rows
}

/// Length of each symbol's code in bits (RFC 7541 appendix B).
#[rustfmt::skip]
const CODE_BITS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// RFC 7541 appendix A.
#[rustfmt::skip]
const STATIC: &[(&str, &str)] = &[
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""),
    ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::too_many_lines,
    reason = "a test may panic, and a table is as long as it is"
)]
mod tests {
    use super::*;

    const ALL: Keep = |_, value| value;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let pair = |p: &[u8]| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap();
        hex.chunks(2).map(pair).collect()
    }

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Parsed<Vec<String>> {
        let mut lines = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder.decode(block, &mut |n, v| lines.push(format!("{}: {}", text(n), text(v))))?;
        Ok(lines)
    }

    /// Table size after a row of blocks, each with its fields.
    fn check(name: &str, size_max: usize, rows: &[(&str, &str, usize)]) {
        let mut decoder = Decoder::new(ALL);
        decoder.size_max = size_max;
        for (hex, expected, size) in rows {
            let lines = decode(&mut decoder, &bytes(hex)).unwrap().join("\n");
            assert_eq!(lines, *expected, "{name}");
            assert_eq!(decoder.size, *size, "{name}");
        }
    }

    #[test]
    fn vectors_of_the_specification() {
        check(
            "C.2.1",
            4096,
            &[(
                "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                "custom-key: custom-header",
                55,
            )],
        );
        check("C.2.2", 4096, &[("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", 0)]);
        check(
            "C.2.3",
            4096,
            &[("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", 0)],
        );
        check("C.2.4", 4096, &[("82", ":method: GET", 0)]);
        let first = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com";
        let second = format!("{first}\ncache-control: no-cache");
        let third = ":method: GET\n:scheme: https\n:path: /index.html\n\
            :authority: www.example.com\ncustom-key: custom-value";
        check(
            "C.3",
            4096,
            &[
                ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", first, 57),
                ("8286 84be 5808 6e6f 2d63 6163 6865", &second, 110),
                (
                    "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                    third,
                    164,
                ),
            ],
        );
        check(
            "C.4",
            4096,
            &[
                ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", first, 57),
                ("8286 84be 5886 a8eb 1064 9cbf", &second, 110),
                ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", third, 164),
            ],
        );
        let moved = ":status: 302\ncache-control: private\n\
            date: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com";
        let again = moved.replace("302", "307");
        let cookie = ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
            location: https://www.example.com\ncontent-encoding: gzip\n\
            set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
        check(
            "C.5",
            256,
            &[
                (
                    "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 \
                     3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 \
                     7861 6d70 6c65 2e63 6f6d",
                    moved,
                    222,
                ),
                ("4803 3330 37c1 c0bf", &again, 222),
                (
                    "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 \
                     474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 \
                     454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 \
                     6572 7369 6f6e 3d31",
                    cookie,
                    215,
                ),
            ],
        );
        check(
            "C.6",
            256,
            &[
                (
                    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 \
                     82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                    moved,
                    222,
                ),
                ("4883 640e ffc1 c0bf", &again, 222),
                (
                    "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b \
                     d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 \
                     0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                    cookie,
                    215,
                ),
            ],
        );
    }

    /// The other way, bit by bit, so that every symbol is tried.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for &byte in text {
            let place = ORDER.iter().position(|&s| s == byte).unwrap();
            let row =
                LENGTHS.iter().rfind(|r| r.place <= place && r.first << (32 - r.bits) < r.end);
            let row = row.unwrap();
            let code = row.first + (place - row.place) as u64;
            bits.extend((0..row.bits).rev().map(|i| code >> i & 1));
        }
        while bits.len() % 8 != 0 {
            bits.push(1);
        }
        let byte = |c: &[u64]| u8::try_from(c.iter().fold(0, |n, b| n << 1 | b)).unwrap();
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn every_symbol_there_and_back() {
        let every: Vec<u8> = (0..=255).collect();
        let mut back = Vec::new();
        huffman(&encode(&every), &mut back).unwrap();
        assert_eq!(back, every);
        let last = LENGTHS.last().unwrap();
        assert_eq!(last.end, 0xffff_fffc, "the one code left is the end symbol's: thirty ones");
    }

    #[test]
    fn hostile_blocks() {
        for (name, hex, expected) in [
            ("index 0", "80", ParseError::invalid("index")),
            ("index beyond", "be", ParseError::invalid("index")),
            ("integer without end", "ffff ffff ffff", ParseError::limit("integer")),
            ("integer cut", "ff80", ParseError::short("integer")),
            ("string cut", "400a 61", ParseError::short("string")),
            ("value missing", "4001 61", ParseError::short("string")),
            ("padding of zeros", "4081 00 00", ParseError::invalid("huffman")),
            ("padding of eight ones", "4081 ff 00", ParseError::invalid("huffman")),
            ("end symbol", "4084 ffff fffc 00", ParseError::invalid("huffman")),
        ] {
            assert_eq!(decode(&mut Decoder::new(ALL), &bytes(hex)), Err(expected), "{name}");
        }
    }

    #[test]
    fn limits() {
        let limit = |field| Err(ParseError::limit(field));
        for (count, expected) in
            [(FIELDS_MAX - 1, Ok(())), (FIELDS_MAX, Ok(())), (FIELDS_MAX + 1, limit("fields"))]
        {
            let got = decode(&mut Decoder::new(ALL), &vec![0x82; count]).map(|_| ());
            assert_eq!(got, expected, "{count} fields");
        }
        for (size, expected) in
            [(TABLE_MAX - 1, Ok(())), (TABLE_MAX, Ok(())), (TABLE_MAX + 1, limit("table size"))]
        {
            let rest = size - 31;
            let seven = |shift: usize| u8::try_from(rest >> shift & 0x7f).unwrap();
            let block = [0x3f, seven(0) | 0x80, seven(7) | 0x80, seven(14)];
            let got = decode(&mut Decoder::new(ALL), &block).map(|_| ());
            assert_eq!(got, expected, "table of {size}");
        }
        for (len, expected) in
            [(DECODED_MAX - 1, Ok(())), (DECODED_MAX, Ok(())), (DECODED_MAX + 1, limit("decoded"))]
        {
            let rest = len - 2 - 127;
            let seven = |shift: usize| u8::try_from(rest >> shift & 0x7f).unwrap();
            let mut block = vec![0x00, 2, b'n', b'n', 0x7f];
            block.extend([seven(0) | 0x80, seven(7) | 0x80, seven(14)]);
            block.resize(block.len() + len - 2, b'v');
            let got = decode(&mut Decoder::new(ALL), &block).map(|_| ());
            assert_eq!(got, expected, "{len} bytes decoded");
        }
    }

    #[test]
    fn the_table_never_outgrows_its_size() {
        let mut decoder = Decoder::new(ALL);
        for n in 0..1000_u32 {
            let mut block = vec![0x40, 4];
            block.extend(n.to_be_bytes());
            block.extend([3, b'a', b'b', b'c']);
            decode(&mut decoder, &block).unwrap();
            assert!(decoder.size <= TABLE_DEFAULT);
        }
        assert_eq!(decoder.entries.len(), TABLE_DEFAULT / (4 + 3 + ENTRY_OVERHEAD));
        decode(&mut decoder, &[0x20]).unwrap();
        assert_eq!((decoder.size, decoder.entries.len()), (0, 0));
    }

    #[test]
    fn what_is_not_to_be_kept_is_reckoned_with_but_gone() {
        let mut decoder = Decoder::new(|_, value| value.get(..0).unwrap_or_default());
        let block = bytes("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572");
        assert_eq!(decode(&mut decoder, &block).unwrap(), ["custom-key: custom-header"]);
        assert_eq!(decoder.size, 55);
        assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), ["custom-key: "]);
        assert!(decoder.value.is_empty() && decoder.name.is_empty());
    }
}
