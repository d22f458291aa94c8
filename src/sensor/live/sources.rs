//! Who is who as it becomes known while the sensor runs: files that change, logons that are sent.
//!
//! In: the files and addresses of `[identity]`. Out: [`News`].
//! Never: makes the recorder wait for a file; takes a file that cannot be read for an empty one.
//! Limits: [`WAITING_MAX`] messages wait; a file is looked at every [`LOOK`].

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use crate::config::{Config, IdentitySources};
use crate::courier::receivers::syslog;
use crate::recorder::identity::Known;
use crate::recorder::identity::known::Event;
use crate::recorder::identity::logons;
use crate::types::Timestamp;

/// Messages that wait for the recorder: the first minute of a working day in a large company.
const WAITING_MAX: usize = 16_384;

/// How often files are looked at: soon enough for people, and nothing for a file server.
const LOOK: u64 = 5 * Timestamp::SECOND;

/// How often it is said again that messages could not be used.
const TELL: u64 = 3_600 * Timestamp::SECOND;

/// What a file looked like: place, size, time of change.
type Stamp = Option<(u64, u64, i64, i64)>;

/// What has become known.
#[derive(Default)]
pub struct News {
    /// Files say something else now.
    pub known: Option<Arc<Known>>,
    /// Somebody logged on or off.
    pub events: Vec<Event>,
    /// What a person should hear.
    pub told: Vec<String>,
}

impl News {
    /// `true` if something was learnt of who is who.
    pub fn is_something(&self) -> bool {
        self.known.is_some() || !self.events.is_empty()
    }
}

/// Everything that may change.
pub struct Sources {
    files: Vec<(PathBuf, Stamp)>,
    looked: Timestamp,
    /// What a thread reads out of files that have changed.
    reading: Option<Receiver<Result<Arc<Known>, String>>>,
    messages: Option<Receiver<String>>,
    lost: Arc<AtomicU64>,
    unusable: u64,
    told: Timestamp,
}

impl Sources {
    /// Begins to look at the files of `config`, and to take what `receiver` brings.
    ///
    /// # Errors
    /// If no thread can be had.
    pub fn start(config: &Config, receiver: Option<syslog::Receiver>) -> std::io::Result<Self> {
        let lost = Arc::new(AtomicU64::new(0));
        let mut messages = None;
        if let Some(receiver) = receiver {
            let (tell, came) = bounded(WAITING_MAX);
            let full = lost.clone();
            let tell = move |message| match tell.try_send(message) {
                Ok(()) => true,
                Err(crossbeam_channel::TrySendError::Full(_)) => {
                    full.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => false,
            };
            std::thread::Builder::new().name("logons".to_owned()).spawn(move || {
                if let Err(error) = receiver.serve(tell) {
                    eprintln!("shadowtap: logons are no longer received: {error}");
                }
            })?;
            messages = Some(came);
        }
        let files = files(&config.identity);
        let now = Timestamp(0);
        Ok(Self { files, looked: now, reading: None, messages, lost, unusable: 0, told: now })
    }

    /// Looks at the files of another configuration from now on. Where logons are received stays as
    /// it was: ports are opened before rights are given up.
    pub fn reload(&mut self, config: &Config) {
        self.files = files(&config.identity);
    }

    /// What has become known by `now`.
    pub fn news(&mut self, config: &Config, now: Timestamp) -> News {
        let mut news = News::default();
        self.look(config, now, &mut news);
        self.listen(now, &mut news);
        news
    }

    fn look(&mut self, config: &Config, now: Timestamp, news: &mut News) {
        if let Some(reading) = &self.reading {
            match reading.try_recv() {
                Err(TryRecvError::Empty) => return,
                Ok(Ok(known)) => news.known = Some(known),
                Ok(Err(why)) => {
                    news.told.push(format!("{why}; what was known before stays in force"));
                }
                Err(TryRecvError::Disconnected) => {}
            }
            self.reading = None;
        }
        if now.since(self.looked) < LOOK {
            return;
        }
        self.looked = now;
        let changed = self.files.iter_mut().fold(false, |changed, (path, before)| {
            let stamp = stamp(path);
            let differs = stamp != *before;
            *before = stamp;
            // A file between its removal and its new version is on its way.
            changed || (differs && stamp.is_some())
        });
        if !changed {
            return;
        }
        let (tell, came) = bounded(1);
        let config = config.clone();
        let thread = std::thread::Builder::new().name("sources".to_owned()).spawn(move || {
            let read = config.known().map(|(known, _)| known).map_err(|e| e.to_string());
            let _ = tell.send(read);
        });
        match thread {
            Ok(_) => self.reading = Some(came),
            Err(error) => news.told.push(format!("changed files are not read: {error}")),
        }
    }

    fn listen(&mut self, now: Timestamp, news: &mut News) {
        let Some(messages) = &self.messages else { return };
        let mut why = None;
        for message in messages.try_iter().take(WAITING_MAX) {
            match logons::heard(&message, now) {
                Ok(event) => news.events.extend(event),
                Err(reason) => {
                    self.unusable = self.unusable.saturating_add(1);
                    why = Some(reason);
                }
            }
        }
        let lost = self.lost.load(Ordering::Relaxed);
        if (why.is_some() || lost > 0) && now.since(self.told) >= TELL {
            self.told = now;
            let (unusable, why) = (self.unusable, why.unwrap_or("too many at once"));
            news.told.push(format!(
                "of the logons that are received, {unusable} could not be used and {lost} came too fast (last: {why})"
            ));
        }
    }
}

fn files(of: &IdentitySources) -> Vec<(PathBuf, Stamp)> {
    let paths = of.inventory.iter().chain(&of.leases).chain(&of.logons);
    paths.map(|path| (path.clone(), stamp(path))).collect()
}

fn stamp(path: &PathBuf) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}
