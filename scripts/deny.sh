#!/usr/bin/env bash
# Checks the dependencies with cargo-deny: licences, bans and sources always,
# advisories when their database is reachable. Prints a message when it is not.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    echo "cargo-deny is missing; building it takes some minutes: cargo install cargo-deny --locked" >&2
    cargo install cargo-deny --locked </dev/null
fi

cargo deny check --hide-inclusion-graph licenses bans sources

if cargo deny fetch db >/dev/null 2>&1; then
    cargo deny check --hide-inclusion-graph advisories
elif ls -d "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*/crates >/dev/null 2>&1; then
    echo "deny: the advisory database cannot be reached, checking the local copy" >&2
    cargo deny check --hide-inclusion-graph --disable-fetch advisories
else
    echo "deny: ADVISORIES WERE NOT CHECKED: their database (github.com/RustSec/advisory-db) cannot be reached" >&2
    [ -z "${DENY_STRICT:-}" ]
fi
