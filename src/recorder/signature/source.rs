//! Signature files as text: the embedded ones or those of a folder, and errors that name a line.
//!
//! In: a folder, or nothing. Out: [`File`]s in the order of their names; parsed TOML.
//! Never: looks into what a file says.
//! Limits: [`FILE_MAX_BYTES`] a file, [`FILES_MAX`] files.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;

/// The files that the binary carries: (path below `signatures/`, content).
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/signatures.rs"));

/// Longest file read from a folder, in bytes: ten times the largest of ours.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Most files read from one folder: a folder with more is not a signature folder.
const FILES_MAX: usize = 1_000;

/// What is wrong with a signature file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct CatalogueError {
    /// Path below the signature folder.
    pub file: String,
    /// Line, from 1; 0 if the file could not be read at all.
    pub line: usize,
    /// One sentence without final stop.
    pub message: String,
}

/// One signature file.
pub(super) struct File {
    pub name: String,
    pub text: String,
}

impl File {
    /// The TOML of the file as `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, CatalogueError> {
        toml::from_str(&self.text)
            .map_err(|e| self.error(e.span().unwrap_or_default(), e.message().to_owned()))
    }

    /// An error at a byte range of this file.
    pub fn error(&self, at: Range<usize>, message: String) -> CatalogueError {
        CatalogueError { file: self.name.clone(), line: self.line(at), message }
    }

    /// Line of a byte range, from 1.
    pub fn line(&self, at: Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..at.start).unwrap_or_default();
        before.split(|&b| b == b'\n').count()
    }
}

/// The embedded files that `wanted` accepts by name.
pub(super) fn embedded(wanted: fn(&str) -> bool) -> Vec<File> {
    EMBEDDED
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|&(name, text)| File { name: name.to_owned(), text: text.to_owned() })
        .collect()
}

/// The files of a folder, of its `network/` and its `risk/` that `wanted` accepts by name, sorted.
pub(super) fn from_dir(dir: &Path, wanted: fn(&str) -> bool) -> Result<Vec<File>, CatalogueError> {
    let mut files = Vec::new();
    for (below, prefix) in [("", ""), ("network", "network/"), ("risk", "risk/")] {
        let folder = dir.join(below);
        if !prefix.is_empty() && !folder.is_dir() {
            continue;
        }
        let entries = fs::read_dir(&folder).map_err(|e| unreadable(&folder, &e.to_string()))?;
        for entry in entries {
            let path = entry.map_err(|e| unreadable(&folder, &e.to_string()))?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            let name = format!("{prefix}{name}");
            let toml = path.extension().is_some_and(|e| e == "toml");
            if !toml || !wanted(&name) {
                continue;
            }
            if files.len() >= FILES_MAX {
                return Err(unreadable(&folder, "more than 1,000 signature files"));
            }
            let size = fs::metadata(&path).map_err(|e| unreadable(&path, &e.to_string()))?.len();
            if size > FILE_MAX_BYTES {
                return Err(unreadable(&path, "longer than 1 MiB"));
            }
            let text = fs::read_to_string(&path).map_err(|e| unreadable(&path, &e.to_string()))?;
            files.push(File { name, text });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// One file that somebody named.
pub(super) fn one(path: &Path) -> Result<File, CatalogueError> {
    let size = fs::metadata(path).map_err(|e| unreadable(path, &e.to_string()))?.len();
    if size > FILE_MAX_BYTES {
        return Err(unreadable(path, "longer than 1 MiB"));
    }
    let text = fs::read_to_string(path).map_err(|e| unreadable(path, &e.to_string()))?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(File { name, text })
}

fn unreadable(path: &Path, why: &str) -> CatalogueError {
    CatalogueError { file: path.display().to_string(), line: 0, message: why.to_owned() }
}
