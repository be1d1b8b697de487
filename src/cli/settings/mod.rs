//! The settings of `sidestep run`: its flags, the environment, and a configuration file. Each wins over the next one.
//!
//! One definition serves all three. The keys of the file are the long names of the flags, and a variable is SIDESTEP_ with
//! that name in capitals. What they set becomes an argument where the command line does not have the flag, and the whole
//! is parsed as if it had been given there.

pub(super) mod environment;
pub(super) mod file;
pub(super) mod keys;
pub(super) mod setting;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::error::Error;
use super::streams::note;
use keys::{CONFIG, Keys};
use setting::Setting;

/// What is set besides the command line.
pub(super) struct Settings {
    /// Those of the environment before those of the file.
    pub(super) all: Vec<Setting>,
    /// The file, if there is one.
    file: Option<PathBuf>,
}

impl Settings {
    /// Reads the environment, and the file that is given or that the environment names.
    pub(super) fn read(keys: &Keys, file: Option<PathBuf>) -> Result<Self, Error> {
        let mut all = environment::read(keys)?;
        for warning in environment::mistyped(keys) {
            note(format_args!("sidestep: {warning}"));
        }
        let file = file.or_else(environment::file);
        if let Some(file) = &file {
            all.extend(file_settings(keys, file)?);
        }
        Ok(Self { all, file })
    }

    /// Those that count: of several with one name the first, and none that the command line has.
    pub(super) fn arguments(&self, keys: &Keys, given: &ArgMatches) -> Vec<OsString> {
        let on_command_line = |name: &str| {
            let id = keys.flag(name).map_or(name, |flag| flag.get_id().as_str());
            given.value_source(id) == Some(ValueSource::CommandLine)
        };
        let counting = self.all.iter().enumerate().filter(|(at, setting)| {
            let earlier = self.all.iter().take(*at).any(|other| other.name == setting.name);
            !earlier && !on_command_line(&setting.name)
        });
        let arguments = counting.flat_map(|(_, setting)| setting.arguments()).map(OsString::from);
        // The command knows from where to read again.
        let file = self.file.iter().map(|file| {
            let mut argument = OsString::from(format!("--{CONFIG}="));
            argument.push(file);
            argument
        });
        arguments.chain(file.filter(|_| !on_command_line(CONFIG))).collect()
    }
}

/// The settings of a file; the first error in it, and how many more there are.
pub(super) fn file_settings(keys: &Keys, path: &Path) -> Result<Vec<Setting>, Error> {
    let (settings, errors) = file::read(keys, path)?;
    match errors.split_first() {
        None => Ok(settings),
        Some((first, [])) => Err(Error::Usage(first.clone())),
        Some((first, more)) => Err(Error::Usage(format!(
            "{first} (and {} more in this file: `sidestep config check {}` lists them)",
            more.len(),
            path.display()
        ))),
    }
}
