//! What was seen and what could not be seen, in sentences with denominators.
//!
//! In: the numbers of the coverage ledger. Out: lines for a person, each "so many of so many".
//! Never: lets the reader take silence for absence; hides a number that it does not know.

use std::collections::{BTreeMap, BTreeSet};

use super::terminal::{number, printable, share};
use crate::recorder::store::{CoverageLine, HiddenLine};

/// On which side of the ledger a number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It could be read.
    Seen,
    /// It could not, or not for sure.
    Unseen,
}

/// One line for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Side of the ledger.
    pub side: Side,
    /// What was counted.
    pub what: String,
    /// How many of how many.
    pub amount: String,
}

use Side::{Seen, Unseen};

/// Numbers with words of their own, in the order of reading: name, side, words, and the number
/// whose part it is if it is to be said even where it is 0.
const WORDS: &[(&str, Side, &str, Option<&str>)] = &[
    ("flows_named_by_sni", Seen, "flows named by TLS server name (SNI)", Some("flows")),
    ("flows_named_by_quic_sni", Seen, "flows named by QUIC server name", Some("flows")),
    ("flows_named_by_quic_cid", Seen, "QUIC flows named by a connection id seen before", None),
    ("flows_named_by_http", Seen, "flows named by HTTP host", Some("flows")),
    ("flows_named_by_proxy", Seen, "flows named by a proxy request", None),
    ("flows_named_by_certificate", Seen, "flows named by the server's certificate", None),
    ("flows_named_by_dns", Seen, "flows named by an earlier DNS answer", Some("flows")),
    ("flows_carried_over", Seen, "flows gone on with from an earlier input", None),
    ("flows_through_proxy", Seen, "flows through a proxy", None),
    ("http_requests", Seen, "HTTP requests in clear", None),
    ("dns_queries", Seen, "DNS questions", None),
    ("payload_bytes", Seen, "payload bytes", None),
    ("clients_asking_the_canary", Seen, "clients whose browser asked whether to encrypt DNS", None),
    ("clients_refused_by_the_canary", Seen, "clients that the resolver told not to", None),
    ("flows_inbound", Seen, "flows of strangers to hosts here, not counted as use", None),
    ("flows_of_dns", Seen, "flows of DNS itself, which have no name", Some("flows")),
    ("flows_of_local_services", Seen, "flows of DHCP and names on the local link", None),
    ("flows_without_ports", Seen, "flows of ICMP and other protocols without ports", None),
    ("datagrams_reassembled", Seen, "datagrams put together from fragments", None),
    ("flows_unnamed", Unseen, "flows without any name", Some("flows")),
    ("flows_in_tunnels", Unseen, "flows that are tunnels nobody can look into", Some("flows")),
    ("bytes_in_wireguard", Unseen, "payload bytes in WireGuard", None),
    ("bytes_in_ipsec", Unseen, "payload bytes in IPsec", None),
    ("bytes_in_openvpn", Unseen, "payload bytes in OpenVPN", None),
    ("bytes_in_tor", Unseen, "payload bytes in what has the shape of Tor", None),
    ("bytes_to_security_edges", Unseen, "payload bytes through security edges", None),
    ("bytes_to_relays", Unseen, "payload bytes through relays and VPNs", None),
    ("flows_named_possibly", Unseen, "flows whose name is only possible (DNS in doubt)", None),
    ("hellos_without_name", Unseen, "TLS and QUIC hellos without a name", Some("hellos")),
    ("hellos_ech_plausible", Unseen, "hellos with the real name encrypted (ECH)", Some("hellos")),
    (
        "hellos_ech_grease",
        Unseen,
        "hellos with an ECH decoy (GREASE), name readable",
        Some("hellos"),
    ),
    ("clients_with_encrypted_dns", Unseen, "clients that ask DNS encrypted", Some("clients")),
    ("clients_with_encrypted_hellos", Unseen, "clients of services that encrypt names (ECH)", None),
    (
        "clients_of_security_edges",
        Unseen,
        "clients behind a security edge (SASE, secure web gateway)",
        Some("clients"),
    ),
    ("clients_of_relays", Unseen, "clients of a relay or VPN", Some("clients")),
    ("flows_of_people_left_out", Unseen, "flows of people whose groups are left out", None),
    ("flows_midstream", Unseen, "flows begun before the capture", Some("flows")),
    ("flows_unanswered", Unseen, "flows unanswered, or with one side seen", Some("flows")),
    ("flows_one_sided", Unseen, "flows of which the mirror shows one direction", Some("flows")),
    ("segments_repeated", Unseen, "TCP segments seen again (resent, or mirrored twice)", None),
    ("frames_cut_by_snaplen", Unseen, "frames cut by the snap length", None),
    (
        "quic_flows_without_hello",
        Unseen,
        "QUIC flows that moved, or began before the capture",
        None,
    ),
    ("flows_with_gaps", Unseen, "flows with missing bytes", Some("flows")),
    ("flows_hello_incomplete", Unseen, "flows whose hello never completed", Some("flows")),
    ("flows_with_conflicting_copies", Unseen, "flows with contradicting copies of bytes", None),
    ("flows_with_shared_bytes", Unseen, "flows whose bytes several names share", None),
    ("flows_read_up_to_a_hole", Unseen, "flows read up to bytes that are missing", None),
    ("recorder_cap_hits", Unseen, "times a limit of the recorder was met", None),
    ("cap_flows_evicted", Unseen, "flows that left early because the table was full", None),
    ("cap_flows_unread", Unseen, "flows not read because too many were being read", None),
    ("cap_stream_bytes_in_all", Unseen, "flows given up at the cap of bytes in all streams", None),
    ("cap_stream_bytes_of_a_flow", Unseen, "flows given up at the cap of bytes of a stream", None),
    ("cap_protocols_in_one_flow", Unseen, "flows with too many protocols one in another", None),
];

