//! The reference of the counters, made from the code.

use std::fmt::Write;

use sidestep::dataplane::Counter;

use crate::generated;

fn page() -> String {
    let mut text = String::from(
        "\
# Counters

The programs count on each CPU; `run`, `status` and `status --json` show the sums. A counter only ever grows. An upgrade
that replaces the maps starts at zero.

| Counter | Unit | Counts |
|---|---|---|
",
    );
    for counter in Counter::ALL {
        writeln!(text, "| `{}` | {} | {} |", counter.name(), counter.unit(), counter.description()).unwrap();
    }
    text
}

#[test]
fn the_reference_lists_every_counter() {
    generated::compare("reference/counters.md", &page());
}
