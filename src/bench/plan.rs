//! Which cells are measured, and how long.

use std::time::Duration;

use super::cell::{Cell, Link, Placement, Workload};
use super::languages::Language;
use crate::dataplane::Streams;

/// How much to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds of each variant, interleaved. At least 6: fewer give no 95 % interval.
    pub rounds: usize,
    /// CPU time of one round of plain TCP; the other variants do as many operations.
    pub round: Duration,
    /// What to measure.
    pub cells: Vec<Cell>,
    /// What becomes of streams in the accelerated variants.
    pub streams: Streams,
    /// How often to attach and detach for the start-up times.
    pub starts: usize,
}

const PING_PONG: [usize; 7] = [1, 64, 512, 1 << 10, 4 << 10, 16 << 10, 64 << 10];
const STREAM: [usize; 8] = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
const PLACEMENTS: [Placement; 2] = [Placement::SameCore, Placement::AcrossCores];

/// What protection costs: a message there and back, which is two receives, and a connection. Both ends on one CPU, since the
/// differences are smaller than what it costs to wake another.
fn protection() -> [Cell; 3] {
    [
        (Workload::PingPong, Placement::SameCore),
        (Workload::Connection, Placement::SameCore),
        (Workload::Connection, Placement::ServerFirst),
    ]
    .map(|(workload, placement)| Cell {
        workload,
        size: 64,
        link: Link::Loopback,
        placement,
        nagle: false,
        server_outside: false,
        protection: true,
        language: None,
    })
}

impl Plan {
    /// Everything: some four minutes.
    pub fn full() -> Self {
        let mut cells = Vec::new();
        for (workload, sizes) in [(Workload::PingPong, &PING_PONG[..]), (Workload::Stream, &STREAM[..])] {
            for link in [Link::Loopback, Link::VethConntrack] {
                for placement in PLACEMENTS {
                    cells.extend(sizes.iter().map(|&size| Cell {
                        workload,
                        size,
                        link,
                        placement,
                        nagle: false,
                        server_outside: false,
                        protection: false,
                        language: None,
                    }));
                }
            }
        }
        // What programs do that have never heard of TCP_NODELAY.
        for placement in PLACEMENTS {
            cells.extend([64, 1 << 10, 16 << 10].map(|size| Cell {
                workload: Workload::Stream,
                size,
                link: Link::Loopback,
                placement,
                nagle: true,
                server_outside: false,
                protection: false,
                language: None,
            }));
        }
        // Without connection tracking: one size of each, to see what part of the gain is conntrack's.
        for (workload, size) in [(Workload::PingPong, 64), (Workload::Stream, 16 << 10)] {
            cells.extend(PLACEMENTS.map(|placement| Cell {
                workload,
                size,
                link: Link::Veth,
                placement,
                nagle: false,
                server_outside: false,
                protection: false,
                language: None,
            }));
        }
        for link in [Link::Loopback, Link::VethConntrack] {
            for server_outside in [false, true] {
                let placements = [Placement::SameCore, Placement::ServerFirst, Placement::AcrossCores];
                cells.extend(placements.map(|placement| Cell {
                    workload: Workload::Connection,
                    size: 64,
                    link,
                    placement,
                    nagle: false,
                    server_outside,
                    protection: false,
                    language: None,
                }));
            }
        }
        // Traffic with other nodes, over veth as it would come from one.
        for (workload, sizes) in [(Workload::PingPong, &[64][..]), (Workload::Stream, &[1 << 10, 64 << 10][..])] {
            cells.extend(sizes.iter().map(|&size| Cell {
                workload,
                size,
                link: Link::Veth,
                placement: Placement::SameCore,
                nagle: false,
                server_outside: true,
                protection: false,
                language: None,
            }));
        }
        cells.extend(protection());
        // What people run: the networking of a language, with all that its runtime does besides.
        cells.extend(Language::ALL.map(|language| Cell {
            workload: Workload::PingPong,
            size: 1 << 10,
            link: Link::Loopback,
            placement: Placement::SameCore,
            nagle: false,
            server_outside: false,
            protection: false,
            language: Some(language),
        }));
        Self { rounds: 21, round: Duration::from_millis(20), cells, streams: Streams::default(), starts: 15 }
    }

    /// One cell of every kind in a few seconds: that everything works, not how fast it is.
    pub fn quick() -> Self {
        let cell = |workload, size, link, server_outside| Cell {
            workload,
            size,
            link,
            placement: Placement::SameCore,
            nagle: false,
            server_outside,
            protection: false,
            language: None,
        };
        let mut cells = vec![
            cell(Workload::PingPong, 64, Link::Loopback, false),
            cell(Workload::PingPong, 64, Link::VethConntrack, false),
            cell(Workload::Stream, 1 << 10, Link::Loopback, false),
            cell(Workload::Stream, 64 << 10, Link::Loopback, false),
            cell(Workload::Connection, 64, Link::Loopback, false),
            cell(Workload::Connection, 64, Link::Loopback, true),
            cell(Workload::PingPong, 64, Link::Veth, true),
        ];
        cells.extend(protection());
        cells.push(Cell {
            language: Some(Language::Python),
            ..cell(Workload::PingPong, 1 << 10, Link::Loopback, false)
        });
        Self { rounds: 7, round: Duration::from_millis(4), cells, streams: Streams::default(), starts: 3 }
    }

    /// Keeps the cells whose name contains each of the words.
    pub fn filter(&mut self, words: &[String]) {
        self.cells.retain(|cell| {
            let name = cell.name();
            words.iter().all(|word| name.contains(word.as_str()))
        });
    }

    /// Leaves out what needs two CPUs, where there is only one. The answer is how many cells went.
    pub(super) fn without_two_cores(&mut self) -> usize {
        let before = self.cells.len();
        self.cells.retain(|cell| cell.placement.is_one_core());
        before - self.cells.len()
    }

    /// Leaves out what needs a server that runs first, where that is not permitted. The answer is how many cells went.
    pub(super) fn without_server_first(&mut self) -> usize {
        let before = self.cells.len();
        self.cells.retain(|cell| cell.placement != Placement::ServerFirst);
        before - self.cells.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cells_share_a_name() {
        for plan in [Plan::full(), Plan::quick()] {
            let mut names: Vec<String> = plan.cells.iter().map(Cell::name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count);
            assert!(plan.rounds >= 6, "fewer rounds give no interval");
        }
    }

    #[test]
    fn a_filter_keeps_what_matches_every_word() {
        let mut plan = Plan::full();
        plan.filter(&["protection".into()]);
        assert_eq!(plan.cells, protection());
        let mut plan = Plan::full();
        plan.filter(&["ping-pong 64 B".into(), "two cores".into()]);
        assert_eq!(plan.cells.len(), 3);
        assert_eq!(plan.without_two_cores(), 3);
        let mut plan = Plan::full();
        plan.filter(&["connection".into(), "server first".into()]);
        assert_eq!(plan.cells.len(), 5);
        assert_eq!((plan.without_two_cores(), plan.without_server_first()), (0, 5));
    }
}
