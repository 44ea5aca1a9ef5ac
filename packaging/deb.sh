#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# deb.sh DIRECTORY: builds the Debian packages of packaging/debian from this tree, into the directory. It works in a copy: the
# tools of Debian want their folder at the top, and what a build of the driver left behind is not for the package.

set -eu

mkdir -p "$1"
out=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
copy=$out/source
log=$out/log

rm -rf "$copy" "$out"/*.deb
mkdir "$copy"
tar -C "$root" --exclude-vcs --exclude='./build' --exclude='./build-*' --exclude='*.mod.c' -c . | tar -C "$copy" -x
cp -r "$root/packaging/debian" "$copy/debian"
if ! (cd "$copy" && dpkg-buildpackage --build=binary --no-sign) >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "deb.sh: dpkg-buildpackage failed; its words are in $log, and what it worked on is in $copy" >&2
	exit 1
fi
rm -rf "$copy"
ls "$out"/*.deb
