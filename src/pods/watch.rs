//! Following the pods of the node while they come and go.
//!
//! A thread lists them every second. Where the runtime has a stream of events (containerd 1.7, CRI-O 1.26), it lists them at each
//! event as well, and less often without one. When the runtime does not answer, it tries again, less and less often.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::cri::{Client, Events};
use super::error::{Error, Result};
use super::listing::{Listing, Places, event_loop};

/// Between two lists without events: as often as the kubelet itself lists them (`genericPlegRelistPeriod`).
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Between two lists where events say what changes.
const POLL_INTERVAL_WITH_EVENTS: Duration = Duration::from_secs(10);
/// Between a list and the next one at an event, so that many events at once are one list.
const SETTLE: Duration = Duration::from_millis(50);
/// Between two attempts to reach a runtime that does not answer; twice as long each time.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The pods, as a thread goes on reading them.
#[derive(Debug)]
pub struct Watch {
    wake: Arc<EventFd>,
    news: Arc<Mutex<Option<Result<Listing>>>>,
}

impl Watch {
    /// Starts the thread, which ends with the process. It has what this thread may do.
    pub fn start(socket: PathBuf) -> Result<Self> {
        let failed = |error: std::io::Error| Error::System(error.to_string());
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let wake = Arc::new(wake.map_err(|errno| failed(errno.into()))?);
        let watch = Self { wake, news: Arc::default() };
        let board = Board { wake: Arc::clone(&watch.wake), news: Arc::clone(&watch.news) };
        let event_loop = event_loop()?;
        let run = move || event_loop.block_on(follow(&socket, &board));
        thread::Builder::new().name("pods".into()).spawn(run).map_err(failed)?;
        Ok(watch)
    }

    /// The latest list, or why there is none any more; `None` where nothing has come since the last call.
    pub fn take(&self) -> Option<Result<Listing>> {
        // An error says that nothing has come.
        let _ = self.wake.read();
        self.news.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl AsFd for Watch {
    /// Readable when there is news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Where the thread leaves its news.
struct Board {
    wake: Arc<EventFd>,
    news: Arc<Mutex<Option<Result<Listing>>>>,
}

impl Board {
    fn publish(&self, news: Result<Listing>) {
        *self.news.lock().unwrap_or_else(PoisonError::into_inner) = Some(news);
        // It fails only when it counts 2^64 news that were not read, and is readable then.
        let _ = self.wake.write(1);
    }
}

async fn follow(socket: &Path, board: &Board) {
    let mut retry = FIRST_RETRY;
    loop {
        let mut has_answered = false;
        let error = converse(socket, board, &mut has_answered).await;
        if has_answered {
            retry = FIRST_RETRY;
        }
        board.publish(Err(error));
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

/// Lists the pods over one connection until it breaks.
async fn converse(socket: &Path, board: &Board, has_answered: &mut bool) -> Error {
    let client = match Client::connect(socket).await {
        Ok(client) => client,
        Err(error) => return error,
    };
    // Before the first list, so that nothing is missed between the two.
    let mut events = client.events().await.ok();
    let mut places = Places::default();
    loop {
        match places.list(&client).await {
            Ok(listing) => board.publish(Ok(listing)),
            Err(error) => return error,
        }
        *has_answered = true;
        tokio::time::sleep(SETTLE).await;
        wait(&mut events).await;
    }
}

/// Waits for the next event, or until the interval is over.
async fn wait(events: &mut Option<Events>) {
    let Some(stream) = events else { return tokio::time::sleep(POLL_INTERVAL).await };
    if let Ok(Err(_)) = tokio::time::timeout(POLL_INTERVAL_WITH_EVENTS, stream.next()).await {
        // The runtime has no such stream, or has ended it (CRI-O at once, unless `enable_pod_events` is on): a list is due in
        // either case.
        *events = None;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::pods::cri::tests::runtime_with_events;

    fn next(watch: &Watch) -> Result<Listing> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(100_u8)).unwrap();
            if let Some(news) = watch.take() {
                return news;
            }
        }
        panic!("no news");
    }

    #[test]
    fn a_runtime_that_is_not_there_is_tried_again_and_again() {
        let socket = std::env::temp_dir().join(format!("sidestep-watch-{}.sock", std::process::id()));
        let watch = Watch::start(socket.clone()).unwrap();
        let first = next(&watch).unwrap_err();
        assert!(first.to_string().contains("No such file"), "{first}");
        // Someone who closes each connection at once.
        let listener = UnixListener::bind(&socket).unwrap();
        let (stream, _) = listener.accept().unwrap();
        drop(stream);
        while next(&watch).unwrap_err() == first {}
        drop(listener.accept().unwrap());
        std::fs::remove_file(&socket).unwrap();
    }
    #[test]
    fn an_event_of_the_runtime_is_followed_by_a_list_at_once() {
        let socket = std::env::temp_dir().join(format!("sidestep-events-{}.sock", std::process::id()));
        let (tell, events) = std::sync::mpsc::channel();
        let path = socket.clone();
        thread::spawn(move || runtime_with_events(path, events));
        let watch = Watch::start(socket.clone()).unwrap();
        // The socket may not be there at first.
        let start = loop {
            if let Ok(listing) = next(&watch) {
                assert_eq!((listing.pods.len(), listing.complaints.len()), (1, 1), "{listing:?}");
                break Instant::now();
            }
        };
        for _ in 0..3 {
            tell.send(()).unwrap();
            assert_eq!(next(&watch).unwrap().pods.len(), 1);
        }
        // Without an event, each list would have come after this interval.
        assert!(start.elapsed() < POLL_INTERVAL_WITH_EVENTS, "{:?}", start.elapsed());
        std::fs::remove_file(&socket).unwrap();
    }
}
