//! Logon events of whoever knows: Windows, RADIUS accounting, VPN servers, identity providers.
//!
//! In: JSON lines, syslog lines with `key=value`, or RADIUS accounting as FreeRADIUS writes it.
//! Out: who logged on and off at which address, and each line that could not be used, with why.
//! Never: keeps another field than account, address and time; takes a failed logon.
//! Limits: [`KEYS_MAX`] fields a line.
//! Source: Windows events 4624, 4634, 4647, 4768; RFC 2866 §5.1; Entra sign-in log.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::inventory::not_used;
use super::known::{Event, What};
use crate::recorder::store::rows::Text;
use crate::types::Timestamp;
use crate::written::Problem;

/// Fields looked at in one line.
const KEYS_MAX: usize = 512;

/// Windows logon types at which a person sits or works: interactive, unlock, remote interactive,
/// cached interactive. Network logons (3) come from any program.
const PERSONAL: [&str; 4] = ["2", "7", "10", "11"];

/// Where the account stands, in the order in which it is looked for.
const ACCOUNTS: [&str; 11] = [
    "targetusername",
    "userprincipalname",
    "username",
    "radiususername",
    "user",
    "loginname",
    "commonname",
    "account",
    "suser",
    "duser",
    "login",
];

/// Where the address stands. An address that was given goes before the one it came from.
const ADDRESSES: [&str; 14] = [
    "framedipaddress",
    "framedipv6address",
    "assignedip",
    "virtualip",
    "tunnelip",
    "vpnip",
    "ifconfigpoolremoteip",
    "ipaddress",
    "clientip",
    "sourceip",
    "srcip",
    "src",
    "ip",
    "remoteip",
];

/// Where the time stands.
const TIMES: [&str; 10] = [
    "createddatetime",
    "timecreated",
    "systemtime",
    "eventtime",
    "timestamp",
    "time",
    "ts",
    "eventreceivedtime",
    "date",
    "acctstarttime",
];

/// Reads a file; the form of each line or block is told by its content.
pub fn read(file: &str, text: &str) -> (Vec<Event>, Vec<Problem>) {
    let file: Arc<str> = Arc::from(file);
    let (mut events, mut problems) = (Vec::new(), Vec::new());
    let mut take = |line: usize, fields: &Fields| match fields.event() {
        Ok(Some(event)) => events.push(event),
        Ok(None) => {}
        Err(why) => problems.push(not_used(&file, line, why)),
    };
    let mut block: Option<(usize, Fields)> = None;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        // A block of FreeRADIUS: the date at the margin, attributes indented, an empty line.
        if let Some((at, fields)) = &mut block {
            if line.starts_with([' ', '\t']) {
                if let Some((key, value)) = line.split_once('=') {
                    fields.put(key, value.trim().trim_matches('"'));
                }
                continue;
            }
            take(*at, fields);
            block = None;
        }
        if line.trim().is_empty() {
            continue;
        }
        if let Some(at) = detail_time(line) {
            let mut fields = Fields::default();
            fields.put("timestamp", &at);
            block = Some((number, fields));
            continue;
        }
        take(number, &Fields::read(line));
    }
    if let Some((at, fields)) = &block {
        take(*at, fields);
    }
    (events, problems)
}

/// Reads one message that came at `now`: the event, or nothing for one that says nothing of
/// people. A time that it does not give, or that lies ahead, is that of its coming.
///
/// # Errors
/// Why it cannot be used.
pub fn heard(message: &str, now: Timestamp) -> Result<Option<Event>, &'static str> {
    let mut fields = Fields::read(message);
    if fields.first(&TIMES).and_then(parse_time).is_none() {
        fields.0.retain(|(key, _)| !TIMES.contains(&key.as_str()));
        fields.put("timestamp", &format!("{}.{:09}", now.seconds(), now.0 % Timestamp::SECOND));
    }
    let event = fields.event()?;
    Ok(event.map(|event| Event { at: event.at.min(now), ..event }))
}

