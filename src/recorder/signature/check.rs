//! Everything that can be wrong with signature files, told at once with place and remedy.
//!
//! In: a folder of signature files, or those that the binary carries; today, if staleness is asked.
//! Out: [`Report`]: faults, which a catalogue must not have, and remarks, which it may.
//! Never: stops at the first fault; changes a file; reads a clock.
//! Limits: those of `source.rs`.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::catalog::{self, RawFile, RawHost, RawService};
use super::source::{self, File};
use super::{Catalogue, CatalogueError, Category, Clients, Kind, Network, Risk, Status, Strength};

/// Names that many share.
pub(super) const SHARED_FILE: &str = "shared.toml";

/// Where facts about hosts come from.
pub(super) const SOURCES_FILE: &str = "sources.toml";

/// Entries that nobody but somebody's memory speaks for, in percent of all: more, and the
/// catalogue is an opinion.
pub const MEMORY_MAX_PERCENT: usize = 25;

/// A label that no service has, to try patterns with.
const ANY_LABEL: &str = "q7x2";

/// The provenance of what nobody looked up.
const MEMORY: &str = "memory";

/// How each fault of the loader is called, and how it is mended: the first phrase that its
/// message has.
const REMEDIES: [(&str, &str, &str); 18] = [
    ("has an owner already", "duplicate", "keep it in the service that the host denotes"),
    ("is there already", "duplicate", "delete one of the two"),
    ("id ", "id", "choose an id that no entry has or had: lower case, digits, dashes"),
    ("is a public suffix", "public-suffix", "name the host below it that is the service's own"),
    ("is anybody's", "public-suffix", "name a template whose end is the vendor's own domain"),
    ("must match", "must-match", "correct the pattern, or the example"),
    ("must miss", "must-miss", "narrow the pattern, add to excludes, or correct the example"),
    ("must_match needs", "must-match", "add a host that the entry must find"),
    ("must_miss needs", "must-miss", "add a host of the same vendor that the entry must not find"),
    ("provenance is empty", "provenance", "name a source of sources.toml, or \"memory\""),
    (
        "from memory alone",
        "memory",
        "find a source, or set status = \"unverified\" and strength = \"probable\"",
    ),
    ("not say what is also_needed", "weak", "say in also_needed what must come with the name"),
    ("a date of the form", "date", "write the day as 2026-11-23"),
    ("a country code", "country", "two capitals of ISO 3166-1, ZZ where nobody knows"),
    ("a known tag", "tag", "take a tag of the list in README.md"),
    ("template", "pattern", "one variable in one label, such as run.{region}.example.com"),
    ("is not a host name", "pattern", "lower case, no wildcard, no final dot, two labels or more"),
    ("", "syntax", "README.md shows a whole entry"),
];

/// What is wrong, or worth a look.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Kind of fault, one word.
    pub rule: &'static str,
    /// Path below the signature folder.
    pub file: String,
    /// Line, from 1; 0 for the folder as a whole.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub fix: String,
}

/// Outcome of a check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Services.
    pub services: usize,
    /// Host patterns.
    pub patterns: usize,
    /// Services for which only somebody's memory speaks.
    pub memory_only: usize,
    /// What a catalogue must not have.
    pub faults: Vec<Finding>,
    /// What it may have, for a reviewer.
    pub remarks: Vec<Finding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedFile {
    #[serde(default)]
    shared: Vec<Shared>,
}

/// Names that stand for many things at once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    reason: String,
    #[serde(default)]
    never: Vec<String>,
    #[serde(default)]
    whole: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourcesFile {
    #[serde(default)]
    source: Vec<Source>,
}

/// Where facts come from, and what its terms allow.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    name: Spanned<String>,
    #[serde(default, rename = "project")]
    _project: Option<String>,
    licence: String,
    terms: Terms,
    taken: String,
    #[serde(default)]
    starts: Vec<String>,
    /// `false` if it says that a host is there, not whose it is.
    #[serde(default = "yes")]
    denotes: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Terms {
    Open,
    Facts,
    Forbidden,
}

