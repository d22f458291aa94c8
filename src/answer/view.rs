//! The live view: totals, services by bytes sent, newest findings, rates, losses in red.
//!
//! In: [`Snapshot`]s and keys. Out: a screen. Never: lets a name from the network act on the
//! terminal; hides a loss.
//! Keys: `q` ends, `s` sorts, `p` holds the screen, `?` explains.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, Wrap};

use super::live::{PortView, ServiceView, Snapshot};
use super::terminal::{number, printable};
use crate::recorder::finding::bytes;

/// By what services are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Bytes sent, the most first.
    #[default]
    Sent,
    /// Bytes received, the most first.
    Received,
    /// Devices, the most first.
    Devices,
    /// Name.
    Name,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Sort::Sent => Sort::Received,
            Sort::Received => Sort::Devices,
            Sort::Devices => Sort::Name,
            Sort::Name => Sort::Sent,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Sort::Sent => "sent",
            Sort::Received => "received",
            Sort::Devices => "devices",
            Sort::Name => "name",
        }
    }
}

/// What a key asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The view goes on.
    Nothing,
    /// It ends.
    End,
}

/// State of the view.
#[derive(Clone, Debug, Default)]
pub struct View {
    shown: Option<Snapshot>,
    sort: Sort,
    held: bool,
    help: bool,
}

impl View {
    /// A key was pressed.
    pub fn key(&mut self, key: char) -> Asked {
        match key {
            'q' => return Asked::End,
            's' => self.sort = self.sort.next(),
            'p' => self.held = !self.held,
            '?' => self.help = !self.help,
            _ => {}
        }
        Asked::Nothing
    }

    /// A snapshot came; a held screen stays.
    pub fn take(&mut self, snapshot: Snapshot) {
        if !self.held {
            self.shown = Some(snapshot);
        }
    }

    /// Draws the screen.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let Some(shown) = &self.shown else {
            frame.render_widget(Paragraph::new("waiting for the sensor ..."), frame.area());
            return;
        };
        let ports = u16::try_from(shown.ports.len()).unwrap_or(u16::MAX).clamp(1, 8);
        let alarms = u16::try_from(shown.degraded.len()).unwrap_or(u16::MAX).min(4);
        let trouble = u16::from(shown.store_trouble.is_some());
        let rows = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(ports.saturating_add(1)),
            Constraint::Length(alarms.saturating_add(trouble)),
            Constraint::Fill(3),
            Constraint::Fill(2),
            Constraint::Length(1),
        ]);
        let [head, port_area, alarm, services, findings, foot] = rows.areas(frame.area());
        frame.render_widget(self.head(shown), head);
        frame.render_widget(port_table(&shown.ports), port_area);
        frame.render_widget(alarms_of(shown), alarm);
        if self.help {
            frame.render_widget(help(), services);
        } else {
            self.services(shown, frame, services);
        }
        findings_of(shown, frame, findings);
        let keys = " q end   s sort   p hold   ? help";
        frame.render_widget(Paragraph::new(keys).style(Style::new().dim()), foot);
    }

    fn head(&self, shown: &Snapshot) -> Paragraph<'static> {
        let state = match (shown.degraded.is_empty(), self.held) {
            (_, true) => " HELD ".black().on_yellow(),
            (true, _) => " ok ".black().on_green(),
            (false, _) => " MIRROR DEGRADED ".white().on_red(),
        };
        let time = shown.now.get(..19).unwrap_or_default().replace('T', " ");
        Paragraph::new(Line::from(vec![
            Span::from(format!(" shadowtap  {}  {time} UTC  ", printable(&shown.sensor))).bold(),
            state,
            Span::from(format!(
                "  {} flows open, {} devices, {} held",
                number(shown.flows_open),
                number(shown.devices),
                bytes(shown.memory)
            )),
        ]))
    }

    fn services(&self, shown: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
        let mut services = shown.services.clone();
        match self.sort {
            Sort::Sent => services.sort_by_key(|s| std::cmp::Reverse(s.sent)),
            Sort::Received => services.sort_by_key(|s| std::cmp::Reverse(s.received)),
            Sort::Devices => services.sort_by_key(|s| std::cmp::Reverse(s.devices)),
            Sort::Name => services.sort_by(|a, b| a.name.cmp(&b.name)),
        }
        let widths = [
            Constraint::Fill(1),
            Constraint::Length(13),
            Constraint::Length(10),
            Constraint::Length(8),
            Constraint::Length(10),
            Constraint::Length(10),
        ];
        let head = ["Service", "Verdict", "Level", "Devices", "Sent", "Received"];
        let table = Table::new(services.iter().map(service_row), widths)
            .header(Row::new(head).style(Style::new().dim()))
            .block(Block::bordered().title(format!(" AI services, by {} ", self.sort.word())));
        frame.render_widget(table, area);
    }
}

