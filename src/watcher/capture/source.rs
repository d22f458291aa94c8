//! One file, from its first octet to its last.
//!
//! In: a path, or standard input; plain, gzip or Zstandard. Out: chunks with the frames in them.
//! Never: holds more than one chunk, or gives up what lay in front of a fault.
//! Limits: [`CHUNK`] octets a chunk unless one record is longer (see `savefile.rs`).
//!
//! A chunk is filled to its end before it is walked, and the record cut by its end moves on to
//! the next one; so the borders depend on the file alone, not on how fast it arrives.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::MultiGzDecoder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use twox_hash::xxhash3_128::Hasher;

use super::clock::Clock;
use super::list::Named;
use super::savefile::{Fault, Format, MAGIC_LEN, Stop, Walker, recognise};
use super::{Selection, selected};
use crate::watcher::packet::Frame;

/// Octets read at a time. A chunk and what is made of it stay in a core's second-level cache,
/// and a system call for so much costs nothing.
pub const CHUNK: usize = 256 << 10;

/// Octets read to learn when a file begins.
pub const PEEK: usize = 64 << 10;

/// How long a read waits before it looks whether it is wanted still: what a person takes for at once.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Chunks kept for reuse, enough for the blocks in flight of a few dozen threads.
const POOL_MAX: usize = 64;

/// Read buffers that nobody uses any more.
#[derive(Debug, Default)]
pub struct Pool {
    chunks: Vec<Arc<Vec<u8>>>,
}

impl Pool {
    /// Takes a chunk back, if this was its last owner.
    pub fn put(&mut self, mut chunk: Arc<Vec<u8>>) {
        let spare = self.chunks.len() < POOL_MAX && chunk.len() == CHUNK;
        if spare && Arc::get_mut(&mut chunk).is_some() {
            self.chunks.push(chunk);
        }
    }

    /// A chunk of `len` octets that nobody else has.
    fn take(&mut self, len: usize) -> Arc<Vec<u8>> {
        let reused = if len == CHUNK { self.chunks.pop() } else { None };
        reused.unwrap_or_else(|| Arc::new(vec![0; len]))
    }
}

/// Octets as stored, counted and digested on their way.
struct Raw {
    inner: Box<dyn Read + Send>,
    hasher: Hasher,
    bytes: u64,
}

impl Read for Raw {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.write(buf.get(..n).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(n as u64);
        Ok(n)
    }
}

/// A pipe or a terminal: waits for octets, but not past the moment when it is told to stop.
struct Patient {
    file: File,
    stop: Arc<AtomicBool>,
}

impl Read for Patient {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(0);
            }
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut fds, Some(&PATIENCE)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.file.read(buf),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// The octets that told the format, then the rest.
type Rewound = Chain<Cursor<Vec<u8>>, Raw>;

enum Stream {
    Plain(Box<Raw>),
    Gzip(Box<MultiGzDecoder<BufReader<Rewound>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Rewound>>>),
    Lz4(Box<lz4_flex::frame::FrameDecoder<BufReader<Rewound>>>),
    Xz(Box<liblzma::bufread::XzDecoder<BufReader<Rewound>>>),
}

/// Memory that unpacking xz may take: the dictionary of its highest preset has 64 MiB. A file may
/// ask for 4 GiB, and then is refused.
const XZ_MEMORY_MAX: u64 = 100 << 20;

impl Stream {
    fn raw(&mut self) -> &mut Raw {
        match self {
            Stream::Plain(raw) => raw,
            Stream::Gzip(gzip) => gzip.get_mut().get_mut().get_mut().1,
            Stream::Zstd(zstd) => zstd.get_mut().get_mut().get_mut().1,
            Stream::Lz4(lz4) => lz4.get_mut().get_mut().get_mut().1,
            Stream::Xz(xz) => xz.get_mut().get_mut().get_mut().1,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(raw) => raw.read(buf),
            Stream::Gzip(gzip) => gzip.read(buf),
            Stream::Zstd(zstd) => zstd.read(buf),
            // It stops behind each frame of several, and goes on when asked again.
            Stream::Lz4(lz4) => match lz4.read(buf)? {
                0 => lz4.read(buf),
                n => Ok(n),
            },
            Stream::Xz(xz) => xz.read(buf),
        }
    }
}

