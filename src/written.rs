//! Files that people write: TOML whose every mistake is told with file, line, column and advice.
//!
//! In: a path, or a name and a text. Out: [`Section`]s whose values know where they stand, and
//! [`Problem`]s. Never: stops at the first mistake; guesses what was meant; lets a control
//! character of a file through to a terminal.
//! Limits: [`FILE_MAX_BYTES`].
//! Source: <https://toml.io/en/v1.0.0>.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::types::MacAddr;

/// Longest file read, in bytes: some ten thousand rules, far more than people write by hand.
pub const FILE_MAX_BYTES: u64 = 4 << 20;

/// Most of an offending line that is shown, in characters: the width of a usual terminal.
const SHOWN_MAX: usize = 100;

/// A file as text, under the name that people know it by.
#[derive(Clone, Debug)]
pub struct Document {
    name: Arc<str>,
    text: String,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// File, as it was named.
    pub file: Arc<str>,
    /// Line, from 1; 0 for the whole file.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line's text.
    shown: String,
    /// Characters of the line that are meant.
    width: usize,
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing goes on with it.
    Error,
    /// It goes on, but hardly as meant.
    Warning,
    /// Good to know.
    Note,
}

/// Something to be told about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// Where; `None` for a flag or a missing file.
    pub place: Option<Place>,
    /// One sentence without final stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Problems of one or several files, as they are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// Wrong configuration, policy or usage: everything found, errors among it. Exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// In the order of files and lines.
    pub problems: Vec<Problem>,
}

/// A table of a document; it borrows from both.
#[derive(Clone, Debug)]
pub struct Section<'d> {
    /// The file it stands in.
    pub doc: &'d Document,
    /// Header in words, `[scope]`; empty for the top of the file.
    pub name: String,
    /// Its keys.
    pub table: &'d DeTable<'d>,
    /// Where its header stands.
    pub span: Range<usize>,
}

impl Document {
    /// A text that lies in no file, or was read before.
    pub fn new(name: &str, text: impl Into<String>) -> Self {
        Self { name: Arc::from(name), text: text.into() }
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it is not there, too long, or no UTF-8.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|e| Problem::error(format!("{name}: {e}")))?;
        if bytes.len() as u64 > FILE_MAX_BYTES {
            return Err(Problem::error(format!("{name}: longer than {FILE_MAX_BYTES} bytes")));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Problem::error(format!("{name}: is no text in UTF-8")))?;
        Ok(Self { name: Arc::from(name), text })
    }

    /// Name of the file.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its TOML; what cannot be read is told, and the rest stands.
    pub fn parse(&self, problems: &mut Problems) -> Spanned<DeTable<'_>> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        for error in errors {
            let place = self.place(&error.span().unwrap_or_default());
            problems.error(Some(place), error.message().to_owned(), None);
        }
        table
    }

    /// The top of a parsed document.
    pub fn top<'d>(&'d self, table: &'d Spanned<DeTable<'d>>) -> Section<'d> {
        Section { doc: self, name: String::new(), table: table.get_ref(), span: 0..0 }
    }

    /// The line and column of a byte range.
    pub fn place(&self, span: &Range<usize>) -> Place {
        let start = span.start.min(self.text.len());
        let (before, behind) = self.text.split_at_checked(start).unwrap_or((&self.text, ""));
        let left = before.rsplit_once('\n').map_or(before, |(_, left)| left);
        let line = before.matches('\n').count() + 1;
        let right = behind.lines().next().unwrap_or("");
        let meant = behind.get(..span.end.saturating_sub(start)).unwrap_or(right);
        let column = left.chars().count() + 1;
        let width = meant.lines().next().unwrap_or("").chars().count().max(1);
        let shown = plain(&format!("{left}{right}"), SHOWN_MAX);
        Place { file: self.name.clone(), line, column, shown, width }
    }
}

impl Place {
    /// A line that is not at hand to be shown; 0 for the whole file.
    pub fn line(file: &str, line: usize) -> Self {
        Self { file: Arc::from(file), line, column: 1, shown: String::new(), width: 1 }
    }
}

/// `text` without control characters, cut to `max` characters.
fn plain(text: &str, max: usize) -> String {
    let plain = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(plain).take(max).collect()
}

impl<'d> Section<'d> {
    /// Tells every key that is not among `known`.
    pub fn only(&self, known: &[&str], problems: &mut Problems) {
        for key in self.table.keys().filter(|k| !known.contains(&k.get_ref().as_ref())) {
            self.unknown(key, known, problems);
        }
    }

