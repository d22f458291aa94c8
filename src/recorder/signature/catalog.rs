//! The catalogue of AI services: what `signatures/*.toml` says, checked, ready to look up.
//!
//! In: the embedded files, or a folder that replaces them wholly. Out: [`Catalogue`], [`Match`].
//! Never: accepts a file with a doubt in it; every error names file and line.
//! Checks: unknown keys, label borders, public suffixes (publicsuffix.org), one owner a pattern,
//! one variable a template, ids, dates, provenance, and each entry's own `must_match` and
//! `must_miss`.
//! Limits: those of `source.rs`; `u32` patterns.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

pub use super::source::CatalogueError;

use super::matcher::{self, LabelTree};
use super::source::{self, File};
use crate::recorder::words::Role;
use crate::types::{NAME_MAX, plain_name};

/// Labels that mean the same below every service that does not say otherwise. Where a pattern
/// that counts as use leaves a label open, these take this role instead: nobody uses a service
/// by reading its manual.
const CUSTOMARY: [(&str, Role); 53] = [
    ("about", Role::Other),
    ("academy", Role::Other),
    ("accounts", Role::Auth),
    ("analytics", Role::Telemetry),
    ("api-docs", Role::Other),
    ("assets", Role::Asset),
    ("auth", Role::Auth),
    ("blog", Role::Other),
    ("careers", Role::Other),
    ("cdn", Role::Asset),
    ("changelog", Role::Other),
    ("community", Role::Other),
    ("console", Role::Other),
    ("developer", Role::Other),
    ("developers", Role::Other),
    ("doc", Role::Other),
    ("docs", Role::Other),
    ("download", Role::Download),
    ("downloads", Role::Download),
    ("events", Role::Telemetry),
    ("faq", Role::Other),
    ("feedback", Role::Other),
    ("fonts", Role::Asset),
    ("forum", Role::Other),
    ("help", Role::Other),
    ("images", Role::Asset),
    ("img", Role::Asset),
    ("jobs", Role::Other),
    ("kb", Role::Other),
    ("learn", Role::Other),
    ("legal", Role::Other),
    ("login", Role::Auth),
    ("metrics", Role::Telemetry),
    ("news", Role::Other),
    ("oauth", Role::Auth),
    ("partners", Role::Other),
    ("press", Role::Other),
    ("pricing", Role::Other),
    ("privacy", Role::Other),
    ("releases", Role::Download),
    ("roadmap", Role::Other),
    ("security", Role::Other),
    ("shop", Role::Other),
    ("sso", Role::Auth),
    ("static", Role::Asset),
    ("stats", Role::Telemetry),
    ("status", Role::Other),
    ("store", Role::Other),
    ("support", Role::Other),
    ("telemetry", Role::Telemetry),
    ("trust", Role::Other),
    ("updates", Role::Download),
    ("wiki", Role::Other),
];

/// Length of [`Catalogue::version`] in characters: 48 bits tell releases apart and fit a line.
const VERSION_CHARS: usize = 12;

/// All services, by id and by host.
#[derive(Debug)]
pub struct Catalogue {
    services: Vec<Service>,
    by_id: HashMap<String, usize>,
    tree: LabelTree,
    /// Pattern number → service and host within it.
    patterns: Vec<(usize, usize)>,
    version: String,
}

/// A service that people or programs can use.
#[derive(Clone, Debug)]
pub struct Service {
    /// Stable, lower case, never reused.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The firm or project behind it.
    pub vendor: String,
    /// Country of the firm's seat, ISO 3166-1 alpha-2.
    pub vendor_country: String,
    /// What it is for.
    pub category: Category,
    /// Further words, from a small vocabulary (`signatures/README.md`).
    pub tags: Vec<String>,
    /// Whether it is still there, and whether anybody checked.
    pub status: Status,
    /// Day of entry, YYYY-MM-DD.
    pub first_added: String,
    /// Day of the last review, YYYY-MM-DD.
    pub last_verified: String,
    /// Where the facts come from.
    pub provenance: Vec<String>,
    /// Names it had, each a former id.
    pub former_names: Vec<String>,
    /// Patterns of its host names.
    pub hosts: Vec<HostPattern>,
    /// Names of API grammars it speaks; weak evidence.
    pub apis: Vec<String>,
    /// TCP ports it listens on by default; weak evidence, never alone.
    pub ports: Vec<u16>,
    /// Address prefixes that the vendor publishes as its own alone.
    pub addresses: Vec<Prefix>,
}

