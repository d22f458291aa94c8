//! What crosses between the processes of a live sensor.
//!
//! In and out: [`FromWatcher`] over a stream, [`ToWatcher`] and [`ToRecorder`] with descriptors
//! over a packet socket. Never: believed in size or number; a watcher reads hostile bytes and may
//! be somebody else's by now.
//! Limits: [`MESSAGE_MAX`], [`OBSERVATIONS_MAX`], [`TEXTS_MAX`], [`CONTROL_MAX`],
//! [`DESCRIPTORS_MAX`].
//!
//! Both ends are the same program, so that postcard's compact form without names or versions will
//! do. Measured on Delta observations: some 70 octets and 150 ns each way.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::observation::Batch;
use crate::types::{MacAddr, Timestamp};
use crate::watcher::capture::deal::Deal;
use crate::watcher::capture::live::PortCounts;
use crate::watcher::decode::Realms;
use crate::watcher::mirror::MirrorCounts;

/// Octets of one message of a watcher: above the largest batch with [`OBSERVATIONS_MAX`].
pub const MESSAGE_MAX: usize = 16 << 20;

/// Observations of one message; the sweep of a full table can bring far more at once.
pub const OBSERVATIONS_MAX: usize = 16_384;

/// Highest number of a text: more than an interner ever gives out with its cap of flows.
pub const TEXTS_MAX: u32 = 1 << 24;

/// Octets of one control message: lists of networks and paths.
const CONTROL_MAX: usize = 128 << 10;

/// Descriptors of one control message: one a worker.
const DESCRIPTORS_MAX: usize = 32;

/// What a worker tells the recorder.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWatcher {
    /// Observations of a block.
    Batch(Batch),
    /// How it goes, once a second and at the end.
    Pulse(Box<Pulse>),
}

/// Counts of one worker since its start; those of the mirror since the last pulse.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pulse {
    /// Sensor time.
    pub now: Timestamp,
    /// Number of the worker.
    pub lane: u64,
    /// CPU seconds of its thread.
    pub cpu_s: f64,
    /// By input.
    pub ports: Vec<(u16, PortCounts)>,
    /// [`crate::watcher::decode::DecodeCounters::to_numbers`], by input.
    pub decode: Vec<(u16, Vec<u64>)>,
    /// Flows begun.
    pub flows: u64,
    /// Flows open.
    pub flows_open: u64,
    /// Flows ended early because a table was full.
    pub flows_evicted: u64,
    /// Flows not read because too many were.
    pub flows_unread: u64,
    /// Octets that tables and streams take.
    pub memory: u64,
    /// Oddities and parse errors by name.
    pub anomalies: Vec<(String, u64)>,
    /// Caps met by name.
    pub caps: Vec<(String, u64)>,
    /// Packets left out by rule, and how often that began.
    pub shed: (u64, u64),
    /// Packets handed to their owner, and those that it had no room for.
    pub handed: (u64, u64),
    /// What the mirror shows.
    pub mirror: Vec<(u16, MirrorCounts)>,
    /// This is the last one.
    pub last: bool,
}

/// What the watchers' process is told.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWatcher {
    /// How to work; with it come the streams to the recorder, one a worker.
    Setup(Box<WatcherSetup>),
    /// Rings of an interface, one a worker.
    Port(PortSetup),
    /// What must not be seen from now on.
    Exclude(Exclusions),
    /// Read what is there and end.
    Drain,
}

/// What the watchers' process answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum OfWatcher {
    /// Confined and at work; what of the confinement the kernel did not have.
    Ready(Vec<String>),
}

/// How the watchers work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WatcherSetup {
    /// Threads.
    pub workers: usize,
    /// Seed of flow hashes.
    pub seed: u64,
    /// How flows are dealt.
    pub deal: Deal,
    /// Networks whose hosts are ours.
    pub own_networks: Vec<(IpAddr, u8)>,
    /// What must not be seen.
    pub exclude: Exclusions,
    /// Address spaces that are kept apart.
    pub realms: Realms,
    /// Caps: flows, named flows, stream bytes; then the timeouts in the order of
    /// [`crate::watcher::flow::Limits`].
    pub limits: [u64; 9],
}

