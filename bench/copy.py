#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures `ivshmem copy`: see docs/performance.md for what and how.

First between two processes of this machine, from tmpfs to tmpfs, against cp; then between this machine and a Linux guest,
against scp to the same guest, whose connection goes through the same memory (`ivshmem forward`). The SSH server is Debian's
dropbear, fetched once into build/bench/peers and not installed. Each round copies the same file in each way, once. Results go to
build/bench/copy.json.
"""

import contextlib
import filecmp
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from guest_access import ERRORS, vm
from machine import Machine
from program import parser_of, results_of, run, show
from sides import Sides, wait_for
from tables import ROOT, machine_text, spread, table

TARGETS = ("ivshmem", "ivshmem-static", "ivshmem-server")
TMPFS = "/dev/shm"
MEMORY = "16M"
BOOT_LIMIT, COPY_LIMIT = 120, 600
MIB = 1 << 20
AGENT = "agent --quiet --allow copy-in,copy-out"

# What an SSH server in the guest needs: dropbear with its libraries, and the scp of this machine.
SSHD, SCP = "usr/sbin/dropbear", "/usr/bin/scp"
NEEDS = "lib(tomcrypt1|tommath1|gmp10|crypt1)|zlib1g"
RELEASE = "bookworm"

# The guest does what it is told, line by line.
SCRIPT = """
mkdir /data
mount -t tmpfs none /data
mkdir -p /etc /dev/pts && mount -t devpts devpts /dev/pts
chmod 700 / /root /root/.ssh; chmod 600 /root/.ssh/authorized_keys
load-driver || exit 9
ip link set lo up
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
mkdir -p /etc/dropbear
LD_LIBRARY_PATH=/lib /bin/dropbear -R -p 127.0.0.1:22 || exit 8
ivshmem AGENT >/tmp/agent 2>&1 &
ivshmem listen ssh tcp:127.0.0.1:22 >/tmp/listen 2>&1 &
until ivshmem channels 2>/dev/null | grep -q '"agent"'; do sleep 0.1; done
until ivshmem channels 2>/dev/null | grep -q '"ssh"'; do sleep 0.1; done
echo ready
while read -r line && [ "$line" != end ]; do eval "$line"; echo "done $?"; done
"""


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def seconds_of(words, **more):
    begin = time.monotonic()
    subprocess.run(words, check=True, timeout=COPY_LIMIT, **more)
    return time.monotonic() - begin


def processor_seconds(*pids):
    """Of all our children that have ended, and of these processes."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")
    return total


class Folder:
    """A folder in tmpfs with a file, and room for a copy."""

    def __init__(self, size):
        self.path = os.path.join(TMPFS, f"ivshmem-bench-{os.getpid()}")
        self.size = size

    def __enter__(self):
        os.mkdir(self.path)
        with open(self["data"], "wb") as file:
            for _ in range(self.size // MIB):
                file.write(os.urandom(MIB))
        return self

    def __exit__(self, *_):
        subprocess.run(["rm", "-r", self.path], check=True)

    def __getitem__(self, name):
        return os.path.join(self.path, name)

    def check(self, name):
        if not filecmp.cmp(self["data"], self[name], shallow=False):
            raise RuntimeError("the copy is not like the file")
        os.unlink(self[name])


# ---- between two processes -----------------------------------------------------------------------------------------


def measure_here(options):
    size = (128 if options.quick else 1024) * MIB
    rounds = 3 if options.quick else 9
    results = {"size": size, "rounds": []}
    with Sides(options.build) as sides, Folder(size) as folder:
        tool = [os.path.join(options.build, "ivshmem"), "--target", f"unix:{sides.server('server', 1, memory=MEMORY)}"]
        agent = sides.start([*tool, *AGENT.split()])
        wait_for(lambda: b'"agent"' in subprocess.run([*tool, "channels"], stdout=subprocess.PIPE, check=True).stdout, "the agent")
        ways = {
            "cp": ["cp", folder["data"], folder["copy"]],
            "in": [*tool, "--quiet", "copy", folder["data"], f":{folder['copy']}"],
            "out": [*tool, "--quiet", "copy", f":{folder['data']}", folder["copy"]],
        }
        for number in range(rounds):
            times = {}
            for name, words in ways.items():
                before = processor_seconds(agent.pid)
                times[name] = seconds_of(words)
                times[f"processor {name}"] = processor_seconds(agent.pid) - before
                folder.check("copy")
            results["rounds"].append(times)
            say(f"round {number + 1} of {rounds} between two processes")
    return results


# ---- between the host and a guest ----------------------------------------------------------------------------------


def tell(guest, line):
    guest.send(line + "\n")
    if guest.expect(r"^done (\d+)$", COPY_LIMIT).group(1) != "0":
        raise RuntimeError(f"the guest could not do it: {line}")


def libraries_of(program, folder):
    """(name, path) of what the loader finds for a program, with Debian's libraries of `folder`."""
    places = ":".join(os.path.join(folder, name, "x86_64-linux-gnu") for name in ("usr/lib", "lib"))
    found = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True,
                           env={**os.environ, "LD_LIBRARY_PATH": places}).stdout
    return re.findall(r"^\s*(?:(\S+) => )?(/\S+)", found, re.MULTILINE)


