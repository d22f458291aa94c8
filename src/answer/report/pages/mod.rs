//! What stands in a report that a person reads, in what order and in which words.
//!
//! In: the [`Report`]. Out: [`Block`]s, which HTML, PDF and Markdown draw, each in its way, so that
//! all three say the same.
//! Limits: [`ROWS_MAX`] rows of a table; a number of risks in full.

mod annex;
mod body;
mod first;
mod register;

use super::ROWS_MAX;
use super::chart::Drawing;
use super::model::Report;
use crate::answer::terminal::number;

/// A colour that means something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// None.
    #[default]
    Plain,
    /// Forbidden, critical.
    Bad,
    /// High.
    Serious,
    /// Not yet reviewed, medium.
    Care,
    /// Allowed, low.
    Good,
    /// Neither.
    Quiet,
}

/// A text in a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// With what weight.
    pub tone: Tone,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading.
    pub head: &'static str,
    /// Numbers stand to the right.
    pub right: bool,
    /// Part of the width, against the other columns.
    pub weight: f32,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it shows, for those who cannot see it.
    pub caption: String,
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows.
    pub rows: Vec<Vec<Cell>>,
    /// A line below it.
    pub foot: String,
}

/// One of the four numbers.
#[derive(Clone, Debug)]
pub struct Card {
    /// The number.
    pub amount: String,
    /// What it counts.
    pub label: String,
    /// What it is a part of.
    pub part: String,
    /// What it was before.
    pub compared: String,
}

/// A risk on the first page.
#[derive(Clone, Debug)]
pub struct RiskCard {
    /// Id of the place where it is told in full.
    pub anchor: String,
    /// Rating.
    pub rating: Cell,
    /// What was found.
    pub title: String,
    /// What is proposed.
    pub proposal: String,
    /// Owner, day, state.
    pub facts: String,
}

/// A piece of a report.
#[derive(Clone, Debug)]
pub enum Block {
    /// Title, period, verdict, trend, and how names are treated.
    Head {
        /// Title.
        title: String,
        /// Period and versions.
        period: String,
        /// Verdict.
        verdict: String,
        /// Trend.
        trend: String,
        /// Names.
        privacy: String,
    },
    /// The numbers of the first page.
    Cards(Vec<Card>),
    /// The risks of the first page.
    Risks(Vec<RiskCard>),
    /// The chart, and the same as a table.
    Chart(String, Drawing, Table),
    /// Begins a new page on paper.
    Page,
    /// Heading with the id of its place.
    Section(&'static str, String),
    /// Heading below a section, with the id of its place and a tone.
    Sub(String, String, Cell),
    /// A paragraph.
    Text(String),
    /// A paragraph in small.
    Note(String),
    /// Names and values.
    Facts(Vec<(&'static str, String)>),
    /// What to do, with commands.
    Actions(Vec<(String, String)>),
    /// A table.
    Table(Table),
}

impl Cell {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

/// The report in order.
pub fn blocks(report: &Report) -> Vec<Block> {
    let mut out = Vec::new();
    first::first_page(report, &mut out);
    body::services(report, &mut out);
    body::departments(report, &mut out);
    body::unseen(report, &mut out);
    register::register(report, &mut out);
    register::controls(report, &mut out);
    annex::method(report, &mut out);
    annex::annex(report, &mut out);
    out
}

fn cut(rows: usize, what: &str) -> String {
    if rows > ROWS_MAX {
        format!(
            "The first {ROWS_MAX} of {} {what}; all of them stand in the XLSX, CSV and JSON forms.",
            number(rows as u64)
        )
    } else {
        String::new()
    }
}

/// The text with blanks that do not break between a number and its unit.
fn kept_together(text: &str) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "%"];
    let mut out = String::with_capacity(text.len());
    for word in text.split(' ') {
        let unit = units.contains(&word.trim_end_matches([',', ';', '.', ')']));
        if !out.is_empty() {
            let number = out.ends_with(|c: char| c.is_ascii_digit());
            out.push(if unit && number { '\u{a0}' } else { ' ' });
        }
        out.push_str(word);
    }
    out
}

/// A place to link to.
pub fn anchor(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("risk-{}", id.chars().map(plain).collect::<String>())
}

fn left(head: &'static str, weight: f32) -> Column {
    Column { head, right: false, weight }
}

fn right(head: &'static str, weight: f32) -> Column {
    Column { head, right: true, weight }
}

fn tone_if(count: u64, tone: Tone) -> Tone {
    if count > 0 { tone } else { Tone::Quiet }
}

fn rating_tone(rating: &str) -> Tone {
    match rating {
        "critical" => Tone::Bad,
        "high" => Tone::Serious,
        "medium" => Tone::Care,
        _ => Tone::Quiet,
    }
}

fn status_tone(status: &str) -> Tone {
    match status {
        "forbidden" => Tone::Bad,
        "unreviewed" => Tone::Care,
        "allowed" | "sanctioned" | "tolerated" => Tone::Good,
        _ => Tone::Plain,
    }
}
