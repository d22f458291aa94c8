//! File and flags to one validated configuration.
//!
//! In: `shadowtap.toml` and what it includes, flags. Out: [`Config`], and the options of each
//! room made of it. Never: is seen by a room; goes on with a value that makes no sense.
//! Limits: each setting's range stands where it is read, its reason in the embedded file.

mod alerts;
mod layers;

use std::collections::BTreeSet;
use std::env;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

pub use crate::written::ConfigError;
pub use layers::{DEFAULTS, Flag, Origin, Setting, Value};

use crate::courier::receivers::syslog;
use crate::courier::settings as sinks;
use crate::courier::settings::SinkSettings;
use crate::recorder::alert::{Pace, Rules};
use crate::recorder::desk::Rulebook;
use crate::recorder::identity::departments::Departments;
use crate::recorder::identity::inventory::Field;
use crate::recorder::identity::subject::Key;
use crate::recorder::identity::{self, Known, Mode, Veil};
use crate::recorder::policy::{Policy, PolicyBuilder};
use crate::recorder::signature::{Catalogue, CatalogueError, Clients, Network, Risk};
use crate::recorder::store::rows::Text;
use crate::recorder::store::{Options as StoreOptions, Retention};
use crate::sensor::{self, WATCHERS_MAX};
use crate::types::{MacAddr, Realm};
use crate::watcher::capture::ring::{RING_MAX, RING_MIN};
use crate::watcher::decode::{DecodeOptions, Exclude, Realms, Tag};
use crate::watcher::flow::{Limits as FlowLimits, SHARDS};
use crate::written::{Document, Place, Problem, Problems, Severity, mac, network};
use layers::Layers;

/// Environment variable that names the file.
pub const FILE_VARIABLE: &str = "SHADOWTAP_CONFIG";

/// Name of the file, where nothing else is said.
pub const FILE_NAME: &str = "shadowtap.toml";

/// Seed of flow hashes for files, so that equal input gives equal output; live, a sensor takes a
/// random one, so that nobody can aim at a shard.
pub const OFFLINE_SEED: u64 = 0x5ead_0077_a900_0001;

/// Largest number of flows: the table's indices are 32 bits wide over all shards.
const FLOWS_MAX: u64 = 1 << 28;

/// Longest time in seconds that makes sense for a pause: thirty days.
const PAUSE_MAX_S: u64 = 30 * 86_400;

/// Longest time that rows stay, in days: a century.
const DAYS_MAX: u64 = 36_500;

/// Everything that can be set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whom the sensor watches.
    pub scope: Scope,
    /// How interfaces are watched.
    pub sensor: SensorSettings,
    /// Caps and timeouts.
    pub limits: Limits,
    /// Upload in bytes a flow that makes a use `bulk`.
    pub bulk_bytes: u64,
    /// Where the policy stands.
    pub policy: PolicySource,
    /// Folder that replaces the built-in catalogue.
    pub signatures_dir: Option<PathBuf>,
    /// File with signatures of one's own, on top of the catalogue.
    pub signatures_local: Option<PathBuf>,
    /// When a finding becomes an alert.
    pub alerts: Rules,
    /// How many alerts there are.
    alert_mode: alerts::Mode,
    /// Risk score above which use is told; `None` for never.
    risk_above: Option<u64>,
    /// Groups whose members' use is told.
    sensitive_groups: Vec<String>,
    /// Departments by network and device.
    pub departments: Departments,
    /// Who gets the alerts.
    pub sinks: Vec<SinkSettings>,
    /// What is kept.
    pub store: StoreSettings,
    /// Who is who: settings, and the files that say so.
    pub identity: IdentitySources,
    /// How names leave.
    pub veil: Veil,
    /// Every setting with its origin, in the order of the embedded file.
    pub settings: Vec<Setting>,
    /// Files read, included ones first.
    pub files: Vec<Arc<str>>,
    /// What is to be told about it, though nothing is wrong.
    pub problems: Vec<Problem>,
}

