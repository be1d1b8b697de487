//! The flags that ask what another policy would bring.

use std::path::PathBuf;

use super::admission::Admission;
use super::cgroups::below_mount;
use super::error::Error;
use super::line::keys;
use super::plane::{PlaneArgs, READERS};
use super::policy::PolicyArgs;
use super::settings::{file_settings, setting::Setting};
use super::values::one_of;
use crate::dataplane::Readers;
use crate::syscall::cgroup;

/// What the flags said.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct SupposedArgs {
    /// Judge by the policy of this configuration file of `run`; its other settings do not count. A flag wins over the file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Judge as if only pairs of non-blocking sockets were accelerated, or any pairs
    #[arg(long, value_name = "WHICH", value_parser = one_of(READERS))]
    readers: Option<Readers>,
    #[command(flatten)]
    policy: PolicyArgs,
}

impl SupposedArgs {
    /// The policy that is asked for, if one is.
    pub(super) fn admission(&self) -> Result<Option<Admission>, Error> {
        let mut flags = self.policy.given();
        flags.extend(self.readers.map(|readers| format!("--readers={}", readers.name())));
        if flags.is_empty() && self.config.is_none() {
            return Ok(None);
        }
        if let Some(file) = &self.config {
            let mut settings = file_settings(&keys(), file)?;
            let is_given = |name: &str| flags.iter().any(|flag| flag.split('=').next() == Some(&format!("--{name}")));
            settings.retain(|setting| PlaneArgs::has(&setting.name) && !is_given(&setting.name));
            flags.extend(settings.iter().flat_map(Setting::arguments).collect::<Vec<_>>());
        }
        let plane = PlaneArgs::recall(&flags)?;
        let mounts = cgroup::find_all().unwrap_or_default();
        let mut opted_out = Vec::new();
        for cgroup in plane.opted_out()? {
            let path = cgroup.path().canonicalize();
            let path = path.map_err(|error| Error::Failed(format!("{}: {error}", cgroup.path().display())))?;
            opted_out.push(below_mount(&path.display().to_string(), &mounts));
        }
        Admission::of(&plane, opted_out).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_file_and_without_both_nothing_is_asked_for() {
        assert!(SupposedArgs::default().admission().unwrap().is_none());
        let file = std::env::temp_dir().join(format!("sidestep-supposed-{}.toml", std::process::id()));
        std::fs::write(&file, "port = 80\nreaders = 'any'\ncgroup = '/not/there'\n").unwrap();
        let asked = |readers| {
            SupposedArgs { config: Some(file.clone()), readers, ..SupposedArgs::default() }
                .admission()
                .unwrap()
                .unwrap()
        };
        assert!(asked(None).takes_any_reader());
        assert!(!asked(Some(Readers::NonBlocking)).takes_any_reader());
        std::fs::write(&file, "prot = 80\n").unwrap();
        let args = SupposedArgs { config: Some(file.clone()), ..SupposedArgs::default() };
        let error = args.admission().unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(error.contains("did you mean port?"), "{error}");
    }
}
