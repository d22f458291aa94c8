//! A ring of one interface that the kernel fills: AF_PACKET, TPACKET_V3.
//!
//! In: an interface, opened by whoever may; later only its descriptor. Out: blocks of frames, lent
//! until they are dropped, and what the kernel counted.
//! Never: immediate mode (one wake-up a frame), kernel defragmentation (it would hide fragments
//! and choose among overlaps), a copy of a frame.
//! Limits: [`BLOCK_BYTES`] a block, so also a frame; [`RING_MIN`], [`RING_MAX`].
//! Source: Linux `Documentation/networking/packet_mmap.rst`, packet(7), `linux/if_packet.h`.
//!
//! `unsafe` stands here for the system calls that have no safe form, and for the memory that is
//! shared with the kernel: a block is ours while its status says so, and nobody writes it then.

#![allow(unsafe_code, reason = "socket options and shared memory; each use says why it is sound")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::deal::Instruction;
use crate::types::Timestamp;
use crate::watcher::packet::Frame;

/// Octets of a block: what is decoded and followed at a time stays in a core's second-level
/// cache, and a merged frame of 64 KiB fits.
pub const BLOCK_BYTES: usize = 256 << 10;

/// Smallest ring: at 64 MiB a full 10 Gbit/s link is held for 50 ms, a scheduler's worst day.
pub const RING_MIN: usize = 64 << 20;

/// Largest ring: the kernel keeps it in memory that cannot be swapped.
pub const RING_MAX: usize = 4 << 30;

/// Milliseconds after which the kernel hands over a block that is not full: what an alert waits
/// for at most, and twenty wake-ups a second when idle.
const RETIRE_MS: u32 = 50;

/// Octets kept free in front of each frame, where a stripped VLAN tag is put back.
const TAG: usize = 4;

/// `ETH_P_ALL`.
const EVERY_PROTOCOL: u16 = 0x0003;

/// Offsets in `struct tpacket_block_desc` (version 1).
mod block {
    pub const STATUS: usize = 8;
    pub const FRAMES: usize = 12;
    pub const FIRST: usize = 16;
    pub const SEQUENCE: usize = 24;
}

/// Offsets in `struct tpacket3_hdr`.
mod header {
    pub const NEXT: usize = 0;
    pub const SECONDS: usize = 4;
    pub const NANOSECONDS: usize = 8;
    pub const CAPTURED: usize = 12;
    pub const WIRE: usize = 16;
    pub const STATUS: usize = 20;
    pub const START: usize = 24;
    pub const TCI: usize = 32;
    pub const TPID: usize = 36;
}

/// How a ring is opened.
#[derive(Clone, Debug)]
pub struct RingOptions {
    /// Octets of the ring.
    pub bytes: usize,
    /// Ask the card for frames to others, which is what a mirror port gets.
    pub promiscuous: bool,
    /// Frames that the kernel is to keep from us; empty for none.
    pub filter: Vec<Instruction>,
    /// Group of rings that share one interface, and the program that deals frames among them.
    pub group: Option<(u16, Vec<Instruction>)>,
}

/// What the kernel counted at a ring since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounts {
    /// Frames put into the ring, and those for which it had no room.
    pub offered: u64,
    /// Frames for which it had no room.
    pub dropped: u64,
}

/// An error of a system call, and which one it was.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct RingError {
    /// What was tried.
    pub what: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

impl RingError {
    fn last(what: &'static str) -> Self {
        Self { what, source: io::Error::last_os_error() }
    }
}

