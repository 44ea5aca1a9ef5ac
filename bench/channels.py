#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures channels: see docs/performance.md for what and how.

Each round runs every case once, each in two processes of its own, on a CPU each: what the processor and the kernel
can do (bench/channels/bare), channels (bench/channels/ours), and other libraries that do the same, which are Debian's
packages, fetched once into build/bench/peers and not installed. Ratios are formed within a round. Results go to
build/bench/channels.json.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time

from machine import Machine
from program import parser_of, results_of, run, show
from sides import PATIENCE_S, Sides
from tables import ROOT, machine_text, spread, table

TARGETS = ("ivshmem-server", "bench/channels/bare", "bench/channels/ours")
BENCH = os.path.join(ROOT, "bench")
SOURCES = os.path.join(BENCH, "channels")
IDLE_NS = 2e9


class Case:
    """A case of a program: records of `length`, and how many."""

    def __init__(self, program, case, count, length=64):
        self.program = program
        self.case = case
        self.count = count
        self.length = length


CASES = {
    "lines": Case("bare", "lines", 50_000_000),
    "whole": Case("bare", "whole", 50_000_000),
    "queue": Case("ours", "queue", 30_000_000),
    "ring": Case("dpdk_ring", "ring", 30_000_000),
    "memif": Case("dpdk_memif", "memif", 20_000_000),
    "loan": Case("iceoryx", "loan", 150_000),
    "send": Case("ours", "send", 5_000_000),
    "pong": Case("bare", "pong", 800_000, 8),
    "round": Case("ours", "round", 800_000, 8),
    "copies": Case("bare", "copies", 50_000, 65536),
    "stream": Case("ours", "stream", 50_000, 65536),
    "socket": Case("bare", "socket", 20_000, 65536),
    "one": Case("ours", "one", 20_000_000),
    "many": Case("ours", "many", 20_000_000),
    "lend": Case("ours", "lend", 2_000_000, 4096),
    "lend-big": Case("ours", "lend", 2_000_000, 1 << 20),
    "eventfd": Case("bare", "eventfd", 5000, 8),
    "poll": Case("ours", "poll", 5000, 8),
    "call": Case("ours", "call", 800_000),
    "call-poll": Case("ours", "call-poll", 5000),
    "idle-wait": Case("ours", "idle-wait", 1),
    "idle-poll": Case("ours", "idle-poll", 1),
}

# What is measured, its case, that of what it is compared with, and the goal: the least rate, or the most time; or None.
LEAST, MOST = "at least", "at most"
GOALS = [
    ("a queue, 64 bytes one way", "queue", "lines", "a word in each line, from CPU to CPU", LEAST, 0.85),
    ("", "queue", "whole", "whole lines, copied in and out", LEAST, None),
    ("", "queue", "ring", "DPDK's rte_ring, bursts of 32", LEAST, 1.4),
    ("", "queue", "memif", "DPDK's driver for memif, bursts of 32", LEAST, 8),
    ("", "queue", "loan", "iceoryx", LEAST, 50),
    ("a queue, 8 bytes there and back", "round", "pong", "a word there and back", MOST, 1.15),
    ("a stream, writes of 64 KiB", "stream", "copies", "copying in and out alone", LEAST, 0.8),
    ("", "stream", "socket", "a UNIX stream socket", LEAST, 2.5),
    ("16 senders to one receiver, 64 bytes", "many", "one", "one sender", LEAST, 0.9),
    ("8 bytes there and back, both sides sleep", "poll", "eventfd", "the same with eventfds alone", MOST, 1.15),
    ("a loan of 1 MiB, not touched", "lend-big", "lend", "a loan of 4 KiB", MOST, 1.1),
    ("an empty call", "call", "round", "8 bytes there and back through a queue", MOST, 1.3),
    ("an empty call, both sides sleep", "call-poll", "eventfd", "there and back with eventfds alone", MOST, 1.2),
]

