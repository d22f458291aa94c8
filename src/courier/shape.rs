//! Alerts in the words of other tools: one table a shape, no code.
//!
//! In: an event of the outbox as JSON, and a shape (`shapes/NAME.toml`, or a file of the owner's).
//! Out: one line of text. Never: lets a line break, a separator or a control character of the
//! event through; invents a value that the event does not have.
//! Limits: [`FIELDS_MAX`], [`DEPTH_MAX`].
//! Source: the ArcSight Common Event Format, revision 25 §1; IBM's LEEF 2.0; Suricata's EVE
//! output; the Elastic Common Schema; Zeek's notice log; Slack's message formatting.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Number, Value};

/// Fields of one shape: four times what the largest of ours has.
const FIELDS_MAX: usize = 256;

/// Levels of a nested name such as `source.geo.city`.
const DEPTH_MAX: usize = 8;

/// The shapes that are built in, by name.
pub const BUILT_IN: [(&str, &str); 8] = [
    ("native", include_str!("shapes/native.toml")),
    ("eve", include_str!("shapes/eve.toml")),
    ("cef", include_str!("shapes/cef.toml")),
    ("leef", include_str!("shapes/leef.toml")),
    ("ecs", include_str!("shapes/ecs.toml")),
    ("hec", include_str!("shapes/hec.toml")),
    ("zeek", include_str!("shapes/zeek.toml")),
    ("slack", include_str!("shapes/slack.toml")),
];

/// How an event is written down.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// What a line looks like.
    form: Form,
    /// Names such as `id.orig_h` are one name, not a nested one.
    #[serde(default)]
    flat: bool,
    /// What stands in it, in order.
    #[serde(default)]
    field: Vec<Field>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Form {
    /// The event as it is.
    Native,
    /// A JSON object of the fields.
    Json,
    /// `CEF:0|…|key=value key=value`.
    Cef,
    /// `LEEF:2.0|…|^|key=value^key=value`.
    Leef,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    /// Name of the field there.
    to: String,
    /// It belongs to the header (CEF and LEEF).
    #[serde(default)]
    header: bool,
    /// Name of the field here.
    from: Option<String>,
    /// A text with `{field}` in it.
    template: Option<String>,
    /// A constant.
    value: Option<Value>,
    /// What becomes of the value.
    #[serde(rename = "as", default)]
    how: How,
    /// Its words there, by ours.
    #[serde(default)]
    map: BTreeMap<String, Value>,
}

/// What becomes of a value on its way.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum How {
    /// Nothing.
    #[default]
    Same,
    /// RFC 3339 to milliseconds since the epoch.
    EpochMs,
    /// RFC 3339 to seconds since the epoch, with a fraction.
    EpochS,
    /// RFC 3339 as Suricata writes it, `+0000` for `Z`.
    Suricata,
    /// Severity 0 to 10 to Suricata's 1 (high), 2, 3.
    SuricataSeverity,
    /// A hex id to a number of 52 bits, which JavaScript keeps exact.
    Number52,
    /// Upper case.
    Upper,
    /// A list to one text.
    Joined,
    /// The first of a list.
    First,
    /// The three characters that Slack's markup uses, escaped.
    Slack,
}

/// A shape cannot be used, or an event cannot be put into it.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// No such shape.
    #[error("there is no shape `{0}`: known are {known}, or the path of a .toml file", known = names())]
    Unknown(String),
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// As it was named.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no shape.
    #[error("{path}: {message}")]
    Written {
        /// As it was named.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// The event is no JSON object.
    #[error("the event is no JSON object: {0}")]
    Event(String),
}

fn names() -> String {
    BUILT_IN.map(|(name, _)| name).join(", ")
}