/// What must not be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusions {
    /// Networks.
    pub networks: Vec<(IpAddr, u8)>,
    /// VLAN ids.
    pub vlans: Vec<u16>,
    /// Link addresses.
    pub macs: Vec<MacAddr>,
}

/// Rings of one interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PortSetup {
    /// Index of the interface.
    pub input: u16,
    /// LINKTYPE.
    pub link: u16,
    /// Octets of each ring.
    pub ring_bytes: usize,
    /// Expression to be applied here, because the kernel sees frames without their tags.
    pub filter: Option<String>,
    /// Another process read these rings and ended unasked.
    pub restarted: bool,
}

/// What the recorder's process is told.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToRecorder {
    /// How to work; with it come the streams of the workers.
    Setup(Box<RecorderSetup>),
    /// Streams of new workers, after the old ones ended unasked.
    Workers,
    /// Read configuration, signatures and policy again.
    Reload,
    /// Print statistics.
    Print,
    /// An interface went or came back.
    Interface {
        /// Its index.
        input: u16,
        /// It is there.
        up: bool,
        /// Its MTU, speed in Mbit/s (0 if unknown).
        mtu: u32,
        /// Frames that its driver or the kernel in front of us lost, since the start.
        lost_before: u64,
    },
    /// No worker follows those that end now.
    Ending,
}

/// What the recorder's process answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum OfRecorder {
    /// The store is open.
    Ready,
    /// It lives: a watchdog may be told.
    Alive,
}

/// How the recorder works.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecorderSetup {
    /// Arguments of the command that matter here.
    pub config: Option<PathBuf>,
    /// Values that flags set: name, key, value.
    pub flags: Vec<(String, String, String)>,
    /// Store; none to keep nothing.
    pub store: Option<PathBuf>,
    /// Alerts as JSON lines.
    pub alerts: Option<PathBuf>,
    /// One JSON document at the end.
    pub json: bool,
    /// Statistics at the end.
    pub stats: Option<PathBuf>,
    /// No summary and no messages that are not problems.
    pub quiet: bool,
    /// The terminal belongs to the view.
    pub viewed: bool,
    /// Name of this sensor.
    pub sensor: String,
    /// When this run began.
    pub epoch: Timestamp,
    /// Interfaces by index.
    pub interfaces: Vec<String>,
    /// Workers.
    pub workers: usize,
    /// Where further views may attach.
    pub socket: Option<PathBuf>,
    /// Octets of each ring, for the reports.
    pub ring_bytes: usize,
    /// Run for a diagnosis alone: seconds; 0 otherwise.
    pub doctor_s: u64,
}

/// Two ends of a control socket.
///
/// # Errors
/// If the kernel has no room for one.
pub fn control_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends a control message with descriptors.
///
/// # Errors
/// If the other end is gone or does not read.
pub fn send(to: impl AsFd, message: &impl Serialize, fds: &[&OwnedFd]) -> io::Result<()> {
    let bytes = postcard::to_allocvec(message).map_err(io::Error::other)?;
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("too many descriptors"));
    }
    sendmsg(to, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for a control message; `None` once the other end is gone.
///
/// # Errors
/// If it cannot be read, or nothing is there and `flags` say not to wait.
pub fn receive<T: DeserializeOwned>(
    from: impl AsFd,
    wait: bool,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; CONTROL_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    flags.set(RecvFlags::DONTWAIT, !wait);
    let got = recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    let bytes = bytes.get(..got.bytes).unwrap_or_default();
    let message = postcard::from_bytes(bytes).map_err(io::Error::other)?;
    Ok(Some((message, fds)))
}

/// Writes messages of a watcher, reusing one buffer.
pub struct Sender<W> {
    to: W,
    buffer: Vec<u8>,
}

impl<W: Write> Sender<W> {
    /// A sender to `to`.
    pub fn new(to: W) -> Self {
        Self { to, buffer: Vec::new() }
    }

    /// Sends one message: its length, then itself.
    ///
    /// # Errors
    /// If the recorder is gone.
    pub fn send(&mut self, message: &FromWatcher) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend_from_slice(&[0; 4]);
        buffer = postcard::to_extend(message, buffer).map_err(io::Error::other)?;
        let len = u32::try_from(buffer.len().saturating_sub(4)).unwrap_or(u32::MAX);
        if let Some(head) = buffer.first_chunk_mut::<4>() {
            *head = len.to_le_bytes();
        }
        let sent = self.to.write_all(&buffer);
        self.buffer = buffer;
        sent
    }
}