/// Checks a folder, or the embedded files; with `stale`, also which entries nobody reviewed for so
/// many days before a day.
///
/// # Errors
/// If the folder cannot be read.
pub fn check(dir: Option<&Path>, stale: Option<(u32, Date)>) -> Result<Report, CatalogueError> {
    let all = |_: &str| true;
    let files = match dir {
        Some(dir) => source::from_dir(dir, all)?,
        None => source::embedded(all),
    };
    let mut report = Report::default();
    let (services, rest): (Vec<File>, Vec<File>) =
        files.into_iter().partition(|f| catalog::is_service_file(&f.name));
    let (catalogue, faults) = Catalogue::build_all(&services);
    report.faults.extend(faults.into_iter().map(told));
    // Where a file cannot be read, its services are missing everywhere else: one fault is told, and
    // not all that follows from it.
    let whole = services.iter().all(|f| f.parse::<RawFile>().is_ok());
    if !whole {
        report.faults.retain(|f| !matches!(f.rule, "must-match" | "must-miss"));
    }
    let (clients, network, risk) = match dir {
        Some(dir) => (
            Clients::from_dir(dir).err(),
            Network::from_dir(dir).err(),
            Risk::from_dir(dir, &catalogue).err(),
        ),
        None => {
            (Clients::embedded().err(), Network::embedded().err(), Risk::embedded(&catalogue).err())
        }
    };
    let others = [clients, network, risk.filter(|_| whole)];
    report.faults.extend(others.into_iter().flatten().map(told));

    let own = |name: &str| rest.iter().find(|f| f.name == name);
    // A folder without these lists is held to ours.
    let ours = source::embedded(|name| name == SHARED_FILE || name == SOURCES_FILE);
    let file = |name: &str| own(name).or_else(|| ours.iter().find(|f| f.name == name));
    let shared: Vec<Shared> = read(file(SHARED_FILE), &mut report, |f: SharedFile| f.shared);
    let sources: Vec<Source> = read(file(SOURCES_FILE), &mut report, |f: SourcesFile| f.source);
    for source in &sources {
        if source.licence.is_empty() || source.taken.is_empty() {
            let name = source.name.get_ref();
            let message = format!("source {name:?} does not say its licence and what was taken");
            if let Some(file) = file(SOURCES_FILE) {
                let fix = "write both, \"none stated\" and \"nothing\" among them".to_owned();
                report.faults.push(at(file, source.name.span(), "source", message, fix));
            }
        }
    }
    let entries: Vec<(&File, RawService)> = services
        .iter()
        .filter_map(|f| f.parse::<RawFile>().ok().map(|raw| (f, raw)))
        .flat_map(|(f, raw)| raw.service.into_iter().map(move |s| (f, s)))
        .collect();
    let wide = wide_patterns(&entries);
    let vendors = vendors(&entries);
    for (file, service) in &entries {
        report.services += 1;
        report.patterns += service.host.len();
        provenance(file, service, &sources, &mut report);
        for host in &service.host {
            shared_host(file, service, host, &shared, &mut report);
            reach(file, service, host, &catalogue, &mut report);
            overlap(file, service, host, &wide, &mut report);
        }
        neighbours(file, service, &vendors, &mut report);
        if let Some((days, today)) = stale {
            staleness(file, service, days, today, &mut report);
        }
    }
    if report.memory_only * 100 > report.services * MEMORY_MAX_PERCENT {
        report.faults.push(Finding {
            rule: "memory",
            file: String::new(),
            line: 0,
            message: format!(
                "{} of {} services stand on memory alone, more than {MEMORY_MAX_PERCENT} %",
                report.memory_only, report.services
            ),
            fix: "find sources, or take out what nobody can support".to_owned(),
        });
    }
    for list in [&mut report.faults, &mut report.remarks] {
        list.sort_by(|a, b| (&a.file, a.line, a.rule).cmp(&(&b.file, b.line, b.rule)));
    }
    Ok(report)
}