/// Opens the rings of one interface, one a worker; frames begin to arrive once all are ready.
///
/// # Errors
/// If the kernel refuses; most often the right to capture is missing.
pub fn open(index: u32, workers: usize, options: &RingOptions) -> Result<Vec<OwnedFd>, RingError> {
    let nothing = [Instruction::RETURN_NONE];
    let mut rings = Vec::new();
    for _ in 0..workers.max(1) {
        let fd = socket()?;
        let version: libc::c_int = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        set(&fd, libc::PACKET_VERSION, &version, "choose TPACKET_V3")?;
        let reserve = TAG as libc::c_uint;
        set(&fd, libc::PACKET_RESERVE, &reserve, "reserve room for tags")?;
        // Until all rings of the group stand nothing may pass, or frames would come twice.
        filter(&fd, &nothing)?;
        set(&fd, libc::PACKET_RX_RING, &geometry(options.bytes), "make the ring")?;
        bind(&fd, index)?;
        if options.promiscuous {
            promiscuous(&fd, index)?;
        }
        if let Some((group, program)) = &options.group {
            let deal = u32::from(*group) | libc::PACKET_FANOUT_CBPF << 16;
            set(&fd, libc::PACKET_FANOUT, &deal, "join the group of rings")?;
            if rings.is_empty() {
                with_program(program, |p| set(&fd, libc::PACKET_FANOUT_DATA, p, "deal frames"))?;
            }
        }
        rings.push(fd);
    }
    for fd in &rings {
        if options.filter.is_empty() {
            detach(fd)?;
        } else {
            filter(fd, &options.filter)?;
        }
    }
    Ok(rings)
}

/// Leaves out frames that we send ourselves: on loopback each would come twice.
///
/// # Errors
/// If the kernel does not know the option (before Linux 4.20).
pub fn ignore_outgoing(fd: &OwnedFd) -> Result<(), RingError> {
    set(fd, libc::PACKET_IGNORE_OUTGOING, &1_i32, "leave out what is sent")
}

/// The index of an interface; `None` if there is none of that name now.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: the name is a valid C string for the duration of the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

fn socket() -> Result<OwnedFd, RingError> {
    use std::os::fd::FromRawFd;
    // No protocol yet: nothing arrives before the ring is bound.
    // SAFETY: no pointers are passed; the result is checked.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(RingError::last("open a capture socket"));
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set<T>(
    fd: &impl AsRawFd,
    name: libc::c_int,
    value: &T,
    what: &'static str,
) -> Result<(), RingError> {
    set_at(fd, libc::SOL_PACKET, name, value, what)
}

fn set_at<T>(
    fd: &impl AsRawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
    what: &'static str,
) -> Result<(), RingError> {
    let len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: pointer and length describe `value`, which outlives the call.
    let done =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const *value).cast(), len) };
    if done == 0 { Ok(()) } else { Err(RingError::last(what)) }
}

/// A ring of `bytes` octets in whole blocks.
fn geometry(bytes: usize) -> libc::tpacket_req3 {
    let number = |n: usize| libc::c_uint::try_from(n).unwrap_or(libc::c_uint::MAX);
    // The kernel wants frames named though version 3 packs them; any divisor of a block will do.
    const FRAME: usize = 2048;
    let blocks = blocks(bytes);
    libc::tpacket_req3 {
        tp_block_size: number(BLOCK_BYTES),
        tp_block_nr: number(blocks),
        tp_frame_size: number(FRAME),
        tp_frame_nr: number(blocks.saturating_mul(BLOCK_BYTES / FRAME)),
        tp_retire_blk_tov: RETIRE_MS,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    }
}

fn blocks(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK_BYTES).max(2)
}

fn bind(fd: &OwnedFd, index: u32) -> Result<(), RingError> {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = EVERY_PROTOCOL.to_be();
    address.sll_ifindex = libc::c_int::try_from(index).unwrap_or(0);
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
    // SAFETY: pointer and length describe `address`.
    let done = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
    if done == 0 { Ok(()) } else { Err(RingError::last("listen on the interface")) }
}

fn promiscuous(fd: &OwnedFd, index: u32) -> Result<(), RingError> {
    // SAFETY: all-zero is a valid packet_mreq.
    let mut wanted: libc::packet_mreq = unsafe { std::mem::zeroed() };
    wanted.mr_ifindex = libc::c_int::try_from(index).unwrap_or(0);
    wanted.mr_type = libc::PACKET_MR_PROMISC as libc::c_ushort;
    set(fd, libc::PACKET_ADD_MEMBERSHIP, &wanted, "ask for frames to others")
}

fn filter(fd: &OwnedFd, program: &[Instruction]) -> Result<(), RingError> {
    let attach = |p: &libc::sock_fprog| {
        set_at(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, p, "attach the filter")
    };
    with_program(program, attach)
}

