//! The report as tables of typed cells: what XLSX and CSV write, each in its way.
//!
//! In: the [`Report`]. Out: [`Table`]s, whose columns stand beside what they are a part of.

use super::model::{Figure, Report};

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Words.
    Text(String),
    /// So many.
    Number(u64),
    /// So many of so many.
    Share(u64, u64),
    /// RFC 3339, UTC.
    Time(String),
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading for people.
    pub head: &'static str,
    /// Heading for programs.
    pub code: &'static str,
    /// Width in letters.
    pub width: f64,
}

/// A table.
pub struct Table {
    /// Name of the sheet.
    pub name: &'static str,
    /// Columns.
    pub columns: &'static [Column],
    /// Rows, as many cells as columns.
    pub rows: Vec<Vec<Value>>,
}

const fn column(head: &'static str, code: &'static str, width: f64) -> Column {
    Column { head, code, width }
}

/// Every table.
pub fn tables(report: &Report) -> Vec<Table> {
    vec![
        risks(report),
        services(report),
        departments(report),
        clients(report),
        devices(report),
        uses(report),
        late(report),
        unseen(report),
        tests(report),
        controls(report),
        inputs(report),
    ]
}

fn risks(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("Rating", "rating", 10.0),
        column("Severity", "severity", 9.0),
        column("Risk", "risk", 60.0),
        column("Status", "status", 14.0),
        column("State", "state", 20.0),
        column("Owner", "owner", 18.0),
        column("Due", "due", 12.0),
        column("Proposed", "proposed", 50.0),
        column("Devices", "devices", 10.0),
        column("Of devices", "devices_of_all", 10.0),
        column("Sessions", "sessions", 10.0),
        column("Of sessions", "sessions_of_all", 10.0),
        column("Bytes sent", "bytes_sent", 14.0),
        column("Of bytes sent", "bytes_sent_of_all", 14.0),
        column("Findings", "findings", 10.0),
        column("Of findings", "findings_of_all", 10.0),
        column("First seen, UTC", "first_seen", 16.0),
        column("Last seen, UTC", "last_seen", 16.0),
        column("Score of the service", "score", 30.0),
        column("User impact", "impact", 40.0),
        column("Cost of acting", "cost", 40.0),
        column("Why", "why", 60.0),
        column("Commands", "commands", 60.0),
        column("Controls", "controls", 60.0),
        column("Id", "id", 24.0),
    ];
    let rows = report.risks.iter().map(|r| {
        let commands: Vec<&str> =
            r.actions.iter().map(|a| a.command.as_str()).filter(|c| !c.is_empty()).collect();
        let controls: Vec<String> =
            r.controls.iter().map(|c| format!("{} ({})", c.id, c.relation.code())).collect();
        let mut row = vec![
            text(&r.rating),
            Value::Number(u64::from(r.severity)),
            text(&r.title),
            text(&r.status),
            text(&r.state_text),
            text(&r.owner),
            text(&r.due),
            text(&r.proposal),
        ];
        for figure in [&r.devices, &r.sessions, &r.sent, &r.findings] {
            row.extend(figure_of(figure));
        }
        let when = |t: &Option<String>| t.clone().map_or(Value::Text(String::new()), Value::Time);
        row.extend([
            when(&r.first_seen),
            when(&r.last_seen),
            text(&r.score),
            text(&r.impact),
            text(&r.cost),
            text(&r.reasons.join("; ")),
            text(&commands.join("\n")),
            text(&controls.join(", ")),
            text(&r.id),
        ]);
        row
    });
    Table { name: "Risks", columns: COLUMNS, rows: rows.collect() }
}

fn services(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("Service", "service_name", 28.0),
        column("Vendor", "vendor", 22.0),
        column("Country", "country", 9.0),
        column("Category", "category", 14.0),
        column("Status", "status", 14.0),
        column("Level", "level", 9.0),
        column("New", "new", 7.0),
        column("Tenants", "tenants", 18.0),
        column("Owner", "owner", 18.0),
        column("Devices", "devices", 10.0),
        column("Of devices", "devices_of_all", 10.0),
        column("Sessions", "sessions", 10.0),
        column("Of sessions", "sessions_of_all", 10.0),
        column("Bytes sent", "bytes_sent", 14.0),
        column("Of bytes sent", "bytes_sent_of_all", 14.0),
        column("Share", "share", 8.0),
        column("Bytes received", "bytes_received", 14.0),
        column("Of bytes received", "bytes_received_of_all", 16.0),
        column("Flows", "flows", 9.0),
        column("Of flows", "flows_of_all", 9.0),
        column("Clients", "clients", 18.0),
        column("First seen, UTC", "first_seen", 16.0),
        column("Last seen, UTC", "last_seen", 16.0),
        column("Id", "service", 20.0),
    ];
    let lines = report.groups.iter().flat_map(|g| g.services.iter().map(move |s| (g, s)));
    let rows = lines.map(|(g, s)| {
        let of = &g.of;
        let mut row = vec![
            text(&s.service.name),
            text(&s.service.vendor),
            text(&s.service.country),
            text(&s.service.category),
            text(&s.status),
            text(&s.level),
            text(if s.new { "new" } else { "" }),
            text(&s.tenants.join(" ")),
            text(&s.owner),
        ];
        row.extend(pair(s.devices, of.devices));
        row.extend(pair(s.sessions, of.sessions));
        row.extend(pair(s.sent, of.sent));
        row.push(Value::Share(s.sent, of.sent));
        row.extend(pair(s.received, of.received));
        row.extend(pair(s.flows, of.flows));
        row.extend([
            text(&s.clients.join(" ")),
            Value::Time(s.first_seen.clone()),
            Value::Time(s.last_seen.clone()),
            text(&s.service.id),
        ]);
        row
    });
    Table { name: "Services", columns: COLUMNS, rows: rows.collect() }
}

