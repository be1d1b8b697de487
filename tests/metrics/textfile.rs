//! `sidestep metrics`, beside an agent.

use std::process::Command;

use crate::fetch::sum;
use crate::prometheus::promtool;
use crate::start;
use crate::support::bpffs::TestBpffs;
use crate::support::machine::unique;
use crate::support::nested::NestedCgroups;

fn metrics(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sidestep")).arg("metrics").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_textfile_is_written_at_once() {
    let cgroups = NestedCgroups::new();
    let pins = TestBpffs::new();
    let bpffs = ["--bpffs", pins.path().to_str().unwrap()];
    let (agent, _) = start(&cgroups, &bpffs);
    let openmetrics = metrics(&bpffs);
    let own = format!("sidestep_map_capacity{{cgroup=\"{}\",map=\"sidestep_socks\"}}", cgroups.path().display());
    assert!(openmetrics.ends_with("# EOF\n") && sum(&openmetrics, &own) == 65_536.0, "{openmetrics}");
    let directory = std::env::temp_dir().join(unique("sidestep-textfile"));
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("sidestep.prom");
    assert_eq!(metrics(&[&bpffs[..], &["--textfile", file.to_str().unwrap()]].concat()), "");
    let text = std::fs::read_to_string(&file).unwrap();
    promtool(&["check", "metrics"], &text);
    assert_eq!(sum(&text, &own), 65_536.0);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
    std::fs::remove_dir_all(&directory).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_sidestep")).args(["metrics", "--textfile"]).arg(&file).output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("cannot write"), "{output:?}");
    agent.stop();
}
