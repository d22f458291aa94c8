//! What a package holds beside the program: man pages and completions, made from the commands.
//!
//! In: the definitions of all commands. Out: files, or text on standard output.
//! Never: tells of a command that is hidden.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Where man pages are put.
#[derive(Args, Clone, Debug)]
pub struct ManualArgs {
    /// Folder; made if there is none.
    pub folder: PathBuf,
}

/// Which shell is to complete.
#[derive(Args, Clone, Debug)]
pub struct CompletionArgs {
    /// The shell.
    pub shell: Shell,
}

/// Writes a man page for each command, and one for all.
///
/// # Errors
/// If the folder cannot be written.
pub fn manuals(args: &ManualArgs) -> anyhow::Result<u8> {
    fs::create_dir_all(&args.folder)
        .with_context(|| format!("cannot make {}", args.folder.display()))?;
    let mut cli = without_hidden(&Cli::command());
    cli.build();
    page(&args.folder, "shadowtap", &cli)?;
    for command in cli.get_subcommands().filter(|c| c.get_name() != "help") {
        page(&args.folder, &format!("shadowtap-{}", command.get_name()), command)?;
    }
    Ok(0)
}

fn page(folder: &Path, name: &str, command: &Command) -> anyhow::Result<()> {
    let title: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let command = command.clone().name(title).display_name(title);
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    let path = folder.join(format!("{name}.1"));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes completions to standard output.
///
/// # Errors
/// If standard output cannot be written.
pub fn completions(args: &CompletionArgs) -> anyhow::Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut without_hidden(&Cli::command()),
        "shadowtap",
        &mut text,
    );
    io::stdout().lock().write_all(&text)?;
    Ok(0)
}

/// The commands that people see.
fn without_hidden(cli: &Command) -> Command {
    let shown = cli.get_subcommands().filter(|c| !c.is_hide_set()).cloned();
    let about = cli.get_about().cloned().unwrap_or_default();
    Command::new("shadowtap").version(env!("CARGO_PKG_VERSION")).about(about).subcommands(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_no_hidden_one_does() {
        let folder = tempfile::tempdir().expect("a folder");
        manuals(&ManualArgs { folder: folder.path().to_owned() }).expect("pages");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
        assert!(read("shadowtap-watch.1").contains("mirror port"));
        assert!(read("shadowtap.1").contains("shadowtap\\-scan"));
        let names: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().collect();
        assert!(names.len() > 8);
        assert!(!names.iter().any(|n| n.file_name().to_string_lossy().contains("internal")));
    }
}
