# shellcheck shell=bash
# The machine, the versions and the settings of a run. No path of this machine
# gets into what is kept. Sourced by run.sh.
# shellcheck disable=SC2154  # shared with the files that source this one

# binary NAME PATH
binary() {
    [ -n "$2" ] && [ -e "$2" ] || return 0
    echo "$1: $(stat -L -c %s "$2") bytes, sha256 $(sha256sum "$2" | cut -c1-16)"
}

versions() {
    echo "date $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    echo "commit $COMMIT"
    uname -srm
    grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //' || true
    echo "$(nproc) processors, $(awk '/MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo), load average $(cut -d' ' -f1-3 /proc/loadavg) before the run"
    echo "descriptors: ulimit -n $FILES"
    sysctl net.core.somaxconn net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse 2>/dev/null || true
    [ "$TOLLGATE" = none ] || "$TOLLGATE" --version 2>/dev/null || true
    binary tollgate "$TOLLGATE"
    binary bare-pingora "${BARE_PINGORA:-}"
    binary bare-tokio "${BARE_TOKIO:-}"
    binary embedded "${EMBEDDED:-}"
    rustc --version 2>/dev/null || true
    nginx -v 2>&1
    have haproxy && haproxy -v | sed -n 1p
    have haproxy && haproxy -vv | grep -i 'Lua version' || true
    if have dpkg-query; then
        dpkg-query -W -f '${Package} ${Version}\n' libnginx-mod-http-lua libluajit-5.1-2 2>/dev/null | grep ' .' || true
    fi
    have squid && squid -v | sed -n 1p
    { apache2 -v || httpd -v; } 2>/dev/null | sed -n 1p || true
    have tinyproxy && tinyproxy -v
    { wrk --version 2>&1 || true; } | sed -n 1p
    { siege --version 2>&1 || true; } | sed -n 1p
    oha --version
    curl --version | sed -n 1p | cut -d' ' -f1-2
    python3 --version
    echo "settings: ROUNDS=$ROUNDS COST_ROUNDS=$COST_ROUNDS DURATION=$SECONDS_EACH CONNECTIONS=$CONNECTIONS TUNNELS=$TUNNELS" \
        "IDLE_TUNNELS=$IDLE_TUNNELS RATE=$RATE WORKERS=$WORKERS ORIGIN_WORKERS=$ORIGIN_WORKERS WORK_STEALING=$WORK_STEALING"
    echo "PAYLOADS='$PAYLOADS' SWEEP='$SWEEP' PEERS='$PEERS' BENCH_ONLY='$ONLY'"
}
