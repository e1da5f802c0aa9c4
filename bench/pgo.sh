#!/usr/bin/env bash
# Builds release-pgo/tollgate in cargo's target directory: the release binary, laid out by what a
# training run did most (profile-guided optimisation). Takes two whole builds.
# Run it as `make release-pgo`.
#
# The training is the benchmark's own loads on this machine: small and large
# answers through gateway and forward proxy, new and kept connections, tunnels,
# HTTP/2 where oha is installed, the access log on. rustc's manual has the steps
# (chapter "Profile-guided Optimization").
set -euo pipefail
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export LC_ALL=C

BENCH=$(cd "$(dirname "$0")" && pwd)
export BENCH
ROOT=$(dirname "$BENCH")
# shellcheck source=bench/lib.sh
. "$BENCH/lib.sh"
# shellcheck source=bench/peers.sh
. "$BENCH/peers.sh"
# shellcheck source=bench/load.sh
. "$BENCH/load.sh"
# shellcheck source=bench/workloads.sh
. "$BENCH/workloads.sh"

SECONDS_EACH=${PGO_SECONDS:-4}
export WORKERS=2 ORIGIN_WORKERS=2
TARGET_DIR=$(bash "$ROOT/scripts/target-dir.sh")
HOST=$(rustc -vV | awk '/^host:/ { print $2 }')

# build FLAGS DIRECTORY: the release profile with further flags of rustc. With
# --target they do not reach build scripts.
build() {
    (cd "$ROOT" && RUSTFLAGS="${RUSTFLAGS:-} $1" \
        cargo build --release --locked --bin tollgate --target "$HOST" --target-dir "$2")
}

train() {
    local role file
    start_peer tollgate tollgate "ACCESS_LOG=$WORK/access.log" || die "the instrumented binary does not run"
    for role in gateway forward; do
        for file in 71B 16K 1M; do
            note "training: $role, $file"
            wrk_load 0 http "$file" tollgate "$role" "$file" 100 "$SECONDS_EACH"
        done
        note "training: $role, a connection each"
        wrk_load 0 close 71B tollgate "$role" 71B 32 "$SECONDS_EACH" close
    done
    note "training: tunnels"
    target echo
    tunnel_load 0 connect 64B tollgate tunnel "$TARGET" 32 "$SECONDS_EACH"
    target source
    tunnel_load 0 bulk 8 tollgate tunnel "$TARGET" 8 "$SECONDS_EACH"
    # What is not trained is made small and slow: without oha, HTTP/2 is.
    if have oha; then
        note "training: HTTP/2"
        HTTP2=yes
        oha_load 0 http2 71B tollgate gateway 71B 5 "$SECONDS_EACH" -p 10
        oha_load 0 http2 16K tollgate forward 16K 50 "$SECONDS_EACH"
        HTTP2=
    else
        note "oha is missing: HTTP/2 is not trained (bash scripts/setup.sh --bench)"
    fi
    # Small answers again: they are what most of the time goes to.
    wrk_load 0 http 71B tollgate gateway 71B 100 "$SECONDS_EACH"
}

for tool in nginx curl openssl wrk; do
    have "$tool" || die "$tool is missing: run bash scripts/setup.sh --smoke"
done
PROFDATA=$(bash "$ROOT/scripts/profdata.sh") ||
    die "llvm-profdata is missing: rustup component add llvm-tools, or install LLVM 19 or later"
raise_file_limit
make_work
RUN=$WORK
header >"$RUN/raw.csv"

note "building with counters"
build "-Cprofile-generate=$TARGET_DIR/pgo/raw" "$TARGET_DIR/pgo"
rm -rf "$TARGET_DIR/pgo/raw"
rustc --edition 2024 -C opt-level=3 -o "$WORK/connect_load" "$ROOT/examples/connect_load/main.rs"
TOLLGATE=$TARGET_DIR/pgo/$HOST/release/tollgate
make_accounts
start_origin
train
# Counters are written when the program ends by itself.
stop_all
compgen -G "$TARGET_DIR/pgo/raw/*.profraw" >/dev/null || die "the training left no profile"
"$PROFDATA" merge -o "$TARGET_DIR/pgo/merged.profdata" "$TARGET_DIR"/pgo/raw/*.profraw

note "building with the profile"
# Without the promotion of indirect calls: it draws the tasks that were run most into
# tokio's scheduler, a function so large that LLVM 22 had not ended after ten minutes
# and more with two of four profiles. Nor was it faster.
build "-Cprofile-use=$TARGET_DIR/pgo/merged.profdata -Cllvm-args=-disable-icp" "$TARGET_DIR/pgo-use"
mkdir -p "$TARGET_DIR/release-pgo"
cp "$TARGET_DIR/pgo-use/$HOST/release/tollgate" "$TARGET_DIR/release-pgo/tollgate"
note "done; to install it: sudo make install BINARY='$TARGET_DIR/release-pgo/tollgate'"
