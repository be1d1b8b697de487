//! Non-blocking sockets, and a server that sends everything back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::support::wait::timeout;

/// Waits until `socket` is ready for what `events` says, or an error.
pub(crate) fn wait(socket: &TcpStream, events: PollFlags) -> io::Result<()> {
    let limit = PollTimeout::try_from(timeout()).unwrap();
    match poll(&mut [PollFd::new(socket.as_fd(), events)], limit)? {
        0 => Err(io::Error::new(ErrorKind::TimedOut, "nothing comes any more")),
        _ => Ok(()),
    }
}

/// Does `call` when it does not block any more.
pub(crate) fn when_ready<T>(
    socket: &TcpStream,
    events: PollFlags,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, events)?,
            done => return done,
        }
    }
}

/// Sends all of `bytes`.
pub(crate) fn send(mut socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = when_ready(socket, PollFlags::POLLOUT, || socket.write(bytes))?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Receives up to `space`'s length; 0 at the end.
pub(crate) fn receive(mut socket: &TcpStream, space: &mut [u8]) -> io::Result<usize> {
    when_ready(socket, PollFlags::POLLIN, || socket.read(space))
}

/// splice(2) without waiting; 0 at the end.
pub(crate) fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: both offsets are null, so no memory of ours is involved.
    let moved = unsafe { libc::splice(from.as_raw_fd(), none, to.as_raw_fd(), none, len, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// Listens on a port of loopback; the port may just have been given up by another process.
pub(crate) fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).unwrap()
}

/// The next connection, non-blocking from the moment that it has a descriptor: a receiver that blocks makes its pair leave.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    use nix::sys::socket::{SockFlag, accept4};
    let fd = accept4(listener, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection to a port, non-blocking from the start, as soon as there is a listener.
pub(crate) fn connect(port: u16) -> TcpStream {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
    let deadline = std::time::Instant::now() + timeout();
    loop {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let stream = TcpStream::from(socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap());
        let begun = connect(stream.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port));
        if begun.is_ok() || begun == Err(nix::errno::Errno::EINPROGRESS) {
            wait(&stream, PollFlags::POLLOUT).unwrap();
            if stream.take_error().unwrap().is_none() {
                stream.set_nodelay(true).unwrap();
                return stream;
            }
        }
        assert!(std::time::Instant::now() < deadline, "no process listens on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Role: sends everything back, on any number of connections.
pub(crate) fn echo(port: u16) {
    let listener = listen(port);
    loop {
        let stream = accept(&listener);
        std::thread::spawn(move || {
            let mut space = vec![0; 1 << 16];
            while let Ok(got @ 1..) = receive(&stream, &mut space) {
                if send(&stream, &space[..got]).is_err() {
                    return;
                }
            }
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // What is still on its way reaches the peer before the socket goes.
            let _ = receive(&stream, &mut space);
        });
    }
}
