//! What is wrong with the arguments, in one sentence with a remedy.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::cgroups;

/// The sentence for an error of the parser. It names the flag, and the nearest word to a mistyped one.
pub(super) fn sentence(error: &Error) -> String {
    let context = |kind| error.get(kind).and_then(text);
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    // "--rounds <N>" is the flag and the name of its value.
    let flag = argument.split(' ').next().unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            let nearest = nearest(context(ContextKind::SuggestedSubcommand));
            format!("there is no command {name:?}{nearest}; `sidestep help` lists them")
        }
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            format!("unexpected argument {argument:?}; {SEE_HELP}")
        }
        ErrorKind::UnknownArgument => {
            format!("there is no flag {flag}{}; {SEE_HELP}", nearest(context(ContextKind::SuggestedArg)))
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{flag} needs a value; {SEE_HELP}"),
        ErrorKind::InvalidValue => {
            let choices = context(ContextKind::ValidValue).unwrap_or_default();
            let nearest = nearest(context(ContextKind::SuggestedValue));
            format!("{flag} takes {choices}, not {value:?}{nearest}")
        }
        // The parsers of values say what they take.
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error).map_or_else(|| format!("not {value:?}"), ToString::to_string);
            format!("{flag}: {why}")
        }
        ErrorKind::WrongNumberOfValues => match error.get(ContextKind::ExpectedNumValues) {
            Some(ContextValue::Number(count)) if *count > 1 => format!("{flag} takes {count} values; {SEE_HELP}"),
            _ => format!("{flag} needs a value; {SEE_HELP}"),
        },
        ErrorKind::NoEquals | ErrorKind::TooFewValues => {
            format!("{flag} needs a value; {SEE_HELP}")
        }
        ErrorKind::TooManyValues => format!("{flag} takes no value {value:?}; {SEE_HELP}"),
        ErrorKind::MissingRequiredArgument if argument.contains("--cgroup") => {
            format!("--cgroup is missing; {}", cgroups::hint())
        }
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing; {SEE_HELP}"),
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg).unwrap_or_default();
            format!("{flag} does not go with {}; {SEE_HELP}", other.split(' ').next().unwrap_or_default())
        }
        _ => flat(error),
    }
}

const SEE_HELP: &str = "add --help for the flags of this command";

fn text(value: &ContextValue) -> Option<String> {
    match value {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(words) if !words.is_empty() => Some(words.join(" or ")),
        _ => None,
    }
}

fn nearest(suggestion: Option<String>) -> String {
    suggestion.map_or_else(String::new, |word| format!("; did you mean {word}?"))
}

/// The parser's own words, without its "error: " and its lines about the usage.
fn flat(error: &Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more")).collect();
    format!("{}; {SEE_HELP}", lines.join("; ").trim_start_matches("error: "))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    fn refusal(args: &[&str]) -> String {
        let args = args.iter().map(OsString::from).collect();
        let error = crate::cli::dispatch(args, &mut &b""[..], &mut Vec::new()).unwrap_err();
        assert!(matches!(error, crate::cli::Error::Usage(_)), "{error}");
        error.to_string()
    }

    #[test]
    fn each_refusal_is_one_sentence_that_names_the_fault() {
        for (args, parts) in [
            (&["dance"][..], &["no command \"dance\"", "sidestep help"][..]),
            (&["stauts"], &["no command \"stauts\"; did you mean status?"]),
            (&["check", "--jsno"], &["no flag --jsno; did you mean --json?", "--help"]),
            (&["check", "--nothing-like-it"], &["no flag --nothing-like-it; add --help"]),
            (&["check", "extra"], &["unexpected argument \"extra\""]),
            (&["check", "--json=yes"], &["--json", "\"yes\""]),
            (&["check", "--cgroup"], &["--cgroup needs a value"]),
            (&["bench", "--compare", "one"], &["--compare takes 2 values"]),
            (&["run"], &["--cgroup is missing, or --pods", "cgroup2"]),
            (&["dump", "--pairing", "luck"], &["--pairing takes sequence or four-tuple, not \"luck\""]),
            (&["dump", "--tier", "gatd"], &["--tier takes", "did you mean gated?"]),
            (&["dump", "sk_msgs"], &["sk_msg", "did you mean sk_msg?"]),
            (&["dump", "--keepalive", "many"], &["--keepalive: \"many\" is not a number from 0 to 32767"]),
            (&["dump", "--keepalive", "32768"], &["--keepalive: \"32768\" is not a number from 0 to 32767"]),
            (&["dump", "--port", "0"], &["--port: ", "1"]),
            (&["dump", "--cidr", "10.1.2.3/8"], &["--cidr: ", "10.0.0.0/8"]),
            (&["run", "--cgroup=/", "--interval=-1"], &["--interval: \"-1\" is not a number from 0 to 65535"]),
            (&["detach", "--timeout", "x"], &["--timeout: \"x\""]),
            (&["verify", "--cpus", "0"], &["--cpus: \"0\" is not a number from 1 to"]),
        ] {
            let sentence = refusal(args);
            for part in parts {
                assert!(sentence.contains(part), "{args:?}: {sentence}");
            }
            assert!(!sentence.contains('\n'), "{args:?}: {sentence}");
        }
    }

    #[cfg(feature = "bench")]
    #[test]
    fn bench_refuses_what_measures_nothing() {
        assert!(refusal(&["bench", "--round", "0"]).contains("--round: \"0\" is not a number from 1 to"));
        assert!(refusal(&["bench", "--rounds", "5"]).contains("--rounds: fewer than 6 rounds"));
        assert!(refusal(&["bench", "--only", "nosuch"]).contains("--only: no measurement has \"nosuch\""));
    }

    #[test]
    fn the_last_of_equal_flags_counts() {
        let args = ["dump", "drain", "--tier", "gated", "--tier=sticky"].map(OsString::from).to_vec();
        let mut out = Vec::new();
        // The sticky tier has no drain.
        crate::cli::dispatch(args, &mut &b""[..], &mut out).unwrap();
        assert!(out.is_empty(), "{}", String::from_utf8_lossy(&out));
    }
}
