//! The counters, as they change.

use serde_json::{Map, json};

use super::held::Held;
use crate::agent::{Problem, Snapshot};
use crate::cli::error::Error;
use crate::cli::log::Log;
use crate::cli::streams::note;
use crate::dataplane::Counter;

/// Prints what has changed.
#[derive(Default)]
pub(super) struct Printer {
    before: Option<Snapshot>,
    reported: Vec<Problem>,
}

impl Printer {
    pub(super) fn print(&mut self, held: &Held, log: &mut Log<'_>) -> Result<(), Error> {
        for problem in held.problems()? {
            if !self.reported.contains(&problem) {
                note(format_args!("sidestep: {problem}"));
                self.reported.push(problem);
            }
        }
        let (now, members) = held.look()?;
        if self.before.as_ref() != Some(&now) {
            print(&now, self.before.as_ref(), Some(members), log)?;
            log.out.flush()?;
            self.before = Some(now);
        }
        Ok(())
    }
}

/// The counters: as text one line with each that is not zero, and what was added since `before`, and one with the members.
pub(super) fn print(
    now: &Snapshot,
    before: Option<&Snapshot>,
    members: Option<usize>,
    log: &mut Log<'_>,
) -> std::io::Result<()> {
    if log.is_json() {
        let mut counters = Map::new();
        counters.extend(now.iter().map(|(counter, value)| (counter.name().into(), value.into())));
        let fields = json!({ "counters": counters, "members": members, "redirected_share": now.redirected_share() });
        return log.fields("counters", &fields);
    }
    let out = &mut *log.out;
    for (counter, value) in now.iter().filter(|(_, value)| *value > 0) {
        write!(out, "{} {value}", counter.name())?;
        // After an upgrade to other maps the counters start at zero.
        match before.and_then(|before| value.checked_sub(before.get(counter))) {
            Some(added) if added > 0 => write!(out, " (+{added})  ")?,
            _ => write!(out, "  ")?,
        }
    }
    if let Some(share) = now.redirected_share() {
        let except = if now.get(Counter::LeftAlone) > 0 { " that were not left alone" } else { "" };
        write!(out, "past the stack {:.1} % of all bytes of connections inside the cgroup{except}  ", share * 100.0)?;
    }
    if now.get(Counter::MapRefused) > 0 {
        write!(out, "(refused sockets stay plain TCP)  ")?;
    }
    writeln!(out)?;
    members.map_or(Ok(()), |members| writeln!(out, "members {members}"))
}
