#!/usr/bin/env bash
# Measures Tollgate beside other proxies, on this machine, in one run.
# What it does and how to read it: bench/README.md. Settings, with their defaults:
#
#   BENCH_ONLY=            workloads, with commas: http,close,siege,sweep,latency,connect,logged,bulk,idle,tls,http2,auth,log,policy,hooks
#   BENCH_QUICK=           1: short and few rounds, a look
#   BENCH_RUNS=bench/runs  where the results go
#   BENCH_MINUTES=25       no further rounds after this; the first of each workload is always run
#   ROUNDS=3               COST_ROUNDS=8 for auth, log, policy and hooks
#   DURATION=2             seconds of a row in a round
#   CONNECTIONS=100  TUNNELS=50  IDLE_TUNNELS=3000  RATE=2000  WORKERS=2  ORIGIN_WORKERS=2
#   PAYLOADS="71B 1K 16K 128K 1M"  SWEEP="100 1000 5000 9000"
#   WORK_STEALING=false    true: threads of Tollgate share their work
#   PEERS="direct tollgate nginx haproxy apache squid tinyproxy bare-pingora bare-tokio embedded"
#   PROFILE=release        bench-dev builds faster
#   TOLLGATE, BARE_PINGORA, BARE_TOKIO, EMBEDDED=paths of binaries; none given: they are built
set -euo pipefail
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export LC_ALL=C

BENCH=$(cd "$(dirname "$0")" && pwd)
# For the scripts of wrk.
export BENCH
ROOT=$(dirname "$BENCH")
# shellcheck source=bench/lib.sh
. "$BENCH/lib.sh"
# shellcheck source=bench/build.sh
. "$BENCH/build.sh"
# shellcheck source=bench/peers.sh
. "$BENCH/peers.sh"
# shellcheck source=bench/load.sh
. "$BENCH/load.sh"
# shellcheck source=bench/workloads.sh
. "$BENCH/workloads.sh"
# shellcheck source=bench/costs.sh
. "$BENCH/costs.sh"
# shellcheck source=bench/hooks.sh
. "$BENCH/hooks.sh"
# shellcheck source=bench/versions.sh
. "$BENCH/versions.sh"

if [ -n "${BENCH_QUICK:-}" ]; then
    ROUNDS=${ROUNDS:-1} DURATION=${DURATION:-1} COST_ROUNDS=${COST_ROUNDS:-2}
    PAYLOADS=${PAYLOADS:-71B 16K 1M} SWEEP=${SWEEP:-100 1000 9000} IDLE_TUNNELS=${IDLE_TUNNELS:-1000}
fi
ROUNDS=${ROUNDS:-3}
COST_ROUNDS=${COST_ROUNDS:-8}
DURATION=${DURATION:-2}
SECONDS_EACH=${DURATION%s}
BENCH_MINUTES=${BENCH_MINUTES:-25}
CONNECTIONS=${CONNECTIONS:-100}
TUNNELS=${TUNNELS:-50}
IDLE_TUNNELS=${IDLE_TUNNELS:-3000}
IDLE_SECONDS=2
RATE=${RATE:-2000}
PAYLOADS=${PAYLOADS:-71B 1K 16K 128K 1M}
SWEEP=${SWEEP:-100 1000 5000 9000}
PROFILE=${PROFILE:-release}
PEERS=${PEERS:-direct tollgate nginx haproxy apache squid tinyproxy bare-pingora bare-tokio embedded}
ALL='http close siege sweep latency connect logged bulk idle tls http2 auth log policy hooks'
ONLY=${BENCH_ONLY:-$ALL}
ONLY=${ONLY//,/ }
export WORK_STEALING=${WORK_STEALING:-false} WORKERS=${WORKERS:-2}
export ORIGIN_WORKERS=${ORIGIN_WORKERS:-2}

[ "$(uname -s)" = Linux ] || die "needs Linux: it reads /proc"
for number in "$ROUNDS" "$COST_ROUNDS" "$SECONDS_EACH" "$BENCH_MINUTES" "$CONNECTIONS" "$TUNNELS" "$IDLE_TUNNELS" "$RATE" "$WORKERS" "$ORIGIN_WORKERS"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || die "settings are whole numbers of at least 1, not $number"
done
for workload in $ONLY; do
    case " $ALL " in *" $workload "*) ;; *) die "BENCH_ONLY: no such workload: $workload; there are: $ALL" ;; esac
done
for tool in nginx curl openssl wrk siege oha python3; do
    have "$tool" || die "$tool is missing: run bash scripts/setup.sh --bench"
done

raise_file_limit
[ $((CONNECTIONS + 200)) -le "$FILES" ] || die "$CONNECTIONS connections need more open files than ulimit -n = $FILES"
COMMIT=$(git -C "$ROOT" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
make_work
build_binaries
SECONDS=0

make_accounts
start_origin
KEEP=${#STARTED[@]}

RUN="${BENCH_RUNS:-$BENCH/runs}/$(date +%Y-%m-%d-%H%M%S)-$(hostname -s 2>/dev/null || uname -n)"
mkdir -p "$RUN"
header >"$RUN/raw.csv"
: >"$RUN/remarks.txt"
versions >"$RUN/versions.txt" 2>&1

if [ "$TOLLGATE" = none ]; then
    ALL='http close siege sweep latency connect logged bulk idle tls http2 hooks'
fi
for WORKLOAD in $ALL; do
    case " $ONLY " in
        *" $WORKLOAD "*) "${WORKLOAD}_workload" ;;
    esac
done
stop_all

note "measured for $((SECONDS / 60)) min $((SECONDS % 60)) s"
python3 "$BENCH/report" "$RUN"
note "written to ${RUN#"$ROOT"/}: summary.md, raw.csv, versions.txt, plots"
