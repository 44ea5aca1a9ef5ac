#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The units of systemd and the profiles of AppArmor: their options exist, they say what docs/restart.md says, and the tools of
systemd and AppArmor find nothing wrong. Nothing is loaded or started. Speaks TAP.

usage: check.py BUILD-FOLDER
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

PACKAGING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "packaging")
SYSTEMD = os.path.join(PACKAGING, "systemd")
RESTART = os.path.join(PACKAGING, "..", "docs", "restart.md")

# What systemd-analyze thinks of a service, times ten: 0 is best, 100 worst.
EXPOSURE_MAX = 20

# Settings that docs/restart.md needs, besides as many places in the store. RuntimeDirectoryPreserve=yes keeps more than
# restart does.
NEEDED = {
    "Type": {"notify"},
    "RuntimeDirectoryPreserve": {"restart", "yes"},
    "StartLimitIntervalSec": {"0"},
    "Restart": {"on-failure"},
    "RestartSec": {"1"},
}

results = []


def check(name, wrong):
    """`wrong` is a text, empty if nothing is."""
    results.append(not wrong)
    print(f'{"not ok" if wrong else "ok"} {len(results)} - {name}')
    for line in wrong.splitlines():
        print(f"# {line}")


def skip(name, why):
    results.append(True)
    print(f"ok {len(results)} - {name} # SKIP {why}")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def run(*command):
    result = subprocess.run(
        command, text=True, timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return result.returncode, result.stdout


def settings(text):
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def check_options(name, text, build):
    """Of each line that starts a program, also in a comment."""
    wrong = ""
    for program in ("ivshmem-server", "ivshmem-device"):
        known = set(re.findall(r"--[\w-]+", run(os.path.join(build, program), "--help")[1]))
        for line in text.splitlines():
            if program in name and ("ExecStart=" in line or "OPTIONS=" in line):
                for option in re.findall(r"(?<=\s)--[\w-]+", line.replace("OPTIONS=", " ")):
                    if option not in known:
                        wrong += f"{program} has no {option}\n"
    check(f"{name}: the options exist", wrong)


def check_restart():
    ours = settings(read(os.path.join(SYSTEMD, "ivshmem-server@.service")))
    wrong = "".join(f"{key}={ours.get(key)}\n" for key, good in NEEDED.items() if ours.get(key) not in good)
    if "--keep-clients" not in ours["ExecStart"]:
        wrong += "no --keep-clients\n"
    document = settings(read(RESTART))
    if not ours["FileDescriptorStoreMax"] == document["FileDescriptorStoreMax"] > "0":
        wrong += f"FileDescriptorStoreMax={ours['FileDescriptorStoreMax']}\n"
    wrong += "".join(f"docs/restart.md: {key}={document.get(key)}\n" for key, good in NEEDED.items() if document.get(key) not in good)
    check("ivshmem-server@.service: a restart keeps the clients, as docs/restart.md says", wrong)


def check_units(build):
    name = "systemd finds nothing wrong with the units"
    if not shutil.which("systemd-analyze"):
        skip(name, "no systemd-analyze")
        return
    with tempfile.TemporaryDirectory() as folder:
        units = []
        for path in sorted(glob.glob(os.path.join(SYSTEMD, "*@.*"))):
            text = read(path).replace("/usr/bin/", os.path.abspath(build) + "/")
            instance = os.path.basename(path).replace("@", "@demo")
            for each in (os.path.basename(path), instance):
                with open(os.path.join(folder, each), "w", encoding="utf-8") as file:
                    file.write(text)
            units.append(os.path.join(folder, instance))
        status, output = run("systemd-analyze", "verify", "--man=no", *units)
        check(name, output if status or output else "")
        for unit in units:
            if unit.endswith(".service"):
                base = os.path.basename(unit)
                status, output = run(
                    "systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", unit
                )
                check(f"{base}: the exposure is small", "\n".join(output.splitlines()[-3:]) if status else "")


def check_profiles():
    for path in sorted(glob.glob(os.path.join(PACKAGING, "apparmor", "usr.*"))):
        name = f"{os.path.basename(path)}: apparmor_parser understands the profile"
        if not shutil.which("apparmor_parser"):
            skip(name, "no apparmor_parser")
            continue
        # Neither into the kernel, nor into a cache.
        status, output = run("apparmor_parser", "-Q", "-K", path)
        check(name, output if status else "")


def check_folders():
    """The user, and the folder of the sockets, are those of the units."""
    wrong = ""
    if not re.search(r"^u ivshmem ", read(os.path.join(SYSTEMD, "ivshmem.sysusers")), re.MULTILINE):
        wrong += "ivshmem.sysusers makes no user ivshmem\n"
    if not re.search(r"^d /run/ivshmem 0755 ivshmem ivshmem ", read(os.path.join(SYSTEMD, "ivshmem.tmpfiles")), re.MULTILINE):
        wrong += "ivshmem.tmpfiles makes no /run/ivshmem\n"
    for path in glob.glob(os.path.join(SYSTEMD, "*.service")):
        if settings(read(path)).get("User") != "ivshmem":
            wrong += f"{path}: another user\n"
    if not settings(read(os.path.join(SYSTEMD, "ivshmem-server@.socket")))["ListenStream"].startswith("/run/ivshmem/"):
        wrong += "ivshmem-server@.socket: in another folder\n"
    check("user and folder are the same everywhere", wrong)


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for path in sorted(glob.glob(os.path.join(SYSTEMD, "*@.*"))):
        check_options(os.path.basename(path), read(path), sys.argv[1])
    check_restart()
    check_folders()
    check_units(sys.argv[1])
    check_profiles()
    print(f"1..{len(results)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
