//! `TCP_REPAIR` (include/uapi/linux/tcp.h): reads and sets the sequence numbers of a socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

const TCP_REPAIR: i32 = 19;
const TCP_REPAIR_QUEUE: i32 = 20;
const TCP_QUEUE_SEQ: i32 = 21;
/// `TCP_RECV_QUEUE`, `TCP_SEND_QUEUE`.
const RECV_QUEUE: i32 = 1;
const SEND_QUEUE: i32 = 2;

/// A state of `TCP_REPAIR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    On = 1,
    /// `TCP_REPAIR_OFF_NO_WP`: without notifying the peer.
    Off = -1,
}

/// The number of the next byte that a socket sends, and of the next one that it expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) sends: u32,
    pub(crate) expects: u32,
}

pub(crate) fn set_repair(socket: impl AsFd, repair: Repair) -> io::Result<()> {
    set(&socket, TCP_REPAIR, repair as i32)
}

/// What an established socket has. Needs CAP_NET_ADMIN over its namespace.
pub(crate) fn numbers(socket: impl AsFd) -> io::Result<Numbers> {
    set_repair(&socket, Repair::On)?;
    let number = |queue| {
        set(&socket, TCP_REPAIR_QUEUE, queue)?;
        get(&socket, TCP_QUEUE_SEQ)
    };
    let numbers = Numbers { sends: number(SEND_QUEUE)?, expects: number(RECV_QUEUE)? };
    set_repair(&socket, Repair::Off)?;
    Ok(numbers)
}

/// Gives a socket that is under repair the number of the next byte that it sends.
pub(crate) fn set_sends(socket: impl AsFd, number: u32) -> io::Result<()> {
    set(&socket, TCP_REPAIR_QUEUE, SEND_QUEUE)?;
    set(&socket, TCP_QUEUE_SEQ, number.cast_signed())
}

/// Gives a socket that is under repair the number of the next byte that it expects.
pub(crate) fn set_expects(socket: impl AsFd, number: u32) -> io::Result<()> {
    set(&socket, TCP_REPAIR_QUEUE, RECV_QUEUE)?;
    set(&socket, TCP_QUEUE_SEQ, number.cast_signed())
}

/// Sets an option of TCP's.
pub(crate) fn set(socket: &impl AsFd, option: i32, value: i32) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the address and size are those of a live i32.
    let result = unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, option, (&raw const value).cast(), 4) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(socket: &impl AsFd, option: i32) -> io::Result<u32> {
    let (mut value, mut size) = (0_u32, 4);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the addresses are those of a live u32 and of its size.
    let result = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, option, (&raw mut value).cast(), &raw mut size) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