/// One pattern of host names.
#[derive(Clone, Debug)]
pub struct HostPattern {
    /// The pattern as written.
    pub pattern: String,
    /// How it is compared.
    pub kind: Kind,
    /// What a host of this pattern does; [`Match::role`] refines it.
    pub role: Role,
    /// How far the name alone proves the service.
    pub strength: Strength,
    /// Names below a suffix that are not the service.
    pub excludes: Vec<String>,
    /// What a weak pattern needs beside it, for people to read.
    pub also_needed: Option<String>,
}

/// An address block.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// First address.
    pub addr: IpAddr,
    /// Length in bits.
    pub bits: u8,
    /// Where the vendor publishes it.
    pub source: String,
}

/// What a lookup found.
#[derive(Clone, Copy, Debug)]
pub struct Match<'c> {
    /// The service.
    pub service: &'c Service,
    /// The pattern that fits best.
    pub host: &'c HostPattern,
    /// What this very host does: the pattern's role, or the customary one of the label that the
    /// pattern leaves open (`docs.`, `status.`, `login.` ...). Take this one, not the pattern's.
    pub role: Role,
    /// The tenant's label or the variable one of a template.
    pub tenant: Option<&'c str>,
}

/// How a pattern is compared with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// This name only.
    Exact,
    /// This name and everything below it.
    Suffix,
    /// Fixed labels and exactly one variable part, `{region}`.
    Template,
    /// Everything below this name, not the name.
    Tenant,
}

/// How far a name alone proves its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// Only this service uses the name, and a source says so.
    Certain,
    /// Very likely, but the name may serve something else of the same vendor, or nobody checked.
    Probable,
    /// A hint: other things live under this name too.
    Weak,
}

/// Whether a service is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// In operation.
    Active,
    /// Goes by another name now.
    Renamed,
    /// Shut down; kept so that old records still read right.
    Closed,
    /// Entered from memory, not checked against a source.
    Unverified,
}

/// Main category of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// General assistants.
    Chat,
    /// Model providers and inference clouds.
    LlmApi,
    /// Routers, resellers, several models under one roof.
    Gateway,
    /// Coding assistants, agents, review.
    Coding,
    /// From prompt to application.
    AppBuilder,
    /// Answer engines.
    Search,
    /// Agents that act.
    Agent,
    /// Agents that drive a browser, and browsers with an agent.
    BrowserAgent,
    /// Recording, transcripts, notes.
    Meeting,
    /// Text for people.
    Writing,
    /// From one language to another.
    Translation,
    /// Papers, documents, data analysis.
    Research,
    /// Learning.
    Education,
    /// Pictures.
    Image,
    /// Layouts, diagrams, interfaces.
    Design,
    /// Moving pictures.
    Video,
    /// Voices and sound.
    Audio,
    /// Songs.
    Music,
    /// Slides.
    Presentation,
    /// Characters to talk to.
    Companion,
    /// AI inside another product.
    Embedded,
    /// AI that answers on other firms' sites.
    SupportBot,
    /// Models and data sets to take away.
    ModelHub,
    /// Models on one's own machines.
    LocalRuntime,
    /// Tracing, evaluation, prompts.
    Llmops,
    /// Vector stores and the like.
    Data,
    /// Machines to rent for models.
    GpuCloud,
    /// Tool servers for agents.
    Mcp,
}

impl Category {
    /// The word in signature files.
    pub fn word(self) -> &'static str {
        match self {
            Category::Chat => "chat",
            Category::LlmApi => "llm-api",
            Category::Gateway => "gateway",
            Category::Coding => "coding",
            Category::AppBuilder => "app-builder",
            Category::Search => "search",
            Category::Agent => "agent",
            Category::BrowserAgent => "browser-agent",
            Category::Meeting => "meeting",
            Category::Writing => "writing",
            Category::Translation => "translation",
            Category::Research => "research",
            Category::Education => "education",
            Category::Image => "image",
            Category::Design => "design",
            Category::Video => "video",
            Category::Audio => "audio",
            Category::Music => "music",
            Category::Presentation => "presentation",
            Category::Companion => "companion",
            Category::Embedded => "embedded",
            Category::SupportBot => "support-bot",
            Category::ModelHub => "model-hub",
            Category::LocalRuntime => "local-runtime",
            Category::Llmops => "llmops",
            Category::Data => "data",
            Category::GpuCloud => "gpu-cloud",
            Category::Mcp => "mcp",
        }
    }
}

