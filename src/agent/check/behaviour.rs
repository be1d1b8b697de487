//! What the kernel does, not what it has: a pair of loopback connections whose sockets we put into a sockhash.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::finding::{Answer, Finding, Need};
use crate::asm::{Asm, FP, MapRef, Reg, Size};
use crate::dataplane;
use crate::syscall::{Map, MapSpec, ProgSpec, Program, UpdateFlags, prog_attach};
use crate::uapi::{AttachType, MapType, ProgType};

const FAMILY: &str = "behaviour";
/// A loopback message takes microseconds; a second is for a machine that is busy with something else.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Keys in the sockhash.
const CLIENT: u32 = 0;
const SERVER: u32 = 1;
/// `BPF_FUNC_msg_redirect_hash` and `BPF_F_INGRESS` of `include/uapi/linux/bpf.h`; `SK_PASS`.
const MSG_REDIRECT_HASH: i32 = 71;
const F_INGRESS: i32 = 1;
const SK_PASS: i32 = 1;

/// The probes.
pub(super) fn all() -> Vec<Finding> {
    let answer = |outcome: Result<Answer, Answer>| outcome.unwrap_or_else(|untold| untold);
    vec![
        Finding::new(FAMILY, Need::Required, "a message is redirected past the stack", answer(redirect()))
            .why("That is what all of this is for.")
            .remedy("check the privileges and map types above, and that lo is up in this network namespace"),
        Finding::new(FAMILY, Need::Optional, "FIONREAD sees bytes that came by the stack", answer(fionread(Path::Stack)))
            .why("nginx, Java and .NET ask how much there is to read, and stall when a member of the sockhash says nothing.")
            .remedy("use a kernel without commit 929e30f93125 or with its mend (6.6.128+, 6.12.75+ and 6.18 have the fault)"),
        Finding::new(FAMILY, Need::Optional, "FIONREAD sees redirected bytes", answer(fionread(Path::Redirected)))
            .why("The same programs stall when it says nothing of a message that was redirected.")
            .remedy("use a kernel with commit 929e30f93125 (from 6.6.128, 6.12.75 and 6.18 on), or leave a program alone that asks: --exclude-cgroup with its cgroup, or --exclude-port with its ports"),
        Finding::new(FAMILY, Need::Optional, "splice(2) sees redirected bytes", answer(splice()))
            .why("Go's io.Copy and HAProxy's `option splice-auto` read sockets so. The programs that do are found out, and stay on the stack.")
            .remedy("nothing is to be done, unless --trust names a program that splices"),
    ]
}

/// The client's message must reach the server without a segment.
fn redirect() -> Result<Answer, Answer> {
    let mut pair = Pair::new()?;
    pair.enrol(CLIENT)?;
    pair.enrol(SERVER)?;
    let message = *b"sidestep";
    pair.client.write_all(&message).map_err(|error| Answer::Unknown(format!("cannot send: {error}")))?;
    let mut got = [0; 8];
    pair.server.read_exact(&mut got).map_err(|error| Answer::Unknown(format!("cannot receive: {error}")))?;
    let segments = data_segs_out(&pair.client)?;
    Ok(match (got == message, segments) {
        (false, _) => Answer::No("other bytes came out than went in".into()),
        (true, 0) => Answer::Yes(String::new()),
        (true, segments) => Answer::No(format!("the message took the stack in {segments} segments")),
    })
}

/// Whether FIONREAD is known to miss bytes that came by the stack, and bytes that were redirected.
pub(super) fn fionread_misses() -> [bool; 2] {
    [Path::Stack, Path::Redirected].map(|path| matches!(fionread(path), Ok(Answer::No(_))))
}

/// How bytes come to the server, which is in the sockhash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// The client is not in the sockhash.
    Stack,
    /// The client is in it, too.
    Redirected,
}

/// What it says of bytes that have come this way.
fn fionread(path: Path) -> Result<Answer, Answer> {
    let mut pair = Pair::new()?;
    pair.enrol(SERVER)?;
    if path == Path::Redirected {
        pair.enrol(CLIENT)?;
    }
    pair.client.write_all(b"seven b").map_err(|error| Answer::Unknown(format!("cannot send: {error}")))?;
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
    let mut pair = Pair::new()?;
    pair.enrol(CLIENT)?;
    pair.enrol(SERVER)?;
    pair.client.write_all(b"sidestep").map_err(|error| Answer::Unknown(format!("cannot send: {error}")))?;
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

/// Two ends of a loopback connection, and a sockhash whose program redirects to [`SERVER`].
struct Pair {
    client: TcpStream,
    server: TcpStream,
    sockets: Map,
}

impl Pair {
    fn new() -> Result<Self, Answer> {
        let text = |error: crate::syscall::Error| Answer::untold(&error);
        let sockets = Map::create(&MapSpec::new("sidestep_check", MapType::SOCKHASH, 4, 8, 2)).map_err(text)?;
        let insns = redirector()
            .and_then(|program| program.encode_native(|_| Some(sockets.as_fd().as_raw_fd())))
            .map_err(|error| Answer::Unknown(error.to_string()))?;
        let spec =
            ProgSpec { license: dataplane::LICENSE, ..ProgSpec::new("sidestep_check", ProgType::SK_MSG, &insns) };
        let program = Program::load(&spec).map_err(text)?;
        prog_attach(sockets.as_fd(), program.as_fd(), AttachType::SK_MSG_VERDICT).map_err(text)?;
        let connect = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let client = TcpStream::connect_timeout(&listener.local_addr()?, TIMEOUT)?;
            let (server, _) = listener.accept()?;
            for end in [&client, &server] {
                end.set_read_timeout(Some(TIMEOUT))?;
                end.set_write_timeout(Some(TIMEOUT))?;
            }
            Ok((client, server))
        };
        let (client, server) =
            connect().map_err(|error: std::io::Error| Answer::Unknown(format!("no loopback connection: {error}")))?;
        Ok(Self { client, server, sockets })
    }

    fn enrol(&self, key: u32) -> Result<(), Answer> {
        let end = if key == CLIENT { &self.client } else { &self.server };
        let value = u64::from(end.as_raw_fd() as u32).to_ne_bytes();
        self.sockets.update(&key.to_ne_bytes(), &value, UpdateFlags::NO_EXIST).map_err(|error| Answer::untold(&error))
    }
}

/// `bpf_msg_redirect_hash(ctx, sockets, &SERVER, BPF_F_INGRESS); return SK_PASS`.
fn redirector() -> Result<crate::asm::Program, crate::asm::Error> {
    let mut asm = Asm::new();
    asm.store(Size::W, FP, -4, SERVER as i32);
    asm.load_map(Reg::R2, MapRef(0));
    asm.mov(Reg::R3, FP);
    asm.add(Reg::R3, -4);
    asm.mov(Reg::R4, F_INGRESS);
    asm.call(MSG_REDIRECT_HASH);
    asm.mov(Reg::R0, SK_PASS);
    asm.exit();
    asm.finish()
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
