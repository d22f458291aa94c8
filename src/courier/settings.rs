//! Sinks as they are configured: `[sinks.NAME]` tables to [`Sink`]s.
//!
//! In: configuration files. Out: settings, checked with file and line; from them the sinks.
//! Never: takes an unknown key; holds a secret in the configuration: secrets lie in files.
//! Limits: [`SINKS_MAX`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::shape::Shape;
use super::sinks::file::{Lines, Rotation};
use super::sinks::mail::{Address, Mail, Privacy};
use super::sinks::syslog::{Carrier, LOCAL4, Syslog};
use super::sinks::webhook::Webhook;
use super::{Delivering, Sink};
use crate::recorder::store::OutboxRow;
use crate::written::{Document, Problems, Section};

/// Sinks of one configuration: each has a task and reads the outbox by itself.
pub const SINKS_MAX: usize = 32;

/// Longest that a mail gathers, in seconds: a week.
const GATHER_MAX_S: u64 = 7 * 86_400;

/// Keys that every sink has.
const OF_ALL: [&str; 4] = ["kind", "shape", "severity_min", "events"];

/// Kinds of events that there are.
const EVENTS: [(&str, &str); 4] = [
    ("finding", "finding"),
    ("unknown_ai", "unknown_ai"),
    ("digest", "digest"),
    ("health", "health"),
];

/// A sink as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// Name of its table.
    pub name: String,
    /// Lowest severity that it wants.
    pub severity_min: u8,
    /// Kinds of events that it wants; empty for all.
    pub events: Vec<String>,
    /// Shape by name or file.
    pub shape: String,
    /// Where it goes.
    pub target: Target,
}

/// Where alerts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file of lines.
    File {
        /// The file.
        path: PathBuf,
        /// When it is put aside.
        rotation: Rotation,
    },
    /// A collector.
    Syslog {
        /// `HOST:PORT`.
        address: String,
        /// `udp`, `tcp` or `tls`.
        carrier: String,
        /// RFC 5424 §6.2.1.
        facility: u8,
        /// Authorities.
        ca: Option<PathBuf>,
    },
    /// A URL.
    Webhook {
        /// Where to.
        url: String,
        /// File with the secret that signs.
        secret_file: Option<PathBuf>,
        /// File with the value of `Authorization`.
        authorization_file: Option<PathBuf>,
        /// Authorities.
        ca: Option<PathBuf>,
    },
    /// Mail.
    Mail {
        /// `HOST:PORT`.
        server: String,
        /// How the connection is kept private.
        privacy: Privacy,
        /// Sender.
        from: String,
        /// Receivers.
        to: Vec<String>,
        /// User to log in as.
        user: Option<String>,
        /// File with the password.
        password_file: Option<PathBuf>,
        /// Authorities.
        ca: Option<PathBuf>,
        /// Seconds that alerts gather.
        every_s: u64,
    },
}

/// The sinks of some files; a later table replaces an earlier one of its name.
pub fn read(documents: &[Document], problems: &mut Problems) -> Vec<SinkSettings> {
    let mut found = BTreeMap::new();
    for doc in documents {
        // What is no TOML was told before.
        let table = doc.parse(&mut Problems::default());
        let top = doc.top(&table);
        let Some(sinks) = top.section("sinks", problems) else { continue };
        for name in sinks.table.keys() {
            let Some(section) = sinks.section(name.get_ref(), problems) else { continue };
            if let Some(sink) = one(name.get_ref(), &section, problems) {
                found.insert(sink.name.clone(), sink);
            }
        }
        if found.len() > SINKS_MAX {
            let message = format!("more than {SINKS_MAX} sinks");
            problems.error(Some(sinks.head()), message, None);
            break;
        }
    }
    found.into_values().collect()
}

#[derive(Clone, Copy)]
enum Kind {
    File,
    Syslog,
    Webhook,
    Mail,
}

