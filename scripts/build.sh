#!/usr/bin/env bash
# Builds the program and prints the path of the binary. Other output goes to standard error.
#
#   scripts/build.sh [ARGUMENT...]     arguments of `cargo build`, such as --profile dev
#
# Cargo reports the path of the binary: the directory depends on CARGO_TARGET_DIR,
# CARGO_BUILD_TARGET, the profile, and the same keys of cargo's configuration files.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

[ "$#" -gt 0 ] || set -- --release
messages=$("${CARGO:-cargo}" build --locked --bin tollgate --message-format json-render-diagnostics "$@")
binary=$(sed -n 's/.*"executable":"\(\([^"\\]\|\\.\)*\)".*/\1/p' <<<"$messages" | tail -n 1 | sed 's/\\\(.\)/\1/g')
if [ ! -x "$binary" ]; then
    echo "build: cargo reported no binary" >&2
    exit 1
fi
echo "$binary"
