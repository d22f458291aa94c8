//! Settings in layers: defaults, files with their includes, flags.
//!
//! In: the embedded file, which holds every key with its default; paths; flags.
//! Out: [`Setting`]s, each with its origin. Never: takes an unknown key, or a value of another
//! type than the default; reads a file twice.
//! Limits: [`DEPTH_MAX`], [`FILES_MAX`].

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use crate::written::{Document, Place, Problem, Problems, Section, nearest, quoted};

/// The embedded file: every key with its default.
pub const DEFAULTS: &str = include_str!("shadowtap.toml");

/// Files that include one another in a row: a site, a department, a sensor, and some to spare.
const DEPTH_MAX: usize = 8;

/// Files of one configuration: one each for a good many departments.
const FILES_MAX: usize = 64;

/// Tables that are read by those whom they concern.
const OF_OTHERS: [&str; 5] =
    ["policy.default", "policy.rule", "alerts.suppress", "sinks", "department"];

/// Values of a key, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Dotted path, `limits.flows_max`.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Who set it.
    pub origin: Origin,
}

/// A value of one of the types that settings have.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number, not negative.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Texts or numbers, each with its place if it stands in a file.
    List(Vec<(Value, Option<Place>)>),
}

/// Who set a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// A file.
    File(Place),
    /// A flag of the command line, by its name.
    Flag(String),
}

/// A value that a flag sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name of the flag, `--threads`.
    pub name: String,
    /// Dotted path of the key.
    pub key: String,
    /// Value as typed; items of a list stand between commas.
    pub value: String,
}

/// The layers put on so far.
#[derive(Debug)]
pub struct Layers {
    /// In the order of the embedded file.
    pub settings: Vec<Setting>,
    /// Files read, included ones first.
    pub documents: Vec<Document>,
    /// What is wrong with them.
    pub problems: Problems,
    /// Files read, by their resolved paths.
    read: Vec<PathBuf>,
    /// Those that are being read now.
    reading: Vec<PathBuf>,
}

impl Layers {
    /// The defaults.
    pub fn new() -> Self {
        let mut problems = Problems::default();
        let doc = Document::new("defaults", DEFAULTS);
        let table = doc.parse(&mut problems);
        let mut found = Vec::new();
        collect(&doc.top(&table), "", &mut found, &mut problems);
        found.sort_by_key(|(at, _)| *at);
        let settings = found.into_iter().map(|(_, s)| s).collect();
        Self { settings, documents: vec![], problems, read: vec![], reading: vec![] }
    }

    /// Puts a file and what it includes over what is there.
    pub fn file(&mut self, path: &Path, named_at: Option<&Place>) {
        let tell = |problem: Problem| Problem { place: named_at.cloned(), ..problem };
        let resolved = match path.canonicalize() {
            Ok(resolved) => resolved,
            Err(e) => {
                let problem = Problem::error(format!("{}: {e}", path.display()));
                return self.problems.0.push(tell(problem));
            }
        };
        if self.reading.contains(&resolved) {
            let message = format!("{} includes itself", path.display());
            return self
                .problems
                .0
                .push(tell(Problem::error(message).with_hint("remove one of the includes")));
        }
        if self.read.contains(&resolved) {
            return;
        }
        if self.reading.len() >= DEPTH_MAX || self.read.len() >= FILES_MAX {
            let message = format!("more than {DEPTH_MAX} files deep or {FILES_MAX} files");
            return self.problems.0.push(tell(Problem::error(message)));
        }
        let doc = match Document::read(path) {
            Ok(doc) => doc,
            Err(problem) => return self.problems.0.push(tell(problem)),
        };
        self.read.push(resolved.clone());
        self.reading.push(resolved);
        self.document(&doc, path.parent().unwrap_or(Path::new("")));
        self.reading.pop();
        self.documents.push(doc);
    }

    fn document(&mut self, doc: &Document, dir: &Path) {
        let mut problems = Problems::default();
        let table = doc.parse(&mut problems);
        let top = doc.top(&table);
        for include in top.texts("include", &mut problems) {
            self.file(&dir.join(include.get_ref()), Some(&top.place(&include)));
        }
        self.section(&top, "", &mut problems);
        self.problems.0.append(&mut problems.0);
    }