fn detach(fd: &OwnedFd) -> Result<(), RingError> {
    set_at(fd, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0_i32, "let frames pass")
}

fn with_program<R>(program: &[Instruction], act: impl FnOnce(&libc::sock_fprog) -> R) -> R {
    let mut code: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect();
    let len = libc::c_ushort::try_from(code.len()).unwrap_or(libc::c_ushort::MAX);
    act(&libc::sock_fprog { len, filter: code.as_mut_ptr() })
}

/// The memory of a ring.
struct Map {
    base: NonNull<u8>,
    blocks: usize,
}

// SAFETY: the memory belongs to the mapping until the last owner unmaps it; blocks are handed out
// one by one, and their status words are atomic.
unsafe impl Send for Map {}
// SAFETY: as above; shared access reads blocks that the kernel does not write.
unsafe impl Sync for Map {}

impl Map {
    fn new(fd: &OwnedFd, blocks: usize) -> Result<Self, RingError> {
        let len = blocks.saturating_mul(BLOCK_BYTES);
        // SAFETY: a new mapping of the socket's own ring; the result is checked.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { base, blocks }),
            _ => Err(RingError::last("map the ring")),
        }
    }

    fn start(&self, index: usize) -> *mut u8 {
        debug_assert!(index < self.blocks, "a block of this ring");
        // SAFETY: callers give an index below `blocks`, so the result lies in the mapping.
        unsafe { self.base.as_ptr().add(index.wrapping_mul(BLOCK_BYTES)) }
    }

    fn status(&self, index: usize) -> &AtomicU32 {
        // SAFETY: the status word lies inside the mapping, is aligned, and both sides use it
        // atomically.
        unsafe { AtomicU32::from_ptr(self.start(index).add(block::STATUS).cast()) }
    }

    /// The kernel has handed this block to us.
    fn ours(&self, index: usize) -> bool {
        self.status(index).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    fn release(&self, index: usize) {
        self.status(index).store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping, which nobody uses any more.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.blocks.wrapping_mul(BLOCK_BYTES));
        }
    }
}

/// A block on loan from the kernel; goes back when dropped.
pub struct Lent {
    map: Arc<Map>,
    index: usize,
}

impl AsRef<[u8]> for Lent {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the block is ours until it is released, which only `drop` does; the kernel does
        // not write it before, and no exclusive reference to it is left.
        unsafe { std::slice::from_raw_parts(self.map.start(self.index), BLOCK_BYTES) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.map.release(self.index);
    }
}

/// The ring of one interface and worker, mapped.
pub struct Ring {
    fd: OwnedFd,
    map: Arc<Map>,
    next: usize,
}

impl Ring {
    /// Maps an opened ring of `bytes` octets, and goes on where its last reader stopped.
    ///
    /// # Errors
    /// If the descriptor is no such ring.
    pub fn map(fd: OwnedFd, bytes: usize) -> Result<Self, RingError> {
        let map = Arc::new(Map::new(&fd, blocks(bytes))?);
        let mut ring = Self { fd, map, next: 0 };
        ring.next = ring.oldest();
        Ok(ring)
    }

    /// The oldest block that waits for us; if none does, the one that is being filled, which has
    /// the highest number.
    fn oldest(&self) -> usize {
        let number = |i: &usize| u64_at(self.bytes_of(*i), block::SEQUENCE);
        let waiting = (0..self.map.blocks).filter(|&i| self.map.ours(i));
        let filling = || (0..self.map.blocks).max_by_key(|i| (number(i), std::cmp::Reverse(*i)));
        waiting.min_by_key(number).or_else(filling).unwrap_or(0)
    }

    fn bytes_of(&self, index: usize) -> &[u8] {
        // SAFETY: the memory is mapped; callers look at header words alone, of which the kernel
        // writes the sequence number once, before it hands the block over.
        unsafe { std::slice::from_raw_parts(self.map.start(index), BLOCK_BYTES) }
    }

