//! The proxy: splices, or receives, or both.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;

use nix::fcntl::OFlag;
use nix::poll::PollFlags;

use crate::relay::{accept, connect, listen, receive, send, splice, when_ready};

/// How it reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reading {
    /// By splice(2).
    Splice,
    /// So often by recv, each way, and then by splice(2).
    ReceiveFirst(usize),
    /// By one and the other in turn.
    Alternate,
    /// By recv.
    Receive,
}

impl FromStr for Reading {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("receive-first", times)) => times.parse().map(Self::ReceiveFirst).map_err(|_| text.into()),
            _ if text == "splice" => Ok(Self::Splice),
            _ if text == "alternate" => Ok(Self::Alternate),
            _ if text == "receive" => Ok(Self::Receive),
            _ => Err(text.into()),
        }
    }
}

/// Role: accepts connections on `port`, and moves their bytes to `target` and back.
pub(crate) fn run(port: u16, target: u16, reading: Reading) {
    let listener = listen(port);
    loop {
        let client = accept(&listener);
        std::thread::spawn(move || {
            let server = connect(target);
            std::thread::scope(|scope| {
                let there = scope.spawn(|| pump(&client, &server, reading));
                let back = scope.spawn(|| pump(&server, &client, reading));
                for way in [there, back] {
                    // A client that has failed may be gone.
                    if let Err(error) = way.join().unwrap() {
                        eprintln!("proxy: {error}");
                    }
                }
            });
        });
    }
}

fn pump(from: &TcpStream, to: &TcpStream, reading: Reading) -> io::Result<()> {
    let pipe = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
    let mut space = vec![0; 1 << 14];
    for turn in 0.. {
        let by_splice = match reading {
            Reading::Splice => true,
            Reading::ReceiveFirst(times) => turn >= times,
            Reading::Alternate => turn % 2 == 1,
            Reading::Receive => false,
        };
        let moved = if by_splice {
            through(&pipe, from, to)?
        } else {
            let got = receive(from, &mut space)?;
            send(to, &space[..got])?;
            got
        };
        if moved == 0 {
            break;
        }
    }
    to.shutdown(Shutdown::Write)
}

/// Splices once from `from` to `to`; 0 at the end.
fn through((out, into): &(OwnedFd, OwnedFd), from: &TcpStream, to: &TcpStream) -> io::Result<usize> {
    let got = when_ready(from, PollFlags::POLLIN, || splice(from.as_fd(), into.as_fd(), 1 << 16))?;
    let mut rest = got;
    while rest > 0 {
        rest -= when_ready(to, PollFlags::POLLOUT, || splice(out.as_fd(), to.as_fd(), rest))?;
    }
    Ok(got)
}