    /// Tells that `key` is not among `known`.
    pub fn unknown<S: AsRef<str>>(
        &self,
        key: &Spanned<S>,
        known: &[&str],
        problems: &mut Problems,
    ) {
        let word = key.get_ref().as_ref();
        let at = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
        let hint = match nearest(word, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        problems.error(
            Some(self.doc.place(&key.span())),
            format!("unknown key `{word}`{at}"),
            Some(hint),
        );
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table.get(key)
    }

    /// The table under a key; tells if it is none.
    pub fn section(&self, key: &str, problems: &mut Problems) -> Option<Section<'d>> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.expected(key, value, &format!("a table, [{key}]"), problems);
            return None;
        };
        Some(self.below(key, table, value.span()))
    }

    /// The tables of a list, `[[key]]`; tells what is no table.
    pub fn sections(&self, key: &str, problems: &mut Problems) -> Vec<Section<'d>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.expected(key, value, &format!("a list of tables, [[{key}]]"), problems);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section {
                    name: format!("[[{key}]]"),
                    ..self.below(key, table, item.span())
                }),
                None => self.expected(key, item, "a table", problems),
            }
        }
        sections
    }

    fn below(&self, key: &str, table: &'d DeTable<'d>, span: Range<usize>) -> Section<'d> {
        let path = self.name.trim_matches(['[', ']']);
        let name = if path.is_empty() { format!("[{key}]") } else { format!("[{path}.{key}]") };
        Section { doc: self.doc, name, table, span }
    }

    /// A text, not empty; tells anything else.
    pub fn text(&self, key: &str, problems: &mut Problems) -> Option<Spanned<&'d str>> {
        let value = self.value(key)?;
        match value.get_ref().as_str().map(str::trim) {
            Some(text) if !text.is_empty() => Some(Spanned::new(value.span(), text)),
            _ => {
                self.expected(key, value, "a text in quotes", problems);
                None
            }
        }
    }

    /// A text, or a list of them; tells anything else.
    pub fn texts(&self, key: &str, problems: &mut Problems) -> Vec<Spanned<&'d str>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            return self.text(key, problems).into_iter().collect();
        };
        let mut texts = Vec::new();
        for item in array {
            match item.get_ref().as_str().map(str::trim) {
                Some(text) if !text.is_empty() => texts.push(Spanned::new(item.span(), text)),
                _ => self.expected(key, item, "a text in quotes", problems),
            }
        }
        texts
    }

    /// A whole number within bounds; tells anything else.
    pub fn number(
        &self,
        key: &str,
        bounds: std::ops::RangeInclusive<u64>,
        problems: &mut Problems,
    ) -> Option<u64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(n) => u64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|n| bounds.contains(n));
        if number.is_none() {
            let what = format!("a whole number from {} to {}", bounds.start(), bounds.end());
            self.expected(key, value, &what, problems);
        }
        number
    }

    /// One of some words; tells anything else.
    pub fn word<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let text = self.text(key, problems)?;
        let found = words.iter().find(|(word, _)| word == text.get_ref());
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = match nearest(text.get_ref(), known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            let message = format!("`{}` is no value of `{key}`", text.get_ref());
            problems.error(Some(self.place(&text)), message, Some(hint));
        }
        found.map(|(_, value)| *value)
    }

    /// A day, with or without quotes; tells anything else.
    pub fn date(&self, key: &str, problems: &mut Problems) -> Option<Spanned<Date>> {
        let value = self.value(key)?;
        let text = match value.get_ref() {
            DeValue::Datetime(day) => day.to_string(),
            DeValue::String(text) => text.trim().to_owned(),
            _ => String::new(),
        };
        // The parser of dates would also take a time of day and drop it.
        let date = text.parse::<Date>().ok().filter(|d| d.to_string() == text);
        if date.is_none() {
            self.expected(key, value, "a day such as 2026-11-01", problems);
        }
        date.map(|d| Spanned::new(value.span(), d))
    }

    fn expected(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        what: &str,
        problems: &mut Problems,
    ) {
        let place = Some(self.doc.place(&value.span()));
        problems.error(place, format!("`{key}` must be {what}"), None);
    }

    /// Where a value of this section stands.
    pub fn place<T>(&self, value: &Spanned<T>) -> Place {
        self.doc.place(&value.span())
    }

    /// Where its header stands.
    pub fn head(&self) -> Place {
        self.doc.place(&self.span)
    }
}

impl Problems {
    /// Adds an error.
    pub fn error(&mut self, place: Option<Place>, message: String, hint: Option<String>) {
        self.0.push(Problem { severity: Severity::Error, place, message, hint });
    }

