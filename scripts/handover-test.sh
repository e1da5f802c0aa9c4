#!/usr/bin/env bash
# handover-test.sh REVISION: sockets go from the program of another revision to that of this
# checkout, and back, under load and without a failed request.
#
# Builds the other revision in cargo's target directory, below handover/.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

if [ $# -ne 1 ] || [ -z "$1" ]; then
    printf 'handover-test: no revision; name one, as in: make handover-test REVISION=v0.1.0\n' >&2
    exit 64
fi
revision=$(git rev-parse --verify "$1^{commit}")
target=$(bash scripts/target-dir.sh)
sources=$target/handover/$revision
mkdir -p "$sources"
git archive "$revision" | tar -x -C "$sources"
cargo build --locked --manifest-path "$sources/Cargo.toml" --target-dir "$target/handover/target"
cargo build --locked
other=$target/handover/target/debug/tollgate
own=$target/debug/tollgate

for pair in "$other $own" "$own $other"; do
    read -r old new <<<"$pair"
    printf 'handover-test: %s -> %s\n' "$old" "$new" >&2
    TOLLGATE_BIN=$old TOLLGATE_SUCCESSOR_BIN=$new \
        cargo test --locked --test integration -- operations::signals::upgrade_under_load_fails_no_request --exact
done
