//! Names on the command line to files.
//!
//! In: files, directories, `-`. Out: every file below them, in a fixed order.
//! Never: follows a link to a directory, or opens a file.
//! Limits: [`INPUTS_MAX`] files, [`DEPTH_MAX`] directories deep.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Inputs of one run: frames carry 16 bits for it.
pub const INPUTS_MAX: usize = 65_535;

/// Directories within one another; deeper ones are no archive of captures but a mistake.
pub const DEPTH_MAX: usize = 64;

/// One input: where it is, and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Path to open; `-` is standard input.
    pub path: PathBuf,
    /// Path below the directory that was given; the file name for a file.
    pub name: String,
    /// It was found in a directory, so that being no capture is no fault.
    pub found: bool,
    /// Why it cannot be read, if that is known already.
    pub error: Option<String>,
}

/// Lists every input below `paths`, in the order given, directories sorted by the path's octets.
///
/// # Errors
/// If there are more than [`INPUTS_MAX`].
pub fn list(paths: &[PathBuf]) -> Result<Vec<Named>, String> {
    let mut all = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            all.push(named(path, "-".to_owned(), false, None));
        } else if path.is_dir() {
            let from = all.len();
            directory(path, path, 0, &mut all)?;
            if let Some(new) = all.get_mut(from..) {
                new.sort_by(|a, b| octets(a).cmp(octets(b)));
            }
        } else {
            let name = path.file_name().unwrap_or(path.as_os_str());
            all.push(named(path, name.to_string_lossy().into_owned(), false, None));
        }
        if all.len() > INPUTS_MAX {
            return Err(too_many());
        }
    }
    Ok(all)
}

fn directory(root: &Path, dir: &Path, depth: usize, all: &mut Vec<Named>) -> Result<(), String> {
    let below = |path: &Path| {
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        if name.is_empty() { ".".to_owned() } else { name }
    };
    let mut trouble = |path: &Path, error: String| {
        all.push(named(path, below(path), false, Some(error)));
    };
    if depth > DEPTH_MAX {
        trouble(dir, format!("more than {DEPTH_MAX} directories deep"));
        return Ok(());
    }
    let entries = match fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) => {
            trouble(dir, error.to_string());
            return Ok(());
        }
    };
    for entry in entries {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                directory(root, &path, depth.saturating_add(1), all)?;
            }
            // A link to a file counts, one to a directory could lead in circles; pipes and
            // devices found by chance are left alone.
            Ok(_) if path.is_file() => all.push(named(&path, below(&path), true, None)),
            Ok(_) => {}
            Err(error) => all.push(named(&path, below(&path), false, Some(error.to_string()))),
        }
        if all.len() > INPUTS_MAX {
            return Err(too_many());
        }
    }
    Ok(())
}

fn too_many() -> String {
    format!("more than {INPUTS_MAX} inputs; scan them in several runs")
}

fn octets(named: &Named) -> &[u8] {
    named.path.as_os_str().as_bytes()
}

fn named(path: &Path, name: String, found: bool, error: Option<String>) -> Named {
    Named { path: path.to_owned(), name, found, error }
}
