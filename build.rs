//! Lists the signature files for the binary: adding a file to `signatures/` changes no code.
//!
//! In: `signatures/*.toml`, `signatures/{network,risk}/*.toml`. Out: `OUT_DIR/signatures.rs`, one slice
//! of (path below `signatures/`, content) in the order of the paths. Never: reads their content.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let folder = root.join("signatures");
    let mut files = Vec::new();
    for below in ["", "network", "risk"] {
        collect(&folder, below, &mut files)?;
    }
    files.sort();

    let mut code = String::from("&[\n");
    for (name, path) in &files {
        let _ = writeln!(code, "    ({name:?}, include_str!({path:?})),");
    }
    code.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("signatures.rs"), code)?;

    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=signatures");
    Ok(())
}

fn collect(folder: &Path, below: &str, files: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(below))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let name = if below.is_empty() { file.into_owned() } else { format!("{below}/{file}") };
            files.push((name, path.to_string_lossy().into_owned()));
        }
    }
    Ok(())
}