impl Shape {
    /// The shape of that name, or in that file.
    ///
    /// # Errors
    /// If there is none, or it makes no sense.
    pub fn named(name: &str) -> Result<Shape, ShapeError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Shape::read(name, text);
        }
        if Path::new(name).extension().is_none_or(|e| e != "toml") {
            return Err(ShapeError::Unknown(name.to_owned()));
        }
        let text = std::fs::read_to_string(name)
            .map_err(|source| ShapeError::File { path: name.to_owned(), source })?;
        Shape::read(name, &text)
    }

    fn read(path: &str, text: &str) -> Result<Shape, ShapeError> {
        let wrong = |message: String| ShapeError::Written { path: path.to_owned(), message };
        let shape: Shape = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if shape.field.len() > FIELDS_MAX {
            return Err(wrong(format!("more than {FIELDS_MAX} fields")));
        }
        for field in &shape.field {
            let sources = [field.from.is_some(), field.template.is_some(), field.value.is_some()];
            if sources.iter().filter(|s| **s).count() != 1 {
                let which = "needs exactly one of `from`, `template`, `value`";
                return Err(wrong(format!("field `{}` {which}", field.to)));
            }
            if field.to.split('.').count() > DEPTH_MAX {
                return Err(wrong(format!("field `{}` is nested too deeply", field.to)));
            }
        }
        Ok(shape)
    }

    /// The event in this shape, without a line end.
    ///
    /// # Errors
    /// If the event is no JSON object.
    pub fn render(&self, event: &str) -> Result<String, ShapeError> {
        let event: Value =
            serde_json::from_str(event).map_err(|e| ShapeError::Event(e.to_string()))?;
        let Value::Object(event) = event else {
            return Err(ShapeError::Event("it is something else".to_owned()));
        };
        let fields = self.field.iter().filter_map(|f| f.of(&event).map(|value| (f, value)));
        Ok(match self.form {
            Form::Native => Value::Object(event).to_string(),
            Form::Json => json(fields, self.flat),
            Form::Cef => cef(fields),
            Form::Leef => leef(fields),
        })
    }
}

impl Field {
    fn of(&self, event: &Map<String, Value>) -> Option<Value> {
        let raw = match (&self.from, &self.template) {
            (Some(from), _) => look(event, from)?.clone(),
            (None, Some(template)) => Value::String(self.filled(template, event)),
            (None, None) => self.value.clone()?,
        };
        let value = if self.template.is_some() { raw } else { self.how.apply(raw)? };
        match self.map.is_empty() {
            true => Some(value),
            false => self.map.get(&text(&value)).cloned(),
        }
    }

    /// `{field}` replaced by its value, by nothing where the event has none.
    fn filled(&self, template: &str, event: &Map<String, Value>) -> String {
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once('{') {
            out.push_str(before);
            let Some((name, after)) = behind.split_once('}') else {
                out.push('{');
                rest = behind;
                continue;
            };
            let value = look(event, name).cloned().and_then(|v| self.how.apply(v));
            out.push_str(&value.map(|v| text(&v)).unwrap_or_default());
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

fn look<'v>(event: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    let mut names = path.split('.');
    let first = event.get(names.next()?)?;
    let found = names.try_fold(first, |value, name| value.get(name))?;
    let empty = found.is_null() || found.as_str() == Some("");
    (!empty).then_some(found)
}

impl How {
    fn apply(self, value: Value) -> Option<Value> {
        let time = |v: &Value| v.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        Some(match self {
            How::Same => value,
            How::EpochMs => Value::from(time(&value)?.as_millisecond()),
            How::EpochS => Value::Number(Number::from_f64(
                time(&value)?.as_microsecond() as f64 / 1_000_000.0,
            )?),
            How::Suricata => {
                Value::from(time(&value)?.strftime("%Y-%m-%dT%H:%M:%S.%6f+0000").to_string())
            }
            How::SuricataSeverity => Value::from(match value.as_u64()? {
                7.. => 1,
                4..=6 => 2,
                _ => 3,
            }),
            How::Number52 => {
                let hex = text(&value);
                Value::from(u64::from_str_radix(hex.get(..13)?, 16).ok()?)
            }
            How::Upper => Value::from(text(&value).to_uppercase()),
            How::Joined => {
                let items: Vec<String> = value.as_array()?.iter().map(text).collect();
                Value::from(items.join("; "))
            }
            How::First => value.as_array()?.first()?.clone(),
            How::Slack => Value::from(
                text(&value).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
            ),
        })
    }
}

/// A value as a person reads it: texts without quotes.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join("; "),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn json<'f>(fields: impl Iterator<Item = (&'f Field, Value)>, flat: bool) -> String {
    let mut object = Map::new();
    for (field, value) in fields {
        if flat {
            object.insert(field.to.clone(), value);
        } else {
            place(&mut object, &field.to, value);
        }
    }
    Value::Object(object).to_string()
}

/// Puts a value under a nested name; a name ending in `[]` makes a list of it.
fn place(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => match path.strip_suffix("[]") {
            None => {
                object.insert(path.to_owned(), value);
            }
            Some(name) => {
                let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(items) = list {
                    items.push(value);
                }
            }
        },
        Some((name, below)) => {
            let inner = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                place(inner, below, value);
            }
        }
    }
}

