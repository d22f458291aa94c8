//! What people and programs are told of a store: summary, document, evidence, schemas.

#![allow(clippy::cast_possible_truncation, reason = "small numbers of our own")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use shadowtap::answer::summary::{self, Facts, Style, Unread};
use shadowtap::answer::{evidence, json, observations};
use shadowtap::recorder::alert;
use shadowtap::recorder::digest;
use shadowtap::recorder::identity::Person;
use shadowtap::recorder::signature::Catalogue;
use shadowtap::recorder::store::rows::{
    Actor, Candidate, Coverage, EvidenceItem, Finding, InputRow, InputRows, SessionSpan, Text,
    Usage,
};
use shadowtap::recorder::store::{Options, Scope, Store};
use shadowtap::recorder::words::{ClientClass, Disposition, EvidenceKind, Level, Role};
use shadowtap::types::{Endpoint, MacAddr, Realm, Timestamp};
use shadowtap::watcher::capture::{self, Fill, Inputs};
use shadowtap::watcher::packet::Block;
use twox_hash::XxHash3_128;

const S: u64 = Timestamp::SECOND;
/// 2026-03-02T09:00:00Z, a Monday.
const NINE: u64 = 1_772_442_000 * S;

// ---- a store filled by hand ---------------------------------------------------------------------

struct Use {
    who: Arc<Actor>,
    service: &'static str,
    class: ClientClass,
    level: Level,
    disposition: Disposition,
    up: u64,
    at: u64,
}

fn actor(n: u8, host: &str) -> Arc<Actor> {
    let host_name = (!host.is_empty()).then(|| Text::from(host));
    let mac = (n < 200).then_some(MacAddr([2, 0, 0, 0, 0, n]));
    Arc::new(Actor {
        realm: Realm(0),
        addr: [192, 0, 2, n].into(),
        mac,
        host_name,
        who: Person::Unknown,
        department: None,
    })
}

fn usage(u: &Use) -> Usage {
    Usage {
        hour: (u.at / S / 3600) as u32,
        actor: u.who.clone(),
        service: u.service.into(),
        role: Role::Chat,
        pattern: "chat.example".into(),
        client_class: u.class,
        level: u.level,
        evidence: EvidenceKind::Sni,
        disposition: u.disposition,
        policy_version: "p1".into(),
        signature_version: "s1".into(),
        bytes_up: u.up,
        bytes_down: u.up * 3,
        flows: 2,
        first_seen: Timestamp(u.at),
        last_seen: Timestamp(u.at + 60 * S),
    }
}

fn session(u: &Use) -> SessionSpan {
    SessionSpan {
        actor: u.who.clone(),
        service: u.service.into(),
        start: Timestamp(u.at),
        end: Timestamp(u.at + 60 * S),
        level: u.level,
        disposition: u.disposition,
        bytes_up: 0,
    }
}

fn item(capture: &str, client: (u8, u16), server: (u8, u16), frames: [u64; 3]) -> EvidenceItem {
    let end = |net: [u8; 3], (host, port): (u8, u16)| Endpoint {
        addr: [net[0], net[1], net[2], host].into(),
        port,
    };
    EvidenceItem {
        time: Timestamp(NINE),
        community_id: "1:abc=".into(),
        capture: capture.into(),
        first_frame: frames[0],
        name_frame: frames[1],
        last_frame: frames[2],
        wireshark_filter: "tcp.port==443".into(),
        transport: 6,
        client: end([192, 0, 2], client),
        server: end([198, 51, 100], server),
        kind: EvidenceKind::Sni,
        name: "chat.example".into(),
        ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".into()),
        client_class: ClientClass::Browser,
        client_evidence: "JA4 of a browser; names a TLS stack, no program".into(),
    }
}

