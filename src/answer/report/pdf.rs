//! The report on paper: PDF with embedded fonts, bookmarks and tags, without a browser.
//!
//! In: the report's blocks. Out: pages in A4. The layout is a column that grows downwards; tables
//! repeat their heads, rows stay whole. krilla writes the file: it subsets the fonts and knows the
//! format's rules, and costs a fraction of a typesetting engine's build time.
//! Never: draws outside of a page's margins.
//! Source: ISO 32000-2, through krilla. Font: Roboto (Apache-2.0, Google).

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use krilla::color::rgb;
use krilla::destination::XyzDestination;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::{DateTime, Metadata};
use krilla::num::NormalizedF32;
use krilla::outline::{Outline, OutlineNode};
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule};
use krilla::surface::Surface;
use krilla::tagging::{
    Artifact, ArtifactType, ContentTag, Identifier, SpanTag, Tag, TagGroup, TagTree,
};
use krilla::text::{Font, TextDirection};
use krilla::{Document, SerializeSettings};

use super::Failure;
use super::chart::{Anchor, Drawing, Tone as ChartTone, WIDTH as DRAWN};
use super::model::Report;
use super::pages::{Block, Card, Cell, RiskCard, Table, Tone, blocks};
use crate::answer::terminal::printable;
use crate::answer::verify::MARK;

const REGULAR: &[u8] = include_bytes!("fonts/Roboto-Regular.ttf");
const BOLD: &[u8] = include_bytes!("fonts/Roboto-Bold.ttf");

/// A4 in points, and what stays free around the text.
const PAGE: (f32, f32) = (595.28, 841.89);
const LEFT: f32 = 44.0;
const TOP: f32 = 46.0;
const BOTTOM: f32 = 786.0;
const WIDE: f32 = PAGE.0 - 2.0 * LEFT;

/// Height that a risk told in full usually takes.
const DETAIL: f32 = 250.0;

/// Lines of one cell: a hostile name cannot fill a page.
const CELL_LINES_MAX: usize = 12;

type Color = (u8, u8, u8);
const INK: Color = (24, 32, 44);
const SOFT: Color = (86, 98, 116);
const RULE: Color = (214, 219, 226);
const PANEL: Color = (244, 245, 248);
const BRAND: Color = (20, 48, 79);
const BAD: Color = (179, 38, 30);
const SERIOUS: Color = (168, 71, 10);
const CARE: Color = (122, 90, 0);
const GOOD: Color = (29, 107, 60);
const GAP: Color = (231, 234, 238);

/// Size, weight, colour.
#[derive(Clone, Copy)]
struct Style {
    size: f32,
    bold: bool,
    color: Color,
}

const TITLE: Style = Style { size: 10.0, bold: true, color: BRAND };
const VERDICT: Style = Style { size: 16.0, bold: true, color: INK };
const TEXT: Style = Style { size: 9.0, bold: false, color: INK };
const SMALL: Style = Style { size: 7.8, bold: false, color: SOFT };
const STRONG: Style = Style { size: 9.0, bold: true, color: INK };
const SECTION: Style = Style { size: 14.0, bold: true, color: BRAND };
const SUB: Style = Style { size: 10.0, bold: true, color: INK };
const CELL: Style = Style { size: 7.8, bold: false, color: INK };
const HEAD: Style = Style { size: 7.4, bold: true, color: SOFT };
const AMOUNT: Style = Style { size: 19.0, bold: true, color: INK };

/// What a piece of text is, for those who listen to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Heading(u16),
    Paragraph,
    /// Page numbers and drawings: nothing to read.
    Decoration,
}

enum Op {
    Text { x: f32, y: f32, style: Style, text: String, group: u32 },
    Fill { x: f32, y: f32, w: f32, h: f32, color: Color },
}

struct Sheet<'f> {
    faces: [ttf_parser::Face<'f>; 2],
    pages: Vec<Vec<Op>>,
    y: f32,
    roles: Vec<Role>,
    bookmarks: Vec<(String, usize, f32)>,
}