/// Whom the sensor watches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Networks whose hosts are ours; empty for the private ranges.
    pub own_networks: Vec<(IpAddr, u8)>,
    /// Networks that are not looked at.
    pub exclude_networks: Vec<(IpAddr, u8)>,
    /// VLANs that are not looked at.
    pub exclude_vlans: Vec<u16>,
    /// Link addresses that are not looked at.
    pub exclude_macs: Vec<MacAddr>,
    /// Address spaces that are kept apart.
    pub realms: Realms,
}

/// How interfaces are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SensorSettings {
    /// Name of the sensor; empty for the host's.
    pub id: String,
    /// Octets of a ring.
    pub ring_bytes: usize,
    /// Ask the card for frames to others.
    pub promiscuous: bool,
    /// Seconds between two checks of the mirror.
    pub check_s: u64,
    /// Seconds between two heartbeats.
    pub heartbeat_s: u64,
}

/// Caps over all shards together, and seconds of silence after which a flow is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Watchers; 0 for one a core.
    pub threads: usize,
    /// Flows of one address family.
    pub flows_max: usize,
    /// Flows being read or named at once.
    pub named_flows_max: usize,
    /// Bytes that streams may hold.
    pub stream_bytes_max: usize,
    /// TCP without a name, in seconds.
    pub tcp_idle_s: u64,
    /// TCP with a name, in seconds.
    pub named_idle_s: u64,
    /// TCP that nobody answered, in seconds.
    pub unanswered_s: u64,
    /// TCP after FIN or RST, in seconds.
    pub closed_s: u64,
    /// UDP, in seconds.
    pub udp_idle_s: u64,
    /// One question and one answer, in seconds.
    pub datagram_idle_s: u64,
}

/// Where the policy stands.
#[derive(Clone, Debug, Default)]
pub struct PolicySource {
    /// A file of its own.
    pub file: Option<PathBuf>,
    /// Where `file` was set, if in a file.
    named_at: Option<Place>,
    /// Configuration files, some of which may hold rules.
    pub inline: Vec<Document>,
}

/// Who is who: settings, and the files that say so.
#[derive(Clone, Debug, Default)]
pub struct IdentitySources {
    /// What may be looked at.
    pub settings: identity::Settings,
    /// Devices and people.
    pub inventory: Vec<PathBuf>,
    /// Columns of theirs.
    pub columns: Vec<(Field, String)>,
    /// Lease files.
    pub leases: Vec<PathBuf>,
    /// Logon events.
    pub logons: Vec<PathBuf>,
    /// Where logon events are received, live.
    pub listen: syslog::Settings,
}

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct StoreSettings {
    /// The store; `None` to keep nothing.
    pub file: Option<PathBuf>,
    /// Size in bytes that it keeps to.
    pub size_max_bytes: u64,
    /// How long rows stay.
    pub retention: Retention,
}

