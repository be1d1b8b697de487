//! The real Prometheus scrapes, evaluates the rules and answers every query of the dashboard.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use sidestep::testbed::{accept, listen};

use crate::fetch::{escape, get, sum};
use crate::start;
use crate::support::child::ChildGuard;
use crate::support::link::{ANY_PORT, back_and_forth, expect, free_port, pair, pattern, send};
use crate::support::machine::{Setting, missing, unique};
use crate::support::nested::NestedCgroups;
use crate::support::wait::{wait_for, wait_until};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

/// Whether Prometheus and promtool are installed; a failure where `CI` is set.
pub(crate) fn is_here() -> bool {
    let here = ["prometheus", "promtool"]
        .iter()
        .all(|tool| Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok());
    here || missing("metrics", "it takes Debian's package prometheus")
}

/// promtool with this input must have nothing to say.
#[track_caller]
pub(crate) fn promtool(args: &[&str], input: &str) {
    if !is_here() {
        return;
    }
    let mut command = Command::new("promtool");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ChildGuard::spawn(&mut command);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.end();
    assert!(ended.status.success() && ended.err.is_empty(), "{args:?}: {ended:?}\n{input}");
}

/// The result of an instant query.
fn query(prometheus: SocketAddr, expression: &str) -> Value {
    let (status, body) = get(prometheus, &format!("/api/v1/query?query={}", escape(expression)), "");
    let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{expression}: {error}: {body}"));
    assert!(status == 200 && answer["status"] == "success", "{expression}: {answer}");
    answer["data"]["result"].clone()
}

/// Every query of the dashboard, with what Grafana would put in for its variables.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(Path::new(DEPLOY).join("grafana/sidestep.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    queries.iter().map(|query| query.replace("$__rate_interval", "30s").replace("$instance", ".*")).collect()
}

#[test]
fn prometheus_scrapes_and_answers_every_query_of_the_dashboard() {
    if !is_here() {
        return;
    }
    let cgroups = NestedCgroups::new();
    // The kernel measures programs only while this is 1.
    let measured = Setting::new("kernel/bpf_stats_enabled", "1");
    let (agent, address) = start(&cgroups, &[]);
    let directory = std::env::temp_dir().join(unique("sidestep-prometheus"));
    fs::create_dir(&directory).unwrap();
    let config = directory.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: [{DEPLOY}/prometheus/sidestep.rules.yml]\n\
         scrape_configs: [{{job_name: sidestep, static_configs: [{{targets: ['{address}']}}]}}]\n"
    );
    fs::write(&config, text).unwrap();
    // A port that is free now; Prometheus cannot be asked to choose one.
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    cgroups.leave();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
        .arg(format!("--web.listen-address={own}"))
        .args(["--log.level=error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let prometheus = ChildGuard::spawn(&mut command);
    wait_until("Prometheus is ready", || {
        std::net::TcpStream::connect(own).is_ok() && get(own, "/-/ready", "").0 == 200
    });
    wait_until("Prometheus has scraped before there is traffic", || {
        query(own, "sidestep_redirected_bytes_total")[0]["value"][1] == "0"
    });
    cgroups.enter();
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    let bytes = pattern(1, 1_000);
    back_and_forth(&client, &server, &bytes, 100);
    // A client that blocks never enters the sockhash; its bytes count all the same.
    let blocking = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = wait_for(|| accept(&listener).unwrap().ok_or_else(|| "no connection".to_owned()));
    send(&blocking, &pattern(2, 50_000));
    expect(&accepted, &pattern(2, 50_000));
    let ratio = wait_for(|| {
        let text = get(address, "/metrics", "").1;
        let [past, by] = ["sidestep_redirected_bytes_total", "sidestep_stack_bytes_total"].map(|name| sum(&text, name));
        let share = past / (past + by);
        let result = query(own, "sidestep:redirected_bytes:ratio_rate5m");
        let value = result[0]["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
        let same = value.filter(|value| by >= 50_000.0 && (value - share).abs() < 0.0005);
        same.ok_or_else(|| format!("the recording rule has {result}, the counters {share}"))
    });
    assert!(ratio > 0.3 && ratio < 0.95, "{ratio}");
    // A scrape has as long as the interval, so one or another fails on a busy machine.
    wait_until("a scrape succeeds", || query(own, "up{job=\"sidestep\"}")[0]["value"][1] == "1");
    let queries = dashboard();
    assert!(queries.len() > 10, "{queries:?}");
    for expression in queries {
        wait_for(|| match query(own, &expression).as_array().map(Vec::len) {
            Some(0) | None => Err(format!("{expression} has no result")),
            Some(_) => Ok(()),
        });
    }
    let (_, rules) = get(own, "/api/v1/rules", "");
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 5, "{rules:?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
    prometheus.stop(nix::sys::signal::Signal::SIGTERM);
    let said = agent.stop();
    let printed = said.out.rsplit_once("past the stack ").unwrap().1.split_once(" %").unwrap().0;
    let printed = printed.parse::<f64>().unwrap() / 100.0;
    assert!((printed - ratio).abs() < 0.002, "run prints {printed}, the recording rule has {ratio}");
    drop(measured);
    fs::remove_dir_all(&directory).unwrap();
}
