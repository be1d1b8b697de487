//! What the data plane rests on: where redirected bytes are, and when they are read.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Probe;
use crate::agent::check::finding::Answer;
use crate::agent::check::pair::{CLIENT, Pair, SERVER};

/// All that is waited for is in the kernel already. So a longer wait costs nothing, but on a machine that does not come
/// round to it.
const TIMEOUT: Duration = Duration::from_secs(10);

const REDIRECTED: &[u8] = b"redirected, ";
const BY_STACK: &[u8] = b"by the stack";

/// The three answers. Where one cannot be had, neither can those after it.
pub(super) fn probe() -> [(Probe, Answer); 3] {
    let unknown = |why: Answer| [Probe::AtOnce, Probe::Order, Probe::AfterLeaving].map(|probe| (probe, why.clone()));
    let mut pair = match members() {
        Ok(pair) => pair,
        Err(why) => return unknown(why),
    };
    let at_once = Answer::of(at_once(&mut pair));
    let order = Answer::of(order(&mut pair));
    let after_leaving = match order {
        Answer::Yes(_) => Answer::of(after_leaving(&mut pair)),
        _ => Answer::Unknown("bytes of before could not be told from those of after".into()),
    };
    [(Probe::AtOnce, at_once), (Probe::Order, order), (Probe::AfterLeaving, after_leaving)]
}

/// A connection of which both ends are in the sockhash, and the receiver does not wait.
fn members() -> Result<Pair, Answer> {
    let pair = Pair::of_members()?;
    pair.server.set_nonblocking(true).map_err(|error| Answer::Unknown(format!("no O_NONBLOCK: {error}")))?;
    Ok(pair)
}

/// send(2) has returned: the bytes must be in the reader's queue, since that is where the programs look for them.
fn at_once(pair: &mut Pair) -> Result<Answer, Answer> {
    pair.send(REDIRECTED)?;
    let mut got = [0; REDIRECTED.len()];
    match pair.server.read(&mut got) {
        Ok(count) if got[..count] == *REDIRECTED => Ok(Answer::Yes(String::new())),
        Ok(count) => Ok(Answer::No(format!("recv(2) returned {count} of {} bytes", REDIRECTED.len()))),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            // They are read later, so that they do not stand before those of the next probe.
            let late = receive(pair, REDIRECTED.len())?;
            Ok(Answer::No(format!("recv(2) found nothing then, and {} bytes later", late.len())))
        }
        Err(error) => Err(Answer::Unknown(format!("cannot receive: {error}"))),
    }
}

/// Redirected bytes wait unread; the sender leaves, and sends by the stack.
fn order(pair: &mut Pair) -> Result<Answer, Answer> {
    pair.send(REDIRECTED)?;
    pair.remove(CLIENT)?;
    pair.send(BY_STACK)?;
    arrived(pair)?;
    let got = receive(pair, REDIRECTED.len() + BY_STACK.len())?;
    Ok(if got == [REDIRECTED, BY_STACK].concat() {
        Answer::Yes(String::new())
    } else {
        Answer::No(format!("{:?} came out", String::from_utf8_lossy(&got)))
    })
}

/// The receiver leaves, and gets more by the stack.
fn after_leaving(pair: &mut Pair) -> Result<Answer, Answer> {
    pair.remove(SERVER)?;
    pair.send(BY_STACK)?;
    arrived(pair)?;
    let got = receive(pair, BY_STACK.len())?;
    Ok(if got == BY_STACK {
        Answer::Yes(String::new())
    } else {
        Answer::No(format!("{:?} came out", String::from_utf8_lossy(&got)))
    })
}

/// Waits until the receiver's kernel has everything that the client has sent by the stack.
fn arrived(pair: &Pair) -> Result<(), Answer> {
    let start = Instant::now();
    loop {
        let mut unacknowledged: libc::c_int = -1;
        // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes one int to the address, which is live and writable.
        let answer = unsafe { libc::ioctl(pair.client.as_raw_fd(), libc::TIOCOUTQ, &mut unacknowledged) };
        match (answer, unacknowledged) {
            (0, 0) => return Ok(()),
            (0, _) if start.elapsed() < TIMEOUT => std::thread::yield_now(),
            (0, _) => return Err(Answer::Unknown("the bytes by the stack did not arrive".into())),
            _ => return Err(Answer::Unknown(format!("ioctl(SIOCOUTQ) failed: {}", std::io::Error::last_os_error()))),
        }
    }
}

/// What the server reads, up to `count` bytes: fewer only when no more have come in time.
fn receive(pair: &mut Pair, count: usize) -> Result<Vec<u8>, Answer> {
    let (start, mut got) = (Instant::now(), Vec::new());
    while got.len() < count {
        let left = TIMEOUT.saturating_sub(start.elapsed());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pair.server.as_fd(), PollFlags::POLLIN)], timeout) {
            _ if left.is_zero() => break,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Answer::Unknown(format!("cannot wait for the bytes: {errno}"))),
        }
        let mut buffer = vec![0; count - got.len()];
        match pair.server.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => got.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(Answer::Unknown(format!("cannot receive: {error}"))),
        }
    }
    Ok(got)
}
