//! Envoy with a bootstrap shaped like the one Istio gives to its sidecars.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sidestep::testbed::{Addresses, INBOUND_PORT, OUTBOUND_PORT};

/// What the sidecars make of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxying {
    Tcp,
    Http,
}

/// The binary; `None`, after saying so loudly, when it cannot be had. In CI that is a failure.
pub(crate) fn binary() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh/fetch-envoy");
    let output = Command::new(&script).output().unwrap();
    if output.status.success() {
        return Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()));
    }
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(std::env::var_os("CI").is_none(), "Envoy cannot be had, and this is CI: {why}");
    eprintln!("NOT TESTED: Envoy cannot be had ({why}); set $ENVOY to its path");
    None
}

const APP: &str = "inbound|8080||";
const SERVICE: &str = "outbound|80||app.default.svc.cluster.local";

/// The bootstrap of either sidecar.
pub(crate) fn bootstrap(proxying: Proxying) -> Value {
    let v4 = &Addresses::V4;
    let socket = |ip: &str, port: u16| json!({ "socket_address": { "address": ip, "port_value": port } });
    let any = v4.any.to_string();
    let (service, app) = (v4.service, v4.app);
    let inbound_source = json!({ "source_address": { "address": v4.inbound_source.to_string(), "port_value": 0 } });
    let original = |name: &str| {
        json!({ "name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "10s",
                "circuit_breakers": breakers() })
    };
    let from_loopback = |name: &str| {
        let mut cluster = original(name);
        cluster["upstream_bind_config"] = inbound_source.clone();
        cluster
    };
    json!({
        "static_resources": {
            "listeners": [
                {
                    "name": "virtualOutbound", "traffic_direction": "OUTBOUND", "address": socket(&any, OUTBOUND_PORT),
                    "use_original_dst": true,
                    "filter_chains": [{ "filters": [tcp("PassthroughCluster")] }]
                },
                {
                    // No socket of its own: virtualOutbound hands connections over by their original destination.
                    "name": "service", "traffic_direction": "OUTBOUND", "bind_to_port": false,
                    "address": socket(&service.ip().to_string(), service.port()),
                    "filter_chains": [{ "filters": [proxy(proxying, SERVICE)] }]
                },
                {
                    "name": "virtualInbound", "traffic_direction": "INBOUND", "address": socket(&any, INBOUND_PORT),
                    "listener_filters": [{
                        "name": "envoy.filters.listener.original_dst",
                        "typed_config": { "@type": kind("listener.original_dst.v3.OriginalDst") }
                    }],
                    "filter_chains": [
                        {
                            "name": "app", "filter_chain_match": { "destination_port": app.port() },
                            "filters": [proxy(proxying, APP)]
                        },
                        { "name": "catch-all", "filters": [tcp("InboundPassthroughCluster")] }
                    ]
                }
            ],
            "clusters": [
                original("PassthroughCluster"), from_loopback("InboundPassthroughCluster"), from_loopback(APP),
                {
                    "name": SERVICE, "type": "STATIC", "connect_timeout": "10s", "circuit_breakers": breakers(),
                    "load_assignment": {
                        "cluster_name": SERVICE,
                        "endpoints": [{ "lb_endpoints": [{
                            "endpoint": { "address": socket(&app.ip().to_string(), app.port()) }
                        }] }]
                    }
                }
            ]
        }
    })
}

fn kind(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.filters.{name}")
}

fn breakers() -> Value {
    json!({ "thresholds": [{ "max_connections": u32::MAX, "max_pending_requests": u32::MAX, "max_requests": u32::MAX }] })
}

fn tcp(cluster: &str) -> Value {
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": { "@type": kind("network.tcp_proxy.v3.TcpProxy"), "stat_prefix": "tcp", "cluster": cluster }
    })
}

fn proxy(proxying: Proxying, cluster: &str) -> Value {
    if proxying == Proxying::Tcp {
        return tcp(cluster);
    }
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": kind("network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "http", "stream_idle_timeout": "0s",
            "route_config": { "virtual_hosts": [{
                "name": "*", "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": cluster, "timeout": "0s" } }]
            }] },
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": { "@type": kind("http.router.v3.Router") }
            }]
        }
    })
}
