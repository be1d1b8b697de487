//! A queue of bounded length that takes memory only for what waits in it; that of the standard library takes all of it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How many wait at most.
const MOST: usize = 16_384;

/// Where things are put in.
#[derive(Debug)]
pub(super) struct Tail<T> {
    channel: Sender<T>,
    waiting: Arc<AtomicUsize>,
}

impl<T> Clone for Tail<T> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), waiting: Arc::clone(&self.waiting) }
    }
}

/// Where they are taken out.
#[derive(Debug)]
pub(super) struct Front<T> {
    channel: Receiver<T>,
    waiting: Arc<AtomicUsize>,
}

/// An empty one.
pub(super) fn queue<T>() -> (Tail<T>, Front<T>) {
    let ((sender, receiver), waiting) = (channel(), Arc::default());
    (Tail { channel: sender, waiting: Arc::clone(&waiting) }, Front { channel: receiver, waiting })
}

impl<T> Tail<T> {
    /// Puts one in, if there is room.
    pub(super) fn put(&self, one: T) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST || self.channel.send(one).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<T> Front<T> {
    /// Takes one out; waits so long for it.
    pub(super) fn take(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let one = self.channel.recv_timeout(timeout)?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Ok(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_left_out() {
        let (tail, front) = queue();
        (0..=MOST).for_each(|number| tail.put(number));
        assert_eq!(front.take(Duration::ZERO), Ok(0));
        // Room for one.
        [MOST + 1, MOST + 2].into_iter().for_each(|number| tail.clone().put(number));
        let rest: Vec<usize> = std::iter::from_fn(|| front.take(Duration::ZERO).ok()).collect();
        assert_eq!(rest, (1..MOST).chain([MOST + 1]).collect::<Vec<_>>());
        drop(tail);
        assert_eq!(front.take(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
    }
}
