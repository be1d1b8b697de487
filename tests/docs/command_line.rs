//! The reference of the command line: every command's help, and the fields of its JSON, made from the code.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::generated;

const HEAD: &str = "\
# Command line

Made from the code by `UPDATE=1 cargo test --test docs`. `sidestep completions SHELL` prints a completion script, and
`sidestep man --out DIR` writes manual pages, from the same definition.

## Exit statuses

| Status | Meaning |
|---|---|
| 0 | The command has done its work. |
| 1 | It has not, and a sentence on standard error says why. Of some commands it is the answer: something required is missing (`check`), something is not as it should be (`status`), sockets with unread bytes are left (`detach`), a program is refused (`verify`). |
| 2 | The arguments are wrong, and a sentence on standard error says which and how to write them. |

`run` has status 0 when a signal or the end of its output ends it, after it has detached. A signal that cannot be caught
(SIGKILL) has the shell's status, 137.
";

/// A structure: its file, and its name.
type Part = (&'static str, &'static str);

/// Each command with `--json`: what it prints, and the structures of that in the order of the page.
const JSON: [(&str, &str, &[Part]); 8] = [
    (
        "check",
        "one object",
        &[
            ("src/agent/check/finding.rs", "Report"),
            ("src/agent/check/finding.rs", "Finding"),
            ("src/agent/check/faults/fault.rs", "FaultFacts"),
        ],
    ),
    (
        "status",
        "one object",
        &[
            ("src/agent/lifecycle/status.rs", "Status"),
            ("src/agent/lifecycle/status.rs", "InstanceStatus"),
            ("src/agent/lifecycle/cgroups.rs", "AttachedCgroup"),
            ("src/agent/lifecycle/status.rs", "GenerationStatus"),
            ("src/agent/lifecycle/status.rs", "Object"),
            ("src/agent/lifecycle/inventory.rs", "Orphan"),
            ("src/agent/problem.rs", "Neighbour"),
        ],
    ),
    (
        "list",
        "one object a line",
        &[
            ("src/cli/list.rs", "Row"),
            ("src/observe/process.rs", "End"),
            ("src/observe/epoll.rs", "Epoll"),
            ("src/observe/conditions.rs", "Condition"),
        ],
    ),
    ("explain", "one object a line", &[("src/cli/explain/mod.rs", "Explanation")]),
    (
        "survey",
        "one object",
        &[
            ("src/observe/survey.rs", "Survey"),
            ("src/observe/survey.rs", "Group"),
            ("src/observe/survey.rs", "RouteTraffic"),
            ("src/observe/survey.rs", "Why"),
            ("src/observe/costs.rs", "Costs"),
            ("src/observe/costs.rs", "RouteCosts"),
            ("src/observe/costs.rs", "MessageCost"),
        ],
    ),
    (
        "verify",
        "an array of objects",
        &[
            ("src/cli/verify/report.rs", "Json"),
            ("src/cli/verify/report.rs", "JsonRelocations"),
            ("src/cli/verify/report.rs", "JsonUnresolved"),
            ("src/cli/verify/report.rs", "JsonInsn"),
            ("src/cli/verify/report.rs", "JsonRegister"),
            ("src/cli/verify/report.rs", "JsonStats"),
        ],
    ),
    (
        "demo",
        "one object",
        &[
            ("src/cli/demo/summary.rs", "Summary"),
            ("src/cli/demo/settings.rs", "Settings"),
            ("src/cli/demo/summary.rs", "HopSummary"),
            ("src/cli/demo/summary.rs", "Cost"),
        ],
    ),
    (
        "bench",
        "one object",
        &[
            ("src/bench/results.rs", "Report"),
            ("src/bench/results.rs", "Conditions"),
            ("src/bench/facts.rs", "PlaneFacts"),
            ("src/bench/facts.rs", "ProgramFacts"),
            ("src/bench/facts.rs", "AgentFacts"),
            ("src/bench/results.rs", "Row"),
            ("src/bench/cell.rs", "Cell"),
            ("src/bench/results.rs", "VariantResult"),
            ("src/bench/stats.rs", "Estimate"),
            ("src/bench/results.rs", "Sample"),
        ],
    ),
];

fn help(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sidestep")).args(args).env_remove("COLUMNS").output().unwrap();
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that the help lists, but for the help itself.
fn commands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| line.starts_with("  "));
    // The rest of a long line is indented further.
    let lines = lines.filter(|line| !line.starts_with("   "));
    lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