    fn section(&mut self, section: &Section<'_>, prefix: &str, problems: &mut Problems) {
        for (key, value) in section.table {
            let path = format!("{prefix}{}", key.get_ref());
            if path == "include" || OF_OTHERS.contains(&path.as_str()) {
                continue;
            }
            let below = format!("{path}.");
            if self.settings.iter().any(|s| s.key.starts_with(&below)) {
                if let Some(section) = section.section(key.get_ref(), problems) {
                    self.section(&section, &below, problems);
                }
                continue;
            }
            let Some(setting) = self.settings.iter_mut().find(|s| s.key == path) else {
                let known = self.below(prefix);
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                section.unknown(key, &known, problems);
                continue;
            };
            let place = section.place(value);
            match read(section, value) {
                Some(value) if value.same_type(&setting.value) => {
                    setting.value = value;
                    setting.origin = Origin::File(place);
                }
                _ => {
                    let message = format!("`{}` must be {}", key.get_ref(), setting.value.kind());
                    problems.error(
                        Some(place),
                        message,
                        Some(format!("the default is {}", setting.value)),
                    );
                }
            }
        }
    }

    /// Keys directly below a prefix.
    fn below(&self, prefix: &str) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        let known =
            self.settings.iter().map(|s| s.key.as_str()).chain(OF_OTHERS).chain(["include"]);
        for path in known.filter_map(|k| k.strip_prefix(prefix)) {
            let key = path.split('.').next().unwrap_or(path).to_owned();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// Puts a flag over what is there.
    pub fn flag(&mut self, flag: &Flag) {
        let Some(setting) = self.settings.iter_mut().find(|s| s.key == flag.key) else {
            let keys = self.settings.iter().map(|s| s.key.as_str());
            let hint = match nearest(&flag.key, keys) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`shadowtap config show --effective` tells all keys".to_owned(),
            };
            let message = format!("{}: unknown key `{}`", flag.name, flag.key);
            return self.problems.0.push(Problem::error(message).with_hint(hint));
        };
        if let Some(value) = setting.value.typed(&flag.value) {
            setting.value = value;
            setting.origin = Origin::Flag(flag.name.clone());
        } else {
            let message = format!("{}: `{}` must be {}", flag.name, flag.key, setting.value.kind());
            self.problems.0.push(Problem::error(message));
        }
    }
}

impl Default for Layers {
    fn default() -> Self {
        Self::new()
    }
}

/// Every key of the embedded file with its line.
fn collect(
    section: &Section<'_>,
    prefix: &str,
    found: &mut Vec<(usize, Setting)>,
    problems: &mut Problems,
) {
    for (key, value) in section.table {
        let path = format!("{prefix}{}", key.get_ref());
        if value.get_ref().is_table() {
            if let Some(section) = section.section(key.get_ref(), problems) {
                collect(&section, &format!("{path}."), found, problems);
            }
        } else if path != "include"
            && let Some(value) = read(section, value)
        {
            let line = section.place(key).line;
            found.push((line, Setting { key: path, value, origin: Origin::Default }));
        }
    }
}

/// The value, if it is of a type that settings have.
fn read(section: &Section<'_>, value: &Spanned<DeValue<'_>>) -> Option<Value> {
    match value.get_ref() {
        DeValue::String(text) => Some(Value::Text(text.trim().to_owned())),
        DeValue::Boolean(flag) => Some(Value::Flag(*flag)),
        DeValue::Integer(number) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Number)
        }
        DeValue::Array(items) => {
            let item = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::String(_) | DeValue::Integer(_) => {
                    Some((read(section, item)?, Some(section.place(item))))
                }
                _ => None,
            };
            items.iter().map(item).collect::<Option<_>>().map(Value::List)
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

impl Value {
    fn same_type(&self, other: &Value) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// What values of this type are, for a person.
    fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text in quotes",
            Value::Number(_) => "a whole number, not negative",
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list of texts or numbers",
        }
    }

    /// A text as typed, as a value of the same type as this one.
    fn typed(&self, text: &str) -> Option<Value> {
        let number = |text: &str| text.replace('_', "").parse().ok().map(Value::Number);
        match self {
            Value::Text(_) => Some(Value::Text(text.trim().to_owned())),
            Value::Number(_) => number(text.trim()),
            Value::Flag(_) => text.trim().parse().ok().map(Value::Flag),
            Value::List(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                let item = |i: &str| (number(i).unwrap_or_else(|| Value::Text(i.to_owned())), None);
                Some(Value::List(items.map(item).collect()))
            }
        }
    }
}

/// As TOML.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => write!(f, "{}", quoted(text)),
            Value::Number(number) => write!(f, "{number}"),
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|(value, _)| value.to_string()).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File(place) => write!(f, "{place}"),
            Origin::Flag(name) => write!(f, "{name}"),
        }
    }
}