/// A list file's rows; what is wrong with it is told.
fn read<F: serde::de::DeserializeOwned, T>(
    file: Option<&File>,
    report: &mut Report,
    rows: fn(F) -> Vec<T>,
) -> Vec<T> {
    match file.map(File::parse::<F>) {
        Some(Ok(parsed)) => rows(parsed),
        Some(Err(fault)) => {
            report.faults.push(told(fault));
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// Each line names a source whose terms allow it.
fn provenance(file: &File, service: &RawService, sources: &[Source], report: &mut Report) {
    let denotes = |line: &str| {
        line != MEMORY && sources.iter().find(|s| s.covers(line)).is_none_or(|s| s.denotes)
    };
    if !service.provenance.iter().any(|p| denotes(p.get_ref())) {
        report.memory_only += 1;
        if service.status != Status::Unverified
            || service.host.iter().any(|h| h.strength == Strength::Certain)
        {
            let id = service.id.get_ref();
            let message =
                format!("{id} stands on memory: its sources only say that its hosts exist");
            let fix = "find a source that says whose they are, or set status = \"unverified\" and \
                       strength = \"probable\"";
            report.faults.push(at(file, service.id.span(), "memory", message, fix.to_owned()));
        }
    }
    for line in &service.provenance {
        let text = line.get_ref();
        let source = sources.iter().find(|s| s.covers(text));
        let (message, fix) = match source.map(|s| s.terms) {
            Some(Terms::Open | Terms::Facts) => continue,
            Some(Terms::Forbidden) => (
                format!("the terms of the source of {text:?} forbid to take from it"),
                "delete the line; if nothing else is left, write \"memory\"",
            ),
            None => (
                format!("{text:?} begins with no source of {SOURCES_FILE}"),
                "add the source with its licence, or correct the name",
            ),
        };
        report.faults.push(at(file, line.span(), "source", message, fix.to_owned()));
    }
}

impl Source {
    /// `true` if a line of provenance begins with the source's name, or as it says.
    fn covers(&self, line: &str) -> bool {
        let rest = line.strip_prefix(self.name.get_ref().as_str());
        rest.is_some_and(|r| r.is_empty() || r.starts_with([':', '@', ' ', ',']))
            || self.starts.iter().any(|s| line.starts_with(s.as_str()))
    }
}

/// A pattern on names that many share accuses people of having opened some page.
fn shared_host(
    file: &File,
    service: &RawService,
    host: &RawHost,
    shared: &[Shared],
    report: &mut Report,
) {
    let pattern = host.pattern.get_ref();
    // A vendor's tool server for agents has a host that no page loads.
    let tools = service.category == Category::Mcp && host.kind == Kind::Exact;
    let wide = matches!(host.kind, Kind::Suffix | Kind::Tenant);
    for list in shared {
        let never = list.never.iter().find(|n| {
            (is_at_or_below(pattern, n) && !(tools && pattern != *n))
                || (wide && is_at_or_below(n, pattern))
        });
        let whole =
            list.whole.iter().find(|n| *n == pattern || (wide && is_at_or_below(n, pattern)));
        let (name, fix) = match (never, whole) {
            (Some(name), _) => (name, "take the pattern out"),
            (None, Some(name)) => {
                (name, "name the exact host, template or tenant below it that is the service's own")
            }
            (None, None) => continue,
        };
        let message = format!("{pattern:?} is shared ({name}): {}", list.reason);
        report.faults.push(at(file, host.pattern.span(), "shared", message, fix.to_owned()));
        return;
    }
}

/// A name that only this pattern fits must find it.
fn reach(
    file: &File,
    service: &RawService,
    host: &RawHost,
    catalogue: &Catalogue,
    report: &mut Report,
) {
    let pattern = host.pattern.get_ref();
    let name = example(pattern, host.kind);
    let deeper = format!("{ANY_LABEL}.{name}");
    // What one name shows at its bare name, below it, or only further below, is reached.
    let names = [pattern.as_str(), &name, &deeper];
    let itself = |name: &&str| {
        let found = catalogue.lookup(name);
        found.is_some_and(|m| m.host.pattern == *pattern && m.host.kind == host.kind)
    };
    let itself = names.iter().any(itself);
    let found = catalogue.lookup(&name);
    if !itself && catalogue.service(service.id.get_ref()).is_some() {
        let by = found.map_or_else(
            || "an exclude bars it".to_owned(),
            |m| format!("{} of {} takes its names", m.host.pattern, m.service.id),
        );
        let message = format!("no name can reach {pattern:?}: {by}");
        let fix = "delete the pattern, or narrow the one in front of it".to_owned();
        report.faults.push(at(file, host.pattern.span(), "unreachable", message, fix));
    }
}

/// A name that a pattern is there for.
pub(super) fn example(pattern: &str, kind: Kind) -> String {
    match kind {
        Kind::Exact => pattern.to_owned(),
        Kind::Suffix | Kind::Tenant => format!("{ANY_LABEL}.{pattern}"),
        Kind::Template => match (pattern.split_once('{'), pattern.split_once('}')) {
            (Some((before, _)), Some((_, behind))) => format!("{before}{ANY_LABEL}{behind}"),
            _ => pattern.to_owned(),
        },
    }
}

/// Suffixes and tenants by name, with the service and vendor that have them.
type Wide<'e> = HashMap<&'e str, (&'e str, &'e str, bool)>;

fn wide_patterns<'e>(entries: &'e [(&File, RawService)]) -> Wide<'e> {
    let mut wide = HashMap::new();
    for (_, service) in entries {
        for host in service.host.iter().filter(|h| matches!(h.kind, Kind::Suffix | Kind::Tenant)) {
            let certain = host.strength == Strength::Certain && host.kind == Kind::Suffix;
            let owner = (service.id.get_ref().as_str(), service.vendor.as_str(), certain);
            wide.insert(host.pattern.get_ref().as_str(), owner);
        }
    }
    wide
}

/// A pattern below another vendor's certain suffix: one of the two is wrong about whose it is.
fn overlap(
    file: &File,
    service: &RawService,
    host: &RawHost,
    wide: &Wide<'_>,
    report: &mut Report,
) {
    let mut name = host.pattern.get_ref().as_str();
    while let Some((_, parent)) = name.split_once('.') {
        name = parent;
        let Some((id, vendor, certain)) = wide.get(parent) else { continue };
        if *vendor == service.vendor || !certain {
            return;
        }
        let pattern = host.pattern.get_ref();
        let message = format!("{pattern:?} lies below {parent:?} of {id}, of another vendor");
        let fix = "write the same vendor, or make the wider one `probable` or exact".to_owned();
        report.remarks.push(at(file, host.pattern.span(), "overlap", message, fix));
        return;
    }
}

/// Vendors with the domains of their services: (domain, service).
type Vendors<'e> = HashMap<&'e str, Vec<(&'e str, &'e str)>>;

fn vendors<'e>(entries: &'e [(&File, RawService)]) -> Vendors<'e> {
    let mut vendors = Vendors::new();
    for (_, service) in entries {
        let domains = vendors.entry(service.vendor.as_str()).or_default();
        for host in &service.host {
            domains.push((domain(host.pattern.get_ref()), service.id.get_ref().as_str()));
        }
    }
    vendors
}