/// The serialised fields of a structure: name, type, and what its documentation says.
fn fields(file: &str, structure: &str) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let is_head = |line: &str| {
        let name = line.trim_start_matches("pub").trim_start_matches("(super)").trim().strip_prefix("struct ");
        name.is_some_and(|name| name.split(|end: char| !end.is_alphanumeric()).next() == Some(structure))
    };
    let (mut found, mut says, mut attributes) = (Vec::new(), String::new(), String::new());
    for line in text.lines().skip_while(|line| !is_head(line)).skip(1).map(str::trim).take_while(|line| *line != "}") {
        if let Some(doc) = line.strip_prefix("/// ") {
            says += if says.is_empty() { "" } else { " " };
            says += doc;
        } else if line.starts_with("#[") {
            attributes += line;
        } else if let Some((name, kind)) = line.trim_end_matches(',').split_once(": ") {
            let name = name.rsplit(' ').next().unwrap().to_owned();
            if attributes.contains("flatten") {
                // The answer of `check`, an enum with its text beside it.
                found.push((name, "text".into(), "yes, no or unknown.".into()));
                found.push(("detail".into(), "text".into(), "What was seen; can be empty.".into()));
            } else if !attributes.contains("skip)") {
                let kind = json_type(kind, attributes.contains("skip_serializing_if"));
                found.push((name, kind, std::mem::take(&mut says)));
            }
            (says, attributes) = (String::new(), String::new());
        }
    }
    assert!(!found.is_empty(), "{file} has no structure {structure} with fields");
    found
}

/// The codes of what can be wrong, from the text of `Problem::code`.
fn codes() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agent/problem.rs")).unwrap();
    let arms = text.lines().skip_while(|line| !line.contains("fn code(")).take_while(|line| *line != "    }");
    let codes =
        arms.filter_map(|line| line.split_once(" => \"")?.1.strip_suffix("\",").map(|code| format!("`{code}`")));
    let codes: Vec<String> = codes.collect();
    assert!(codes.len() > 10, "src/agent/problem.rs has no codes where they are looked for");
    codes
}

/// What JSON has for a type of Rust.
fn json_type(kind: &str, is_left_out: bool) -> String {
    let kind = kind.replace("&'a ", "").replace("&'static ", "");
    let inner = |head: &str| kind.strip_prefix(head).and_then(|rest| rest.strip_suffix('>'));
    let word = match kind.as_str() {
        "bool" => "true or false".into(),
        "str" | "String" | "PathBuf" | "Option<str>" => "text".into(),
        "u8" | "u16" | "u32" | "u64" | "usize" | "f64" => "number".into(),
        "Vec<(str, u64)>" => "array of [name, number]".into(),
        _ => match (inner("Vec<"), inner("Option<")) {
            (Some(item), _) => format!("array of {}", json_type(item, false)),
            (_, Some(item)) if is_left_out => json_type(item, false),
            (_, Some(item)) => format!("{} or null", json_type(item, false)),
            _ => format!("`{}`", kind.trim_end_matches("<'a>")),
        },
    };
    if is_left_out && !word.ends_with("if any") { format!("{word}, if any") } else { word }
}

fn section(command: &str, help: &str) -> String {
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    format!("\n## {command}\n\n```text\n{}\n```\n", lines.join("\n").trim_end())
}

fn page() -> String {
    let mut text = HEAD.to_owned();
    let top = help(&["--help"]);
    let json: BTreeMap<_, _> = JSON.iter().map(|(command, shape, parts)| (*command, (*shape, *parts))).collect();
    for command in commands(&top) {
        let help = help(&[command, "--help"]);
        text += &section(command, &help);
        for below in commands(&help) {
            text += &section(&format!("{command} {below}"), &self::help(&[command, below, "--help"]));
        }
        let Some((shape, parts)) = json.get(command) else {
            assert!(!help.contains("--json\n"), "{command} prints JSON whose fields are not in this reference");
            continue;
        };
        write!(text, "\n`--json` prints {shape}:\n\n| Object | Field | Type | Meaning |\n|---|---|---|---|\n").unwrap();
        for (file, structure) in *parts {
            for (field, kind, says) in fields(file, structure) {
                writeln!(text, "| `{structure}` | `{field}` | {kind} | {} |", says.replace('|', "\\|")).unwrap();
            }
        }
        text += &own_rows(command);
    }
    text
}

/// Objects that print themselves.
fn own_rows(command: &str) -> String {
    match command {
        "status" => format!(
            "| `Problem` | `code` | text | A word that stays the same when the sentence changes: {}. |\n\
             | `Problem` | `text` | text | What is wrong, and what to do. |\n",
            codes().join(", ")
        ),
        "verify" => "\n`--json-lines` reads one record a line, such as\n\
             `{\"name\": \"p1\", \"prog_type\": \"sk_msg\", \"insns\": \"b7000000010000009500000000000000\"}`, and answers each with one\n\
             line: an object with the record's `name`, the `verdict` (accept, reject or unsupported) and the `reason`. The\n\
             other fields of a record are `expected_attach_type`, `prog_flags` and `maps`; those of a map are `type`, `key_size`,\n\
             `value_size`, `max_entries`, `map_flags`, `special`, `inner`, `data`, `frozen`, and `insns`, the slots that load it.\n"
            .into(),
        _ => String::new(),
    }
}

#[test]
fn the_reference_has_every_command_flag_and_json_field() {
    generated::compare("reference/command-line.md", &page());
}
