//! Connected pairs, and the few operations that make a case read the same for blocking and non-blocking sockets.

use std::ffi::c_int;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{mem, thread};

use nix::errno::Errno;

use crate::log::shown_content;
use crate::support::wait::scaled;
use crate::sys::{self, Outcome, outcome};

/// How long something may take that is going to happen.
pub(crate) fn soon() -> Duration {
    scaled(Duration::from_secs(5))
}

/// How long to watch for something that should not happen.
pub(crate) fn a_while() -> Duration {
    scaled(Duration::from_millis(150))
}

/// Which of the two sockets are opened O_NONBLOCK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(crate) client_nonblocking: bool,
    pub(crate) server_nonblocking: bool,
}

/// A socket: a plain number, since cases close what another thread is using. A case has a process of its own, which
/// takes along whatever is left open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sock(pub(crate) RawFd);

/// The two ends of a connection. The client is the sender and the server the reader, where nothing else is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) client: Sock,
    pub(crate) server: Sock,
}

/// The address of a listener on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    pub(crate) socket: Sock,
    pub(crate) port: u16,
}

/// `127.0.0.1:port`.
pub(crate) fn loopback(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    }
}

fn good(outcome: Outcome, what: &str) -> usize {
    outcome.unwrap_or_else(|errno| panic!("{what}: {errno}"))
}

impl Modes {
    /// A socket of its own, blocking or not as the client is.
    pub(crate) fn client_socket(self, protocol: c_int) -> Outcome<Sock> {
        let flags = if self.client_nonblocking { libc::SOCK_NONBLOCK } else { 0 };
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | flags, protocol) };
        outcome(fd as isize)?;
        Ok(Sock(fd))
    }

    /// A client connected to `listener`, with Nagle's algorithm off.
    pub(crate) fn connect(self, listener: Listener) -> Sock {
        let socket = self.client_socket(0).unwrap();
        socket.no_delay();
        good(socket.connect(listener.port), "connect");
        socket
    }

    /// Takes the next connection.
    pub(crate) fn accept(self, listener: Listener) -> Sock {
        let flags = if self.server_nonblocking { libc::SOCK_NONBLOCK } else { 0 };
        // SAFETY: null addresses are allowed.
        let fd = unsafe { libc::accept4(listener.socket.0, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        good(outcome(fd as isize), "accept");
        let socket = Sock(fd);
        socket.no_delay();
        socket
    }

    /// A connected pair.
    pub(crate) fn pair(self) -> Pair {
        let listener = Listener::new();
        let client = self.connect(listener);
        let pair = Pair { client, server: self.accept(listener) };
        listener.socket.close();
        pair
    }
}

impl Listener {
    /// On a free port.
    pub(crate) fn new() -> Self {
        Self::with(0, |_| {})
    }

    /// With options set before it listens.
    pub(crate) fn with(protocol: c_int, prepare: impl FnOnce(Sock)) -> Self {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, protocol) };
        good(outcome(fd as isize), "socket");
        let socket = Sock(fd);
        socket.bind(0).unwrap();
        prepare(socket);
        // SAFETY: no memory is involved.
        good(outcome(unsafe { libc::listen(fd, 16) } as isize), "listen");
        Self { socket, port: socket.port() }
    }
}

impl Sock {
    pub(crate) fn bind(self, port: u16) -> Outcome {
        let address = loopback(port);
        let length = mem::size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address is readable for its length.
        outcome(unsafe { libc::bind(self.0, (&raw const address).cast(), length) } as isize)
    }

    /// The local port.
    pub(crate) fn port(self) -> u16 {
        let mut address = loopback(0);
        let mut length = mem::size_of_val(&address) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes.
        let returned = unsafe { libc::getsockname(self.0, (&raw mut address).cast(), &raw mut length) };
        good(outcome(returned as isize), "getsockname");
        u16::from_be(address.sin_port)
    }

