#!/usr/bin/env bash
# Makes dist/tollgate-VERSION-TARGET.tar.gz in cargo's target directory: the program, its
# installer, configurations, documents, checksums. Prints the path of the archive.
#
#   PROFILE=release   the profile to build with
#   TARGET=           the target to build for; by default this machine's
#   BINARY=           a program to pack; by default it is built
#   SOURCE_DATE_EPOCH the time of all files in the archive; by default that of the commit
#
# `scripts/dist.sh flags` prints the flags of rustc and makes nothing.
#
# For Linux the program is linked statically and starts in an empty root directory. The
# same commit, toolchain and SOURCE_DATE_EPOCH give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
export LC_ALL=C

say() { printf 'dist: %s\n' "$*" >&2; }

version=$(awk -F'"' '/^version = / { print $2; exit }' Cargo.toml)
target=${TARGET:-${CARGO_BUILD_TARGET:-$(rustc -vV | awk '/^host:/ { print $2 }')}}
name=tollgate-$version-$target

tar=tar
if command -v gtar >/dev/null; then
    tar=gtar
fi
if ! "$tar" --version 2>/dev/null | grep -q 'GNU tar'; then
    say "GNU tar is missing: its --sort and --mtime make the archive reproducible"
    exit 1
fi

# Flags of rustc, in the format of CARGO_ENCODED_RUSTFLAGS: a path may have spaces.
flags() {
    local flags=()
    read -r -a flags <<<"${RUSTFLAGS:-}"
    # No path of this machine in the messages of panics.
    flags+=("--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" "--remap-path-prefix=$PWD=/tollgate")
    case "$target" in
        *-linux-*)
            # Random numbers by the system call. A static program would not find the C library's
            # function and would open /dev/random, which an empty root directory does not have.
            flags+=(-Ctarget-feature=+crt-static --cfg 'getrandom_backend="linux_getrandom"')
            ;;
    esac
    (
        IFS=$'\x1f'
        echo "${flags[*]}"
    )
}

if [ "${1:-}" = flags ]; then
    flags
    exit
fi

# With --target, cargo does not pass the flags to build scripts and procedural macros, which
# cannot be static.
build() {
    CARGO_ENCODED_RUSTFLAGS=$(flags) \
        bash scripts/build.sh --profile "${PROFILE:-release}" --target "$target"
}

# The files to pack: those of the repository, if there is one, without files that a
# run or an editor has left in conf/.
files() {
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -- "$@"
    else
        find "$@" -type f
    fi
}

if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=0
fi
binary=${BINARY:-$(build)}
output=$(bash scripts/target-dir.sh)/dist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name

mkdir -p "$output" "$root"
install -m 755 "$binary" "$root/tollgate"
install -m 755 scripts/install.sh "$root/install.sh"
files README.md CHANGELOG.md SECURITY.md LICENSE conf docs | while read -r file; do
    mkdir -p "$root/$(dirname "$file")"
    cp "$file" "$root/$file"
done
(cd "$root" && find . -type f ! -name SHA256SUMS | sort | xargs sha256sum >"$work/sums")
mv "$work/sums" "$root/SHA256SUMS"

"$tar" --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
    --numeric-owner --mode='u+rwX,go+rX,go-w' -C "$work" -cf "$work/archive.tar" "$name"
gzip -9 -n "$work/archive.tar"
mv "$work/archive.tar.gz" "$output/$name.tar.gz"
(cd "$output" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
say "the checksum of the archive is in $name.tar.gz.sha256"
echo "$output/$name.tar.gz"