fn one(name: &str, section: &Section<'_>, problems: &mut Problems) -> Option<SinkSettings> {
    let kinds = [
        ("file", Kind::File),
        ("syslog", Kind::Syslog),
        ("webhook", Kind::Webhook),
        ("mail", Kind::Mail),
    ];
    if section.value("kind").is_none() {
        let hint = "`kind` is file, syslog, webhook or mail".to_owned();
        problems.error(Some(section.head()), format!("{} has no kind", section.name), Some(hint));
    }
    let kind = section.word("kind", &kinds, problems)?;
    let own: &[&str] = match kind {
        Kind::File => &["path", "rotate_bytes", "keep"],
        Kind::Syslog => &["address", "carrier", "facility", "ca"],
        Kind::Webhook => &["url", "secret_file", "authorization_file", "ca"],
        Kind::Mail => {
            &["server", "privacy", "from", "to", "user", "password_file", "ca", "every_s"]
        }
    };
    section.only(&[&OF_ALL, own].concat(), problems);
    let path = |key: &str, problems: &mut Problems| {
        section.text(key, problems).map(|t| PathBuf::from(*t.get_ref()))
    };
    let target = match kind {
        Kind::File => Target::File {
            path: PathBuf::from(needed(section, "path", problems)?),
            rotation: Rotation {
                bytes: section.number("rotate_bytes", 0..=1 << 40, problems).unwrap_or(100 << 20),
                keep: section
                    .number("keep", 0..=1_000, problems)
                    .and_then(|n| u32::try_from(n).ok())
                    .unwrap_or(10),
            },
        },
        Kind::Syslog => Target::Syslog {
            address: needed(section, "address", problems)?,
            carrier: section
                .word("carrier", &[("udp", "udp"), ("tcp", "tcp"), ("tls", "tls")], problems)
                .unwrap_or("tls")
                .to_owned(),
            facility: section
                .number("facility", 0..=23, problems)
                .and_then(|n| u8::try_from(n).ok())
                .unwrap_or(LOCAL4),
            ca: path("ca", problems),
        },
        Kind::Webhook => Target::Webhook {
            url: needed(section, "url", problems)?,
            secret_file: path("secret_file", problems),
            authorization_file: path("authorization_file", problems),
            ca: path("ca", problems),
        },
        Kind::Mail => Target::Mail {
            server: needed(section, "server", problems)?,
            privacy: section
                .word(
                    "privacy",
                    &[
                        ("tls", Privacy::Tls),
                        ("starttls", Privacy::StartTls),
                        ("none", Privacy::None),
                    ],
                    problems,
                )
                .unwrap_or(Privacy::StartTls),
            from: needed(section, "from", problems)?,
            to: section.texts("to", problems).iter().map(|t| (*t.get_ref()).to_owned()).collect(),
            user: section.text("user", problems).map(|t| (*t.get_ref()).to_owned()),
            password_file: path("password_file", problems),
            ca: path("ca", problems),
            every_s: section.number("every_s", 0..=GATHER_MAX_S, problems).unwrap_or(3_600),
        },
    };
    let shape = section.text("shape", problems);
    let shape_name = shape.as_ref().map_or("native", |t| *t.get_ref()).to_owned();
    if let Err(e) = Shape::named(&shape_name) {
        let place = shape.as_ref().map(|t| section.place(t));
        problems.error(place, e.to_string(), None);
    }
    Some(SinkSettings {
        name: name.to_owned(),
        severity_min: section
            .number("severity_min", 0..=10, problems)
            .and_then(|n| u8::try_from(n).ok())
            .unwrap_or(0),
        events: events(section, problems),
        shape: shape_name,
        target,
    })
}

fn needed(section: &Section<'_>, key: &str, problems: &mut Problems) -> Option<String> {
    if section.value(key).is_none() {
        let message = format!("{} has no `{key}`", section.name);
        problems.error(Some(section.head()), message, None);
    }
    section.text(key, problems).map(|t| (*t.get_ref()).to_owned())
}

fn events(section: &Section<'_>, problems: &mut Problems) -> Vec<String> {
    let texts = section.texts("events", problems);
    for text in &texts {
        if !EVENTS.iter().any(|(known, _)| known == text.get_ref()) {
            let known = EVENTS.map(|(word, _)| word).join(", ");
            let message = format!("`{}` is no kind of event", text.get_ref());
            problems.error(Some(section.place(text)), message, Some(format!("known: {known}")));
        }
    }
    texts.iter().map(|t| (*t.get_ref()).to_owned()).collect()
}

impl SinkSettings {
    /// The sink itself.
    ///
    /// # Errors
    /// If a file that it needs cannot be read, or an address makes no sense.
    pub fn sink(&self) -> Result<Box<dyn Sink>, String> {
        let told = |e: String| format!("[sinks.{}]: {e}", self.name);
        let shape = Shape::named(&self.shape).map_err(|e| told(e.to_string()))?;
        let inner = self.target.sink(&self.name, shape).map_err(told)?;
        let (severity_min, events) = (self.severity_min, self.events.clone());
        Ok(Box::new(Choosy { inner, severity_min, events }))
    }

