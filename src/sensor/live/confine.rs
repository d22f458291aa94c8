//! Gives up every right that a role does not need, for good.
//!
//! In: the process that calls. Out: the same without capabilities, files, network, other programs;
//! what the kernel did not have for that, in words. Never: undone; a step that fails in silence.
//! Source: capabilities(7), landlock(7), seccomp(2); design of roles in ARCHITECTURE.md.
//!
//! Order matters: identity and capabilities first, as changing them needs them; Landlock before
//! threads, which inherit it; seccomp last, over all threads, and before the first packet.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, geteuid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};

/// User and group `nobody`: owns nothing. Only a process that began as root can take it.
const NOBODY: u32 = 65_534;

/// Landlock of Linux 6.12, less of it on older kernels.
const LANDLOCK: ABI = ABI::V6;

/// Calls that a worker makes between two packets, and those of its threads' ends.
const NEEDED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_ppoll,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_fcntl,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
];

/// Calls that no role of ours makes once it is at work.
const NEVER: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
];

/// Why a process could not be confined; then it must not go on.
#[derive(Debug, thiserror::Error)]
#[error("cannot give up rights: {0}")]
pub struct Refused(String);

fn refused(what: &str) -> impl FnOnce(rustix::io::Errno) -> Refused + '_ {
    move |e| Refused(format!("{what}: {e}"))
}

/// First half for a worker's process, before its threads: identity, capabilities, files, network.
/// Returns what the kernel does not have.
///
/// # Errors
/// If a right stays that should be gone.
pub fn watcher_before_threads() -> Result<Vec<String>, Refused> {
    common()?;
    if geteuid().is_root() {
        become_nobody()?;
    }
    drop_capabilities()?;
    landlock(&[], &[], false)
}

/// Second half: from here on only [`NEEDED`] calls work, in all threads.
///
/// # Errors
/// If the kernel refuses the filter.
pub fn watcher_with_threads() -> Result<(), Refused> {
    let any = || Vec::new();
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NEEDED.iter().map(|&c| (c, any())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_poll, any());
    // Memory yes, code no: the third argument must not ask for execution.
    let no_code = SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.cast_unsigned()));
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule(2, no_code.clone(), 0)?]);
    }
    // What the ring counted, and nothing else of sockets' options.
    let packet = u64::from(libc::SOL_PACKET.cast_unsigned());
    rules.insert(libc::SYS_getsockopt, vec![rule(1, SeccompCmpOp::Eq, packet)?]);
    apply(rules, SeccompAction::Errno(libc::EPERM.cast_unsigned()), SeccompAction::Allow)
}

/// The recorder: it reads what it is told to and writes into few folders, but runs no program and
/// has no capability. It connects to nobody unless sinks do.
///
/// # Errors
/// If a right stays that should be gone.
pub fn recorder(writable: &[&Path], network: bool) -> Result<Vec<String>, Refused> {
    common()?;
    drop_capabilities()?;
    let missing = landlock(&[Path::new("/")], writable, network)?;
    let rules = NEVER.iter().map(|&c| (c, Vec::new())).collect();
    let eperm = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    apply(rules, SeccompAction::Allow, eperm)?;
    Ok(missing)
}

/// No core dumps, which would hold packets; nothing gained by running another program.
fn common() -> Result<(), Refused> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(refused("core dumps"))?;
    set_no_new_privs(true).map_err(refused("no new privileges"))
}

fn become_nobody() -> Result<(), Refused> {
    let (uid, gid) =
        (rustix::process::Uid::from_raw(NOBODY), rustix::process::Gid::from_raw(NOBODY));
    for capability in CapabilitySet::all().iter() {
        // Those that this kernel does not know cannot be had either.
        let _ = remove_capability_from_bounding_set(capability);
    }
    set_thread_groups(&[]).map_err(refused("groups"))?;
    set_thread_res_gid(gid, gid, gid).map_err(refused("group"))?;
    set_thread_res_uid(uid, uid, uid).map_err(refused("user"))
}

fn drop_capabilities() -> Result<(), Refused> {
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(refused("capabilities"))?;
    let left = capabilities(None).map_err(refused("capabilities"))?;
    if left.permitted.is_empty() && left.effective.is_empty() {
        Ok(())
    } else {
        Err(Refused("capabilities are still there".to_owned()))
    }
}

