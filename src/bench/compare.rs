//! Two runs side by side: what has become slower, what faster.

use std::io::{self, Write};
use std::path::Path;

use serde::Deserialize;

use super::error::{Error, Result};

/// What a comparison reads of a `report.json`.
#[derive(Debug, Deserialize)]
struct Run {
    conditions: Conditions,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Conditions {
    kernel: String,
    processor: String,
    rounds: usize,
}

#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    cell: Cell,
    variants: Vec<Variant>,
}

#[derive(Debug, Deserialize)]
struct Cell {
    placement: String,
}

#[derive(Debug, Deserialize)]
struct Variant {
    variant: String,
    wall_ratio: Ratio,
    cpu_ratio: Ratio,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
struct Ratio {
    median: f64,
    low: f64,
    high: f64,
}

impl Ratio {
    /// The intervals have a value in common: the runs do not differ as far as they can tell.
    fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

impl Run {
    /// Reads the results that `bench --out` has written.
    fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("report.json");
        let failed = |why: String| Error::Input { path: path.clone(), why };
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(format!("it is not a report of this version ({error})")))
    }

    /// The ratios of every accelerated variant: on one core those of CPU time, which other programs do not disturb.
    fn ratios(&self) -> impl Iterator<Item = (&str, &str, Ratio)> {
        self.rows.iter().flat_map(|row| {
            let shown = row.variants.iter().filter(|one| !["plain", "unix", "pipe"].contains(&one.variant.as_str()));
            shown.map(|one| {
                let ratio = if row.cell.placement == "same-core" { one.cpu_ratio } else { one.wall_ratio };
                (row.name.as_str(), one.variant.as_str(), ratio)
            })
        })
    }

    fn ratio(&self, name: &str, variant: &str) -> Option<Ratio> {
        self.ratios().find(|one| (one.0, one.1) == (name, variant)).map(|one| one.2)
    }
}

/// Compares the results in two directories and prints what differs: what became slower first, the worst first.
pub fn compare(before: &Path, after: &Path, out: &mut dyn Write) -> Result<()> {
    let runs = [Run::read(before)?, Run::read(after)?];
    write(&runs, out).map_err(|source| Error::Output { path: "standard output".into(), source })
}

fn write([before, after]: &[Run; 2], out: &mut dyn Write) -> io::Result<()> {
    for (name, run) in [("before", before), ("after", after)] {
        let Conditions { kernel, processor, rounds } = &run.conditions;
        writeln!(out, "{name:<7} Linux {kernel}, {processor}, {rounds} rounds")?;
    }
    writeln!(
        out,
        "Ratios of time to plain TCP (on one core of CPU time). A row differs when the 95 % intervals do not meet.\n"
    )?;
    let (mut slower, mut faster, mut same, mut alone) = (Vec::new(), Vec::new(), 0, 0);
    for (name, variant, old) in before.ratios() {
        match after.ratio(name, variant) {
            None => alone += 1,
            Some(new) if old.overlaps(&new) => same += 1,
            Some(new) => {
                let list = if new.median > old.median { &mut slower } else { &mut faster };
                list.push((new.median / old.median, name, variant, old, new));
            }
        }
    }
    alone += after.ratios().filter(|(name, variant, _)| before.ratio(name, variant).is_none()).count();
    for list in [&mut slower, &mut faster] {
        list.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    slower.reverse();
    for (word, list) in [("slower", &slower), ("faster", &faster)] {
        for (change, name, variant, old, new) in list {
            writeln!(out, "{word:<7} x{change:.2}  {:.2} -> {:.2}  {name} ({variant})", old.median, new.median)?;
        }
    }
    writeln!(
        out,
        "{} slower, {} faster, {same} without a difference, {alone} in one run only",
        slower.len(),
        faster.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: &[(&str, f64)]) -> Run {
        let ratio =
            |median: f64| format!(r#"{{"median": {median}, "low": {}, "high": {}}}"#, median - 0.05, median + 0.05);
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, median)| {
                let variant = format!(
                    r#"{{"variant": "sequence", "wall_ratio": {}, "cpu_ratio": {}}}"#,
                    ratio(9.0),
                    ratio(*median)
                );
                format!(r#"{{"name": "{name}", "cell": {{"placement": "same-core"}}, "variants": [{variant}]}}"#)
            })
            .collect();
        let conditions = r#"{"kernel": "6.18", "processor": "one", "rounds": 21}"#;
        serde_json::from_str(&format!(r#"{{"conditions": {conditions}, "rows": [{}]}}"#, rows.join(","))).unwrap()
    }

    #[test]
    fn what_became_slower_comes_first_and_what_overlaps_is_counted() {
        let before = run(&[("a", 0.5), ("b", 0.5), ("c", 0.5), ("d", 0.5), ("gone", 1.0)]);
        let after = run(&[("a", 0.3), ("b", 0.55), ("c", 0.7), ("d", 0.9), ("new", 1.0)]);
        let mut out = Vec::new();
        write(&[before, after], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().skip(4).collect();
        assert_eq!(
            lines,
            [
                "slower  x1.80  0.50 -> 0.90  d (sequence)",
                "slower  x1.40  0.50 -> 0.70  c (sequence)",
                "faster  x0.60  0.50 -> 0.30  a (sequence)",
                "2 slower, 1 faster, 1 without a difference, 2 in one run only",
            ]
        );
    }

    #[test]
    fn a_directory_without_results_gets_a_sentence() {
        let directory = std::env::temp_dir().join(format!("sidestep-compare-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let said = |directory: &Path| compare(directory, directory, &mut Vec::new()).unwrap_err().to_string();
        assert!(said(&directory).contains("name a directory that `sidestep bench --out` has written"));
        std::fs::write(directory.join("report.json"), r#"{"rows": 5}"#).unwrap();
        assert!(said(&directory).contains("not a report of this version"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