    /// Adds a warning.
    pub fn warning(&mut self, place: Option<Place>, message: String, hint: Option<String>) {
        self.0.push(Problem { severity: Severity::Warning, place, message, hint });
    }

    /// Adds a note.
    pub fn note(&mut self, place: Option<Place>, message: String, hint: Option<String>) {
        self.0.push(Problem { severity: Severity::Note, place, message, hint });
    }

    /// `true` if nothing can go on.
    pub fn failed(&self) -> bool {
        self.0.iter().any(|p| p.severity == Severity::Error)
    }

    /// The problems by line within each file, files in the order they were met.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        let mut files: Vec<Arc<str>> = Vec::new();
        for place in self.0.iter().filter_map(|p| p.place.as_ref()) {
            if !files.contains(&place.file) {
                files.push(place.file.clone());
            }
        }
        self.0.sort_by_key(|p| {
            let place = p.place.as_ref();
            let file = place.map(|p| files.iter().position(|f| *f == p.file));
            (file, place.map(|p| (p.line, p.column)))
        });
        self
    }

    /// The problems, if there is an error among them; else they are handed back to be told.
    ///
    /// # Errors
    /// If there is an error among them.
    pub fn check(self) -> Result<Problems, ConfigError> {
        let sorted = self.sorted();
        if sorted.failed() { Err(ConfigError { problems: sorted.0 }) } else { Ok(sorted) }
    }
}

impl Problem {
    /// An error without a place in a file.
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place: None, message: message.into(), hint: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl ConfigError {
    /// One sentence about wrong usage, and what to do instead.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problems: vec![Problem::error(message).with_hint(hint)] }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let end = if i + 1 < self.problems.len() { "\n" } else { "" };
            write!(f, "{problem}{end}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = plain(&self.message, usize::MAX);
        let word = self.severity.word();
        match &self.place {
            Some(p) if p.line > 0 => {
                write!(f, "{}:{}:{}: {word}: {message}", p.file, p.line, p.column)?;
                if p.column <= SHOWN_MAX && !p.shown.trim().is_empty() {
                    let width = p.width.min(SHOWN_MAX + 1 - p.column);
                    let (lead, mark) = (" ".repeat(p.column - 1), "^".repeat(width));
                    write!(f, "\n    {}\n    {lead}{mark}", p.shown.trim_end())?;
                }
            }
            Some(p) => write!(f, "{}: {word}: {message}", p.file)?,
            None => write!(f, "{word}: {message}")?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\n    {}", plain(hint, usize::MAX)),
            None => Ok(()),
        }
    }
}

impl Severity {
    /// The word in front of a message.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A text as TOML, in quotes and on one line whatever it holds.
pub fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The word that `word` was probably meant to be.
pub fn nearest<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_lowercase();
    let far = (word.chars().count() / 3).max(1);
    let near = words.map(|w| {
        let plain = w.to_lowercase();
        // A word written only in part is nearer than its length says.
        let part = word.len() >= 4 && plain.contains(&word);
        (if part { far } else { distance(&word, &plain) }, w)
    });
    near.filter(|(d, _)| *d <= far).min_by_key(|(d, w)| (*d, w.len())).map(|(_, w)| w)
}

/// Letters to add, drop, change or swap with their neighbour to come from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut older: Vec<usize> = Vec::new();
    let mut old: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut new = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut least =
                (at(&old, j) + usize::from(x != y)).min(at(&old, j + 1) + 1).min(at(&new, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(&y) && b.get(j - 1) == Some(&x);
            if swapped {
                least = least.min(at(&older, j - 1) + 1);
            }
            new.push(least);
        }
        older = std::mem::replace(&mut old, new);
    }
    old.last().copied().unwrap_or(usize::MAX)
}