fn service_row(s: &ServiceView) -> Row<'static> {
    let (verdict, color) = match s.disposition.as_str() {
        "unsanctioned" => ("forbidden", Color::Red),
        "unreviewed" => ("not reviewed", Color::Yellow),
        "sanctioned" => ("allowed", Color::Green),
        _ => ("tolerated", Color::Green),
    };
    Row::new(vec![
        Cell::from(printable(&s.name).into_owned()),
        Cell::from(verdict).style(Style::new().fg(color)),
        Cell::from(s.level.clone()),
        Cell::from(format!("{:>7}", number(s.devices))),
        Cell::from(format!("{:>9}", bytes(s.sent))),
        Cell::from(format!("{:>9}", bytes(s.received))),
    ])
}

fn port_table(ports: &[PortView]) -> Table<'static> {
    let row = |p: &PortView| {
        let lost: u64 = p.lost.values().sum();
        let reasons: Vec<String> =
            p.lost.iter().map(|(k, n)| format!("{k} {}", number(*n))).collect();
        let style = if lost > 0 {
            Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
        } else {
            Style::new()
        };
        let state = if p.up { "up" } else { "DOWN" };
        Row::new(vec![
            Cell::from(printable(&p.name).into_owned()),
            Cell::from(state).style(if p.up { Style::new() } else { Style::new().fg(Color::Red) }),
            Cell::from(format!("{:>11.0}", p.packets_per_s)),
            Cell::from(format!("{:>7.3}", p.bits_per_s / 1e9)),
            Cell::from(format!("{:>14}", number(p.frames))),
            Cell::from(format!("{:>8}", number(lost))).style(style),
            Cell::from(reasons.join(", ")).style(style),
        ])
    };
    let widths = [
        Constraint::Length(16),
        Constraint::Length(5),
        Constraint::Length(11),
        Constraint::Length(7),
        Constraint::Length(14),
        Constraint::Length(9),
        Constraint::Fill(1),
    ];
    let head = ["Interface", "", "  packets/s", " Gbit/s", "        frames", "    lost", "why"];
    Table::new(ports.iter().map(row), widths).header(Row::new(head).style(Style::new().dim()))
}

fn alarms_of(shown: &Snapshot) -> Paragraph<'static> {
    let trouble = shown.store_trouble.iter().map(|t| format!("store: {t}"));
    let lines: Vec<Line<'static>> = trouble
        .chain(shown.degraded.iter().cloned())
        .map(|text| Line::from(format!(" ! {}", printable(&text))).red().bold())
        .collect();
    Paragraph::new(lines)
}

fn findings_of(shown: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
    let rows = shown.findings.iter().map(|f| {
        let color = match f.severity {
            7.. => Color::Red,
            4..=6 => Color::Yellow,
            _ => Color::Reset,
        };
        Row::new(vec![
            Cell::from(f.at.clone()),
            Cell::from(printable(&f.who).into_owned()),
            Cell::from(printable(&f.title).into_owned()).style(Style::new().fg(color)),
        ])
    });
    let widths = [Constraint::Length(8), Constraint::Length(32), Constraint::Fill(1)];
    let table = Table::new(rows, widths).block(Block::bordered().title(" Newest findings "));
    frame.render_widget(table, area);
}

