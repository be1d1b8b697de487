//! What echo server and sidecar share: listeners, an epoll loop, and an end when the parent says so.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::socket::{accept, listen};

/// The token of the control pipe. Tokens below [`FIRST_CONNECTION`] are its and the listeners'.
const CONTROL: u64 = 0;
/// The first token that connections use.
pub(super) const FIRST_CONNECTION: u64 = 16;

/// The work of a server, called by [`serve`].
pub(super) trait Service {
    /// Takes a connection that the listener number `listener` has accepted.
    fn accepted(&mut self, epoll: &Epoll, listener: usize, stream: TcpStream) -> io::Result<()>;
    /// Acts on an event about a socket of its own.
    fn event(&mut self, epoll: &Epoll, token: u64, flags: EpollFlags) -> io::Result<()>;
}

/// Serves on these addresses until `control` is readable or closed, after calling `ready`.
pub(super) fn serve(
    addresses: &[SocketAddr],
    service: &mut impl Service,
    control: impl AsFd,
    ready: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(control, EpollEvent::new(EpollFlags::EPOLLIN, CONTROL))?;
    let mut listeners: Vec<TcpListener> = Vec::new();
    for (&address, token) in addresses.iter().zip(CONTROL + 1..FIRST_CONNECTION) {
        let listener = listen(address)
            .map_err(|error| io::Error::new(error.kind(), format!("it cannot listen on {address} ({error})")))?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        listeners.push(listener);
    }
    ready()?;
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = wait(&epoll, &mut events)?;
        for event in &events[..count] {
            match event.data() {
                CONTROL => return Ok(()),
                token @ ..FIRST_CONNECTION => {
                    let index = (token - CONTROL - 1) as usize;
                    while let Some(stream) = accept(&listeners[index])? {
                        service.accepted(&epoll, index, stream)?;
                    }
                }
                token => service.event(&epoll, token, event.events())?,
            }
        }
    }
}

/// Waits for events as long as it takes.
pub(super) fn wait(epoll: &Epoll, events: &mut [EpollEvent]) -> io::Result<usize> {
    match epoll.wait(events, EpollTimeout::NONE) {
        Err(Errno::EINTR) => Ok(0),
        done => Ok(done?),
    }
}
