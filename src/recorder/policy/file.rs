//! Policy as people write it: TOML to rules, with every mistake told by file and line.
//!
//! In: policy files, and the `[policy]` part of a configuration. Out: [`Policy`] and what is to
//! be told about it. Never: takes a rule with a doubt in it; drops one silently.
//! Limits: [`RULES_MAX`] rules, [`NAMES_MAX`] names a list.
//!
//! ```toml
//! [default]
//! status = "unreviewed"
//!
//! [[rule]]
//! service = "chatgpt"            # or vendor, category; a list is one rule for each
//! status  = "sanctioned"
//! owner   = "it-security"
//! expires = 2027-06-30
//! ```

use std::collections::BTreeMap;

use toml::Spanned;

use super::{Device, Otherwise, Policy, Rule, Scope, Target, Validity};
use crate::recorder::signature::{Catalogue, Kind, Service, Status};
use crate::recorder::store::rows::Text;
use crate::recorder::words::Disposition;
use crate::types::NAME_MAX;
use crate::written::{Document, Problem, Problems, Section, mac, nearest, network};

/// Rules of one policy: ten for every service there is, so more is a mistake of a generator.
pub const RULES_MAX: usize = 10_000;

/// Names in one list of a rule: the devices of a large site.
pub const NAMES_MAX: usize = 10_000;

/// Longest text of a rule in bytes: it stands in every finding that the rule decides.
const TEXT_MAX: usize = 500;

/// Keys of a rule.
const KEYS: [&str; 15] = [
    "name",
    "service",
    "vendor",
    "category",
    "tenant",
    "status",
    "owner",
    "reason",
    "decided",
    "expires",
    "networks",
    "devices",
    "users",
    "groups",
    "departments",
];

/// Statuses as people write them.
const STATUSES: [(&str, Option<Disposition>); 6] = [
    ("sanctioned", Some(Disposition::Sanctioned)),
    ("tolerated", Some(Disposition::Tolerated)),
    ("forbidden", Some(Disposition::Unsanctioned)),
    ("unsanctioned", Some(Disposition::Unsanctioned)),
    ("unreviewed", Some(Disposition::Unreviewed)),
    ("", None),
];

/// The word that people read and write for a verdict.
pub fn word(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Unsanctioned => "forbidden",
        Disposition::Unreviewed => "unreviewed",
        Disposition::Tolerated => "tolerated",
        Disposition::Sanctioned => "sanctioned",
    }
}

/// Something was wrong, and that was told.
struct Told;

/// A policy on its way from files.
#[derive(Debug)]
pub struct PolicyBuilder<'c> {
    catalogue: &'c Catalogue,
    rules: Vec<Rule>,
    default: Option<Otherwise>,
    problems: Problems,
}

impl Policy {
    /// The policy of one file, and warnings and notes about it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(
        doc: &Document,
        catalogue: &Catalogue,
    ) -> Result<(Policy, Vec<Problem>), crate::written::ConfigError> {
        let mut builder = PolicyBuilder::new(catalogue);
        builder.file(doc);
        let (policy, problems) = builder.finish();
        Ok((policy, problems.check()?.0))
    }
}

impl<'c> PolicyBuilder<'c> {
    /// No rule yet; services are those of `catalogue`.
    pub fn new(catalogue: &'c Catalogue) -> Self {
        Self { catalogue, rules: Vec::new(), default: None, problems: Problems::default() }
    }

    /// Adds a policy file.
    pub fn file(&mut self, doc: &Document) {
        let table = doc.parse(&mut self.problems);
        let top = doc.top(&table);
        top.only(&["default", "rule"], &mut self.problems);
        self.section(&top);
    }

    /// Adds the `default` and `rule` of a table; other keys are somebody else's.
    pub fn section(&mut self, section: &Section<'_>) {
        if let Some(default) = section.section("default", &mut self.problems) {
            self.default(&default);
        }
        for rule in section.sections("rule", &mut self.problems) {
            self.rule(&rule);
        }
    }

    /// The policy, and all that is to be told about it.
    pub fn finish(mut self) -> (Policy, Problems) {
        self.compare();
        let rules = &self.rules;
        let undecided = rules.iter().filter(|r| r.status.is_none()).count();
        if undecided > 0 {
            let message = format!(
                "{undecided} of {} rules have no status yet and decide nothing",
                rules.len()
            );
            self.problems.note(None, message, None);
        }
        (Policy::new(self.rules, self.default.unwrap_or_default()), self.problems)
    }

