//! Finding the descriptor of a socket where the programs could not tell it: a receive by io_uring does not name one.
//!
//! That takes a walk through all descriptors of the process, of which there may be very many, and other events wait meanwhile.
//! So the walk goes a few steps at a time, and one walk looks for all sockets of its process.

use std::collections::HashMap;

use crate::syscall::Descriptors;

/// Descriptors that are looked at before the thread does something else: 0.4 ms (6 us each, Linux 6.18, EPYC, busy).
const STEP: usize = 64;
/// Sockets that are looked for. The programs ask again for others.
const MOST: usize = 4_096;

/// Sockets that are looked for, each with what it is looked for.
#[derive(Debug)]
pub(super) struct Search<T> {
    wanted: HashMap<u64, (u32, T)>,
    walk: Option<(u32, Descriptors)>,
}

impl<T> Default for Search<T> {
    fn default() -> Self {
        Self { wanted: HashMap::new(), walk: None }
    }
}

impl<T> Search<T> {
    /// Looks for the socket with this cookie among those of `process`.
    pub(super) fn add(&mut self, process: u32, cookie: u64, purpose: T) {
        if self.wanted.len() < MOST {
            self.wanted.insert(cookie, (process, purpose));
        }
    }

    /// Whether nothing is looked for.
    pub(super) fn is_over(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Goes on for some steps. Answers what was found, each with its descriptor. What its process does not have is looked for
    /// no longer.
    pub(super) fn step(&mut self) -> Vec<(u32, T)> {
        let mut found = Vec::new();
        let Some((process, mut descriptors)) = self.walk.take().or_else(|| self.begin()) else { return found };
        for _ in 0..STEP {
            match descriptors.next() {
                None => {
                    self.wanted.retain(|_, (owner, _)| *owner != process);
                    return found;
                }
                Some(None) => {}
                Some(Some((descriptor, cookie))) => {
                    if self.wanted.get(&cookie).is_some_and(|(owner, _)| *owner == process) {
                        found.extend(self.wanted.remove(&cookie).map(|(_, purpose)| (descriptor, purpose)));
                    }
                }
            }
        }
        // Without any that is still wanted, the rest need not be seen.
        if self.wanted.values().any(|(owner, _)| *owner == process) {
            self.walk = Some((process, descriptors));
        }
        found
    }

    /// Begins with the process of any wanted socket.
    fn begin(&mut self) -> Option<(u32, Descriptors)> {
        loop {
            let process = self.wanted.values().next()?.0;
            match Descriptors::of(process) {
                Ok(descriptors) => return Some((process, descriptors)),
                // It has ended, or we may not look at it.
                Err(_) => self.wanted.retain(|_, (owner, _)| *owner != process),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;
    use crate::syscall::ForeignSocket;

    fn socket() -> (UdpSocket, u32, u64) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let cookie = ForeignSocket::own(socket.as_fd()).unwrap().cookie().unwrap();
        let descriptor = socket.as_raw_fd() as u32;
        (socket, descriptor, cookie)
    }

    /// Steps until the search is over, and what was found in each.
    fn steps(search: &mut Search<u8>) -> Vec<Vec<(u32, u8)>> {
        let mut all = Vec::new();
        while !search.is_over() {
            all.push(search.step());
        }
        all
    }

    #[test]
    fn a_walk_takes_many_small_steps_and_finds_all_that_are_wanted() {
        // Before and behind some others.
        let (_first, first, one) = socket();
        let others: Vec<_> = (0..5 * STEP).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let (_second, second, two) = socket();
        let mut search = Search::default();
        search.add(std::process::id(), one, 1);
        search.add(std::process::id(), two, 2);
        let steps = steps(&mut search);
        assert!(steps.len() > 5, "{} descriptors in {} steps", others.len(), steps.len());
        let mut found: Vec<_> = steps.concat();
        found.sort_by_key(|(_, purpose)| *purpose);
        assert_eq!(found, [(first, 1), (second, 2)]);
    }

    #[test]
    fn what_is_not_there_is_looked_for_once() {
        let (_socket, descriptor, cookie) = socket();
        let mut search = Search::default();
        // No process has this number (PID_MAX_LIMIT is 2^22, include/linux/threads.h).
        search.add(u32::MAX, 1, 0);
        search.add(std::process::id(), u64::MAX, 1);
        search.add(std::process::id(), cookie, 2);
        assert_eq!(steps(&mut search).concat(), [(descriptor, 2)]);
        assert!(search.walk.is_none() && search.step().is_empty());
        for cookie in 0..2 * MOST as u64 {
            search.add(u32::MAX, cookie, 3);
        }
        assert_eq!(search.wanted.len(), MOST);
    }
    #[test]
    #[ignore = "a measurement: what a process with 19,000 descriptors costs"]
    fn a_walk_of_many_descriptors_is_timed() {
        let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure is live in both calls.
        unsafe {
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits);
            limits.rlim_cur = limits.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits);
        }
        let (one, ..) = socket();
        let all: Vec<_> = (0..19_000).map(|_| one.try_clone().unwrap()).collect();
        let (_last, descriptor, cookie) = socket();
        let mut search = Search::default();
        search.add(std::process::id(), cookie, 1);
        let (mut times, mut found) = (Vec::new(), Vec::new());
        while !search.is_over() {
            let begun = std::time::Instant::now();
            found.extend(search.step());
            times.push(begun.elapsed());
        }
        assert_eq!(found, [(descriptor, 1)]);
        times.sort();
        let (total, steps) = (times.iter().sum::<std::time::Duration>(), times.len());
        println!(
            "{} descriptors: {steps} steps, {total:.1?}, median {:.0?}, longest {:.0?}",
            all.len(),
            times[steps / 2],
            times[steps - 1]
        );
    }
}
