//! Short connections: one message there and back, then the end.

use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};

use nix::poll::PollFlags;

use super::wire::{accept, connect, listen, wait, waits};
use super::{Spec, each_round, say};
use crate::testbed::StackBytes;

/// Serves or makes connections, one at a time.
pub(super) fn work(spec: &Spec, address: SocketAddr, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
    let mut message = vec![0x5a; spec.size];
    let listener = spec.is_server.then(|| listen(address)).transpose()?;
    if let Some(listener) = &listener {
        say(out, &format!("ready {}", listener.local_addr()?.port()))?;
    }
    say(out, "ready 0")?;
    // Looking at TCP_INFO is a system call, so only the last connection of a round is looked at.
    let (mut written, mut by_stack) = (0, 0);
    each_round(input, out, |connections| {
        for at in 1..=connections {
            let stream = match &listener {
                Some(listener) => {
                    let stream = accept(listener)?;
                    read(&stream, &mut message)?;
                    write(&stream, &message)?;
                    // The client closes first.
                    if read(&stream, &mut [0])? != 0 {
                        return Err(io::Error::other("it received bytes that were never sent"));
                    }
                    stream
                }
                None => {
                    let stream = connect(address)?;
                    write(&stream, &message)?;
                    if read(&stream, &mut message)? != message.len() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    stream
                }
            };
            if at == connections {
                written += message.len() as u64;
                by_stack += StackBytes::of(&stream)?.sent;
            }
        }
        Ok(())
    })?;
    say(out, &format!("bye {written} {by_stack}"))
}

/// Fills the buffer, unless the stream ends before.
fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if waits(&error) => wait(stream, PollFlags::POLLIN)?,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn write(mut stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if waits(&error) => wait(stream, PollFlags::POLLOUT)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
