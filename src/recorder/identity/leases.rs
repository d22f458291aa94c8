//! Lease files of DHCP servers: Kea (memfile CSV, 4 and 6), ISC dhcpd, dnsmasq.
//!
//! In: a file as text. Out: leases by time, and each line that could not be used with the reason.
//! Never: takes a lease without a link address; dnsmasq's file has no beginning of a lease, so
//! that it counts from [`DNSMASQ_LEASE_S`] before its end.
//! Source: Kea 2.6 `lease_file4.csv`, `lease_file6.csv`; dhcpd.leases(5); dnsmasq(8).

use std::net::IpAddr;
use std::sync::Arc;

use super::inventory::not_used;
use super::known::{Event, What};
use crate::recorder::store::rows::Text;
use crate::types::{MacAddr, Timestamp};
use crate::written::{Problem, mac};

/// Seconds that dnsmasq gives if nobody says otherwise.
const DNSMASQ_LEASE_S: u64 = 3_600;

/// Link type of Ethernet in a DUID (RFC 8415 §11.2).
const ETHERNET: &str = "00:01";

/// Reads a file of any of the three; the form is told by its content.
pub fn read(file: &str, text: &str) -> (Vec<Event>, Vec<Problem>) {
    let file: Arc<str> = Arc::from(file);
    let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
    let mut found = Found { file, events: Vec::new(), problems: Vec::new() };
    if first.starts_with("address,") {
        found.kea(text);
    } else if text.contains("lease ") && text.contains('{') {
        found.isc(text);
    } else {
        found.dnsmasq(text);
    }
    (found.events, found.problems)
}

struct Found {
    file: Arc<str>,
    events: Vec<Event>,
    problems: Vec<Problem>,
}

impl Found {
    fn unused(&mut self, line: usize, why: &str) {
        self.problems.push(not_used(&self.file, line, why));
    }

    fn lease(&mut self, addr: IpAddr, mac: MacAddr, span: (u64, u64), name: &str) {
        let name = Some(name.trim_end_matches('.')).filter(|n| !n.is_empty() && *n != "*");
        let lease_s = u32::try_from(span.1.saturating_sub(span.0)).unwrap_or(u32::MAX).max(1);
        let at = Timestamp(span.0.saturating_mul(Timestamp::SECOND));
        let what = What::Lease { mac, lease_s, name: name.map(Text::from) };
        self.events.push(Event { at, addr, what });
    }

    fn kea(&mut self, text: &str) {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        let Ok(heads) = reader.headers().cloned() else { return self.unused(1, "no header") };
        let place = |name: &str| heads.iter().position(|h| h == name);
        let (hwaddr, duid) = (place("hwaddr"), place("duid"));
        for record in reader.records() {
            let Ok(record) = record else {
                self.unused(0, "is no UTF-8");
                continue;
            };
            let line = record.position().map_or(0, csv::Position::line);
            let line = usize::try_from(line).unwrap_or(0);
            let get = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default();
            let of = |name: &str| get(place(name));
            let Ok(addr) = of("address").parse::<IpAddr>() else {
                self.unused(line, "no address");
                continue;
            };
            let owner = mac(get(hwaddr)).or_else(|| of_duid(get(duid)));
            let (Some(owner), Ok(valid), Ok(expire)) =
                (owner, of("valid_lifetime").parse::<u64>(), of("expire").parse::<u64>())
            else {
                self.unused(line, "no link address, lifetime or end");
                continue;
            };
            let from = expire.saturating_sub(valid);
            // State 1 is declined, 2 reclaimed: nobody has the address (Kea's memfile).
            if matches!(of("state"), "1" | "2") || valid == 0 {
                let at = Timestamp(from.saturating_mul(Timestamp::SECOND));
                self.events.push(Event { at, addr, what: What::Free });
                continue;
            }
            let name = of("hostname").to_owned();
            self.lease(addr, owner, (from, expire), &name);
        }
    }

    fn isc(&mut self, text: &str) {
        let mut open: Option<Isc> = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim().trim_end_matches(';');
            let words: Vec<&str> = line.split_whitespace().collect();
            match (&mut open, words.as_slice()) {
                (_, ["lease", addr, "{"]) => {
                    let addr = addr.parse().ok();
                    open = Some(Isc { line: number + 1, addr, ..Isc::default() });
                }
                (Some(_), ["}"]) => {
                    let Some(lease) = open.take() else { continue };
                    self.close(&lease);
                }
                (Some(lease), ["starts", rest @ ..]) => lease.from = isc_time(rest),
                (Some(lease), ["ends", rest @ ..]) => lease.until = isc_time(rest),
                (Some(lease), ["hardware", "ethernet", at]) => lease.mac = mac(at),
                (Some(lease), ["binding", "state", state]) => lease.free = *state != "active",
                (Some(lease), ["client-hostname", name]) => {
                    name.trim_matches('"').clone_into(&mut lease.name);
                }
                _ => {}
            }
        }
        if open.is_some() {
            self.unused(text.lines().count(), "the last lease has no end");
        }
    }

    fn close(&mut self, lease: &Isc) {
        match (lease.addr, lease.mac, lease.from) {
            (Some(addr), _, Some(from)) if lease.free => {
                let at = lease.until.map_or(from, |until| until.max(from));
                let at = Timestamp(at.saturating_mul(Timestamp::SECOND));
                self.events.push(Event { at, addr, what: What::Free });
            }
            (Some(addr), Some(mac), Some(from)) => {
                // "never" as end: a year, and the next lease of the address ends it.
                let until = lease.until.unwrap_or(from.saturating_add(366 * 86_400));
                self.lease(addr, mac, (from, until), &lease.name);
            }
            _ => self.unused(lease.line, "a lease without address, hardware or start"),
        }
    }

    fn dnsmasq(&mut self, text: &str) {
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] | ["duid", _] => {}
                [end, owner, addr, name, ..] => {
                    let owner = mac(owner);
                    let end = end.parse::<u64>().ok();
                    let (Some(end), Ok(addr)) = (end, addr.parse::<IpAddr>()) else {
                        self.unused(number + 1, "no end or address");
                        continue;
                    };
                    // Leases for IPv6 have an association id in place of the link address.
                    let owner = owner.or_else(|| words.get(4).and_then(|duid| of_duid(duid)));
                    let Some(owner) = owner else {
                        self.unused(number + 1, "no link address");
                        continue;
                    };
                    let span = (end.saturating_sub(DNSMASQ_LEASE_S), end);
                    self.lease(addr, owner, span, name);
                }
                _ => self.unused(number + 1, "is no lease"),
            }
        }
    }
}