impl Config {
    /// The configuration of the file at `path`; without a path, of the file that
    /// [`FILE_VARIABLE`] names; else of [`FILE_NAME`] in this folder, if it belongs to the user
    /// or to root; else the defaults.
    ///
    /// # Errors
    /// Everything that is wrong with it, by file and line.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        Self::load_with(path, &[])
    }

    /// The same under flags, which come last and override.
    ///
    /// # Errors
    /// Everything that is wrong with it, by file and line or flag.
    pub fn load_with(path: Option<&Path>, flags: &[Flag]) -> Result<Config, ConfigError> {
        let mut layers = Layers::new();
        if let Some(path) = path.map(Path::to_owned).or_else(|| found(&mut layers.problems)) {
            layers.file(&path, None);
        }
        for flag in flags {
            layers.flag(flag);
        }
        let Layers { settings, documents, problems, .. } = layers;
        let mut reader = Reader { settings, problems };
        let mut config = reader.config();
        let Reader { settings, mut problems } = reader;
        config.sinks = sinks::read(&documents, &mut problems);
        config.alerts.suppressions = alerts::suppressions(&documents, &mut problems);
        config.departments = Departments::of(&documents, &mut problems);
        config.problems = problems.check()?.0;
        config.settings = settings;
        config.files = documents.iter().map(|d| d.name().clone()).collect();
        // A flag that names a policy means that one, and not the rules of the configuration too.
        let alone = |s: &Setting| s.key == "policy.file" && matches!(s.origin, Origin::Flag(_));
        if !config.settings.iter().any(alone) {
            config.policy.inline = documents;
        }
        Ok(config)
    }

    /// What decoding leaves out; the seed is that for files.
    pub fn decode_options(&self) -> DecodeOptions {
        let scope = &self.scope;
        let exclude =
            Exclude::new(&scope.exclude_networks, &scope.exclude_vlans, &scope.exclude_macs);
        DecodeOptions { hash_seed: OFFLINE_SEED, exclude, realms: scope.realms.clone() }
    }

    /// Caps of each shard.
    pub fn limits(&self) -> FlowLimits {
        let l = &self.limits;
        FlowLimits {
            flows_max: l.flows_max / SHARDS,
            cold_max: l.named_flows_max / SHARDS,
            stream_bytes_max: l.stream_bytes_max / SHARDS,
            tcp_idle_s: l.tcp_idle_s,
            named_idle_s: l.named_idle_s,
            unanswered_s: l.unanswered_s,
            closed_s: l.closed_s,
            udp_idle_s: l.udp_idle_s,
            datagram_idle_s: l.datagram_idle_s,
            tells_growth: false,
        }
    }

    /// Watchers: those asked for, else one a core.
    pub fn watchers(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let asked = Some(self.limits.threads).filter(|n| *n > 0);
        asked.unwrap_or_else(cores).clamp(1, WATCHERS_MAX)
    }

    /// How a run over files is set up.
    pub fn sensor_options(&self) -> sensor::Options {
        sensor::Options {
            watchers: self.watchers(),
            decode: self.decode_options(),
            limits: self.limits(),
            stop: Arc::default(),
        }
    }

    /// How the store is opened, by a run that keeps it or not, under a policy or none.
    pub fn store_options(&self, kept: bool, decided: bool) -> StoreOptions {
        let pace = self.alert_mode.pace(kept, decided);
        let mut rules = Rules { pace, ..self.alerts.clone() };
        self.risky(&mut rules);
        StoreOptions {
            rules,
            retention: self.store.retention.clone(),
            size_max_bytes: self.store.size_max_bytes,
            veil: Some(self.veil.clone()),
        }
    }

    /// Names services and people that rules of alerts are about. What cannot be read was told
    /// when the catalogue and the inventory were read for the run itself.
    fn risky(&self, rules: &mut Rules) {
        if let Some(most) = self.risk_above
            && let Ok((catalogue, risk)) = self.catalogue_and_risk()
        {
            let above = |id: &str| risk.score(id).points.is_some_and(|p| u64::from(p) > most);
            let ids = catalogue.services().iter().map(|s| s.id.as_str());
            rules.risky = ids.filter(|id| above(id)).map(Text::from).collect();
        }
        if !self.sensitive_groups.is_empty()
            && let Ok((known, _)) = self.known()
        {
            let named = |g: &Text| self.sensitive_groups.iter().any(|n| g.eq_ignore_ascii_case(n));
            let people = known.inventory.people();
            let members = people.into_iter().filter(|p| p.groups.iter().any(named));
            rules.sensitive.users = members.map(|p| p.user.clone()).collect();
        }
    }

    /// Who is who beside what the wire says, read from the files that say so, and each line of
    /// theirs that could not be used.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn known(&self) -> Result<(Arc<Known>, Vec<Problem>), ConfigError> {
        let IdentitySources { settings, inventory, columns, leases, logons, .. } = &self.identity;
        let mut known = Known {
            settings: settings.clone(),
            veil: self.veil.clone(),
            departments: self.departments.clone(),
            ..Known::default()
        };
        let mut problems = Vec::new();
        for path in inventory {
            let (name, text) = text_of(path)?;
            problems.extend(known.inventory.read(&name, &text, columns));
        }
        let readers: [(&[PathBuf], EventReader); 2] =
            [(leases, identity::leases::read), (logons, identity::logons::read)];
        for (paths, read) in readers {
            for path in paths {
                let (name, text) = text_of(path)?;
                let (events, told) = read(&name, &text);
                known.events.extend(events);
                problems.extend(told);
            }
        }
        Ok((known.sorted(), problems))
    }

    /// What the recorder judges by, read from signatures and policy, and what is to be told
    /// about them.
    ///
    /// # Errors
    /// Everything that is wrong with the policy, or the first thing with the signatures.
    pub fn rulebook(&self) -> Result<(Rulebook, Vec<Problem>), ConfigError> {
        let catalogue = self.catalogue()?;
        let (clients, network) = match &self.signatures_dir {
            Some(dir) => (Clients::from_dir(dir), Network::from_dir(dir)),
            None => (Clients::embedded(), Network::embedded()),
        };
        let (policy, mut problems) = self.policy(&catalogue)?;
        let (known, unused) = self.known()?;
        if !unused.is_empty() {
            let message =
                format!("{} lines of inventory, leases or logons were not used", unused.len());
            let hint = "`shadowtap identity check` tells each, and why".to_owned();
            problems.push(Problem {
                severity: Severity::Warning,
                place: None,
                message,
                hint: Some(hint),
            });
        }
        let rulebook = Rulebook {
            catalogue: Arc::new(catalogue),
            clients: Arc::new(clients.map_err(of_catalogue)?),
            network: Arc::new(network.map_err(of_catalogue)?),
            policy: Arc::new(policy),
            known,
            own_networks: self.scope.own_networks.clone(),
            bulk_bytes: self.bulk_bytes,
        };
        Ok((rulebook, problems))
    }

    /// The services.
    ///
    /// # Errors
    /// The first thing that is wrong with the signature files.
    pub fn catalogue(&self) -> Result<Catalogue, ConfigError> {
        let (dir, local) = (self.signatures_dir.as_deref(), self.signatures_local.as_deref());
        Catalogue::with_local(dir, local).map_err(of_catalogue)
    }

    /// The services, and what is known of them beyond their hosts.
    ///
    /// # Errors
    /// The first thing that is wrong with the signature files.
    pub fn catalogue_and_risk(&self) -> Result<(Catalogue, Risk), ConfigError> {
        let catalogue = self.catalogue()?;
        let risk = match &self.signatures_dir {
            Some(dir) => Risk::from_dir(dir, &catalogue),
            None => Risk::embedded(&catalogue),
        };
        let mut risk = risk.map_err(of_catalogue)?;
        if let Some(local) = &self.signatures_local {
            risk.take_local(local).map_err(of_catalogue)?;
        }
        Ok((catalogue, risk))
    }

    /// The decisions, and what is to be told about them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn policy(&self, catalogue: &Catalogue) -> Result<(Policy, Vec<Problem>), ConfigError> {
        let mut builder = PolicyBuilder::new(catalogue);
        if let Some(path) = &self.policy.file {
            let named_at = self.policy.named_at.clone();
            let doc = Document::read(path).map_err(|p| Problem { place: named_at, ..p })?;
            builder.file(&doc);
        }
        for doc in &self.policy.inline {
            // These files were read without a mistake before.
            let mut told = Problems::default();
            let table = doc.parse(&mut told);
            if let Some(section) = doc.top(&table).section("policy", &mut told) {
                builder.section(&section);
            }
        }
        let (policy, problems) = builder.finish();
        Ok((policy, problems.check()?.0))
    }
}