/// The domain that somebody registered, of a name or a pattern; one whose customers have names of
/// their own below it counts as one.
fn domain(name: &str) -> &str {
    let fixed = name.rsplit_once('}').map_or(name, |(_, tail)| tail.trim_start_matches(['.', '-']));
    let suffix = psl::suffix(fixed.as_bytes()).filter(|s| s.typ() == Some(psl::Type::Private));
    let shared = suffix.and_then(|s| fixed.get(fixed.len().checked_sub(s.as_bytes().len())?..));
    shared.or_else(|| psl::domain_str(fixed)).unwrap_or(fixed)
}

/// Where the vendor has other hosts, one of them is the example of what must be missed: that is
/// what a wide pattern would take by mistake, not a name that somebody made up.
fn neighbours(file: &File, service: &RawService, vendors: &Vendors<'_>, report: &mut Report) {
    let id = service.id.get_ref().as_str();
    let none = Vec::new();
    let domains = vendors.get(service.vendor.as_str()).unwrap_or(&none);
    let whole = |name: &str| {
        service.host.iter().any(|h| h.kind == Kind::Suffix && h.pattern.get_ref() == name)
    };
    // Another service of the vendor, or a domain of which the service has a part only.
    let others = domains.iter().any(|(name, of)| *of != id || !whole(name));
    let named = service
        .must_miss
        .iter()
        .any(|miss| domains.iter().any(|(name, _)| *name == domain(miss.get_ref())));
    if others && !named && !service.host.is_empty() {
        let message = format!("no must_miss of {id} is another host of its own vendor");
        let fix = "add one: another service of the vendor, its sign-in, its manual".to_owned();
        report.faults.push(at(file, service.id.span(), "neighbour", message, fix));
    }
}

fn staleness(file: &File, service: &RawService, days: u32, today: Date, report: &mut Report) {
    let verified = &service.last_verified;
    let Ok(date) = verified.get_ref().parse::<Date>() else { return };
    let age = today.duration_since(date).as_hours() / 24;
    if age > i64::from(days) {
        let id = service.id.get_ref();
        let message = format!("nobody reviewed {id} for {age} days");
        let fix = "look at its hosts, and give last_verified the day".to_owned();
        report.faults.push(at(file, verified.span(), "stale", message, fix));
    }
}

/// `true` if `name` is `above` or ends in it at a label border.
fn is_at_or_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn at(
    file: &File,
    span: Range<usize>,
    rule: &'static str,
    message: String,
    fix: String,
) -> Finding {
    Finding { rule, file: file.name.clone(), line: file.line(span), message, fix }
}

/// A fault of the loader with its remedy.
fn told(fault: CatalogueError) -> Finding {
    let CatalogueError { file, line, message } = fault;
    let remedy = REMEDIES.iter().find(|(phrase, ..)| message.contains(phrase));
    let (rule, fix) = remedy.map_or(("syntax", ""), |&(_, rule, fix)| (rule, fix));
    Finding { rule, file, line, message, fix: fix.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_labels() {
        let cases = [
            ("a.example.com", "example.com", true),
            ("example.com", "example.com", true),
            ("badexample.com", "example.com", false),
            ("com", "example.com", false),
        ];
        for (name, above, expected) in cases {
            assert_eq!(is_at_or_below(name, above), expected, "{name} {above}");
        }
    }

    #[test]
    fn an_example_fits_its_pattern() {
        assert_eq!(example("a.example", Kind::Exact), "a.example");
        assert_eq!(example("a.example", Kind::Tenant), "q7x2.a.example");
        assert_eq!(example("{r}-run.a.example", Kind::Template), "q7x2-run.a.example");
    }
}
