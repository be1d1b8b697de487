//! The flag for connections that exist already, and what is said of them.

use super::error::Error;
use super::plane::PlaneArgs;
use super::streams::note;
use super::target::configuration;
use super::values::one_of;
use crate::agent::lifecycle::Instance;
use crate::agent::{self, Adopted, Looks, adoption_support};
use crate::dataplane::DataPlane;

/// What the flag said.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ExistingArgs {
    /// Whether to accelerate also the connections that exist already (the default on Linux 6.12 or later; on other kernels they
    /// stay plain TCP until they close). While `run` is there, `on` also lets connections come back that have left because they carried a
    /// stream
    #[arg(long, value_name = "WHETHER", value_parser = one_of([("on", true), ("off", false)]))]
    existing: Option<bool>,
}

impl ExistingArgs {
    /// Whether such connections are to be accelerated.
    pub(super) fn are_wanted(&self) -> bool {
        self.existing.unwrap_or(true)
    }

    /// Accelerates them in this data plane, if that is wanted, and says what has come of it. What stands in the way goes to
    /// standard error: it does not concern later connections.
    pub(super) fn adopt(
        &self,
        plane: &DataPlane,
        adopt: impl FnOnce(&mut Looks) -> agent::Result<Adopted>,
    ) -> Option<String> {
        self.adopt_by(&mut Looks::default(), plane, adopt)
    }

    /// The same by these looks.
    pub(super) fn adopt_by(
        &self,
        looks: &mut Looks,
        plane: &DataPlane,
        adopt: impl FnOnce(&mut Looks) -> agent::Result<Adopted>,
    ) -> Option<String> {
        // Where nothing was asked for, `check` and `status` say that the kernel cannot.
        let is_quiet = self.existing.is_none() && adoption_support(&plane.options).is_some();
        if !self.are_wanted() || is_quiet {
            return None;
        }
        match adopt(looks) {
            Ok(adopted) => describe(adopted),
            Err(error) => {
                note(format_args!("sidestep: {error}"));
                None
            }
        }
    }

    /// The same for what is attached as `instance`, out of its record.
    pub(super) fn adopt_recorded(&self, instance: &Instance) -> Result<Option<String>, Error> {
        let plane = if self.are_wanted() { recorded(instance)? } else { None };
        Ok(plane.and_then(|plane| self.adopt(&plane, |looks| instance.adopt(&plane, looks))))
    }
}

/// What is attached as `instance`, built from the flags that were given last; nothing when nothing is attached.
pub(super) fn recorded(instance: &Instance) -> Result<Option<DataPlane>, Error> {
    let Some(record) = instance.record()? else { return Ok(None) };
    let plane = PlaneArgs::recall(&record.flags)?;
    let (options, _) = plane.options(configuration(instance)?)?;
    Ok(Some(plane.build(options)?))
}

/// In words; nothing when none was adopted.
pub(super) fn describe(adopted: Adopted) -> Option<String> {
    let connections = if adopted.pairs == 1 { "connection that was" } else { "connections that were" };
    match (adopted.pairs, adopted.others) {
        (0, _) => None,
        (pairs, 0) => Some(format!("adopted {pairs} {connections} plain TCP")),
        (pairs, others) => Some(format!("adopted {pairs} {connections} plain TCP; {others} more stay so for now")),
    }
}
