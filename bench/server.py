#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures the server: see docs/performance.md for what and how.

Each measurement gets a server process of its own. Rounds are interleaved: every round runs the kernel floor,
then each case once against each server, so that a slow minute of the machine hits all of them. Results go to
build/bench/server.json and, as tables, to the terminal; --update-docs puts the tables into docs/performance.md.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import server_report as report
from machine import Machine, child_setup
from program import parser_of, results_of, run, show

TARGETS = ("ivshmem-server", "bench/storm", "bench/floor")


class Case:
    """One scenario with its size. `cost` is a guess in seconds, for the time budget only."""

    def __init__(self, kind, clients, vectors, repeats, cost=0.5, **options):
        self.kind = kind
        self.clients = clients
        self.vectors = vectors
        self.repeats = repeats
        self.cost = cost
        self.options = options

    def key(self):
        return f"{self.kind} {self.clients}x{self.vectors}"

    def arguments(self):
        scenario = "join" if self.kind.startswith("stall") else self.kind
        words = [scenario, "--clients", self.clients, "--vectors", self.vectors]
        for name, value in self.options.items():
            words += ["--" + name.replace("_", "-"), value]
        return [str(word) for word in words]

    def unprivileged(self):
        return self.kind == "stall-nobody"


def cases_full():
    join = [(10, 1, 15), (50, 1, 15), (100, 1, 15), (200, 1, 15), (500, 1, 7), (1000, 1, 3), (100, 4, 9),
            (200, 4, 7), (500, 4, 3), (50, 16, 9), (200, 16, 5), (500, 16, 2), (1000, 16, 1)]
    cases = [Case("join", n, v, r, n * n * v * 4e-6 + 0.2) for n, v, r in join]
    cases += [Case("stall", n, v, 3, n * n * v * 4e-6 + 1, stall=30)
              for n, v in ((200, 1), (500, 1), (200, 4), (100, 16), (1000, 1))]
    cases += [Case("stall-nobody", 200, 4, 3, 4, stall=30)]
    cases += [Case("single", n, v, 3, 2, joins=30) for n, v in ((100, 1), (400, 1), (100, 4), (50, 16))]
    cases += [Case("leave", 500, 1, 7, 2, leave=250), Case("leave", 1000, 1, 3, 5, leave=500)]
    cases += [Case("churn", 1, 1, 5, 1, count=5000)]
    cases += [Case("memory", 1000, 1, 2, 5, step=100)]
    return cases


def cases_quick():
    join = [(10, 1), (100, 1), (200, 1), (500, 1), (100, 4), (50, 16)]
    cases = [Case("join", n, v, 5 if (n, v) == (200, 1) else 2) for n, v in join]
    cases += [Case("stall", 200, 1, 2, 1, stall=30), Case("stall-nobody", 200, 4, 1, 4, stall=30)]
    cases += [Case("single", 100, 1, 2, joins=15), Case("leave", 500, 1, 3, 2, leave=250)]
    cases += [Case("churn", 1, 1, 2, count=2000), Case("memory", 1000, 1, 1, 5, step=100)]
    return cases