/// Reads a file of leases or logons, given its name and text.
type EventReader = fn(&str, &str) -> (Vec<identity::known::Event>, Vec<Problem>);

/// Largest file of inventory, leases or logons: a year of logons of a large company, and still
/// read at once.
const SOURCE_MAX_BYTES: u64 = 1 << 30;

/// Name and text of a file that says who is who.
fn text_of(path: &Path) -> Result<(String, String), ConfigError> {
    let name = path.display().to_string();
    let failed = |why: String| ConfigError::from(Problem::error(format!("{name}: {why}")));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    file.take(SOURCE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
    if bytes.len() as u64 > SOURCE_MAX_BYTES {
        return Err(failed(format!("longer than {SOURCE_MAX_BYTES} bytes")));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // Exports of older systems are in a code page; what is no ASCII is lost, not the line.
        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
    };
    Ok((name, text))
}

/// The file to read when none is named.
fn found(problems: &mut Problems) -> Option<PathBuf> {
    if let Some(named) = env::var_os(FILE_VARIABLE).filter(|n| !n.is_empty()) {
        return Some(PathBuf::from(named));
    }
    let here = PathBuf::from(FILE_NAME);
    let owner = here.metadata().ok()?.uid();
    // A stranger's file in a shared folder must not decide what is looked at.
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Some(here);
    }
    let message = format!("./{FILE_NAME} belongs to another user and is not read");
    problems.warning(None, message, Some("name it with --config if you trust it".to_owned()));
    None
}

