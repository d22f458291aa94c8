//! The report as a workbook: typed cells, filters, headers that stay.
//!
//! Never: writes a text as a formula.
//! Limits: the rows of a sheet, 1,048,576; what is beyond is said in the last row.

use rust_xlsxwriter::{
    DocProperties, ExcelDateTime, Format as CellFormat, FormatAlign, Workbook, Worksheet, XlsxError,
};

use super::Failure;
use super::model::{Figure, Report};
use crate::answer::terminal::printable;
use crate::answer::verify::MARK;

/// Rows of a sheet (Microsoft, Excel specifications and limits), less the header and the note.
const ROWS_MAX: usize = 1_048_574;

/// Characters of a cell, by the same source.
const CELL_MAX: usize = 32_767;

/// End of central directory of a ZIP file (APPNOTE.TXT §4.3.16).
const END: &[u8; 4] = b"PK\x05\x06";

/// One value of a cell.
enum Value {
    Text(String),
    Number(u64),
    Share(u64, u64),
    Time(String),
}

struct Formats {
    head: CellFormat,
    text: CellFormat,
    number: CellFormat,
    share: CellFormat,
    time: CellFormat,
    title: CellFormat,
}

/// The workbook; its digest is the comment of the ZIP file.
pub fn render(report: &Report) -> Result<Vec<u8>, Failure> {
    let failed = |e: XlsxError| Failure::Format("XLSX", e.to_string());
    let bytes = book(report).map_err(failed)?;
    Ok(marked(bytes))
}

fn book(report: &Report) -> Result<Vec<u8>, XlsxError> {
    let formats = Formats {
        head: CellFormat::new()
            .set_bold()
            .set_text_wrap()
            .set_align(FormatAlign::Top)
            .set_background_color("#E6EAF0"),
        text: CellFormat::new().set_align(FormatAlign::Top),
        number: CellFormat::new().set_num_format("#,##0").set_align(FormatAlign::Top),
        share: CellFormat::new().set_num_format("0.0%").set_align(FormatAlign::Top),
        time: CellFormat::new().set_num_format("yyyy-mm-dd hh:mm").set_align(FormatAlign::Top),
        title: CellFormat::new().set_bold().set_font_size(14),
    };
    let mut book = Workbook::new();
    let made = time(&report.period.until).unwrap_or_default();
    let properties = DocProperties::new()
        .set_title(&report.title)
        .set_author(&report.judged.program)
        .set_comment(&report.period.text)
        .set_creation_datetime(&made);
    book.set_properties(&properties);
    summary(book.add_worksheet(), report, &formats)?;
    risks(book.add_worksheet(), report, &formats)?;
    services(book.add_worksheet(), report, &formats)?;
    departments(book.add_worksheet(), report, &formats)?;
    devices(book.add_worksheet(), report, &formats)?;
    uses(book.add_worksheet(), report, &formats)?;
    unseen(book.add_worksheet(), report, &formats)?;
    controls(book.add_worksheet(), report, &formats)?;
    inputs(book.add_worksheet(), report, &formats)?;
    book.save_to_buffer()
}

