# Parent of a private Docker Engine. Reads commands from standard input and answers each with one line; at the end of
# input, which also comes when whoever asked for the Engine was killed, it ends all of it and removes every trace.
#
# Arguments: directory, cgroup parent, bridge, address of the bridge, then further arguments of dockerd.
dir=$1 cgroup=$2 bridge=$3 address=$4
shift 4
engine= containerd= made_folder=no

# We are in a mount namespace of our own. What Docker and containerd would leave in /run, and older daemons in
# /etc/docker, stays in it.
busybox mount -t tmpfs tmpfs /run
if [ ! -d /etc/docker ]; then mkdir /etc/docker && made_folder=yes; fi
busybox mount -t tmpfs tmpfs /etc/docker

# Ctrl-C is for whoever asked; what follows from it arrives here as the end of input.
trap '' INT TERM HUP

start_containerd() {
    containerd --config "$dir/containerd.toml" >>"$dir/containerd.log" 2>&1 </dev/null &
    containerd=$!
}

start_engine() {
    rm -f "$dir/docker.pid"
    # No pull leaves this machine; loopback addresses are asked without a proxy.
    HTTP_PROXY=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 NO_PROXY= \
    dockerd --config-file "$dir/daemon.json" --host "unix://$dir/d.sock" --containerd "$dir/c.sock" \
        --data-root "$dir/.r" --exec-root "$dir/.x" --pidfile "$dir/docker.pid" --cgroup-parent "$cgroup" \
        --bridge "$bridge" --iptables=false --ip-forward=false --ip-masq=false \
        --exec-opt native.cgroupdriver=cgroupfs --shutdown-timeout 1 "$@" >>"$dir/dockerd.log" 2>&1 </dev/null &
    engine=$!
}

# Ends one of our own children: politely within the given tenths of a second, else at once.
end() {
    [ -n "$1" ] || return 0
    kill -CONT "$1" 2>/dev/null
    kill -TERM "$1" 2>/dev/null
    tenths=$2
    while [ "$tenths" -gt 0 ] && kill -0 "$1" 2>/dev/null; do
        sleep 0.1
        tenths=$((tenths - 1))
    done
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# Our cgroup, in each hierarchy: it lies beneath the cgroup that we were started in.
cgroups() {
    busybox find /sys/fs/cgroup -type d -name "$cgroup" -prune 2>/dev/null
}

# The processes of our containers, which are known by our cgroup.
end_containers() {
    for folder in $(cgroups); do
        for list in "$folder"/*/cgroup.procs; do
            [ -f "$list" ] || continue
            while read -r pid; do
                # A process that is just ending stands there as 0, and that would be our own process group.
                [ "$pid" -le 1 ] || kill -KILL "$pid" 2>/dev/null
            done <"$list"
        done
    done
}

# Shims outlive a killed engine; they are known by the address of our containerd.
end_shims() {
    for entry in /proc/[0-9]*; do
        if tr '\0' ' ' <"$entry/cmdline" 2>/dev/null | grep -q -F -e "-address $dir/c.sock "; then
            kill -KILL "${entry#/proc/}" 2>/dev/null
        fi
    done
}

clean() {
    [ -z "$engine" ] || kill -CONT "$engine" 2>/dev/null
    end_containers
    end "$engine" 30
    end_containers
    end_shims
    end "$containerd" 10
    for folder in $(cgroups); do
        rmdir "$folder"/* "$folder" 2>/dev/null
    done
    busybox ip link del "$bridge" 2>/dev/null
    [ "$made_folder" = no ] || { busybox umount -l /etc/docker; rmdir /etc/docker; } 2>/dev/null
    tac /proc/self/mountinfo | while read -r _ _ _ _ target _; do
        case $target in "$dir"/*) busybox umount -l "$target" 2>/dev/null ;; esac
    done
    rm -rf --one-file-system "$dir"
}

busybox ip link add "$bridge" type bridge &&
    busybox ip addr add "$address/24" dev "$bridge" &&
    busybox ip link set "$bridge" up || echo "the bridge $bridge cannot be made" >>"$dir/dockerd.log"
start_containerd
start_engine "$@"
echo started

while read -r command; do
    case $command in
    alive) kill -0 "$engine" 2>/dev/null || command=dead ;;
    start) start_engine "$@" ;;
    stop) end "$engine" 150 && engine= ;;
    kill) kill -KILL "$engine" && wait "$engine" 2>/dev/null; engine= ;;
    esac
    echo "$command"
done
clean
echo cleaned
