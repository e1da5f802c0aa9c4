#!/usr/bin/env bash
# Builds the program and serves a configuration in the foreground.
#
#   scripts/run.sh CONFIGURATION [ARGUMENT...]     arguments of `cargo build`
set -euo pipefail
cd "$(dirname "$0")/.."

configuration=$1
shift
binary=$(bash scripts/build.sh "$@")

# address SECTION: the first address in that section of the configuration, as clients on
# this machine write it.
address() {
    awk -v section="$1:" '
        /^[[:space:]]*#/ { next }
        $1 == section { inside = 1; sub(/^[^:]*:/, "") }
        inside && match($0, /address:[[:space:]]*"?[^"#[:space:]}]+/) {
            address = substr($0, RSTART, RLENGTH)
            sub(/^address:[[:space:]]*"?/, "", address)
            print address
            exit
        }
    ' "$configuration" | sed -e 's/^0\.0\.0\.0:/127.0.0.1:/' -e 's/^\[::\]:/[::1]:/'
}

proxy=$(address listeners)
admin=$(address admin)
services="http://$admin/metrics and http://$admin/stats"
[ -n "$admin" ] || services="none: the configuration has no admin address"
credentials=username:password
[ "$configuration" -ef conf/pingora.yaml ] || credentials=USER:PASSWORD
cat >&2 <<TEXT

Tollgate serves $configuration.

  proxy   $proxy, credentials $credentials
  try it  curl -x http://$credentials@$proxy https://example.org/
  admin   $services

One line of JSON for each request follows. Ctrl-C ends the program.

TEXT
exec "$binary" -c "$configuration"