fn summary(sheet: &mut Worksheet, report: &Report, formats: &Formats) -> Result<(), XlsxError> {
    sheet.set_name("Summary")?;
    sheet.set_column_width(0, 42)?.set_column_width(1, 18)?.set_column_width(2, 18)?;
    sheet.set_column_width(3, 30)?.set_column_width(4, 12)?.set_column_width(5, 18)?;
    sheet.write_with_format(0, 0, plain(&report.title), &formats.title)?;
    let lines = [&report.verdict, &report.trend, &report.period.text, &report.privacy.text];
    let mut row = 1;
    for line in lines {
        sheet.write_string(row, 0, plain(line))?;
        row += 1;
    }
    row += 1;
    for (column, head) in (0..).zip(["Number", "Now", "Of", "What those are", "Share", "Before"]) {
        sheet.write_with_format(row, column, head, &formats.head)?;
    }
    for number in &report.numbers {
        row += 1;
        let now = &number.now;
        let unit = if number.unit == "bytes" { " (bytes)" } else { "" };
        let mut cells = vec![
            Value::Text(format!("{}{unit}", number.label)),
            Value::Number(now.count),
            Value::Number(now.of),
            Value::Text(now.of_what.clone()),
            Value::Share(now.count, now.of),
        ];
        cells.extend(number.before.as_ref().map(|b| Value::Number(b.count)));
        for (column, cell) in (0..).zip(&cells) {
            write(sheet, row, column, cell, formats)?;
        }
    }
    row += 2;
    let judged = &report.judged;
    for (name, value) in [
        ("Policy", judged.policies.join(", ")),
        ("Catalogue", judged.catalogue.clone()),
        ("Program", judged.program.clone()),
        (
            "Digest",
            "the comment of this file, as a ZIP archive; shadowtap verify checks it".to_owned(),
        ),
    ] {
        sheet.write_string(row, 0, name)?;
        sheet.write_string(row, 1, plain(&value))?;
        row += 1;
    }
    Ok(())
}

fn risks(sheet: &mut Worksheet, report: &Report, formats: &Formats) -> Result<(), XlsxError> {
    let heads = [
        ("Rating", 10.0),
        ("Severity", 9.0),
        ("Risk", 60.0),
        ("Status", 14.0),
        ("State", 20.0),
        ("Owner", 18.0),
        ("Due", 12.0),
        ("Proposed", 50.0),
        ("Devices", 10.0),
        ("Of devices", 10.0),
        ("Sessions", 10.0),
        ("Of sessions", 10.0),
        ("Bytes sent", 14.0),
        ("Of bytes sent", 14.0),
        ("Findings", 10.0),
        ("Of findings", 10.0),
        ("First seen, UTC", 16.0),
        ("Last seen, UTC", 16.0),
        ("User impact", 40.0),
        ("Cost of acting", 40.0),
        ("Why", 60.0),
        ("Commands", 60.0),
        ("Controls", 60.0),
        ("Id", 24.0),
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
            text(&r.impact),
            text(&r.cost),
            text(&r.reasons.join("; ")),
            text(&commands.join("\n")),
            text(&controls.join(", ")),
            text(&r.id),
        ]);
        row
    });
    table(sheet, "Risks", &heads, rows, formats)
}

fn services(sheet: &mut Worksheet, report: &Report, formats: &Formats) -> Result<(), XlsxError> {
    let heads = [
        ("Service", 28.0),
        ("Vendor", 22.0),
        ("Country", 9.0),
        ("Category", 14.0),
        ("Status", 14.0),
        ("Level", 9.0),
        ("New", 7.0),
        ("Owner", 18.0),
        ("Devices", 10.0),
        ("Of devices", 10.0),
        ("Sessions", 10.0),
        ("Of sessions", 10.0),
        ("Bytes sent", 14.0),
        ("Of bytes sent", 14.0),
        ("Share", 8.0),
        ("Bytes received", 14.0),
        ("Flows", 9.0),
        ("Clients", 18.0),
        ("First seen, UTC", 16.0),
        ("Last seen, UTC", 16.0),
        ("Id", 20.0),
    ];
    let rows =
        report.groups.iter().flat_map(|g| g.services.iter().map(move |s| (g, s))).map(|(g, s)| {
            vec![
                text(&s.service.name),
                text(&s.service.vendor),
                text(&s.service.country),
                text(&s.service.category),
                text(&s.status),
                text(&s.level),
                text(if s.new { "new" } else { "" }),
                text(&s.owner),
                Value::Number(s.devices),
                Value::Number(g.of.devices),
                Value::Number(s.sessions),
                Value::Number(g.of.sessions),
                Value::Number(s.sent),
                Value::Number(g.of.sent),
                Value::Share(s.sent, g.of.sent),
                Value::Number(s.received),
                Value::Number(s.flows),
                text(&s.clients.join(", ")),
                Value::Time(s.first_seen.clone()),
                Value::Time(s.last_seen.clone()),
                text(&s.service.id),
            ]
        });
    table(sheet, "Services", &heads, rows, formats)
}

