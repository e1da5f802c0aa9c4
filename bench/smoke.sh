#!/usr/bin/env bash
# Fails when a request costs Tollgate more CPU than it costs a bare proxy on the
# same framework (examples/bare_pingora.rs), built from the same lock file with
# the same profile. Settings, with their defaults:
#
#   SMOKE_RATIO=1.15       what Tollgate may take, in CPU per request of the bare one
#   SMOKE_PAIRS=14         pairs, one second each
#   SMOKE_PROFILE=release  bench-dev builds faster
#   WORKERS=1              threads of either; with more than one Tollgate's share nothing
#                          and the bare one's do, which hides what the code costs
#   TOLLGATE, BARE_PINGORA=paths of binaries; none given: they are built
#
# The machine may be shared: the two take turns, each ratio is of neighbours in
# time, and the median of the ratios decides.
set -euo pipefail
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export LC_ALL=C

BENCH=$(cd "$(dirname "$0")" && pwd)
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

RATIO=${SMOKE_RATIO:-1.15}
PAIRS=${SMOKE_PAIRS:-14}
PROFILE=${SMOKE_PROFILE:-release}
export WORKERS=${WORKERS:-1} ORIGIN_WORKERS=${ORIGIN_WORKERS:-2}

[ "$(uname -s)" = Linux ] || die "needs Linux: it reads /proc"
[[ $RATIO =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "SMOKE_RATIO is a number such as 1.15"
[[ $PAIRS =~ ^[1-9][0-9]*$ ]] || die "SMOKE_PAIRS is a whole number of at least 1"
for tool in nginx curl openssl wrk; do
    have "$tool" || die "$tool is missing: run bash scripts/setup.sh --bench"
done

raise_file_limit
make_work
build_tollgate "$PROFILE"
if [ -z "${BARE_PINGORA:-}" ]; then
    build_yardsticks "$PROFILE" bare_pingora
    BARE_PINGORA=$YARDSTICKS/bare_pingora
fi
make_accounts
start_origin
RUN=$WORK
for peer in tollgate bare-pingora; do
    start_peer "$peer" || die "$peer does not run"
    verify "$peer" gateway 71B || die "$peer does not do the work"
done

# Pair 0 warms up. Who begins changes from pair to pair.
header >"$RUN/raw.csv"
note "$PAIRS pairs, 100 connections, 71 bytes"
for ((pair = 0; pair <= PAIRS; pair++)); do
    order=(tollgate bare-pingora)
    ((pair % 2)) && order=(bare-pingora tollgate)
    for name in "${order[@]}"; do
        wrk_load "$pair" smoke 71B "$name" gateway 71B 100 1
    done
done

awk -F, -v bound="$RATIO" '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    $at["round"] == 0 { next }
    {
        count = $at["count"]; cpu = $at["cpu_user_s"] + $at["cpu_system_s"]; n = $at["round"]
        bad += $at["errors"] + $at["non_2xx"] + $at["closes"]
        if (!count || !cpu) { bad++; next }
        us[$at["peer"], n] = cpu / count * 1e6
        rate[$at["peer"], n] = count / $at["seconds"]
        if (n > pairs) pairs = n
    }
    END {
        for (n = 1; n <= pairs; n++) {
            ours = us["tollgate", n]; bare = us["bare-pingora", n]
            if (!bare) continue
            ratio = ours / bare
            printf "pair %2d: tollgate %5.1f us at %6.0f/s, bare %5.1f us at %6.0f/s, ratio %.3f\n", \
                n, ours, rate["tollgate", n], bare, rate["bare-pingora", n], ratio
            for (i = ++total; i > 1 && sorted[i - 1] > ratio; i--) sorted[i] = sorted[i - 1]
            sorted[i] = ratio
        }
        if (bad || !total) { print "smoke: errors or unequal work: no verdict"; exit 1 }
        median = total % 2 ? sorted[(total + 1) / 2] : (sorted[total / 2] + sorted[total / 2 + 1]) / 2
        passed = median <= bound
        printf "smoke: CPU per request is %.3f x the bare one (%.3f to %.3f in %d pairs); at most %s: %s\n", \
            median, sorted[1], sorted[total], total, bound, passed ? "passed" : "FAILED"
        exit !passed
    }' "$RUN/raw.csv"