impl Catalogue {
    /// The catalogue that the binary carries.
    ///
    /// # Errors
    /// Names file and line; a test of ours makes sure that a release has none.
    pub fn embedded() -> Result<Self, CatalogueError> {
        Self::build(&source::embedded(is_service_file))
    }

    /// The catalogue of a folder, which replaces the embedded one wholly.
    ///
    /// # Errors
    /// Names file and line of the first thing that is wrong.
    pub fn from_dir(dir: &Path) -> Result<Self, CatalogueError> {
        Self::build(&source::from_dir(dir, is_service_file)?)
    }

    /// The service that a host name in plain form ([`plain_name`]) belongs to.
    pub fn lookup<'c>(&'c self, host: &'c str) -> Option<Match<'c>> {
        let hit = self.tree.find(host)?;
        let &(service, at) = self.patterns.get(hit.number as usize)?;
        let service = self.services.get(service)?;
        let host = service.hosts.get(at)?;
        let role = match hit.open {
            // The bare name of an API is a page about it.
            None if host.kind == Kind::Suffix && host.role == Role::Api => Role::Other,
            // So is its www; of a chat it is the chat.
            Some("www") if host.role == Role::Api || host.kind != Kind::Suffix => Role::Other,
            Some(label) if host.role.opens_session() => customary(label).unwrap_or(host.role),
            _ => host.role,
        };
        let tenant = hit.open.filter(|_| host.kind != Kind::Suffix);
        Some(Match { service, host, role, tenant })
    }

    /// The service of an id, or of a former id.
    pub fn service(&self, id: &str) -> Option<&Service> {
        self.by_id.get(id).and_then(|&at| self.services.get(at))
    }

    /// All services, in the order of files and entries.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The service whose vendor publishes a block with this address as its own alone. Weak: it
    /// says whose machine answered, not for which product.
    pub fn by_address(&self, addr: IpAddr) -> Option<&Service> {
        self.services.iter().find(|s| s.addresses.iter().any(|p| p.holds(addr)))
    }

    /// Services that speak an API grammar of this name, those with the port first.
    pub fn by_api(&self, api: &str, port: u16) -> Option<&Service> {
        let speaks = |s: &&Service| s.apis.iter().any(|a| a == api);
        let mut of_api = self.services.iter().filter(speaks);
        of_api.clone().find(|s| s.ports.contains(&port)).or_else(|| of_api.next())
    }

    /// Short digest of the files' names and content: the same data, the same version.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn build(files: &[File]) -> Result<Self, CatalogueError> {
        let mut builder = Builder::default();
        let mut digest = blake3::Hasher::new();
        for file in files {
            for part in [file.name.as_bytes(), file.text.as_bytes()] {
                digest.update(&(part.len() as u64).to_le_bytes());
                digest.update(part);
            }
            let raw: RawFile = file.parse()?;
            for service in raw.service {
                builder.add(file, service)?;
            }
        }
        let hex = digest.finalize().to_hex();
        let version = hex.as_str().chars().take(VERSION_CHARS).collect();
        builder.finish(version)
    }
}

impl Prefix {
    /// `true` if `addr` lies in the block.
    pub fn holds(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let drop = 32u32.saturating_sub(u32::from(self.bits));
                a.to_bits().checked_shr(drop) == b.to_bits().checked_shr(drop)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let drop = 128u32.saturating_sub(u32::from(self.bits));
                a.to_bits().checked_shr(drop) == b.to_bits().checked_shr(drop)
            }
            _ => false,
        }
    }
}

/// The customary role of a label. Most labels have none, and their length or first letters say so.
fn customary(label: &str) -> Option<Role> {
    let first = *label.as_bytes().first()?;
    let start = CUSTOMARY.partition_point(|(word, _)| word.as_bytes().first() < Some(&first));
    let same = CUSTOMARY.get(start..)?.iter();
    same.take_while(|(word, _)| word.as_bytes().first() == Some(&first))
        .find(|(word, _)| word.len() == label.len() && *word == label)
        .map(|&(_, role)| role)
}

