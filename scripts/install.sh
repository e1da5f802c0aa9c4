#!/usr/bin/env bash
# Installs the program, its configuration and a systemd unit. Builds nothing: root may have
# another toolchain, or none. Creates no user and no password.
#
#   BINARY=PATH        the program to install; by default that of `make build`
#   PREFIX=/usr/local  SYSCONFDIR=/etc  DESTDIR=
#
# `make install` runs it in a checkout; archives of `make dist` have it next to the binary.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$here
[ -d "$root/conf" ] || root=$(dirname "$here")
binary=${BINARY:-$root/tollgate}
if [ -z "${BINARY:-}" ] && [ -f "$root/scripts/target-dir.sh" ]; then
    profile=${PROFILE:-release}
    # Only this profile has a directory with another name.
    [ "$profile" != dev ] || profile=debug
    binary=$(bash "$root/scripts/target-dir.sh")/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}$profile/tollgate
fi
prefix=${PREFIX:-/usr/local}
sysconfdir=${SYSCONFDIR:-/etc}
configuration=${DESTDIR:-}$sysconfdir/tollgate
units=${DESTDIR:-}$prefix/lib/systemd/system

say() { printf 'install: %s\n' "$*"; }

if [ ! -f "$binary" ] || [ ! -x "$binary" ]; then
    {
        say "there is no program at $binary"
        say "build it first, as yourself and not as root: make build"
        say "if it is elsewhere, set its path: make install BINARY=PATH"
    } >&2
    exit 1
fi

install -d "${DESTDIR:-}$prefix/bin" "$units" "$configuration"
install -m 755 "$binary" "${DESTDIR:-}$prefix/bin/tollgate"
say "$binary to ${DESTDIR:-}$prefix/bin/tollgate"

if [ -e "$configuration/pingora.yaml" ]; then
    say "kept $configuration/pingora.yaml unchanged"
else
    # A daemon has no standard streams to log to.
    sed -e 's|^# error_log:|error_log:|' \
        -e 's|^    access: stdout|    access: /var/log/tollgate/access.log|' \
        "$root/conf/production.yaml" >"$configuration/pingora.yaml"
    chmod 644 "$configuration/pingora.yaml"
    say "conf/production.yaml, with logs in /var/log/tollgate, to $configuration/pingora.yaml"
fi

# For editors: the configuration names it.
install -m 644 "$root/conf/tollgate.schema.json" "$configuration/tollgate.schema.json"

sed -e "s|/usr/local/bin|$prefix/bin|g" -e "s|/etc/tollgate|$sysconfdir/tollgate|g" \
    "$root/conf/tollgate.service" >"$units/tollgate.service"
chmod 644 "$units/tollgate.service"
say "conf/tollgate.service to $units/tollgate.service"
say "next: the service's user and the first password, docs/operations.md#first-user"
