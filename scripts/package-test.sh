#!/usr/bin/env bash
# Tests the packages, with a target directory other than target/:
#
#   - `make dist`, and the program of the archive in an otherwise empty root directory
#   - install.sh of the archive
#   - `make install` and `make run`, which find the program in cargo's target directory
#
# PACKAGE_PROFILE (dev) is the profile of the build: release takes many minutes. Needs Linux
# and root, for chroot. Serves on loopback, on free ports.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"

PROFILE=${PACKAGE_PROFILE:-dev}
export PROFILE
passed=0
child=

say() { printf 'package-test: %s\n' "$*" >&2; }

if [ "$(uname -s)" != Linux ] || [ "$(id -u)" -ne 0 ]; then
    say "NOT TESTED: chroot needs Linux and root"
    [ -z "${CI:-}" ]
    exit
fi

work=$(mktemp -d)
finish() {
    [ -z "$child" ] || kill -KILL -- "-$child" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

ok() {
    passed=$((passed + 1))
    say "ok: $*"
}

die() {
    say "FAILED: $*"
    for file in "$work"/*.log; do
        [ -e "$file" ] && sed "s|^|  $(basename "$file"): |" "$file" >&2
    done
    exit 1
}

# wait_for WHAT COMMAND...: waits until it succeeds, for 20 seconds or until the child ends.
wait_for() {
    local what=$1 tries
    shift
    for ((tries = 0; tries < 200; tries++)); do
        "$@" >/dev/null 2>&1 && return
        kill -0 "$child" 2>/dev/null || die "$what: the program has ended"
        sleep 0.1
    done
    die "$what: not within 20 seconds"
}

# stop: sends TERM to the child, which leads its own process group, and returns its status.
stop() {
    local status=0
    kill -TERM -- "-$child"
    wait "$child" || status=$?
    child=
    return "$status"
}

# free_port: a port that is free now.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Another directory, and the same one at the next run, when CI keeps it.
export CARGO_TARGET_DIR=${PACKAGE_TARGET_DIR:-$work/a target}
archive=$(make -s dist)
[[ $archive == "$CARGO_TARGET_DIR"/dist/tollgate-*.tar.gz ]] || die "the archive is $archive"
(cd "$(dirname "$archive")" && sha256sum --quiet -c "$(basename "$archive").sha256")
again=$(sha256sum <"$archive")
make -s dist >/dev/null
[ "$again" = "$(sha256sum <"$archive")" ] || die "a second archive of the same commit differs"
ok "$(basename "$archive") is the same twice"

mkdir "$work/unpacked"
tar -C "$work/unpacked" -xzf "$archive"
package=$(echo "$work/unpacked/"*)
(cd "$package" && sha256sum --quiet -c SHA256SUMS)
for file in tollgate install.sh LICENSE README.md CHANGELOG.md conf/production.yaml \
    conf/tollgate.service docs/operations.md; do
    [ -f "$package/$file" ] || die "$file is not in the archive"
done
ok "the archive has its files, with their sums"

# A root directory with only the program and the files that its configuration names.
root=$work/root
proxy=$(free_port) admin=$(free_port)
mkdir "$root"
cp "$package/tollgate" "$root/"
printf 'alice:{SHA}%s\n' "$(printf password-1 | openssl dgst -sha1 -binary | openssl base64)" >"$root/users.htpasswd"
chmod 600 "$root/users.htpasswd"
cat >"$root/tollgate.yaml" <<YAML
version: 1
tollgate:
  listeners: [{ address: "127.0.0.1:$proxy" }]
  admin: { address: "127.0.0.1:$admin" }
  auth: { htpasswd: users.htpasswd }
  # The services of this machine, including the admin address.
  egress: { allow_networks: [127.0.0.1/32], connect_ports: any }
YAML
chroot "$root" /tollgate --version >"$work/version.log"
grep -q '^tollgate [0-9]' "$work/version.log" || die "--version in an empty root directory"
chroot "$root" /tollgate check -c /tollgate.yaml >"$work/check.log" 2>&1 ||
    die "check in an empty root directory"
echo password-2 | chroot "$root" /tollgate passwd /users.htpasswd bob >"$work/passwd.log" 2>&1 ||
    die "passwd in an empty root directory"
setsid chroot "$root" /tollgate -c /tollgate.yaml >"$work/serve.log" 2>&1 </dev/null &
child=$!
page() { curl -sS --max-time 10 --noproxy '' "$@"; }
wait_for "serving in an empty root directory" page "http://127.0.0.1:$admin/stats"
through=(-x "http://alice:password-1@127.0.0.1:$proxy")
page "${through[@]}" "http://127.0.0.1:$admin/stats" | grep -q total_requests || die "a forwarded request"
page -p "${through[@]}" "http://localhost:$admin/stats" | grep -q total_requests || die "a tunnel"
page -H "Proxy-Authorization: Basic $(printf bob:password-2 | openssl base64)" \
    "http://127.0.0.1:$proxy/" | grep -q 'Tollgate works' || die "the gateway"
stop || die "the program ended with $?"
ok "in an empty root directory: --version, check, passwd, forward, tunnel, gateway"

DESTDIR=$work/archive-installed bash "$package/install.sh" >"$work/install.log"
make -s install DESTDIR="$work/checkout-installed" PREFIX=/opt/tollgate SYSCONFDIR=/opt/etc \
    CARGO_BUILD_TARGET="$(rustc -vV | awk '/^host:/ { print $2 }')" >>"$work/install.log"
"$work/archive-installed/usr/local/bin/tollgate" --version >/dev/null || die "install.sh of the archive"
"$work/checkout-installed/opt/tollgate/bin/tollgate" --version >/dev/null || die "make install"
unit=$work/checkout-installed/opt/tollgate/lib/systemd/system/tollgate.service
grep -q '^ExecStart=/opt/tollgate/bin/tollgate -d -c /opt/etc/tollgate/pingora.yaml$' "$unit" ||
    die "the unit names other paths"
grep -q '^    access: /var/log/tollgate/access.log' "$work/archive-installed/etc/tollgate/pingora.yaml" ||
    die "a service would log to standard output"
if make -s install BINARY=/nonexistent DESTDIR="$work/none" >"$work/install.log" 2>&1; then
    die "make install without a program"
fi
grep -q 'make build' "$work/install.log" || die "make install prints no remedy"
ok "install.sh, make install"

# The same build again, which takes no time: with a target, cargo uses a directory of that
# name.
CARGO_BUILD_TARGET=$(rustc -vV | awk '/^host:/ { print $2 }')
CARGO_ENCODED_RUSTFLAGS=$(bash scripts/dist.sh flags)
export CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS
mkdir "$work/quick"
cp conf/users.htpasswd "$work/quick/"
sed -e "s/:8888\"/:$proxy\"/" -e "s/:9188\"/:$admin\"/" conf/pingora.yaml >"$work/quick/pingora.yaml"
setsid make -s run CONF="$work/quick/pingora.yaml" >"$work/run.log" 2>&1 </dev/null &
child=$!
wait_for "make run" page "http://127.0.0.1:$admin/stats"
grep -q "curl -x http://USER:PASSWORD@127.0.0.1:$proxy https://" "$work/run.log" || die "make run names no command"
grep -q "http://127.0.0.1:$admin/stats" "$work/run.log" || die "make run names no admin address"
page -x "http://username:password@127.0.0.1:$proxy" http://169.254.169.254/ |
    grep -q destination_ip_prohibited || die "the quick start does not deny"
# make itself ends with the signal.
stop || true
ok "make run"
printf 'package-test: %d passed, 0 failed\n' "$passed"
