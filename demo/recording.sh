#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Makes docs/recording.svg: records a small group for twelve seconds, and draws that.
#
#	demo/recording.sh [BUILD-FOLDER] >docs/recording.svg

set -euo pipefail
set -m # each job is a process group

ivshmem=$(realpath "${1:-build}")/ivshmem
room=$(mktemp -d)
export IVSHMEM_TARGET=$room/group.sock
started=()

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	local group
	for group in "${started[@]}"; do
		kill -- "-$group" 2>/dev/null || true
	done
	wait 2>/dev/null || true
	rm -rf "$room"
}
trap cleanup EXIT

start() {
	"$@" >/dev/null 2>&1 &
	started+=("$!")
}

# Writes pieces of so many bytes, with so many seconds between two of them.
pieces() {
	exec python3 -c '
import sys, time
while True:
    sys.stdout.buffer.write(bytes(int(sys.argv[1])))
    sys.stdout.flush()
    time.sleep(float(sys.argv[2]))' "$@" 2>/dev/null
}

# Reads as slowly as that.
slowly() {
	exec python3 -c '
import sys, time
while sys.stdin.buffer.read(int(sys.argv[1])):
    time.sleep(float(sys.argv[2]))' "$@"
}

receive_slowly() {
	"$ivshmem" recv "$1" 2>/dev/null | slowly 40000 0.1
}

send_pieces() {
	pieces "$2" "$3" | "$ivshmem" send "$1"
}

start "${ivshmem}-server" -F -S "$IVSHMEM_TARGET" -l 16M -n 2
start "$ivshmem" --wait 10 bench --serve speed
start "$ivshmem" --wait 10 recv --keep camera
start "$ivshmem" --wait 10 recv --keep backup
start receive_slowly archive
sleep 1
start send_pieces camera 60000 0.05
start send_pieces archive 30000 0.05

(
	sleep 4
	pieces 400000 0.1 | "$ivshmem" send backup 2>/dev/null &
	sleep 4
	# Without a word.
	pid=$("$ivshmem" top --once --json | python3 -c '
import json, sys
for participant in json.load(sys.stdin)["participants"]:
    if participant["name"] == "ivshmem send" and any(c["name"] == "backup" for c in participant["channels"]):
        print(participant["pid"])')
	kill -KILL "$pid"
) 2>/dev/null &
started+=("$!")

"$ivshmem" record --quiet "$room/recording" --interval 0.1 --duration 12 --ping speed
"$ivshmem" plot "$room/recording" --title "a camera, a backup that dies, and an archive that is too slow"