fn cef<'f>(fields: impl Iterator<Item = (&'f Field, Value)>) -> String {
    let (mut head, mut rest) = ("CEF:0".to_owned(), String::new());
    for (field, value) in fields {
        let value = plain(&text(&value));
        if field.header {
            let escaped = value.replace('\\', "\\\\").replace('|', "\\|");
            let _ = write!(head, "|{escaped}");
        } else {
            let escaped = value.replace('\\', "\\\\").replace('=', "\\=");
            let space = if rest.is_empty() { "" } else { " " };
            let _ = write!(rest, "{space}{}={escaped}", field.to);
        }
    }
    format!("{head}|{rest}")
}

fn leef<'f>(fields: impl Iterator<Item = (&'f Field, Value)>) -> String {
    let (mut head, mut rest) = ("LEEF:2.0".to_owned(), String::new());
    for (field, value) in fields {
        let value = plain(&text(&value));
        if field.header {
            let _ = write!(head, "|{}", value.replace('|', "/"));
        } else {
            // The format has no escape for its separator.
            let caret = if rest.is_empty() { "" } else { "^" };
            let _ = write!(rest, "{caret}{}={}", field.to, value.replace('^', "_"));
        }
    }
    format!("{head}|^|{rest}")
}

/// One line: control characters become spaces.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        Shape::read("test", text).unwrap()
    }

    #[test]
    fn every_shape_that_is_built_in_can_be_read() {
        for (name, _) in BUILT_IN {
            Shape::named(name).unwrap();
        }
        let told = Shape::named("cfe").unwrap_err().to_string();
        assert!(told.contains("cef"), "{told}");
    }

    #[test]
    fn separators_of_an_event_stay_inside_their_field() {
        let event = r#"{"title":"a|b\\c\nd","host":"x=y z\\"}"#;
        let fields = "[[field]]\nto = \"Name\"\nheader = true\nfrom = \"title\"\n\
                      [[field]]\nto = \"dhost\"\nfrom = \"host\"\n";
        let cases = [
            ("cef", r"CEF:0|a\|b\\c d|dhost=x\=y z\\"),
            ("leef", r"LEEF:2.0|a/b\c d|^|dhost=x=y z\"),
        ];
        for (form, expected) in cases {
            let shape = shape(&format!("form = \"{form}\"\n{fields}"));
            assert_eq!(shape.render(event).unwrap(), expected, "{form}");
        }
    }

    #[test]
    fn values_change_as_the_table_says() {
        let cases = [
            ("epoch_ms", r#""2026-03-02T00:00:00.123456Z""#, "1772409600123"),
            ("epoch_s", r#""2026-03-02T00:00:00.500000Z""#, "1772409600.5"),
            (
                "suricata",
                r#""2026-03-02T00:00:00.123456Z""#,
                r#""2026-03-02T00:00:00.123456+0000""#,
            ),
            ("suricata_severity", "7", "1"),
            ("suricata_severity", "0", "3"),
            ("number52", r#""000000000000f00ff""#, "15"),
            ("upper", r#""tcp""#, r#""TCP""#),
            ("joined", r#"["a","b"]"#, r#""a; b""#),
            ("first", r#"["a","b"]"#, r#""a""#),
            ("slack", r#""<!channel> & co""#, r#""&lt;!channel&gt; &amp; co""#),
        ];
        for (how, value, expected) in cases {
            let shape = shape(&format!(
                "form = \"json\"\n[[field]]\nto = \"v\"\nfrom = \"v\"\nas = \"{how}\"\n"
            ));
            let line = shape.render(&format!("{{\"v\":{value}}}")).unwrap();
            assert_eq!(line, format!("{{\"v\":{expected}}}"), "{how}");
        }
        let absent =
            shape("form = \"json\"\n[[field]]\nto = \"v\"\nfrom = \"v\"\nas = \"epoch_s\"\n");
        assert_eq!(absent.render(r#"{"v":"no time"}"#).unwrap(), "{}");
    }

    #[test]
    fn a_shape_that_makes_no_sense_is_told() {
        for (text, expected) in [
            ("form = \"json\"\n[[field]]\nto = \"a\"\n", "exactly one"),
            ("form = \"xml\"\n", "xml"),
            ("form = \"json\"\ncolour = 1\n", "colour"),
        ] {
            let told = Shape::read("t.toml", text).unwrap_err().to_string();
            assert!(told.contains(expected) && told.starts_with("t.toml"), "{told}");
        }
    }
}
