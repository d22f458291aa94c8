//! The ledger, the hunt and tenants, with the program as a person runs it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use rusqlite::Connection;

/// 2026-11-02, a Monday, in seconds.
const MONDAY: u32 = 1_793_577_600;
const DAY: u32 = 86_400;
const SYN: u8 = 2;
const ACK: u8 = 16;

fn shadowtap(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(args)
        .current_dir(dir)
        .env_remove("SHADOWTAP_CONFIG")
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A document that the program printed.
fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}: {} {}", text(&output.stdout), text(&output.stderr));
    })
}

/// A capture that grows by conversations.
struct Capture {
    bytes: Vec<u8>,
    port: u16,
}

impl Capture {
    fn new() -> Self {
        let mut bytes = 0xA1B2_C3D4_u32.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
        Self { bytes, port: 40_000 }
    }

    /// Device `client` sends `up` bytes to a host, some seconds after `at`.
    fn visit(mut self, at: u32, client: u16, host: &str, up: usize) -> Self {
        self.port += 1;
        let hello = hello(host);
        let sent = vec![23; up];
        let seq = 1_000 + u32::try_from(hello.len()).unwrap();
        self.segment(at, client, true, SYN, 999, b"");
        self.segment(at, client, false, SYN | ACK, 4_999, b"");
        self.segment(at, client, true, ACK, 1_000, &hello);
        let answer = [&[22, 3, 3, 4, 0][..], &[2; 1_024]].concat();
        self.segment(at + 1, client, false, ACK, 5_000, &answer);
        for (part, n) in sent.chunks(1_400).zip(0u32..) {
            self.segment(at + 2, client, true, ACK, seq + n * 1_400, part);
        }
        self.segment(at + 3, client, false, ACK, 5_000 + 1_029, &[23; 1_200]);
        self
    }

    fn segment(&mut self, at: u32, client: u16, up: bool, flags: u8, seq: u32, payload: &[u8]) {
        let [high, low] = client.to_be_bytes();
        let (me, server) = ([10, 0, high, low], [198, 51, 100, 7]);
        let (from, to) = if up { (me, server) } else { (server, me) };
        let ports = if up { [self.port, 443] } else { [443, self.port] };
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, high, low, 8, 0, 0x45, 0];
        frame.extend(u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend([from, to].concat());
        frame.extend(ports.map(u16::to_be_bytes).concat());
        frame.extend(seq.to_be_bytes());
        frame.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(payload);
        let length = u32::try_from(frame.len()).unwrap();
        for number in [at, 0, length, length] {
            self.bytes.extend(number.to_le_bytes());
        }
        self.bytes.extend(frame);
    }

    fn write(self, path: &Path) {
        fs::write(path, self.bytes).unwrap();
    }
}

/// A ClientHello of one name.
fn hello(name: &str) -> Vec<u8> {
    let prefixed =
        |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let list = prefixed(&[&[0][..], &prefixed(name.as_bytes())].concat());
    let sni = [&[0, 0][..], &prefixed(&list)].concat();
    let extensions = prefixed(&[&sni[..], &[0, 43, 0, 3, 2, 3, 4]].concat());
    let body = [&[3, 3][..], &[9; 32], &[0], &[0, 2, 0x13, 1, 1, 0], &extensions].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &prefixed(&handshake)].concat()
}

/// Signatures of one service with these patterns.
fn signatures(dir: &Path, hosts: &[(&str, &str, &str)]) {
    let mut entry = "[[service]]\nid = 'newcomer'\nname = 'Newcomer'\nvendor = 'Newcomer'\n\
         vendor_country = 'DE'\ncategory = 'chat'\nstatus = 'active'\nfirst_added = '2026-11-20'\n\
         last_verified = '2026-11-20'\nprovenance = ['vendor documentation']\n\
         must_miss = ['other.example']\n"
        .to_owned();
    let matched: Vec<String> = hosts.iter().map(|(.., example)| format!("'{example}'")).collect();
    writeln!(entry, "must_match = [{}]", matched.join(", ")).unwrap();
    for (pattern, kind, _) in hosts {
        write!(
            entry,
            "[[service.host]]\npattern = '{pattern}'\nmatch = '{kind}'\nrole = 'chat'\n\
             strength = 'certain'\n"
        )
        .unwrap();
    }
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("chat.toml"), entry).unwrap();
}

