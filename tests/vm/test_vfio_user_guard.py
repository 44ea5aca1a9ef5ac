# SPDX-License-Identifier: BSD-2-Clause
"""
A Linux guest whose device's process is killed again and again: neither guest nor QEMU notices.

An interrupt may come twice. So each ring is waited for before the next one, and in the end there are at least as many as
rings, for each vector and in both directions.
"""

import os
import signal
import threading
import time

import pytest

from in_guest import counts, finish, say, start_shell
from ivshmem_wire import sized

pytestmark = pytest.mark.limit(300)

KILLS = sized(50, 3000)
PAUSE = 0.1


@pytest.mark.parametrize("member", [("--guard",)], indirect=True)
def test_rings_while_the_device_is_killed(group, member, boot):
    guest = start_shell(boot, device=member)
    killed = []

    def killer():
        while len(killed) < KILLS:
            time.sleep(PAUSE)
            worker = member.worker()
            os.kill(worker, signal.SIGKILL)
            killed.append(worker)

    thread = threading.Thread(target=killer)
    thread.start()
    to_guest, to_host, heard = ([0] * group.vectors for _ in range(3))
    turn = 0
    try:
        while thread.is_alive() or turn < group.vectors:
            vector = turn % group.vectors
            guest.send(f"wait {vector} 1 60\n")
            group.run("ring", f"1:{vector}")
            to_guest[vector] += 1
            guest.expect(rf"^vector {vector} count \d+$")
            guest.send(f"ring 0:{vector}\n")
            to_host[vector] += 1
            count = group.monitor.expect(rf"interrupt vector {vector} count (\d+)").group(1)
            heard[vector] += int(count)
            turn += 1
    finally:
        thread.join()
    say(guest, "all rung")
    received = counts(guest, group.vectors)
    for vector in range(group.vectors):
        assert received[vector] >= to_guest[vector], f"an interrupt was lost: {received} of {to_guest}"
        assert heard[vector] >= to_host[vector], f"a ring was lost: {heard} of {to_host}"
    assert len(set(killed)) > KILLS // 2
    assert "peer 1 left" not in group.monitor.stdout
    finish(guest)
    print(f"{len(set(killed))} processes killed, {sum(to_guest)} rings to the guest, {sum(to_host)} by the guest")
