//! Alerts reach real receivers: every shape, every carrier, receivers that fail, a courier that is
//! killed. Servers listen on loopback; one that is not installed is named and its test says so.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use shadowtap::courier::shape::{BUILT_IN, Shape};
use tempfile::TempDir;

const SHADOWTAP: &str = env!("CARGO_BIN_EXE_shadowtap");

/// A process that ends with its test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A store with the alerts of the recorded office, made once.
fn office() -> &'static Path {
    static STORE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = STORE.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let store = dir.path().join("office.db");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = dir.path().join("office.toml");
        let text = fs::read_to_string(root.join("examples/office/shadowtap.toml")).unwrap();
        let policy = root.join("examples/office/policy.toml");
        fs::write(&config, text).unwrap();
        let outcome = Command::new(SHADOWTAP)
            .args(["scan", "--quiet", "--set", "alerts.mode=every", "--config"])
            .arg(&config)
            .arg("--policy")
            .arg(policy)
            .arg("--store")
            .arg(&store)
            .arg(root.join("fixtures/office/office.pcap.zst"))
            .output()
            .unwrap();
        assert!(outcome.status.success(), "{}", text_of(&outcome));
        (dir, store)
    });
    path
}

/// A copy of that store, and a configuration with one sink.
struct Case {
    dir: TempDir,
}

impl Case {
    fn new(sink: &str) -> Self {
        let dir = TempDir::new().unwrap();
        fs::copy(office(), dir.path().join("store.db")).unwrap();
        fs::write(dir.path().join("shadowtap.toml"), sink).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(SHADOWTAP);
        command.arg("sinks").args(words).arg("--config").arg(self.path("shadowtap.toml"));
        command.arg("--store").arg(self.path("store.db")).env("NO_COLOR", "1");
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Events of the outbox, in order.
    fn events(&self) -> Vec<Value> {
        let conn = rusqlite::Connection::open(self.path("store.db")).unwrap();
        let mut all = conn.prepare("SELECT payload FROM outbox ORDER BY seq").unwrap();
        let rows = all.query_map([], |r| r.get::<_, String>(0)).unwrap();
        rows.map(|r| serde_json::from_str(&r.unwrap()).unwrap()).collect()
    }

    fn ids(&self) -> Vec<String> {
        self.events().iter().map(|e| e["event_id"].as_str().unwrap().to_owned()).collect()
    }
}

fn text_of(outcome: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&outcome.stdout),
        String::from_utf8_lossy(&outcome.stderr)
    )
}

/// Waits for `what`, at most ten seconds.
fn wait_for<T>(name: &str, mut what: impl FnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(found) = what() {
            return found;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("{name}: not within ten seconds");
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers").join(name)
}

/// Starts a Python receiver and returns its port.
fn python(name: &str, port_file: &Path, words: &[&str]) -> (Server, u16) {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script(name)).arg(port_file).args(words).stderr(Stdio::inherit());
    let server = Server(command.spawn().unwrap());
    let port = wait_for(name, || fs::read_to_string(port_file).ok()?.parse().ok());
    (server, port)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn has(program: &str, what: &str) -> bool {
    let found = Command::new("sh").args(["-c", program]).output().is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("SKIPPED: {what} is not installed (scripts/deps.sh --test installs it)");
    }
    found
}

