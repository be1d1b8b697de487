# The sidecars of a mesh, as user 1337 in either pod. Sourced by `up`.
# shellcheck shell=bash disable=SC2154  # names that `up` has set

start_sidecars() {
    local pod netns port
    if [[ -n ${envoy:-} ]]; then
        echo "$envoy" >"$state/envoy"
        if [[ $kind == mtls ]]; then certificates; fi
    fi
    for pod in client server; do
        netns=${!pod}
        case $kind in
            haproxy)
                haproxy_sidecar >"$state/$pod.cfg"
                in_pod "$netns" $pod-sidecar 1337 haproxy -db -f "$state/$pod.cfg"
                ;;
            nginx)
                install -d -o 1337 -g 1337 "$state/$pod"
                nginx_sidecar >"$state/$pod.conf"
                in_pod "$netns" $pod-sidecar 1337 nginx -e stderr -p "$state/$pod" -c "$state/$pod.conf"
                ;;
            *)
                # Before the Envoy, so that `down` always knows what to remove; unlike those of others, most probably.
                echo $(($(cksum <<<"$name $pod" | cut -d' ' -f1) % 100000000)) >"$state/base-id-$pod"
                "$here/envoy-bootstrap" "$kind" "$state" "$pod" "$any" "$service" "$server_ip" "$inbound_source" >"$state/$pod.yaml"
                start_envoy $pod "$netns" 0
                ;;
        esac
    done
    # Istio's two ports are open in either pod.
    for port in 15001 15006; do
        await client-sidecar "$client" $port
        await server-sidecar "$server" $port
    done
}

# Outbound, the service's only endpoint; inbound, where the connection was going before REDIRECT: a server without an
# address. HAProxy asks netfilter for that with IPv4 only, so with IPv6 it is configured.
haproxy_sidecar() {
    local original=0.0.0.0:0
    [[ $family == 4 ]] || original=$(at "$server_ip" $app_port)
    cat <<CFG
global
    maxconn 4096
    nbthread $workers
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen outbound
    bind $(at "$any" 15001)
    server app $(at "$server_ip" $app_port)
listen inbound
    bind $(at "$any" 15006)
    source $(at "$inbound_source" 0)
    server app $original
CFG
}

# nginx does not ask for the original destination, so that inbound, too, it is configured with the app's address.
nginx_sidecar() {
    cat <<CONF
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; worker_processes $workers; pid $state/$pod/nginx.pid; error_log stderr warn;
events { worker_connections 4096; }
stream {
    proxy_timeout 1h;
    server { listen $(at "$any" 15001) backlog=4096; proxy_pass $(at "$server_ip" $app_port); }
    server { listen $(at "$any" 15006) backlog=4096; proxy_bind $inbound_source; proxy_pass $(at "$server_ip" $app_port); }
}
CONF
}

# What Istio's CA would issue: an identity (SPIFFE) for either pod, valid for a day.
certificates() {
    local pod key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    (
        cd "$state"
        openssl req -x509 "${key[@]}" -keyout ca.key -out ca.pem -days 1 -subj /O=cluster.local -addext basicConstraints=critical,CA:TRUE
        for pod in client server; do
            openssl req "${key[@]}" -keyout $pod.key -out $pod.csr -subj /
            openssl x509 -req -in $pod.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -out $pod.pem \
                -extfile <(echo "subjectAltName=critical,URI:spiffe://cluster.local/ns/default/sa/$pod")
            chown 1337 $pod.key
        done
    ) >"$state/openssl.log" 2>&1 || fail "openssl cannot make certificates: $(tail -n 3 "$state/openssl.log")"
}
