//! A running agent lets connections come back that have left the sockhash, when they are calm, and adopts those that could not be
//! adopted before. As long as it does, the programs may leave connections alone.

use std::time::{Duration, Instant};

use super::held::Held;
use crate::agent::{Adopted, Looks, adoption_support};
use crate::cli::error::Error;
use crate::cli::existing::{describe, recorded};
use crate::cli::log::Log;
use crate::cli::target::Wanted;
use crate::dataplane::DataPlane;

/// Between two looks at all sockets of the machine.
const INTERVAL: Duration = Duration::from_secs(5);
/// The same while connections are left alone: one of them may be kept.
const SHORT: Duration = Duration::from_secs(1);
/// Before a look at something new, so that several new things at once are one look.
const SOON: Duration = Duration::from_millis(200);
/// The longest interval, where a look takes long.
const LONGEST: Duration = Duration::from_secs(60);
/// An interval is at least so many looks long: they take half a percent of a CPU.
const LOOKS: u32 = 200;

/// What is known from one look to the next.
pub(super) struct Returning {
    looks: Looks,
    /// When to look, if connections have been left alone since the last look; nothing while only connections made from now on are
    /// wanted.
    next: Option<Instant>,
    /// When to look in any case.
    due: Instant,
    /// How many had been left alone at the last look.
    left_alone: Option<u64>,
    /// Whether the last look could adopt.
    adopts: bool,
    /// What was attached at the start, which is what an unpinned data plane is for as long as it lives.
    wanted: Wanted,
    /// What is attached, by the flags of its record.
    attached: Option<(Vec<String>, DataPlane)>,
}

impl Returning {
    /// By the looks of the start. `begins`: connections that exist are wanted.
    pub(super) fn new(wanted: Wanted, looks: Looks, begins: bool, held: &Held) -> Self {
        let adopts = begins && adoption_support(&wanted.plane.options).is_none();
        if adopts {
            promise(held, INTERVAL * 2);
        }
        let now = Instant::now();
        let (next, due) = (begins.then(|| now + SHORT), now + INTERVAL);
        Self { looks: looks.forgetting(), next, due, left_alone: Some(0), adopts, wanted, attached: None }
    }

    /// Begins, goes on or ends, as the settings are now.
    pub(super) fn set(&mut self, wanted: bool, held: &Held) {
        match self.next {
            None if wanted => {
                self.due = Instant::now();
                self.next = Some(self.due);
            }
            Some(_) if !wanted => {
                (self.next, self.adopts, self.looks) = (None, false, Looks::default());
                promise(held, Duration::ZERO);
            }
            _ => {}
        }
    }

    /// When to look.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Looks earlier, since there is something new to be adopted.
    pub(super) fn hurry(&mut self) {
        self.due = self.due.min(Instant::now() + SOON);
        self.next = self.next.map(|next| next.min(self.due));
    }

    /// Looks, if it is time to. What stands in the way does so at the next look, too, or not any more.
    pub(super) fn look(&mut self, held: &Held, log: &mut Log<'_>) -> Result<(), Error> {
        let start = Instant::now();
        if self.next.is_none_or(|next| start < next) {
            return Ok(());
        }
        let left_alone = held.left_alone();
        if start < self.due && left_alone == self.left_alone {
            self.next = Some(self.due.min(start + SHORT));
            return Ok(());
        }
        self.left_alone = left_alone;
        if self.adopts {
            // The look may take long, and may wait for the change of another command.
            promise(held, LONGEST);
        }
        let adopted = self.adopt(held).unwrap_or_default();
        let least = start.elapsed() * LOOKS;
        let interval = INTERVAL.max(least).min(LONGEST);
        self.due = start + interval;
        self.adopts = adopted.is_some();
        self.next = Some(if self.adopts { start + SHORT.max(least).min(LONGEST) } else { self.due });
        let Some(adopted) = adopted else {
            promise(held, Duration::ZERO);
            return Ok(());
        };
        // Until well after the next look.
        promise(held, interval * 2);
        if adopted.pairs > 0
            && let Some(adopted) = describe(Adopted { others: 0, ..adopted })
        {
            log.say("adopted", &adopted)?;
            log.out.flush()?;
        }
        Ok(())
    }

    /// What it has adopted; nothing where it cannot.
    fn adopt(&mut self, held: &Held) -> Result<Option<Adopted>, Error> {
        let instance = match held {
            Held::Unpinned(acceleration) => {
                let options = &self.wanted.plane.options;
                return match adoption_support(options) {
                    None => Ok(Some(acceleration.adopt(options, self.wanted.marked(), &mut self.looks)?)),
                    Some(_) => Ok(None),
                };
            }
            Held::Pinned(instance, ..) => instance,
        };
        // `sidestep upgrade` may have given it others.
        let flags = instance.record()?.map_or_else(Vec::new, |record| record.flags);
        if self.attached.as_ref().is_none_or(|(known, _)| *known != flags) {
            self.attached = recorded(instance)?.map(|plane| (flags, plane));
        }
        match &self.attached {
            Some((_, plane)) if adoption_support(&plane.options).is_none() => {
                Ok(Some(instance.adopt(plane, &mut self.looks)?))
            }
            _ => Ok(None),
        }
    }
}

/// Says that connections are adopted for so long from now on. Without this all listeners announce themselves, and nothing is lost.
fn promise(held: &Held, time: Duration) {
    let _ = held.adopts_for(time);
}
