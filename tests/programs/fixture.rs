//! A cgroup, a network namespace with loopback, and a directory; what a case starts in them ends with them.

use std::cell::RefCell;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, write};
use sidestep::dataplane::Counter;
use sidestep::syscall::cgroup;
use sidestep::testbed::{NetNs, TemporaryCgroup};

use crate::agent::{Sidestep, counters};
use crate::content::content;
use crate::{octets, tools};

/// Nothing that a case runs takes as long.
const LIMIT: Duration = Duration::from_secs(180);

/// Where a case runs.
pub(crate) struct Fixture {
    // Dropped in this order: first the programs.
    servers: RefCell<Vec<Child>>,
    cgroup: TemporaryCgroup,
    sidestep: Option<Sidestep>,
    netns: NetNs,
    dir: PathBuf,
}

/// How many bytes went which way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Bytes past the stack, as sidestep counts them.
    pub(crate) redirected: u64,
    /// Payload that the namespace's stack has received.
    pub(crate) by_stack: u64,
    /// The same as sidestep counts it, which begins when a connection is established.
    pub(crate) counted: u64,
    /// How much of it may have come again.
    pub(crate) repeated: u64,
    /// Handshakes of connections whose bytes are not counted.
    pub(crate) left_alone: u64,
    /// Messages past the stack.
    pub(crate) messages: u64,
    /// Programs that have read with splice(2).
    pub(crate) splicers: Vec<String>,
    /// Why messages took the stack, or sockets never entered the sockhash; the most frequent first.
    pub(crate) reasons: Vec<(Counter, u64)>,
    /// What `sidestep run` says of the share.
    pub(crate) line: Option<String>,
}

impl Measured {
    /// The part of all bytes that went past the stack, 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        self.redirected as f64 / (self.redirected + self.by_stack).max(1) as f64
    }

    /// Whether sidestep has counted the bytes that the stack has carried: but for those that came again, resets, options that
    /// make headers larger, and connections that were left alone.
    pub(crate) fn is_counted(&self) -> bool {
        let inexact = self.by_stack / 20 + (64 << 10);
        let all = self.left_alone > 0 || self.by_stack <= self.counted + self.repeated + inexact;
        self.counted <= self.by_stack + inexact && all
    }

    /// The same of the messages that sockets in the sockhash have sent; none when these have sent none.
    pub(crate) fn share_of_messages(&self) -> Option<f64> {
        let passed = self.reasons.iter().filter(|(counter, _)| counter.unit() == "messages").map(|(_, count)| count);
        let all = self.messages + passed.sum::<u64>();
        (all > 0).then(|| self.messages as f64 / all as f64)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redirected, by_stack, messages, reasons, .. } = self;
        write!(f, "{:.1} % past the stack: {redirected} bytes", self.share() * 100.0)?;
        write!(f, " in {messages} messages, {by_stack} by it")?;
        reasons.iter().try_for_each(|(counter, value)| write!(f, ", {} {value}", counter.name()))?;
        self.splicers.iter().try_for_each(|program| write!(f, "; {program} splices"))
    }
}

/// Does the counter say why bytes took the stack?
fn is_reason(counter: Counter) -> bool {
    counter == Counter::Blocking || counter.name().starts_with("pass_")
}

/// An error in words.
pub(crate) fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

