//! The recorded office, replayed: as many devices and days as asked for, as captures.
//!
//! Each site is the office once more, with link addresses, addresses and times of its own. Who is
//! there on a day and who uses what is drawn: some have habits, others take a service up during the
//! time, most leave most services alone; two services come up late. What was drawn is the truth.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    dead_code,
    reason = "dice are small, and not everybody asks for everything"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

const S: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * S;
const DAY: u64 = 24 * HOUR;

/// 2026-10-05T00:00:00Z, a Monday.
pub const BEGIN: u64 = 1_791_158_400 * S;

/// Sites follow one another at least as far apart as the office lasts.
const SITE_GAP: u64 = 400 * S;

/// Header of a capture file in nanoseconds (pcap savefile format, `pcap-savefile(5)`).
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;

/// How large.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub devices: u64,
    pub days: u64,
    /// Captures that a day is cut into.
    pub cuts: u64,
}

/// One device's use of one service on one day, from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    pub day: u64,
    pub service: String,
    /// Link address as text.
    pub mac: String,
}

/// The office as it was recorded.
pub struct Office {
    header: Vec<u8>,
    frames: Vec<Frame>,
    hosts: Vec<[u8; 6]>,
    begin: u64,
}

struct Frame {
    at: u64,
    /// Length on the wire.
    wire: u32,
    bytes: Vec<u8>,
    /// Place of the device that it belongs to.
    host: usize,
    what: What,
}

/// What a frame is part of.
enum What {
    /// A use, with the service's name.
    Use(String),
    /// Anything else, by a number that is the same in both directions.
    Other(u64),
}

struct Flow {
    begin: f64,
    end: f64,
    used: Option<String>,
}

/// Protocol, client, server.
type Key = (u8, (IpAddr, u16), (IpAddr, u16));

impl Office {
    /// Reads the recording and its truth.
    pub fn read(root: &Path) -> Office {
        let folder = root.join("fixtures/office");
        let packed = std::fs::read(folder.join("office.pcap.zst")).expect("the office");
        let bytes = zstd::decode_all(&packed[..]).expect("zstd");
        let truth = std::fs::read(folder.join("office.truth.json")).expect("the truth");
        let truth: serde_json::Value = serde_json::from_slice(&truth).expect("JSON");
        let hosts: Vec<[u8; 6]> = truth["hosts"]
            .as_array()
            .expect("hosts")
            .iter()
            .map(|h| mac(h["mac"].as_str().expect("mac")))
            .collect();
        let flows = flows(&truth);
        let mut frames = Vec::new();
        let mut at = FILE_HEADER;
        while let Some(head) = bytes.get(at..at + FRAME_HEADER) {
            let word =
                |n: usize| u32::from_le_bytes([head[n], head[n + 1], head[n + 2], head[n + 3]]);
            let (time, length) = (u64::from(word(0)) * S + u64::from(word(4)), word(8) as usize);
            let body = &bytes[at + FRAME_HEADER..at + FRAME_HEADER + length];
            at += FRAME_HEADER + length;
            if let Some((host, what)) = place(body, time, &hosts, &flows) {
                frames.push(Frame { at: time, wire: word(12), bytes: body.to_vec(), host, what });
            }
        }
        let begin = frames.first().expect("frames").at;
        Office { header: bytes[..FILE_HEADER].to_vec(), frames, hosts, begin }
    }

    /// Writes the captures of all days, and says which uses are in them. One more capture, of the
    /// morning after, ends the last day.
    pub fn replay(&self, size: Size, folder: &Path) -> io::Result<(Vec<PathBuf>, BTreeSet<Use>)> {
        let sites = size.devices.div_ceil(self.hosts.len() as u64);
        let (mut files, mut truth) = (Vec::new(), BTreeSet::new());
        for day in 0..=size.days {
            // Who starts first changes from day to day; the morning after is one site's.
            let mut order: Vec<u64> = (0..sites).collect();
            order.sort_by_key(|site| dice(&[day, *site, 1]));
            let (cuts, sites) = if day == size.days { (1, 1) } else { (size.cuts, sites) };
            let per_cut = (sites.div_ceil(cuts)).max(1) as usize;
            order.truncate(sites as usize);
            for (cut, members) in order.chunks(per_cut).enumerate() {
                let path = folder.join(format!("day-{:02}-{cut}.pcap", day + 1));
                let mut out = BufWriter::new(std::fs::File::create(&path)?);
                out.write_all(&self.header)?;
                for (slot, site) in members.iter().enumerate() {
                    let slot = (cut * per_cut + slot) as u64;
                    let begin = BEGIN + day * DAY + 7 * HOUR + slot * SITE_GAP;
                    self.site(size, day, *site, begin, &mut out, &mut truth)?;
                }
                out.flush()?;
                files.push(path);
            }
        }
        Ok((files, truth))
    }