/// Only what lies below `readable` can be read, only what lies below `writable` written; nothing
/// can be connected or listened to.
fn landlock(readable: &[&Path], writable: &[&Path], network: bool) -> Result<Vec<String>, Refused> {
    let told = |e: &dyn std::fmt::Display| Refused(format!("Landlock: {e}"));
    let all = AccessFs::from_all(LANDLOCK);
    let files = Ruleset::default().handle_access(all).map_err(|e| told(&e))?;
    let handled =
        if network { Ok(files) } else { files.handle_access(AccessNet::from_all(LANDLOCK)) };
    let mut rules = handled
        .and_then(|r| r.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .map_err(|e| told(&e))?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = all & !AccessFs::Execute;
    let folders = readable.iter().map(|p| (p, read)).chain(writable.iter().map(|p| (p, write)));
    for (path, access) in folders {
        let Ok(fd) = PathFd::new(path) else { continue };
        rules = rules.add_rule(PathBeneath::new(fd, access)).map_err(|e| told(&e))?;
    }
    let status = rules.restrict_self().map_err(|e| told(&e))?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Vec::new(),
        RulesetStatus::PartiallyEnforced => {
            vec!["this kernel's Landlock lacks newer rules".to_owned()]
        }
        RulesetStatus::NotEnforced => vec!["this kernel has no Landlock".to_owned()],
    })
}

fn rule(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, Refused> {
    let told = |e| Refused(format!("seccomp: {e}"));
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value);
    SeccompRule::new(vec![condition.map_err(told)?]).map_err(told)
}

fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<(), Refused> {
    let told = |e: &dyn std::fmt::Display| Refused(format!("seccomp: {e}"));
    let machine = std::env::consts::ARCH.try_into().map_err(|e| told(&e))?;
    let filter = SeccompFilter::new(rules, otherwise, listed, machine).map_err(|e| told(&e))?;
    let program: BpfProgram = filter.try_into().map_err(|e| told(&e))?;
    apply_filter_all_threads(&program).map_err(|e| told(&e))
}

/// Confines this process as a worker's and tries to get out again: each way, and whether it was
/// shut.
///
/// # Errors
/// If it cannot be confined at all.
pub fn try_to_escape() -> Result<Vec<(&'static str, bool)>, Refused> {
    watcher_before_threads()?;
    // One thread that was there before the filter is bound by it as well.
    let parent = rustix::process::getppid().unwrap_or(rustix::process::Pid::INIT);
    let gate = Arc::new(Barrier::new(2));
    let theirs = gate.clone();
    let other = std::thread::spawn(move || {
        theirs.wait();
        theirs.wait();
        fs::File::open("/etc/passwd").is_err()
    });
    gate.wait();
    watcher_with_threads()?;
    gate.wait();
    let thread_shut = other.join().unwrap_or(false);
    let full = CapabilitySets {
        effective: CapabilitySet::NET_RAW,
        permitted: CapabilitySet::NET_RAW,
        inheritable: CapabilitySet::empty(),
    };
    let root = rustix::process::Uid::ROOT;
    Ok(vec![
        ("read a file", fs::File::open("/etc/passwd").is_err()),
        ("read a file from a thread of before", thread_shut),
        ("list a folder", fs::read_dir("/").is_err()),
        ("write a file", fs::write("/tmp/shadowtap-escape", b"x").is_err()),
        ("connect over TCP", TcpStream::connect(("127.0.0.1", 1)).is_err_and(|e| denied(&e))),
        ("open a UDP socket", std::net::UdpSocket::bind(("127.0.0.1", 0)).is_err()),
        (
            "open a capture socket",
            crate::watcher::capture::ring::open(1, 1, &escape_ring()).is_err(),
        ),
        ("run a program", Command::new("/bin/true").status().is_err()),
        ("take a capability back", set_capabilities(None, full).is_err()),
        ("become root", set_thread_res_uid(root, root, root).is_err()),
        ("look at another process", rustix::process::test_kill_process(parent).is_err()),
        ("ask for an interface by name", interfaces_hidden()),
    ])
}

fn interfaces_hidden() -> bool {
    crate::watcher::capture::ring::interface_index("lo").is_none()
}

fn escape_ring() -> crate::watcher::capture::ring::RingOptions {
    crate::watcher::capture::ring::RingOptions {
        bytes: crate::watcher::capture::ring::RING_MIN,
        promiscuous: false,
        filter: Vec::new(),
        group: None,
    }
}

/// Refused by the confinement, and not because nobody listens there.
fn denied(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::PermissionDenied)
}