#[test]
fn one_alert_in_every_shape() {
    let events = fs::read_to_string(script("events.jsonl")).unwrap();
    let mut text = String::new();
    for (name, _) in BUILT_IN.iter().filter(|(name, _)| *name != "native") {
        let shape = Shape::named(name).unwrap();
        for event in events.lines() {
            let line = shape.render(event).unwrap();
            assert!(!line.contains('\n'), "{name}: one line");
            let _ = writeln!(text, "{name} {line}");
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_file_is_put_aside_when_it_has_grown_and_no_line_is_lost_or_cut() {
    let case = Case::new("");
    let file = case.path("alerts.json");
    fs::write(
        case.path("shadowtap.toml"),
        format!(
            "[sinks.f]\nkind = \"file\"\npath = \"{}\"\nrotate_bytes = 20000\nkeep = 50\n",
            file.display()
        ),
    )
    .unwrap();
    let outcome = case.run(&["deliver"]);
    assert!(outcome.status.success(), "{}", text_of(&outcome));
    // Moved away by somebody else: the next alert makes a new one.
    fs::rename(&file, case.path("moved.json")).unwrap();
    let conn = rusqlite::Connection::open(case.path("store.db")).unwrap();
    for _ in 0..2 {
        conn.execute_batch(
            "INSERT INTO outbox (event_id, time, severity, payload)
             SELECT event_id || '-' || (SELECT max(seq) FROM outbox) || '-' || seq, time, severity,
                    payload FROM outbox",
        )
        .unwrap();
        assert!(case.run(&["deliver"]).status.success());
    }
    let mut lines = 0;
    for entry in fs::read_dir(case.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("alerts.json") || name == "moved.json" {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.ends_with('\n'), "{name}");
            for line in text.lines() {
                serde_json::from_str::<Value>(line).unwrap();
                lines += 1;
            }
        }
    }
    assert_eq!(lines, case.events().len());
    assert!(case.path("alerts.json.1").exists());
}

#[test]
fn a_webhook_that_fails_gets_everything_once_it_does_not() {
    let case = Case::new("");
    let ids = case.ids();
    let refused = &ids[3];
    let (log, port_file) = (case.path("log"), case.path("port"));
    let words = [log.to_str().unwrap(), "2", refused];
    let (_server, port) = python("hook.py", &port_file, &words);
    fs::write(case.path("secret"), "of the test\n").unwrap();
    let config = format!(
        "[sinks.hook]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/in\"\nsecret_file = \"{}\"\n",
        case.path("secret").display()
    );
    fs::write(case.path("shadowtap.toml"), config).unwrap();

    let first = case.run(&["deliver"]);
    assert_eq!(first.status.code(), Some(1), "{}", text_of(&first));
    assert!(text_of(&first).contains("503"), "{}", text_of(&first));
    let status = text_of(&case.run(&["status"]));
    assert!(status.contains("failed 1 times"), "{status}");
    assert_eq!(case.run(&["deliver"]).status.code(), Some(1));
    let third = case.run(&["deliver"]);
    assert!(third.status.success(), "{}", text_of(&third));

    let got: Vec<Value> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let expected: Vec<&String> = ids.iter().filter(|id| *id != refused).collect();
    let heard: Vec<&str> =
        got.iter().map(|g| g["headers"]["x-shadowtap-event"].as_str().unwrap()).collect();
    assert_eq!(heard, expected, "in order, all but the one that is refused");
    for request in &got {
        let signature = request["headers"]["x-shadowtap-signature"].as_str().unwrap();
        let (time, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"of the test").unwrap();
        mac.update(format!("{time}.{}", request["body"].as_str().unwrap()).as_bytes());
        let ours = mac
            .finalize()
            .into_bytes()
            .iter()
            .fold(String::new(), |ours, b| format!("{ours}{b:02x}"));
        assert_eq!(ours, hex);
    }
    let status = text_of(&case.run(&["status"]));
    assert!(status.contains(&format!("put aside by hook: {refused}")), "{status}");
    assert!(status.contains("400"), "{status}");
    let again = case.run(&["deliver", "--retry", "hook"]);
    assert_eq!(again.status.code(), Some(1), "refused once more: {}", text_of(&again));
}

#[test]
fn a_receiver_that_is_away_loses_nothing() {
    let port = free_port();
    let case = Case::new(&format!(
        "[sinks.hook]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/in\"\n"
    ));
    assert_eq!(case.run(&["deliver"]).status.code(), Some(1));
    let status: Value = serde_json::from_slice(&case.run(&["status", "--json"]).stdout).unwrap();
    let waiting = status["sinks"][0]["waiting"].as_u64().unwrap();
    assert_eq!(waiting, case.events().len() as u64);
}

const RSYSLOG: &str = "command -v rsyslogd && ls /usr/lib/*/rsyslog/lmnsd_gtls.so";

/// A collector on loopback that writes each message's text as a line.
fn rsyslog(case: &Case, input: &str) -> Server {
    let config = format!(
        "global(workDirectory=\"{0}\" maxMessageSize=\"64k\")\n{input}\n\
         template(name=\"t\" type=\"string\" string=\"%app-name% %syslogseverity% %msg:::sp-if-no-1st-sp%%msg%\\n\")\n\
         action(type=\"omfile\" file=\"{0}/got\" template=\"t\")\n",
        case.dir.path().display()
    );
    fs::write(case.path("rsyslog.conf"), config).unwrap();
    let mut command = Command::new("rsyslogd");
    command.arg("-n").arg("-f").arg(case.path("rsyslog.conf"));
    command.arg("-i").arg(case.path("rsyslog.pid"));
    Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn arrived(case: &Case, count: usize) -> Vec<String> {
    let read = || {
        let text = fs::read_to_string(case.path("got")).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    };
    wait_for("rsyslog", read)
}

#[test]
fn a_collector_gets_every_alert_over_tcp_and_in_order() {
    if !has(RSYSLOG, "rsyslog with rsyslog-gnutls") {
        return;
    }
    let port = free_port();
    let case = Case::new(&format!(
        "[sinks.siem]\nkind = \"syslog\"\naddress = \"127.0.0.1:{port}\"\ncarrier = \"tcp\"\n"
    ));
    let input = format!(
        "module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")"
    );
    let _server = rsyslog(&case, &input);
    wait_for("rsyslog", || TcpStream::connect(("127.0.0.1", port)).ok());
    let outcome = case.run(&["deliver"]);
    assert!(outcome.status.success(), "{}", text_of(&outcome));
    let got = arrived(&case, case.events().len());
    let events = got.iter().map(|line| {
        let event: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
        event["event_id"].as_str().unwrap().to_owned()
    });
    assert_eq!(events.collect::<Vec<_>>(), case.ids());
    assert!(got.iter().all(|l| l.starts_with("shadowtap ")), "{}", got[0]);
}

#[test]
fn a_collector_gets_cef_over_tls_and_a_stranger_gets_nothing() {
    if !has(RSYSLOG, "rsyslog with rsyslog-gnutls") || !has("command -v openssl", "openssl") {
        return;
    }
    let port = free_port();
    let case = Case::new("");
    let make = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout ca.key -out ca.pem \
                -subj /CN=test-ca && \
                openssl req -newkey rsa:2048 -nodes -keyout key.pem -out csr.pem -subj /CN=localhost && \
                printf 'subjectAltName=DNS:localhost' > ext && \
                openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -days 30 -out cert.pem -extfile ext";
    let made = Command::new("sh").args(["-c", make]).current_dir(case.dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", text_of(&made));
    let at = |name: &str| case.path(name).display().to_string();
    let input = format!(
        "global(defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{}\" \
         defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")\n\
         module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" \
         streamDriver.authMode=\"anon\")\ninput(type=\"imtcp\" port=\"{port}\")",
        at("ca.pem"),
        at("cert.pem"),
        at("key.pem")
    );
    let _server = rsyslog(&case, &input);
    wait_for("rsyslog", || TcpStream::connect(("127.0.0.1", port)).ok());
    let sink = |ca: &str| {
        format!(
            "[sinks.siem]\nkind = \"syslog\"\naddress = \"localhost:{port}\"\nshape = \"cef\"\n{ca}"
        )
    };
    fs::write(case.path("shadowtap.toml"), sink("")).unwrap();
    let stranger = case.run(&["deliver"]);
    assert_eq!(stranger.status.code(), Some(1), "{}", text_of(&stranger));
    assert!(text_of(&stranger).contains("certificate"), "{}", text_of(&stranger));
    let ca = format!("ca = \"{}\"\n", at("ca.pem"));
    fs::write(case.path("shadowtap.toml"), sink(&ca)).unwrap();
    let outcome = case.run(&["deliver"]);
    assert!(outcome.status.success(), "{}", text_of(&outcome));
    let got = arrived(&case, case.events().len());
    assert!(got.iter().all(|l| l.contains("CEF:0|shadowtap|shadowtap|1|")), "{}", got[0]);
}

#[test]
fn a_collector_gets_alerts_over_udp() {
    if !has(RSYSLOG, "rsyslog with rsyslog-gnutls") {
        return;
    }
    let (port, ready) = (free_port(), free_port());
    let case = Case::new(&format!(
        "[sinks.siem]\nkind = \"syslog\"\naddress = \"127.0.0.1:{port}\"\ncarrier = \"udp\"\nshape = \"leef\"\n"
    ));
    let input = format!(
        "module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
         module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{ready}\")"
    );
    let _server = rsyslog(&case, &input);
    wait_for("rsyslog", || TcpStream::connect(("127.0.0.1", ready)).ok());
    assert!(case.run(&["deliver"]).status.success());
    let got = arrived(&case, case.events().len());
    assert!(got.iter().all(|l| l.contains("LEEF:2.0|shadowtap|")), "{}", got[0]);
}

#[test]
fn one_mail_tells_of_many_alerts() {
    if !has("/usr/bin/python3 -c 'import aiosmtpd'", "python3-aiosmtpd") {
        return;
    }
    let case = Case::new("");
    let (_server, port) =
        python("smtp.py", &case.path("port"), &[case.dir.path().to_str().unwrap()]);
    let config = format!(
        "[sinks.team]\nkind = \"mail\"\nserver = \"127.0.0.1:{port}\"\nprivacy = \"none\"\n\
         from = \"sensor@example.org\"\nto = [\"soc@example.org\"]\nseverity_min = 4\n"
    );
    fs::write(case.path("shadowtap.toml"), config).unwrap();
    let outcome = case.run(&["deliver"]);
    assert!(outcome.status.success(), "{}", text_of(&outcome));
    let mail = fs::read_to_string(case.path("1.eml")).unwrap();
    assert!(mail.contains("Subject: shadowtap: "), "{mail}");
    assert!(!case.path("2.eml").exists(), "one mail");
    let wanted = case.events().into_iter().filter(|e| e["severity"].as_u64() >= Some(4)).count();
    assert!(mail.contains(&format!("{wanted} alerts")), "{mail}");
}

#[test]
fn a_courier_that_is_killed_again_and_again_delivers_everything() {
    let case = Case::new("");
    let conn = rusqlite::Connection::open(case.path("store.db")).unwrap();
    for round in 0..6 {
        conn.execute(
            "INSERT INTO outbox (event_id, time, severity, payload)
             SELECT event_id || '-' || ?1 || '-' || seq, time, severity,
                    replace(payload, event_id, event_id || '-' || ?1 || '-' || seq) FROM outbox",
            [round],
        )
        .unwrap();
    }
    drop(conn);
    let file = case.path("alerts.json");
    let config =
        format!("[sinks.f]\nkind = \"file\"\npath = \"{}\"\nrotate_bytes = 0\n", file.display());
    fs::write(case.path("shadowtap.toml"), config).unwrap();
    let mut killed = 0;
    for turn in 0..40 {
        let mut courier = case.command(&["deliver"]).stdout(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(3 + turn * 7 % 40));
        if courier.try_wait().unwrap().is_none() {
            courier.kill().unwrap();
            killed += 1;
        }
        courier.wait().unwrap();
    }
    assert!(killed > 3, "killed {killed} times");
    assert!(case.run(&["deliver"]).status.success());
    let text = fs::read_to_string(&file).unwrap();
    let mut seen = HashSet::new();
    let mut order = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let id = event["event_id"].as_str().unwrap().to_owned();
        if seen.insert(id.clone()) {
            order.push(id);
        }
    }
    assert_eq!(order, case.ids(), "every alert, in order, doubles told apart by id");
}
