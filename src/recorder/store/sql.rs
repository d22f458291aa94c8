//! Between our values and SQLite's, which has signed 64-bit integers and text.

use std::net::IpAddr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use super::rows::{Text, mac_text};
use crate::recorder::words::{ClientClass, Disposition, EvidenceKind, Level, Role, State};
use crate::types::{MacAddr, Timestamp};

/// Largest count in one row: 1 PiB. Headers that lie cannot make it more, and eight thousand
/// such rows still add up within SQLite's integers, whose `sum` fails on overflow.
pub const COUNT_MAX: u64 = 1 << 50;

/// A count of bytes, flows, frames.
pub struct Count(pub u64);

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(i64::try_from(self.0.min(COUNT_MAX)).unwrap_or(i64::MAX)))
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u64::try_from(value.as_i64()?).map(Count).map_err(|_| FromSqlError::InvalidType)
    }
}

/// Times beyond the year 2262 stop there.
impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(i64::try_from(self.0).unwrap_or(i64::MAX)))
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u64::try_from(value.as_i64()?).map(Timestamp).map_err(|_| FromSqlError::InvalidType)
    }
}

macro_rules! word_columns {
    ($($name:ident),+) => {
        $(impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.number()))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let number = value.as_i64()?;
                u8::try_from(number)
                    .ok()
                    .and_then($name::from_number)
                    .ok_or(FromSqlError::OutOfRange(number))
            }
        })+
    };
}

word_columns!(ClientClass, Disposition, EvidenceKind, Level, Role, State);

/// An address as text.
pub struct Addr(pub IpAddr);

impl ToSql for Addr {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.to_string()))
    }
}

impl FromSql for Addr {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Addr).map_err(|e| FromSqlError::Other(Box::new(e)))
    }
}

/// A link address as text, empty if not known (a key column cannot be null).
pub struct Mac(pub Option<MacAddr>);

impl ToSql for Mac {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.map(mac_text).unwrap_or_default()))
    }
}

impl FromSql for Mac {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        if text.is_empty() {
            return Ok(Mac(None));
        }
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or(FromSqlError::InvalidType)?;
            *octet = u8::from_str_radix(part, 16).map_err(|e| FromSqlError::Other(Box::new(e)))?;
        }
        Ok(Mac(Some(MacAddr(octets))))
    }
}

/// Sentences, one a line; none contains a line break of its own.
pub struct Lines(pub Vec<Text>);

impl ToSql for Lines {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let lines: Vec<String> = self.0.iter().map(|l| l.replace(['\n', '\r'], " ")).collect();
        Ok(ToSqlOutput::from(lines.join("\n")))
    }
}

impl FromSql for Lines {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Lines(value.as_str()?.lines().map(Text::from).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        macro_rules! back {
            ($value:expr, $pattern:pat => $out:expr) => {{
                let $pattern = conn.query_row("SELECT ?1", [$value], |r| r.get(0)).unwrap();
                $out
            }};
        }
        let mac = MacAddr([0, 0x1b, 0xff, 9, 0xa0, 1]);
        assert_eq!(back!(Mac(Some(mac)), Mac(m) => m), Some(mac));
        assert_eq!(back!(Mac(None), Mac(m) => m), None);
        let addr: IpAddr = "2001:db8::7".parse().unwrap();
        assert_eq!(back!(Addr(addr), Addr(a) => a), addr);
        assert_eq!(back!(Count(u64::MAX), Count(n) => n), COUNT_MAX);
        assert_eq!(back!(Timestamp(u64::MAX), Timestamp(t) => t), i64::MAX as u64);
        assert_eq!(back!(Level::Bulk, l => { let l: Level = l; l }), Level::Bulk);
        let lines = vec![Text::from("one"), Text::from("two\nhalves")];
        let expected = vec![Text::from("one"), Text::from("two halves")];
        assert_eq!(back!(Lines(lines), Lines(l) => l), expected);
    }
}
