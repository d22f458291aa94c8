//! The report as a workbook: typed cells, filters, headers that stay.
//!
//! Never: writes a text as a formula.
//! Limits: the rows of a sheet, 1,048,576; what is beyond is said in the last row.

use rust_xlsxwriter::{
    DocProperties, ExcelDateTime, Format as CellFormat, FormatAlign, Workbook, Worksheet, XlsxError,
};

use super::Failure;
use super::model::Report;
use super::tables::{Table, Value, tables};
use crate::answer::terminal::printable;
use crate::answer::verify::MARK;

/// Rows of a sheet (Microsoft, Excel specifications and limits), less the header and the note.
const ROWS_MAX: usize = 1_048_574;

/// Characters of a cell, by the same source.
const CELL_MAX: usize = 32_767;

/// End of central directory of a ZIP file (APPNOTE.TXT §4.3.16).
const END: &[u8; 4] = b"PK\x05\x06";

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
    for of in tables(report) {
        table(book.add_worksheet(), &of, &formats)?;
    }
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

fn table(sheet: &mut Worksheet, table: &Table, formats: &Formats) -> Result<(), XlsxError> {
    sheet.set_name(table.name)?;
    let mut last = 0_u16;
    for (at, column) in (0_u16..).zip(table.columns) {
        sheet.set_column_width(at, column.width)?;
        sheet.write_with_format(0, at, column.head, &formats.head)?;
        last = at;
    }
    for (at, row) in (1_u32..).zip(table.rows.iter().take(ROWS_MAX)) {
        for (column, value) in (0..).zip(row) {
            write(sheet, at, column, value, formats)?;
        }
    }
    let rows = u32::try_from(table.rows.len().min(ROWS_MAX)).unwrap_or(u32::MAX);
    if table.rows.len() > ROWS_MAX {
        let more = "more rows than a sheet holds: see the CSV or JSON form";
        sheet.write_string(rows.saturating_add(1), 0, more)?;
    }
    sheet.autofilter(0, 0, rows, last)?;
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
