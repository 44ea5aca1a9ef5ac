# SPDX-License-Identifier: BSD-2-Clause
"""
Two Linux guests ring each other, and bytes flow from the host into one of them, while their server is replaced or killed again
and again: no ring and no byte is lost, and everybody hears of each newcomer once.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import threading
import time

import pytest

import ivshmem_wire as wire
from in_guest import BOOT_LIMIT
from ivshmem_cli import OK
from soak_results import tell
from supervised import supervising
from test_driver import driver  # noqa: F401

VECTORS = 2
PINGS = 200  # of one run, of which there are many
PIECE = os.urandom(1 << 16)

ECHOES = """
load-driver || exit 9
(ivshmem echo 1 >/tmp/echoed 2>&1 &)
echo ready
read -r line
"""
PINGS_AND_RECEIVES = """
load-driver || exit 9
(ivshmem recv stream 2>/tmp/received | sha256sum >/tmp/sum; echo >/tmp/sum.done) &
until grep -q listening /tmp/received; do sleep 0.1; done
echo ready
read -r line
(until [ -e /tmp/stop ] || ! ivshmem ping 0 --count %d --timeout 120 >/tmp/ping 2>&1; do echo >>/tmp/rounds; done
echo >/tmp/rounds.done) &
read -r line
touch /tmp/stop
until [ -e /tmp/rounds.done ] && [ -e /tmp/sum.done ]; do sleep 0.1; done
echo "rounds $(wc -l </tmp/rounds)"
cat /tmp/ping /tmp/received
echo "sum $(cat /tmp/sum)"
""" % PINGS


@pytest.fixture
def supervised(room, processes):
    yield from supervising(room, processes)


class Source:
    """Bytes for a sender, until it is told to end."""

    def __init__(self, cli):
        self.sum = hashlib.sha256()
        self.length = 0
        self.ending = False
        self.sender = cli("send", "stream", stdin=subprocess.PIPE)
        self.thread = threading.Thread(target=self.feed)
        self.thread.start()

    def feed(self):
        with contextlib.suppress(BrokenPipeError):  # a test that failed
            while not self.ending:
                self.sender.process.stdin.write(PIECE)
                self.sum.update(PIECE)
                self.length += len(PIECE)
                time.sleep(0.002)
            self.sender.process.stdin.close()

    def end(self):
        self.ending = True
        self.thread.join()
        assert self.sender.process.wait(wire.TIMEOUT) == OK, self.sender.describe()


def replace(srv):
    srv.restart()


def kill(srv):
    """The process that serves, or the one that watches over it."""
    guardian = srv.server
    (worker,) = wire.process_children(guardian)
    os.kill(worker, signal.SIGKILL)
    srv.expect("ivshmem-server: the process that serves was killed; another one goes on with the group.*", "stderr")
    srv.expect("ivshmem-server: listening on .*")


@pytest.mark.limit(300)
@pytest.mark.parametrize("change", [replace, kill])
def test_guests_and_a_server_that_changes(change, boot, supervised, cli, driver):  # noqa: F811
    seconds = wire.sized(8, 600)
    srv = supervised("-l", "4M", vectors=VECTORS)
    echoing = boot(ECHOES, server=srv, files=driver)
    echoing.expect("^ready$", BOOT_LIMIT)
    pinging = boot(PINGS_AND_RECEIVES, server=srv, files=driver)
    pinging.expect("^ready$", BOOT_LIMIT)
    pinging.send("\n")
    source = Source(cli)
    srv.expect(r"ivshmem-server: peer 2 joined .*")
    witness = srv.client()
    told = []
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        change(srv)
        newcomer = srv.client()
        witness.follow_until_knows(newcomer.peers)
        assert {0, 1, witness.id} < set(newcomer.peers)
        newcomer.close()
        srv.clients.remove(newcomer)
        witness.follow(lambda gone=newcomer.id: gone not in witness.peers, "the newcomer left")
        told += [newcomer.id] * (VECTORS + 1)
        time.sleep(1 if wire.LONG else 0)
    assert witness.log == told
    source.end()
    pinging.send("\n")
    rounds = int(pinging.expect("^rounds (\\d+)$", 150).group(1))
    assert rounds > 0
    assert pinging.expect("^sum ([0-9a-f]{64}) .*$").group(1) == source.sum.hexdigest()
    tell(f"servers: {change.__name__}", times=len(told) // (VECTORS + 1), round_trips=rounds * PINGS, lost=0,
         stream_bytes=source.length)  # fmt: skip
    echoing.send("\n")
