#!/usr/bin/env bash
# Takes the pictures of README.md and docs/page.md again, in docs/images: the page of the admin service of a real
# proxy under load, in Chromium, at both widths, light and dark. It takes some minutes.
#
# Needs chromium (scripts/setup.sh --tests installs it) and pngquant, which makes the pictures small.
set -euo pipefail
cd "$(dirname "$0")/.."

# The largest picture, in bytes.
LIMIT=153600

for program in chromium pngquant; do
    if ! command -v "$program" >/dev/null; then
        echo "screenshots: $program is missing" >&2
        exit 1
    fi
done
folder=$PWD/docs/images
mkdir -p "$folder"
UPDATE_PICTURES=$folder "${CARGO:-cargo}" test --locked --test integration page::pictures
for picture in "$folder"/page-*.png; do
    pngquant --force --strip --speed 1 --output "$picture" 128 -- "$picture"
    size=$(wc -c <"$picture")
    printf '%s: %s bytes\n' "${picture##*/}" "$size"
    if [ "$size" -gt "$LIMIT" ]; then
        echo "screenshots: ${picture##*/} is larger than $LIMIT bytes" >&2
        exit 1
    fi
done