fn help() -> Paragraph<'static> {
    let text = "\
Sent and received are TCP and UDP payload, each byte once.
named: only asked for. contacted: both sides spoke. used: more than it takes to open a page.
bulk: an upload. Verdicts are those of your policy.
lost: frames that reached the interface and were not read, by reason:
  ring_full        no room in the ring: more threads, or a larger ring
  shed_by_rule     left out under load: packets of flows past their hello
  owner_behind     another worker had no room for a packet of its flow
  before_the_ring  the card, its driver or the kernel dropped it";
    Paragraph::new(text).wrap(Wrap { trim: false }).block(Block::bordered().title(" Help "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::live::FindingView;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn snapshot() -> Snapshot {
        let service = |name: &str, sent, received| ServiceView {
            name: name.to_owned(),
            disposition: "unsanctioned".to_owned(),
            level: "used".to_owned(),
            devices: 2,
            sent,
            received,
        };
        Snapshot {
            sensor: "tap-7".to_owned(),
            now: "2026-11-23T14:30:00.000000Z".to_owned(),
            ports: vec![PortView {
                name: "eth1".to_owned(),
                up: true,
                frames: 1_234_567,
                lost: [("ring_full".to_owned(), 42)].into(),
                packets_per_s: 88_000.0,
                bits_per_s: 1.25e9,
                ..PortView::default()
            }],
            services: vec![service("Alpha Chat", 10, 900), service("Beta API", 5_000, 20)],
            findings: vec![FindingView {
                at: "14:29:58".to_owned(),
                severity: 7,
                who: "laptop-\u{1b}[2J 10.0.0.7".to_owned(),
                title: "Alpha Chat was used".to_owned(),
            }],
            ..Snapshot::default()
        }
    }

    fn screen(view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 30)).expect("in memory");
        terminal.draw(|f| view.draw(f)).expect("in memory");
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for y in 0..30 {
            for x in 0..110 {
                text.push_str(buffer[(x, y)].symbol());
            }
            text.push('\n');
        }
        text
    }

    #[test]
    fn losses_rates_services_and_findings_are_there() {
        let mut view = View::default();
        assert!(screen(&view).contains("waiting"));
        view.take(snapshot());
        let text = screen(&view);
        for wanted in [
            "tap-7",
            "eth1",
            "88000",
            "1.250",
            "ring_full 42",
            "Alpha Chat",
            "forbidden",
            "14:29:58",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "names do not act on the terminal");
        let place = |text: &str, name: &str| text.find(name).expect("on the screen");
        assert!(place(&text, "Beta API") < place(&text, "Alpha Chat"), "by bytes sent");
        assert_eq!(view.key('s'), Asked::Nothing);
        let text = screen(&view);
        assert!(place(&text, "Alpha Chat") < place(&text, "Beta API"), "by bytes received");
    }

    #[test]
    fn keys() {
        let mut view = View::default();
        view.take(snapshot());
        view.key('p');
        view.take(Snapshot { sensor: "other".to_owned(), ..snapshot() });
        assert!(screen(&view).contains("tap-7") && screen(&view).contains("HELD"));
        view.key('?');
        assert!(screen(&view).contains("shed_by_rule"));
        assert_eq!(view.key('q'), Asked::End);
    }

    #[test]
    fn a_degraded_mirror_is_loud() {
        let mut view = View::default();
        view.take(Snapshot { degraded: vec!["eth1: no frames arrive".to_owned()], ..snapshot() });
        let text = screen(&view);
        assert!(text.contains("MIRROR DEGRADED") && text.contains("no frames arrive"));
    }
}