#[test]
fn a_service_that_was_added_later_is_found_in_the_past() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let names = ["chat.newcomer.example", "newcomer.example", "cust-1.cloudhost.example"];
    let mut capture = Capture::new();
    for client in 1..=5 {
        capture = capture.visit(MONDAY + 60, client, names[0], 3_000);
    }
    capture = capture.visit(MONDAY + 2 * DAY, 1, names[0], 50_000);
    capture = capture.visit(MONDAY + 2 * DAY, 2, names[1], 700);
    capture = capture.visit(MONDAY + 3 * DAY, 9, names[2], 900);
    capture.write(&dir.join("a.pcap"));
    for _ in 0..2 {
        let scan = shadowtap(dir, &["scan", "-q", "--store", "s.db", "a.pcap"]);
        assert!(scan.status.success(), "{}", text(&scan.stderr));
    }
    signatures(
        &dir.join("new"),
        &[
            ("newcomer.example", "suffix", "a.newcomer.example"),
            ("cust-1.cloudhost.example", "exact", "cust-1.cloudhost.example"),
            ("cust-2.cloudhost.example", "exact", "cust-2.cloudhost.example"),
        ],
    );
    let hunt = ["hunt", "newcomer", "--store", "s.db", "--signatures", "new", "--json"];
    let found = json(&shadowtap(dir, &hunt));
    let line = |n: usize| &found["patterns"][n];
    assert_eq!(found["ledger_from"], "2026-11-02");
    assert_eq!(line(0)["first_day"], "2026-11-02");
    assert_eq!(line(0)["last_day"], "2026-11-04");
    assert_eq!((&line(0)["days"], &line(0)["flows"]), (&2.into(), &7.into()), "not counted twice");
    let devices = line(0)["devices_about"].as_u64().unwrap();
    assert!((4..=6).contains(&devices), "{devices}");
    assert!(line(0)["bytes_up"].as_u64().unwrap() > 5 * 3_000 + 50_000 + 700);
    assert_eq!(line(0)["evidence"][0], "sni");
    assert_eq!(line(1)["flows"], 1, "an exact host on a shared domain");
    assert_eq!(line(2)["seen"], false);
    // The whole catalogue at once: what was seen, and that no usage tells of it.
    let all =
        json(&shadowtap(dir, &["hunt", "all", "--store", "s.db", "--signatures", "new", "--json"]));
    let seen = all["patterns"].as_array().unwrap();
    assert_eq!(seen.len(), 2, "{all}");
    for (n, line) in seen.iter().enumerate() {
        assert_eq!((&line["service"], &line["recorded"]), (&"newcomer".into(), &false.into()));
        assert_eq!(line["flows"], found["patterns"][n]["flows"]);
    }
    // One host, one domain, and what nobody visited.
    for (what, code) in [
        ("chat.newcomer.example", 0),
        ("*.newcomer.example", 0),
        ("never.newcomer.example", 1),
        ("*.example.org", 1),
        ("no host", 2),
    ] {
        let output = shadowtap(dir, &["hunt", what, "--store", "s.db"]);
        assert_eq!(output.status.code(), Some(code), "{what}: {}", text(&output.stderr));
    }
}