impl Fixture {
    /// Without sidestep.
    pub(crate) fn plain(name: &str) -> Result<Self, String> {
        let root = cgroup::find().map_err(text)?.ok_or("no cgroup2 is mounted")?;
        let cgroup = TemporaryCgroup::new(&root, "sidestep-programs-").map_err(text)?;
        let netns = NetNs::with_loopback().map_err(text)?;
        let dir = std::env::temp_dir().join(format!("sidestep-programs-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).map_err(text)?;
        let fixture = Self { servers: RefCell::default(), cgroup, sidestep: None, netns, dir };
        // Databases refuse to run as root, and must read it.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        fs::write(fixture.path("content"), content()).map_err(text)?;
        Ok(fixture)
    }

    /// With sidestep on the cgroup, with no other flag.
    pub(crate) fn accelerated(name: &str) -> Result<Self, String> {
        let mut fixture = Self::plain(name)?;
        fixture.sidestep = Some(fixture.sidestep()?);
        Ok(fixture)
    }

    /// Does the work of a case, ends its programs, and says what has gone which way.
    pub(crate) fn work(
        mut self,
        work: fn(&Self) -> Result<String, String>,
    ) -> Result<(Result<String, String>, Measured), String> {
        let outcome = work(&self);
        let by_stack = self.netns.run(octets::received).map_err(text)??;
        let repeated = self.netns.run(octets::repeated).map_err(text)??;
        let output = self.sidestep.take().map_or(Ok(String::new()), Sidestep::stop)?;
        let counters = counters(&output);
        let line = output.lines().rev().find(|line| line.contains("past the stack")).map(str::to_owned);
        let of = |wanted| counters.iter().find(|(counter, _)| *counter == wanted).map_or(0, |(_, value)| *value);
        let mut reasons: Vec<_> = counters.iter().filter(|(counter, _)| is_reason(*counter)).copied().collect();
        reasons.sort_by_key(|(_, value)| std::cmp::Reverse(*value));
        let measured = Measured {
            redirected: of(Counter::RedirectedBytes),
            by_stack,
            counted: of(Counter::StackBytes),
            repeated,
            left_alone: of(Counter::LeftAlone),
            messages: of(Counter::RedirectedMessages),
            splicers: self.splicers(),
            reasons,
            line,
        };
        Ok((outcome, measured))
    }

    /// Where sidestep remembers the programs that splice.
    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The programs that it has seen splice, by their file names.
    fn splicers(&self) -> Vec<String> {
        // Without the file, none has.
        let known = fs::read_to_string(self.state().join("splicers")).unwrap_or_default();
        let name = |line: &str| Some(line.split(' ').next()?.rsplit('/').next()?.to_owned());
        known.lines().filter_map(name).collect()
    }

    /// A file in the fixture's directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Writes a file there.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<String, String> {
        let path = self.path(name);
        fs::write(&path, text).map_err(|error| format!("{path}: {error}"))?;
        Ok(path)
    }

    /// A command that enters the cgroup and the namespace. Its input is empty, its output goes to files.
    fn command(&self, words: &[&str], log: &str) -> Result<Command, String> {
        let (name, args) = words.split_first().ok_or("an empty command")?;
        let program =
            if name.contains('/') { PathBuf::from(name) } else { tools::find(name).ok_or(format!("no {name}"))? };
        let mut command = Command::new(program);
        let file = |end: &str| File::create(self.path(&format!("{log}.{end}"))).map_err(text);
        command.args(args).current_dir(&self.dir).env("CONTENT", self.path("content")).env("HOME", &self.dir);
        command.stdin(Stdio::null()).stdout(file("out")?).stderr(file("err")?);
        let procs = OpenOptions::new().write(true).open(self.cgroup.path().join("cgroup.procs")).map_err(text)?;
        let netns = self.netns.as_fd().try_clone_to_owned().map_err(text)?;
        let enter = move || -> std::io::Result<()> {
            // "0" is the writer itself (Documentation/admin-guide/cgroup-v2.rst).
            write(&procs, b"0")?;
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes only system calls on descriptors that it owns.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }

    /// Begins to look after the cgroup, with no other flag.
    pub(crate) fn sidestep(&self) -> Result<Sidestep, String> {
        Sidestep::start(self.cgroup.path(), &self.state())
    }

    /// Starts a client that writes to files of the name `log`.
    pub(crate) fn start(&self, words: &[&str], log: &str) -> Result<Child, String> {
        self.command(words, log)?.spawn().map_err(|error| format!("{}: {error}", words[0]))
    }

    /// Starts a server, and waits until it listens on a port.
    pub(crate) fn serve(&self, words: &[&str], port: u16) -> Result<(), String> {
        let log = format!("server-{}", self.servers.borrow().len());
        let mut server = self.command(words, &log)?.spawn().map_err(|error| format!("{}: {error}", words[0]))?;
        let deadline = Instant::now() + LIMIT;
        let listening = loop {
            if self.listens(port)? {
                break Ok(());
            }
            // One that has forked itself away ends with success.
            if server.try_wait().map_err(text)?.is_some_and(|status| !status.success()) || Instant::now() > deadline {
                break Err(format!("{} does not listen on {port}: {}", words[0], self.words(&log)));
            }
            sleep(Duration::from_millis(20));
        };
        self.servers.borrow_mut().push(server);
        listening
    }

    /// Does a socket listen there? Without a connection, which would count.
    fn listens(&self, port: u16) -> Result<bool, String> {
        let files =
            self.netns.run(|| ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/thread-self/net/{name}"))));
        // 0A is TCP_LISTEN (include/net/tcp_states.h); ports are hexadecimal.
        let local = format!(":{port:04X}");
        Ok(files.map_err(text)?.into_iter().flatten().any(|text| {
            text.lines().map(str::split_whitespace).any(|mut words| {
                words.nth(1).is_some_and(|address| address.ends_with(&local)) && words.nth(1) == Some("0A")
            })
        }))
    }

    /// Runs a client to its end; its output, or what it says of its failure.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String, String> {
        let (status, output) = self.attempt(words)?;
        if status.success() {
            Ok(output)
        } else {
            Err(format!("{} ended with {status}: {}", words[0], self.words("client")))
        }
    }

    /// Runs a client to its end, however it ends.
    pub(crate) fn attempt(&self, words: &[&str]) -> Result<(ExitStatus, String), String> {
        let mut client = self.command(words, "client")?.spawn().map_err(|error| format!("{}: {error}", words[0]))?;
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = client.try_wait().map_err(text)? {
                let output = fs::read(self.path("client.out")).map_err(text)?;
                return Ok((status, String::from_utf8_lossy(&output).into_owned()));
            }
            if Instant::now() > deadline {
                let _ = client.kill();
                let _ = client.wait();
                return Err(format!("{words:?} did not end in {} s: {}", LIMIT.as_secs(), self.words("client")));
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// The end of what a program has said.
    fn words(&self, log: &str) -> String {
        let read = |end: &str| fs::read(self.path(&format!("{log}.{end}"))).unwrap_or_default();
        let all = [read("out"), read("err")].concat();
        let text = String::from_utf8_lossy(&all).trim().replace('\n', " | ");
        text.chars().rev().take(400).collect::<Vec<_>>().into_iter().rev().collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // Also what a server has forked off. The cgroup itself goes with its value.
        if let Ok(pids) = fs::read_to_string(self.cgroup.path().join("cgroup.procs")) {
            for pid in pids.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        for mut server in self.servers.borrow_mut().drain(..) {
            let _ = server.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}