fn departments(sheet: &mut Worksheet, report: &Report, formats: &Formats) -> Result<(), XlsxError> {
    let heads = [
        ("Department", 30.0),
        ("Devices", 10.0),
        ("Of devices", 10.0),
        ("Bytes to forbidden", 16.0),
        ("Bytes not yet reviewed", 16.0),
        ("Bytes to allowed", 16.0),
        ("Of bytes sent", 16.0),
        ("Unapproved service most sent to", 30.0),
        ("Bytes sent there", 16.0),
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
        ]
    });
    table(sheet, "Departments", &heads, rows, formats)
}

fn devices(sheet: &mut Worksheet, report: &Report, formats: &Formats) -> Result<(), XlsxError> {
    let heads = [
        ("Device", 30.0),
        ("Department", 24.0),
        ("Services", 10.0),
        ("Unapproved", 11.0),
        ("Sessions", 10.0),
        ("Bytes sent to unapproved", 16.0),
        ("Bytes sent", 14.0),
        ("Of bytes sent", 16.0),
        ("Bytes received", 14.0),
    ];
    let of = &report.devices.of;
    let rows = report.devices.rows.iter().map(|d| {
        vec![
            text(&d.device),
            text(&d.department),
            Value::Number(d.services),
            Value::Number(d.services_unapproved),
            Value::Number(d.sessions),
            Value::Number(d.sent_unapproved),
            Value::Number(d.sent),
            Value::Number(of.sent),
            Value::Number(d.received),
        ]
    });
    table(sheet, "Devices", &heads, rows, formats)
}

fn uses(sheet: &mut Worksheet, report: &Report, formats: &Formats) -> Result<(), XlsxError> {
    let heads = [
        ("Device", 30.0),
        ("Department", 24.0),
        ("Service", 28.0),
        ("Status", 14.0),
        ("Level", 9.0),
        ("Clients", 18.0),
        ("Days", 7.0),
        ("Of days", 8.0),
        ("Sessions", 10.0),
        ("Bytes sent", 14.0),
        ("Of bytes sent", 16.0),
        ("Bytes received", 14.0),
        ("Flows", 9.0),
        ("First seen, UTC", 16.0),
        ("Last seen, UTC", 16.0),
    ];
    let of = &report.uses.of;
    let rows = report.uses.rows.iter().map(|u| {
        vec![
            text(&u.device),
            text(&u.department),
            text(&u.service_name),
            text(&u.status),
            text(&u.level),
            text(&u.clients.join(", ")),
            Value::Number(u.days),
            Value::Number(of.days),
            Value::Number(u.sessions),
            Value::Number(u.sent),
            Value::Number(of.sent),
            Value::Number(u.received),
            Value::Number(u.flows),
            Value::Time(u.first_seen.clone()),
            Value::Time(u.last_seen.clone()),
        ]
    });
    table(sheet, "Devices by service", &heads, rows, formats)
}

