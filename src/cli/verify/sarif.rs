//! Verdicts as a log of SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"), which code scanning services read.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::report::{Finding, Judged};

/// `schemaUri` of version 2.1.0 with errata 01.
const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The kinds of findings, each with what it means.
const RULES: [(&str, &str); 4] = [
    (Finding::REJECTED, "The kernel's verifier refuses the program."),
    (Finding::ACCEPTED, "The kernel's verifier accepts a program that it must refuse."),
    (Finding::UNREADABLE, "There is no program to judge."),
    (Finding::NOT_JUDGED, "The program needs what the simulator of the verifier does not simulate."),
];

/// Writes one run with a result for each program that is not as wanted.
pub(super) fn write(judged: &[Judged<'_>], out: &mut dyn Write) -> io::Result<()> {
    let rules = RULES.map(|(id, text)| json!({ "id": id, "shortDescription": { "text": text } }));
    let results: Vec<_> = judged.iter().filter_map(|program| Some(result(program, &program.finding()?))).collect();
    let driver = json!({ "name": "sidestep verify", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "results": results }],
    });
    serde_json::to_writer_pretty(&mut *out, &log).map_err(io::Error::from)?;
    writeln!(out)
}

fn result(program: &Judged<'_>, finding: &Finding) -> Value {
    let mut location = json!({ "logicalLocations": [{ "fullyQualifiedName": program.name, "kind": "function" }] });
    if let Some((file, line)) = finding.place(program) {
        let mut place = json!({ "artifactLocation": { "uri": uri(file) } });
        if let Some(line) = line {
            place["region"] = json!({ "startLine": line });
        }
        location["physicalLocation"] = place;
    }
    json!({
        "ruleId": finding.rule,
        "level": if finding.is_error() { "error" } else { "warning" },
        "message": { "text": format!("{} on Linux {}: {}", program.name, program.kernel, finding.reason) },
        "locations": [location],
    })
}

/// A path as a reference to a URI: each byte that is not unreserved (RFC 3986, section 2.3) or a slash is percent-encoded.
fn uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |&byte: &u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_bytes().iter().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri(Path::new("src/a b/ü.o")), "src/a%20b/%C3%BC.o");
        assert_eq!(uri(Path::new("/x-1_2~3.o")), "/x-1_2~3.o");
    }
}