/// The file; its last line, behind the end mark, holds the digest.
pub fn render(report: &Report) -> Result<Vec<u8>, Failure> {
    let failed = |what: &str| Failure::Format("PDF", what.to_owned());
    let face = |data| ttf_parser::Face::parse(data, 0).map_err(|e| failed(&e.to_string()));
    let mut sheet = Sheet {
        faces: [face(REGULAR)?, face(BOLD)?],
        pages: vec![Vec::new()],
        y: TOP,
        roles: vec![Role::Decoration],
        bookmarks: Vec::new(),
    };
    let blocks = blocks(report);
    for (at, block) in blocks.iter().enumerate() {
        let rest = blocks.get(at.saturating_add(1)..).unwrap_or_default();
        sheet.block(block, rest);
    }
    sheet.feet(report);
    let mut bytes = write(&sheet, report).map_err(|why| failed(&why))?;
    bytes.extend(format!("\n% {MARK}\n").bytes());
    Ok(bytes)
}

impl Sheet<'_> {
    fn block(&mut self, block: &Block, rest: &[Block]) {
        match block {
            Block::Head { title, period, verdict, trend, privacy } => {
                self.paragraph(title, TITLE, LEFT, WIDE, Role::Heading(1));
                self.y += 3.0;
                self.paragraph(verdict, VERDICT, LEFT, WIDE, Role::Paragraph);
                self.y += 3.0;
                self.paragraph(trend, TEXT, LEFT, WIDE, Role::Paragraph);
                self.y += 2.0;
                self.paragraph(period, SMALL, LEFT, WIDE, Role::Paragraph);
                self.paragraph(privacy, SMALL, LEFT, WIDE, Role::Paragraph);
                self.y += 5.0;
                self.fill(LEFT, self.y, WIDE, 1.6, BRAND);
                self.y += 10.0;
            }
            Block::Cards(cards) => self.cards(cards),
            Block::Risks(risks) => risks.iter().for_each(|r| self.risk(r)),
            Block::Chart(_, drawing, _) => self.chart(drawing),
            Block::Page => self.new_page(),
            Block::Section(_, title) => {
                self.need(34.0 + self.ahead(rest));
                if self.y > TOP {
                    self.y += 12.0;
                }
                let page = self.pages.len().saturating_sub(1);
                self.bookmarks.push((title.clone(), page, self.y));
                self.paragraph(title, SECTION, LEFT, WIDE, Role::Heading(2));
                self.y += 3.0;
            }
            Block::Sub(id, title, cell) => {
                // A risk is best read in one piece.
                self.need(if id.is_empty() { 34.0 + self.ahead(rest) } else { DETAIL });
                self.y += 7.0;
                self.paragraph(title, SUB, LEFT, WIDE, Role::Heading(3));
                if !cell.text.is_empty() {
                    let style = Style { color: tone(cell.tone, SOFT), bold: true, ..SMALL };
                    self.paragraph(&cell.text, style, LEFT, WIDE, Role::Paragraph);
                }
                self.y += 2.0;
            }
            Block::Text(text) => {
                self.paragraph(text, TEXT, LEFT, WIDE, Role::Paragraph);
                self.y += 4.0;
            }
            Block::Note(text) => {
                self.paragraph(text, SMALL, LEFT, WIDE, Role::Paragraph);
                self.y += 3.0;
            }
            Block::Facts(facts) => {
                for (name, value) in facts.iter().filter(|(_, v)| !v.is_empty()) {
                    self.fact(name, value);
                }
                self.y += 3.0;
            }
            Block::Actions(actions) => self.actions(actions),
            Block::Table(table) => self.table(table),
        }
    }

    /// Height of what must not be parted from the heading above it.
    fn ahead(&self, rest: &[Block]) -> f32 {
        match rest.split_first() {
            Some((Block::Sub(..), rest)) => 34.0 + self.ahead(rest),
            Some((Block::Chart(_, drawing, _), _)) => drawing.height * WIDE / DRAWN + 20.0,
            Some((Block::Table(table), _)) => {
                let widths = widths(table);
                let rows =
                    table.rows.iter().take(2).map(|row| row_height(&self.wrapped(row, &widths)));
                32.0 + rows.sum::<f32>()
            }
            _ => 36.0,
        }
    }

    fn cards(&mut self, cards: &[Card]) {
        let gap = 8.0;
        let count = cards.len().max(1) as f32;
        let w = (WIDE - gap * (count - 1.0)) / count;
        let inner = w - 18.0;
        let small = Style { size: 7.2, ..SMALL };
        let label = Style { size: 8.6, ..TEXT };
        let lines: Vec<[Vec<String>; 3]> = cards
            .iter()
            .map(|c| {
                [
                    self.wrap(&c.label, label, inner),
                    self.wrap(&c.part, small, inner),
                    self.wrap(&c.compared, small, inner),
                ]
            })
            .collect();
        let height = |l: &[Vec<String>; 3]| {
            let [a, b, c] = l;
            a.len() as f32 * 11.0 + (b.len() + c.len()) as f32 * 9.4
        };
        let h = 38.0 + lines.iter().map(height).fold(0.0, f32::max);
        self.need(h + 8.0);
        let top = self.y;
        for (i, (card, [labels, parts, compared])) in cards.iter().zip(lines).enumerate() {
            let x = LEFT + (w + gap) * i as f32;
            self.fill(x, top, w, h, PANEL);
            let group = self.group(Role::Paragraph);
            self.put(x + 9.0, top + 23.0, AMOUNT, &card.amount, group);
            let mut y = top + 36.0;
            for line in labels {
                self.put(x + 9.0, y, label, &line, group);
                y += 11.0;
            }
            for line in parts.into_iter().chain(compared) {
                self.put(x + 9.0, y, small, &line, group);
                y += 9.4;
            }
        }
        self.y = top + h + 2.0;
    }

    fn risk(&mut self, risk: &RiskCard) {
        let x = LEFT + 62.0;
        let w = WIDE - 62.0;
        let title = self.wrap(&risk.title, STRONG, w);
        let proposal = self.wrap(&risk.proposal, TEXT, w);
        let facts = self.wrap(&risk.facts, SMALL, w);
        let h = (title.len() + proposal.len()) as f32 * 11.6 + facts.len() as f32 * 10.0 + 8.0;
        self.need(h);
        let group = self.group(Role::Paragraph);
        let style = Style { color: tone(risk.rating.tone, SOFT), ..STRONG };
        let wide = self.width(&risk.rating.text, style) + 12.0;
        self.fill(LEFT, self.y - 0.5, wide, 13.0, tint(risk.rating.tone));
        self.put(LEFT + 6.0, self.y + 9.0, style, &risk.rating.text, group);
        let mut y = self.y + 9.0;
        for (lines, style, step) in
            [(title, STRONG, 11.6), (proposal, TEXT, 11.6), (facts, SMALL, 10.0)]
        {
            for line in lines {
                self.put(x, y, style, &line, group);
                y += step;
            }
        }
        self.y += h;
        self.fill(LEFT, self.y - 3.0, WIDE, 0.5, RULE);
    }

    fn chart(&mut self, drawing: &Drawing) {
        let scale = WIDE / DRAWN;
        let h = drawing.height * scale;
        self.need(h + 20.0);
        let top = self.y;
        for (from, to, y) in &drawing.lines {
            self.fill(LEFT + from * scale, top + y * scale, (to - from) * scale, 0.4, RULE);
        }
        for r in &drawing.rects {
            let color = chart_color(r.tone);
            self.fill(LEFT + r.x * scale, top + r.y * scale, r.w * scale, r.h * scale, color);
        }
        let style = Style { size: 7.4, ..SMALL };
        for label in &drawing.labels {
            let width = self.width(&label.text, style);
            let x = LEFT + label.x * scale
                - match label.anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => width / 2.0,
                    Anchor::End => width,
                };
            let group = self.group(Role::Paragraph);
            self.put(x, top + label.y * scale, style, &label.text, group);
        }
        self.y = top + h + 4.0;
        let mut x = LEFT;
        let gap = drawing.rects.iter().any(|r| r.tone == ChartTone::Gap);
        let all = [
            (ChartTone::Forbidden, "forbidden"),
            (ChartTone::Unreviewed, "not yet reviewed"),
            (ChartTone::Allowed, "allowed"),
            (ChartTone::Gap, "nothing captured"),
        ];
        let group = self.group(Role::Paragraph);
        for (of, text) in all.into_iter().take(if gap { 4 } else { 3 }) {
            self.fill(x, self.y, 7.0, 7.0, chart_color(of));
            self.put(x + 11.0, self.y + 6.4, style, text, group);
            x += 26.0 + self.width(text, style);
        }
        self.y += 14.0;
    }

    fn fact(&mut self, name: &str, value: &str) {
        let w = WIDE - 108.0;
        let lines = self.wrap(value, CELL, w);
        let group = self.group(Role::Paragraph);
        let style = Style { color: SOFT, ..CELL };
        self.need(11.0);
        self.put(LEFT, self.y + 8.0, style, name, group);
        for line in lines {
            self.need(11.0);
            self.put(LEFT + 108.0, self.y + 8.0, CELL, &line, group);
            self.y += 10.2;
        }
        self.y += 1.4;
    }

    fn actions(&mut self, actions: &[(String, String)]) {
        for (what, command) in actions {
            let what = self.wrap(what, CELL, WIDE - 16.0);
            let style = Style { color: SOFT, ..CELL };
            let command = if command.is_empty() {
                Vec::new()
            } else {
                self.wrap(command, style, WIDE - 16.0)
            };
            let h = (what.len() + command.len()) as f32 * 10.2 + 6.0;
            self.need(h);
            self.fill(LEFT, self.y, WIDE, h, PANEL);
            let group = self.group(Role::Paragraph);
            let mut y = self.y + 11.0;
            for (lines, style) in [(what, CELL), (command, style)] {
                for line in lines {
                    self.put(LEFT + 8.0, y, style, &line, group);
                    y += 10.2;
                }
            }
            self.y += h;
        }
        self.y += 4.0;
    }

    fn table(&mut self, table: &Table) {
        if table.rows.is_empty() {
            self.paragraph("None.", SMALL, LEFT, WIDE, Role::Paragraph);
            return;
        }
        let widths = widths(table);
        self.need(40.0);
        self.table_head(table, &widths);
        for row in &table.rows {
            let cells = self.wrapped(row, &widths);
            let h = row_height(&cells);
            if self.y + h > BOTTOM {
                self.new_page();
                self.table_head(table, &widths);
            }
            let mut x = LEFT;
            let group = self.group(Role::Paragraph);
            for (((cell, lines), width), column) in
                row.iter().zip(cells).zip(&widths).zip(&table.columns)
            {
                let style = match cell.tone {
                    Tone::Plain => CELL,
                    _ if column.right => CELL,
                    other => Style { color: tone(other, SOFT), bold: other != Tone::Quiet, ..CELL },
                };
                let mut y = self.y + 9.0;
                for line in lines {
                    let at =
                        if column.right { x + width - 8.0 - self.width(&line, style) } else { x };
                    self.put(at, y, style, &line, group);
                    y += 9.8;
                }
                x += width;
            }
            self.y += h;
            self.fill(LEFT, self.y - 1.0, WIDE, 0.4, RULE);
        }
        if !table.foot.is_empty() {
            self.y += 2.0;
            self.paragraph(&table.foot, SMALL, LEFT, WIDE, Role::Paragraph);
        }
        self.y += 3.0;
    }

    fn table_head(&mut self, table: &Table, widths: &[f32]) {
        let cells: Vec<Vec<String>> = table
            .columns
            .iter()
            .zip(widths)
            .map(|(c, w)| self.wrap(c.head, HEAD, w - 8.0))
            .collect();
        let h = cells.iter().map(Vec::len).max().unwrap_or(1) as f32 * 9.0 + 4.0;
        let group = self.group(Role::Paragraph);
        let mut x = LEFT;
        for ((lines, width), column) in cells.into_iter().zip(widths).zip(&table.columns) {
            let mut y = self.y + h - 4.0 - 9.0 * lines.len().saturating_sub(1) as f32;
            for line in lines {
                let at = if column.right { x + width - 8.0 - self.width(&line, HEAD) } else { x };
                self.put(at, y, HEAD, &line, group);
                y += 9.0;
            }
            x += width;
        }
        self.y += h;
        self.fill(LEFT, self.y - 0.6, WIDE, 0.8, SOFT);
        self.y += 1.0;
    }

    fn wrapped(&self, row: &[Cell], widths: &[f32]) -> Vec<Vec<String>> {
        let bold = |c: &Cell| !matches!(c.tone, Tone::Plain | Tone::Quiet);
        row.iter()
            .zip(widths)
            .map(|(cell, width)| {
                let style = Style { bold: bold(cell), ..CELL };
                let mut lines = self.wrap(&cell.text, style, width - 8.0);
                lines.truncate(CELL_LINES_MAX);
                lines
            })
            .collect()
    }

    /// Page numbers, once it is known how many there are.
    fn feet(&mut self, report: &Report) {
        let count = self.pages.len();
        let left = format!("{} · {}", report.title, report.period.text);
        for page in 0..count {
            let right = format!("page {} of {count}", page.saturating_add(1));
            let x = PAGE.0 - LEFT - self.width(&right, SMALL);
            if let Some(ops) = self.pages.get_mut(page) {
                for (x, text) in [(LEFT, left.clone()), (x, right)] {
                    ops.push(Op::Text { x, y: 812.0, style: SMALL, text, group: 0 });
                }
            }
        }
    }

    fn paragraph(&mut self, text: &str, style: Style, x: f32, w: f32, role: Role) {
        let step = style.size * 1.3;
        let group = self.group(role);
        for line in self.wrap(text, style, w) {
            self.need(step);
            self.put(x, self.y + style.size, style, &line, group);
            self.y += step;
        }
    }

    fn group(&mut self, role: Role) -> u32 {
        self.roles.push(role);
        u32::try_from(self.roles.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    fn need(&mut self, height: f32) {
        if self.y + height > BOTTOM && self.y > TOP {
            self.new_page();
        }
    }

    fn new_page(&mut self) {
        self.pages.push(Vec::new());
        self.y = TOP;
    }

    fn put(&mut self, x: f32, y: f32, style: Style, text: &str, group: u32) {
        if let Some(page) = self.pages.last_mut() {
            page.push(Op::Text { x, y, style, text: text.to_owned(), group });
        }
    }

    fn fill(&mut self, x: f32, y: f32, w: f32, h: f32, color: Color) {
        if let Some(page) = self.pages.last_mut() {
            page.push(Op::Fill { x, y, w, h, color });
        }
    }

    fn width(&self, text: &str, style: Style) -> f32 {
        text.chars().map(|c| self.advance(c, style)).sum()
    }

    fn advance(&self, c: char, style: Style) -> f32 {
        let [regular, bold] = &self.faces;
        let face = if style.bold { bold } else { regular };
        let glyph = face.glyph_index(c).unwrap_or_default();
        let units = f32::from(face.glyph_hor_advance(glyph).unwrap_or(1_000));
        units * style.size / f32::from(face.units_per_em().max(1))
    }

    /// A text that the fonts have letters for.
    fn drawable(&self, text: &str) -> String {
        let [regular, _] = &self.faces;
        let shown = |c: char| if regular.glyph_index(c).is_some() { c } else { '?' };
        printable(text).chars().map(|c| if c == '\u{fffd}' { '?' } else { shown(c) }).collect()
    }

    fn wrap(&self, text: &str, style: Style, width: f32) -> Vec<String> {
        let text = self.drawable(text);
        let blank = self.advance(' ', style);
        let mut lines = Vec::new();
        let (mut line, mut used) = (String::new(), 0.0_f32);
        for word in text.split(' ') {
            let wide = self.width(word, style);
            if !line.is_empty() && used + blank + wide > width {
                lines.push(std::mem::take(&mut line));
                used = 0.0;
            }
            if !line.is_empty() {
                line.push(' ');
                used += blank;
            }
            if wide <= width {
                line.push_str(word);
                used += wide;
                continue;
            }
            // A word wider than the line is broken where it must be.
            for c in word.chars() {
                let wide = self.advance(c, style);
                if !line.is_empty() && used + wide > width {
                    lines.push(std::mem::take(&mut line));
                    used = 0.0;
                }
                line.push(c);
                used += wide;
            }
        }
        if !line.is_empty() || lines.is_empty() {
            lines.push(line);
        }
        lines
    }
}

fn widths(table: &Table) -> Vec<f32> {
    let weights: f32 = table.columns.iter().map(|c| c.weight).sum();
    table.columns.iter().map(|c| WIDE * c.weight / weights.max(0.1)).collect()
}

fn row_height(cells: &[Vec<String>]) -> f32 {
    cells.iter().map(Vec::len).max().unwrap_or(1) as f32 * 9.8 + 5.0
}

/// What lies behind a word of this tone.
fn tint(tone: Tone) -> Color {
    match tone {
        Tone::Bad => (252, 232, 230),
        Tone::Serious => (254, 236, 222),
        Tone::Care => (254, 245, 214),
        Tone::Good => (226, 244, 232),
        Tone::Plain | Tone::Quiet => PANEL,
    }
}

fn tone(tone: Tone, plain: Color) -> Color {
    match tone {
        Tone::Bad => BAD,
        Tone::Serious => SERIOUS,
        Tone::Care => CARE,
        Tone::Good => GOOD,
        Tone::Plain | Tone::Quiet => plain,
    }
}

fn chart_color(tone: ChartTone) -> Color {
    match tone {
        ChartTone::Forbidden => (192, 57, 43),
        ChartTone::Unreviewed => (224, 165, 38),
        ChartTone::Allowed => (61, 143, 95),
        ChartTone::Gap => GAP,
    }
}

/// Gives the sheet to krilla.
fn write(sheet: &Sheet<'_>, report: &Report) -> Result<Vec<u8>, String> {
    let font = |data: &'static [u8]| Font::new(data.into(), 0).ok_or("a font cannot be read");
    let fonts = [font(REGULAR)?, font(BOLD)?];
    let settings = SerializeSettings { enable_tagging: true, ..SerializeSettings::default() };
    let mut document = Document::new_with(settings);
    let mut read: BTreeMap<u32, Vec<Identifier>> = BTreeMap::new();
    for ops in &sheet.pages {
        let size = PageSettings::from_wh(PAGE.0, PAGE.1).ok_or("a page without size")?;
        let mut page = document.start_page_with(size);
        let mut surface = page.surface();
        for op in ops {
            draw(&mut surface, op, &fonts, &sheet.roles, &mut read);
        }
        surface.finish();
        page.finish();
    }
    let mut tree = TagTree::new().with_lang(Some("en".to_owned()));
    for (group, ids) in read {
        let role = usize::try_from(group).ok().and_then(|g| sheet.roles.get(g));
        let mut group = match role {
            Some(Role::Heading(level)) => {
                TagGroup::new(Tag::Hn(NonZeroU16::new(*level).unwrap_or(NonZeroU16::MIN), None))
            }
            _ => TagGroup::new(Tag::P),
        };
        for id in ids {
            group.push(id);
        }
        tree.push(group);
    }
    document.set_tag_tree(tree);
    let mut outline = Outline::new();
    for (title, page, y) in &sheet.bookmarks {
        let place = XyzDestination::new(*page, Point::from_xy(0.0, (y - 8.0).max(0.0)));
        outline.push_child(OutlineNode::new(title.clone(), place));
    }
    document.set_outline(outline);
    let mut metadata = Metadata::new()
        .title(format!("{}: {}", report.title, report.period.text))
        .creator(report.judged.program.clone())
        .language("en".to_owned())
        // No number of the machine or the day: the same report is the same file.
        .document_id(report.digest.clone());
    if let Some(date) = date(&report.period.until) {
        metadata = metadata.creation_date(date);
    }
    document.set_metadata(metadata);
    document.finish().map_err(|e| format!("{e:?}"))
}

fn draw(
    surface: &mut Surface<'_>,
    op: &Op,
    fonts: &[Font; 2],
    roles: &[Role],
    read: &mut BTreeMap<u32, Vec<Identifier>>,
) {
    let fill = |(r, g, b): Color| Fill {
        paint: rgb::Color::new(r, g, b).into(),
        opacity: NormalizedF32::ONE,
        rule: FillRule::NonZero,
    };
    let nothing = ContentTag::Artifact(Artifact::with_kind(ArtifactType::Other));
    match op {
        Op::Fill { x, y, w, h, color } => {
            let mut path = PathBuilder::new();
            if let Some(rect) = Rect::from_xywh(*x, *y, w.max(0.1), h.max(0.1)) {
                path.push_rect(rect);
            }
            if let Some(path) = path.finish() {
                surface.start_tagged(nothing);
                surface.set_fill(Some(fill(*color)));
                surface.draw_path(&path);
                surface.end_tagged();
            }
        }
        Op::Text { x, y, style, text, group } => {
            let role = usize::try_from(*group).ok().and_then(|g| roles.get(g));
            let read_out = role.is_some_and(|r| *r != Role::Decoration);
            let tag = if read_out { ContentTag::Span(SpanTag::empty()) } else { nothing };
            let id = surface.start_tagged(tag);
            surface.set_fill(Some(fill(style.color)));
            let [regular, bold] = fonts;
            let font = if style.bold { bold } else { regular };
            let at = Point::from_xy(*x, *y);
            surface.draw_text(
                at,
                font.clone(),
                style.size,
                text,
                false,
                TextDirection::LeftToRight,
            );
            surface.end_tagged();
            if read_out {
                read.entry(*group).or_default().push(id);
            }
        }
    }
}

/// The day and second of an RFC 3339 time.
fn date(text: &str) -> Option<DateTime> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    Some(
        DateTime::new(text.get(..4)?.parse().ok()?)
            .month(part(5, 7)?)
            .day(part(8, 10)?)
            .hour(part(11, 13)?)
            .minute(part(14, 16)?)
            .second(part(17, 19)?)
            .utc_offset_hour(0)
            .utc_offset_minute(0),
    )
}
