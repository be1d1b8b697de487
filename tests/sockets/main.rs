//! Every TCP socket of the machine is seen, and both ends of each local connection are recognised. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod cli;
mod crowd;
mod epoll;
mod estimate;
mod explain;
mod policy;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
mod support;
mod survey;
mod top;
mod unprivileged;
mod watch;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use sidestep::sockets::{Connection, Record, Scanner, SocketAccess, TcpState, join};

use support::machine::Turn;

pub(crate) fn pair(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// The sockets of this process, without what tells only one scan's sockets apart.
fn own(access: SocketAccess) -> Vec<Record> {
    let mut found = Scanner::with(access).unwrap().scan().unwrap();
    found.retain(|one| one.pid == std::process::id());
    found.sort_by_key(|one| one.fd);
    found
}

/// Linux 5.10 has one way to a file's socket, and later kernels have two: both are tried where they can be.
#[test]
fn both_ways_to_a_file_s_socket_see_the_same() {
    let _turn = Turn::take();
    let helper = sidestep::syscall::btf::vmlinux().unwrap().func_by_name("bpf_sock_from_file").is_some();
    let listener = TcpListener::bind("[::]:0").unwrap();
    let (mut client, server) = pair("127.0.0.1:0");
    let (_unix, _datagram) =
        (std::os::unix::net::UnixStream::pair().unwrap(), std::net::UdpSocket::bind("127.0.0.1:0"));
    client.write_all(b"12345").unwrap();
    server.peek(&mut [0; 5]).unwrap();
    let fds = [&client, &server].map(|socket| socket.as_raw_fd() as u32);
    let mine = |records: Vec<Record>| -> Vec<Record> {
        records.into_iter().filter(|one| fds.contains(&one.fd) || one.fd == listener.as_raw_fd() as u32).collect()
    };
    let found = mine(own(SocketAccess::SockFs));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(Record::is_settled), "{found:?}");
    assert_eq!(found.iter().map(|one| one.unread).sum::<u32>(), 5, "{found:?}");
    if helper {
        assert_eq!(found, mine(own(SocketAccess::Helper)));
    }
}

fn connection(client: SocketAddr) -> Option<Connection> {
    let joined = join(Scanner::new().unwrap().scan().unwrap());
    joined.local.into_iter().find(|one| one.client.local == client)
}

#[test]
fn both_ends_of_a_connection_are_recognised_at_any_moment() {
    // A child that another test starts has our descriptors until it executes its program, and is seen at them.
    let _turn = Turn::take();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut client, mut server) = pair(address);
        let local = client.local_addr().unwrap();
        server.set_nonblocking(true).unwrap();
        for round in 0..4_u32 {
            let found = connection(local).unwrap_or_else(|| panic!("{address} in round {round}"));
            assert_eq!(found.client.fd, client.as_raw_fd() as u32);
            assert_eq!(found.server.fd, server.as_raw_fd() as u32);
            assert_eq!([found.client.pid, found.server.pid], [std::process::id(); 2]);
            assert_eq!((found.server.remote, found.client.remote), (local, server.local_addr().unwrap()));
            assert_eq!((found.client.nonblocking, found.server.nonblocking), (false, true));
            assert_eq!(found.server.bytes_received, u64::from(round) * 1000);
            client.write_all(&[7; 1000]).unwrap();
            server.set_nonblocking(false).unwrap();
            server.read_exact(&mut [0; 1000]).unwrap();
            server.set_nonblocking(true).unwrap();
        }
        server.write_all(b"unread").unwrap();
        client.peek(&mut [0; 6]).unwrap();
        assert_eq!(connection(local).unwrap().client.unread, 6);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let found = connection(local).unwrap();
        assert_eq!((found.client.shutdown, found.client.state), ([false, true], TcpState::FinWait));
    }
}