/// Why an input is not read at all.
#[derive(Debug)]
pub enum Refusal {
    /// It is no capture; in a directory that is nobody's fault.
    NotCapture(String),
    /// It cannot be read.
    Unreadable(String),
}

/// A capture that is being read.
pub struct Source {
    stream: Stream,
    walker: Walker,
    /// Sensor time of this file.
    pub clock: Clock,
    /// It can be read again from the start.
    pub regular: bool,
    /// What ended it early.
    pub fault: Option<Fault>,
    /// Frames that the options did not select.
    pub unselected: u64,
    /// The record that the last chunk cut off.
    carry: Vec<u8>,
    /// Length of that record, as far as it is known.
    need: usize,
    /// Octets of the capture in front of `carry`.
    offset: u64,
    chunk: usize,
    ended: bool,
    /// Once set, a stream ends wherever it is.
    stop: Option<Arc<AtomicBool>>,
}

impl Source {
    /// Opens an input and recognises its format.
    pub fn open(
        named: &Named,
        input: u16,
        chunk: usize,
        stop: Option<&Arc<AtomicBool>>,
    ) -> Result<Self, Refusal> {
        if let Some(error) = &named.error {
            return Err(Refusal::Unreadable(error.clone()));
        }
        let unreadable = |e: io::Error| Refusal::Unreadable(e.to_string());
        let file = if named.path.as_os_str() == "-" {
            File::from(io::stdin().as_fd().try_clone_to_owned().map_err(unreadable)?)
        } else {
            File::open(&named.path).map_err(unreadable)?
        };
        let regular = file.metadata().is_ok_and(|m| m.is_file()) && named.path.as_os_str() != "-";
        let (inner, stop): (Box<dyn Read + Send>, _) = match stop {
            Some(stop) if !regular => {
                (Box::new(Patient { file, stop: stop.clone() }), Some(stop.clone()))
            }
            _ => (Box::new(file), None),
        };
        let mut raw = Raw { inner, hasher: Hasher::new(), bytes: 0 };
        let (head, error) = head(&mut raw);
        if let (true, Some(error)) = (head.is_empty(), error) {
            return Err(unreadable(error));
        }
        if head.is_empty() {
            return Err(Refusal::NotCapture("empty file".to_owned()));
        }
        let format = recognise(&head);
        let rewound =
            |head: Vec<u8>, raw| BufReader::with_capacity(PEEK, Cursor::new(head).chain(raw));
        let mut stream = match format {
            Format::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(rewound(head.clone(), raw)))),
            Format::Zstd => {
                let decoder = zstd::Decoder::with_buffer(rewound(head.clone(), raw));
                Stream::Zstd(Box::new(decoder.map_err(unreadable)?))
            }
            Format::Lz4 => {
                let packed = rewound(head.clone(), raw);
                Stream::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(packed)))
            }
            Format::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let decoder = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_MAX, flags);
                let decoder = decoder.map_err(|e| unreadable(e.into()))?;
                let packed = rewound(head.clone(), raw);
                Stream::Xz(Box::new(liblzma::bufread::XzDecoder::new_stream(packed, decoder)))
            }
            _ => Stream::Plain(Box::new(raw)),
        };
        let packed = !matches!(stream, Stream::Plain(_));
        let (carry, format) = if packed {
            let (inside, _) = self::head(&mut stream);
            let format = recognise(&inside);
            (inside, format)
        } else {
            (head, format)
        };
        let walker = match format {
            Format::Pcap(variant) => Walker::pcap(variant, input),
            Format::Pcapng => Walker::pcapng(input),
            Format::Known(name) => {
                return Err(Refusal::NotCapture(format!("not supported: {name}")));
            }
            Format::Gzip | Format::Zstd | Format::Lz4 | Format::Xz => {
                return Err(Refusal::NotCapture("not supported: compressed twice".to_owned()));
            }
            Format::Unknown if packed => {
                return Err(Refusal::NotCapture("compressed, but not a capture".to_owned()));
            }
            Format::Unknown => return Err(Refusal::NotCapture("not a capture".to_owned())),
        };
        let (clock, fault, unselected, need, offset) = (Clock::default(), None, 0, 0, 0);
        let ended = false;
        Ok(Self {
            stream,
            walker,
            clock,
            regular,
            fault,
            unselected,
            carry,
            need,
            offset,
            chunk,
            ended,
            stop,
        })
    }

    /// The next chunk that holds frames, and those frames; nothing at the end.
    pub fn piece(
        &mut self,
        pool: &mut Pool,
        mut selection: Option<&mut Selection>,
        frames: &mut Vec<Frame>,
    ) -> Option<Arc<Vec<u8>>> {
        frames.clear();
        while !self.ended {
            let mut chunk = pool.take(self.chunk.max(self.need));
            self.fill(Arc::get_mut(&mut chunk)?, frames);
            self.clock.stamp(frames, self.ended);
            if let Some(selection) = selection.as_mut().filter(|s| !s.takes_all()) {
                let before = frames.len();
                frames.retain(|f| selected(selection, f, &chunk));
                let dropped = before.saturating_sub(frames.len());
                self.unselected = self.unselected.saturating_add(dropped as u64);
            }
            if !frames.is_empty() {
                return Some(chunk);
            }
            pool.put(chunk);
        }
        None
    }

    /// Fills the chunk behind what the last one left over, and finds the frames in it.
    fn fill(&mut self, chunk: &mut [u8], frames: &mut Vec<Frame>) {
        let carried = self.carry.len();
        let (front, back) = chunk.split_at_mut_checked(carried).unwrap_or_default();
        front.copy_from_slice(self.carry.get(..front.len()).unwrap_or_default());
        let (read, error) = read_full(&mut self.stream, back);
        let at_end = read < back.len();
        let filled = chunk.get(..carried.saturating_add(read)).unwrap_or_default();
        let (used, stop) = self.walker.walk(filled, frames);
        let left = filled.get(used..).unwrap_or_default();
        let place = |at: usize| self.offset.saturating_add(at as u64);
        match stop {
            Stop::Fault(at, reason) => self.fault = Some(Fault { offset: place(at), reason }),
            Stop::More(_) if at_end => {
                let reason = match error {
                    Some(error) => Some(format!("reading stopped: {error}")),
                    None if left.is_empty() && self.walker.started() => None,
                    // We left it, it was not cut.
                    None if self.stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed)) => None,
                    None => Some("cut short: the last record is not whole".to_owned()),
                };
                self.fault = reason.map(|reason| Fault { offset: place(used), reason });
            }
            Stop::More(need) => {
                self.carry.clear();
                self.carry.extend_from_slice(left);
                self.need = need;
                self.offset = place(used);
                return;
            }
        }
        self.ended = true;
    }

    /// Reads on to the end of a regular file for the sake of its digest. Nothing for a pipe that
    /// was left early, or a file that cannot be read on.
    pub fn digest(&mut self) -> Option<u128> {
        if !self.regular && self.fault.is_some() {
            return None;
        }
        // A decoder stops at its own end; even a sound file may have octets behind it.
        let raw = self.stream.raw();
        io::copy(raw, &mut io::sink()).ok()?;
        Some(raw.hasher.finish_128())
    }

    /// Octets read of the file as it is stored.
    pub fn bytes(&self) -> u64 {
        match &self.stream {
            Stream::Plain(raw) => raw.bytes,
            Stream::Gzip(gzip) => gzip.get_ref().get_ref().get_ref().1.bytes,
            Stream::Zstd(zstd) => zstd.get_ref().get_ref().get_ref().1.bytes,
            Stream::Lz4(lz4) => lz4.get_ref().get_ref().get_ref().1.bytes,
            Stream::Xz(xz) => xz.get_ref().get_ref().get_ref().1.bytes,
        }
    }

    /// What the records said so far.
    pub fn walker(&self) -> &Walker {
        &self.walker
    }
}

/// The first octets of a stream, and the error that kept it from giving more.
fn head(stream: &mut impl Read) -> (Vec<u8>, Option<io::Error>) {
    let mut head = vec![0; MAGIC_LEN];
    let (read, error) = read_full(stream, &mut head);
    head.truncate(read);
    (head, error)
}

/// Reads until the buffer is full or the stream ends; the error that ended it, if one did.
fn read_full(stream: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0_usize;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) => break,
            Ok(n) => filled = filled.saturating_add(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (filled, Some(e)),
        }
    }
    (filled, None)
}