fn finding(id: &str, u: &Use, evidence: Vec<EvidenceItem>) -> Finding {
    Finding {
        id: id.into(),
        actor: u.who.clone(),
        service: u.service.into(),
        day: (u.at / S / 86_400) as u32,
        revision: 0,
        service_name: u.service.into(),
        vendor: "Example".into(),
        category: "assistant".into(),
        pattern: "chat.example".into(),
        client_class: u.class,
        level: u.level,
        disposition: u.disposition,
        policy: "".into(),
        policy_version: "p1".into(),
        signature_version: "s1".into(),
        severity: 4,
        reasons: vec!["nobody has decided about it yet".into()],
        title: format!("{} was used", u.service).into(),
        next_steps: "Decide.".into(),
        bytes_up: u.up,
        bytes_down: u.up * 3,
        flows: 2,
        first_seen: Timestamp(u.at),
        last_seen: Timestamp(u.at + 60 * S),
        evidence,
        evidence_more: 0,
        people: Vec::new(),
    }
}

fn input(name: &str) -> InputRow {
    InputRow {
        key: "00112233445566778899aabbccddeeff-1000".into(),
        name: name.into(),
        size_bytes: 1_000,
        frames: 59_297,
        first_time: Timestamp(NINE),
        last_time: Timestamp(NINE + 3_600 * S),
        fault: None,
        sensor: None,
    }
}

fn ledger() -> Vec<Coverage> {
    let row = |(name, count, of): &(&str, u64, Option<&str>)| Coverage {
        name: (*name).into(),
        count: *count,
        of: of.map(Text::from),
    };
    [
        ("frames", 59_297, None),
        ("packet", 59_290, Some("frames")),
        ("malformed_tcp", 7, Some("frames")),
        ("flows", 1_059, None),
        ("flows_named_by_sni", 612, Some("flows")),
        ("flows_unnamed", 400, Some("flows")),
        ("hellos", 700, None),
        ("hellos_ech_plausible", 3, Some("hellos")),
        ("clients", 12, None),
        ("clients_with_encrypted_dns", 2, Some("clients")),
        ("recorder_cap_hits", 1, None),
    ]
    .iter()
    .map(row)
    .collect()
}

/// An office in which `names` are the host names of two of its devices.
fn office(names: [&str; 2], capture: &str) -> Facts {
    use ClientClass::{Browser, Program, Unknown};
    use Disposition::{Sanctioned, Tolerated, Unreviewed, Unsanctioned};
    use Level::{Bulk, Contacted, Used};
    let (anna, ben, far) = (actor(1, names[0]), actor(2, names[1]), actor(250, ""));
    let row = |who: &Arc<Actor>, service, class, level, disposition, up, minute: u64| Use {
        who: who.clone(),
        service,
        class,
        level,
        disposition,
        up,
        at: NINE + minute * 60 * S,
    };
    let uses = [
        row(&anna, "deepseek", Browser, Bulk, Unsanctioned, 12_345_678, 1),
        row(&anna, "chatgpt", Browser, Used, Unreviewed, 40_000, 2),
        row(&ben, "chatgpt", Program, Used, Unreviewed, 90_000, 50),
        row(&far, "chatgpt", Unknown, Contacted, Unreviewed, 600, 4),
        row(&far, "gemini", Unknown, Contacted, Unreviewed, 600, 5),
        row(&ben, "claude", Browser, Used, Tolerated, 7_000, 6),
        row(&far, "copilot", Browser, Used, Sanctioned, 9_000, 7),
    ];
    let candidate = Candidate {
        day: (NINE / S / 86_400) as u32,
        host: "llm.example".into(),
        grammars: "ollama.generate,openai.generate".into(),
        evidence: "requests in clear speak ollama.generate,openai.generate".into(),
        flows: 3,
        bytes_up: 2_440,
        bytes_down: 19_500,
        actors: 1,
        devices: Vec::new(),
        first_seen: Timestamp(NINE),
        last_seen: Timestamp(NINE + 9 * S),
    };
    let rows = InputRows {
        usage: uses.iter().map(usage).collect(),
        sessions: uses.iter().map(session).collect(),
        findings: uses
            .iter()
            .zip(0..)
            .map(|(u, n): (_, u8)| {
                finding(
                    &format!("{n}f3c"),
                    u,
                    vec![item(capture, (n, 50_000), (9, 443), [1, 2, 9])],
                )
            })
            .collect(),
        candidates: vec![candidate],
        coverage: ledger(),
        ..InputRows::default()
    };
    let mut store = Store::open_memory(Options::default()).unwrap();
    let fault = Some("record of 4,294,967,295 octets at offset 81,920".into());
    store.commit_input(&InputRow { fault, ..input(capture) }, &rows).unwrap();
    Facts::read(store.answers(), &Scope::default()).unwrap()
}