    fn site(
        &self,
        size: Size,
        day: u64,
        site: u64,
        begin: u64,
        out: &mut impl Write,
        truth: &mut BTreeSet<Use>,
    ) -> io::Result<()> {
        let all = self.hosts.len() as u64;
        let there: Vec<bool> = (0..all)
            .map(|host| {
                let weekend = day % 7 >= 5;
                site * all + host < size.devices
                    && dice(&[day, site, host, 2]) % 100 < if weekend { 8 } else { 60 }
            })
            .collect();
        let mut bytes = Vec::new();
        for frame in &self.frames {
            if !there[frame.host] {
                continue;
            }
            match &frame.what {
                What::Use(service) => {
                    if !uses(day, size.days, site, frame.host as u64, service) {
                        continue;
                    }
                    let mac = text(site_mac(self.hosts[frame.host], site));
                    truth.insert(Use { day, service: service.clone(), mac });
                }
                What::Other(flow) if !dice(&[day, site, *flow]).is_multiple_of(5) => continue,
                What::Other(_) => {}
            }
            bytes.clear();
            bytes.extend_from_slice(&frame.bytes);
            self.rewrite(&mut bytes, site);
            let at = begin + (frame.at - self.begin);
            for word in [(at / S) as u32, (at % S) as u32, bytes.len() as u32, frame.wire] {
                out.write_all(&word.to_le_bytes())?;
            }
            out.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Gives a frame the addresses of a site. Checksums stay as they were: nobody on a mirror
    /// port can rely on them.
    fn rewrite(&self, bytes: &mut [u8], site: u64) {
        for at in [0, 6] {
            let mac: [u8; 6] = bytes[at..at + 6].try_into().expect("six");
            if self.hosts.contains(&mac) {
                bytes[at..at + 6].copy_from_slice(&site_mac(mac, site));
            }
        }
        let (addresses, width) = match bytes[12..14] {
            [8, 0] => ([26, 30], 4),
            _ => ([22, 38], 16),
        };
        for at in addresses {
            let [.., a, b] = (site * 2).to_be_bytes();
            match (width, &mut bytes[at..at + width]) {
                // 10.20.0.0/23 becomes 10.32.0.0/23 and those after it.
                (4, [10, second @ 20, third, _]) => {
                    *third += b;
                    *second = 32 + a;
                }
                // 2001:db8:20::/64 becomes 2001:db8:20:SITE::/64.
                (16, [0x20, 1, 0xd, 0xb8, 0, 0x20, s, t, ..]) => (*s, *t) = (a, b),
                _ => {}
            }
        }
    }
}

/// `true` if a device of a site uses a service on a day.
fn uses(day: u64, days: u64, site: u64, host: u64, service: &str) -> bool {
    let name = service.bytes().fold(7_u64, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
    // Two come up late in the time, wherever they are used.
    let late = match service {
        "kimi" => days * 9 / 14,
        "grok" => days * 11 / 14,
        _ => 0,
    };
    let habit = dice(&[site, host, name, 3]) % 100;
    let (from, often) = match habit {
        // A habit of long standing; taken up during the time; tried once in a while.
        0..20 => (0, 70),
        20..45 => (dice(&[site, host, name, 4]) % days, 50),
        45..70 => (0, 3),
        _ => return false,
    };
    day >= from.max(late) && dice(&[day, site, host, name, 5]) % 100 < often
}

/// Device and use of a frame; nothing for what belongs to no device, or says who is who: names
/// would be the same in every site.
fn place(
    bytes: &[u8],
    at: u64,
    hosts: &[[u8; 6]],
    flows: &HashMap<Key, Vec<Flow>>,
) -> Option<(usize, What)> {
    let (protocol, source, target) = ends(bytes)?;
    if [source.1, target.1].iter().any(|p| matches!(p, 67 | 68 | 546 | 547 | 5353 | 5355 | 137)) {
        return None;
    }
    let of = |at: usize| hosts.iter().position(|h| bytes.get(at..at + 6) == Some(h));
    let (from, to) = (of(6), of(0));
    let there = (protocol, source, target);
    let back = (protocol, target, source);
    // The client is the device, also where the server is one.
    let (host, key) = match (flows.contains_key(&there), flows.contains_key(&back)) {
        (true, _) => (from?, there),
        (_, true) => (to?, back),
        _ => (from.or(to)?, if from.is_some() { there } else { back }),
    };
    let seconds = at as f64 / S as f64;
    let flow = flows.get(&key).and_then(|all| {
        all.iter().find(|f| seconds <= f.end + 0.5 && seconds >= f.begin - 0.5).or(all.last())
    });
    Some(match flow.and_then(|f| f.used.clone()) {
        Some(service) => (host, What::Use(service)),
        None => (host, What::Other(number(&key))),
    })
}

/// Protocol, source, target of a frame with TCP or UDP.
fn ends(bytes: &[u8]) -> Option<Key> {
    let ip = bytes.get(14..)?;
    let (protocol, source, target, rest) = match bytes.get(12..14)? {
        [8, 0] => {
            let head = usize::from(ip.first()? & 15) * 4;
            let addr =
                |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
            (*ip.get(9)?, addr(12)?, addr(16)?, ip.get(head..)?)
        }
        [0x86, 0xdd] => {
            let addr =
                |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?));
            (*ip.get(6)?, addr(8)?, addr(24)?, ip.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    matches!(protocol, 6 | 17).then_some((protocol, (source, port(0)?), (target, port(2)?)))
}

/// Flows of the truth by their ends.
fn flows(truth: &serde_json::Value) -> HashMap<Key, Vec<Flow>> {
    let end = |v: &serde_json::Value| -> Option<(IpAddr, u16)> {
        Some((v[0].as_str()?.parse().ok()?, v[1].as_u64()? as u16))
    };
    let mut all: HashMap<Key, Vec<Flow>> = HashMap::new();
    for flow in truth["flows"].as_array().expect("flows") {
        let protocol = if flow["proto"] == "tcp" { 6 } else { 17 };
        let (Some(client), Some(server)) = (end(&flow["client"]), end(&flow["server"])) else {
            continue;
        };
        let service = flow["service"].as_str().filter(|_| {
            // What belongs to a use comes and goes with it.
            let meaning = flow["meaning"].as_str().unwrap_or_default();
            meaning == "used" || meaning == "bulk" || meaning == "before-capture"
        });
        all.entry((protocol, client, server)).or_default().push(Flow {
            begin: flow["begin"].as_f64().unwrap_or(0.0),
            end: flow["end"].as_f64().unwrap_or(f64::MAX),
            used: service.map(str::to_owned),
        });
    }
    all
}

fn number(key: &Key) -> u64 {
    let (protocol, client, server) = key;
    let text = format!("{protocol} {client:?} {server:?}");
    text.bytes().fold(11, |sum: u64, b| sum.wrapping_mul(131).wrapping_add(b.into()))
}

fn mac(text: &str) -> [u8; 6] {
    let mut octets = text.split(':').map(|o| u8::from_str_radix(o, 16).expect("hexadecimal"));
    std::array::from_fn(|_| octets.next().expect("six"))
}

/// The link address of a site's device: locally administered, with the site in it.
fn site_mac(own: [u8; 6], site: u64) -> [u8; 6] {
    let [.., a, b] = site.to_be_bytes();
    [2, 0, 0x5e, a, b, own[5]]
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|o| format!("{o:02x}")).join(":")
}

/// The same number for the same words, whatever else was thrown (splitmix64).
fn dice(words: &[u64]) -> u64 {
    words.iter().fold(0x51, |sum: u64, word| {
        let mut x = sum.wrapping_add(*word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    })
}

/// Uses by day.
pub fn by_day(truth: &BTreeSet<Use>) -> BTreeMap<u64, u64> {
    let mut days = BTreeMap::new();
    for one in truth {
        *days.entry(one.day).or_default() += 1;
    }
    days
}