fn departments(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("Department", "department", 30.0),
        column("Devices", "devices", 10.0),
        column("Of devices", "devices_of_all", 10.0),
        column("Bytes to forbidden", "bytes_sent_forbidden", 16.0),
        column("Bytes not yet reviewed", "bytes_sent_unreviewed", 16.0),
        column("Bytes to allowed", "bytes_sent_allowed", 16.0),
        column("Of bytes sent", "bytes_sent_of_all", 16.0),
        column("Unapproved service most sent to", "top_service", 30.0),
        column("Bytes sent there", "top_bytes_sent", 16.0),
        column("Of bytes it sent to unapproved", "top_bytes_sent_of_all", 18.0),
    ];
    let rows = report.departments.iter().map(|d| {
        vec![
            text(&d.name),
            Value::Number(d.devices.count),
            Value::Number(d.devices.of),
            Value::Number(d.sent_forbidden.count),
            Value::Number(d.sent_unreviewed.count),
            Value::Number(d.sent_allowed.count),
            Value::Number(d.sent_allowed.of),
            text(&d.top_service),
            Value::Number(d.top_sent.count),
            Value::Number(d.top_sent.of),
        ]
    });
    Table { name: "Departments", columns: COLUMNS, rows: rows.collect() }
}

fn clients(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("Client", "client", 26.0),
        column("Devices", "devices", 10.0),
        column("Of devices", "devices_of_all", 10.0),
        column("Bytes sent", "bytes_sent", 14.0),
        column("Of bytes sent", "bytes_sent_of_all", 14.0),
        column("Bytes sent to unapproved", "bytes_sent_unapproved", 18.0),
        column("Of bytes these clients sent", "bytes_sent_unapproved_of_all", 18.0),
    ];
    let rows = report.clients.iter().map(|c| {
        let figures = [&c.devices, &c.sent, &c.sent_unapproved];
        let mut row = vec![text(&c.title)];
        row.extend(figures.into_iter().flat_map(figure_of));
        row
    });
    Table { name: "People and programs", columns: COLUMNS, rows: rows.collect() }
}

fn devices(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("Device", "device", 30.0),
        column("Department", "department", 24.0),
        column("Services", "services", 10.0),
        column("Unapproved", "services_unapproved", 11.0),
        column("Sessions", "sessions", 10.0),
        column("Of sessions", "sessions_of_all", 12.0),
        column("Bytes sent to unapproved", "bytes_sent_unapproved", 16.0),
        column("Bytes sent", "bytes_sent", 14.0),
        column("Of bytes sent", "bytes_sent_of_all", 16.0),
        column("Bytes received", "bytes_received", 14.0),
        column("Of bytes received", "bytes_received_of_all", 16.0),
    ];
    let of = &report.devices.of;
    let rows = report.devices.rows.iter().map(|d| {
        let mut row = vec![
            text(&d.device),
            text(&d.department),
            Value::Number(d.services),
            Value::Number(d.services_unapproved),
        ];
        row.extend(pair(d.sessions, of.sessions));
        row.push(Value::Number(d.sent_unapproved));
        row.extend(pair(d.sent, of.sent));
        row.extend(pair(d.received, of.received));
        row
    });
    Table { name: "Devices", columns: COLUMNS, rows: rows.collect() }
}