    /// Connects to a port of 127.0.0.1 and waits until that is done.
    pub(crate) fn connect(self, port: u16) -> Outcome {
        let address = loopback(port);
        let length = mem::size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address is readable for its length.
        match outcome(unsafe { libc::connect(self.0, (&raw const address).cast(), length) } as isize) {
            Err(Errno::EINPROGRESS) => {
                self.ready(libc::POLLOUT);
                let mut error = 0;
                sys::get(self.0, libc::SOL_SOCKET, libc::SO_ERROR, &mut error)?;
                if error == 0 { Ok(0) } else { Err(Errno::from_raw(error)) }
            }
            other => other,
        }
    }

    /// connect(2) to AF_UNSPEC: ends the connection and keeps the socket.
    pub(crate) fn disconnect(self) -> Outcome {
        let address = libc::sockaddr_in { sin_family: libc::AF_UNSPEC as u16, ..loopback(0) };
        let length = mem::size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address is readable for its length.
        outcome(unsafe { libc::connect(self.0, (&raw const address).cast(), length) } as isize)
    }

    pub(crate) fn no_delay(self) {
        good(self.set(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1), "TCP_NODELAY");
    }

    /// Sets an option whose value is an int.
    pub(crate) fn set(self, level: c_int, name: c_int, value: c_int) -> Outcome {
        sys::set(self.0, level, name, value)
    }

    pub(crate) fn close(self) {
        sys::close(self.0);
    }

    pub(crate) fn shutdown(self, how: c_int) -> Outcome {
        sys::shutdown(self.0, how)
    }

    /// SO_LINGER.
    pub(crate) fn linger(self, seconds: c_int) {
        let linger = libc::linger { l_onoff: 1, l_linger: seconds };
        good(sys::set(self.0, libc::SOL_SOCKET, libc::SO_LINGER, linger), "SO_LINGER");
    }

    /// Turns O_NONBLOCK on or off.
    pub(crate) fn set_nonblocking(self, on: bool) {
        // SAFETY: no memory is involved.
        good(
            outcome(unsafe { libc::fcntl(self.0, libc::F_SETFL, if on { libc::O_NONBLOCK } else { 0 }) } as isize),
            "fcntl",
        );
    }

    fn is_nonblocking(self) -> bool {
        // SAFETY: no memory is involved.
        unsafe { libc::fcntl(self.0, libc::F_GETFL) & libc::O_NONBLOCK != 0 }
    }

    /// One send(2).
    pub(crate) fn send(self, data: &[u8], flags: c_int) -> Outcome {
        sys::send(self.0, data, flags)
    }

    /// Sends all of it, waiting for room where the socket itself would not.
    pub(crate) fn send_all(self, data: &[u8]) -> Outcome {
        let mut sent = 0;
        while sent < data.len() {
            match self.send(&data[sent..], 0) {
                Ok(more) => sent += more,
                Err(Errno::EAGAIN) => self.ready(libc::POLLOUT),
                Err(errno) => return Err(errno),
            }
        }
        Ok(sent)
    }

    /// One recv(2).
    pub(crate) fn recv(self, length: usize, flags: c_int) -> Outcome<Vec<u8>> {
        let mut buffer = vec![0; length];
        let received = sys::recv(self.0, &mut buffer, flags)?;
        // With MSG_TRUNC the result may be more than there is.
        buffer.truncate(received);
        Ok(buffer)
    }

    /// One read(2), of a pipe.
    pub(crate) fn read(self, length: usize) -> Outcome<Vec<u8>> {
        let mut buffer = vec![0; length];
        let received = sys::read(self.0, &mut buffer)?;
        buffer.truncate(received);
        Ok(buffer)
    }

    /// One recv(2) once there is something to receive: a blocking socket waits by itself.
    pub(crate) fn recv_wait(self, length: usize) -> Outcome<Vec<u8>> {
        self.recv_wait_flags(length, 0)
    }

    /// The same with flags.
    pub(crate) fn recv_wait_flags(self, length: usize, flags: c_int) -> Outcome<Vec<u8>> {
        if self.is_nonblocking() {
            sys::poll(self.0, libc::POLLIN, soon().as_millis() as c_int)?;
        }
        self.recv(length, flags)
    }

