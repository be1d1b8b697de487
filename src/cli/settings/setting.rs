//! One flag that is set elsewhere than on the command line.

use std::fmt;
use std::path::PathBuf;

/// A setting, which was right by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Setting {
    /// The flag's long name, without the dashes.
    pub(in crate::cli) name: String,
    pub(in crate::cli) value: Value,
    pub(in crate::cli) origin: Origin,
}

/// What a flag is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Value {
    /// A flag without a value, given or not.
    Switch(bool),
    /// One value or, where the flag can be repeated, several.
    Values(Vec<String>),
}

/// Where it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Origin {
    /// In this variable of the environment.
    Variable(String),
    /// In this line of a file.
    Line(PathBuf, usize),
}

impl Setting {
    /// The arguments that say the same.
    pub(in crate::cli) fn arguments(&self) -> Vec<String> {
        match &self.value {
            Value::Switch(on) => on.then(|| format!("--{}", self.name)).into_iter().collect(),
            Value::Values(values) => values.iter().map(|value| argument(&self.name, value)).collect(),
        }
    }
}

/// The argument that sets one value.
pub(in crate::cli) fn argument(name: &str, value: &str) -> String {
    format!("--{name}={value}")
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => out.write_str(name),
            Self::Line(file, line) => write!(out, "{}, line {line}", file.display()),
        }
    }
}
