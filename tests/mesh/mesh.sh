# What `up`, `down` and `hot-restart` share: the names of everything a mesh consists of, and how to end it. To be sourced.
#
# A mesh leaves no process whose end could be missed: all are in its cgroup before they start, so that the cgroup is the
# list of what has to be killed, also when `up` itself was killed half-way.
# shellcheck shell=bash disable=SC2034  # names used by the scripts that source this

fail() { echo "${0##*/}: $*" >&2; exit 1; }

[[ $(id -u) == 0 ]] || fail 'run as root: a mesh needs network namespaces and a cgroup'
cgroup2=$(awk '/ - cgroup2 / {print $5; exit}' /proc/self/mountinfo)
[[ -n $cgroup2 ]] || fail 'no cgroup2 is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup'
states=/run/sidestep-mesh

# Sets the names of a mesh.
use_mesh() {
    name=$1
    [[ $name =~ ^[a-z0-9-]{1,32}$ ]] || fail "a mesh cannot be called '$name': use 1 to 32 of a-z, 0-9 and -"
    state=$states/$name
    group=$cgroup2/sidestep-mesh-$name
    node=sidestep-$name-node client=sidestep-$name-client server=sidestep-$name-server
}

# All meshes that something is left of.
all_meshes() {
    shopt -s nullglob
    local path each=()
    for path in "$states"/*/ "$cgroup2"/sidestep-mesh-*/ /run/netns/sidestep-*-{node,client,server}; do
        path=${path%/}
        case $path in
            "$states"/*) each+=("${path##*/}") ;;
            "$cgroup2"/*) each+=("${path##*/sidestep-mesh-}") ;;
            *) path=${path##*/sidestep-} each+=("${path%-*}") ;;
        esac
    done
    shopt -u nullglob
    ((${#each[@]} == 0)) || printf '%s\n' "${each[@]}" | sort -u
}

# Ends a mesh, whatever there is of it.
end_mesh() {
    local pid try ancestors=' ' directory
    # A shell that has entered the mesh's cgroup to run a client and now calls `down` should survive that.
    for ((pid = $$; pid > 1; pid = $(awk '/^PPid:/ {print $2}' "/proc/$pid/status"))); do ancestors+="$pid "; done
    for ((try = 0; try < 250; try++)); do
        [[ -d $group ]] || break
        # A process of another pid namespace shows as 0, and killing that would be suicide.
        for pid in $(cat "$group"/cgroup.procs "$group"/*/cgroup.procs 2>/dev/null); do
            if [[ $ancestors == *" $pid "* ]]; then echo "$pid" >"$cgroup2/cgroup.procs"; elif ((pid > 1)); then kill -9 "$pid" 2>/dev/null || true; fi
        done
        for directory in "$group"/*/ "$group"; do [[ -d $directory ]] && rmdir "$directory" 2>/dev/null; done || true
        [[ -d $group ]] && sleep 0.02
    done
    [[ ! -d $group ]] || fail "the cgroup $group still has processes: $(cat "$group"/cgroup.procs "$group"/*/cgroup.procs | tr '\n' ' ')"
    # Links and the bridge go with their namespaces.
    for netns in "$client" "$server" "$node"; do [[ ! -e /run/netns/$netns ]] || ip netns del "$netns"; done
    # What Envoys share for hot restarts (ten segments of names for each base id: hot_restart_impl.cc).
    for id in "$state"/base-id-*; do [[ ! -e $id ]] || rm -f "/dev/shm/envoy_shared_memory_$(cat "$id")"0; done
    # What was pinned here goes with the mount.
    ! mountpoint -q "$state/bpffs" || umount -l "$state/bpffs"
    rm -rf "$state"
    rmdir "$states" 2>/dev/null || true
}

# in_pod POD GROUP USER COMMAND... starts a command in a pod, in a cgroup below the mesh's, with a log.
in_pod() {
    local netns=$1 below=$2 user=$3
    shift 3
    mkdir -p "$group/$below"
    (
        # First of all, and before `ip netns exec`, which mounts another /sys.
        echo "$BASHPID" >"$group/$below/cgroup.procs"
        # Not our child: Envoy asks for a SIGTERM when its parent ends.
        exec setsid --fork ip netns exec "$netns" setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
    ) </dev/null >>"$state/$below.log" 2>&1
}

# await GROUP NETNS PORT waits until a process of the group listens, or has died. It looks and does not connect: a sidecar that
# is called by its own address calls itself, forever.
await() {
    local try
    for ((try = 0; try < 1000; try++)); do
        # ss cannot fail to say so: an empty answer means that there is no listener.
        [[ -z $(ip netns exec "$2" ss -ltnH "sport = :$3") ]] || return 0
        ((try < 5)) || [[ -n $(cat "$group/$1/cgroup.procs") ]] || break
        sleep 0.02
    done
    fail "$1 does not listen on port $3; it said: $(tail -n 5 "$state/$1.log")"
}

# start_envoy POD NETNS EPOCH starts the Envoy of a pod; later epochs take over from the one before. Draining is the old
# one's part, by its own flags: it asks every client to reconnect, for three seconds. The new one ends it after five.
start_envoy() {
    local pod=$1 netns=$2 epoch=$3 fd
    # By descriptor: user 1337 may not be allowed to walk to the binary.
    exec {fd}<"$(cat "$state/envoy")"
    in_pod "$netns" "$pod-sidecar" 1337 "/proc/self/fd/$fd" -c "$state/$pod.yaml" --base-id "$(cat "$state/base-id-$pod")" \
        --restart-epoch "$epoch" --concurrency "$(cat "$state/workers")" --log-level warning \
        --drain-time-s 3 --drain-strategy immediate --parent-shutdown-time-s 5
    exec {fd}<&-
    echo "$epoch" >"$state/epoch-$pod"
}