    fn default(&mut self, section: &Section<'_>) {
        section.only(&["status"], &mut self.problems);
        if let Some(first) = self.default.as_ref().and_then(|d| d.place.as_ref()) {
            let message = format!("a default stands at {first} already");
            self.problems.error(Some(section.head()), message, Some("keep one of them".to_owned()));
        }
        let Ok(Some(disposition)) = self.status(section) else { return };
        if matches!(disposition, Disposition::Sanctioned | Disposition::Tolerated) {
            let message = "what nobody decided about cannot be allowed";
            let hint = "the default is \"unreviewed\" or \"forbidden\"; allow by category instead";
            let place = section.value("status").map(|v| section.place(v));
            self.problems.error(place, message.to_owned(), Some(hint.to_owned()));
            return;
        }
        let decided = disposition != Disposition::Unreviewed;
        let ruling = Text::from(if decided { "default" } else { "" });
        self.default = Some(Otherwise { disposition, ruling, place: Some(section.head()) });
    }

    fn rule(&mut self, section: &Section<'_>) {
        let before = self.problems.0.len();
        section.only(&KEYS, &mut self.problems);
        let targets = self.targets(section);
        let status = self.status(section);
        let scope = self.scope(section);
        let validity = self.validity(section);
        let [owner, reason, name] = ["owner", "reason", "name"].map(|key| self.said(section, key));
        let failed = self.problems.0.get(before..).unwrap_or_default();
        if failed.iter().any(|p| p.severity == crate::written::Severity::Error) {
            return;
        }
        let Ok(status) = status else { return };
        for target in targets {
            if self.rules.len() >= RULES_MAX {
                let message = format!("more than {RULES_MAX} rules");
                self.problems.error(Some(section.head()), message, None);
                return;
            }
            let kinds = scope.kinds();
            let made = || match kinds.as_slice() {
                [] => Text::from(target.text()),
                kinds => Text::from(format!("{}@{}", target.text(), kinds.join("+"))),
            };
            self.rules.push(Rule {
                name: name.clone().unwrap_or_else(made),
                target,
                status,
                owner: owner.clone(),
                reason: reason.clone(),
                validity,
                scope: scope.clone(),
                place: section.head(),
            });
        }
    }

    /// What the rule covers; nothing if that was told to be wrong.
    fn targets(&mut self, section: &Section<'_>) -> Vec<Target> {
        let given =
            ["service", "vendor", "category"].map(|key| section.texts(key, &mut self.problems));
        let kinds = given.iter().filter(|g| !g.is_empty()).count();
        let [services, vendors, categories] = given;
        if kinds != 1 {
            let message = if kinds == 0 {
                "the rule does not say what it covers"
            } else {
                "the rule covers two kinds of things"
            };
            let hint = "give it one of `service`, `vendor` and `category`; `tenant` goes with one `service`";
            self.problems.error(Some(section.head()), message.to_owned(), Some(hint.to_owned()));
            return Vec::new();
        }
        let tenants = section.texts("tenant", &mut self.problems);
        let mut targets = Vec::new();
        for service in &services {
            targets.extend(self.service(section, service).map(|id| Target::Service(id.into())));
        }
        for vendor in &vendors {
            targets.extend(self.vendor(section, vendor).map(Target::Vendor));
        }
        for category in &categories {
            targets.extend(self.category(section, category).map(Target::Category));
        }
        match (tenants.as_slice(), targets.as_slice()) {
            ([], _) | (_, []) => targets,
            (tenants, [Target::Service(id)]) => {
                let id = id.clone();
                tenants.iter().filter_map(|t| self.tenant(section, &id, t)).collect()
            }
            ([first, ..], _) => {
                let message = "a tenant is one customer's part of one service";
                let hint = "give the rule one `service` beside `tenant`";
                self.problems.error(
                    Some(section.place(first)),
                    message.to_owned(),
                    Some(hint.to_owned()),
                );
                Vec::new()
            }
        }
    }