/// Service files lie at the top of the folder; the others there have names of their own.
fn is_service_file(name: &str) -> bool {
    !name.contains('/') && name != super::clients::FILE
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    service: Vec<RawService>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    id: Spanned<String>,
    name: String,
    vendor: String,
    vendor_country: Spanned<String>,
    category: Category,
    #[serde(default)]
    tags: Vec<Spanned<String>>,
    status: Status,
    first_added: Spanned<String>,
    last_verified: Spanned<String>,
    provenance: Vec<String>,
    #[serde(default)]
    former_names: Vec<Spanned<String>>,
    #[serde(default)]
    host: Vec<RawHost>,
    #[serde(default)]
    apis: Vec<String>,
    #[serde(default)]
    ports: Vec<u16>,
    #[serde(default)]
    addresses: Vec<RawPrefix>,
    #[serde(default)]
    must_match: Vec<Spanned<String>>,
    #[serde(default)]
    must_miss: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHost {
    pattern: Spanned<String>,
    #[serde(rename = "match")]
    kind: Kind,
    #[serde(deserialize_with = "role")]
    role: Role,
    strength: Strength,
    #[serde(default)]
    excludes: Vec<Spanned<String>>,
    also_needed: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrefix {
    prefix: Spanned<String>,
    source: String,
}

/// A role by the word that the whole recorder has for it.
fn role<'d, D: Deserializer<'d>>(from: D) -> Result<Role, D::Error> {
    let word = <Cow<'d, str>>::deserialize(from)?;
    Role::from_code(&word).ok_or_else(|| {
        let words: Vec<&str> = Role::ALL.iter().map(|r| r.code()).collect();
        D::Error::custom(format!("role {word:?} is none of {}", words.join(", ")))
    })
}

/// Words that may stand in `tags`.
const TAGS: [&str; 13] = [
    "adult",
    "agentic",
    "browser-extension",
    "desktop-app",
    "file-upload",
    "generative",
    "mcp",
    "multi-model",
    "open-weights",
    "prc-hosted",
    "records-meetings",
    "self-hostable",
    "voice",
];

/// What an entry promises about a name: checked once all entries are there.
struct Promise<'f> {
    service: usize,
    host: Spanned<String>,
    matches: bool,
    file: &'f File,
}

#[derive(Default)]
struct Builder<'f> {
    services: Vec<Service>,
    by_id: HashMap<String, usize>,
    tree: LabelTree,
    patterns: Vec<(usize, usize)>,
    /// Pattern text → owner, file and place of the first entry that has it.
    owners: HashMap<String, (usize, &'f File, Range<usize>)>,
    promises: Vec<Promise<'f>>,
}

impl<'f> Builder<'f> {
    fn add(&mut self, file: &'f File, raw: RawService) -> Result<(), CatalogueError> {
        let at = self.services.len();
        let head = raw.id.span();
        self.name_service(file, &raw.id, at)?;
        for former in &raw.former_names {
            self.name_service(file, former, at)?;
        }
        check_facts(file, &raw)?;

        let mut hosts = Vec::with_capacity(raw.host.len());
        for host in raw.host {
            let host = self.add_host(file, host, at, hosts.len())?;
            hosts.push(host);
        }
        let addresses =
            raw.addresses.into_iter().map(|a| prefix(file, a)).collect::<Result<_, _>>()?;
        for (names, matches) in [(raw.must_match, true), (raw.must_miss, false)] {
            if names.is_empty() && !hosts.is_empty() {
                let key = if matches { "must_match" } else { "must_miss" };
                return Err(file.error(head, format!("{key} needs at least one host")));
            }
            for host in names {
                self.promises.push(Promise { service: at, host, matches, file });
            }
        }
        if hosts.is_empty() && raw.apis.is_empty() && raw.ports.is_empty() {
            return Err(file.error(head, "an entry without host, api or port".to_owned()));
        }
        self.services.push(Service {
            id: raw.id.into_inner(),
            name: raw.name,
            vendor: raw.vendor,
            vendor_country: raw.vendor_country.into_inner(),
            category: raw.category,
            tags: raw.tags.into_iter().map(Spanned::into_inner).collect(),
            status: raw.status,
            first_added: raw.first_added.into_inner(),
            last_verified: raw.last_verified.into_inner(),
            provenance: raw.provenance,
            former_names: raw.former_names.into_iter().map(Spanned::into_inner).collect(),
            hosts,
            apis: raw.apis,
            ports: raw.ports,
            addresses,
        });
        Ok(())
    }

    /// Gives an id, or a former one, to the service at `at`.
    fn name_service(
        &mut self,
        file: &File,
        id: &Spanned<String>,
        at: usize,
    ) -> Result<(), CatalogueError> {
        let text = id.get_ref();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || !text.bytes().all(plain) || text.starts_with('-') {
            let message = format!("id {text:?} is not lower case with dashes");
            return Err(file.error(id.span(), message));
        }
        if self.by_id.insert(text.clone(), at).is_some() {
            return Err(file.error(id.span(), format!("id {text:?} is taken")));
        }
        Ok(())
    }

    fn add_host(
        &mut self,
        file: &'f File,
        raw: RawHost,
        service: usize,
        at: usize,
    ) -> Result<HostPattern, CatalogueError> {
        let span = raw.pattern.span();
        let pattern = raw.pattern.into_inner();
        check_pattern(&pattern, raw.kind).map_err(|m| file.error(span.clone(), m))?;
        if let Some((owner, other, place)) = self.owners.get(&pattern)
            && *owner != service
        {
            let (other, line) = (&other.name, other.line(place.clone()));
            let message = format!("pattern {pattern:?} has an owner already at {other}:{line}");
            return Err(file.error(span, message));
        }
        self.owners.entry(pattern.clone()).or_insert((service, file, span.clone()));
        let number = u32::try_from(self.patterns.len())
            .map_err(|_| file.error(span.clone(), "too many patterns".to_owned()))?;
        self.patterns.push((service, at));
        if !self.tree.insert(&pattern, raw.kind, number) {
            return Err(file.error(span, format!("pattern {pattern:?} is there already")));
        }
        let mut excludes = Vec::with_capacity(raw.excludes.len());
        for exclude in raw.excludes {
            let below = exclude.get_ref().strip_suffix(pattern.as_str());
            if raw.kind != Kind::Suffix || !below.is_some_and(|b| b.ends_with('.') && b.len() > 1) {
                let message = format!("{:?} is not below a suffix {pattern:?}", exclude.get_ref());
                return Err(file.error(exclude.span(), message));
            }
            self.tree.bar(exclude.get_ref());
            excludes.push(exclude.into_inner());
        }
        if raw.strength == Strength::Weak && raw.role.opens_session() && raw.also_needed.is_none() {
            let message = format!("weak pattern {pattern:?} does not say what is also_needed");
            return Err(file.error(span, message));
        }
        Ok(HostPattern {
            pattern,
            kind: raw.kind,
            role: raw.role,
            strength: raw.strength,
            excludes,
            also_needed: raw.also_needed,
        })
    }

    fn finish(self, version: String) -> Result<Catalogue, CatalogueError> {
        let Self { services, by_id, tree, patterns, promises, .. } = self;
        let catalogue = Catalogue { services, by_id, tree, patterns, version };
        for promise in promises {
            let mut buf = [0; NAME_MAX];
            let plain = plain_name(promise.host.get_ref().as_bytes(), &mut buf);
            let found = plain.and_then(|host| catalogue.lookup(host));
            let own = catalogue.services.get(promise.service).map(|s| s.id.as_str());
            if (found.map(|m| m.service.id.as_str()) == own) == promise.matches {
                continue;
            }
            let must = if promise.matches { "must match" } else { "must miss" };
            let host = promise.host.get_ref();
            let message = format!("{host:?} {must} {}", own.unwrap_or_default());
            return Err(promise.file.error(promise.host.span(), message));
        }
        Ok(catalogue)
    }
}

fn check_facts(file: &File, raw: &RawService) -> Result<(), CatalogueError> {
    let wrong = |at: &Spanned<String>, what: &str| {
        Err(file.error(at.span(), format!("{:?} is not {what}", at.get_ref())))
    };
    for date in [&raw.first_added, &raw.last_verified] {
        if date.get_ref().parse::<jiff::civil::Date>().is_err() {
            return wrong(date, "a date of the form YYYY-MM-DD");
        }
    }
    let country = raw.vendor_country.get_ref();
    if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
        return wrong(&raw.vendor_country, "a country code of two capitals");
    }
    for tag in &raw.tags {
        if !TAGS.contains(&tag.get_ref().as_str()) {
            return wrong(tag, "a known tag");
        }
    }
    if raw.provenance.is_empty() {
        return Err(file.error(raw.id.span(), "provenance is empty".to_owned()));
    }
    if raw.provenance.iter().all(|p| p == "memory") {
        let certain = raw.host.iter().any(|h| h.strength == Strength::Certain);
        if certain || raw.status != Status::Unverified {
            let message = "from memory alone nothing is certain, and the status is unverified";
            return Err(file.error(raw.id.span(), message.to_owned()));
        }
    }
    Ok(())
}