#[test]
fn the_store_alone_names_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // More than the destinations that are kept by name, so that the ledger alone has the small.
    let mut capture = Capture::new();
    for n in 0..1_100 {
        capture = capture.visit(MONDAY, 1, &format!("host-{n}.secret.example"), 2_000);
    }
    capture.visit(MONDAY, 2, "contoso-laywers.openai.azure.com", 10).write(&dir.join("a.pcap"));
    let scan = shadowtap(dir, &["scan", "-q", "--store", "s.db", "a.pcap"]);
    assert!(scan.status.success(), "{}", text(&scan.stderr));
    let store = Connection::open(dir.join("s.db")).unwrap();
    let rows: u32 = store.query_row("SELECT count(*) FROM ledger", [], |r| r.get(0)).unwrap();
    assert_eq!(rows, 1_101);
    let key = fs::read(dir.join("s.db.ledger-key")).unwrap();
    let mode = fs::metadata(dir.join("s.db.ledger-key")).unwrap().permissions().mode();
    assert_eq!((key.len(), mode & 0o777), (32, 0o600));
    let pages = fs::read(dir.join("s.db")).unwrap();
    assert!(!pages.windows(32).any(|w| w == key), "the key is not in the store");
    // Tenants are counted together.
    let hunt = shadowtap(dir, &["hunt", "*.openai.azure.com", "--store", "s.db", "--json"]);
    assert_eq!(json(&hunt)["patterns"][0]["flows"], 1, "{}", text(&hunt.stderr));
    // Without the key nothing can be asked; with another, the past is gone and said so.
    fs::rename(dir.join("s.db.ledger-key"), dir.join("elsewhere")).unwrap();
    let hunt = shadowtap(dir, &["hunt", "host-1.secret.example", "--store", "s.db"]);
    assert_eq!(hunt.status.code(), Some(2), "{}", text(&hunt.stdout));
    Capture::new().visit(MONDAY, 1, "one.example", 10).write(&dir.join("b.pcap"));
    assert!(shadowtap(dir, &["scan", "-q", "--store", "s.db", "b.pcap"]).status.success());
    let of = |sql: &str| store.query_row(sql, [], |r| r.get::<_, u32>(0)).unwrap();
    assert_eq!(of("SELECT count(*) FROM ledger"), 1);
    assert_eq!(of("SELECT count FROM counter WHERE name = 'ledger_rows_without_key'"), 1_101);
    // Switched off, it goes with its key.
    let off = ["scan", "-q", "--set", "ledger.days=0", "--store", "s.db", "b.pcap"];
    assert!(shadowtap(dir, &off).status.success());
    assert_eq!(of("SELECT count(*) FROM ledger"), 0);
    assert!(!dir.join("s.db.ledger-key").exists());
}

#[test]
fn a_million_destinations_take_a_hundred_and_twenty_megabytes_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hosts = 4_000u16;
    let mut capture = Capture::new();
    for n in 0..hosts {
        // Four labels below the registrable one, as machines make them.
        let host = format!("h{n}.node.region-1.zone.cloud-{}.example", n % 50);
        for client in 0..3 {
            capture = capture.visit(MONDAY, client, &host, 1);
        }
    }
    capture.write(&dir.join("a.pcap"));
    let size = |dir: &Path| fs::metadata(dir.join("s.db")).unwrap().len();
    let scan = ["scan", "-q", "--store", "s.db", "a.pcap"];
    let output = shadowtap(dir, &[&scan[..], &["--set", "ledger.days=0"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let without = size(dir);
    assert!(shadowtap(dir, &scan).status.success());
    let each = (size(dir) - without) / u64::from(hosts);
    assert!((20..=120).contains(&each), "{each} bytes a destination");
}

#[test]
fn our_tenant_is_allowed_and_any_other_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let visits = [
        ("our-resource.openai.azure.com", "allowed"),
        ("their-resource.openai.azure.com", "forbidden"),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "allowed"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "forbidden"),
        ("europe-west4-aiplatform.googleapis.com", "allowed"),
        ("us-central1-aiplatform.googleapis.com", "forbidden"),
        ("api.business.githubcopilot.com", "allowed"),
        ("api.enterprise.githubcopilot.com", "allowed"),
        ("api.individual.githubcopilot.com", "forbidden"),
    ];
    let mut capture = Capture::new();
    for ((host, _), client) in visits.iter().zip(1..) {
        capture = capture.visit(MONDAY, client, host, 20_000);
    }
    capture.write(&dir.join("a.pcap"));
    let allow = |service: &str, tenants: &str| {
        format!(
            "[[rule]]\nservice = \"{service}\"\ntenant = [{tenants}]\nstatus = \"sanctioned\"\n\
             [[rule]]\nservice = \"{service}\"\nstatus = \"forbidden\"\n"
        )
    };
    let policy = [
        allow("azure-openai", "\"our-resource\""),
        allow("amazon-bedrock", "\"eu-central-1\""),
        allow("vertex-ai", "\"europe-west4\""),
        allow("github-copilot", "\"business\", \"enterprise\""),
    ];
    fs::write(dir.join("policy.toml"), policy.concat()).unwrap();
    let scan = shadowtap(dir, &["scan", "-q", "--json", "--policy", "policy.toml", "a.pcap"]);
    let document = json(&scan);
    let findings = document["findings"].as_array().unwrap();
    for ((host, verdict), client) in visits.iter().zip(1..) {
        let ip = format!("10.0.0.{client}");
        let of = findings.iter().find(|f| f.to_string().contains(&format!("\"{ip}\"")));
        let finding = of.unwrap_or_else(|| panic!("{host} in {document}"));
        let title = finding["title"].as_str().unwrap();
        assert!(title.contains(verdict), "{host}: {title}");
    }
}
