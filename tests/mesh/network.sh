# The network of a mesh: a node with a bridge, two pods on it, Istio's rules in both. Sourced by `up`.
# shellcheck shell=bash disable=SC2154  # names that `up` has set

for netns in "$node" "$client" "$server"; do
    ip netns add "$netns"
    ip -n "$netns" link set lo up
    # BBR, the default on some hosts, paces: comparisons would measure its timers.
    ip netns exec "$netns" sysctl -qw net.ipv4.tcp_congestion_control=reno
done
ip -n "$node" link add cni0 type bridge
ip -n "$node" addr add "$gateway/$prefix" dev cni0 nodad 2>/dev/null || ip -n "$node" addr add "$gateway/$prefix" dev cni0
ip -n "$node" link set cni0 up

# pod NETNS ADDRESS PORT-OF-THE-BRIDGE
pod() {
    ip link add "$3" netns "$node" type veth peer name eth0 netns "$1"
    ip -n "$node" link set "$3" master cni0 up
    if [[ $family == 6 ]]; then
        ip -n "$1" addr add "$2/$prefix" dev eth0 nodad
        # Of 127.0.0.0/8 every address is local; of IPv6 only what is added.
        ip -n "$1" addr add "$inbound_source/128" dev lo nodad
    else
        ip -n "$1" addr add "$2/$prefix" dev eth0
    fi
    ip -n "$1" link set eth0 up
    ip -n "$1" route add default via "$gateway"
    istio_rules "$1"
    # Short connections leave entries behind; a bench makes thousands a second.
    ip netns exec "$1" sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_time_wait=5 net.ipv4.tcp_tw_reuse=1
}

# The rules that `istio-iptables` makes for a pod that redirects all inbound and outbound traffic.
istio_rules() {
    local restore complaints='' version=''
    [[ $family == 4 ]] || version=6
    for restore in ip${version}tables-restore ip${version}tables-legacy-restore ip${version}tables-nft-restore; do
        command -v "$restore" >/dev/null || continue
        complaints+=$(ip netns exec "$1" "$restore" --noflush --wait 5 2>&1 <<RULES
*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_REDIRECT - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -s $inbound_source/$all -j RETURN
-A ISTIO_OUTPUT -o lo ! -d $loopback/$all -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d $loopback/$all -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d $loopback/$all -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
RULES
        ) && return
    done
    fail "no iptables can make Istio's rules; install it (apt-get install iptables), on a kernel with nat tables: $complaints"
}

pod "$client" "$client_ip" veth-client
pod "$server" "$server_ip" veth-server