/// A network such as `10.1.0.0/16`, or a single address.
///
/// # Errors
/// What is wrong with it, and the text that was probably meant.
pub fn network(text: &str) -> Result<(IpAddr, u8), (String, Option<String>)> {
    let no = || {
        let hint = "write an address and a length, such as 10.1.0.0/16 or 2001:db8::/32";
        (format!("`{text}` is no network"), Some(hint.to_owned()))
    };
    let (addr, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let addr: IpAddr = addr.trim().parse().map_err(|_| no())?;
    let width = if addr.is_ipv4() { 32 } else { 128 };
    let bits: u8 = bits.map_or(Ok(width), |b| b.trim().parse()).map_err(|_| no())?;
    if bits > width {
        return Err(no());
    }
    let first = masked(addr, bits);
    if first != addr {
        let hint = format!("did you mean {first}/{bits}, or the single host {addr}?");
        return Err((format!("`{text}` is an address within a network"), Some(hint)));
    }
    Ok((addr, bits))
}

/// The first address of the network of `bits` that `addr` lies in.
pub fn masked(addr: IpAddr, bits: u8) -> IpAddr {
    match addr {
        IpAddr::V4(a) => {
            let drop = 32_u32.saturating_sub(u32::from(bits));
            IpAddr::from((a.to_bits() & u32::MAX.checked_shl(drop).unwrap_or(0)).to_be_bytes())
        }
        IpAddr::V6(a) => {
            let drop = 128_u32.saturating_sub(u32::from(bits));
            IpAddr::from((a.to_bits() & u128::MAX.checked_shl(drop).unwrap_or(0)).to_be_bytes())
        }
    }
}

/// A MAC as `02:00:00:00:00:01`, with dashes, or as `0200.0000.0001`.
pub fn mac(text: &str) -> Option<MacAddr> {
    let group = match text.len() {
        17 => 2,
        14 => 4,
        _ => return None,
    };
    let mark = text.chars().nth(group)?;
    if !matches!((group, mark), (2, ':' | '-') | (4, '.')) {
        return None;
    }
    let groups: Vec<&str> = text.split(mark).collect();
    let hex: String = groups.concat();
    let even = groups.iter().all(|g| g.len() == group) && hex.len() == 12;
    if !even || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let bits = u64::from_str_radix(&hex, 16).ok()?;
    let [_, _, octets @ ..] = bits.to_be_bytes();
    Some(MacAddr(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line() {
        let doc = Document::new("a.toml", "x = 1\n\tservce = \"y\u{1b}[2J\"\n");
        let place = doc.place(&(7..13));
        let mut problems = Problems::default();
        problems.error(
            Some(place),
            "unknown key `servce`".to_owned(),
            Some("did you mean it?".to_owned()),
        );
        let expected = "a.toml:2:2: error: unknown key `servce`\n     servce = \"y\u{fffd}[2J\"\n     \
                        ^^^^^^\n    did you mean it?";
        assert_eq!(problems.0[0].to_string(), expected);
    }

    #[test]
    fn places_at_the_edges() {
        let doc = Document::new("a", "ä = 1\nb");
        for (span, line, column) in
            [(0..0, 1, 1), (3..4, 1, 3), (7..8, 2, 1), (8..8, 2, 2), (99..100, 2, 2)]
        {
            let place = doc.place(&span);
            assert_eq!((place.line, place.column), (line, column), "{span:?}");
        }
    }

    #[test]
    fn the_word_that_was_meant() {
        let words = ["service", "status", "category", "vendor", "chatgpt", "github-copilot"];
        let cases = [
            ("servce", Some("service")),
            ("staus", Some("status")),
            ("Vendor", Some("vendor")),
            ("chatgtp", Some("chatgpt")),
            ("copilot", Some("github-copilot")),
            ("qqqqqq", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, words.into_iter()), expected, "{word}");
        }
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_quoted_text_stays_one_line_and_comes_back() {
        let text = "a\"b\\c\nd\r\t\u{7f}\u{85}é";
        let line = format!("x = {}", quoted(text));
        assert_eq!(line.lines().count(), 1);
        let table: toml::Table = line.parse().unwrap();
        assert_eq!(table["x"].as_str(), Some(text));
    }

    #[test]
    fn networks_and_macs() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        assert_eq!(network("10.1.0.0/16"), Ok((ip("10.1.0.0"), 16)));
        assert_eq!(network("2001:db8::/32"), Ok((ip("2001:db8::"), 32)));
        assert_eq!(network("192.0.2.9"), Ok((ip("192.0.2.9"), 32)));
        assert_eq!(network("0.0.0.0/0"), Ok((ip("0.0.0.0"), 0)));
        let inner = network("10.1.2.3/16").unwrap_err();
        assert_eq!(
            inner.1.as_deref(),
            Some("did you mean 10.1.0.0/16, or the single host 10.1.2.3?")
        );
        for bad in ["10.1.0.0/33", "10.1/16", "", "/8", "10.0.0.0/-1", "host"] {
            assert!(network(bad).is_err(), "{bad}");
        }
        let one = Some(MacAddr([2, 0, 0, 0, 0xab, 1]));
        for good in ["02:00:00:00:ab:01", "02-00-00-00-AB-01", "0200.0000.ab01"] {
            assert_eq!(mac(good), one, "{good}");
        }
        for bad in [
            "02:00:00:00:ab:0g",
            "02:00:00:00:ab",
            "0200:0000:ab01",
            "laptop-7",
            "02:00-00:00:ab:01",
        ] {
            assert_eq!(mac(bad), None, "{bad}");
        }
    }
}
