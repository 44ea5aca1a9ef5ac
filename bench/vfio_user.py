#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures what an access of the guest costs over vfio-user: see docs/performance.md for what and how.

bench/vfio_user is the VMM: it reads a register of ivshmem-device and rings a peer through it, in turns with a
process that answers messages of the same sizes and does nothing else. Then bench/guest_access does the same in
Linux guests, one with ivshmem-device and one with QEMU's own device. Results go to build/bench/vfio-user.json.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from machine import Machine, build_programs, child_setup
from tables import ROOT, machine_text, spread, table, update_docs

sys.path.insert(0, os.path.join(ROOT, "scripts"))
import vm

GOAL = 1.15
SPIN_US = 200
RESULTS = os.path.join(ROOT, "build", "bench", "vfio-user.json")
CASES = {  # case: (what the VMM does, what it is compared with)
    "read": ("reads IVPosition", "bare_read"),
    "ring": ("rings a peer", "bare_ring"),
    "ring beside": ("rings a peer", "bare_eventfd"),
}
GUESTS = {"QEMU's ivshmem-doorbell": None, "ivshmem-device": 0, f"ivshmem-device --spin {SPIN_US}": SPIN_US}


def wait_for(condition, what):
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come")
        time.sleep(0.01)


class Group:
    """A server, an idle peer to be rung, and a device; a context manager that leaves nothing behind."""

    def __init__(self, build, machine, spin_us):
        self.directory = tempfile.TemporaryDirectory(prefix="ivshmem-bench-")
        self.server_socket = os.path.join(self.directory.name, "server")
        self.socket = os.path.join(self.directory.name, "device")
        self.processes = []
        self.peer = socket.socket(socket.AF_UNIX)
        try:
            self.start([os.path.join(build, "ivshmem-server"), "-F", "-S", self.server_socket, "-l", "1M", "-n", "1"],
                       machine)
            wait_for(lambda: os.path.exists(self.server_socket), "the server's socket")
            wait_for(self.join, "the server")
            device = self.start([os.path.join(build, "ivshmem-device"), "--socket", self.socket, "--server",
                                 self.server_socket, "--spin", str(spin_us)], machine, stdout=subprocess.PIPE)
            if not device.stdout.readline().startswith(b"ready"):
                raise RuntimeError("ivshmem-device did not start")
        except BaseException:
            self.stop()
            raise

    def start(self, words, machine, stdout=subprocess.DEVNULL):
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stdout,
                                   preexec_fn=child_setup(machine.server_cpu))
        self.processes.append(process)
        return process

    def join(self):
        """Become the peer, which says no more: the device learns of it when it joins."""
        try:
            self.peer.connect(self.server_socket)
        except ConnectionRefusedError:
            return False
        greeting = b""
        while len(greeting) < 16:
            greeting += self.peer.recv(16 - len(greeting))
        self.peer_id = int.from_bytes(greeting[8:], "little")
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.peer.close()
        for process in reversed(self.processes):
            process.terminate()
            process.wait(10)
            if process.stdout:
                process.stdout.close()
        self.directory.cleanup()


def measure(options, machine, spin_us):
    with Group(options.build, machine, spin_us) as group:
        words = [os.path.join(options.build, "bench", "vfio_user"), "--socket", group.socket, "--peer", group.peer_id,
                 "--spin", spin_us, "--rounds", 5 if options.quick else 25, "--count", 1000 if options.quick else 4000]
        if machine.driver_cpu is not None:
            words += ["--cpu", machine.driver_cpu, "--bare-cpu", machine.server_cpu]
        output = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True, timeout=300).stdout
        return json.loads(output)


GUEST_SCRIPT = """
for device in /sys/bus/pci/devices/*; do
	[ "$(cat $device/vendor) $(cat $device/device)" = "0x1af4 0x1110" ] || continue
	echo 1 >$device/enable
	read -r start rest <$device/resource
	guest_access $device/resource0 $((start & 4095)) COUNT VALUE && exit 0
done
exit 1
"""


