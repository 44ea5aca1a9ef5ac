# SPDX-License-Identifier: BSD-2-Clause
"""What to ask of QEMU's monitor. `command(name, **arguments)` runs one of its commands and returns the result."""

import ivshmem_wire as wire


def human(command, line):
    """A command of the human monitor. Returns what it says, which is nothing if all is well."""
    return command("human-monitor-command", **{"command-line": line}).strip()


def add_disk(command, path):
    """A small disk, for savevm to keep its snapshots in."""
    with open(path, "xb"):
        pass
    command("blockdev-add", driver="file", filename=path, **{"node-name": "file"})
    command("blockdev-create", **{"job-id": "make", "options": {"driver": "qcow2", "file": "file", "size": 1 << 20}})
    wire.wait_until(lambda: command("query-jobs")[0]["status"] == "concluded", "the disk is made")
    assert "error" not in command("query-jobs")[0]
    command("job-dismiss", id="make")
    command("blockdev-add", driver="qcow2", file="file", **{"node-name": "disk"})


def save(command, path):
    """A snapshot, on a new disk."""
    add_disk(command, path)
    assert human(command, "savevm first") == ""


def load(command):
    assert human(command, "loadvm first") == ""


def migrate_to(command, path):
    command("migrate", uri=f"exec:cat >'{path}'")
    wire.wait_until(lambda: command("query-migrate")["status"] in ("completed", "failed"), "it has migrated")
    assert command("query-migrate")["status"] == "completed"


def migrate_from(command, path):
    command("migrate-incoming", uri=f"exec:cat '{path}'")
    wire.wait_until(lambda: command("query-migrate").get("status") == "completed", "it has arrived")