/// Fates of frames that need no line of their own: they were read, or carry no IP.
fn is_read(name: &str) -> bool {
    matches!(name, "packet" | "neighbor" | "fragment")
        || (name.starts_with("not_ip_") && name != "not_ip_encrypted")
}

/// Numbers that others are parts of.
const WHOLES: &[&str] = &["frames", "flows", "hellos", "clients"];

/// The ledger in sentences. `frames` is the number of frames in the inputs.
pub fn lines(ledger: &[CoverageLine], frames: u64) -> Vec<Line> {
    let counts: BTreeMap<&str, &CoverageLine> = ledger.iter().map(|l| (&*l.name, l)).collect();
    let count = |name: &str| counts.get(name).map_or(0, |l| l.count);
    let line = |side, what: &str, amount| Line { side, what: what.to_owned(), amount };
    let lost: u64 = ledger.iter().filter(|l| is_loss(l)).map(|l| l.count).sum();
    let parsed = share(frames.saturating_sub(lost), frames);
    let mut lines = vec![line(Seen, "frames parsed", parsed)];
    let (named, flows) = named(ledger);
    if flows > 0 {
        lines.push(line(Seen, "flows with a name", share(named, flows)));
    }
    for &(name, side, what, always) in WORDS {
        let amount = match (counts.get(name), always) {
            (Some(l), _) => match &l.of {
                Some((_, of)) => share(l.count, *of),
                None => number(l.count),
            },
            (None, Some(of)) if count(of) > 0 => share(0, count(of)),
            _ => continue,
        };
        lines.push(line(side, what, amount));
    }
    for l in ledger {
        let name = &*l.name;
        let known = WORDS.iter().any(|w| w.0 == name) || WHOLES.contains(&name) || is_read(name);
        if known || l.count == 0 {
            continue;
        }
        let words = printable(&name.replace('_', " ")).into_owned();
        let (what, amount) = match &l.of {
            Some((of, all)) if &**of == "frames" && !name.starts_with("frames") => {
                (format!("frames: {words}"), share(l.count, *all))
            }
            Some((_, all)) => (words, share(l.count, *all)),
            None => (words, number(l.count)),
        };
        lines.push(Line { side: Unseen, what, amount });
    }
    lines
}

