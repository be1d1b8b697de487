//! The attacker's half: it does what it reads line by line.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

use crate::link::wait;
use crate::packet::{ACK, SYN, inject};
use crate::repair::{Repair, set_expects, set_repair, set_sends};

/// The environment variable that makes this binary an attacker.
pub(crate) const ROLE: &str = "SIDESTEP_TEST_ATTACKER";
/// Before every answer.
pub(crate) const MARK: &str = "attacker: ";

/// How a socket comes to be established with numbers of the attacker's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// Under TCP_REPAIR, without a packet: an active end.
    Repaired,
    /// connect(2) with a chosen initial sequence number, and a SYN-ACK from a raw socket: an active end.
    Connected,
    /// connect(2), and a SYN and an ACK from a raw socket (simultaneous open): a passive end.
    Crossed,
}

impl Forgery {
    pub(crate) const ALL: [Self; 3] = [Self::Repaired, Self::Connected, Self::Crossed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Repaired => "repaired",
            Self::Connected => "connected",
            Self::Crossed => "crossed",
        }
    }
}

#[test]
fn attacks_as_it_is_asked() {
    if std::env::var_os(ROLE).is_none() {
        // An ordinary test run: the attackers are processes of their own.
        return;
    }
    ip(&["link", "set", "lo", "up"]).unwrap();
    answer("ready");
    let mut sockets = Vec::new();
    let mut crowd = Vec::new();
    for line in io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["forge", how, local, remote, sends, expects] => {
                let how = Forgery::ALL.into_iter().find(|known| known.name() == how).unwrap();
                let [local, remote] = [local, remote].map(|text| text.parse().unwrap());
                let [sends, expects] = [sends, expects].map(|text| text.parse().unwrap());
                sockets.push(forge(how, local, remote, sends, expects).unwrap());
                answer("established");
            }
            ["harvest"] => answer(&harvest(&sockets)),
            ["open", count] => {
                crowd.extend(open(count.parse().unwrap()));
                answer("opened");
            }
            _ => panic!("{line}"),
        }
    }
}

fn answer(text: &str) {
    // The harness has left its own line open.
    println!("\n{MARK}{text}");
    io::stdout().flush().unwrap();
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let status = Command::new("ip").args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("ip {arguments:?}: {status}"))) }
}

fn forge(how: Forgery, local: SocketAddrV4, remote: SocketAddrV4, sends: u32, expects: u32) -> io::Result<TcpStream> {
    // The namespace is the attacker's: any address may be its own, and what goes to the other one is lost.
    ip(&["address", "add", &format!("{}/32", local.ip()), "dev", "lo"])?;
    ip(&["route", "add", &format!("{}/32", remote.ip()), "dev", "lo"])?;
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    set_repair(&fd, Repair::On)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::V4(local)))?;
    let target = SockaddrStorage::from(SocketAddr::V4(remote));
    if how == Forgery::Repaired {
        set_sends(&fd, sends)?;
        set_expects(&fd, expects)?;
        connect(fd.as_raw_fd(), &target)?;
        set_repair(&fd, Repair::Off)?;
        return Ok(fd.into());
    }
    // One less: the SYN counts.
    set_sends(&fd, sends.wrapping_sub(1))?;
    set_repair(&fd, Repair::Off)?;
    match connect(fd.as_raw_fd(), &target) {
        Err(Errno::EINPROGRESS) => {}
        other => panic!("{other:?}"),
    }
    if how == Forgery::Connected {
        inject(remote, local, SYN | ACK, expects.wrapping_sub(1), sends)?;
    } else {
        inject(remote, local, SYN, expects.wrapping_sub(1), 0)?;
        inject(remote, local, ACK, expects, sends)?;
    }
    let stream = TcpStream::from(fd);
    wait(&stream, PollFlags::POLLOUT);
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    Ok(stream)
}

/// What comes to the sockets while they write.
fn harvest(sockets: &[TcpStream]) -> String {
    let until = Instant::now() + Duration::from_millis(200);
    let mut stolen = Vec::new();
    while Instant::now() < until {
        for mut socket in sockets {
            let mut buffer = [0; 1024];
            match socket.read(&mut buffer) {
                Ok(read) => stolen.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => stolen.extend_from_slice(error.to_string().as_bytes()),
            }
            // It may be full.
            let _ = socket.write(b"forged bytes");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    String::from_utf8_lossy(&stolen).into_owned()
}

/// Connections within the namespace, which stay open and are never used.
fn open(count: usize) -> Vec<(TcpListener, Vec<(TcpStream, TcpStream)>)> {
    // Below the number of ephemeral ports for each.
    const EACH: usize = 10_000;
    (0..count.div_ceil(EACH))
        .map(|round| {
            let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
            let listener = sidestep::testbed::listen(any).unwrap();
            let to = listener.local_addr().unwrap();
            let pairs = (0..(count - round * EACH).min(EACH)).map(|_| crate::link::pair(&listener, to)).collect();
            (listener, pairs)
        })
        .collect()
}
