//! The page with the share of each program.

use std::fmt::Write;
use std::path::PathBuf;

use sidestep::dataplane::Counter;

use crate::case::{Outcome, Row};

const HEAD: &str = "\
# Programs

Which part of what programs exchange goes past the stack, under the defaults. `tests/programs/run --all` makes this page:
it runs each case with plain TCP first, then accelerated, and checks every byte both times. CI runs most of the cases.

The share of bytes is of all payload in the network namespace of the case, also that of connections which have left the
sockhash or never entered it: redirected bytes divided by these and the payload that the namespace's IP layer has received.
Bulk takes the stack by design, and most bytes of most cases are bulk: 4 MiB each way beside 200 KiB of small messages.
The share of messages is of those that sockets in the sockhash have sent. Each case begins with programs that sidestep does
not know, so that these numbers include their probation. They differ a little from run to run.

Programs that read with splice(2) stay on the stack. The column names those that sidestep has seen splice, and remembers. sidestep also
reads HAProxy's configuration, which says whether it may splice. So HAProxy is named here only if it has spliced before sidestep had read
this, or where sidestep has not read it.

Where FIONREAD does not see the stack's bytes, as on the Linux 6.18 of this run, a connection joins the sockhash only when the
readers of both ends have earned trust ([policy](../explanation/policy.md#where-fionread-does-not-see-the-stacks-bytes)). A row
without a reason is one whose connections never did: an end blocks, or one of the programs receives too seldom (curl, psql).

| Case | Programs | Bytes past the stack | Messages past the stack | Found to splice | Why not all |
|---|---|---:|---:|---|---|
";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reference/programs.md")
}

/// Reasons that are named for a case: three tell enough.
const REASONS: usize = 3;

/// Writes the page.
pub(crate) fn write(rows: &[Row]) {
    let mut text = String::from(HEAD);
    let mut named = Vec::new();
    for row in rows {
        let cells = match &row.outcome {
            Outcome::Equal(measured) => {
                let reasons = measured.reasons.iter().take(REASONS).map(|(counter, _)| *counter);
                named.extend(reasons.clone());
                let reasons: Vec<_> = reasons.map(|counter| format!("`{}`", counter.name())).collect();
                let messages =
                    measured.share_of_messages().map_or("none sent".into(), |share| format!("{:.0} %", share * 100.0));
                let bytes = format!("{:.0} %", measured.share() * 100.0);
                [bytes, messages, measured.splicers.join(", "), reasons.join(", ")]
            }
            Outcome::NotRun(why) => ["not run".into(), String::new(), String::new(), why.clone()],
            Outcome::Differs(_) => ["**wrong**".into(), String::new(), String::new(), "not as plain TCP".into()],
        };
        writeln!(text, "| {} | {} | {} |", row.name, row.programs, cells.join(" | ")).unwrap();
    }
    writeln!(text, "\nThe reasons, as the [counters](counters.md) have them:\n").unwrap();
    for counter in Counter::ALL.iter().filter(|counter| named.contains(counter)) {
        writeln!(text, "- `{}`: {}", counter.name(), counter.description()).unwrap();
    }
    std::fs::write(path(), text).unwrap();
}

/// Panics unless the page begins as a new one would, and has a row for each of these and no other.
pub(crate) fn require_all<'a>(names: impl Iterator<Item = &'a str>) {
    let text = std::fs::read_to_string(path()).unwrap();
    assert!(text.starts_with(HEAD), "the page does not begin with the text that tests/programs/page.rs has");
    let rows = text.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    let listed: Vec<_> = rows.iter().filter_map(|row| row.strip_prefix("| ")?.split(" | ").next()).collect();
    assert_eq!(listed, names.collect::<Vec<_>>(), "run `tests/programs/run --all` and commit the page");
}