fn of_catalogue(error: CatalogueError) -> ConfigError {
    let place = Place::line(&error.file, error.line);
    ConfigError::from(Problem { place: Some(place), ..Problem::error(error.message) })
}

/// Adds what one line says of realms; nothing if it says nothing sensible.
fn realm(text: &str, realms: &mut Realms) -> Option<()> {
    let (what, number) = text.rsplit_once('=')?;
    let (kind, which) = what.trim().split_once(' ')?;
    let realm = number.trim().parse().ok().filter(|n| *n > 0).map(Realm)?;
    // Twelve bits (IEEE 802.1Q), twenty-four (RFC 7348).
    let (tag, most) = match kind {
        "interface" => {
            realms.interface(which.trim(), realm);
            return Some(());
        }
        "vlan" => (Tag::Vlan, 4_095),
        "vni" => (Tag::Vni, 0xff_ffff),
        _ => return None,
    };
    let (first, last) = which.split_once('-').unwrap_or((which, which));
    let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    if first > last || last > most {
        return None;
    }
    realms.tag(tag, first, last, realm);
    Some(())
}

/// Settings, read one by one; what makes no sense is told.
struct Reader {
    settings: Vec<Setting>,
    problems: Problems,
}

impl Reader {
    fn config(&mut self) -> Config {
        let file = self.path("policy.file");
        let (sensitive, sensitive_groups) = self.sensitive();
        Config {
            scope: Scope {
                own_networks: self.networks("scope.own_networks"),
                exclude_networks: self.networks("scope.exclude.networks"),
                exclude_vlans: self.vlans("scope.exclude.vlans"),
                exclude_macs: self.macs("scope.exclude.macs"),
                realms: self.realms("scope.realms"),
            },
            sensor: SensorSettings {
                id: self.text("sensor.id"),
                ring_bytes: self.size("sensor.ring_bytes", RING_MIN as u64, RING_MAX as u64),
                promiscuous: self.flag("sensor.promiscuous"),
                check_s: self.number("sensor.check_s", 1, 3_600),
                heartbeat_s: self.number("sensor.heartbeat_s", 1, 3_600),
            },
            limits: self.limits(),
            bulk_bytes: self.number("judge.bulk_bytes", 1, u64::MAX),
            policy: PolicySource {
                named_at: file.as_ref().and_then(|_| self.place("policy.file")),
                file,
                inline: Vec::new(),
            },
            signatures_dir: self.path("signatures.dir"),
            signatures_local: self.path("signatures.local"),
            alert_mode: self.mode(),
            risk_above: Some(self.number("alerts.risk_above", 0, 100)).filter(|n| *n > 0),
            sensitive_groups,
            alerts: Rules {
                first_use: self.flag("alerts.first_use"),
                new_user: self.flag("alerts.new_user"),
                forbidden: self.flag("alerts.forbidden"),
                upload_bytes: Some(self.number("alerts.upload_bytes", 0, u64::MAX))
                    .filter(|n| *n > 0),
                upload_session_bytes: Some(self.number("alerts.upload_session_bytes", 0, u64::MAX))
                    .filter(|n| *n > 0),
                risky: BTreeSet::new(),
                sensitive,
                upload_baseline: Some(self.number("alerts.upload_baseline", 0, 1 << 20))
                    .filter(|n| *n > 0),
                work_hours: self.hours("alerts.work_hours"),
                quiet_hours: self.hours("alerts.quiet_hours"),
                candidate: self.flag("alerts.candidate"),
                cooldown_s: self.number("alerts.cooldown_s", 0, PAUSE_MAX_S),
                suppressions: Vec::new(),
                pace: Pace::Every,
            },
            sinks: Vec::new(),
            store: StoreSettings {
                file: self.path("store.file"),
                // Below, the tables' own pages take most of it.
                size_max_bytes: self.number("store.size_max_bytes", 1 << 20, 1 << 46),
                retention: Retention {
                    usage_days: self.days("usage"),
                    findings_days: self.days("findings"),
                    evidence_days: self.days("evidence"),
                    candidates_days: self.days("candidates"),
                    destinations_days: self.days("destinations"),
                    ledger_days: u32::try_from(self.number("ledger.days", 0, DAYS_MAX))
                        .unwrap_or(u32::MAX),
                    open_flows_days: self.days("open_flows"),
                    outbox_days: self.days("outbox"),
                    memory_days: self.days("memory"),
                    identity_days: self.identity_days(),
                },
            },
            departments: Departments::default(),
            identity: self.identity(),
            veil: self.veil(),
            settings: Vec::new(),
            files: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn identity(&mut self) -> IdentitySources {
        let settings = identity::Settings {
            users: self.flag("identity.users"),
            purpose: self.text("identity.purpose"),
            contact: self.text("identity.contact"),
            retention_days: self.identity_days(),
            trusted_proxies: self.networks("identity.trusted_proxies"),
            shared: self.networks("identity.shared"),
            exclude_groups: self.words("identity.exclude_groups"),
        };
        let logons = self.paths("identity.logons");
        let listen = self.listen();
        if settings.users || !logons.is_empty() || !listen.endpoints.is_empty() {
            let given = self.number("identity.retention_days", 0, DAYS_MAX) > 0;
            for (key, is_there) in [
                ("identity.purpose", !settings.purpose.is_empty()),
                ("identity.contact", !settings.contact.is_empty()),
                ("identity.retention_days", given),
            ] {
                if !is_there {
                    let message = format!("`{key}` must be set where people are named");
                    let hint = "docs/privacy says what else is usually needed".to_owned();
                    self.wrong("identity.users", None, message, Some(hint));
                }
            }
        }
        IdentitySources {
            settings,
            inventory: self.paths("identity.inventory"),
            columns: self.columns("identity.columns"),
            leases: self.paths("identity.leases"),
            logons,
            listen,
        }
    }

    /// Words, in lower case.
    fn words(&self, key: &str) -> Vec<Text> {
        let word = |(value, _): (Value, _)| match value {
            Value::Text(text) => Text::from(text.trim().to_lowercase()),
            other => Text::from(other.to_string()),
        };
        self.items(key).into_iter().map(word).collect()
    }

    /// Where logons are received, and from whom.
    fn listen(&mut self) -> syslog::Settings {
        let mut endpoints = Vec::new();
        for (value, place) in self.items("identity.listen") {
            let text = match value {
                Value::Text(text) => text,
                other => other.to_string(),
            };
            match text.parse() {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(why) => {
                    let hint = "write \"udp://ADDRESS:PORT\", \"tcp://...\" or \"tls://...\"";
                    let message = format!("`{text}` {why}");
                    self.wrong("identity.listen", place, message, Some(hint.to_owned()));
                }
            }
        }
        let from = self.networks("identity.listen_from");
        if from.is_empty() && !endpoints.is_empty() {
            let message = "`identity.listen_from` must say who may send logons".to_owned();
            let hint = "whoever may send them decides who is named".to_owned();
            self.wrong("identity.listen", None, message, Some(hint));
        }
        let (certificate, key) =
            (self.path("identity.listen_cert"), self.path("identity.listen_key"));
        let tls = endpoints.iter().any(|e: &syslog::Endpoint| e.carrier == syslog::Carrier::Tls);
        if tls && (certificate.is_none() || key.is_none()) {
            let message = "TLS needs `identity.listen_cert` and `identity.listen_key`".to_owned();
            self.wrong("identity.listen", None, message, None);
        }
        syslog::Settings { endpoints, from, certificate, key }
    }

    fn identity_days(&mut self) -> u32 {
        let days = self.number("identity.retention_days", 0, DAYS_MAX);
        let days = if days == 0 { Retention::default().identity_days.into() } else { days };
        u32::try_from(days).unwrap_or(u32::MAX)
    }

    fn columns(&mut self, key: &str) -> Vec<(Field, String)> {
        let mut columns = Vec::new();
        for (value, place) in self.items(key) {
            let text = match value {
                Value::Text(text) => text,
                other => other.to_string(),
            };
            let parts = text.split_once('=').map(|(f, head)| (f.trim(), head.trim()));
            match parts.and_then(|(f, head)| Some((Field::from_word(f)?, head.to_owned()))) {
                Some(column) => columns.push(column),
                None => {
                    let hint = "write \"user=Head\"; fields are mac, name, address, user, department, groups";
                    self.wrong(
                        key,
                        place,
                        format!("`{text}` names no column"),
                        Some(hint.to_owned()),
                    );
                }
            }
        }
        columns
    }

    fn veil(&mut self) -> Veil {
        let word = self.text("privacy.mode");
        let Some(mode) = Mode::from_code(&word) else {
            let hint = "the modes are clear, masked, pseudonymous".to_owned();
            self.wrong("privacy.mode", None, format!("`{word}` is no mode"), Some(hint));
            return Veil::clear();
        };
        let epoch_days = self.number("privacy.epoch_days", 0, DAYS_MAX);
        if mode == Mode::Clear {
            return Veil::clear();
        }
        let Some(path) = self.path("privacy.key_file") else {
            let hint = "name a file away from the store; it is made if it is not there".to_owned();
            let message = format!("mode `{word}` needs `privacy.key_file`");
            self.wrong("privacy.mode", None, message, Some(hint));
            return Veil::clear();
        };
        match Key::load_or_make(&path) {
            Ok(key) => Veil::new(mode, key, u32::try_from(epoch_days).unwrap_or(u32::MAX)),
            Err(e) => {
                self.wrong("privacy.key_file", None, format!("{}: {e}", path.display()), None);
                Veil::clear()
            }
        }
    }

    /// Paths, each relative to the file that says so.
    fn paths(&mut self, key: &str) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for (value, place) in self.items(key) {
            let Value::Text(text) = value else {
                self.wrong(key, place, format!("{value} is no path"), None);
                continue;
            };
            let folder =
                place.as_ref().and_then(|p| Path::new(&*p.file).parent().map(Path::to_owned));
            paths.push(folder.unwrap_or_default().join(text));
        }
        paths
    }

    fn limits(&mut self) -> Limits {
        let shards = SHARDS as u64;
        Limits {
            threads: self.size("limits.threads", 0, WATCHERS_MAX as u64),
            flows_max: self.size("limits.flows_max", shards, FLOWS_MAX),
            named_flows_max: self.size("limits.named_flows_max", shards, FLOWS_MAX),
            // A shard must have room for one hello, or it reads none at all.
            stream_bytes_max: self.size("limits.stream_bytes_max", shards << 17, 1 << 40),
            tcp_idle_s: self.number("limits.tcp_idle_s", 1, PAUSE_MAX_S),
            named_idle_s: self.number("limits.named_idle_s", 1, PAUSE_MAX_S),
            unanswered_s: self.number("limits.unanswered_s", 1, PAUSE_MAX_S),
            closed_s: self.number("limits.closed_s", 1, PAUSE_MAX_S),
            udp_idle_s: self.number("limits.udp_idle_s", 1, PAUSE_MAX_S),
            datagram_idle_s: self.number("limits.datagram_idle_s", 1, PAUSE_MAX_S),
        }
    }

    fn setting(&self, key: &str) -> Option<&Setting> {
        let setting = self.settings.iter().find(|s| s.key == key);
        debug_assert!(setting.is_some(), "{key} stands in the embedded file");
        setting
    }

    fn place(&self, key: &str) -> Option<Place> {
        match &self.setting(key)?.origin {
            Origin::File(place) => Some(place.clone()),
            Origin::Default | Origin::Flag(_) => None,
        }
    }

    /// Tells a mistake in a setting, at the item's place if it has one.
    fn wrong(&mut self, key: &str, item: Option<Place>, message: String, hint: Option<String>) {
        let origin = self.setting(key).map(|s| s.origin.clone());
        let (place, message) = match origin {
            Some(Origin::Flag(name)) => (None, format!("{name}: {message}")),
            Some(Origin::File(place)) => (Some(item.unwrap_or(place)), message),
            Some(Origin::Default) | None => (None, message),
        };
        self.problems.error(place, message, hint);
    }

    fn flag(&self, key: &str) -> bool {
        matches!(self.setting(key).map(|s| &s.value), Some(Value::Flag(true)))
    }

    fn number(&mut self, key: &str, least: u64, most: u64) -> u64 {
        let Some(Value::Number(number)) = self.setting(key).map(|s| s.value.clone()) else {
            return least;
        };
        if !(least..=most).contains(&number) {
            let message = format!("`{key}` is {number}, but must be from {least} to {most}");
            self.wrong(key, None, message, None);
        }
        number
    }

    fn size(&mut self, key: &str, least: u64, most: u64) -> usize {
        usize::try_from(self.number(key, least, most)).unwrap_or(usize::MAX)
    }

    fn days(&mut self, what: &str) -> u32 {
        let days = self.number(&format!("store.retention.{what}_days"), 1, DAYS_MAX);
        u32::try_from(days).unwrap_or(u32::MAX)
    }

    /// A path, relative to the file that says so; `None` if empty.
    fn path(&self, key: &str) -> Option<PathBuf> {
        let setting = self.setting(key)?;
        let Value::Text(text) = &setting.value else { return None };
        if text.is_empty() {
            return None;
        }
        Some(match &setting.origin {
            Origin::File(place) => {
                Path::new(&*place.file).parent().unwrap_or(Path::new("")).join(text)
            }
            Origin::Default | Origin::Flag(_) => PathBuf::from(text),
        })
    }

    fn items(&self, key: &str) -> Vec<(Value, Option<Place>)> {
        match self.setting(key).map(|s| &s.value) {
            Some(Value::List(items)) => items.clone(),
            _ => Vec::new(),
        }
    }

    fn networks(&mut self, key: &str) -> Vec<(IpAddr, u8)> {
        let mut networks = Vec::new();
        for (value, place) in self.items(key) {
            let text = match value {
                Value::Text(text) => text,
                other => other.to_string(),
            };
            match network(&text) {
                Ok(network) => networks.push(network),
                Err((message, hint)) => self.wrong(key, place, message, hint),
            }
        }
        networks
    }

    fn vlans(&mut self, key: &str) -> Vec<u16> {
        let mut vlans = Vec::new();
        for (value, place) in self.items(key) {
            match value {
                // Twelve bits (IEEE 802.1Q-2022 §9.6).
                Value::Number(id @ 0..=4095) => vlans.extend(u16::try_from(id)),
                other => {
                    let hint = "VLAN ids go from 0 to 4095, without quotes".to_owned();
                    self.wrong(key, place, format!("{other} is no VLAN id"), Some(hint));
                }
            }
        }
        vlans
    }

    /// `"vlan 100-199 = 1"`, `"vni 5001 = 2"`, `"interface span1 = 3"`.
    fn realms(&mut self, key: &str) -> Realms {
        let mut realms = Realms::default();
        for (value, place) in self.items(key) {
            let text = match value {
                Value::Text(text) => text,
                other => other.to_string(),
            };
            if realm(&text, &mut realms).is_none() {
                let hint = "write \"vlan 100-199 = 1\", \"vni 5001 = 2\" or \"interface span1 = 3\"; \
                            realms go from 1 to 65535";
                self.wrong(key, place, format!("{text:?} is no realm"), Some(hint.into()));
            }
        }
        realms
    }

    fn macs(&mut self, key: &str) -> Vec<MacAddr> {
        let mut macs = Vec::new();
        for (value, place) in self.items(key) {
            let found = match &value {
                Value::Text(text) => mac(text),
                _ => None,
            };
            if found.is_none() {
                let hint = "write it as \"02:00:00:00:00:01\"".to_owned();
                self.wrong(key, place, format!("{value} is no MAC"), Some(hint));
            }
            macs.extend(found);
        }
        macs
    }
}