def ssh_files(options, key):
    """What a guest needs so that it can be reached by this key: path -> content."""
    folder = os.path.join(os.path.abspath(options.build), "bench", "peers", "dropbear")
    if not os.path.exists(folder):
        say("fetching dropbear, once")
        subprocess.run([os.path.join(ROOT, "scripts", "packages.sh"), "--unpack-only", NEEDS, folder + ".new", RELEASE, "dropbear-bin"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.rename(folder + ".new", folder)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    files = {"bin/dropbear": os.path.join(folder, SSHD), "bin/scp": SCP, "root/.ssh/authorized_keys": f"{key}.pub"}
    for program in (files["bin/dropbear"], SCP):
        for name, path in libraries_of(program, folder):
            files[f"lib/{name}" if name else path[1:]] = path
    files = {name: Path(path).read_bytes() for name, path in files.items()}
    return {**files, "etc/shells": "/bin/sh\n"}


def measure_guest(options):
    size = (16 if options.quick else 32) * MIB
    rounds = 3 if options.quick else 5
    image = vm.build_image(os.path.join(options.build, "guest"), os.path.join(options.build, "ivshmem-static"), say)
    accel = vm.choose_accel(image, image.cache)
    results = {"size": size, "accel": accel.name, "rounds": []}
    with contextlib.ExitStack() as stack:
        sides = stack.enter_context(Sides(options.build))
        folder = stack.enter_context(Folder(size))
        server = sides.server("server", 1, memory=MEMORY)
        key = sides.path("key")
        files = {"modules/ivshmem.ko": vm.build_driver(image, say), **ssh_files(options, key)}
        guest = stack.enter_context(vm.Guest(
            image, accel, sides.directory.name, script=SCRIPT.replace("AGENT", AGENT),
            devices=vm.ivshmem_doorbell(server, 1), iommu=None, memory=768, files=files))
        guest.expect("^ready$", BOOT_LIMIT)
        tool = [os.path.abspath(os.path.join(options.build, "ivshmem")), "--target", f"unix:{server}", "--quiet"]
        scp = ["scp", "-O", "-q", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
               "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={' '.join(tool)} forward stdio ssh"]
        ways = {
            "scp in": [*scp, folder["data"], "root@guest:/data/data"],
            "scp out": [*scp, "root@guest:/data/data", folder["copy"]],
            "in": [*tool, "copy", folder["data"], ":/data/data"],
            "out": [*tool, "copy", ":/data/data", folder["copy"]],
        }
        for number in range(rounds):
            times = {}
            for name, words in ways.items():
                times[name] = seconds_of(words)
                if name.endswith("out"):
                    folder.check("copy")
                    tell(guest, "rm /data/data")
            results["rounds"].append(times)
            say(f"round {number + 1} of {rounds} with a guest")
        guest.send("end\n")
    return results


# ---- the report ----------------------------------------------------------------------------------------------------

HERE = [
    ("to an agent", "in", "cp", "cp", 0.7),
    ("from an agent", "out", "cp", "cp", 0.7),
]
GUEST = [
    ("into the guest", "in", "scp in", "scp", 5),
    ("out of the guest", "out", "scp out", "scp", 5),
]


def rows_of(results, cases):
    rounds, mib = results["rounds"], results["size"] / MIB
    for what, ours, other, name, goal in cases:
        ratios = [times[other] / times[ours] for times in rounds]
        middle = sorted(ratios)[len(ratios) // 2]
        yield [what, spread([mib / times[ours] for times in rounds]), name, spread([mib / times[other] for times in rounds]),
               spread(ratios), f"{goal}: {'reached' if middle >= goal else 'missed'}"]


def text(results):
    here, guest = results["here"], results["guest"]
    head = ["a copy", "MiB/s", "against", "MiB/s", "ratio", "goal"]
    load = f"load {results['load'][0]:.1f} before and {results['load'][1]:.1f} after it"
    return "\n\n".join([
        f"Measured on {machine_text(results['machine'])}; {load}. Median (quartiles) of {len(here['rounds'])} and "
        f"{len(guest['rounds'])} rounds, the ratio within each round.",
        f"Two processes of this machine, {here['size'] // MIB} MiB from tmpfs to tmpfs:",
        table(head, [*rows_of(here, HERE)]),
        "Both ends together took "
        + " and ".join(f"{spread([times[f'processor {way}'] / times['processor cp'] for times in here['rounds']])} times the "
                       f"processor time of cp {what}" for what, way, *_ in HERE) + ".",
        f"This machine and a guest under {guest['accel'].upper()}, {guest['size'] // MIB} MiB from tmpfs to tmpfs:",
        table(head, [*rows_of(guest, GUEST)]),
    ])


def measure(options):
    before = os.getloadavg()[0]
    results = {"machine": Machine().facts(), "here": measure_here(options), "guest": measure_guest(options)}
    return {**results, "load": [before, os.getloadavg()[0]]}


def main():
    options = parser_of("Measure ivshmem copy; results in build/bench/copy.json.", "smaller files, fewer rounds").parse_args()
    results = results_of(options, os.path.join(options.build, "bench", "copy.json"), TARGETS, lambda: measure(options))
    show(options, "copy.py", text(results))
    return 0


if __name__ == "__main__":
    run(main, *ERRORS)
