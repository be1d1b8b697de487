//! One case: which programs, what they need, what they do, and what came of it.

use std::fmt;

use crate::fixture::{Fixture, Measured};
use crate::tools;

/// When a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// In CI, too.
    Short,
    /// Only with all the others.
    Long,
}

/// A case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Who talks to whom, for the page.
    pub(crate) programs: &'static str,
    /// Executables that must be there.
    pub(crate) needs: &'static [&'static str],
    pub(crate) set: Set,
    /// How many messages go past the stack at least, where the kernel shows how programs read; 0 where none need to.
    pub(crate) least: u64,
    /// Starts the servers and runs the clients; the outcome, which must be plain TCP's.
    pub(crate) work: fn(&Fixture) -> Result<String, String>,
}

/// Whether programs can earn trust here. The kernels of CI must let them.
pub(crate) fn readers_are_seen() -> bool {
    let watch = sidestep::agent::watch(sidestep::agent::check::configuration().unwrap().probation());
    if let Err(why) = &watch {
        assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
        eprintln!("*** NOT TESTED: how many messages were redirected: {why} ***");
    }
    watch.is_ok()
}

/// What came of a case.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) programs: &'static str,
    required: bool,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    /// As with plain TCP.
    Equal(Measured),
    /// It cannot run here; why.
    NotRun(String),
    /// Not as with plain TCP; what differs.
    Differs(String),
}

impl Case {
    /// Runs it with plain TCP, and then accelerated.
    pub(crate) fn run(&self) -> Row {
        Row {
            name: self.name,
            programs: self.programs,
            required: self.set == Set::Short && std::env::var_os("CI").is_some(),
            outcome: self.outcome(),
        }
    }

    fn outcome(&self) -> Outcome {
        let missing: Vec<_> = self.needs.iter().filter(|name| tools::find(name).is_none()).collect();
        if !missing.is_empty() {
            return Outcome::NotRun(format!(
                "{missing:?} not found; `tests/programs/run --all` installs what is needed"
            ));
        }
        let plain = match Fixture::plain(self.name).and_then(|fixture| fixture.work(self.work)) {
            Ok((Ok(outcome), _)) => outcome,
            Ok((Err(why), _)) | Err(why) => return Outcome::NotRun(format!("it fails with plain TCP: {why}")),
        };
        match Fixture::accelerated(self.name).and_then(|fixture| fixture.work(self.work)) {
            Err(why) => Outcome::Differs(why),
            Ok((Err(why), measured)) => Outcome::Differs(format!("{why} ({measured})")),
            Ok((Ok(outcome), measured)) if outcome != plain => {
                Outcome::Differs(format!("plain TCP: {plain}; accelerated: {outcome} ({measured})"))
            }
            Ok((Ok(_), measured)) if measured.messages < self.least && readers_are_seen() => {
                Outcome::Differs(format!("fewer than {} messages were redirected: {measured}", self.least))
            }
            Ok((Ok(_), measured)) if !measured.is_counted() => {
                let Measured { counted, repeated, .. } = measured;
                Outcome::Differs(format!(
                    "sidestep has counted {counted} bytes by the stack, of which {repeated} may have come twice: {measured}"
                ))
            }
            Ok((Ok(_), measured)) => Outcome::Equal(measured),
        }
    }
}

impl Row {
    pub(crate) fn is_failure(&self) -> bool {
        match self.outcome {
            Outcome::Equal(_) => false,
            Outcome::NotRun(_) => self.required,
            Outcome::Differs(_) => true,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Equal(measured) => write!(f, "{}: as plain TCP; {measured}", self.name),
            Outcome::NotRun(why) => write!(f, "{}: NOT TESTED: {why}", self.name),
            Outcome::Differs(what) => write!(f, "{}: DIFFERS FROM PLAIN TCP: {what}", self.name),
        }
    }
}