class Server:
    """A running server process; a context manager that never leaves it behind."""

    def __init__(self, path, vectors, machine, named_memory, nobody):
        self.directory = tempfile.TemporaryDirectory(prefix="ivshmem-bench-")
        os.chmod(self.directory.name, 0o777 if nobody else 0o700)
        self.socket = os.path.join(self.directory.name, "socket")
        self.memory = f"ivshmem-bench-{os.getpid()}" if named_memory else None
        self.log = open(os.path.join(self.directory.name, "log"), "w+")
        if nobody:
            # Its directory may be closed to others, such as root's home.
            path = shutil.copy(path, os.path.join(self.directory.name, "server"))
        words = [path, "-F", "-S", self.socket, "-l", "1M", "-n", str(vectors)]
        if self.memory:
            words += ["-M", self.memory]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        preexec_fn=child_setup(machine.server_cpu, nobody))

    def __enter__(self):
        try:
            self.wait_listening()
        except BaseException:
            self.stop()
            raise
        return self

    def wait_listening(self):
        # Looking is all that is safe: a server may not survive a connection that ends at once.
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with open("/proc/net/unix", errors="replace") as file:
                for line in file:
                    words = line.split()
                    if words[-1] == self.socket and int(words[3], 16) & 0x10000:
                        return
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        self.log.seek(0)
        raise RuntimeError(f"{self.process.args[0]} does not listen: {self.log.read().strip()}")

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends the server; returns how it ended, if it had done so by itself."""
        ended = self.process.poll()
        if ended is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        self.directory.cleanup()
        if self.memory:
            try:
                os.unlink("/dev/shm/" + self.memory)
            except FileNotFoundError:
                pass
        return ended


class Bench:
    def __init__(self, options):
        self.options = options
        self.machine = Machine()
        self.storm = os.path.join(options.build, "bench", "storm")
        self.floor = os.path.join(options.build, "bench", "floor")
        self.servers = {"ours": options.server or os.path.join(options.build, "ivshmem-server")}
        if options.against:
            self.servers["other"] = options.against
        for path in [self.storm, self.floor, *self.servers.values()]:
            if not os.access(path, os.X_OK):
                sys.exit(f"bench: {path} is not there")

    def run(self, words, limit):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True,
                                   preexec_fn=child_setup(self.machine.driver_cpu))
        try:
            output, _ = process.communicate(timeout=limit)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: exit status {process.returncode}")
        return json.loads(output)

    def measure_floor(self):
        words = [self.floor, "--rounds", "300"]
        if self.machine.server_cpu is not None:
            words += ["--cpu", str(self.machine.server_cpu), "--reader-cpu", str(self.machine.driver_cpu)]
        return self.run(words, 120)

    def measure(self, name, case):
        with Server(self.servers[name], case.vectors, self.machine, name != "ours", case.unprivileged()) as server:
            words = [self.storm, *case.arguments(), "--socket", server.socket, "--pid", str(server.process.pid)]
            if self.machine.driver_cpu is not None:
                words += ["--cpu", str(self.machine.driver_cpu)]
            result = self.run(words, 400)
            ended = server.stop()
            if ended is not None:
                result["server_ended"] = signal.Signals(-ended).name if ended < 0 else f"exit {ended}"
            return result

    def run_all(self):
        cases = cases_quick() if self.options.quick else cases_full()
        budget = 50 if self.options.quick else 560
        if os.geteuid() != 0:
            cases = [case for case in cases if not case.unprivileged()]
        if self.options.only:
            cases = [case for case in cases if {case.kind, case.key()} & set(self.options.only)]
        if not cases:
            sys.exit("bench: no such case")
        results = {"machine": self.machine.facts(), "quick": self.options.quick, "floors": [], "runs": []}
        start = time.monotonic()
        skipped = set()
        for number in range(max(case.repeats for case in cases)):
            due = [case for case in cases if number < case.repeats]
            if number > 0 and budget - (time.monotonic() - start) < 2:
                skipped.update(case.key() for case in due)
                break
            results["floors"].append(self.measure_floor())
            for case in due:
                left = budget - (time.monotonic() - start)
                # The first round is never cut short: a table without a row would be worse than a long run.
                if number > 0 and left < case.cost * len(self.servers):
                    skipped.add(case.key())
                    continue
                order = list(self.servers)
                for name in order if number % 2 == 0 else reversed(order):
                    began = time.monotonic()
                    result = self.measure(name, case)
                    case.cost = time.monotonic() - began
                    results["runs"].append({"round": number, "case": case.key(), "kind": case.kind,
                                            "server": name, "result": result})
                    self.progress(number, case, name, result, time.monotonic() - start)
        results["seconds"] = round(time.monotonic() - start)
        results["fewer_repeats"] = sorted(skipped)
        results["names"] = {"ours": "ivshmem", "other": self.options.against_name}
        print(file=sys.stderr)
        return results

    def progress(self, number, case, name, result, seconds):
        if not self.options.verbose:
            print(f"\rbench: {seconds:4.0f} s, round {number + 1}, {case.key()}, {name}".ljust(70),
                  end="", file=sys.stderr, flush=True)
            return
        words = [f"{seconds:6.1f} s", case.key(), name]
        for key in ("wall_ns", "cpu_ns"):
            if result.get(key) is not None:
                words.append(f"{key[:-3]} {result[key] / 1e6:.2f} ms")
        for key in ("lost", "incomplete", "errors", "server_ended"):
            if result.get(key):
                words.append(f"{key} {result[key]}")
        print("  ".join(words), file=sys.stderr, flush=True)


def main():
    parser = parser_of("Measure the server; results in build/bench/server.json.", "the small cases only, under a minute")
    parser.add_argument("--against", metavar="PATH",
                        help="measure this server too, one that takes the options -F -S -M -l -n of QEMU's ivshmem-server")
    parser.add_argument("--against-name", metavar="NAME", default="other", help="what to call it in the tables")
    parser.add_argument("--server", metavar="PATH", help="our server; default: BUILD/ivshmem-server")
    parser.add_argument("--only", metavar="CASE", action="append",
                        help="only these cases, such as 'join 200x1' or 'leave' (repeatable)")
    parser.add_argument("--output", metavar="FILE", help="default: BUILD/bench/server.json")
    parser.add_argument("--verbose", action="store_true", help="a line per measurement")
    options = parser.parse_args()
    output = os.path.abspath(options.output or os.path.join(options.build, "bench", "server.json"))
    results = results_of(options, output, TARGETS, lambda: Bench(options).run_all())
    show(options, "server.py", report.text(results))
    return 1 if report.ours_failed(results) else 0


if __name__ == "__main__":
    run(main)
