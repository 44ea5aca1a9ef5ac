# SPDX-License-Identifier: BSD-2-Clause
"""For the tests of `ivshmem doctor`: running it, and what it found."""

import json
import shutil

import pytest

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, OK

BAD = ("warning", "error")


class Report:
    """What one run found: id -> finding."""

    def __init__(self, process):
        self.process = process
        self.findings = [json.loads(line) for line in process.stdout.splitlines()]
        for finding in self.findings:
            assert finding["severity"] == "ok" or (finding["why"] and finding["remedy"]), finding
        errors = [each for each in self.findings if each["severity"] == "error"]
        assert process.wait() == (FAILURE if errors else OK), process.describe()

    def ids(self, *severities):
        return {each["id"] for each in self.findings if not severities or each["severity"] in severities}

    def has(self, name, *words):
        """The finding of this name, whose sentence and remedy have these words."""
        found = [each for each in self.findings if each["id"] == name]
        assert found, f"no {name}\n{self.process.describe()}"
        text = " ".join(f'{each["subject"]}: {each["finding"]} {each["remedy"]}' for each in found)
        for word in words:
            assert str(word) in text, text
        return found[0]

    def only(self, *names):
        """These are all that is wrong."""
        assert self.ids(*BAD) == set(names), self.process.describe()
        return self


@pytest.fixture
def doctor(processes, room):
    """doctor(*arguments, user=None, ...): a report. A user gets a copy of the program, from where he can reach it."""

    def doctor(*arguments, user=None, **options):
        binary = wire.program("ivshmem")
        if user is not None:
            binary = shutil.copy(binary, room.file("ivshmem"))
        process = wire.Process([binary, "doctor", "--json", *arguments], user=user, **options)
        processes.append(process)
        process.wait()
        return Report(process)

    return doctor
