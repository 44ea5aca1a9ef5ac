# SPDX-License-Identifier: BSD-2-Clause
"""The machine that is measured on, and how programs are started on it."""

import ctypes
import os
import resource
import signal
import subprocess
import time

from tables import ROOT

NOBODY = 65534
NOBODY_FILES = 4096  # descriptor limit of what runs without privileges
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


class Machine:
    def __init__(self):
        cpus = sorted(os.sched_getaffinity(0))
        self.server_cpu, self.driver_cpu = (cpus[0], cpus[1]) if len(cpus) > 1 else (None, None)
        self.cpus = len(cpus)

    def facts(self):
        model = "unknown"
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    model = line.split(":", 1)[1].strip()
                    break
        with open("/proc/meminfo") as file:
            memory = round(int(file.readline().split()[1]) / 2**20)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return {"cpu": model, "cpus": self.cpus, "memory_gib": memory, "kernel": os.uname().release,
                "max_files": files, "root": os.geteuid() == 0, "date": time.strftime("%Y-%m-%d"),
                "pinned": self.server_cpu is not None}


def child_setup(cpu, nobody=False):
    """What every child does before exec: die with us, stay on its CPU, have many descriptors."""

    def setup():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if nobody:
            hard = min(hard, NOBODY_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if nobody:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of uid clears it

    return setup


def build_programs(build, *targets):
    if not os.path.exists(os.path.join(build, "build.ninja")):
        subprocess.run(["meson", "setup", build, ROOT], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "--quiet", "-C", build, *targets], check=True, stdout=subprocess.DEVNULL)
