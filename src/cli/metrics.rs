//! `sidestep metrics`: the metrics once, and the server that `run --metrics` starts.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::error::Error;
use super::streams::{Streams, note};
use super::target::PinArgs;
use crate::agent::Reading;
use crate::agent::lifecycle::Pins;
use crate::metrics::http::{self, Request, Response};
use crate::metrics::{Facts, OPENMETRICS, PLAIN, PodFacts, StateCounts, openmetrics, plain};
use crate::observe::Observer;

/// How long a request waits for the loop that also detaches. It looks at maps and sockets, which takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Requests that wait for it; the server has no more threads.
const WAITING: usize = 4;

/// A look at all connections of the node that takes this long or longer counts for [`LOOKS`] times as long as it took: such looks take
/// at most 5 % of a CPU, however many connections there are. Shorter ones are made for each scrape, since a scraper expects what is now.
const LONG: Duration = Duration::from_millis(100);
/// See [`LONG`].
const LOOKS: u32 = 20;

/// Print the metrics of what is attached, for Prometheus
///
/// Shows what is pinned, in OpenMetrics; `run --metrics` serves the same over HTTP, with what `run` knows of pods. Changes nothing. Without CAP_PERFMON, or
/// before Linux 5.10, the connections of the node are left out.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write this file for node_exporter's textfile collector instead, in the older format that it reads. The file is
    /// replaced at once, so that no reader sees half of it
    #[arg(long, value_name = "PATH")]
    textfile: Option<PathBuf>,
    #[command(flatten)]
    pins: PinArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let mut facts = Facts::default();
    match readings(&args.pins) {
        Ok(readings) => facts.readings = readings,
        // Another user sees the connections all the same.
        Err(error) if !nix::unistd::geteuid().is_root() => {
            note(format_args!("sidestep: the metrics leave out what is attached: {error}"))
        }
        Err(error) => return Err(error),
    }
    facts.connections = Observer::new().and_then(|observer| observer.look()).ok().as_ref().map(StateCounts::of);
    let text = openmetrics(&facts);
    match &args.textfile {
        None => streams.out.write_all(text.as_bytes())?,
        Some(path) => replace(path, &plain(&text))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What each pinned data plane tells.
fn readings(pins: &PinArgs) -> Result<Vec<Reading>, Error> {
    let mut readings = Vec::new();
    if pins.bpffs.is_some() || Pins::are_possible()? {
        for instance in pins.find(false)?.instances()? {
            readings.extend(instance.reading()?);
        }
    }
    Ok(readings)
}

/// Writes a file beside `path`, and renames it.
fn replace(path: &Path, text: &str) -> Result<(), Error> {
    // The collector reads *.prom alone.
    let beside = path.with_extension("prom.new");
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| Error::Failed(format!("cannot write {}: {error}", path.display())))
}

/// The server, as the loop of `run` sees it: the loop answers, since it alone holds what is attached.
pub(super) struct Exporter {
    address: SocketAddr,
    asked: Receiver<(Request, SyncSender<Response>)>,
    wake: Arc<EventFd>,
    observer: Option<Observer>,
    seen: Option<Seen>,
}

/// What the last look at the connections saw.
struct Seen {
    counts: StateCounts,
    until: Instant,
}

/// Listens for scrapers, who wait until [`Exporter::start`].
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|error| cannot_listen(address, error))
}

fn cannot_listen(address: SocketAddr, error: std::io::Error) -> Error {
    Error::Failed(format!("cannot listen for scrapers on {address}: {error}; name another address with --metrics"))
}

impl Exporter {
    /// Starts the server. Its threads have the privileges of the caller, so this one has given up its own before.
    pub(super) fn start(listener: &TcpListener) -> Result<Self, Error> {
        let address = listener.local_addr()?;
        let failed = |error: std::io::Error| cannot_listen(address, error);
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let wake = Arc::new(wake.map_err(|errno| failed(errno.into()))?);
        let (ask, asked) = sync_channel(WAITING);
        let (ask, waker) = (Mutex::new(ask), Arc::clone(&wake));
        let forward = move |request: Request| {
            if !["/metrics", "/healthz", "/readyz"].contains(&request.path.as_str()) {
                return Response::text(404, "sidestep answers /metrics, /healthz and /readyz");
            }
            let late = || Response::text(503, "sidestep does not answer in time");
            let ask = match ask.lock() {
                Ok(ask) => SyncSender::clone(&ask),
                Err(_) => return late(),
            };
            let (answer, answered) = sync_channel(1);
            if ask.try_send((request, answer)).is_err() || waker.write(1).is_err() {
                return late();
            }
            answered.recv_timeout(TIMEOUT).unwrap_or_else(|_| late())
        };
        http::serve(listener, forward).map_err(failed)?;
        let observer = Observer::new()
            .inspect_err(|error| {
                note(format_args!("sidestep: the metrics leave out the connections of the node: {error}"))
            })
            .ok();
        Ok(Self { address, asked, wake, observer, seen: None })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers all that wait.
    pub(super) fn answer(
        &mut self,
        mut reading: impl FnMut() -> Result<Option<Reading>, Error>,
        pods: impl Fn() -> Option<PodFacts>,
    ) {
        // An error says that no request has come.
        let _ = self.wake.read();
        while let Ok((request, answer)) = self.asked.try_recv() {
            let response = match request.path.as_str() {
                "/healthz" => Response::text(200, "ok"),
                "/readyz" => ready(reading()),
                _ => self.metrics(&request, reading(), pods()),
            };
            // The client may have given up.
            let _ = answer.try_send(response);
        }
    }

    /// The connections of the node, as a look that is new enough has seen them.
    fn connections(&mut self) -> Option<StateCounts> {
        let start = Instant::now();
        if self.seen.as_ref().is_none_or(|seen| seen.until <= start) {
            let counts = self.observer.as_ref()?.look().ok().as_ref().map(StateCounts::of)?;
            self.seen = Some(Seen { counts, until: start + counts_for(start.elapsed()) });
        }
        self.seen.as_ref().map(|seen| seen.counts.clone())
    }

    fn metrics(
        &mut self,
        request: &Request,
        reading: Result<Option<Reading>, Error>,
        pods: Option<PodFacts>,
    ) -> Response {
        let readings = match reading {
            Ok(reading) => reading.into_iter().collect(),
            Err(error) => return Response::text(503, error.to_string()),
        };
        let body = openmetrics(&Facts { readings, connections: self.connections(), pods });
        if request.openmetrics {
            Response { status: 200, content_type: OPENMETRICS, body }
        } else {
            Response { status: 200, content_type: PLAIN, body: plain(&body) }
        }
    }
}

/// How long a look counts that has taken so long.
fn counts_for(took: Duration) -> Duration {
    if took < LONG { Duration::ZERO } else { took * LOOKS }
}

impl AsFd for Exporter {
    /// Readable when a request has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Whether new connections are accelerated.
fn ready(reading: Result<Option<Reading>, Error>) -> Response {
    match reading {
        Ok(Some(reading)) if reading.problems.is_empty() => Response::text(200, "ready"),
        Ok(Some(reading)) => {
            let problems: Vec<_> = reading.problems.iter().map(ToString::to_string).collect();
            Response::text(503, problems.join("\n"))
        }
        Ok(None) => Response::text(503, "nothing is attached"),
        Err(error) => Response::text(503, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_take_long_are_rare() {
        assert_eq!(counts_for(Duration::from_millis(99)), Duration::ZERO);
        assert_eq!(counts_for(Duration::from_secs(1)), Duration::from_secs(20));
    }
}