    /// Gives back the block that an earlier reader did not finish, unread; the frames in it.
    pub fn skip(&mut self) -> u64 {
        if !self.map.ours(self.next) {
            return 0;
        }
        let frames = u64::from(u32_at(self.bytes_of(self.next), block::FRAMES));
        self.map.release(self.next);
        self.advance();
        frames
    }

    fn advance(&mut self) {
        self.next = self.next.wrapping_add(1);
        if self.next >= self.map.blocks {
            self.next = 0;
        }
    }

    /// The next block, if it is there, with its frames put behind those in `frames`.
    pub fn take(&mut self, input: (u16, u16), chunk: u16, frames: &mut Vec<Frame>) -> Option<Lent> {
        if !self.map.ours(self.next) {
            return None;
        }
        let index = self.next;
        self.advance();
        {
            // SAFETY: the block is ours and not on loan yet, so this is the only reference to it.
            let bytes =
                unsafe { std::slice::from_raw_parts_mut(self.map.start(index), BLOCK_BYTES) };
            walk(bytes, input, chunk, frames);
        }
        Some(Lent { map: Arc::clone(&self.map), index })
    }

    /// A block waits for us.
    pub fn ready(&self) -> bool {
        self.map.ours(self.next)
    }

    /// At least one part in `parts` of the ring waits for us.
    pub fn behind(&self, parts: usize) -> bool {
        let ahead = self.map.blocks.checked_div(parts.max(1)).unwrap_or(0);
        let mut index = self.next.saturating_add(ahead);
        if index >= self.map.blocks {
            index = index.wrapping_sub(self.map.blocks);
        }
        self.map.ours(index)
    }

    /// What the kernel counted since the last call.
    pub fn counts(&self) -> RingCounts {
        // SAFETY: all-zero is a valid tpacket_stats_v3.
        let mut stats: libc::tpacket_stats_v3 = unsafe { std::mem::zeroed() };
        let mut len = libc::socklen_t::try_from(size_of::<libc::tpacket_stats_v3>()).unwrap_or(0);
        // SAFETY: pointer and length describe `stats`.
        let done = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut len,
            )
        };
        if done != 0 {
            return RingCounts::default();
        }
        RingCounts { offered: stats.tp_packets.into(), dropped: stats.tp_drops.into() }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Finds the frames of a block, and puts the VLAN tags back that the kernel took off.
fn walk(bytes: &mut [u8], (input, link): (u16, u16), chunk: u16, frames: &mut Vec<Frame>) {
    let count = u32_at(bytes, block::FRAMES);
    let mut at = u32_at(bytes, block::FIRST) as usize;
    for _ in 0..count {
        let Some(head) = bytes.get(at..) else { return };
        let field = |offset| u32_at(head, offset);
        let next = field(header::NEXT) as usize;
        let (mut captured, mut wire) = (field(header::CAPTURED), field(header::WIRE));
        let seconds = u64::from(field(header::SECONDS));
        let time = seconds
            .saturating_mul(Timestamp::SECOND)
            .saturating_add(u64::from(field(header::NANOSECONDS)));
        let status = field(header::STATUS);
        let (tci, tpid) = (u16_at(head, header::TCI), u16_at(head, header::TPID));
        let mut start = at.saturating_add(usize::from(u16_at(head, header::START)));
        if status & libc::TP_STATUS_VLAN_VALID != 0 && tag(bytes, start, tci, tpid) {
            start = start.saturating_sub(TAG);
            (captured, wire) = (captured.saturating_add(4), wire.saturating_add(4));
        }
        frames.push(Frame {
            time: Timestamp(time),
            now: Timestamp(time),
            number: 0,
            offset: u32::try_from(start).unwrap_or(u32::MAX),
            captured,
            wire,
            chunk,
            input,
            link,
        });
        if next == 0 {
            return;
        }
        at = at.saturating_add(next);
    }
}