    /// Receives until `length` bytes have come, or the end, or an error.
    pub(crate) fn recv_all(self, length: usize) -> Outcome<Vec<u8>> {
        let mut all = Vec::with_capacity(length);
        self.recv_pieces(length, |piece| all.extend_from_slice(piece))?;
        Ok(all)
    }

    /// The same where `expected` is to come: what [`shown_content`] says of it. Nothing is kept, since the columns of a
    /// case run at once, and seven times some copies of 64 MiB are more than a small machine has.
    pub(crate) fn recv_compared(self, expected: &[u8]) -> Outcome<String> {
        let (mut received, mut good) = (0, true);
        self.recv_pieces(expected.len(), |piece| {
            good &= expected[received..].starts_with(piece);
            received += piece.len();
        })?;
        Ok(shown_content(received, good))
    }

    fn recv_pieces(self, length: usize, mut take: impl FnMut(&[u8])) -> Outcome<()> {
        let mut buffer = vec![0; 256 * 1024];
        let mut received = 0;
        while received < length {
            let room = buffer.len().min(length - received);
            match sys::recv(self.0, &mut buffer[..room], 0) {
                Ok(0) => break,
                Ok(more) => {
                    take(&buffer[..more]);
                    received += more;
                }
                Err(Errno::EAGAIN) if self.is_nonblocking() => self.ready(libc::POLLIN),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Waits for an event; a case that waits in vain hangs, which is its value.
    pub(crate) fn ready(self, events: i16) {
        while sys::poll(self.0, events, -1) == Err(Errno::EINTR) {}
    }

    /// The events that are there, or come within `time`.
    pub(crate) fn poll(self, events: i16, time: Duration) -> Outcome<i16> {
        sys::poll(self.0, events, time.as_millis() as c_int)
    }

    /// Is there something to read, now or within `time`?
    pub(crate) fn readable(self, time: Duration) -> bool {
        self.poll(libc::POLLIN, time).is_ok_and(|events| events & libc::POLLIN != 0)
    }

    /// ioctl(FIONREAD).
    pub(crate) fn unread(self) -> Outcome<c_int> {
        sys::ioctl_int(self.0, libc::FIONREAD)
    }
}

/// Bytes whose order can be seen: no two stretches of them look alike for long.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        // xorshift32, Marsaglia 2003
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A call that may block, on a thread of its own.
pub(crate) struct Blocked<T> {
    result: Receiver<T>,
    /// Its thread.
    pub(crate) thread: libc::pid_t,
}

/// Starts `call` and waits until it sleeps in the kernel, or is over.
pub(crate) fn start<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Blocked<T> {
    let (sender, result) = channel();
    let (tell, told) = channel();
    thread::spawn(move || {
        tell.send(sys::thread_id()).unwrap();
        // Without a receiver the case is over.
        let _ = sender.send(call());
    });
    let thread = told.recv().unwrap();
    wait_asleep(&format!("/proc/self/task/{thread}/stat"));
    Blocked { result, thread }
}

impl<T> Blocked<T> {
    /// Its result, if it comes within `time`.
    pub(crate) fn within(&self, time: Duration) -> Option<T> {
        self.result.recv_timeout(time).ok()
    }
}

/// Waits until the thread of this stat file (proc_pid_stat(5)) sleeps or is gone.
pub(crate) fn wait_asleep(stat: &str) {
    let start = Instant::now();
    let mut asleep = 0;
    while asleep < 3 && start.elapsed() < soon() {
        thread::sleep(Duration::from_millis(15));
        let Ok(text) = std::fs::read_to_string(stat) else { return };
        let state = text.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        asleep = if state == Some('S') { asleep + 1 } else { 0 };
    }
}

/// Lets what has been sent by the stack arrive.
pub(crate) fn pause() {
    thread::sleep(Duration::from_millis(if crate::emulated() { 200 } else { 60 }));
}
