//! The benchmark of benches/mesh measures, says what it has measured, and leaves nothing behind.

use std::time::Duration;

use sidestep::bench::Variant;

use crate::measure::{CPU, P50, Plan, run};
use crate::mesh::{Kind, wait_for_turn};
use crate::{NAME, report};

#[test]
fn a_short_benchmark_has_every_figure() {
    // This, too, moves the process between cgroups.
    let _turn = wait_for_turn(NAME).unwrap();
    let cells = vec![(2, false), (1, true)];
    let plan = Plan { rounds: 6, round: Duration::from_millis(4), pinned: false, workers: 1, cells };
    let measured = run(&plan, &[Kind::Haproxy], &mut |line| println!("{line}"));
    let measured = match measured {
        Ok(report) => report,
        Err(error) if std::env::var_os("CI").is_none() && error.to_string().contains("nothing could be measured") => {
            eprintln!("NOT TESTED: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(measured.rows.len(), 2);
    for row in &measured.rows {
        assert_eq!(row.samples.len(), 3 * 6);
        let variants: Vec<_> = row.variants.iter().map(|result| result.variant).collect();
        assert_eq!(variants, [Variant::Plain, Variant::Sequence, Variant::FourTuple]);
        for result in &row.variants {
            assert!(result.figures.iter().all(|figure| figure.low > 0.0), "{row:?}");
            assert_eq!(result.past_stack.is_some_and(|share| share > 0.9), result.variant != Variant::Plain, "{row:?}");
        }
        assert_eq!(row.variants[0].ratios.map(|ratio| ratio.median), [1.0; 4]);
        // From microseconds to a second.
        let plain = &row.variants[0].figures;
        assert!((1.0..1e6).contains(&plain[P50].median) && (1.0..1e6).contains(&plain[CPU].median), "{row:?}");
    }
    let directory = std::env::temp_dir().join(format!("sidestep-mesh-bench-{}", std::process::id()));
    report::write_directory(&measured, &directory).unwrap();
    for file in ["mesh.txt", "mesh.json", "mesh-goals.json", "mesh-haproxy.svg"] {
        assert!(directory.join(file).exists(), "{file}");
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(directory.join("mesh.json")).unwrap()).unwrap();
    assert_eq!(json["rows"][0]["samples"].as_array().unwrap().len(), 18);
    std::fs::remove_dir_all(directory).unwrap();
    assert!(!std::path::Path::new("/run/sidestep-mesh/bench-plain").exists());
}