    /// Where it goes, for a person.
    pub fn place(&self) -> String {
        match &self.target {
            Target::File { path, .. } => format!("file {}", path.display()),
            Target::Syslog { address, carrier, .. } => format!("syslog {carrier} {address}"),
            // What stands behind the host of a URL may be a token.
            Target::Webhook { url, .. } => {
                let host = url.split('/').nth(2).unwrap_or("").rsplit('@').next().unwrap_or("");
                format!("webhook {host}")
            }
            Target::Mail { server, to, .. } => format!("mail {} by {server}", to.join(", ")),
        }
    }
}

impl Target {
    fn sink(&self, name: &str, shape: Shape) -> Result<Box<dyn Sink>, String> {
        Ok(match self {
            Target::File { path, rotation } => Box::new(
                Lines::rotating(name, path, shape, *rotation)
                    .map_err(|e| format!("{}: {e}", path.display()))?,
            ),
            Target::Syslog { address, carrier, facility, ca } => {
                let carrier = match carrier.as_str() {
                    "udp" => Carrier::Udp,
                    "tcp" => Carrier::Tcp,
                    _ => Carrier::Tls { ca: ca.clone() },
                };
                Box::new(Syslog::new(name, address, carrier, *facility, shape))
            }
            Target::Webhook { url, secret_file, authorization_file, ca } => {
                let secret = secret_file.as_deref().map(secret).transpose()?;
                let authorization = authorization_file.as_deref().map(secret_text).transpose()?;
                let (authorization, ca) = (authorization.as_deref(), ca.as_deref());
                Box::new(Webhook::new(name, url, shape, secret, authorization, ca)?)
            }
            Target::Mail { server, privacy, from, to, user, password_file, ca, every_s } => {
                if to.is_empty() {
                    return Err("`to` names nobody".to_owned());
                }
                let password = password_file.as_deref().map(secret_text).transpose()?;
                let address = Address {
                    server,
                    privacy: *privacy,
                    ca: ca.as_deref(),
                    from,
                    to,
                    login: user.clone().zip(password),
                };
                Box::new(Mail::new(name, &address, Duration::from_secs(*every_s))?)
            }
        })
    }
}

/// A secret's octets, without the line end that editors leave.
fn secret(path: &Path) -> Result<Vec<u8>, String> {
    let octets = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let octets = octets.trim_ascii_end();
    if octets.is_empty() {
        return Err(format!("{}: is empty", path.display()));
    }
    Ok(octets.to_vec())
}

fn secret_text(path: &Path) -> Result<String, String> {
    String::from_utf8(secret(path)?).map_err(|_| format!("{}: is no text", path.display()))
}

/// A sink that takes only some alerts.
struct Choosy {
    inner: Box<dyn Sink>,
    severity_min: u8,
    events: Vec<String>,
}

impl Sink for Choosy {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn wants(&self, row: &OutboxRow) -> bool {
        let kind = || {
            let event: serde_json::Value = serde_json::from_str(&row.payload).unwrap_or_default();
            event.get("kind").and_then(|k| k.as_str()).unwrap_or("").to_owned()
        };
        row.severity >= self.severity_min
            && (self.events.is_empty() || self.events.contains(&kind()))
    }

    fn gathers(&self) -> Option<Duration> {
        self.inner.gathers()
    }

    fn deliver<'a>(&'a mut self, batch: &'a [OutboxRow]) -> Delivering<'a> {
        self.inner.deliver(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (Vec<SinkSettings>, String) {
        let mut problems = Problems::default();
        let sinks = read(&[Document::new("t.toml", text)], &mut problems);
        let problems: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        (sinks, problems.join("\n"))
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, expected) in [
            ("[sinks.a]\npath = \"x\"\n", "t.toml:1:"),
            ("[sinks.a]\nkind = \"fil\"\n", "did you mean `file`?"),
            ("[sinks.a]\nkind = \"file\"\n", "has no `path`"),
            ("[sinks.a]\nkind = \"file\"\npath = \"x\"\nkep = 1\n", "t.toml:4:"),
            ("[sinks.a]\nkind = \"file\"\npath = \"x\"\nshape = \"cfe\"\n", "no shape `cfe`"),
            ("[sinks.a]\nkind = \"file\"\npath = \"x\"\nevents = [\"all\"]\n", "no kind of event"),
            ("[sinks.a]\nkind = \"syslog\"\naddress = \"h:1\"\nfacility = 99\n", "from 0 to 23"),
        ] {
            let (_, problems) = told(text);
            assert!(problems.contains(expected), "{text}: {problems}");
        }
    }

    #[test]
    fn a_token_in_a_url_is_not_shown() {
        let (sinks, problems) = told(
            "[sinks.chat]\nkind = \"webhook\"\nurl = \"https://u:p@hooks.example/T0/token\"\n",
        );
        assert_eq!(problems, "");
        assert_eq!(sinks[0].place(), "webhook hooks.example");
    }
}