def measure_guest(options, machine, spin_us):
    """The same from Linux in a QEMU; spin_us None: with QEMU's own device."""
    image = vm.build_image(os.path.join(options.build, "guest"), os.path.join(options.build, "ivshmem-static"))
    accel = vm.choose_accel(image, os.path.join(options.build, "guest"))
    with open(os.path.join(options.build, "bench", "guest_access"), "rb") as file:
        files = {"bin/guest_access": file.read()}
    with Group(options.build, machine, spin_us or 0) as group:
        script = GUEST_SCRIPT.replace("COUNT", "10000").replace("VALUE", str(group.peer_id << 16))
        devices = vm.ivshmem_doorbell(group.server_socket, 1) if spin_us is None else vm.vfio_user(group.socket)
        with vm.Guest(image, accel, group.directory.name, script=script, files=files, devices=devices, iommu=None,
                      qemu=vm.qemu_with_vfio_user()) as guest:
            times = {name: int(guest.expect(f"^{name} (\\d+)$", 180)[1]) for name in ("read", "ring")}
            guest.wait_end(60)
    return {**times, "accel": accel.name}


def guests_text(results):
    rows = [[name, f"{one['read'] / 1000:.1f}", f"{one['ring'] / 1000:.1f}"] for name, one in results["guests"].items()]
    accel = next(iter(results["guests"].values()))["accel"].upper()
    return (f"From a Linux guest under {accel} in QEMU 11.1, one run each, on CPUs that everything shares:\n\n"
            + table(["device", "read, us", "ring, us"], rows))


def rows_of(results):
    """(mode, case, ratios, bare times, device times)"""
    for mode, rounds in results["modes"].items():
        for case, (_, beside) in CASES.items():
            name = case.split()[0]
            yield (mode, case, [one[name] / one[beside] for one in rounds], [one[beside] for one in rounds],
                   [one[name] for one in rounds])


def text(results):
    rows = []
    for mode, case, ratios, bare, ours in rows_of(results):
        against = "the same, writing an eventfd before it answers" if "beside" in case else "bare socket ping-pong"
        reached = "" if "beside" in case else "yes" if statistics.median(ratios) <= GOAL else "**no**"
        rows.append([mode, CASES[case][0], against, spread(bare, 1000), spread(ours, 1000), spread(ratios), reached])
    head = ["both sides", "the VMM", "beside", "bare, us", "device, us", "ratio", f"at most {GOAL}"]
    return (f"{machine_text(results['machine'])}; VMM and device on a CPU each; {results['rounds']} interleaved rounds. "
            f"Medians of the rounds' medians, with the quartiles in parentheses.\n\n" + table(head, rows)
            + ("\n\n" + guests_text(results) if "guests" in results else ""))


def main():
    parser = argparse.ArgumentParser(description="Measure accesses over vfio-user; results in build/bench/vfio-user.json.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and no guests")
    parser.add_argument("--build", metavar="DIR", default=os.path.join(ROOT, "build"), help="default: build")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--update-docs", action="store_true",
                        help="measure nothing, write the tables of the last run into docs/performance.md")
    options = parser.parse_args()
    if options.update_docs:
        try:
            with open(RESULTS, encoding="utf-8") as file:
                results = json.load(file)
        except FileNotFoundError:
            sys.exit(f"bench: {RESULTS} is not there: measure first")
    else:
        if not options.no_build:
            build_programs(options.build, "ivshmem-server", "ivshmem-device", "ivshmem-static", "bench/vfio_user",
                           "bench/guest_access")
        machine = Machine()
        modes = {"sleep": measure(options, machine, 0), f"spin {SPIN_US} us": measure(options, machine, SPIN_US)}
        results = {"machine": machine.facts(), "rounds": len(modes["sleep"]), "modes": modes}
        if not options.quick:
            results["guests"] = {name: measure_guest(options, machine, spin_us) for name, spin_us in GUESTS.items()}
        os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
        with open(RESULTS, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
            file.write("\n")
    print(text(results))
    if options.update_docs:
        update_docs("vfio_user.py", text(results))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
