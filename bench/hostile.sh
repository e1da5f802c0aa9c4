#!/usr/bin/env bash
# Hostile scripts under load: fails when harmless requests wait for them. It is the test of
# tests/integration/programming/hostile.rs with an optimised binary, and the rate and
# the bound that such a binary is to hold. Settings, with their defaults:
#
#   HOSTILE_RATE=2000      requests in a second; one in 100 calls a hostile function
#   HOSTILE_SECONDS=20     how long
#   HOSTILE_P99_MS=20      what 99 of 100 of the other requests may take
#   PROFILE=release        bench-dev builds faster
#   TOLLGATE=path of a binary; none given: it is built
set -euo pipefail
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

ROOT=$(cd "$(dirname "$0")/.." && pwd)
export HOSTILE_RATE=${HOSTILE_RATE:-2000} HOSTILE_SECONDS=${HOSTILE_SECONDS:-20} HOSTILE_P99_MS=${HOSTILE_P99_MS:-20}
TOLLGATE_BIN=$(realpath "${TOLLGATE:-$(bash "$ROOT/scripts/build.sh" --profile "${PROFILE:-release}")}")
export TOLLGATE_BIN
cd "$ROOT"
exec cargo test --locked --test integration hostile_scripts -- --nocapture