/// Devices by service: the table that is a file of its own.
pub fn uses(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("Device", "device", 30.0),
        column("Department", "department", 24.0),
        column("Service id", "service", 20.0),
        column("Service", "service_name", 28.0),
        column("Status", "status", 14.0),
        column("Level", "level", 9.0),
        column("Clients", "clients", 18.0),
        column("Days", "days", 7.0),
        column("Of days", "days_of_period", 8.0),
        column("Sessions", "sessions", 10.0),
        column("Of sessions", "sessions_of_all", 12.0),
        column("Bytes sent", "bytes_sent", 14.0),
        column("Of bytes sent", "bytes_sent_of_all", 16.0),
        column("Bytes received", "bytes_received", 14.0),
        column("Of bytes received", "bytes_received_of_all", 16.0),
        column("Flows", "flows", 9.0),
        column("Of flows", "flows_of_all", 9.0),
        column("First seen, UTC", "first_seen", 16.0),
        column("Last seen, UTC", "last_seen", 16.0),
    ];
    let of = &report.uses.of;
    let rows = report.uses.rows.iter().map(|u| {
        let clients = u.clients.join(" ");
        let words =
            [&u.device, &u.department, &u.service, &u.service_name, &u.status, &u.level, &clients];
        let mut row: Vec<Value> = words.into_iter().map(|w| text(w)).collect();
        for (count, of) in [
            (u.days, of.days),
            (u.sessions, of.sessions),
            (u.sent, of.sent),
            (u.received, of.received),
            (u.flows, of.flows),
        ] {
            row.extend(pair(count, of));
        }
        row.extend([Value::Time(u.first_seen.clone()), Value::Time(u.last_seen.clone())]);
        row
    });
    Table { name: "Devices by service", columns: COLUMNS, rows: rows.collect() }
}

fn late(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("Service", "service_name", 28.0),
        column("Used since", "first_day", 12.0),
        column("Last", "last_day", 12.0),
        column("Days, at least", "days", 10.0),
        column("Of days", "days_of_ledger", 10.0),
        column("Devices, about", "devices", 10.0),
        column("Of devices", "devices_of_all", 10.0),
        column("Bytes sent to its hosts", "bytes_sent", 16.0),
        column("Of bytes sent", "bytes_sent_of_all", 16.0),
        column("Id", "service", 20.0),
    ];
    let rows = report.late.iter().map(|l| {
        let mut row = vec![text(&l.service.name), text(&l.first_day), text(&l.last_day)];
        row.extend([&l.days, &l.devices, &l.sent].into_iter().flat_map(figure_of));
        row.push(text(&l.service.id));
        row
    });
    Table { name: "Known late", columns: COLUMNS, rows: rows.collect() }
}

fn unseen(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("What we cannot see", "what", 46.0),
        column("How many", "count", 12.0),
        column("Of", "of", 12.0),
        column("What those are", "of_what", 34.0),
        column("What it means", "meaning", 90.0),
    ];
    let rows = report.unseen.iter().map(|u| {
        let mut row = vec![text(&u.what)];
        match &u.figure {
            Some(f) => row.extend([Value::Number(f.count), Value::Number(f.of), text(&f.of_what)]),
            None => row.extend([text("not countable"), text(""), text("")]),
        }
        row.push(text(&u.meaning));
        row
    });
    Table { name: "What we cannot see", columns: COLUMNS, rows: rows.collect() }
}

fn tests(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("Test", "test", 10.0),
        column("Title", "title", 60.0),
        column("Asks", "asks", 50.0),
        column("Observed here", "observed", 90.0),
    ];
    let rows = report.tests.iter().map(|t| {
        [&t.id, &t.title, &t.asks, &t.observed].into_iter().map(|words| text(words)).collect()
    });
    Table { name: "Zero Trust tests", columns: COLUMNS, rows: rows.collect() }
}

fn controls(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("Risk", "risk", 24.0),
        column("Catalogue", "catalogue", 20.0),
        column("Control", "control", 16.0),
        column("About", "about", 36.0),
        column("Relation", "relation", 11.0),
        column("Why", "why", 80.0),
    ];
    let all = report.risks.iter().flat_map(|r| r.controls.iter().map(move |c| (r, c)));
    let rows = all.map(|(r, c)| {
        let known = report.catalogues.iter().find(|k| k.id == c.catalogue);
        let name = known.map_or(&c.catalogue, |k| &k.name);
        let relation = c.relation.code().to_owned();
        let words = [&r.id, name, &c.id, &c.title, &relation, &c.why];
        words.into_iter().map(|w| text(w)).collect()
    });
    Table { name: "Controls", columns: COLUMNS, rows: rows.collect() }
}

fn inputs(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        column("Capture", "capture", 40.0),
        column("Frames", "frames", 12.0),
        column("Of frames", "frames_of_all", 12.0),
        column("From, UTC", "first_frame", 16.0),
        column("Until, UTC", "last_frame", 16.0),
        column("Fault", "fault", 40.0),
        column("Digest and size", "id", 46.0),
    ];
    let rows = report.inputs.iter().map(|i| {
        vec![
            text(&i.name),
            Value::Number(i.frames.count),
            Value::Number(i.frames.of),
            Value::Time(i.first_frame.clone()),
            Value::Time(i.last_frame.clone()),
            text(&i.fault),
            text(&i.id),
        ]
    });
    Table { name: "Captures", columns: COLUMNS, rows: rows.collect() }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn figure_of(figure: &Figure) -> [Value; 2] {
    pair(figure.count, figure.of)
}

fn pair(count: u64, of: u64) -> [Value; 2] {
    [Value::Number(count), Value::Number(of)]
}