/// Fields of one line, with keys in lower-case letters and digits.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn put(&mut self, key: &str, value: &str) {
        if self.0.len() >= KEYS_MAX || value.is_empty() {
            return;
        }
        let key: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
        self.0.push((key.to_ascii_lowercase(), value.to_owned()));
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn first(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.get(key))
    }

    fn read(line: &str) -> Fields {
        let mut fields = Fields::default();
        let json = line.find('{').and_then(|at| line.get(at..));
        if let Some(value) = json.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            fields.flatten("", &value, 0);
        } else {
            fields.pairs(line);
        }
        if fields.first(&TIMES).is_none()
            && let Some(time) = line
                .split_whitespace()
                .find(|w| parse_time(w).is_some_and(|t| t.seconds() > 86_400))
        {
            fields.put("timestamp", time);
        }
        fields
    }

    /// Leaves of a document by their own names; those of arrays of names and values too.
    fn flatten(&mut self, key: &str, value: &Value, depth: u8) {
        // Deeper than any event log goes.
        if depth > 8 {
            return;
        }
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    self.flatten(key, value, depth + 1);
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.flatten(key, item, depth + 1);
                }
            }
            Value::String(text) => self.put(key, text),
            Value::Number(number) => self.put(key, &number.to_string()),
            Value::Bool(_) | Value::Null => {}
        }
    }

    /// `key=value` and `key="value with blanks"`.
    fn pairs(&mut self, line: &str) {
        let mut rest = line;
        while let Some((before, behind)) = rest.split_once('=') {
            let key = before.rsplit([' ', ',', ';', '\t', '[']).next().unwrap_or_default();
            let (value, next) = match behind.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => {
                    let end = behind.find([' ', ',', ';', '\t', ']']).unwrap_or(behind.len());
                    behind.split_at_checked(end).unwrap_or((behind, ""))
                }
            };
            self.put(key, value);
            rest = next;
        }
    }

    /// The event; nothing for one that says nothing of people.
    fn event(&self) -> Result<Option<Event>, &'static str> {
        let id = self.first(&["eventid", "eventcode", "id"]).filter(|id| id.len() == 4);
        let status = self.first(&["acctstatustype", "action", "eventaction"]).unwrap_or_default();
        let status = status.to_ascii_lowercase();
        let off = matches!(id, Some("4634" | "4647"))
            || ["stop", "2", "logoff", "logout", "disconnect", "disconnected"].contains(&&*status);
        match id {
            Some("4624") if self.get("logontype").is_some_and(|t| !PERSONAL.contains(&t)) => {
                return Ok(None);
            }
            Some("4624" | "4634" | "4647" | "4768") | None => {}
            Some(_) => return Ok(None),
        }
        let failed = self.get("errorcode").is_some_and(|code| code != "0")
            || self.get("status").is_some_and(|s| s.starts_with("0x") && s != "0x0")
            || status.contains("fail")
            || status.contains("reject");
        if failed {
            return Ok(None);
        }
        let at = self.first(&TIMES).ok_or("no time")?;
        let at = parse_time(at).ok_or("a time that cannot be read")?;
        let addr = self.first(&ADDRESSES).ok_or("no address")?;
        let Some(addr) = parse_address(addr) else {
            return if addr == "-" { Ok(None) } else { Err("an address that cannot be read") };
        };
        if addr.is_loopback() || addr.is_unspecified() {
            return Ok(None);
        }
        let account = self.first(&ACCOUNTS);
        let what = match (off, account) {
            (true, account) => What::Off { account: Text::from(account.unwrap_or_default()) },
            (false, Some(account)) => {
                let lasts = self.get("sessiontimeout").and_then(|s| s.parse::<u64>().ok());
                let until = lasts
                    .map(|s| Timestamp(at.0.saturating_add(s.saturating_mul(Timestamp::SECOND))));
                What::On { account: Text::from(account), until }
            }
            (false, None) => return Err("no account"),
        };
        Ok(Some(Event { at, addr, what }))
    }
}

/// An address, alone, mapped into IPv6, or with a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let addr = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(addr.to_canonical())
}

/// RFC 3339, seconds since the epoch (also with a fraction, or in milliseconds), or
/// `2026-11-23 10:00:00`, which is taken for UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim().trim_matches(['[', ']']);
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return u64::try_from(time.as_nanosecond()).ok().map(Timestamp);
    }
    if let Ok(number) = text.parse::<f64>() {
        // Beyond the year 5000 in seconds: milliseconds.
        let seconds = if number > 1e11 { number / 1e3 } else { number };
        let span = std::time::Duration::try_from_secs_f64(seconds).ok()?;
        return u64::try_from(span.as_nanos()).ok().map(Timestamp);
    }
    let text = format!("{}Z", text.replacen(' ', "T", 1));
    let time = text.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}

/// Months as FreeRADIUS writes them, three letters each.
const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";

