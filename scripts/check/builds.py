# SPDX-License-Identifier: BSD-2-Clause
"""The builds that are tested, under build/test/."""

import json
import os
import shutil
import time

from check.report import FAILED, PASSED, Result
from check.run import run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "build", "test")

SANITIZE = ["-Db_sanitize=address,undefined", "-Db_lundef=false"]


class Build:
    def __init__(self, name, compiler, options, env=None, setup_env=None, wrapper=()):
        self.name = name
        self.compiler = compiler
        self.options = ["-Dwerror=true", *options]
        self.path = os.path.join(FOLDER, name)
        self.env = env or {}  # for programs of this build
        self.setup_env = {"CC": compiler, **(setup_env or {})}
        self.wrapper = list(wrapper)  # what runs its programs
        self.done = None

    def make(self, report, targets=()):
        """Configures and compiles, once. Returns whether that worked."""
        if self.done is None:
            started = time.monotonic()
            detail = self._make(targets)
            self.done = detail is None
            name = f"{self.name} ({self.compiler} {' '.join(self.options)})"
            result = Result(name, FAILED if detail else PASSED, detail or "")
            report.add("build", self.name, time.monotonic() - started, [result])
        return self.done

    def _make(self, targets):
        setup = ["meson", "setup", self.path, ROOT, *self.options]
        if not self._is_configured(setup):
            shutil.rmtree(self.path, ignore_errors=True)
            status, output = run(setup, timeout=300, env=self.setup_env)
            if status != 0:
                return output
            with open(os.path.join(self.path, "setup.json"), "w", encoding="utf-8") as file:
                json.dump(setup, file)
        status, output = run(["ninja", "-C", self.path, "-k", "0", *targets], timeout=900)
        return None if status == 0 else compiler_words(output)

    def _is_configured(self, setup):
        try:
            with open(os.path.join(self.path, "setup.json"), encoding="utf-8") as file:
                return json.load(file) == setup
        except (OSError, ValueError):
            return False

    def tests(self):
        status, output = run(["meson", "introspect", "--tests", self.path], timeout=60)
        if status != 0:
            raise RuntimeError(f"meson introspect failed: {output}")
        return [{**test, "cmd": self.wrapper + test["cmd"]} for test in json.loads(output)]


def compiler_words(output):
    """What the compiler said, without the lines of what went well."""
    return "\n".join(line for line in output.splitlines() if not line.startswith(("[", "ninja: ")))


PLAIN = Build("plain", "gcc", [])
SANITIZED = Build(
    "sanitized",
    "clang",
    SANITIZE,
    {
        "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    },
)
THREADS = Build("threads", "clang", ["-Db_sanitize=thread", "-Db_lundef=false"], {"TSAN_OPTIONS": "second_deadlock_stack=1"})
# For 32-bit guests: the libraries, the command line, and some tests. What else there is wants a 32-bit jansson.
NARROW = Build("32-bit", "gcc -m32", [])
# For guests with 64-bit ARM processors: the same.
ARM64 = Build("arm64", "clang", [f"--cross-file={ROOT}/scripts/check/arm64.ini"],
              wrapper=["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"])
# Parts of the project; the first one on a machine without the library that others need.
WITHOUT_JANSSON = {"PKG_CONFIG_LIBDIR": "/nonexistent"}
GUEST_ONLY = Build("guest-only", "gcc", ["-Dguest_only=true"], setup_env=WITHOUT_JANSSON)
WITHOUT_KVM = Build("without-kvm", "gcc", ["-Dkvm=false", "-Dvfio_user=false"], setup_env=WITHOUT_JANSSON)
FUZZING = Build("fuzzing", "clang", ["-Dfuzzing=true", *SANITIZE], SANITIZED.env)


def share_guest_images():
    """Guest kernels and images are made once, for make run and for the tests."""
    shared = os.path.join(ROOT, "build", "guest")
    own = os.path.join(PLAIN.path, "guest")
    os.makedirs(shared, exist_ok=True)
    if not os.path.lexists(own):
        os.symlink(shared, own)
