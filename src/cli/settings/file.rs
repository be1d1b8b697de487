//! Settings in a TOML file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use clap::Arg;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Keys, is_list, is_path, is_switch};
use super::setting::{Origin, Setting, Value};
use crate::cli::error::Error;

/// Most bytes of a file: 256 entries of each list take fewer than 100,000.
const MAX_SIZE: u64 = 1 << 20;

/// How often a file is read that changes meanwhile.
const ATTEMPTS: usize = 3;

/// What a file sets, and a sentence for each mistake in it, in the order of its lines.
pub(in crate::cli) fn read(keys: &Keys, path: &Path) -> Result<(Vec<Setting>, Vec<String>), Error> {
    let failed = |why: &str| Error::Failed(format!("cannot read the configuration file {}: {why}", path.display()));
    let bytes = contents(path).map_err(|error| failed(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8 text"))?;
    Ok(parse(keys, path, &text))
}

/// All bytes of a file, as they were at one moment.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    // Without this flag, opening a named pipe would wait for a writer (fifo(7)).
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    for _ in 0..ATTEMPTS {
        let before = file.metadata()?;
        let mut bytes = Vec::new();
        (&mut file).take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(io::Error::other(format!("it has more than {MAX_SIZE} bytes")));
        }
        let after = file.metadata()?;
        let state = |of: &std::fs::Metadata| (of.len(), of.mtime(), of.mtime_nsec());
        if state(&before) == state(&after) && after.len() == bytes.len() as u64 {
            return Ok(bytes);
        }
        io::Seek::rewind(&mut file)?;
    }
    Err(io::Error::other("it changes while it is read; write it under another name, and rename it"))
}

fn parse(keys: &Keys, path: &Path, text: &str) -> (Vec<Setting>, Vec<String>) {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let at = |at: usize| Origin::Line(path.to_owned(), line(at));
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let place = at(error.span().map_or(0, |span| span.start));
            return (Vec::new(), vec![format!("{place}: this is not TOML: {}", error.message().replace('\n', "; "))]);
        }
    };
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let (mut settings, mut errors) = (Vec::new(), Vec::new());
    for (key, value) in entries {
        let name = key.get_ref().as_ref();
        let origin = at(key.span().start);
        match value_of(keys, name, value) {
            Ok(value) => settings.push(Setting { name: name.into(), value, origin }),
            Err((place, why)) => errors.push(format!("{}: {why}", at(place.unwrap_or(key.span().start)))),
        }
    }
    (settings, errors)
}

/// Where the mistake is, if it is not at the key, and what it is.
type Mistake = (Option<usize>, String);

fn value_of(keys: &Keys, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Value, Mistake> {
    let Some(flag) = keys.flag(name) else { return Err((None, unknown(keys, name, value.get_ref()))) };
    let one = |value: &Spanned<DeValue<'_>>| {
        let text = text_of(name, flag, value.get_ref());
        let checked = text.and_then(|text| keys.check(name, &text).map(|()| text));
        checked.map_err(|why| (Some(value.span().start), why))
    };
    match value.get_ref() {
        DeValue::Boolean(on) if is_switch(flag) => Ok(Value::Switch(*on)),
        other if is_switch(flag) => Err((None, format!("{name} takes true or false, not {}", described(other)))),
        DeValue::Array(values) if is_list(flag) => Ok(Value::Values(values.iter().map(one).collect::<Result<_, _>>()?)),
        _ => Ok(Value::Values(vec![one(value)?])),
    }
}

/// One value as an argument has it.
fn text_of(name: &str, flag: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.as_ref().to_owned()),
        DeValue::Integer(number) if !is_path(flag) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.map(|number| number.to_string()).map_err(|_| format!("{name} takes a smaller number"))
        }
        other => {
            let takes = if is_path(flag) { "a path in quotes" } else { "a number, or text in quotes" };
            let list = if is_list(flag) { ", or a list of these" } else { "" };
            Err(format!("{name} takes {takes}{list}, not {}", described(other)))
        }
    }
}

fn unknown(keys: &Keys, name: &str, value: &DeValue<'_>) -> String {
    if matches!(value, DeValue::Table(_)) {
        return format!("there is no table {name:?}: the keys stand by themselves, such as port = [80, \"8000-8100\"]");
    }
    match keys.nearest(name) {
        Some(nearest) => format!("there is no key {name:?}; did you mean {nearest}?"),
        None => format!("there is no key {name:?}; the keys are the flags of `sidestep run --help` without the dashes"),
    }
}

fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.as_str().into(),
        DeValue::Boolean(on) => on.to_string(),
        DeValue::Float(_) => "a number with a fraction".into(),
        DeValue::Datetime(_) => "a date or a time".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<Setting>, Vec<String>) {
        parse(&crate::cli::line::keys(), Path::new("f.toml"), text)
    }

    #[test]
    fn each_kind_of_value_becomes_arguments() {
        let text = "cgroup = \"/a b\"\ninterval = 0x10\nkeep = true\nunpinned = false\n# none\nport = [\n 80,\n \"90,8000-8100\",\n]\n\
                    exclude-port = 81\ntrust = ['port:80', 'program:nginx']\n";
        let (settings, errors) = parsed(text);
        assert_eq!(errors, [""; 0]);
        let arguments: Vec<_> = settings.iter().flat_map(Setting::arguments).collect();
        let wanted = [
            "--cgroup=/a b",
            "--interval=16",
            "--keep",
            "--port=80",
            "--port=90,8000-8100",
            "--exclude-port=81",
            "--trust=port:80",
            "--trust=program:nginx",
        ];
        assert_eq!(arguments, wanted);
        assert_eq!(settings[4].origin.to_string(), "f.toml, line 6");
    }

    #[test]
    fn each_mistake_is_one_sentence_with_its_line_and_a_remedy() {
        for (text, sentence) in [
            ("\nprot = 80", "f.toml, line 2: there is no key \"prot\"; did you mean port?"),
            ("exclude_port = 80", "f.toml, line 1: there is no key \"exclude_port\"; did you mean exclude-port?"),
            ("x = 1", "f.toml, line 1: there is no key \"x\"; the keys are the flags of `sidestep run --help`"),
            ("config = 'x'", "f.toml, line 1: there is no key \"config\""),
            ("help = true", "f.toml, line 1: there is no key \"help\""),
            ("[policy]\nport = 80", "f.toml, line 1: there is no table \"policy\""),
            ("keep = 1", "f.toml, line 1: keep takes true or false, not 1"),
            ("keep = 'yes'", "f.toml, line 1: keep takes true or false, not \"yes\""),
            ("cgroup = 5", "f.toml, line 1: cgroup takes a path in quotes, or a list of these, not 5"),
            ("cgroup = true", "f.toml, line 1: cgroup takes a path in quotes, or a list of these, not true"),
            ("interval = [1]", "f.toml, line 1: interval takes a number, or text in quotes, not a list"),
            ("interval = 1.5", "not a number with a fraction"),
            ("interval = -1", "f.toml, line 1: interval: \"-1\" is not a number from 0 to 65535"),
            ("interval = 99999999999999999999", "f.toml, line 1: interval takes a smaller number"),
            ("port = [\n80,\n'http']", "f.toml, line 3: port: \"http\" is not a port"),
            ("port = [80, [90]]", "port takes a number, or text in quotes, or a list of these, not a list"),
            ("port = 1979-05-27", "not a date or a time"),
            ("port = {a = 1}", "not a table"),
            ("tier = 'gatd'", "f.toml, line 1: tier takes auto or gated or sticky, not \"gatd\"; did you mean gated?"),
            ("trust = 'x'", "f.toml, line 1: trust: it takes all, port:PORT"),
            ("keep = true\nkeep = false", "f.toml, line 2: this is not TOML: duplicate key"),
            ("keep = yes", "f.toml, line 1: this is not TOML: "),
            ("keep =", "f.toml, line 1: this is not TOML: "),
        ] {
            let (_, errors) = parsed(text);
            assert!(errors.len() == 1 && errors[0].contains(sentence), "{text:?}: {errors:?}");
            assert!(!errors[0].contains('\n'), "{errors:?}");
        }
    }

    #[test]
    fn all_mistakes_come_in_the_order_of_the_lines() {
        let (settings, errors) = parsed("tier = 'x'\nkeep = true\nbad = 1\nport = 0\n");
        assert_eq!(settings.len(), 1);
        let lines: Vec<_> = errors.iter().map(|error| error.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["f.toml, line 1", "f.toml, line 3", "f.toml, line 4"]);
    }

    #[test]
    fn the_file_of_the_systemd_unit_is_right_and_so_are_its_examples() {
        let text = include_str!("../../../deploy/systemd/config.toml");
        let (settings, errors) = parsed(text);
        assert_eq!((settings.len(), errors), (3, Vec::new()));
        let examples =
            text.lines().map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line));
        let (settings, errors) = parsed(&examples.collect::<Vec<_>>().join("\n"));
        assert_eq!((settings.len(), errors), (9, Vec::new()));
    }

    #[test]
    fn what_is_not_a_readable_file_is_refused() {
        for (path, why) in
            [("/dev/zero", "not a regular file"), ("/", "not a regular file"), ("/no/such/file", "No such file")]
        {
            let error = read(&crate::cli::line::keys(), Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains(why) && !error.contains('\n'), "{error}");
        }
    }
}