    fn service(&mut self, section: &Section<'_>, word: &Spanned<&str>) -> Option<&'c str> {
        let place = section.place(word);
        let word = *word.get_ref();
        if let Some(service) = self.catalogue.service(word) {
            if service.id != word {
                let message = format!("service `{word}` is called `{}` now", service.id);
                self.problems.warning(
                    Some(place),
                    message,
                    Some("the rule holds for it".to_owned()),
                );
            } else if service.status == Status::Closed {
                let message =
                    format!("service `{word}` was shut down; the rule is for old captures only");
                self.problems.note(Some(place), message, None);
            }
            return Some(&service.id);
        }
        let named = |s: &&Service| s.name.eq_ignore_ascii_case(word);
        let by_name = self.catalogue.services().iter().find(named).map(|s| s.id.as_str());
        let by_host = self.catalogue.lookup(word).map(|m| m.service.id.as_str());
        let ids = self.catalogue.services().iter().map(|s| s.id.as_str());
        let hint = match by_name.or(by_host).or_else(|| nearest(word, ids)) {
            Some(id) => format!("did you mean \"{id}\"?"),
            None => "`shadowtap lookup HOST` tells the id of the service behind a host".to_owned(),
        };
        self.problems.error(
            Some(place),
            format!("no service `{word}` in the catalogue"),
            Some(hint),
        );
        None
    }

    fn vendor(&mut self, section: &Section<'_>, word: &Spanned<&str>) -> Option<Text> {
        let services = self.catalogue.services().iter();
        let mut vendors: Vec<&str> = services.map(|s| s.vendor.as_str()).collect();
        vendors.sort_unstable();
        vendors.dedup();
        let named = *word.get_ref();
        let found = vendors.iter().find(|v| v.eq_ignore_ascii_case(named));
        if found.is_none() {
            let hint = match nearest(named, vendors.into_iter()) {
                Some(vendor) => format!("did you mean \"{vendor}\"?"),
                None => {
                    "`shadowtap policy explain SERVICE` tells the vendor of a service".to_owned()
                }
            };
            let message = format!("no vendor `{named}` in the catalogue");
            self.problems.error(Some(section.place(word)), message, Some(hint));
            return None;
        }
        found.map(|v| Text::from(*v))
    }

    fn category(&mut self, section: &Section<'_>, word: &Spanned<&str>) -> Option<Text> {
        let named = *word.get_ref();
        let services = self.catalogue.services().iter();
        let mut words: Vec<&str> = services.map(|s| s.category.word()).collect();
        words.sort_unstable();
        words.dedup();
        if !words.contains(&named) {
            let hint = match nearest(named, words.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("categories are {}", words.join(", ")),
            };
            let message = format!("no category `{named}` in the catalogue");
            self.problems.error(Some(section.place(word)), message, Some(hint));
            return None;
        }
        Some(Text::from(named))
    }

    fn tenant(
        &mut self,
        section: &Section<'_>,
        service: &Text,
        word: &Spanned<&str>,
    ) -> Option<Target> {
        let place = section.place(word);
        let label = word.get_ref().to_ascii_lowercase();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if label.len() > 63 || !label.bytes().all(plain) {
            let hint = "write the label that stands in the host name, such as \"our-resource\"";
            let message = format!("`{label}` is no label of a host name");
            self.problems.error(Some(place), message, Some(hint.to_owned()));
            return None;
        }
        let hosts = self.catalogue.service(service).map(|s| s.hosts.as_slice()).unwrap_or_default();
        if !hosts.iter().any(|h| matches!(h.kind, Kind::Tenant | Kind::Template)) {
            let message = format!(
                "host names of `{service}` do not tell tenants apart; the rule matches nothing"
            );
            self.problems.warning(Some(place), message, None);
        }
        Some(Target::Tenant(service.clone(), Text::from(label)))
    }

    /// The decision of a table; `None` if it is left open.
    fn status(&mut self, section: &Section<'_>) -> Result<Option<Disposition>, Told> {
        let hint = "it is one of \"sanctioned\", \"tolerated\", \"forbidden\" and \"unreviewed\"; \
                    \"\" leaves it open";
        let Some(value) = section.value("status") else {
            let message = format!("{} has no `status`", section.name);
            self.problems.error(Some(section.head()), message, Some(hint.to_owned()));
            return Err(Told);
        };
        let text = value.get_ref().as_str().map(|t| t.trim().to_ascii_lowercase());
        let known = text.as_deref().and_then(|t| STATUSES.iter().find(|s| s.0 == t));
        if let Some((_, status)) = known {
            return Ok(*status);
        }
        let words = STATUSES.iter().map(|s| s.0).filter(|w| !w.is_empty());
        let hint = match text.as_deref().and_then(|t| nearest(t, words)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => hint.to_owned(),
        };
        let message = format!(
            "unknown status {}",
            text.map_or_else(|| "without quotes".to_owned(), |t| format!("`{t}`"))
        );
        self.problems.error(Some(section.place(value)), message, Some(hint));
        Err(Told)
    }

    fn validity(&mut self, section: &Section<'_>) -> Validity {
        let decided = section.date("decided", &mut self.problems);
        let expires = section.date("expires", &mut self.problems);
        if let (Some(from), Some(until)) = (&decided, &expires)
            && until.get_ref() < from.get_ref()
        {
            let message =
                format!("the rule expires before {}, when it was decided", from.get_ref());
            self.problems.error(Some(section.place(until)), message, None);
        }
        Validity {
            decided: decided.map(Spanned::into_inner),
            expires: expires.map(Spanned::into_inner),
        }
    }

    /// A text on one line, for a person; `None` if nobody wrote anything.
    fn said(&mut self, section: &Section<'_>, key: &str) -> Option<Text> {
        // An empty text is what a form has where nobody wrote anything.
        if section
            .value(key)
            .and_then(|v| v.get_ref().as_str())
            .is_some_and(|t| t.trim().is_empty())
        {
            return None;
        }
        let text = section.text(key, &mut self.problems)?;
        let words: Vec<&str> = text.get_ref().split_whitespace().collect();
        let line = words.join(" ");
        if line.len() > TEXT_MAX || line.chars().any(char::is_control) {
            let message = format!("`{key}` must be plain text of at most {TEXT_MAX} bytes");
            self.problems.error(Some(section.place(&text)), message, None);
        }
        Some(Text::from(line))
    }

    fn scope(&mut self, section: &Section<'_>) -> Scope {
        let mut scope = Scope::default();
        for text in self.names(section, "networks") {
            match network(text.get_ref()) {
                Ok(net) => scope.networks.push(net),
                Err((message, hint)) => {
                    self.problems.error(Some(section.place(&text)), message, hint);
                }
            }
        }
        for text in self.names(section, "devices") {
            scope.devices.extend(self.device(section, &text));
        }
        let plain =
            |texts: Vec<Spanned<&str>>| texts.iter().map(|t| Text::from(*t.get_ref())).collect();
        scope.users = plain(self.names(section, "users"));
        scope.groups = plain(self.names(section, "groups"));
        scope.departments = plain(self.names(section, "departments"));
        if !scope.users.is_empty() || !scope.groups.is_empty() {
            let message = "this rule is for people: it matches where the sensor knows who it was";
            let hint = "name an inventory or logons in [identity], or scope it by `networks`, `devices` \
                        or `departments`";
            self.problems.note(Some(section.head()), message.to_owned(), Some(hint.to_owned()));
        }
        scope
    }

    fn names<'d>(&mut self, section: &Section<'d>, key: &str) -> Vec<Spanned<&'d str>> {
        let names = section.texts(key, &mut self.problems);
        if let Some(value) = section.value(key)
            && (names.len() > NAMES_MAX || value.get_ref().as_array().is_some_and(|a| a.is_empty()))
        {
            // An empty list could mean nobody or everybody.
            let (message, hint) = if names.is_empty() {
                (format!("`{key}` is empty"), "leave it out to cover everybody")
            } else {
                (format!("more than {NAMES_MAX} names in `{key}`"), "use a network or a group")
            };
            self.problems.error(Some(section.place(value)), message, Some(hint.to_owned()));
        }
        names
    }

    fn device(&mut self, section: &Section<'_>, text: &Spanned<&str>) -> Option<Device> {
        let name = *text.get_ref();
        if let Some(mac) = mac(name) {
            return Some(Device::Mac(mac));
        }
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.len() <= NAME_MAX && name.chars().all(plain) && network(name).is_err() {
            return Some(Device::Name(Text::from(name.to_lowercase())));
        }
        let hint = if network(name).is_ok() {
            "an address goes into `networks`"
        } else {
            "write a host name, or a MAC such as 02:00:00:00:00:01"
        };
        self.problems.error(
            Some(section.place(text)),
            format!("`{name}` is no device"),
            Some(hint.to_owned()),
        );
        None
    }

    /// Tells rules on the same target, scope and time.
    fn compare(&mut self) {
        let mut alike: BTreeMap<String, Vec<&Rule>> = BTreeMap::new();
        for rule in self.rules.iter().filter(|r| r.status.is_some()) {
            let mut key = rule.target.text();
            rule.scope.digest(&mut |part| {
                key.push('\n');
                key.push_str(part);
            });
            alike.entry(key).or_default().push(rule);
        }
        for rules in alike.values() {
            for (i, rule) in rules.iter().enumerate() {
                let meets = |r: &&&Rule| r.validity.meets(rule.validity);
                let Some(first) = rules.iter().take(i).find(meets) else { continue };
                let (Some(x), Some(y)) = (first.status, rule.status) else { continue };
                let (what, place) = (rule.target.text(), &first.place);
                let (message, hint) = if x == y {
                    (
                        format!("{what} is decided the same way at {place} already"),
                        "remove one of them",
                    )
                } else {
                    let strict = word(x.min(y));
                    let message = format!(
                        "{what} is decided otherwise at {place}; the stricter holds: {strict}"
                    );
                    (message, "keep one of them, or let one expire before the other begins")
                };
                self.problems.warning(Some(rule.place.clone()), message, Some(hint.to_owned()));
            }
        }
    }
}