# The packages of a peer, and what it needs of those that they depend on; where they are unpacked, if that has not the peer's
# name; how its program is compiled, and which daemon it needs. One release for everybody, so that all measure against the
# same.
RELEASE = "bookworm"
DPDK = {
    "directory": "dpdk",
    "packages": ["libdpdk-dev", "libbsd-dev"],
    "needs": "(librte-(bus-(pci|vdev)|eal|ethdev|hash|kvargs|mbuf|mempool|mempool-ring|meter|net|net-memif|pci|rcu|ring"
             "|telemetry)|lib(bsd|md|fdt|numa))[0-9.]+",
    "flags": ["-march=native", "-include", "rte_config.h", "-isystem", "usr/include", "-isystem", "usr/include/dpdk",
              "-isystem", "usr/include/x86_64-linux-gnu/dpdk"],
}
PEERS = {
    "dpdk_ring": {**DPDK, "libraries": ["-l:librte_ring.so.23", "-l:librte_eal.so.23"]},
    "dpdk_memif": {
        **DPDK,
        # Nothing refers to the drivers, which register themselves.
        "libraries": ["-Wl,--no-as-needed", "-l:librte_net_memif.so.23", "-l:librte_mempool_ring.so.23", "-l:librte_mempool.so.23",
                      "-l:librte_mbuf.so.23", "-l:librte_ethdev.so.23", "-l:librte_eal.so.23"],
    },
    "iceoryx": {
        "packages": ["iceoryx", "libiceoryx-binding-c-dev"],
        "needs": "libiceoryx.*",
        "flags": ["-isystem", "usr/include/iceoryx/v2.0.3"],
        "libraries": ["-liceoryx_binding_c"],
        "daemon": "usr/bin/iox-roudi",
    },
}


class Peer:
    """Another library and its program."""

    def __init__(self, name, build):
        self.name = name
        self.root = os.path.join(build, "bench", "peers", PEERS[name].get("directory", name))
        self.program = os.path.join(self.root, name)
        self.library_path = os.path.join(self.root, "usr/lib/x86_64-linux-gnu")

    def bring(self):
        """None, or why it cannot be had."""
        if not os.path.exists(self.root):
            print(f"fetching {self.name} from Debian, once, into build/bench/peers", file=sys.stderr)
            new = self.root + ".new"
            shutil.rmtree(new, ignore_errors=True)
            os.makedirs(new)
            done = subprocess.run([os.path.join(ROOT, "scripts", "packages.sh"), "--unpack-only",
                                   PEERS[self.name]["needs"], new, RELEASE, *PEERS[self.name]["packages"]],
                                  stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                return done.stderr.strip().splitlines()[-1]
            os.rename(new, self.root)
        command = ["gcc", "-D_GNU_SOURCE", "-O2", *PEERS[self.name]["flags"], "-I", BENCH, "-I", SOURCES, "-o", self.program,
                   os.path.join(SOURCES, self.name + ".c"), os.path.join(SOURCES, "sides.c"), os.path.join(BENCH, "measure.c"),
                   "-L", self.library_path, *PEERS[self.name]["libraries"], "-Wl,--allow-shlib-undefined",
                   "-Wl,-rpath," + self.library_path]
        compiler = subprocess.run(command, cwd=self.root, stderr=subprocess.PIPE, text=True, check=False)
        return "its program does not compile: " + compiler.stderr.strip() if compiler.returncode != 0 else None

    def environment(self):
        return {**os.environ, "LD_LIBRARY_PATH": self.library_path}


def may_use_fifo():
    """Whether nothing else preempts what is measured."""
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        except PermissionError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class Bench:
    def __init__(self, options):
        self.options = options
        self.machine = Machine()
        if self.machine.cpus < 2:
            sys.exit("bench: channels need two CPUs: the two sides look at the memory all the time")
        self.programs = {name: os.path.join(options.build, "bench", "channels", name) for name in ("bare", "ours")}
        self.skipped = {}
        self.peers = {}
        for name in PEERS:
            peer = Peer(name, options.build)
            reason = peer.bring()
            if reason:
                print(f"bench: without {name}: {reason}", file=sys.stderr)
                self.skipped[name] = reason
            else:
                self.peers[name] = peer
                self.programs[name] = peer.program

    def measure(self, case, target):
        peer = self.peers.get(case.program)
        words = [self.programs[case.program], case.case, "--length", case.length, "--count",
                 case.count // 10 + 1 if self.options.quick else case.count, "--target", target,
                 "--send-cpu", self.machine.server_cpu, "--receive-cpu", self.machine.driver_cpu]
        done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=peer and peer.environment(), timeout=120, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{case.program} {case.case}: {done.stderr.strip() or done.returncode}")
        return float(done.stdout.split()[-1])

    def measure_peer(self, name, case, target):
        daemon = PEERS[name].get("daemon") if name in PEERS else None
        if not daemon:
            return self.measure(case, target)
        with Sides(self.options.build) as sides:
            process = sides.start([os.path.join(self.peers[name].root, daemon)], self.machine.server_cpu, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, env=self.peers[name].environment())
            try:
                # Its socket comes when it is ready, and may be there from before: so it has a second.
                time.sleep(1)
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args[0]} did not start")
                return self.measure(case, target)
            finally:
                process.terminate()  # so that it takes its memory away
                process.wait(PATIENCE_S)

    def run(self):
        rounds = []
        cases = [name for name, case in CASES.items() if case.program in self.programs]
        with Sides(self.options.build) as sides:
            target = "unix:" + sides.server("server", 1, memory="4G", cpu=self.machine.server_cpu)
            for number in range(self.options.rounds):
                values = {}
                # In turns from both ends, so that a drift of the machine favours nobody.
                for name in cases if number % 2 == 0 else reversed(cases):
                    print(f"\rbench: round {number + 1}, {name}".ljust(50), end="", file=sys.stderr, flush=True)
                    values[name] = self.measure_peer(CASES[name].program, CASES[name], target)
                rounds.append(values)
        print(file=sys.stderr)
        return {"machine": self.machine.facts(), "fifo": may_use_fifo(), "quick": self.options.quick, "rounds": rounds,
                "skipped": self.skipped}


