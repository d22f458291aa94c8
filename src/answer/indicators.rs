//! The catalogue for other tools: Suricata, Zeek, Sigma, response policy zones, plain.
//!
//! In: a catalogue. Out: rules or lists, one host pattern each, in the order of the catalogue.
//! Never: writes a pattern that a tool would read wider than it is: where it has no words for one,
//! a comment says so.

use std::io::{self, Write};

use crate::recorder::signature::{Catalogue, HostPattern, Kind, Service, Strength};

/// First Suricata rule number: those up to 9,999,999 are free for local use.
const SID_FIRST: u32 = 9_000_000;

/// Room for rule numbers; one follows from its pattern, so that it stays when others come.
const SIDS: u32 = 900_000;

/// A tool's way of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Rules on the server name of TLS.
    Suricata,
    /// A file for Zeek's intelligence framework.
    ZeekIntel,
    /// One Sigma rule a service, on DNS queries.
    Sigma,
    /// A zone for a resolver that answers "no such name".
    Rpz,
    /// One pattern a line.
    Plain,
}

/// Writes the patterns of a catalogue that show use: no pages, scripts or measurements, and none
/// that are weak.
///
/// # Errors
/// Those of `out`.
pub fn write(catalogue: &Catalogue, format: Format, out: &mut impl Write) -> io::Result<()> {
    let version = catalogue.version();
    let mut sids = std::collections::HashSet::new();
    match format {
        Format::ZeekIntel => {
            writeln!(out, "#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc")?;
        }
        Format::Rpz => {
            writeln!(out, "$TTL 300\n@ SOA localhost. root.localhost. 1 3600 900 86400 300")?;
            writeln!(out, "@ NS localhost.\n; AI services, catalogue {version}")?;
        }
        _ => writeln!(out, "# AI services, catalogue {version}")?,
    }
    for service in catalogue.services() {
        let hosts: Vec<&HostPattern> = service
            .hosts
            .iter()
            .filter(|h| h.role.opens_session() && h.strength != Strength::Weak)
            .collect();
        if hosts.is_empty() {
            continue;
        }
        if format == Format::Sigma {
            sigma(service, &hosts, out)?;
            continue;
        }
        for host in hosts {
            match format {
                Format::Suricata => {
                    let mut sid = SID_FIRST + number(host) % SIDS;
                    while !sids.insert(sid) {
                        sid += 1;
                    }
                    suricata(service, host, sid, out)?;
                }
                Format::ZeekIntel => zeek(service, host, out)?,
                Format::Rpz => rpz(host, out)?,
                Format::Plain => writeln!(out, "{}", plain(host))?,
                Format::Sigma => {}
            }
        }
    }
    Ok(())
}

/// A number that follows from a pattern alone.
fn number(host: &HostPattern) -> u32 {
    let digest = blake3::hash(format!("{:?} {}", host.kind, host.pattern).as_bytes());
    digest.as_bytes().first_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b))
}

/// The parts around the variable of a template.
fn around(pattern: &str) -> (&str, &str) {
    let before = pattern.split_once('{').map_or("", |(before, _)| before);
    let behind = pattern.split_once('}').map_or("", |(_, behind)| behind);
    (before, behind)
}

fn suricata(
    service: &Service,
    host: &HostPattern,
    sid: u32,
    out: &mut impl Write,
) -> io::Result<()> {
    let pattern = &host.pattern;
    let content = match host.kind {
        Kind::Exact => format!("content:\"{pattern}\"; bsize:{};", pattern.len()),
        Kind::Suffix => format!("dotprefix; content:\".{pattern}\"; endswith;"),
        Kind::Tenant => format!("content:\".{pattern}\"; endswith;"),
        Kind::Template => {
            let (before, behind) = around(pattern);
            let before = match before {
                "" => String::new(),
                text => format!("content:\"{text}\"; startswith; "),
            };
            format!("{before}content:\"{behind}\"; endswith;")
        }
    };
    writeln!(
        out,
        "alert tls any any -> any any (msg:\"AI service {} ({})\"; flow:to_server; tls.sni; {content} \
         nocase; classtype:policy-violation; sid:{sid}; rev:1; metadata:category {};)",
        quoted(&service.name),
        service.id,
        service.category.word()
    )
}

/// Text without what ends a rule's text.
fn quoted(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '"' | ';' | '\\' | ':') && !c.is_control()).collect()
}

/// Zeek's intelligence compares whole names.
fn zeek(service: &Service, host: &HostPattern, out: &mut impl Write) -> io::Result<()> {
    match host.kind {
        Kind::Exact | Kind::Suffix => writeln!(
            out,
            "{}\tIntel::DOMAIN\tshadowtap\t{} ({})",
            host.pattern,
            quoted(&service.name),
            service.id
        ),
        Kind::Tenant | Kind::Template => Ok(()),
    }
}

fn sigma(service: &Service, hosts: &[&HostPattern], out: &mut impl Write) -> io::Result<()> {
    let digest = blake3::hash(service.id.as_bytes()).to_hex();
    let part = |from: usize, to: usize| digest.as_str().get(from..to).unwrap_or_default();
    writeln!(out, "---\ntitle: 'AI service {}'", service.name.replace('\'', "''"))?;
    writeln!(
        out,
        "id: {}-{}-4{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )?;
    writeln!(out, "status: experimental\nlogsource:\n  category: dns\ndetection:")?;
    let mut names = Vec::new();
    for (n, host) in hosts.iter().enumerate() {
        let pattern = &host.pattern;
        let lines: Vec<(String, String)> = match host.kind {
            Kind::Exact => vec![("query".to_owned(), pattern.clone())],
            Kind::Tenant => vec![("query|endswith".to_owned(), format!(".{pattern}"))],
            Kind::Suffix => {
                vec![("query|re".to_owned(), format!("^(.*\\.)?{}$", escaped(pattern)))]
            }
            Kind::Template => {
                let (before, behind) = around(pattern);
                let text = format!("^{}[^.]+{}$", escaped(before), escaped(behind));
                vec![("query|re".to_owned(), text)]
            }
        };
        writeln!(out, "  host_{n}:")?;
        for (key, value) in lines {
            writeln!(out, "    {key}: '{value}'")?;
        }
        names.push(n);
    }
    writeln!(out, "  condition: 1 of host_*\nlevel: low\ntags:\n  - attack.exfiltration")?;
    writeln!(out, "falsepositives:\n  - 'approved use of {}'", service.name.replace('\'', "''"))
}

fn escaped(text: &str) -> String {
    text.replace('.', "\\.")
}

fn rpz(host: &HostPattern, out: &mut impl Write) -> io::Result<()> {
    let pattern = &host.pattern;
    match host.kind {
        Kind::Exact => writeln!(out, "{pattern} CNAME ."),
        Kind::Suffix => writeln!(out, "{pattern} CNAME .\n*.{pattern} CNAME ."),
        Kind::Tenant => writeln!(out, "*.{pattern} CNAME ."),
        Kind::Template => writeln!(out, "; zones have no words for {pattern}"),
    }
}

fn plain(host: &HostPattern) -> String {
    match host.kind {
        Kind::Exact | Kind::Template => host.pattern.clone(),
        Kind::Suffix => format!(".{}", host.pattern),
        Kind::Tenant => format!("*.{}", host.pattern),
    }
}
