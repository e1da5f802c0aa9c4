#!/usr/bin/env bash
# Prints the path of an llvm-profdata that reads this rustc's profiles, or exits with 1.
# rustup's matches rustc; those of distributions work from LLVM 19 on.
set -euo pipefail
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

host=$(rustc -vV | awk '/^host:/ { print $2 }')
for tool in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" \
    llvm-profdata-{22,21,20,19} llvm-profdata /usr/lib/llvm*/bin/llvm-profdata; do
    path=$(command -v "$tool") || continue
    version=$("$path" merge --version 2>/dev/null | sed -n 's/.*LLVM version \([0-9]*\).*/\1/p')
    if [ "${version:-0}" -ge 19 ]; then
        echo "$path"
        exit
    fi
done
exit 1