/// What is wrong with a pattern, if anything is.
pub(super) fn check_pattern(pattern: &str, kind: Kind) -> Result<(), String> {
    let variables = pattern.matches(['{', '}']).count();
    if kind == Kind::Template {
        let open = pattern.split('.').filter(|l| matcher::variable(l).is_some()).count();
        if variables != 2 || open != 1 {
            return Err(format!("template {pattern:?} needs exactly one {{variable}} in a label"));
        }
        let tail =
            pattern.rsplit_once('}').map_or("", |(_, t)| t.split_once('.').map_or("", |t| t.1));
        check_name(tail)?;
        return match public_suffix(tail) {
            Some(psl::Type::Icann) => Err(format!("{tail:?} behind the variable is anybody's")),
            _ => check_name(&pattern.replace(['{', '}'], "")),
        };
    }
    check_name(pattern)?;
    match public_suffix(pattern) {
        // Names below a provider's own suffix belong to its customers: a tenant pattern means
        // just that, and an exact one claims none of them.
        Some(psl::Type::Private) if kind != Kind::Suffix => Ok(()),
        Some(_) => Err(format!("{pattern:?} is a public suffix")),
        None => Ok(()),
    }
}

/// The section of the public suffix list in which the whole of `name` stands.
fn public_suffix(name: &str) -> Option<psl::Type> {
    let suffix = psl::suffix(name.as_bytes())?;
    (suffix.as_bytes() == name.as_bytes()).then(|| suffix.typ().unwrap_or(psl::Type::Icann))
}