/// What "no AI service was seen" is worth, in a sentence or two.
pub fn worth(ledger: &[CoverageLine], hidden: &[HiddenLine]) -> String {
    let devices: BTreeSet<_> = hidden.iter().map(|h| (h.actor.realm, h.actor.addr)).collect();
    let told = told(ledger);
    match devices.len() {
        0 => told,
        1 => format!("{told} The traffic of 1 device is hidden and not visible here."),
        n => format!(
            "{told} The traffic of {} devices is hidden and not visible here.",
            number(n as u64)
        ),
    }
}

fn told(ledger: &[CoverageLine]) -> String {
    let (named, all) = named(ledger);
    let nameless = ledger.iter().filter(|l| NEED_NO_NAME.contains(&&*l.name)).map(|l| l.count);
    let flows = all.saturating_sub(nameless.fold(0, u64::saturating_add));
    if all == 0 {
        return "No flow was seen at all, so this says nothing about what is used here.".to_owned();
    }
    let named_share = share(named, flows);
    match flows.saturating_sub(named) {
        0 => format!(
            "{named_share} flows had a name; what other networks and devices carry is not known."
        ),
        rest => format!(
            "Only flows with a name can be told: {named_share}. An AI service among the other {} \
             would not have been noticed.",
            number(rest)
        ),
    }
}

/// Rows of flows in which nobody looks for a name.
const NEED_NO_NAME: &[&str] =
    &["flows_of_dns", "flows_of_local_services", "flows_without_ports", "flows_inbound"];

/// Flows with a name that is believed, and all flows.
fn named(ledger: &[CoverageLine]) -> (u64, u64) {
    let sum = |wanted: &dyn Fn(&str) -> bool| {
        ledger.iter().filter(|l| wanted(&l.name)).map(|l| l.count).fold(0, u64::saturating_add)
    };
    let named = sum(&|n| n.starts_with("flows_named_by_") || n == "flows_carried_over");
    (named, sum(&|n| n == "flows"))
}

/// Frames of this fate were not read.
fn is_loss(line: &CoverageLine) -> bool {
    let of_frames = line.of.as_ref().is_some_and(|(of, _)| &**of == "frames");
    of_frames
        && (line.name.starts_with("truncated_")
            || line.name.starts_with("malformed_")
            || matches!(
                &*line.name,
                "unknown_link_type"
                    | "depth_limit"
                    | "not_ip_encrypted"
                    | "excluded"
                    | "frames_not_selected"
            ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(rows: &[(&str, u64, Option<(&str, u64)>)]) -> Vec<CoverageLine> {
        let line = |r: &(&str, u64, Option<(&str, u64)>)| CoverageLine {
            name: r.0.into(),
            count: r.1,
            of: r.2.map(|(name, count)| (name.into(), count)),
        };
        rows.iter().map(line).collect()
    }

    #[test]
    fn silence_is_never_absence() {
        for (name, rows, expected) in [
            ("nothing", &[][..], "No flow was seen at all"),
            (
                "nameless",
                &[("flows", 10, None), ("flows_named_by_sni", 4, None)],
                "the other 6 would not",
            ),
            ("all named", &[("flows", 4, None), ("flows_named_by_dns", 4, None)], "is not known"),
        ] {
            let said = worth(&ledger(rows), &[]);
            assert!(said.contains(expected), "{name}: {said}");
        }
    }

    #[test]
    fn every_number_has_a_line() {
        let rows = ledger(&[
            ("flows", 1_059, None),
            ("flows_named_by_sni", 612, Some(("flows", 1_059))),
            ("frames", 20, None),
            ("malformed_tcp", 2, Some(("frames", 20))),
            ("packet", 18, Some(("frames", 20))),
            ("something_new", 7, None),
        ]);
        let lines = lines(&rows, 20);
        let amount = |what: &str| lines.iter().find(|l| l.what == what).map(|l| l.amount.as_str());
        assert_eq!(amount("frames parsed"), Some("18 of 20 (90 %)"));
        assert_eq!(amount("flows named by TLS server name (SNI)"), Some("612 of 1,059 (58 %)"));
        assert_eq!(amount("flows begun before the capture"), Some("0 of 1,059 (0 %)"));
        assert_eq!(amount("frames: malformed tcp"), Some("2 of 20 (10 %)"));
        assert_eq!(amount("something new"), Some("7"));
        assert_eq!(amount("packet"), None);
    }
}