/// Moves both MACs into the reserved octets and puts the tag behind them; `false` if there is no
/// room.
fn tag(bytes: &mut [u8], start: usize, tci: u16, tpid: u16) -> bool {
    const MACS: usize = 12;
    /// `ETH_P_8021Q`, where an old kernel does not say which.
    const DOT1Q: u16 = 0x8100;
    let Some(to) = start.checked_sub(TAG) else { return false };
    let end = start.saturating_add(MACS);
    if bytes.get(to..end).is_none() {
        return false;
    }
    bytes.copy_within(start..end, to);
    let tpid = if tpid == 0 { DOT1Q } else { tpid };
    let [a, b] = tpid.to_be_bytes();
    let [c, d] = tci.to_be_bytes();
    let place = end.saturating_sub(TAG);
    if let Some(tag) = bytes.get_mut(place..end) {
        tag.copy_from_slice(&[a, b, c, d]);
    }
    true
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
    u32::from_ne_bytes(field.copied().unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>);
    u64::from_ne_bytes(field.copied().unwrap_or_default())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk::<2>);
    u16::from_ne_bytes(field.copied().unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests may overflow and fail")]
mod tests {
    use super::*;

    /// A block as the kernel writes it: frames with and without a stripped tag.
    fn block_of(frames: &[(&[u8], Option<(u16, u16)>)]) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK_BYTES];
        let put32 = |bytes: &mut Vec<u8>, at: usize, n: u32| {
            bytes[at..at + 4].copy_from_slice(&n.to_ne_bytes());
        };
        let count = u32::try_from(frames.len()).unwrap();
        put32(&mut bytes, block::FRAMES, count);
        put32(&mut bytes, block::FIRST, 48);
        let mut at = 48;
        for (n, (octets, stripped)) in frames.iter().enumerate() {
            let start = 82;
            let len = (start + octets.len()).next_multiple_of(16);
            let last = n + 1 == frames.len();
            put32(
                &mut bytes,
                at + header::NEXT,
                if last { 0 } else { u32::try_from(len).unwrap() },
            );
            put32(&mut bytes, at + header::SECONDS, 1_700_000_000);
            put32(&mut bytes, at + header::NANOSECONDS, 5);
            put32(&mut bytes, at + header::CAPTURED, u32::try_from(octets.len()).unwrap());
            put32(&mut bytes, at + header::WIRE, u32::try_from(octets.len()).unwrap());
            bytes[at + header::START..at + header::START + 2]
                .copy_from_slice(&82_u16.to_ne_bytes());
            if let Some((tpid, tci)) = stripped {
                put32(&mut bytes, at + header::STATUS, libc::TP_STATUS_VLAN_VALID);
                bytes[at + header::TCI..at + header::TCI + 2].copy_from_slice(&tci.to_ne_bytes());
                bytes[at + header::TPID..at + header::TPID + 2]
                    .copy_from_slice(&tpid.to_ne_bytes());
            }
            bytes[at + start..at + start + octets.len()].copy_from_slice(octets);
            at += len;
        }
        bytes
    }

    #[test]
    fn frames_are_found_and_tags_put_back() {
        let plain: Vec<u8> = (0..60).collect();
        let mut tagged = plain[..12].to_vec();
        tagged.extend([0x88, 0xa8, 0x00, 0x07]);
        tagged.extend(&plain[12..]);
        let mut bytes = block_of(&[(&plain, None), (&plain, Some((0x88a8, 7))), (&plain, None)]);
        let mut frames = Vec::new();
        walk(&mut bytes, (3, 1), 9, &mut frames);
        let of = |f: &Frame| bytes[f.offset as usize..(f.offset + f.captured) as usize].to_vec();
        assert_eq!(frames.iter().map(of).collect::<Vec<_>>(), [plain.clone(), tagged, plain]);
        assert!(frames.iter().all(|f| (f.input, f.link, f.chunk) == (3, 1, 9)));
        assert_eq!(frames[2].time, Timestamp(1_700_000_000 * Timestamp::SECOND + 5));
    }

    #[test]
    fn a_block_that_lies_ends_early() {
        let plain: Vec<u8> = (0..60).collect();
        let mut bytes = block_of(&[(&plain, Some((0, 5)))]);
        bytes[block::FRAMES..block::FRAMES + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
        bytes[block::FIRST..block::FIRST + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
        let mut frames = Vec::new();
        walk(&mut bytes, (0, 1), 0, &mut frames);
        assert!(frames.is_empty());
    }
}
