//! Tables, and how an older store is brought up to date.
//!
//! The schema version is SQLite's `user_version`: the number of migrations applied. Each runs in
//! one transaction with its number, so a store is of one version or the next, never between.
//! Before the first one, an existing store is copied and the copy is proved equal.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::Error;
use super::file;

/// `shtp`: tells our files from other SQLite files.
pub const APPLICATION_ID: i32 = 0x7368_7470;

/// Every step from an empty file to the present schema. A step that was released never changes.
pub const MIGRATIONS: &[&str] = &[
    include_str!("schema-1.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
    include_str!("schema-4.sql"),
    include_str!("schema-identity.sql"),
    include_str!("schema-departments.sql"),
    include_str!("schema-candidates.sql"),
];

/// Schema version that this program writes.
pub fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Schema version of an open store, 0 for an empty file.
///
/// # Errors
/// If SQLite cannot read the file.
pub fn version(conn: &Connection) -> Result<i64, Error> {
    Ok(conn.pragma_query_value(None, "user_version", |r| r.get(0))?)
}

/// Whose file it is; [`APPLICATION_ID`] if ours.
///
/// # Errors
/// If SQLite cannot read the file.
pub fn application(conn: &Connection) -> Result<i32, Error> {
    Ok(conn.pragma_query_value(None, "application_id", |r| r.get(0))?)
}

/// `true` if nothing was ever made in the file.
pub(super) fn is_empty(conn: &Connection) -> Result<bool, Error> {
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    Ok(tables == 0 && version(conn)? == 0)
}

/// Looks through every page.
///
/// # Errors
/// [`Error::Damaged`] if one is broken.
pub(super) fn quick_check(conn: &Connection, path: &Path) -> Result<(), Error> {
    let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Error::Damaged { path: path.to_owned() }) }
}

/// Applies the migrations that the store at `path` does not have yet. Returns the backup's path
/// if one was taken; a store in memory has no path and needs none.
///
/// # Errors
/// If the store has more migrations than there are, the backup fails, or a step does. The store
/// then is what it was, or has the steps before.
pub fn migrate(
    conn: &mut Connection,
    path: Option<&Path>,
    migrations: &[&str],
) -> Result<Option<PathBuf>, Error> {
    let found = version(conn)?;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    let Some(missing) = migrations.get(done..) else {
        let (path, known) = (path.unwrap_or(Path::new(":memory:")).to_owned(), migrations.len());
        return Err(Error::Newer { path, found, known: i64::try_from(known).unwrap_or(i64::MAX) });
    };
    let kept = match path {
        Some(path) if done > 0 && !missing.is_empty() => Some(back_up(conn, path, found)?),
        _ => None,
    };
    for (step, next) in missing.iter().zip(found.saturating_add(1)..) {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", next)?;
        tx.commit()?;
    }
    Ok(kept)
}

/// Copies the store to `FILE.backup-vN`, proves the copy, and only then gives it its name.
fn back_up(conn: &Connection, path: &Path, version_kept: i64) -> Result<PathBuf, Error> {
    let kept = file::beside(path, &format!(".backup-v{version_kept}"));
    let part = file::beside(path, ".backup-part");
    let failed = |why: String| Error::Backup { path: kept.clone(), why };
    let copy = || -> Result<(), Error> {
        match std::fs::remove_file(&part) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::File { path: part.clone(), source: e });
            }
            _ => {}
        }
        file::make_private(&part)?;
        conn.backup("main", &part, None::<fn(rusqlite::backup::Progress)>)?;
        let copied = Connection::open_with_flags(&part, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        quick_check(&copied, &part)?;
        if table_sizes(&copied)? != table_sizes(conn)? || version(&copied)? != version_kept {
            return Err(failed("the copy differs from the store".to_owned()));
        }
        drop(copied);
        let io = |source| Error::File { path: part.clone(), source };
        std::fs::File::open(&part).and_then(|f| f.sync_all()).map_err(io)?;
        std::fs::rename(&part, &kept).map_err(io)?;
        file::sync_folder(path)
    };
    match copy() {
        Ok(()) => Ok(kept),
        Err(e @ Error::Backup { .. }) => Err(e),
        Err(e) => Err(failed(e.to_string())),
    }
}

/// Every table with its number of rows, in order of name.
fn table_sizes(conn: &Connection) -> Result<Vec<(String, i64)>, Error> {
    let mut names =
        conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")?;
    let names = names.query_map([], |r| r.get(0))?.collect::<Result<Vec<String>, _>>()?;
    names
        .into_iter()
        .map(|name| {
            let quoted = name.replace('"', "\"\"");
            let sql = format!("SELECT count(*) FROM \"{quoted}\"");
            let rows = conn.query_row(&sql, [], |r| r.get(0))?;
            Ok((name, rows))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_leaves_the_version_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let mut conn = Connection::open(&path).unwrap();
        let one = "CREATE TABLE a(x INTEGER); INSERT INTO a VALUES (1),(2);";
        assert_eq!(migrate(&mut conn, Some(&path), &[one]).unwrap(), None);
        let bad = "DELETE FROM a; CREATE TABLE a(y);";
        assert!(migrate(&mut conn, Some(&path), &[one, bad]).is_err());
        assert_eq!(version(&conn).unwrap(), 1);
        let rows: i64 = conn.query_row("SELECT count(*) FROM a", [], |r| r.get(0)).unwrap();
        assert_eq!(rows, 2, "the failed step was rolled back whole");
        assert!(file::beside(&path, ".backup-v1").exists());
        assert!(matches!(migrate(&mut conn, Some(&path), &[]), Err(Error::Newer { .. })));
    }
}
