//! `sidestep config`: checks a configuration file, and shows what counts.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Arg;

use super::error::Error;
use super::line::keys;
use super::plane::PlaneArgs;
use super::pods::PodArgs;
use super::settings::keys::{is_list, is_path, is_switch};
use super::settings::setting::{Setting, Value};
use super::settings::{Settings, environment, file};
use super::streams::Streams;

/// Where the systemd unit has its file. `run` reads no file that is not named to it.
const USUAL_FILE: &str = "/etc/sidestep/config.toml";

/// Check a configuration file of `run`, or show what counts
///
/// The keys of the file are the flags of `sidestep run` without their dashes: `port = [80, "8000-8100"]` is --port
/// 80,8000-8100, and `keep = true` is --keep. A flag wins over the environment (SIDESTEP_EXCLUDE_PORT for
/// --exclude-port), and the environment over the file.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say what is wrong with a configuration file, one line for each mistake
    Check(Which),
    /// Print each setting of `sidestep run --config FILE` in this environment, and where it comes from
    Show(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The file; without it, the one that SIDESTEP_CONFIG names, or /etc/sidestep/config.toml
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Which {
    fn path(self) -> PathBuf {
        self.file.or_else(environment::file).unwrap_or_else(|| PathBuf::from(USUAL_FILE))
    }
}

/// Runs the command.
pub(super) fn run(args: Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    match args.action {
        Action::Check(which) => check(which.path(), streams.out),
        Action::Show(which) => show(which.path(), streams.out),
    }
}

fn check(path: PathBuf, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let (settings, mut errors) = file::read(&keys(), &path)?;
    if errors.is_empty() {
        let plane = settings.iter().filter(|setting| PlaneArgs::has(&setting.name)).flat_map(Setting::arguments);
        let plane = PlaneArgs::recall(&plane.collect::<Vec<_>>())?;
        let has = |name| settings.iter().any(|setting| setting.name == name && !setting.arguments().is_empty());
        let together = if has("pods") { PodArgs::refuse_both(has("cgroup")) } else { Ok(()) };
        let wrong = [plane.check(), together].into_iter().filter_map(Result::err);
        errors.extend(wrong.map(|error| format!("{}: {error}", path.display())));
    }
    if errors.is_empty() {
        writeln!(out, "{}: {} settings, no mistakes", path.display(), settings.len())?;
        return Ok(ExitCode::SUCCESS);
    }
    for error in errors {
        writeln!(out, "{error}")?;
    }
    Ok(ExitCode::FAILURE)
}

/// Prints a file that says the same.
fn show(path: PathBuf, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let keys = keys();
    let settings = Settings::read(&keys, Some(path.clone()))?;
    writeln!(out, "# The settings of `sidestep run --config {}` in this environment", path.display())?;
    let mut unset = Vec::new();
    for (name, flag) in keys.flags() {
        if let Some(setting) = settings.all.iter().find(|setting| setting.name == name) {
            writeln!(out, "{name} = {}  # {}", value(flag, &setting.value), setting.origin)?;
        } else if let Some(default) = default(flag) {
            writeln!(out, "{name} = {}  # default", value(flag, &default))?;
        } else {
            unset.push(name);
        }
    }
    writeln!(out, "# Not set: {}", if unset.is_empty() { "none".into() } else { unset.join(", ") })?;
    Ok(ExitCode::SUCCESS)
}

fn default(flag: &Arg) -> Option<Value> {
    let values: Vec<String> =
        flag.get_default_values().iter().map(|text| text.to_string_lossy().into_owned()).collect();
    if is_switch(flag) {
        return Some(Value::Switch(false));
    }
    (!values.is_empty()).then_some(Value::Values(values))
}

/// A value as TOML has it.
fn value(flag: &Arg, value: &Value) -> String {
    let texts = match value {
        Value::Switch(on) => return on.to_string(),
        Value::Values(texts) => texts,
    };
    let one = |text: &String| match text.parse::<i64>() {
        Ok(number) if !is_path(flag) && number.to_string() == *text => text.clone(),
        _ => quoted(text),
    };
    match texts.as_slice() {
        [text] if !is_list(flag) => one(text),
        texts => format!("[{}]", texts.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

/// A basic string (toml.io, v1.0.0).
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted += &format!("\\u{:04X}", u32::from(control)),
            plain => quoted.push(plain),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(action: &str, text: &str) -> (ExitCode, String) {
        let path = std::env::temp_dir().join(format!("sidestep-{}-{action}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let mut out = Vec::new();
        let args = ["config".into(), action.into(), path.clone().into()].to_vec();
        let code = crate::cli::dispatch(args, &mut std::io::empty(), &mut out);
        std::fs::remove_file(&path).unwrap();
        (code.unwrap(), String::from_utf8(out).unwrap().replace(path.to_str().unwrap(), "FILE"))
    }

    #[test]
    fn check_lists_each_mistake() {
        let right = answer("check", "cgroup = '/x'\nport = 80\n");
        assert_eq!(right, (ExitCode::SUCCESS, "FILE: 2 settings, no mistakes\n".into()));
        let (code, text) = answer("check", "prot = 80\ninterval = 'x'\n");
        assert_eq!((code, text.lines().count()), (ExitCode::FAILURE, 2));
        assert!(text.contains("FILE, line 1: there is no key \"prot\"; did you mean port?\n"), "{text}");
        let many = format!("exclude-port = [{}]", vec!["1"; 257].join(","));
        assert_eq!(
            answer("check", &many).1,
            "FILE: --exclude-port takes at most 256 entries; merge neighbours into one\n"
        );
    }

    #[test]
    fn show_prints_a_file_that_says_the_same() {
        let text =
            "cgroup = \"/a \\\"b\\\\\"\nport = [80, \"8000-8100\"]\nkeep = true\ntier = 'sticky'\nkeepalive = 7\n";
        let shown = answer("show", text).1;
        for line in [
            "cgroup = [\"/a \\\"b\\\\\"]  # FILE, line 1\n",
            "port = [80, \"8000-8100\"]  # FILE, line 2\n",
            "interval = 5  # default\n",
            "unpinned = false  # default\n",
            "keepalive = 7  # FILE, line 5\n",
            "# Not set: ",
        ] {
            assert!(shown.contains(line), "{line:?} is not in {shown}");
        }
        let again = answer("show", &shown).1;
        let values =
            |text: &str| text.lines().map(|line| line.split("  #").next().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(values(&again), values(&shown));
    }
}
