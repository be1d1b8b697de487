//! The page with the share of each program.

use std::fmt::Write;
use std::path::PathBuf;

use crate::case::{Outcome, Row};

const HEAD: &str = "\
# Programs

Which part of their bytes programs exchange past the stack, under the defaults. `tests/programs/run --all` makes this page:
it runs each case with plain TCP first, then accelerated, and checks every byte both times.

The share is of all payload bytes in the network namespace of the case, also those of connections that have left the
sockhash: redirected bytes divided by these and the payload that the namespace's IP layer has received. Bulk
takes the stack by design, and most bytes of most cases are bulk: 4 MiB each way beside 200 KiB of small messages. Where
a server makes its socket non-blocking only after it has accepted it (PostgreSQL, Java, asyncio), a first message that
comes before that sends the pair to the stack, so that these numbers differ from run to run. The
[counters](counters.md) say what each reason means.

| Case | Programs | Past the stack | Why not all |
|---|---|---:|---|
";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reference/programs.md")
}

/// Writes the page.
pub(crate) fn write(rows: &[Row]) {
    let mut text = String::from(HEAD);
    for row in rows {
        let (share, why) = match &row.outcome {
            Outcome::Equal(measured) => {
                // Three tell enough.
                let reasons: Vec<_> =
                    measured.reasons.iter().take(3).map(|(counter, _)| format!("`{}`", counter.name())).collect();
                (format!("{:.0} %", measured.share() * 100.0), reasons.join(", "))
            }
            Outcome::NotRun(why) => ("not run".into(), why.clone()),
            Outcome::Differs(_) => ("**wrong**".into(), "not as plain TCP".into()),
        };
        writeln!(text, "| {} | {} | {share} | {why} |", row.name, row.programs).unwrap();
    }
    std::fs::write(path(), text).unwrap();
}

/// Panics unless the page has a row for each of these, and no other.
pub(crate) fn require_all<'a>(names: impl Iterator<Item = &'a str>) {
    let text = std::fs::read_to_string(path()).unwrap();
    let rows: Vec<_> = text.lines().skip_while(|line| !line.starts_with("|---")).skip(1).collect();
    let listed: Vec<_> = rows.iter().filter_map(|row| row.strip_prefix("| ")?.split(" | ").next()).collect();
    assert_eq!(listed, names.collect::<Vec<_>>(), "run `tests/programs/run --all` and commit the page");
}
