//! Settings in the environment: `SIDESTEP_EXCLUDE_PORT=6379`.

use std::env;
use std::path::PathBuf;

use super::keys::{CONFIG, Keys, is_switch};
use super::setting::{Origin, Setting, Value};
use crate::cli::error::Error;

const PREFIX: &str = "SIDESTEP_";

/// The variable that sets a flag.
pub(in crate::cli) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('-', "_").to_uppercase())
}

/// The file that the environment names.
pub(in crate::cli) fn file() -> Option<PathBuf> {
    env::var_os(variable(CONFIG)).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// What the environment sets. An empty variable sets nothing.
pub(in crate::cli) fn read(keys: &Keys) -> Result<Vec<Setting>, Error> {
    let mut settings = Vec::new();
    for (name, flag) in keys.flags() {
        let variable = variable(name);
        let Some(value) = env::var_os(&variable).filter(|value| !value.is_empty()) else { continue };
        let wrong = |why: String| Error::Usage(format!("{variable} in the environment: {why}"));
        let text = value.into_string().map_err(|_| wrong("it is not UTF-8 text".into()))?;
        let value = if is_switch(flag) {
            let on = text.parse().map_err(|_| wrong(format!("it takes true or false, not {text:?}")))?;
            Value::Switch(on)
        } else {
            keys.check(name, &text).map_err(wrong)?;
            Value::Values(vec![text])
        };
        settings.push(Setting { name: name.into(), value, origin: Origin::Variable(variable) });
    }
    Ok(settings)
}

/// A word on each variable that looks like a setting with a mistake in its name.
pub(in crate::cli) fn mistyped(keys: &Keys) -> Vec<String> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter_map(|name| mistake(keys, &name)).collect()
}

fn mistake(keys: &Keys, variable_name: &str) -> Option<String> {
    let name = variable_name.strip_prefix(PREFIX)?;
    let is_known = name == CONFIG.to_uppercase() || keys.flags().any(|(known, _)| variable(known) == variable_name);
    let nearest = (!is_known).then(|| keys.nearest(name)).flatten()?;
    Some(format!("{variable_name} in the environment sets nothing; did you mean {}?", variable(nearest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_with_a_mistake_in_its_name_is_noticed() {
        let keys = crate::cli::line::keys();
        let noticed = |name| mistake(&keys, name);
        assert!(noticed("SIDESTEP_EXCLUDE_PORTS").unwrap().ends_with("did you mean SIDESTEP_EXCLUDE_PORT?"));
        for name in ["SIDESTEP_EXCLUDE_PORT", "SIDESTEP_CONFIG", "SIDESTEP_GUEST", "SIDESTEP_TEST_SCALE", "PORTS"] {
            assert_eq!(noticed(name), None);
        }
    }
}
