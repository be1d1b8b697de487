//! What the kernel does, not what it has: a pair of loopback connections whose sockets we put into a sockhash. What is a
//! fault where it is otherwise is among [`faults`](super::faults).

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::finding::{Answer, Finding, Need};
use super::pair::{CLIENT, Pair, SERVER, TIMEOUT};

const FAMILY: &str = "behaviour";

/// The probes.
pub(super) fn all() -> Vec<Finding> {
    vec![
        Finding::new(FAMILY, Need::Required, "a message is redirected past the stack", Answer::of(redirect()))
            .why("That is what all of this is for.")
            .remedy("check the privileges and map types above, and that lo is up in this network namespace"),
        Finding::new(FAMILY, Need::Optional, "splice(2) sees redirected bytes", Answer::of(splice()))
            .why("Go's io.Copy and HAProxy's `option splice-auto` read sockets with splice(2). sidestep finds such programs out, and leaves them on the stack.")
            .remedy("nothing is to be done, unless --trust names a program that splices"),
    ]
}

/// The client's message must reach the server without a segment.
fn redirect() -> Result<Answer, Answer> {
    let mut pair = Pair::of_members()?;
    let message = *b"sidestep";
    pair.send(&message)?;
    let mut got = [0; 8];
    pair.server.read_exact(&mut got).map_err(|error| Answer::Unknown(format!("cannot receive: {error}")))?;
    let segments = data_segs_out(&pair.client)?;
    Ok(match (got == message, segments) {
        (false, _) => Answer::No("other bytes came out than went in".into()),
        (true, 0) => Answer::Yes(String::new()),
        (true, segments) => Answer::No(format!("the message took the stack in {segments} segments")),
    })
}

/// Whether FIONREAD misses bytes that came by the stack, and bytes that were redirected; or why that cannot be found out.
pub(super) fn fionread_misses() -> Result<[bool; 2], String> {
    let misses = |path| match Answer::of(fionread(path)) {
        Answer::Yes(_) => Ok(false),
        Answer::No(_) => Ok(true),
        Answer::Unknown(why) => Err(why),
    };
    Ok([misses(Path::Stack)?, misses(Path::Redirected)?])
}

/// How bytes come to the server, which is in the sockhash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// The client is not in the sockhash.
    Stack,
    /// The client is in it, too.
    Redirected,
}

/// What it says of bytes that have come this way.
pub(super) fn fionread(path: Path) -> Result<Answer, Answer> {
    let mut pair = Pair::new()?;
    pair.enrol(SERVER)?;
    if path == Path::Redirected {
        pair.enrol(CLIENT)?;
    }
    pair.send(b"seven b")?;
    let timeout = PollTimeout::try_from(TIMEOUT).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(pair.server.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(1) => {}
        Ok(_) => return Err(Answer::Unknown("the bytes did not arrive".into())),
        Err(errno) => return Err(Answer::Unknown(format!("cannot wait for the bytes: {errno}"))),
    }
    let mut readable: libc::c_int = -1;
    // SAFETY: FIONREAD writes one int to the address, which is live and writable.
    let answer = unsafe { libc::ioctl(pair.server.as_raw_fd(), libc::FIONREAD, &mut readable) };
    Ok(match (answer, readable) {
        (0, 7) => Answer::Yes(String::new()),
        (0, seen) => Answer::No(format!("it says {seen} where 7 bytes wait")),
        _ => return Err(Answer::Unknown(format!("ioctl(FIONREAD) failed: {}", std::io::Error::last_os_error()))),
    })
}

/// Both are in the sockhash, and the server reads what was redirected into a pipe.
fn splice() -> Result<Answer, Answer> {
    let mut pair = Pair::of_members()?;
    pair.send(b"sidestep")?;
    let (_end, pipe) = nix::unistd::pipe().map_err(|errno| Answer::Unknown(format!("no pipe: {errno}")))?;
    pair.server.set_nonblocking(true).map_err(|error| Answer::Unknown(format!("no O_NONBLOCK: {error}")))?;
    let (from, to) = (pair.server.as_raw_fd(), pipe.as_raw_fd());
    let no_offset = std::ptr::null_mut();
    // SAFETY: both offsets are null, so no memory of ours is involved.
    let moved = unsafe { libc::splice(from, no_offset, to, no_offset, 8, libc::SPLICE_F_NONBLOCK) };
    Ok(match moved {
        8 => Answer::Yes(String::new()),
        0.. => Answer::No(format!("it moved {moved} of 8 bytes")),
        _ => Answer::No(format!("it fails where 8 bytes wait: {}", Errno::last().desc())),
    })
}

/// Segments with data that the socket has sent: `tcpi_data_segs_out` at offset 156 of `struct tcp_info`
/// (`include/uapi/linux/tcp.h`, 4.6).
fn data_segs_out(socket: &TcpStream) -> Result<u32, Answer> {
    const AT: usize = 156;
    let mut info = [0_u8; AT + 4];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: `info` is live and writable for `len` bytes, and so is `len`.
    let answer = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut len)
    };
    if answer != 0 || (len as usize) < info.len() {
        return Err(Answer::Unknown(format!("TCP_INFO cannot be read: {}", std::io::Error::last_os_error())));
    }
    Ok(u32::from_ne_bytes([info[AT], info[AT + 1], info[AT + 2], info[AT + 3]]))
}