/// Reads one message of a watcher; `None` at the end of the stream.
///
/// # Errors
/// If the stream breaks off or holds something that no watcher of ours sends.
pub fn read(from: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Option<FromWatcher>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let len = u32::from_le_bytes(head) as usize;
    if len > MESSAGE_MAX {
        return Err(io::Error::other("a message beyond its limit"));
    }
    buffer.resize(len, 0);
    from.read_exact(buffer)?;
    let message: FromWatcher = postcard::from_bytes(buffer).map_err(io::Error::other)?;
    if let FromWatcher::Batch(batch) = &message
        && batch.texts.iter().any(|(id, _)| id.0 > TEXTS_MAX)
    {
        return Err(io::Error::other("a text beyond its limit"));
    }
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Delta, Fact, FlowRef, Observation, Order, TextId};
    use crate::types::{Endpoint, Realm};
    use std::sync::Arc;

    fn batch(observations: usize) -> Batch {
        let end = |last: u8, port| Endpoint { addr: IpAddr::from([192, 0, 2, last]), port };
        let one = Observation {
            order: Order { frame: 9, shard: 3 },
            input: 1,
            frame_number: 77,
            time: Timestamp(1_795_392_000_123_456_789),
            flow: FlowRef {
                realm: Realm(0),
                protocol: 6,
                id: 1 << 40,
                client: end(1, 50_000),
                server: end(2, 443),
            },
            fact: Fact::Delta(Delta { up: 517, down: 9_000, ..Delta::default() }),
        };
        Batch {
            texts: vec![(TextId(5), Arc::from("api.example.com"))],
            observations: vec![one; observations],
            ..Batch::default()
        }
    }

    #[test]
    fn what_is_sent_is_read_and_nothing_else_is() {
        let mut wire = Vec::new();
        let mut sender = Sender::new(&mut wire);
        sender.send(&FromWatcher::Batch(batch(3))).expect("into memory");
        sender.send(&FromWatcher::Pulse(Box::default())).expect("into memory");
        let (mut from, mut buffer) = (wire.as_slice(), Vec::new());
        let Ok(Some(FromWatcher::Batch(read_back))) = read(&mut from, &mut buffer) else {
            panic!("the batch comes first");
        };
        assert_eq!(format!("{read_back:?}"), format!("{:?}", batch(3)));
        assert!(matches!(read(&mut from, &mut buffer), Ok(Some(FromWatcher::Pulse(_)))));
        assert!(matches!(read(&mut from, &mut buffer), Ok(None)));

        let mut wild = Batch::default();
        wild.texts.push((TextId(u32::MAX), Arc::from("x")));
        let mut wire = Vec::new();
        Sender::new(&mut wire).send(&FromWatcher::Batch(wild)).expect("into memory");
        assert!(read(&mut wire.as_slice(), &mut buffer).is_err(), "a wild number");
        assert!(read(&mut [255_u8; 8].as_slice(), &mut buffer).is_err(), "a wild length");
    }

    #[test]
    fn the_largest_batch_fits() {
        let mut wire = Vec::new();
        Sender::new(&mut wire).send(&FromWatcher::Batch(batch(OBSERVATIONS_MAX))).expect("memory");
        assert!(wire.len() < MESSAGE_MAX, "{}", wire.len());
    }

    #[test]
    fn descriptors_cross_with_their_message() {
        let (a, b) = control_pair().expect("a pair");
        let (other, _kept) = control_pair().expect("a pair");
        send(&a, &ToWatcher::Drain, &[&other]).expect("room");
        let (message, fds) = receive::<ToWatcher>(&b, true).expect("readable").expect("a message");
        assert!(matches!(message, ToWatcher::Drain));
        assert_eq!(fds.len(), 1);
        drop(a);
        assert!(receive::<ToWatcher>(&b, true).expect("readable").is_none());
    }
}
