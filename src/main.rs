//! Runs one command and turns its outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ExitCode::from(shadowtap::cli::run(&shadowtap::cli::Cli::parse()))
}