def ratios_of(results, ours, other, kind):
    rounds = results["rounds"]
    if other not in rounds[0]:
        return None
    # All are times. A rate is compared the other way round.
    return [one[other] / one[ours] if kind == LEAST else one[ours] / one[other] for one in rounds]


def rate(values):
    """Nanoseconds for each, as text that fits their size."""
    if statistics.median(values) < 1000:
        return spread(values) + " ns"
    return spread(values, 1000) + " us"


def text(results):
    rounds = results["rounds"]
    rows = []
    for what, ours, other, beside, kind, goal in GOALS:
        ratios = ratios_of(results, ours, other, kind)
        if ratios is None:
            rows.append([what, beside, "-", "-", "-", f"{kind} {goal}", "not measured"])
            continue
        middle = statistics.median(ratios)
        measured = [what, beside, rate([one[other] for one in rounds]), rate([one[ours] for one in rounds]), spread(ratios)]
        if goal is None:
            rows.append([*measured, "-", "-"])
            continue
        reached = middle >= goal if kind == LEAST else middle <= goal
        rows.append([*measured, f"{kind} {goal}", "yes" if reached else "**no**"])
    head = ["channels", "beside", "it takes", "channels take", "ratio", "goal", "reached"]
    fifo = "nothing else preempts them" if results["fifo"] else "other programs may preempt them"
    each = rate([one["send"] for one in rounds])
    idle = {name: spread([one[name] / IDLE_NS * 100 for one in rounds]) for name in ("idle-wait", "idle-poll")}
    lines = [f"{machine_text(results['machine'])}; two processes on a CPU each, {fifo}; {len(rounds)} interleaved rounds. "
             "Medians, with the quartiles in parentheses.", "", table(head, rows), "",
             f"`ivshmem_queue_send()` and `ivshmem_queue_receive()`, one record of 64 bytes at a time: {each}.", "",
             f"Processor time of an idle end, in percent of one CPU: {idle['idle-wait']} in `ivshmem_channel_wait()`, "
             f"{idle['idle-poll']} in `poll()`, over two seconds from the first call."]
    for name, reason in results["skipped"].items():
        lines += ["", f"Without {name}: {reason}."]
    return "\n".join(lines)


def main():
    parser = parser_of("Measure channels; results in build/bench/channels.json.", "three short rounds")
    parser.add_argument("--rounds", metavar="N", type=int, help="default: 9")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 9)
    results = results_of(options, os.path.join(options.build, "bench", "channels.json"), TARGETS, lambda: Bench(options).run())
    show(options, "channels.py", text(results))
    return 0


if __name__ == "__main__":
    run(main)
