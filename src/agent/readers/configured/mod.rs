//! What programs are configured to do. One that begins to splice late can have earned trust before, so what can be known is asked.
//!
//! The files are another one's, on file systems that need not answer: a container can have its own (FUSE). So a thread of
//! its own reads them, and a process of which it has not said anything yet is not admitted.

mod files;
mod haproxy;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use self::files::Root;
use self::haproxy::{CommandLine, Line};
use super::names::Process;
use super::program::Program;
use super::say;
use crate::dataplane::Reader;

/// Wait for an answer, which takes less than 1 ms where file systems answer. After that the next look at all readers finds it.
const WAIT: Duration = Duration::from_millis(20);
/// A script that writes the file and then becomes the program (exec) has the start of the program, and takes time.
const GRACE: Duration = Duration::from_secs(60);

/// What the configuration of a program says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Configured {
    /// It does not ask for splice(2), or is not one that can do so by its configuration.
    Without,
    /// It asks for splice(2) in this place.
    Splices(String),
    /// Not known, and why.
    Unknown(String),
}

/// The answers, and the thread that finds them.
#[derive(Debug)]
pub(super) struct Configurations {
    answers: HashMap<Process, Option<Configured>>,
    questions: Sender<(Process, Program)>,
    found: Receiver<(Process, Configured)>,
}

impl Configurations {
    /// Begins. The thread ends after this has been dropped. Nothing waits for it: a file system may hold it up.
    pub(super) fn start() -> io::Result<Self> {
        let (questions, asked) = channel::<(Process, Program)>();
        let (answer, found) = channel();
        std::thread::Builder::new().name("configured".into()).spawn(move || {
            for (process, program) in asked {
                let configured = of_process(process);
                if let Configured::Unknown(why) = &configured
                    && Program::of(process.0).is_some()
                {
                    let Program { path, name } = program;
                    let (number, path) = (process.0, path.display());
                    say(&format!(
                        "whether {name} (process {number}) is configured to read with splice(2) cannot be told ({why}): its connections stay on the stack; --trust program:{path} accelerates them"
                    ));
                }
                if answer.send((process, configured)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { answers: HashMap::new(), questions, found })
    }

    /// What the configuration of a process says; `None` while it is not known yet.
    pub(super) fn of(&mut self, process: Process, program: &Program) -> Option<Configured> {
        if !haproxy::is(&program.path) {
            return Some(Configured::Without);
        }
        let mut wait = Duration::ZERO;
        if let Entry::Vacant(place) = self.answers.entry(process) {
            place.insert(None);
            // The thread lives as long as this.
            let _ = self.questions.send((process, program.clone()));
            wait = WAIT;
        }
        let until = Instant::now() + wait;
        while self.answers.get(&process).is_some_and(Option::is_none) {
            let Ok((other, answer)) = self.found.recv_timeout(until.saturating_duration_since(Instant::now())) else {
                break;
            };
            self.answers.insert(other, Some(answer));
        }
        self.answers.get(&process).cloned().flatten()
    }

    /// Forgets processes that are not among `readers` any more.
    pub(super) fn follow(&mut self, readers: &[Reader]) {
        let alive: HashSet<Process> = readers.iter().map(|reader| (reader.process, reader.start)).collect();
        self.answers.retain(|process, _| alive.contains(process));
    }
}

/// Reads the configuration of a process that runs HAProxy.
fn of_process(process: Process) -> Configured {
    let line = match std::fs::read(format!("/proc/{}/cmdline", process.0)) {
        Ok(line) => CommandLine::parse(&line),
        Err(error) => return Configured::Unknown(format!("its command line: {error}")),
    };
    if line.never {
        return Configured::Without;
    }
    let roots = Root::of(process.0);
    if line.files.is_empty() || roots.is_empty() {
        return Configured::Unknown(
            "its command line names no configuration, or its root directory cannot be opened".into(),
        );
    }
    let since = began(process.1.saturating_add(GRACE.as_nanos() as u64));
    let mut said = Said::default();
    for file in &line.files {
        let path = line.directory.as_deref().unwrap_or(Path::new("")).join(file);
        // A worker that has confined itself does not see the file, but its master does.
        let mut unseen = Ok(());
        let seen =
            roots.iter().filter(|root| said.read(root, &path, since).map_err(|error| unseen = Err(error)).is_ok());
        if let (0, Err(error)) = (seen.count(), unseen) {
            return Configured::Unknown(format!("{}: {error}", path.display()));
        }
    }
    said.into()
}

/// What the files of a configuration say together.
#[derive(Debug, Default)]
struct Said {
    splices: Option<String>,
    never: bool,
}

impl Said {
    /// Adds what a file says, or the files of a directory.
    fn read(&mut self, root: &Root, path: &Path, since: (i64, i64)) -> io::Result<()> {
        for file in root.listing(path)? {
            root.lines(&file, since, |number, line| match Line::of(line) {
                Line::Other => {}
                Line::Never => self.never = true,
                Line::Splices => {
                    self.splices.get_or_insert_with(|| format!("{}:{number}", file.display()));
                }
            })?;
        }
        Ok(())
    }
}

impl From<Said> for Configured {
    fn from(said: Said) -> Self {
        said.splices.filter(|_| !said.never).map_or(Self::Without, Self::Splices)
    }
}

/// When a process began that started so many nanoseconds after boot, as the times of files: seconds and nanoseconds since 1970.
fn began(start: u64) -> (i64, i64) {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    let age = boot.saturating_sub(Duration::from_nanos(start));
    let began = SystemTime::now().checked_sub(age).and_then(|then| then.duration_since(UNIX_EPOCH).ok());
    let began = began.unwrap_or_default();
    (began.as_secs() as i64, i64::from(began.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a configuration of these lines.
    fn said(lines: &str) -> Configured {
        let unique = lines.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31) + u64::from(byte));
        let path = std::env::temp_dir().join(format!("sidestep-said-{}-{unique}.cfg", std::process::id()));
        std::fs::write(&path, lines).unwrap();
        let mut said = Said::default();
        said.read(&Root::of(std::process::id())[0], &path, (i64::MAX, 0)).unwrap();
        std::fs::remove_file(&path).unwrap();
        match said.into() {
            Configured::Splices(place) => Configured::Splices(place.replace(&path.display().to_string(), "FILE")),
            other => other,
        }
    }

    #[test]
    fn the_first_line_that_asks_for_splice_is_named() {
        let asks = "defaults\n option splice-auto\n option splice-request\n";
        assert_eq!(said(asks), Configured::Splices("FILE:2".into()));
        assert_eq!(said("defaults\n mode tcp\n"), Configured::Without);
        assert_eq!(said(&format!("{asks}global\n nosplice\n")), Configured::Without);
    }

    #[test]
    fn this_process_began_in_the_past() {
        let boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap()).as_nanos() as u64;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        assert!((now - 1..=now + 1).contains(&began(boot).0));
        assert!((now - 101..=now - 99).contains(&began(boot - 100_000_000_000).0));
    }

    #[test]
    fn a_process_without_files_is_not_known() {
        // This test's command line has no `-f`.
        assert!(matches!(of_process((std::process::id(), 0)), Configured::Unknown(_)));
        assert!(matches!(of_process((u32::MAX, 0)), Configured::Unknown(_)));
    }
}