fn text(facts: &Facts, width: usize, color: bool) -> String {
    let catalogue = Catalogue::embedded().unwrap();
    let mut out = Vec::new();
    summary::write(&mut out, facts, Style { width, color, catalogue: &catalogue }).unwrap();
    String::from_utf8(out).unwrap()
}

fn document(facts: &Facts) -> String {
    let catalogue = Catalogue::embedded().unwrap();
    serde_json::to_string_pretty(&json::document(facts, &catalogue)).unwrap()
}

// ---- summary and document -----------------------------------------------------------------------

#[test]
fn the_summary_says_which_by_whom_and_how_much() {
    let mut facts = office(["anna-laptop", "ben-pc"], "monday.pcap");
    let unread =
        |name: &str, failed| Unread { name: name.into(), reason: "not a capture".into(), failed };
    facts.unread = vec![unread("named.txt", true), unread("notes.md", false)];
    insta::assert_snapshot!("summary", text(&facts, 100, false));
}

#[test]
fn the_document_says_the_same() {
    insta::assert_snapshot!(
        "document",
        document(&office(["anna-laptop", "ben-pc"], "monday.pcap"))
    );
}

#[test]
fn lines_keep_to_the_width() {
    let facts = office(["anna-laptop-with-a-long-name", "ben-pc"], "monday.pcap");
    for width in [40, 60, 80, 100, 200] {
        for line in text(&facts, width, false).lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    let facts = office(["anna-laptop", "ben-pc"], "monday.pcap");
    let (plain, coloured) = (text(&facts, 100, false), text(&facts, 100, true));
    assert!(!plain.contains('\u{1b}') && coloured.contains("\u{1b}[1;31mForbidden"));
    let mut bare = String::new();
    for (i, part) in coloured.split('\u{1b}').enumerate() {
        bare.push_str(if i == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(bare, plain);
}

#[test]
fn nothing_found_is_not_nothing_there() {
    let mut store = Store::open_memory(Options::default()).unwrap();
    let rows = InputRows { coverage: ledger(), ..InputRows::default() };
    store.commit_input(&input("quiet.pcap"), &rows).unwrap();
    let facts = Facts::read(store.answers(), &Scope::default()).unwrap();
    insta::assert_snapshot!("nothing_found", text(&facts, 100, false));
    let empty = Store::open_memory(Options::default()).unwrap();
    let mut facts = Facts::read(empty.answers(), &Scope::default()).unwrap();
    assert!(text(&facts, 100, false).contains("Nothing could be read and kept"));
    facts.summary.inputs = 1;
    assert!(text(&facts, 100, false).contains("No flow was seen at all"));
}

#[test]
fn names_from_the_network_are_shown_and_do_nothing() {
    let facts =
        office(["\u{1b}]0;owned\u{7}\u{9b}2J", "=cmd|' /C calc'!A0\u{202e}"], "a\nb\u{1b}[2J.pcap");
    let plain = text(&facts, 100, false);
    let acts = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!plain.chars().any(acts));
    assert!(plain.contains("\u{fffd}]0;owned\u{fffd}\u{fffd}2J"));
    assert!(plain.contains("=cmd|' /C calc'!A0\u{fffd}"));
    assert!(plain.contains("a\u{fffd}b\u{fffd}[2J.pcap"));
    // In the document a name is a string; control characters are escaped by the format.
    let document = document(&facts);
    assert!(!document.chars().any(|c| c < ' ' && c != '\n'));
    let mut shown = Vec::new();
    for finding in &facts.findings {
        evidence::write(&mut shown, finding).unwrap();
    }
    assert!(!String::from_utf8(shown).unwrap().chars().any(acts));
}

#[test]
fn published_schemas_are_those_of_the_code() {
    let [(_, digest_schema), (_, unknown_schema)] = digest::schemas();
    for (file, schema) in [
        ("scan-1.json", json::schema()),
        ("alert-1.json", alert::schema()),
        ("digest-1.json", digest_schema),
        ("unknown-ai-1.json", unknown_schema),
        ("observation-1.json", observations::schema()),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema").join(file);
        let expected = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("SHADOWTAP_WRITE_SCHEMAS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap();
        assert!(
            published == expected,
            "{file}: run with SHADOWTAP_WRITE_SCHEMAS=1, then look at the change"
        );
    }
}

// ---- evidence -----------------------------------------------------------------------------------

/// One Ethernet frame with an IPv4 TCP segment between a client and a server.
fn segment(
    up: bool,
    client: (u8, u16),
    server: (u8, u16),
    flags: u8,
    seq: u32,
    payload: &[u8],
) -> Vec<u8> {
    let (c, s) = (([192, 0, 2, client.0], client.1), ([198, 51, 100, server.0], server.1));
    let (from, to) = if up { (c, s) } else { (s, c) };
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0]);
    frame.extend((40 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend(from.0);
    frame.extend(to.0);
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    frame.extend(seq.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}

/// A pcap file in microseconds, one frame a millisecond, the wire longer than the capture by 5.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = 0xA1B2_C3D4_u32.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    for (frame, n) in frames.iter().zip(0_u32..) {
        let length = frame.len() as u32;
        for number in [(NINE / S) as u32, n * 1_000 + 7, length, length + 5] {
            file.extend(number.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Frames of a conversation, by number; those that belong to the evidence are marked.
fn conversation() -> Vec<(bool, Vec<u8>)> {
    let (me, other, server) = ((7, 50_000), (8, 50_000), (9, 443));
    vec![
        // The same ports, used before.
        (false, segment(true, me, server, SYN, 10, b"")),
        (false, segment(true, me, server, ACK, 11, b"old")),
        // Another device at the same server.
        (false, segment(true, other, server, SYN, 70, b"")),
        // A SYN, sent again, answered.
        (true, segment(true, me, server, SYN, 100, b"")),
        (true, segment(true, me, server, SYN, 100, b"")),
        (true, segment(false, me, server, SYN | ACK, 500, b"")),
        (false, segment(true, other, server, ACK, 71, b"other")),
        (true, segment(true, me, server, ACK, 101, b"")),
        (true, segment(true, me, server, ACK, 101, b"hello")),
        (false, segment(true, me, (10, 443), ACK, 101, b"another server")),
        (true, segment(false, me, server, ACK, 501, b"answer")),
        // Behind the last frame of the evidence.
        (false, segment(true, me, server, ACK, 106, b"later")),
    ]
}

/// A folder with a capture in it, its input row, and a finding on its conversation.
fn captured() -> (tempfile::TempDir, InputRow, Finding) {
    let frames: Vec<Vec<u8>> = conversation().into_iter().map(|f| f.1).collect();
    let bytes = pcap(&frames);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("deep")).unwrap();
    std::fs::write(folder.path().join("deep/office.pcap"), &bytes).unwrap();
    let key = format!("{:032x}-{}", XxHash3_128::oneshot(&bytes), bytes.len());
    let row = InputRow { key: key.into(), size_bytes: bytes.len() as u64, ..input("office.pcap") };
    let u = Use {
        who: actor(7, "anna-laptop"),
        service: "chatgpt",
        class: ClientClass::Browser,
        level: Level::Used,
        disposition: Disposition::Unreviewed,
        up: 5,
        at: NINE,
    };
    let finding = finding("abc1", &u, vec![item("office.pcap", (7, 50_000), (9, 443), [9, 9, 11])]);
    (folder, row, finding)
}

/// Time, wire length and octets of every frame of a file.
fn frames(path: &Path) -> Vec<(u64, u32, Vec<u8>)> {
    let mut inputs = Inputs::open(&[path.to_owned()], &capture::Options::default()).unwrap();
    let mut block = Block::default();
    let mut all = Vec::new();
    while inputs.fill(&mut block) != Fill::End {
        all.extend(block.frames.iter().map(|f| (f.time.0, f.wire, block.bytes(f).to_vec())));
    }
    assert_eq!(inputs.reports()[0].fault, None);
    all
}

#[test]
fn a_cut_holds_the_packets_of_the_finding_and_no_others() {
    let (folder, row, finding) = captured();
    let to = folder.path().join("cut.pcapng");
    let cut = evidence::cut(&finding, &row, &[folder.path().to_owned()], &to).unwrap();
    let expected: Vec<_> = conversation()
        .into_iter()
        .zip(0_u64..)
        .filter(|((mine, _), _)| *mine)
        .map(|((_, octets), n)| (NINE + n * 1_000_000 + 7_000, octets.len() as u32 + 5, octets))
        .collect();
    assert_eq!(frames(&to), expected);
    assert_eq!((cut.flows, cut.frames), (1, expected.len() as u64));
}

#[test]
fn a_capture_that_changed_or_is_gone_is_not_cut() {
    let (folder, row, finding) = captured();
    let capture = folder.path().join("deep/office.pcap");
    let to = folder.path().join("cut.pcapng");
    let refused = |below: &[PathBuf], row: &InputRow, to: &Path| {
        evidence::cut(&finding, row, below, to).unwrap_err().to_string()
    };
    let here = [capture.clone()];
    assert!(refused(&here, &row, &capture).contains("this is the capture itself"));
    let live = InputRow { sensor: Some("s1".into()), ..row.clone() };
    assert!(refused(&here, &live, &to).contains("seen live"));
    assert!(refused(&[folder.path().join("nowhere")], &row, &to).contains("not at hand"));
    let mut bytes = std::fs::read(&capture).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&capture, &bytes).unwrap();
    assert!(refused(&here, &row, &to).contains("not the content that was scanned"));
    assert!(!to.exists(), "nothing is written before the capture proved right");
}

#[test]
fn the_command_finds_a_finding_by_its_beginning() {
    let (folder, row, first) = captured();
    let path = folder.path().join("ai.db");
    let mut store = Store::open(&path, Options::default()).unwrap();
    let second = Finding { id: "abd2".into(), ..first.clone() };
    let rows = InputRows { findings: vec![first, second], ..InputRows::default() };
    store.commit_input(&row, &rows).unwrap();
    drop(store);
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shadowtap"));
        let done = command.arg("evidence").args(args).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        (done.status.code(), said)
    };
    for (name, args, code, expected) in [
        ("text", &["abc", "--store", "ai.db"][..], 0, "frames        9 to 11, name in frame 9"),
        ("JSON", &["abc1", "--store", "ai.db", "--json"], 0, "\"id\": \"abc1\""),
        (
            "cut",
            &["abc", "--store", "ai.db", "--pcap", "o.pcapng", "--capture", "."],
            0,
            "6 frames of 1 flow written to o.pcapng",
        ),
        ("several", &["ab", "--store", "ai.db"], 2, "abc1, abd2"),
        ("none", &["f", "--store", "ai.db"], 2, "no finding begins with"),
        ("capture gone", &["abc", "--store", "ai.db", "--pcap", "p.pcapng"], 1, "is not at hand"),
        ("no store", &["abc", "--store", "none.db"], 1, "none.db"),
        ("usage", &["abc"], 2, "--store"),
    ] {
        let (done, said) = run(args);
        assert_eq!(done, Some(code), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {said}");
    }
}
