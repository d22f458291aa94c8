//! Both ends of a live bench: a sender that goes as fast as the machine, and the barest receiver.
//!
//! In: an interface, and a capture or nothing. Out: counts, as JSON.
//! Never: sends to an interface that the caller did not name.
//! Source: packet(7), Linux Documentation/networking/packet_mmap.rst for TPACKET_V3.

#![expect(unsafe_code, reason = "rings and sockets of the kernel")]

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::floor::{Ends, Table};
use crate::wire;

/// Frames handed to the kernel at once.
const BATCH: usize = 64;

/// Longest frame that a veth of the usual size takes.
const FRAME_MAX: usize = 1_514;

/// Blocks of the ring and their octets: 256 MiB, as much as the sensor has by default.
const BLOCKS: u32 = 256;
const BLOCK_BYTES: u32 = 1 << 20;

/// Flows that the bare receiver has room for at once.
const FLOWS: u64 = 1_000_000;

/// Milliseconds after which the kernel hands on a block that is not full.
const RETIRE_MS: u32 = 20;

/// Options of `SOL_PACKET` (linux/if_packet.h).
const RX_RING: i32 = 5;
const STATISTICS: i32 = 6;
const VERSION: i32 = 10;
const QDISC_BYPASS: i32 = 20;
const TPACKET_V3: i32 = 2;

/// A packet socket on one interface.
struct Socket(i32);

impl Socket {
    fn new(protocol: u16) -> io::Result<Self> {
        // SAFETY: no memory of ours goes in.
        match unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(protocol.to_be())) }
        {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(Self(descriptor)),
        }
    }

    fn set<T>(&self, option: i32, value: &T) -> io::Result<()> {
        let bytes = size_of::<T>() as u32;
        // SAFETY: a plain value of that length, which lives until the call is over.
        checked(unsafe {
            libc::setsockopt(self.0, libc::SOL_PACKET, option, ptr::from_ref(value).cast(), bytes)
        })
    }

    fn bind(&self, interface: &str, protocol: u16) -> io::Result<()> {
        let name = CString::new(interface)?;
        // SAFETY: a string with its end; a zeroed address is a valid one.
        let (index, mut address) =
            unsafe { (libc::if_nametoindex(name.as_ptr()), zeroed::<libc::sockaddr_ll>()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = i32::try_from(index).unwrap_or(0);
        let bytes = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: an address of that length.
        checked(unsafe { libc::bind(self.0, ptr::from_ref(&address).cast(), bytes) })
    }
}

fn checked(status: i32) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a capture round and round for so long; `rate` frames a second, 0 for all that goes.
pub fn send(interface: &str, file: &str, seconds: u64, rate: u64) -> io::Result<String> {
    let recorded = wire::read(file)?;
    let frames: Vec<_> =
        recorded.iter().map(|f| &f.bytes).filter(|f| f.len() <= FRAME_MAX).collect();
    let socket = Socket::new(0)?;
    socket.set(QDISC_BYPASS, &1_i32)?;
    socket.bind(interface, 0)?;
    let (begun, length) = (Instant::now(), Duration::from_secs(seconds));
    let (mut sent, mut bytes, mut refused) = (0_u64, 0_u64, 0_u64);
    let mut round = frames.iter().cycle();
    while !frames.is_empty() && begun.elapsed() < length {
        let batch: Vec<_> = round.by_ref().take(BATCH).collect();
        let mut pieces: Vec<libc::iovec> = batch
            .iter()
            .map(|f| libc::iovec { iov_base: f.as_ptr().cast_mut().cast(), iov_len: f.len() })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = pieces
            .iter_mut()
            .map(|piece| {
                // SAFETY: a zeroed header is an empty one.
                let mut message: libc::mmsghdr = unsafe { zeroed() };
                (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (piece, 1);
                message
            })
            .collect();
        let mut done = 0;
        while let Some(left) = messages.get_mut(done..).filter(|l| !l.is_empty()) {
            // SAFETY: so many headers, each with one piece of a frame that lives on; the kernel reads them.
            let taken =
                unsafe { libc::sendmmsg(socket.0, left.as_mut_ptr(), left.len() as u32, 0) };
            match usize::try_from(taken) {
                Ok(taken) if taken > 0 => done += taken,
                _ if refused > 1_000_000 => return Err(io::Error::last_os_error()),
                _ => refused += 1,
            }
        }
        sent += done as u64;
        bytes += batch.iter().map(|f| f.len() as u64).sum::<u64>();
        while rate > 0
            && begun.elapsed().as_nanos() < u128::from(sent) * 1_000_000_000 / u128::from(rate)
        {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    let ns = begun.elapsed().as_nanos();
    Ok(format!(r#"{{"sent": {sent}, "bytes": {bytes}, "ns": {ns}, "refused": {refused}}}"#))
}

/// Takes frames out of a ring for so long and counts them by flow: what no receiver can do without.
pub fn receive(interface: &str, seconds: u64) -> io::Result<String> {
    const ALL: u16 = libc::ETH_P_ALL as u16;
    let socket = Socket::new(ALL)?;
    socket.set(VERSION, &TPACKET_V3)?;
    let frame = 2_048_u32;
    socket.set(
        RX_RING,
        &[BLOCK_BYTES, BLOCKS, frame, BLOCKS * (BLOCK_BYTES / frame), RETIRE_MS, 0, 0],
    )?;
    let bytes = BLOCKS as usize * BLOCK_BYTES as usize;
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let ring = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, socket.0, 0) };
    if ring == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    socket.bind(interface, ALL)?;
    let mut table = Table::new(FLOWS);
    let (mut seen, mut block) = (0_u64, 0_usize);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        // SAFETY: within the mapping, which lives until the program ends.
        let base: *mut u8 = unsafe { ring.cast::<u8>().add(block * BLOCK_BYTES as usize) };
        // SAFETY: the status word of a block header, aligned, shared with the kernel.
        let status = unsafe { AtomicU32::from_ptr(base.add(8).cast()) };
        if status.load(Ordering::Acquire) & 1 == 0 {
            let mut poll = libc::pollfd { fd: socket.0, events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry that lives through the call.
            unsafe { libc::poll(&raw mut poll, 1, 50) };
            continue;
        }
        seen += count(base, &mut table);
        status.store(0, Ordering::Release);
        block = (block + 1) % BLOCKS as usize;
    }
    table.settle();
    let (mut counts, mut length) = ([0_u32; 3], 12_u32);
    // SAFETY: three words of room, and their length.
    checked(unsafe {
        libc::getsockopt(
            socket.0,
            libc::SOL_PACKET,
            STATISTICS,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    let flows = table.flows;
    Ok(format!(
        r#"{{"seen": {seen}, "kernel": {}, "drops": {}, "flows": {flows}}}"#,
        counts[0], counts[1]
    ))
}

/// Counts the frames of a block that the kernel has filled.
fn count(base: *mut u8, table: &mut Table) -> u64 {
    // SAFETY: the kernel has filled this block and waits until it gets it back; its header says
    // how many frames there are and where the first begins, each where the next one does.
    unsafe {
        let frames = base.add(12).cast::<u32>().read();
        let mut head = base.add(base.add(16).cast::<u32>().read() as usize);
        for _ in 0..frames {
            let next = head.cast::<u32>().read() as usize;
            let kept = head.add(12).cast::<u32>().read() as usize;
            let at = usize::from(head.add(24).cast::<u16>().read());
            if let Some(ends) = Ends::of(std::slice::from_raw_parts(head.add(at), kept)) {
                table.count(ends);
            }
            head = head.add(next);
        }
        u64::from(frames)
    }
}
