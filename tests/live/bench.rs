//! A network of its own for a test: a namespace with two ends of a cable, a sender on one, the
//! sensor on the other. Everything in it goes with the namespace.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The sensor's end and the sender's.
pub const PORT: &str = "mirror0";
pub const OTHER: &str = "cable0";

/// Tests that measure run one after another, since they share the machine's cores; those that
/// mostly wait run one after another beside them.
static MEASURING: Mutex<()> = Mutex::new(());
static WAITING: Mutex<()> = Mutex::new(());

/// Why tests with traffic cannot run here, if they cannot.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it takes root to make network namespaces and to capture".to_owned());
    }
    let probe = format!("st-probe-{}", std::process::id());
    let made = Command::new("ip").args(["netns", "add", &probe]).output();
    match made {
        Err(e) => Some(format!("ip (iproute2) does not run: {e}")),
        Ok(out) if !out.status.success() => {
            let why = String::from_utf8_lossy(&out.stderr).trim().to_owned();
            Some(format!("network namespaces cannot be made: {why}"))
        }
        Ok(_) => {
            ip(&["netns", "del", &probe]);
            None
        }
    }
}

fn ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output().expect("ip runs");
    let why = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "ip {args:?}: {why}");
}

/// A namespace with a cable in it.
pub struct Net {
    pub name: String,
    pub dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Net {
    /// `None`, and a plain word why, where there can be none.
    pub fn new(test: &str) -> Option<Self> {
        let measures = ["rates", "load", "alert", "equal"].contains(&test);
        let kind = if measures { &MEASURING } else { &WAITING };
        let alone = kind.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(why) = missing() {
            eprintln!("{test}: SKIPPED: {why}");
            return None;
        }
        let name = format!("st-{test}-{}", std::process::id());
        ip(&["netns", "add", &name]);
        let dir = tempfile::tempdir().expect("a folder");
        let net = Self { name, dir, _alone: alone };
        net.run("sysctl", &["-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
        net.cable();
        Some(net)
    }

    /// Puts the cable in.
    pub fn cable(&self) {
        let n = &self.name;
        ip(&["-n", n, "link", "add", PORT, "type", "veth", "peer", "name", OTHER]);
        for end in [PORT, OTHER] {
            ip(&["-n", n, "link", "set", end, "arp", "off", "up"]);
        }
    }

    /// Sets something about a link.
    pub fn link(&self, args: &[&str]) {
        ip(&[&["-n", &self.name, "link"], args].concat());
    }

    pub fn run(&self, program: &str, args: &[&str]) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(args);
        assert!(command.status().expect("ip runs").success(), "{program} {args:?}");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A sender on the other end of the cable.
    pub fn sender(&self) -> Sender {
        let space = File::open(Path::new("/run/netns").join(&self.name)).expect("the namespace");
        // A thread may change its namespace for good, and what it opens stays there.
        let opened = std::thread::spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(space.as_fd(), Some(kind)).expect("root");
            Sender::open(OTHER)
        });
        opened.join().expect("a sender")
    }

    /// Starts the sensor; back once it watches.
    pub fn watch(&self, args: &[&str]) -> Watch {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_shadowtap")]);
        command.args(["watch", "-i", PORT, "--socket"]).arg(self.path("views.sock")).args(args);
        command.env_remove("SHADOWTAP_CONFIG").current_dir(self.dir.path());
        let watch = Watch::start(command);
        watch.wait_for("watching", Duration::from_secs(20));
        watch
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// A sensor that runs.
pub struct Watch {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    out: Option<std::thread::JoinHandle<String>>,
}

impl Watch {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the sensor starts");
        let said = Arc::new(Mutex::new(Vec::new()));
        let (errors, to) = (child.stderr.take().expect("piped"), said.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                to.lock().expect("no panic").push(line);
            }
        });
        let mut stdout = child.stdout.take().expect("piped");
        let out = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("text");
            text
        });
        Self { child, said, out: Some(out) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Process id of the confined watchers.
    pub fn watchers(&self) -> u32 {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(path).expect("children");
        let of_role = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("internal-watchers")
        };
        children
            .split_whitespace()
            .map(|p| p.parse().expect("a pid"))
            .find(of_role)
            .expect("watchers")
    }

    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic").clone()
    }

    /// Waits until standard error has a line with `word`.
    pub fn wait_for(&self, word: &str, patience: Duration) {
        let begin = Instant::now();
        while !self.said().iter().any(|l| l.contains(word)) {
            assert!(begin.elapsed() < patience, "nobody said {word:?}: {:?}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Ends it by a signal: how it ended, what it wrote.
    pub fn end(mut self, name: &str) -> (ExitStatus, String) {
        self.signal(name);
        let status = self.child.wait().expect("it ends");
        (status, self.out.take().expect("once").join().expect("text"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to a process that this test started.
pub fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(done.expect("kill runs").success(), "signal {name}");
}

/// A packet socket that counts what it gave to the cable.
pub struct Sender {
    fd: OwnedFd,
    pub sent: u64,
}

impl Sender {
    fn open(interface: &str) -> Self {
        let name = std::ffi::CString::new(interface).expect("a name");
        // SAFETY: plain system calls on a new socket; the address is fully written.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0, "a packet socket");
            let fd = OwnedFd::from_raw_fd(fd);
            let mut to: libc::sockaddr_ll = std::mem::zeroed();
            to.sll_family = u16::try_from(libc::AF_PACKET).expect("small");
            to.sll_ifindex = i32::try_from(libc::if_nametoindex(name.as_ptr())).expect("small");
            let len = u32::try_from(size_of_val(&to)).expect("small");
            assert_eq!(libc::bind(fd.as_raw_fd(), (&raw const to).cast(), len), 0, "bind");
            Self { fd, sent: 0 }
        }
    }

    pub fn send(&mut self, frame: &[u8]) {
        let sent = rustix::net::send(&self.fd, frame, rustix::net::SendFlags::empty());
        assert_eq!(sent, Ok(frame.len()), "the cable took a frame");
        self.sent += 1;
    }

    /// Sends frames at a rate, as fast as possible if it is 0; only what the cable took counts.
    pub fn pour<'f>(&mut self, frames: impl Iterator<Item = &'f [u8]>, per_s: u64) {
        let begin = Instant::now();
        let mut mine = 0_u64;
        let mut batch: VecDeque<&[u8]> = VecDeque::new();
        for frame in frames {
            batch.push_back(frame);
            if batch.len() < 64 {
                continue;
            }
            mine += self.flush(&mut batch);
            if let Some(due_ns) = (mine * 1_000_000_000).checked_div(per_s) {
                let due = Duration::from_nanos(due_ns);
                std::thread::sleep(due.saturating_sub(begin.elapsed()));
            }
        }
        self.flush(&mut batch);
    }

    fn flush(&mut self, batch: &mut VecDeque<&[u8]>) -> u64 {
        let mut vectors: Vec<libc::iovec> = batch
            .iter()
            .map(|f| libc::iovec { iov_base: f.as_ptr().cast_mut().cast(), iov_len: f.len() })
            .collect();
        // SAFETY: all-zero is a valid mmsghdr; each points at one vector, which outlives the call.
        let mut messages: Vec<libc::mmsghdr> = vectors
            .iter_mut()
            .map(|v| unsafe {
                let mut m: libc::mmsghdr = std::mem::zeroed();
                m.msg_hdr.msg_iov = v;
                m.msg_hdr.msg_iovlen = 1;
                m
            })
            .collect();
        let count = u32::try_from(messages.len()).expect("a batch");
        // SAFETY: pointer and count describe `messages`.
        let sent = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        let sent = u64::try_from(sent).unwrap_or(0);
        self.sent += sent;
        batch.drain(..usize::try_from(sent).expect("a batch"));
        sent
    }
}

/// One TCP connection with TLS to a named host, as frames.
pub struct Talk {
    client: [u8; 4],
    server: [u8; 4],
    port: u16,
    up: u32,
    down: u32,
}

impl Talk {
    pub fn new(client: u8, port: u16) -> Self {
        Self { client: [10, 0, 0, client], server: [203, 0, 113, 9], port, up: 1_000, down: 9_000 }
    }

    fn frame(&mut self, up: bool, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mac = |addr: [u8; 4]| [2, 0, addr[0], addr[1], addr[2], addr[3]];
        let (from, to) = if up { (self.client, self.server) } else { (self.server, self.client) };
        let (sport, dport) = if up { (self.port, 443) } else { (443, self.port) };
        let (seq, ack) = if up { (self.up, self.down) } else { (self.down, self.up) };
        let mut frame = [mac(to), mac(from)].concat();
        frame.extend([8, 0, 0x45, 0]);
        let len = u16::try_from(40 + payload.len()).expect("a packet");
        frame.extend(len.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(from);
        frame.extend(to);
        frame.extend([sport.to_be_bytes(), dport.to_be_bytes()].concat());
        frame.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(payload);
        let syn_or_fin = u32::from(flags & 3 != 0);
        let next = u32::try_from(payload.len()).expect("small") + syn_or_fin;
        *if up { &mut self.up } else { &mut self.down } += next;
        frame
    }

    /// Handshake up to the last octet of the hello.
    pub fn hello(&mut self, name: &str) -> Vec<Vec<u8>> {
        let hello = client_hello(name);
        vec![
            self.frame(true, 2, &[]),
            self.frame(false, 0x12, &[]),
            self.frame(true, 0x10, &[]),
            self.frame(true, 0x18, &hello),
        ]
    }

    /// The server's answer, `up` octets to it, and as many back.
    pub fn use_it(&mut self, up: usize) -> Vec<Vec<u8>> {
        let data = |n: usize| -> Vec<u8> {
            let len = u16::try_from(n).expect("a record").to_be_bytes();
            [&[0x17, 3, 3, len[0], len[1]], vec![0x55; n].as_slice()].concat()
        };
        let mut frames =
            vec![self.frame(false, 0x18, &data(1_300)), self.frame(false, 0x18, &data(1_300))];
        for n in (0..up).step_by(1_200) {
            frames.push(self.frame(true, 0x18, &data((up - n).min(1_200))));
        }
        frames.push(self.frame(false, 0x18, &data(900)));
        frames
    }
}

/// A ClientHello with a name, and just enough beside it (RFC 8446 §4.1.2).
fn client_hello(name: &str) -> Vec<u8> {
    let with_len = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).expect("short").to_be_bytes();
        [&len, bytes].concat()
    };
    let entry = [&[0], with_len(name.as_bytes()).as_slice()].concat();
    let server_name = [&[0, 0], with_len(&with_len(&entry)).as_slice()].concat();
    let versions = [0, 43, 0, 3, 2, 3, 4];
    let extensions = with_len(&[server_name.as_slice(), &versions].concat());
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(extensions);
    let len = u16::try_from(body.len()).expect("short").to_be_bytes();
    let message = [&[1, 0, len[0], len[1]], body.as_slice()].concat();
    [&[0x16, 3, 1], with_len(&message).as_slice()].concat()
}

/// A question of DNS from a client.
pub fn question(client: u8, id: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 10, 0, 0, 1, 2, 0, 10, 0, 0, client, 8, 0];
    let mut dns = id.to_be_bytes().to_vec();
    dns.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, b'w', b'i', b'k', b'i', 0, 0, 1, 0, 1]);
    let len = u16::try_from(28 + dns.len()).expect("small").to_be_bytes();
    frame
        .extend([0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, client, 10, 0, 0, 1]);
    let len = u16::try_from(8 + dns.len()).expect("small").to_be_bytes();
    frame.extend([0xc0, 1, 0, 53, len[0], len[1], 0, 0]);
    frame.extend(dns);
    frame
}

/// A small frame of one of many flows.
pub fn tiny(n: u32) -> Vec<u8> {
    let mut talk = Talk::new(u8::try_from(n % 200).expect("small") + 2, 0);
    talk.port = u16::try_from(1_024 + n / 200 % 60_000).expect("a port");
    talk.frame(n & 1 == 0, 0x10, &[0x17, 3, 3, 0, 1, 0])
}

/// A JSON file.
pub fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// Lines of JSON in a file; a last one that is being written is left out.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

/// Waits for something.
pub fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < patience, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
