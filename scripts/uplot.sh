#!/usr/bin/env bash
# Fetches uPlot, the charts of the admin page, as its authors published it, and compares it with what is checked in.
#
#   scripts/uplot.sh            compares
#   scripts/uplot.sh VERSION    replaces it by that version; look at the changes, then run the tests of the page
#
# A build needs neither this nor npm: the files are in src/admin/page/assets/uplot, and a test holds their hashes.
set -euo pipefail
cd "$(dirname "$0")/../src/admin/page/assets/uplot"

here=$PWD
version=${1:-$(cat VERSION)}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(cd "$scratch" && npm pack --silent "uplot@$version" >/dev/null && tar -xzf uplot-*.tgz)
mkdir "$scratch/uplot"
cp "$scratch"/package/{LICENSE,dist/uPlot.iife.min.js,dist/uPlot.min.css} "$scratch/uplot"
chmod 644 "$scratch"/uplot/*
if [ $# -gt 0 ]; then
    cp "$scratch"/uplot/* .
    echo "$version" >VERSION
    sha256sum LICENSE uPlot.iife.min.js uPlot.min.css >SHA256SUMS
fi
(cd "$scratch/uplot" && sha256sum --check --strict "$here/SHA256SUMS")
