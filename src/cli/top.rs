//! `shadowtap top`: the live view of a sensor.
//!
//! In: a running `watch`, or an interface to watch. Out: a screen. Never: changes anything; a
//! terminal left in disorder.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::{Problem, watch};
use crate::answer::live::Snapshot;
use crate::answer::view::{Asked, View};

/// How often keys and snapshots are looked for.
const ROUND: Duration = Duration::from_millis(100);

/// Show the live view of a running sensor, or of an interface.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap top                      attach to the sensor that runs here
  shadowtap top --attach /run/shadowtap/sensor.sock
  shadowtap top -i eth1              capture, and keep nothing

Keys: q ends, s sorts, p holds the screen, ? explains.

Exit codes: 0 fine, 1 the sensor went away, 2 no sensor to attach to, wrong usage or missing rights.")]
pub struct TopArgs {
    /// Socket of the sensor; default: the one that runs here.
    #[arg(long, value_name = "PATH", conflicts_with = "interfaces")]
    pub attach: Option<PathBuf>,
    /// Capture on this interface instead; may be repeated.
    #[arg(short = 'i', long = "interface", value_name = "IFACE")]
    pub interfaces: Vec<String>,
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", env = "SHADOWTAP_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If there is no sensor to attach to, or no terminal.
pub fn run(args: &TopArgs) -> anyhow::Result<u8> {
    if !args.interfaces.is_empty() {
        return watch::run(&watch::WatchArgs::looking_at(&args.interfaces, args.config.clone()));
    }
    let path = match &args.attach {
        Some(path) => path.clone(),
        None => running()?,
    };
    let told = || format!("no sensor listens at {}", path.display());
    let stream = UnixStream::connect(&path).map_err(|_| Problem::usage(told()))?;
    show(stream)
}

/// The socket of the one sensor that runs here.
fn running() -> anyhow::Result<PathBuf> {
    let folder = watch::socket_folder()?;
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let sockets: Vec<PathBuf> = entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "sock"))
        .filter(|p| UnixStream::connect(p).is_ok())
        .collect();
    match sockets.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let told = "no sensor runs here: start one with `shadowtap watch -i IFACE`, or look at \
                        an interface with `shadowtap top -i IFACE`";
            Err(Problem::usage(told).into())
        }
        many => {
            let names: Vec<String> = many.iter().map(|p| p.display().to_string()).collect();
            let told =
                format!("several sensors run here, choose with --attach: {}", names.join(" "));
            Err(Problem::usage(told).into())
        }
    }
}

fn show(stream: UnixStream) -> anyhow::Result<u8> {
    stream.set_read_timeout(Some(ROUND)).context("the sensor's socket")?;
    let mut lines = BufReader::new(stream);
    let mut terminal = ratatui::try_init().context("the live view needs a terminal")?;
    let outcome = (|| -> anyhow::Result<u8> {
        let (mut view, mut line) = (View::default(), String::new());
        loop {
            terminal.draw(|frame| view.draw(frame))?;
            match lines.read_line(&mut line) {
                // The sensor ended.
                Ok(0) => return Ok(1),
                Ok(_) => {
                    if let Ok(snapshot) = serde_json::from_str::<Snapshot>(&line) {
                        view.take(snapshot);
                    }
                    line.clear();
                }
                // Nothing new; what was read of a line stays in it.
                Err(e)
                    if matches!(
                        e.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(e) => return Err(e.into()),
            }
            while event::poll(Duration::ZERO)? {
                let Event::Key(key) = event::read()? else { continue };
                let control_c =
                    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                let pressed = key.kind == KeyEventKind::Press;
                if control_c || (pressed && key.code == KeyCode::Esc) {
                    return Ok(0);
                }
                if let (true, KeyCode::Char(c)) = (pressed, key.code)
                    && view.key(c) == Asked::End
                {
                    return Ok(0);
                }
            }
        }
    })();
    ratatui::restore();
    outcome
}
