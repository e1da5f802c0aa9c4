# shellcheck shell=bash
# Starts the origin and the proxies. Sourced by run.sh.
# A proxy that runs has its pid and port in PIDS and PORTS.
# shellcheck disable=SC2034  # read by the files that source this one

declare -A PIDS PORTS

start_origin() {
    ORIGIN=$(free_port)
    export ORIGIN
    render "$BENCH/peers/origin.conf" >"$WORK/origin.conf"
    start origin "$ORIGIN" nginx -p "$WORK" -e "$WORK/origin.log" -c "$WORK/origin.conf"
    ORIGIN_PID=$STARTED_PID
}

# launch NAME COMMAND...: starts a peer whose configuration has been written.
launch() {
    local name=$1
    shift
    start "$name" "$PORT" "$@" || return
    PIDS[$name]=$STARTED_PID
    PORTS[$name]=$PORT
}

# start_peer NAME: false, with a line that says why, when it is not there.
start_peer() {
    local name=$1 template
    PORT=$(free_port)
    export PORT
    mkdir -p "$WORK/$name"
    chmod 1777 "$WORK/$name"
    case "$name" in
        tollgate) have "$TOLLGATE" ;;
        squid)
            NCSA=$(compgen -G "/usr/lib*/squid/basic_ncsa_auth" || compgen -G "/usr/libexec/squid/basic_ncsa_auth" || true)
            export NCSA
            have squid && [ -n "$NCSA" ]
            ;;
        *) have "$name" ;;
    esac || {
        note "$name is not installed: left out"
        return 1
    }
    template=$(ls "$BENCH/peers/$name".*)
    render "$template" >"$WORK/$name.${template##*.}" || return
    case "$name" in
        tollgate) launch tollgate "$TOLLGATE" -c "$WORK/tollgate.yaml" ;;
        nginx) launch nginx nginx -p "$WORK" -e "$WORK/nginx.log" -c "$WORK/nginx.conf" ;;
        haproxy) launch haproxy haproxy -db -f "$WORK/haproxy.cfg" ;;
        squid) launch squid squid -N -f "$WORK/squid.conf" ;;
        tinyproxy) launch tinyproxy tinyproxy -d -c "$WORK/tinyproxy.conf" ;;
    esac
}

# way NAME ROLE: sets URL (what the client asks), VIA (wrk's first argument) and
# the arguments that make wrk, curl and siege take this way.
way() {
    local name=$1 role=$2 file=$3
    URL="http://127.0.0.1:$ORIGIN/$file"
    WRK=() CURL=(--noproxy '*') SIEGE_PROXY=
    case "$role" in
        direct) VIA=$URL ;;
        gateway)
            VIA="http://127.0.0.1:${PORTS[$name]}/$file"
            URL=$VIA
            ;;
        forward)
            VIA="http://127.0.0.1:${PORTS[$name]}/"
            WRK=(-s "$BENCH/absolute.lua")
            CURL=(-x "http://127.0.0.1:${PORTS[$name]}")
            SIEGE_PROXY=${PORTS[$name]}
            ;;
    esac
}

# verify NAME ROLE: the same work from everyone: the right bytes with
# credentials, 407 without. False when the peer must not be measured.
verify() {
    local name=$1 role=$2 status
    way "$name" "$role" index.html
    curl -fsS -m 10 "${CURL[@]}" -H "$FIELD" -o "$WORK/got" "$URL" &&
        cmp "$WORK/got" "$WORK/www/index.html" || return
    [ "$role" = direct ] && return
    status=$(curl -sS -m 10 "${CURL[@]}" -o /dev/null -w '%{http_code}' "$URL")
    [ "$status" = 407 ] || {
        note "$name $role answers $status, not 407, to a request without credentials"
        return 1
    }
}

versions() {
    uname -srm
    grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //' || true
    echo "$(nproc) processors, $(awk '/MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
    echo "ulimit -n $(ulimit -n)"
    sysctl net.core.somaxconn net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse 2>/dev/null || true
    echo "commit $(git -C "$ROOT" describe --always --dirty 2>/dev/null || echo unknown)"
    if [ "$TOLLGATE" != none ]; then
        "$TOLLGATE" --version 2>/dev/null || true
        echo "binary $(stat -c '%n %s bytes' "$TOLLGATE"), sha256 $(sha256sum "$TOLLGATE" | cut -c1-16)"
    fi
    rustc --version 2>/dev/null || true
    nginx -v 2>&1
    { wrk --version 2>&1 || true; } | sed -n 1p
    { siege --version 2>&1 || true; } | sed -n 1p
    have haproxy && haproxy -v | sed -n 1p
    have squid && squid -v | sed -n 1p
    have tinyproxy && tinyproxy -v
    true
}
