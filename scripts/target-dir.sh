#!/usr/bin/env bash
# Prints cargo's target directory: CARGO_TARGET_DIR, CARGO_BUILD_TARGET_DIR,
# build.target-dir of a cargo configuration, or target/. Without cargo, which root may not
# have, only the variables and target/ are used.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

metadata=$("${CARGO:-cargo}" metadata --no-deps --format-version 1 --offline 2>/dev/null) || metadata=
directory=$(sed -n 's/.*"target_directory":"\(\([^"\\]\|\\.\)*\)".*/\1/p' <<<"$metadata" | sed 's/\\\(.\)/\1/g')
if [ -z "$directory" ]; then
    directory=${CARGO_TARGET_DIR:-${CARGO_BUILD_TARGET_DIR:-target}}
fi
case "$directory" in
    /*) echo "$directory" ;;
    *) echo "$PWD/$directory" ;;
esac
