# SPDX-License-Identifier: BSD-2-Clause
"""What the server's log says of who comes and goes."""

import os
import re
import subprocess
import sys

import ivshmem_wire as wire

# At most so many lines in a while.
LINES_MAX = 20


def our_program():
    with open("/proc/self/comm", encoding="ascii") as file:
        return file.read().strip()


def test_who_joins_and_leaves_is_told(server):
    """Without -v, too: the process, the user, the program."""
    srv = server()
    who = rf"\(process {os.getpid()}, user {os.geteuid()}, program {re.escape(our_program())}\)"
    client = srv.client()
    srv.expect(rf"ivshmem-server: peer 0 joined {who}")
    client.close()
    srv.expect(rf"ivshmem-server: peer 0 left {who}")
    assert srv.stderr == ""


def test_who_is_cut_is_told_with_its_program(server):
    srv = server()
    srv.client().offend()
    srv.expect(rf"ivshmem-server: peer 0 \(.*, program {re.escape(our_program())}\) is disconnected: .*", "stderr")


def test_an_observer_is_told_of_with_verbose_only(server, cli):
    quiet = server()
    assert cli("info", path=quiet.path).wait() == 0
    quiet.finish()
    assert "observer came" not in quiet.stdout
    srv = server("-v")
    assert cli("info", path=srv.path).wait() == 0
    srv.expect(r"ivshmem-server: an observer came \(process \d+, user \d+, program ivshmem\)")
    srv.expect(r"ivshmem-server: an observer left \(process \d+, user \d+, program ivshmem\)")


def test_a_hostile_name_is_made_harmless(server, processes):
    """A program calls itself what it likes, and must not write lines or colours into a log."""
    srv = server()
    script = (
        "import ctypes, socket, sys\n"
        "ctypes.CDLL(None).prctl(15, b'a\\nb\\033[1m), c')\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.connect(sys.argv[1])\n"
        "sys.stdin.read()\n"
    )
    client = wire.Process([sys.executable, "-c", script, srv.path], stdin=subprocess.PIPE)
    processes.append(client)
    srv.expect(rf"ivshmem-server: peer 0 joined \(process {client.pid}, user \d+, program a\?b\?\?1m\?\?\?c\)")


def told(srv):
    return [line for line in srv.lines() if re.search(r"peer \d+ (joined|left)", line)]


def test_a_flood_is_few_lines_and_a_number(server):
    srv = server()
    for _ in range(100):
        srv.client().close()
    srv.assert_idle()
    srv.finish()
    # A slow machine may take longer than the while for it.
    left_out = [int(number) for number in re.findall(r"there were (\d+) more messages", srv.stdout)]
    assert left_out, srv.describe()
    assert len(told(srv)) + sum(left_out) == 200
    assert len(told(srv)) <= LINES_MAX * (1 + len(left_out))
    assert "no more of this is told" in told(srv)[LINES_MAX - 1]


def test_verbose_leaves_out_nothing(server):
    srv = server("-v")
    for _ in range(30):
        srv.client().close()
    srv.assert_idle()
    srv.finish()
    assert len(told(srv)) == 60