/// A fixed host name in plain form, of at least two labels.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(plain);
    if name.len() > NAME_MAX || !name.contains('.') || !name.split('.').all(label) {
        return Err(format!("{name:?} is not a host name in lower case"));
    }
    if name.parse::<IpAddr>().is_ok() {
        return Err(format!("{name:?} is an address"));
    }
    Ok(())
}

fn prefix(file: &File, raw: RawPrefix) -> Result<Prefix, CatalogueError> {
    let parsed = raw.prefix.get_ref().split_once('/').and_then(|(addr, bits)| {
        let addr: IpAddr = addr.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        // Wider blocks are not one vendor's alone.
        let (least, most) = if addr.is_ipv4() { (16, 32) } else { (32, 128) };
        (least..=most).contains(&bits).then_some((addr, bits))
    });
    let Some((addr, bits)) = parsed else {
        let message = format!("{:?} is not an address block", raw.prefix.get_ref());
        return Err(file.error(raw.prefix.span(), message));
    };
    Ok(Prefix { addr, bits, source: raw.source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customary_labels_are_in_order() {
        assert!(CUSTOMARY.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(customary("docs"), Some(Role::Other));
        assert_eq!(customary("api"), None);
    }

    #[test]
    fn a_block_holds_its_addresses_only() {
        let block =
            |addr: &str, bits| Prefix { addr: addr.parse().unwrap(), bits, source: String::new() };
        let cases: &[(&str, u8, &str, bool)] = &[
            ("192.0.2.0", 24, "192.0.2.255", true),
            ("192.0.2.0", 24, "192.0.3.0", false),
            ("192.0.2.7", 32, "192.0.2.7", true),
            ("192.0.2.7", 32, "192.0.2.6", false),
            ("2001:db8::", 32, "2001:db8:ffff::1", true),
            ("2001:db8::", 32, "2001:db9::1", false),
            ("192.0.2.0", 24, "2001:db8::1", false),
            ("0.0.0.0", 0, "203.0.113.1", true),
        ];
        for (addr, bits, probe, expected) in cases {
            let holds = block(addr, *bits).holds(probe.parse().unwrap());
            assert_eq!(holds, *expected, "{probe} in {addr}/{bits}");
        }
    }
}