#[derive(Default)]
struct Isc {
    line: usize,
    addr: Option<IpAddr>,
    mac: Option<MacAddr>,
    from: Option<u64>,
    until: Option<u64>,
    name: String,
    free: bool,
}

/// `4 2026/11/19 10:00:00`, or `epoch 1763546400; # ...`.
fn isc_time(words: &[&str]) -> Option<u64> {
    match words {
        ["epoch", seconds, ..] => seconds.trim_end_matches(';').parse().ok(),
        [_, day, time, ..] => {
            let text = format!("{}T{time}Z", day.replace('/', "-"));
            let at: jiff::Timestamp = text.parse().ok()?;
            u64::try_from(at.as_second()).ok()
        }
        _ => None,
    }
}

/// Link address in a DUID of type 1 (with time) or 3 (without), of Ethernet.
fn of_duid(duid: &str) -> Option<MacAddr> {
    let rest = duid.strip_prefix("00:01:").or_else(|| duid.strip_prefix("00:03:"))?;
    let rest = rest.strip_prefix(ETHERNET)?.strip_prefix(':')?;
    let start = rest.len().checked_sub(17)?;
    mac(rest.get(start..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> (Vec<String>, Vec<String>) {
        let (events, problems) = read("x", text);
        let line = |e: &Event| {
            let at = e.at.seconds();
            match &e.what {
                What::Lease { mac, lease_s, name } => {
                    let last = mac.0[5];
                    format!("{at} {} {last} {lease_s} {}", e.addr, name.as_deref().unwrap_or("-"))
                }
                _ => format!("{at} {} free", e.addr),
            }
        };
        let told = |p: &Problem| format!("{}: {}", p.place.as_ref().unwrap().line, p.message);
        (events.iter().map(line).collect(), problems.iter().map(told).collect())
    }

    #[test]
    fn leases_of_kea() {
        let text = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n\
                    192.0.2.10,02:00:00:00:00:01,,3600,1763550000,1,0,0,laptop-7.,0,,0\n\
                    192.0.2.10,02:00:00:00:00:01,,3600,1763560000,1,0,0,,2,,0\n\
                    192.0.2.11,,,3600,1763550000,1,0,0,,0,,0\n";
        let (events, problems) = lines(text);
        assert_eq!(events, ["1763546400 192.0.2.10 1 3600 laptop-7", "1763556400 192.0.2.10 free"]);
        assert_eq!(problems, ["4: no link address, lifetime or end"]);
        let text = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state\n\
                    2001:db8::7,00:01:00:01:2a:bb:cc:dd:02:00:00:00:00:02,60,1763550060,1,60,0,1,128,0,0,pc,,0\n";
        assert_eq!(lines(text).0, ["1763550000 2001:db8::7 2 60 pc"]);
    }

    #[test]
    fn leases_of_dhcpd() {
        let text = "lease 192.0.2.10 {\n  starts 3 2025/11/19 10:00:00;\n  ends 3 2025/11/19 11:00:00;\n  \
                    binding state active;\n  hardware ethernet 02:00:00:00:00:01;\n  client-hostname \"pc\";\n}\n\
                    lease 192.0.2.10 {\n  starts 3 2025/11/19 10:00:00;\n  ends 3 2025/11/19 10:30:00;\n  binding state free;\n}\n\
                    lease 192.0.2.11 {\n  binding state active;\n}\nlease 192.0.2.12 {\n";
        let (events, problems) = lines(text);
        assert_eq!(events, ["1763546400 192.0.2.10 1 3600 pc", "1763548200 192.0.2.10 free"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn leases_of_dnsmasq() {
        let text = "1763550000 02:00:00:00:00:01 192.0.2.10 pc *\nduid 00:01\n\
                    1763550000 12 2001:db8::7 * 00:03:00:01:02:00:00:00:00:02\nnonsense\nx y z w\n";
        let (events, problems) = lines(text);
        assert_eq!(events, ["1763546400 192.0.2.10 1 3600 pc", "1763546400 2001:db8::7 2 3600 -"]);
        assert_eq!(problems, ["4: is no lease", "5: no end or address"]);
    }
}
