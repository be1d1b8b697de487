//! `sidestep bench --quick` from end to end: every kind of cell is measured, and nothing stays behind. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

use std::process::Command;

use serde_json::Value;
use sidestep::syscall::cgroup;

#[test]
fn the_quick_run_measures_every_kind_of_cell_and_cleans_up() {
    let directory = std::env::temp_dir().join(format!("sidestep-bench-test-{}", std::process::id()));
    let child = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .args(["bench", "--quick", "--json", "--out"])
        .arg(&directory)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 11);
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let outside = row["cell"]["server_outside"].as_bool().unwrap();
        let foreign = row["cell"]["language"].as_str();
        if let Some(why) = row["failed"].as_array().unwrap().first() {
            let why = why[1].as_str().unwrap();
            assert!(foreign == Some("python") && why.contains("install python3"), "{name}: {why}");
            continue;
        }
        for result in row["variants"].as_array().unwrap() {
            let variant = result["variant"].as_str().unwrap();
            let Some(share) = result["past_stack"].as_f64() else {
                assert!(foreign.is_some() && ["plain", "ungated"].contains(&variant), "{name} {variant}");
                continue;
            };
            assert!(result["wall_ns"]["median"].as_f64().unwrap() > 0.0, "{name} {variant}");
            let switches = result["switches"]["median"].as_f64().unwrap();
            // The handshake, the request and the FIN wake the server, and each time both ends give the CPU up once.
            assert!(!name.contains("server first") || switches > 5.0, "{name} {variant}: {switches}");
            match variant {
                "sequence" | "four-tuple" if !outside && name.starts_with("ping-pong") => {
                    assert!(share > 0.9, "{name} {variant}: {share}");
                }
                // Nothing can go past the stack where there is no data plane, or none at the other end.
                "plain" => assert_eq!(share, 0.0, "{name}"),
                // Only what was sent before both ends were in the sockhash: of a connection, that may be all.
                "ungated" if !outside && !name.starts_with("connection") => {
                    assert!(share > 0.9, "{name} {variant}: {share}")
                }
                "stranger" | "probation" => assert_eq!(share, 0.0, "{name} {variant}"),
                "watched" | "uncounted" if name.starts_with("ping-pong") => {
                    assert!(share > 0.5, "{name} {variant}: {share}")
                }
                _ if outside => assert_eq!(share, 0.0, "{name} {variant}"),
                _ => {}
            }
        }
        let pinned = |variant: &str| {
            let of = row["variants"].as_array().unwrap().iter().find(|result| result["variant"] == variant)?;
            Some((of["pinned"]["bytes"].as_u64()?, of["pinned"]["unbounded"].as_bool()?))
        };
        if name.starts_with("stream") && !outside {
            let [plain, gated, ungated] = ["plain", "sequence", "ungated"].map(|variant| pinned(variant).unwrap());
            // How much depends on the machine: its buffers, and how much memory TCP may have in all.
            assert!(plain.0 > 0 && gated.0 > 0 && ungated.0 > 0, "{name}: {plain:?} {gated:?} {ungated:?}");
        }
        let plain = &row["variants"][0];
        assert_eq!((&plain["variant"], &plain["wall_ratio"]["median"]), (&"plain".into(), &1.0.into()), "{name}");
    }
    let runs = report["planes"][0]["programs"].as_array().unwrap();
    // The sk_msg program's runs are booked on the entry, which tail-calls it.
    let measured = |name: &str| runs.iter().find(|program| program["name"] == name).unwrap()["run_ns"].as_f64();
    assert!(measured("sidestep_ops").unwrap() > 0.0 && measured("sidestep_disp").unwrap() > 0.0);
    assert_eq!((runs.len(), measured("sidestep_msg")), (3, None));
    let gate = report["planes"][0]["gate_ns"]["median"].as_f64().unwrap();
    assert!(gate < measured("sidestep_disp").unwrap(), "{gate}");

    for file in ["report.txt", "report.json", "goals.json", "overview.svg", "stream-loopback-same-core.svg"] {
        assert!(std::fs::metadata(directory.join(file)).unwrap().len() > 100, "{file}");
    }
    let text = std::fs::read_to_string(directory.join("report.txt")).unwrap();
    let summary: Vec<_> =
        text.lines().skip_while(|line| !line.starts_with("In short")).take_while(|line| !line.is_empty()).collect();
    assert!((5..=14).contains(&summary.len()) && summary[1].starts_with("  loses"), "{summary:?}");
    let same = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .arg("bench")
        .arg("--compare")
        .args([&directory; 2])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&same.stdout).contains("0 slower, 0 faster"), "{same:?}");
    std::fs::remove_dir_all(directory).unwrap();
    let root = cgroup::find().unwrap().unwrap();
    assert!(!root.join(format!("sidestep-bench-{id}")).exists(), "a cgroup has stayed behind");
}

#[test]
fn no_command_attaches_ungated_redirection() {
    for command in ["run", "attach"] {
        let output = Command::new(env!("CARGO_BIN_EXE_sidestep"))
            .args([command, "--cgroup", "/sys/fs/cgroup/none", "--pairing", "ungated"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("ungated"), "{command}: {said}");
    }
}
