#!/usr/bin/env bash
# Measures Tollgate beside other proxies, on this machine, in one run.
# What it does and how to read it: bench/README.md. Settings, with their defaults:
#
#   DURATION=10s  ROUNDS=3  CONNECTIONS=100  TUNNELS=50  WORKERS, ORIGIN_WORKERS=(processors)
#   PAYLOADS="index.html 1K 16K 128K 1M"  LOADS="wrk siege connect"
#   PEERS="direct tollgate nginx haproxy squid tinyproxy"
#   TOLLGATE=path of a binary (none: only the peers)  ACCESS_LOG=off (or stdout, a path)
set -euo pipefail
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export LC_ALL=C

BENCH=$(cd "$(dirname "$0")" && pwd)
ROOT=$(dirname "$BENCH")
# shellcheck source=bench/lib.sh
. "$BENCH/lib.sh"
# shellcheck source=bench/peers.sh
. "$BENCH/peers.sh"
# shellcheck source=bench/load.sh
. "$BENCH/load.sh"

DURATION=${DURATION:-10s}
case "$DURATION" in *[!0-9]*) ;; *) DURATION=${DURATION}s ;; esac
ROUNDS=${ROUNDS:-3}
CONNECTIONS=${CONNECTIONS:-100}
TUNNELS=${TUNNELS:-50}
PAYLOADS=${PAYLOADS:-index.html 1K 16K 128K 1M}
LOADS=${LOADS:-wrk siege connect}
PEERS=${PEERS:-direct tollgate nginx haproxy squid tinyproxy}
export WORKERS=${WORKERS:-$(nproc)}
export ORIGIN_WORKERS=${ORIGIN_WORKERS:-$(nproc)}
export ACCESS_LOG=${ACCESS_LOG:-off}

[ "$(uname -s)" = Linux ] || die "needs Linux: it reads /proc"
[[ $DURATION =~ ^[1-9][0-9]*s$ ]] || die "DURATION is a whole number of seconds, such as 10s"
for tool in nginx wrk siege curl openssl; do
    have "$tool" || die "$tool is missing: run bash scripts/setup.sh --bench"
done
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt $((2 * CONNECTIONS + 200)) ]; then
    die "$CONNECTIONS connections need more open files than ulimit -n = $(ulimit -n)"
fi

# What a proxy may hold: two descriptors a connection, and some to spare.
MAXCONN=$(ulimit -n | awk '{ n = $1 == "unlimited" ? 65536 : $1; n = (n - 100) / 2; print int(n < 30000 ? n : 30000) }')
export MAXCONN

if [ -z "${TOLLGATE:-}" ]; then
    note "building the release binary"
    (cd "$ROOT" && cargo build --release --locked)
    TOLLGATE=${CARGO_TARGET_DIR:-$ROOT/target}/release/tollgate
fi

WORK=$(mktemp -d "${TMPDIR:-/tmp}/tollgate-bench.XXXXXX")
export DIR=$WORK
trap 'stop_all; rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# nginx and Squid give up root, and must still come in.
chmod 755 "$WORK"
USER=nobody
[ "$(id -u)" -eq 0 ] || USER=$(id -un)
GROUP=$(id -gn "$USER")
export USER GROUP

mkdir -p "$WORK/output" "$WORK/www" "$WORK/nginx-temp"
chmod 1777 "$WORK/nginx-temp"

# apr1, because Squid's helper reads it too.
printf 'username:%s\n' "$(openssl passwd -apr1 password)" >"$WORK/users.htpasswd"
chmod 644 "$WORK/users.htpasswd"
BASIC=$(printf username:password | openssl base64)
export BASIC
FIELD="Proxy-Authorization: Basic $BASIC"

cp "$BENCH/www/index.html" "$WORK/www/"
payload 1K 1024
payload 16K 16384
payload 128K 131072
payload 1M 1048576
chmod -R a+rX "$WORK/www"
: >"$WORK/access.log"
start_origin

case " $LOADS " in
    *" connect "*)
        # Only std, so one file is enough; cargo would build the whole tree again.
        rustc --edition 2024 -C opt-level=3 -o "$WORK/connect_load" "$ROOT/examples/connect_load.rs"
        ECHO=$(free_port)
        start echo "$ECHO" "$WORK/connect_load" --echo "127.0.0.1:$ECHO"
        ;;
esac

# Who is measured, and which way: "name role".
ROWS=()
for name in $PEERS; do
    [ "$name $TOLLGATE" = "tollgate none" ] && continue
    case "$name" in
        direct) roles=direct ;;
        tollgate) roles="gateway forward" ;;
        nginx | haproxy) roles=gateway ;;
        squid | tinyproxy) roles=forward ;;
        *) die "PEERS: no such peer: $name" ;;
    esac
    if [ "$name" != direct ] && ! start_peer "$name"; then
        # A peer may be missing; what is measured here may not.
        [ "$name" = tollgate ] && die "tollgate does not run"
        continue
    fi
    for role in $roles; do
        verify "$name" "$role" || die "$name $role does not do the work"
        ROWS+=("$name $role")
    done
done
[ "${#ROWS[@]}" -gt 0 ] || die "nobody to measure"

RUN="$BENCH/runs/$(date +%Y-%m-%d-%H%M%S)-$(hostname -s 2>/dev/null || uname -n)"
mkdir -p "$RUN"
versions >"$RUN/versions.txt" 2>&1
{
    echo "DURATION=$DURATION ROUNDS=$ROUNDS CONNECTIONS=$CONNECTIONS TUNNELS=$TUNNELS WORKERS=$WORKERS"
    echo "ORIGIN_WORKERS=$ORIGIN_WORKERS ACCESS_LOG=$ACCESS_LOG PAYLOADS='$PAYLOADS' LOADS='$LOADS' PEERS='$PEERS'"
} >>"$RUN/versions.txt"
echo "$HEADER" >"$RUN/raw.csv"

# Rounds are interleaved: what the machine does meanwhile hits everyone alike.
for ((round = 1; round <= ROUNDS; round++)); do
    for load in $LOADS; do
        case "$load" in
            wrk) files=$PAYLOADS ;;
            siege) files=index.html ;;
            connect) files=64B ;;
            *) die "LOADS: no such load: $load" ;;
        esac
        for file in $files; do
            note "round $round of $ROUNDS: $load, $file"
            for entry in "${ROWS[@]}"; do
                # A gateway opens no tunnels.
                case "$load $entry" in
                    connect*gateway) continue ;;
                esac
                # shellcheck disable=SC2086
                "${load}_load" "$round" $entry "$file"
            done
        done
    done
done

bash "$BENCH/report.sh" "$RUN" >"$RUN/summary.md"
echo
cat "$RUN/summary.md"
note "written to ${RUN#"$ROOT"/}"
