//! A transparent TCP proxy: what Envoy does in an Istio pod, without looking at the bytes.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};

use nix::sys::epoll::{Epoll, EpollFlags};
use serde::{Deserialize, Serialize};

use super::flow::Flow;
use super::report::Report;
use super::server::{FIRST_CONNECTION, Service};
use super::socket::{connect, original_destination, reset_on_close};
use super::watched::Watched;

/// Where a sidecar sends what it gets.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Routing {
    /// Outbound: a service's address and the app behind it. Other destinations are left as they are.
    pub service: (SocketAddr, SocketAddr),
    /// Inbound: the source address of connections to the app.
    pub inbound_source: IpAddr,
}

/// Number of the outbound listener in [`serve`](super::server::serve)'s list; the inbound one follows.
const OUTBOUND: usize = 0;

/// The proxy's connections.
#[derive(Debug)]
pub(super) struct Sidecar {
    routing: Routing,
    pairs: HashMap<u64, Pair>,
    next: u64,
    report: Report,
}

/// A connection from downstream and the one made for it upstream. Their tokens are the pair's key and the next one.
#[derive(Debug)]
struct Pair {
    downstream: Watched,
    upstream: Watched,
    /// The upstream connection is established.
    connected: bool,
    to_upstream: Flow,
    to_downstream: Flow,
}

impl Sidecar {
    pub(super) fn new(routing: Routing) -> Self {
        Self { routing, pairs: HashMap::new(), next: FIRST_CONNECTION, report: Report::default() }
    }

    /// Ends all connections and sums up.
    pub(super) fn finish(mut self) -> io::Result<Report> {
        for pair in self.pairs.values() {
            pair.add_to(&mut self.report)?;
        }
        Ok(self.report)
    }

    /// Opens the upstream connection for one from downstream.
    fn dial(&self, listener: usize, downstream: &TcpStream) -> io::Result<TcpStream> {
        let target = original_destination(downstream)?;
        if target == downstream.local_addr()? {
            // A program called the sidecar itself: passing that on would call it again, forever.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if listener == OUTBOUND {
            let (service, app) = self.routing.service;
            connect(if target == service { app } else { target }, None)
        } else {
            connect(target, Some(self.routing.inbound_source))
        }
    }
}

impl Service for Sidecar {
    fn accepted(&mut self, epoll: &Epoll, listener: usize, downstream: TcpStream) -> io::Result<()> {
        let Ok(upstream) = self.dial(listener, &downstream) else {
            self.report.failed += 1;
            reset_on_close(&downstream);
            return Ok(());
        };
        let key = self.next;
        self.next += 2;
        let mut pair = Pair {
            downstream: Watched::new(downstream, key),
            upstream: Watched::new(upstream, key + 1),
            connected: false,
            to_upstream: Flow::new(),
            to_downstream: Flow::new(),
        };
        pair.watch(epoll)?;
        self.pairs.insert(key, pair);
        Ok(())
    }

    fn event(&mut self, epoll: &Epoll, token: u64, flags: EpollFlags) -> io::Result<()> {
        let key = token - (token - FIRST_CONNECTION) % 2;
        let Some(pair) = self.pairs.get_mut(&key) else { return Ok(()) };
        let failed = pair.advance(token == key, flags).is_err();
        if failed || pair.to_upstream.is_finished() && pair.to_downstream.is_finished() {
            self.report.failed += u64::from(failed);
            pair.add_to(&mut self.report)?;
            if failed {
                // The end that is still open sees a failure, not an orderly end.
                reset_on_close(&pair.downstream.stream);
                reset_on_close(&pair.upstream.stream);
            }
            self.pairs.remove(&key);
            return Ok(());
        }
        pair.watch(epoll)
    }
}

impl Pair {
    fn advance(&mut self, from_downstream: bool, flags: EpollFlags) -> io::Result<()> {
        let Self { downstream, upstream, connected, to_upstream, to_downstream } = self;
        if !*connected {
            // Only the upstream socket is watched until then.
            if let Some(error) = upstream.stream.take_error()? {
                return Err(error);
            }
            *connected = true;
            return Ok(());
        }
        let readable = flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        let writable = flags.contains(EpollFlags::EPOLLOUT);
        let (down, up) = (&downstream.stream, &upstream.stream);
        let ((onward, from, to), (backward, back_from)) = if from_downstream {
            ((to_upstream, down, up), (to_downstream, up))
        } else {
            ((to_downstream, up, down), (to_upstream, down))
        };
        if readable {
            onward.advance(from, to, true)?;
        }
        if writable {
            backward.advance(back_from, from, false)?;
        }
        Ok(())
    }

    fn watch(&mut self, epoll: &Epoll) -> io::Result<()> {
        if !self.connected {
            self.downstream.watch(epoll, false, false)?;
            return self.upstream.watch(epoll, false, true);
        }
        self.downstream.watch(epoll, self.to_upstream.wants_input(), self.to_downstream.has_output())?;
        self.upstream.watch(epoll, self.to_downstream.wants_input(), self.to_upstream.has_output())
    }

    fn add_to(&self, report: &mut Report) -> io::Result<()> {
        report.downstream.add(&self.downstream, self.to_downstream.written())?;
        report.upstream.add(&self.upstream, self.to_upstream.written())
    }
}
