//! What can be set: the flags of `run`, as the command line defines them.

use clap::{Arg, ArgAction, Command};

use crate::cli::usage;

use super::setting::argument;

/// The flag that names the file. It is not a key of the file.
pub(in crate::cli) const CONFIG: &str = "config";

/// How alike two names must be to suggest one for the other: as the parser does for flags (clap's `did_you_mean`).
const SIMILAR: f64 = 0.8;

/// The flags of `run`.
pub(in crate::cli) struct Keys {
    run: Command,
}

impl Keys {
    /// Those of the definition of the command.
    pub(in crate::cli) fn new(run: Command) -> Self {
        // One setting is checked by itself, without those that must be there.
        let run = run.no_binary_name(true).args_override_self(true).mut_args(|arg| arg.required(false));
        Self { run }
    }

    /// The flags that can be set, in the order of the help.
    pub(in crate::cli) fn flags(&self) -> impl Iterator<Item = (&str, &Arg)> {
        let flags = self.run.get_arguments().filter_map(|flag| Some((flag.get_long()?, flag)));
        flags.filter(|(name, _)| *name != CONFIG)
    }

    /// The flag of this name.
    pub(in crate::cli) fn flag(&self, name: &str) -> Option<&Arg> {
        self.flags().find(|(known, _)| *known == name).map(|(_, flag)| flag)
    }

    /// The name that is most like `name`, if one is like it.
    pub(in crate::cli) fn nearest(&self, name: &str) -> Option<&str> {
        let name = name.replace('_', "-").to_lowercase();
        let alike = self.flags().map(|(known, _)| (strsim::jaro(known, &name), known));
        let best = alike.filter(|(alike, _)| *alike > SIMILAR).max_by(|one, other| one.0.total_cmp(&other.0));
        best.map(|(_, known)| known)
    }

    /// Whether the flag takes this value; if not, what is wrong, beginning with the flag's name.
    pub(in crate::cli) fn check(&self, name: &str, value: &str) -> Result<(), String> {
        let parsed = self.run.clone().try_get_matches_from([argument(name, value)]);
        parsed.map(drop).map_err(|error| usage::sentence(&error).trim_start_matches('-').to_owned())
    }
}

/// Whether the flag is given without a value.
pub(in crate::cli) fn is_switch(flag: &Arg) -> bool {
    matches!(flag.get_action(), ArgAction::SetTrue)
}

/// Whether the flag can be repeated.
pub(in crate::cli) fn is_list(flag: &Arg) -> bool {
    matches!(flag.get_action(), ArgAction::Append)
}

/// Whether the flag's value is a path, for which a number is a mistake.
pub(in crate::cli) fn is_path(flag: &Arg) -> bool {
    flag.get_value_names().is_some_and(|names| names.iter().any(|name| name == "PATH"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The chart writes `metrics` itself.
    #[test]
    fn the_charts_schema_knows_every_setting() {
        let schema = include_str!("../../../deploy/helm/sidestep/values.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let known = schema["properties"]["settings"]["properties"].as_object().unwrap();
        let keys = crate::cli::line::keys();
        let flags: Vec<_> = keys.flags().filter(|(name, _)| *name != "metrics").collect();
        for (name, flag) in &flags {
            let kind = if is_switch(flag) {
                "switch"
            } else if is_list(flag) {
                "list"
            } else {
                "value"
            };
            assert_eq!(known.get(*name).map(|kind| &kind["$ref"]), Some(&format!("#/$defs/{kind}").into()), "{name}");
        }
        assert_eq!(known.len(), flags.len(), "the schema has settings that `run` does not have");
    }
}
