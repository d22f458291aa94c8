//! The chart of the first page as shapes, for whatever draws them.
//!
//! In: a [`Chart`]. Out: a [`Drawing`] in points, origin at the top left.

use super::model::Chart;
use crate::recorder::finding::bytes;

/// Width of every drawing.
pub const WIDTH: f32 = 720.0;

/// Height of a chart over time.
const TIME_HEIGHT: f32 = 190.0;

/// Room for the numbers of the axis, for the labels below, and above.
const AXIS: f32 = 62.0;
const FOOT: f32 = 22.0;
const TOP: f32 = 10.0;

/// Height of one service's line, and room for its name and for its number.
const LINE: f32 = 24.0;
const NAME: f32 = 200.0;
const NUMBER: f32 = 84.0;

/// Labels below bars, at most.
const LABELS_MAX: usize = 12;

/// What something drawn means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Forbidden.
    Forbidden,
    /// Not yet reviewed.
    Unreviewed,
    /// Allowed.
    Allowed,
    /// Nothing was captured.
    Gap,
}

/// A filled rectangle.
#[derive(Clone, Copy, Debug)]
pub struct Rect {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
    /// What it means.
    pub tone: Tone,
}

/// Where a text stands by its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The point is its left end.
    Start,
    /// The point is its middle.
    Middle,
    /// The point is its right end.
    End,
}

/// A short text.
#[derive(Clone, Debug)]
pub struct Label {
    /// Point.
    pub x: f32,
    /// Base line.
    pub y: f32,
    /// How it stands by the point.
    pub anchor: Anchor,
    /// The text.
    pub text: String,
}

/// Shapes of a chart.
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    /// Height; the width is [`WIDTH`].
    pub height: f32,
    /// Filled, in this order.
    pub rects: Vec<Rect>,
    /// Horizontal lines: left end, right end, height.
    pub lines: Vec<(f32, f32, f32)>,
    /// Texts.
    pub labels: Vec<Label>,
}

/// Draws a chart.
pub fn draw(chart: &Chart) -> Drawing {
    if chart.kind == "time" { over_time(chart) } else { by_service(chart) }
}

fn over_time(chart: &Chart) -> Drawing {
    let mut drawing = Drawing { height: TIME_HEIGHT, ..Drawing::default() };
    let floor = TIME_HEIGHT - FOOT;
    let most = chart.bars.iter().map(total).max().unwrap_or(0);
    let top = rounded_up(most);
    let room = floor - TOP;
    for quarter in [0_u64, 1, 2] {
        let value = top / 2 * quarter;
        let y = floor - room * ratio(value, top);
        drawing.lines.push((AXIS, WIDTH, y));
        let text = if quarter == 0 { "0".to_owned() } else { bytes(value) };
        drawing.labels.push(Label { x: AXIS - 8.0, y: y + 4.0, anchor: Anchor::End, text });
    }
    let count = chart.bars.len().max(1);
    let step = (WIDTH - AXIS) / count as f32;
    let gap = (step * 0.22).min(6.0);
    let every = count.div_ceil(LABELS_MAX);
    for (i, bar) in chart.bars.iter().enumerate() {
        let x = AXIS + step * i as f32 + gap / 2.0;
        let w = step - gap;
        if !bar.captured {
            drawing.rects.push(Rect { x, y: TOP, w, h: room, tone: Tone::Gap });
        }
        let mut y = floor;
        for (sent, tone) in tones(bar) {
            let h = room * ratio(sent, top);
            y -= h;
            if h > 0.0 {
                drawing.rects.push(Rect { x, y, w, h, tone });
            }
        }
        if i % every == 0 {
            let text = bar.label.clone();
            drawing.labels.push(Label {
                x: x + w / 2.0,
                y: floor + 16.0,
                anchor: Anchor::Middle,
                text,
            });
        }
    }
    drawing
}

fn by_service(chart: &Chart) -> Drawing {
    let mut drawing =
        Drawing { height: LINE * chart.bars.len().max(1) as f32 + 4.0, ..Drawing::default() };
    let most = chart.bars.iter().map(total).max().unwrap_or(0);
    let room = WIDTH - NAME - NUMBER;
    for (i, bar) in chart.bars.iter().enumerate() {
        let y = LINE * i as f32 + 4.0;
        let text = shortened(&bar.label, 30);
        drawing.labels.push(Label { x: NAME - 8.0, y: y + 13.0, anchor: Anchor::End, text });
        let mut x = NAME;
        for (sent, tone) in tones(bar) {
            let w = room * ratio(sent, most);
            if w > 0.0 {
                drawing.rects.push(Rect { x, y, w: w.max(1.0), h: LINE - 8.0, tone });
            }
            x += w;
        }
        let text = bytes(total(bar));
        drawing.labels.push(Label { x: x + 8.0, y: y + 13.0, anchor: Anchor::Start, text });
    }
    drawing
}

fn tones(bar: &super::model::Bar) -> [(u64, Tone); 3] {
    [
        (bar.sent_forbidden, Tone::Forbidden),
        (bar.sent_unreviewed, Tone::Unreviewed),
        (bar.sent_allowed, Tone::Allowed),
    ]
}

fn total(bar: &super::model::Bar) -> u64 {
    bar.sent_forbidden.saturating_add(bar.sent_unreviewed).saturating_add(bar.sent_allowed)
}

fn ratio(part: u64, of: u64) -> f32 {
    if of == 0 { 0.0 } else { part as f32 / of as f32 }
}

/// The next number that is even and has one digit before its zeros (or 10, 12, 14 ... of them).
fn rounded_up(most: u64) -> u64 {
    let mut unit = 1_u64;
    while most / unit >= 20 {
        unit = unit.saturating_mul(10);
    }
    let steps = most.div_ceil(unit).div_ceil(2).saturating_mul(2).max(2);
    steps.saturating_mul(unit)
}

fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_above_the_highest_bar() {
        for most in [0, 1, 2, 7, 19, 20, 21, 99, 100, 101, 5_300_000, 999_999_999, u64::MAX / 4] {
            let top = rounded_up(most);
            assert!(top >= most && top > 0 && top.is_multiple_of(2), "{most}: {top}");
            assert!(most < 2 || top / 2 <= most, "{most}: {top} leaves too much room");
        }
    }
}
