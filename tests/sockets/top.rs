//! `sidestep top` in a terminal of 80 columns.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::pair;
use crate::support::bpffs::TestBpffs;
use crate::support::child::ChildGuard;
use crate::support::machine::Turn;
use crate::support::wait::{wait_for, wait_until};

/// A pseudo-terminal, and what is on its screen.
struct Terminal {
    keyboard: File,
    /// Stays open, so that nothing that was drawn is lost when the child ends.
    _other: OwnedFd,
    child: ChildGuard,
    screen: vt100::Parser,
}

impl Terminal {
    fn start(args: &[&str]) -> Self {
        let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let (mut main, mut other) = (-1, -1);
        let null = std::ptr::null_mut();
        // SAFETY: the two descriptors and the size are live; the name and the settings are not wanted.
        let opened =
            unsafe { libc::openpty(&raw mut main, &raw mut other, null, null.cast(), (&raw const size).cast_mut()) };
        assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: openpty(3) has just made both, and nothing else has them.
        let (main, other) = unsafe { (OwnedFd::from_raw_fd(main), OwnedFd::from_raw_fd(other)) };
        for fd in [&main, &other] {
            // Children of other tests must not have it.
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
        command.args(args).env("TERM", "xterm");
        command
            .stdin(Stdio::from(other.try_clone().unwrap()))
            .stdout(Stdio::from(other.try_clone().unwrap()))
            .stderr(Stdio::piped());
        let child = ChildGuard::spawn(&mut command);
        Self { keyboard: File::from(main), _other: other, child, screen: vt100::Parser::new(24, 80, 0) }
    }

    /// Takes what has been drawn.
    fn look(&mut self) -> String {
        let mut bytes = [0; 4096];
        while poll(&mut [PollFd::new(self.keyboard.as_fd(), PollFlags::POLLIN)], PollTimeout::from(100_u8)) == Ok(1) {
            // The error of a terminal without programs.
            let Ok(read @ 1..) = self.keyboard.read(&mut bytes) else { break };
            self.screen.process(&bytes[..read]);
        }
        self.screen.screen().contents()
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }
}

#[test]
fn top_fits_80_columns_obeys_keys_and_gives_the_terminal_back() {
    let _turn = Turn::take();
    let kept: Vec<_> = (0..30).map(|_| pair("127.0.0.1:0")).collect();
    let (pins, pid) = (TestBpffs::new(), std::process::id().to_string());
    let bpffs = pins.path().to_str().unwrap();
    let mut terminal = Terminal::start(&["top", "--interval", "1", "--pid", &pid, "--bpffs", bpffs]);
    let own = format!("[{pid}]");
    let seen = wait_for(|| {
        let seen = terminal.look();
        let rows = seen.lines().filter(|line| line.matches(&own).count() == 2).count();
        if rows >= 20 { Ok(seen) } else { Err(format!("{rows} rows of {own}:\n{seen}")) }
    });
    let heading = seen.lines().find(|line| line.starts_with("CLIENT")).unwrap();
    assert!(heading.contains("KB/s") && heading.trim_end().ends_with("STATE"), "{seen}");
    // What did not fit would stand at the beginning of another line.
    let rows = seen.lines().skip(3).filter(|line| !line.trim().is_empty());
    assert!(rows.clone().all(|row| row.contains(']')), "{seen}");
    assert!(rows.clone().any(|row| row.trim_end().ends_with("cl blocks")), "{seen}");
    assert!(seen.contains("sorted by bytes (down)") && terminal.screen.screen().alternate_screen(), "{seen}");
    terminal.press(b"sr");
    wait_for(|| {
        let seen = terminal.look();
        let ended = terminal.child.try_wait();
        if seen.contains("sorted by messages (up)") { Ok(()) } else { Err(format!("{ended:?}:\n{seen}")) }
    });
    let before = terminal.look();
    terminal.press(b"\x1b[B\x1b[B");
    wait_until("it has scrolled", || terminal.look().lines().nth(3) != before.lines().nth(3));
    terminal.press(b"q");
    wait_until("the terminal is given back", || {
        terminal.look();
        !terminal.screen.screen().alternate_screen() && !terminal.screen.screen().hide_cursor()
    });
    let ended = terminal.child.end();
    assert!(ended.status.success() && ended.err.is_empty(), "{ended:?}");
    drop(kept);
}

#[test]
fn a_signal_gives_the_terminal_back_and_a_pipe_is_refused() {
    let _turn = Turn::take();
    let mut terminal = Terminal::start(&["top"]);
    wait_until("it draws", || terminal.look().contains("sidestep top: "));
    terminal.child.signal(Signal::SIGTERM);
    wait_until("the terminal is given back", || {
        terminal.look();
        !terminal.screen.screen().alternate_screen()
    });
    assert!(terminal.child.end().status.success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    command.arg("top").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let piped = ChildGuard::spawn(&mut command).end();
    assert_eq!(piped.status.code(), Some(2), "{piped:?}");
    assert!(piped.err.contains("list --json"), "{piped:?}");
}
