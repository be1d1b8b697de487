//! Asking the owner of an instance to read its settings again, and hearing what has come of it.
//!
//! The owner pins a map of one entry in its directory `owner/`, in which it says how often it has begun and ended to do so,
//! and how the last time ended. The one who asks sends it SIGHUP, and waits until a time has ended that had not begun before.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::generation::present;
use super::{Instance, OwnerLock};
use crate::agent::error::{Context, Error, Result};
use crate::syscall::{Map, MapFlags, MapSpec, ProcessHandle, UpdateFlags, bpffs, memlock};
use crate::uapi::MapType;

/// Bytes of the entry; a longer sentence is cut.
const SIZE: usize = 2048;

/// How often the one who asks looks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What an owner answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadAnswer {
    /// Whether the new settings are in effect; otherwise nothing has changed.
    pub succeeded: bool,
    /// What has been done, or what is wrong with the settings.
    pub text: String,
}

/// What the owner says of reloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Report {
    /// How often it has begun to read its settings again.
    begun: u64,
    /// How often it has ended.
    ended: u64,
    /// Whether the last one succeeded.
    succeeded: bool,
    /// What has come of it.
    text: String,
}

/// The owner's side.
#[derive(Debug)]
pub struct ReloadBoard {
    map: Map,
    report: Report,
}

impl OwnerLock {
    /// From now on, this owner can be asked to read its settings again.
    pub fn offer_reload(&self) -> Result<ReloadBoard> {
        // Where everything was attached already, nothing has raised it yet.
        memlock::raise_if_needed()?;
        // An entry is replaced as a whole: a reader never sees half a report.
        let spec = MapSpec::new("sidestep_reload", MapType::HASH, 4, SIZE as u32, 1).flags(MapFlags::NO_PREALLOC);
        let board = ReloadBoard { map: Map::create(&spec)?, report: Report::default() };
        board.publish()?;
        let place = self.instance().reload_path();
        // Of an owner that was killed.
        bpffs::unpin(&place)?;
        board.map.pin(&place)?;
        Ok(board)
    }
}

impl ReloadBoard {
    /// To be called before the settings are read.
    pub fn begin(&mut self) -> Result<()> {
        self.report.begun += 1;
        self.publish()
    }

    /// To be called when the new settings are in effect, or are not going to be.
    pub fn end(&mut self, outcome: std::result::Result<&str, &str>) -> Result<()> {
        self.report.ended = self.report.begun;
        self.report.succeeded = outcome.is_ok();
        self.report.text = outcome.unwrap_or_else(|error| error).to_owned();
        self.publish()
    }

    fn publish(&self) -> Result<()> {
        self.map.update(&[0; 4], &self.report.to_bytes(), UpdateFlags::empty()).context("say what a reload has done")
    }
}

impl Report {
    fn to_bytes(&self) -> Vec<u8> {
        let text = format!("{} {} {}\n{}", self.begun, self.ended, self.succeeded, self.text);
        let mut bytes = text.into_bytes();
        bytes.resize(SIZE, 0);
        bytes
    }

    /// `None` for what a later version may write.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (numbers, text) = text.trim_end_matches(['\0', char::REPLACEMENT_CHARACTER]).split_once('\n')?;
        let mut words = numbers.split(' ');
        let report = Self {
            begun: words.next()?.parse().ok()?,
            ended: words.next()?.parse().ok()?,
            succeeded: words.next()?.parse().ok()?,
            text: text.to_owned(),
        };
        Some(report)
    }
}

impl Instance {
    fn reload_path(&self) -> PathBuf {
        self.owner_path().join("reload")
    }

    /// Asks the owner to read its settings again, and waits for at most `timeout` until it has. Returns what the owner says
    /// of it.
    pub fn reload(&self, timeout: Duration) -> Result<ReloadAnswer> {
        let pid = self.reloading_owner()?;
        let process = ProcessHandle::open(pid).map_err(|errno| self.not_asked(pid, errno))?;
        let map = present(Map::from_pin(&self.reload_path()))?.ok_or_else(|| self.cannot_reload(pid))?;
        let before = report(&map)?.begun;
        // It may have ended before the handle was opened.
        if self.owner_pid()? != Some(pid) {
            return Err(self.has_ended(pid));
        }
        process.signal(Signal::SIGHUP).map_err(|errno| self.not_asked(pid, errno))?;
        let deadline = Instant::now() + timeout;
        loop {
            // Asked before its report is read: what one has said that has ended is its last word.
            let ended = process.has_ended().map_err(|errno| self.not_asked(pid, errno))? || !self.has_owner()?;
            let now = report(&map)?;
            if now.ended > before {
                return Ok(ReloadAnswer { succeeded: now.succeeded, text: now.text });
            }
            if ended {
                return Err(self.has_ended(pid));
            }
            if Instant::now() >= deadline {
                return Err(Error::Conflict {
                    what: format!("process {pid} has not applied its settings within {} s", timeout.as_secs()),
                    remedy: "give it longer with --timeout, or look what it writes",
                });
            }
            sleep(POLL_INTERVAL);
        }
    }

    fn reloading_owner(&self) -> Result<u32> {
        match self.owner_pid()? {
            Some(pid) if self.reload_path().exists() => Ok(pid),
            Some(pid) => Err(self.cannot_reload(pid)),
            None if self.has_owner()? => Err(Error::Conflict {
                what: format!("the process that owns {} is in another PID namespace", self.dir().display()),
                remedy: "run `sidestep reload` where it runs, or send it SIGHUP",
            }),
            None => Err(Error::Conflict {
                what: format!("no `sidestep run` owns {}", self.dir().display()),
                remedy: "start it, or change what is attached with `sidestep upgrade`",
            }),
        }
    }

    fn cannot_reload(&self, pid: u32) -> Error {
        Error::Conflict {
            what: format!(
                "process {pid}, which owns {}, was started without a configuration file",
                self.dir().display()
            ),
            remedy: "start `sidestep run` with --config, or change what is attached with `sidestep upgrade`",
        }
    }

    fn has_ended(&self, pid: u32) -> Error {
        Error::Conflict {
            what: format!("process {pid}, which owned {}, has ended", self.dir().display()),
            remedy: "start `sidestep run` again",
        }
    }

    fn not_asked(&self, pid: u32, errno: Errno) -> Error {
        match errno {
            Errno::ESRCH => self.has_ended(pid),
            errno => Error::Conflict {
                what: format!("cannot send process {pid} a signal: {}", errno.desc()),
                remedy: "run as root, or as its user",
            },
        }
    }
}

fn report(map: &Map) -> Result<Report> {
    let bytes = map.lookup(&[0; 4]).context("read what a reload has done")?;
    bytes.as_deref().and_then(Report::parse).ok_or_else(|| Error::Conflict {
        what: "another version of sidestep owns this instance, whose reports this one cannot read".into(),
        remedy: "use the version that `sidestep status` shows",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let mut report = Report { begun: 3, ended: 2, succeeded: true, text: "one\ntwo".into() };
        assert_eq!(Report::parse(&report.to_bytes()), Some(report.clone()));
        // A long sentence is cut, also within a character.
        report.text = "ä".repeat(SIZE);
        let read = Report::parse(&report.to_bytes()).unwrap();
        assert!(report.text.starts_with(&read.text) && read.text.len() > SIZE - 20, "{}", read.text.len());
        assert_eq!(Report::parse(&[0; SIZE]), None);
        assert_eq!(Report::parse(b"1 2\nx"), None);
    }
}
