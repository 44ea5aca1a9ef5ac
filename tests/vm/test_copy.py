# SPDX-License-Identifier: BSD-2-Clause
"""Files into a guest and out of it: `ivshmem copy`, with each way to use a device."""

import hashlib
import json
import os
import signal

import pytest

from in_guest import BOOT_LIMIT
from ivshmem_cli import FAILURE, OK
from test_driver import driver  # noqa: F401
from trees import check_same, make_tree, read, write

pytestmark = pytest.mark.limit(300)

SIZE = 5_000_000
NEVER_RESCUED = "ivshmem: debug: something was there, and nobody had woken us: 0 times"

# A line is a command.
AGENT = """
ivshmem --verbose --backend %s agent --allow copy-in,copy-out >/tmp/agent 2>&1 &
until grep -q "listening under" /tmp/agent; do sleep 0.1; done
echo ready
while read -r line && [ "$line" != end ]; do eval "$line"; echo end of output; done
kill $!; wait $!; echo status $?
cat /tmp/agent
"""


@pytest.fixture
def guest(boot, group, driver):  # noqa: F811
    """guest(back end): with an agent that listens."""

    def guest(back_end):
        if back_end == "kernel":
            options = {"files": driver, "iommu": None}
            script = "load-driver || exit 9" + AGENT
        else:
            options = {"kernel_options": "iomem=relaxed"}
            script = "bind-vfio" + AGENT
        machine = boot(script % back_end, server=group.server, **options)
        machine.expect("^ready$", BOOT_LIMIT)
        return machine

    return guest


def ask(machine, line):
    machine.send(line + "\n")
    lines = []
    while (text := machine.expect("^.*$").group()) != "end of output":
        lines.append(text)
    return lines


@pytest.fixture
def copy(group):
    """copy(*arguments): on the host, to its end."""

    def copy(*arguments, status=OK):
        process = group.cli("--verbose", "copy", *arguments)
        assert process.wait(100) == status, process.describe()
        return process

    return copy


@pytest.mark.parametrize("back_end", ["kernel", "vfio", "sysfs"])
def test_a_tree_into_a_guest_and_out_of_it(guest, copy, tmp_path, back_end):
    machine = guest(back_end)
    make_tree(f"{tmp_path}/tree")
    data = os.urandom(SIZE)
    write(f"{tmp_path}/tree/data", data)
    said = [copy(f"{tmp_path}/tree", ":/tmp/").lines("stderr")]
    assert ask(machine, "sha256sum </tmp/tree/data")[0].split()[0] == hashlib.sha256(data).hexdigest()
    assert ask(machine, "readlink /tmp/tree/link; ls /tmp/tree | wc -l") == ["folder/folder", str(len(os.listdir(f"{tmp_path}/tree")))]
    said.append(copy(":/tmp/tree", f"{tmp_path}/back").lines("stderr"))
    check_same(f"{tmp_path}/tree", f"{tmp_path}/back")
    # What only a guest has, and what neither has.
    copy(":/proc/version", f"{tmp_path}/version")
    assert read(f"{tmp_path}/version").startswith(b"Linux version ")
    assert "cannot read '/nowhere': No such file" in copy(":/nowhere", str(tmp_path), status=FAILURE).stderr
    machine.send("end\n")
    machine.expect("^status 0$")
    said.append(machine.wait_script()[1])
    if back_end != "sysfs":
        assert all(NEVER_RESCUED in lines for lines in said), said


def test_resume_into_a_guest(guest, group, copy, tmp_path):
    """The command is killed, and goes on."""
    machine = guest("kernel")
    size = 60_000_000
    write(f"{tmp_path}/data", os.urandom(size))
    process = group.cli("copy", f"{tmp_path}/data", ":/tmp/")
    ask(machine, "until [ $(stat -c %s /tmp/.data.ivshmem-part 2>/dev/null || echo 0) -gt 8000000 ]; do :; done")
    process.process.send_signal(signal.SIGKILL)
    process.wait()
    result = json.loads(copy("--resume", "--json", f"{tmp_path}/data", ":/tmp/").stdout)
    assert result["bytes"] < size - 6_000_000 and result["files"] == 1
    copy(":/tmp/data", f"{tmp_path}/back")
    assert read(f"{tmp_path}/data") == read(f"{tmp_path}/back")
    assert ask(machine, "ls -A /tmp | grep -c part") == ["0"]
    machine.send("end\n")
    machine.expect("^status 0$")
    assert machine.wait_script()[0] == 0
