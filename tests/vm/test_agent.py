# SPDX-License-Identifier: BSD-2-Clause
"""Commands in a guest for the host, and on the host for a guest: `ivshmem agent` and `exec`, with each way to use a device."""

import fcntl
import hashlib
import os
import re
import secrets
import signal
import struct
import termios

import pytest

import ivshmem_wire as wire
from in_guest import BOOT_LIMIT
from ivshmem_cli import OK, Terminal, feed
from test_driver import driver  # noqa: F401

pytestmark = pytest.mark.limit(300)

SIZE = 300_000  # more than a ring has room for
FAILED, NOT_FOUND = 125, 127

# The agent runs until a line comes; what it said is printed then.
AGENT = """
mkdir -p /dev/pts; mount -t devpts devpts /dev/pts
while read -r module; do insmod "/modules/$module"; done </modules/order-fw-cfg
ivshmem --verbose --backend %s agent %s >/tmp/agent 2>&1 &
until grep -q "listening under" /tmp/agent; do sleep 0.1; done
echo ready
read -r _
kill $!; wait $!; echo status $?
cat /tmp/agent
"""
BY_DRIVER = "load-driver || exit 9" + AGENT
BY_ROOT = "bind-vfio" + AGENT
FW_CFG = ["-fw_cfg", "name=opt/org.ivshmem/agent,string=exec"]
NEVER_RESCUED = "ivshmem: debug: something was there, and nobody had woken us: 0 times"


@pytest.fixture
def guest(boot, group, driver):  # noqa: F811
    """guest(back end, ...): with an agent that listens."""

    def guest(back_end, words="", **options):
        by_driver = back_end == "kernel"
        if by_driver:
            options = {"files": driver, "iommu": None, **options}
        else:
            options = {"kernel_options": "iomem=relaxed", **options}
        machine = boot((BY_DRIVER if by_driver else BY_ROOT) % (back_end, words), server=group.server, **options)
        machine.expect("^ready$", BOOT_LIMIT)
        return machine

    return guest


@pytest.fixture
def execute(group):
    """execute(*command): on the host, to its end. Returns the process."""

    def execute(*command, status=OK, data=b"", options=()):
        fd = feed(data)
        process = group.cli("--verbose", "exec", *options, "agent", "--", *command, stdin=fd)
        os.close(fd)
        assert process.wait(100) == status, process.describe()
        return process

    return execute


def end(machine):
    """The agent ends in good order; what it said."""
    machine.send("\n")
    machine.expect("^status 0$")
    status, lines = machine.wait_script()
    assert status == 0
    return lines


@pytest.mark.parametrize("back_end", ["kernel", "vfio", "sysfs"])
def test_commands_in_a_guest(guest, execute, back_end):
    """The host allows it by fw_cfg."""
    machine = guest(back_end, devices=FW_CFG)
    assert re.match(r"Linux guest-0 \S+", execute("uname", "-a").stdout)
    data = secrets.token_bytes(SIZE)
    counted = execute("sh", "-c", "sha256sum; echo error >&2; exit 3", data=data, status=3)
    assert counted.stdout.split()[0] == hashlib.sha256(data).hexdigest()
    assert "error" in counted.lines("stderr")
    said = [counted.lines("stderr")]
    echoed = execute("cat", data=data)
    assert bytes(echoed.output["stdout"]) == data
    execute("no-such-program", status=NOT_FOUND)
    execute("sh", "-c", "kill -9 $$", status=128 + signal.SIGKILL)
    said += [echoed.lines("stderr"), end(machine)]
    assert any("allowed: exec (the host, by fw_cfg)" in line for line in said[-1]), said
    if back_end != "sysfs":
        assert all(NEVER_RESCUED in lines for lines in said), said


def test_a_terminal_in_a_guest(guest, group, closing):
    """The host allows it on the kernel command line."""
    machine = guest("kernel", kernel_options="ivshmem.agent=exec")
    terminal = Terminal()
    closing.append(terminal)
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    caller = group.cli("exec", "--env", "PS1=prompt ", "agent", stdin=terminal.process_end, stdout=terminal.process_end)
    terminal.expect(b"prompt ")
    # It says that it runs, because what is typed before that would interrupt nobody.
    terminal.type("tty; stty size; sh -c 'echo slee''ping; exec sleep 1000'\r")
    terminal.expect(b"/dev/pts/0\r\n40 120\r\nsleeping\r\n")
    terminal.type("\x03")
    terminal.expect(b"prompt ")
    terminal.type("exit 5\r")
    assert caller.wait() == 5, caller.describe()
    assert any("allowed: exec (the kernel command line)" in line for line in end(machine))


def test_nothing_is_allowed_unless_somebody_says_so(guest, execute):
    machine = guest("kernel")
    refused = execute("true", status=FAILED)
    assert "ivshmem: the agent does not allow exec: start it with --allow exec, or the VM with -fw_cfg" in refused.stderr
    said = end(machine)
    assert any("job 1 of 'ivshmem exec' refused: exec" in line for line in said), said


def test_who_starts_the_agent_decides_before_the_host(guest, execute):
    """And whose commands are a user's."""
    machine = guest("kernel", "--allow exec --user user", devices=["-fw_cfg", "name=opt/org.ivshmem/agent,string=nothing"])
    assert execute("sh", "-c", "id; pwd; echo $HOME").stdout == "uid=1000(user) gid=1000(user) groups=998(ivshmem),1000(user)\n/tmp\n/tmp\n"
    end(machine)


@pytest.mark.parametrize("victim", ["guest", "caller"])
def test_one_side_dies(guest, group, execute, victim):
    machine = guest("kernel", devices=FW_CFG)
    caller = group.cli("exec", "agent", "--", "sh", "-c", "echo $$; exec sleep 1000")
    pid = caller.expect(r"(\d+)").group(1).decode()
    if victim == "guest":
        machine.stop()
        assert caller.wait() == FAILED, caller.describe()
        assert "ivshmem: the agent 'agent' ended, or died, before the command did" in caller.stderr
    else:
        caller.kill()
        wire.wait_until(lambda: execute("sh", "-c", f"[ -e /proc/{pid} ] || echo gone").stdout == "gone\n", "it has ended")
        end(machine)


def test_commands_on_the_host_for_a_guest(boot, group, driver):  # noqa: F811
    agent = group.cli("agent", "--allow", "exec")
    agent.expect("ivshmem: listening under 'agent'; .*", "stderr")
    machine = boot("load-driver || exit 9\necho from the guest | ivshmem exec agent -- sh -c 'cat; hostname; exit 6'\necho status $?",
                   server=group.server, iommu=None, files=driver)
    machine.expect("^from the guest$", BOOT_LIMIT)
    machine.expect(f"^{re.escape(os.uname().nodename)}$")
    machine.expect("^status 6$")
    assert machine.wait_script()[0] == 0


def test_commands_of_a_guest_for_another_one(guest, boot, group, driver):  # noqa: F811
    """Nobody on the host takes part."""
    first = guest("vfio", devices=FW_CFG)
    second = boot("load-driver || exit 9\nivshmem exec agent hostname\necho status $?", server=group.server, iommu=None,
                  files=driver, name="other")
    second.expect("^guest-0$", BOOT_LIMIT)
    second.expect("^status 0$")
    assert second.wait_script()[0] == 0
    end(first)