fn unseen(sheet: &mut Worksheet, report: &Report, formats: &Formats) -> Result<(), XlsxError> {
    let heads = [
        ("What we cannot see", 46.0),
        ("How many", 12.0),
        ("Of", 12.0),
        ("What those are", 34.0),
        ("What it means", 90.0),
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
    table(sheet, "What we cannot see", &heads, rows, formats)
}

fn controls(sheet: &mut Worksheet, report: &Report, formats: &Formats) -> Result<(), XlsxError> {
    let heads = [
        ("Risk", 24.0),
        ("Catalogue", 20.0),
        ("Control", 16.0),
        ("About", 36.0),
        ("Relation", 11.0),
        ("Why", 80.0),
    ];
    let rows =
        report.risks.iter().flat_map(|r| r.controls.iter().map(move |c| (r, c))).map(|(r, c)| {
            let name = report
                .catalogues
                .iter()
                .find(|k| k.id == c.catalogue)
                .map_or(&c.catalogue, |k| &k.name);
            vec![
                text(&r.id),
                text(name),
                text(&c.id),
                text(&c.title),
                text(c.relation.code()),
                text(&c.why),
            ]
        });
    table(sheet, "Controls", &heads, rows, formats)
}

fn inputs(sheet: &mut Worksheet, report: &Report, formats: &Formats) -> Result<(), XlsxError> {
    let heads = [
        ("Capture", 40.0),
        ("Frames", 12.0),
        ("Of frames", 12.0),
        ("From, UTC", 16.0),
        ("Until, UTC", 16.0),
        ("Fault", 40.0),
        ("Digest and size", 46.0),
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
    table(sheet, "Captures", &heads, rows, formats)
}

fn table(
    sheet: &mut Worksheet,
    name: &str,
    heads: &[(&str, f64)],
    rows: impl Iterator<Item = Vec<Value>>,
    formats: &Formats,
) -> Result<(), XlsxError> {
    sheet.set_name(name)?;
    let mut last = 0_u32;
    for (column, (head, width)) in (0..).zip(heads) {
        sheet.set_column_width(column, *width)?;
        sheet.write_with_format(0, column, *head, &formats.head)?;
        last = u32::from(column);
    }
    let mut count = 0_usize;
    for (at, row) in (1_u32..).zip(rows) {
        if count == ROWS_MAX {
            sheet.write_string(at, 0, "more rows than a sheet holds: see the CSV or JSON form")?;
            break;
        }
        for (column, value) in (0..).zip(&row) {
            write(sheet, at, column, value, formats)?;
        }
        count += 1;
    }
    let rows = u32::try_from(count).unwrap_or(u32::MAX);
    sheet.autofilter(0, 0, rows, u16::try_from(last).unwrap_or(u16::MAX))?;
    sheet.set_freeze_panes(1, 1)?;
    sheet.set_landscape();
    sheet.set_repeat_rows(0, 0)?;
    sheet.set_print_fit_to_pages(1, 0);
    Ok(())
}

fn write(
    sheet: &mut Worksheet,
    row: u32,
    column: u16,
    value: &Value,
    formats: &Formats,
) -> Result<(), XlsxError> {
    match value {
        Value::Text(t) if t.is_empty() => {}
        Value::Text(t) => {
            sheet.write_string_with_format(row, column, plain(t), &formats.text)?;
        }
        // Excel's numbers are exact up to 2^53; no count here comes near.
        Value::Number(n) => {
            sheet.write_number_with_format(row, column, *n as f64, &formats.number)?;
        }
        Value::Share(n, of) => {
            let share = if *of == 0 { 0.0 } else { *n as f64 / *of as f64 };
            sheet.write_number_with_format(row, column, share, &formats.share)?;
        }
        Value::Time(t) => match time(t) {
            Some(at) => {
                sheet.write_datetime_with_format(row, column, &at, &formats.time)?;
            }
            None => {
                sheet.write_string(row, column, plain(t))?;
            }
        },
    }
    Ok(())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn figure_of(figure: &Figure) -> [Value; 2] {
    [Value::Number(figure.count), Value::Number(figure.of)]
}

/// A text without what a program would obey; line breaks of ours stay.
fn plain(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    let text = lines.join("\n");
    if text.chars().count() <= CELL_MAX { text } else { text.chars().take(CELL_MAX).collect() }
}

/// An RFC 3339 time to the second.
fn time(text: &str) -> Option<ExcelDateTime> {
    ExcelDateTime::parse_from_str(&text.get(..19)?.replace('T', " ")).ok()
}

/// The archive with the mark as its comment.
fn marked(mut bytes: Vec<u8>) -> Vec<u8> {
    // Without a comment the record is 22 octets long and ends the file; its last two are the
    // comment's length.
    let Some(at) = bytes.len().checked_sub(22) else { return bytes };
    let length = u16::try_from(MARK.len()).unwrap_or(0);
    if bytes.get(at..).is_some_and(|end| end.starts_with(END))
        && let Some(room) = bytes.get_mut(at.saturating_add(20)..)
    {
        room.copy_from_slice(&length.to_le_bytes());
        bytes.extend(MARK.as_bytes());
    }
    bytes
}