/// `Mon Nov 23 10:00:00 2026`, with which a block of FreeRADIUS begins; taken for UTC.
fn detail_time(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, month, day, time, year] = words.as_slice() else { return None };
    let month = MONTHS.find(month).filter(|_| month.len() == 3)? / 3 + 1;
    let day: u8 = day.parse().ok()?;
    let text = format!("{year}-{month:02}-{day:02}T{time}Z");
    text.parse::<jiff::Timestamp>().ok().map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> (Vec<String>, Vec<String>) {
        let (events, problems) = read("x", text);
        let line = |e: &Event| {
            let at = e.at.seconds();
            match &e.what {
                What::On { account, until } => {
                    let until = until.map_or(0, Timestamp::seconds);
                    format!("{at} {} on {account} {until}", e.addr)
                }
                What::Off { account } => format!("{at} {} off {account}", e.addr),
                _ => format!("{at} {}", e.addr),
            }
        };
        let told = |p: &Problem| format!("{}: {}", p.place.as_ref().unwrap().line, p.message);
        (events.iter().map(line).collect(), problems.iter().map(told).collect())
    }

    #[test]
    fn each_form() {
        let table = [
            (
                "Windows, nested",
                r#"{"@timestamp":"2025-11-19T10:00:00Z","winlog":{"event_id":4624,"event_data":{"TargetUserName":"Anna","LogonType":"2","IpAddress":"::ffff:192.0.2.7"}}}"#,
                Ok("1763546400 192.0.2.7 on Anna 0"),
            ),
            (
                "Windows, a ticket",
                r#"{"EventID":4768,"TimeCreated":"2025-11-19T10:00:00Z","TargetUserName":"anna","IpAddress":"192.0.2.7","Status":"0x0"}"#,
                Ok("1763546400 192.0.2.7 on anna 0"),
            ),
            (
                "Windows, a failed ticket",
                r#"{"EventID":4768,"TimeCreated":"2025-11-19T10:00:00Z","TargetUserName":"anna","IpAddress":"192.0.2.7","Status":"0x18"}"#,
                Ok(""),
            ),
            (
                "Windows, a network logon",
                r#"{"EventID":4624,"LogonType":3,"TimeCreated":"2025-11-19T10:00:00Z","TargetUserName":"anna","IpAddress":"192.0.2.7"}"#,
                Ok(""),
            ),
            (
                "Windows, without an address",
                r#"{"EventID":4624,"LogonType":2,"TimeCreated":"2025-11-19T10:00:00Z","TargetUserName":"anna","IpAddress":"-"}"#,
                Ok(""),
            ),
            (
                "Entra",
                r#"{"createdDateTime":"2025-11-19T10:00:00Z","userPrincipalName":"anna@corp.test","ipAddress":"192.0.2.7","status":{"errorCode":0}}"#,
                Ok("1763546400 192.0.2.7 on anna@corp.test 0"),
            ),
            (
                "Entra, failed",
                r#"{"createdDateTime":"2025-11-19T10:00:00Z","userPrincipalName":"anna@corp.test","ipAddress":"192.0.2.7","status":{"errorCode":50126}}"#,
                Ok(""),
            ),
            (
                "VPN in syslog",
                r#"<134>1 2025-11-19T10:00:00Z vpn1 ovpn - - - action=connect user="anna" src=203.0.113.9 vpn_ip=10.8.0.2"#,
                Ok("1763546400 10.8.0.2 on anna 0"),
            ),
            (
                "VPN, the end",
                "2025-11-19T11:00:00Z vpn1 action=disconnect user=anna vpn_ip=10.8.0.2",
                Ok("1763550000 10.8.0.2 off anna"),
            ),
            ("no account", "ts=1763546400 ip=192.0.2.7", Err("1: no account")),
            ("no address", "ts=1763546400 user=anna", Err("1: no address")),
            ("no time", "user=anna ip=192.0.2.7", Err("1: no time")),
            (
                "odd address",
                "ts=1763546400.5 user=anna ip=pc7",
                Err("1: an address that cannot be read"),
            ),
        ];
        for (name, line, expected) in table {
            let (events, problems) = lines(line);
            match expected {
                Ok(event) => assert_eq!(
                    (events.join(";"), problems.join(";")),
                    (event.to_owned(), String::new()),
                    "{name}"
                ),
                Err(problem) => assert_eq!(problems, [problem], "{name}"),
            }
        }
    }

    #[test]
    fn accounting_of_freeradius() {
        let text = "Wed Nov 19 10:00:00 2025\n\tAcct-Status-Type = Start\n\tUser-Name = \"anna\"\n\
                    \tFramed-IP-Address = 192.0.2.7\n\tSession-Timeout = 60\n\n\
                    Wed Nov 19 10:00:30 2025\n\tAcct-Status-Type = Stop\n\tUser-Name = \"anna\"\n\
                    \tFramed-IP-Address = 192.0.2.7\n";
        let expected = ["1763546400 192.0.2.7 on anna 1763546460", "1763546430 192.0.2.7 off anna"];
        assert_eq!(lines(text), (expected.map(str::to_owned).to_vec(), vec![]));
    }

    #[test]
    fn what_is_received_has_a_time() {
        let now = Timestamp(1_763_546_400 * Timestamp::SECOND);
        let at = |message: &str| heard(message, now).map(|e| e.map(|e| e.at.seconds()));
        let table = [
            ("its own", "ts=1763546000 user=anna ip=192.0.2.7", Ok(Some(1_763_546_000))),
            (
                "of RFC 3164",
                "<38>Nov 19 10:00:00 dc1 user=anna ip=192.0.2.7",
                Ok(Some(now.seconds())),
            ),
            ("ahead of us", "ts=1763550000 user=anna ip=192.0.2.7", Ok(Some(now.seconds()))),
            ("unreadable", "time=noon user=anna ip=192.0.2.7", Ok(Some(now.seconds()))),
            ("nobody", "<38>Nov 19 10:00:00 dc1 restarted", Err("no address")),
        ];
        for (name, message, expected) in table {
            assert_eq!(at(message), expected, "{name}");
        }
    }

    #[test]
    fn hostile_lines_do_no_harm() {
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        for text in ["=", "====", "{", "{}", "\u{0}=\u{0}", "a=\"", deep.as_str(), "Mon Foo 1 x y"]
        {
            let (events, _) = read("x", text);
            assert!(events.is_empty(), "{text:.20}");
        }
    }
}
