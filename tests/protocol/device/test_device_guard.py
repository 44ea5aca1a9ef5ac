# SPDX-License-Identifier: BSD-2-Clause
"""
--guard: the processes of the device are killed, at every instant, and VMM, peers and server notice nothing. What
happens to others may happen twice, but not never: so rings are counted as at least one.
"""

import ctypes
import os
import platform
import random
import select
import signal
import struct
import threading
import time

import pytest

import ivshmem_wire as wire
import stepper
import vfio_user
from vfio_user import CONFIG, MSIX
from vfio_user_fixtures import KIB, MIB, VECTORS, ring_until_known

pytestmark = [
    pytest.mark.limit(300),
    pytest.mark.skipif(not stepper.KNOWN, reason="the numbers of system calls are not known for this processor"),
]

INTERRUPT_LINE = 0x3C
INTR_MASK, INTR_STATUS, IV_POSITION = 0, 4, 8

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def guarded(own_group):
    """guarded(...): a group whose device is guarded."""

    def make(*arguments, **options):
        return own_group("--guard", *arguments, **options)

    return make


def kill_worker(group):
    """The one that serves now, which another one replaces."""
    worker = group.device.worker()
    os.kill(worker, signal.SIGKILL)
    return worker


def rung(fd):
    """At least once, and all that came is taken."""
    assert wire.readable(fd, wire.TIMEOUT), "a ring was lost"
    wire.rings(fd)


def expect_in_order(group, vmm, fds):
    """Registers and rings in both directions work."""
    assert vmm.info() == (16, 3, 9, 5)
    assert vmm.register(IV_POSITION) == group.id
    for vector in range(group.vectors):
        vmm.ring(group.peer_id, vector)
        rung(group.at_peer[vector])
    for vector, fd in enumerate(fds):
        wire.ring(group.at_device[vector])
        rung(fd)


def descriptors(group):
    """The kinds of what is open, without what each process has for itself in another number of copies."""
    return len(group.device.fds())


# ---- killed from outside --------------------------------------------------------------------------------


def test_killed_many_times(guarded, arm):
    group = guarded()
    vmm = group.vmm()
    fds = arm(vmm)
    expect_in_order(group, vmm, fds)
    open_fds = descriptors(group)
    for count in range(20):
        killed = kill_worker(group)
        vmm.set_config(INTERRUPT_LINE, 1, count)
        assert vmm.config(INTERRUPT_LINE, 1) == count
        expect_in_order(group, vmm, fds)
        assert group.device.worker() != killed
        group.device.wait_fds(open_fds)
    assert group.device.stderr.count("was killed by signal 9") == 20


def test_killed_while_nothing_happens(guarded, arm):
    group = guarded()
    vmm = group.vmm()
    fds = arm(vmm)
    for _ in range(6):
        killed = kill_worker(group)
        wire.wait_until(lambda killed=killed: group.device.worker() != killed, "another one")
        # It serves once it waits for the VMM.
        wire.wait_until(lambda: len(os.listdir(f"/proc/{group.device.worker()}/task")) == 2, "its thread")
        time.sleep(0.05)
    expect_in_order(group, vmm, fds)


def test_the_next_server(guarded, arm):
    """The device has joined another group: the next process is in that one, and not in the first."""
    group = guarded()
    path = group.server.path
    group.server.process.kill()
    group.device.expect(".*joined again when a server listens there", "stderr")
    kill_worker(group)
    group.server.wait()
    server = wire.Server(path, "-l", str(group.size), vectors=VECTORS)
    try:
        peer = server.client()
        peer.follow(lambda: sorted(map(len, peer.peers.values())) == [VECTORS, VECTORS], "the device joins")
        # Killed before, it would join anew, with another id: nobody has its place yet.
        group.device.expect("ready: .*")
        (device_id,) = set(peer.peers) - {peer.id}
        for _ in range(3):
            kill_worker(group)
            vmm = group.vmm()
            fds = arm(vmm)
            assert vmm.register(IV_POSITION) == device_id
            ring_until_known(vmm, peer.id, 2, peer.peers[peer.id][2])
            wire.ring(peer.peers[device_id][1])
            rung(fds[1])
            group.device.forget_vmms()
    finally:
        server.kill()


def test_a_ring_while_nobody_serves(guarded, arm):
    """It waits in the eventfd."""
    group = guarded()
    vmm = group.vmm()
    fds = arm(vmm)
    for _ in range(10):
        worker = group.device.worker()
        os.kill(worker, signal.SIGSTOP)
        wire.ring(group.at_device[1])
        os.kill(worker, signal.SIGKILL)
        rung(fds[1])


def test_the_guardian_is_killed(guarded, arm):
    """And the worker, in turn: each leaves the other one behind, or makes it anew."""
    group = guarded()
    vmm = group.vmm()
    fds = arm(vmm)
    for count in range(6):
        guardian, worker = wire.wait_until(
            lambda: group.device.processes() if len(group.device.processes()) == 2 else None, "two processes"
        )
        os.kill(worker if count % 2 else guardian, signal.SIGKILL)
        vmm.set_config(INTERRUPT_LINE, 1, count)
        assert vmm.config(INTERRUPT_LINE, 1) == count
        expect_in_order(group, vmm, fds)
    group.device.kill()


def test_vmms_come_and_go(guarded, arm):
    """A visitor that was accepted, and the last VMM's end, survive as well."""
    group = guarded()
    for count in range(6):
        visitor = group.device.connect()
        if count % 2:
            kill_worker(group)
        visitor.attach()
        fds = arm(visitor)
        expect_in_order(group, visitor, fds)
        visitor.close()
        group.device.vmms.clear()
        kill_worker(group)
    group.device.assert_idle()


def test_without_a_server(device, room):
    """The memory is the same, even if the name leads elsewhere."""
    path = room.file("memory")
    with open(path, "wb") as file:
        file.truncate(64 * KIB)
    guarded = device("--file", path, "--guard")
    vmm = guarded.vmm()
    vmm.write(2, 100, b"kept")
    os.unlink(path)
    os.kill(guarded.worker(), signal.SIGKILL)
    assert vmm.read(2, 100, 4) == b"kept"


def test_the_server_goes(guarded, arm):
    """Before and after: peers and memory stay."""
    group = guarded()
    vmm = group.vmm()
    fds = arm(vmm)
    group.server.process.kill()
    group.device.expect(".*the VM goes on with the memory and the peers it has.*", "stderr")
    for _ in range(3):
        kill_worker(group)
        expect_in_order(group, vmm, fds)


def test_a_stream_of_migration_is_lost(guarded):
    group = guarded("--master", "on", device_first=True)
    vmm = group.vmm()
    vmm.set_state(3)
    vmm.mig_read(100)
    kill_worker(group)
    assert vmm.state() == 0
    vmm.reset()
    assert vmm.state() == 2
    vmm.set_state(1)
    kill_worker(group)
    assert vmm.state() == 1


# ---- killed before each system call -------------------------------------------------------------------


def readable_twin(pid, target):
    """A copy of a descriptor of another process, which may not have made it yet."""
    number = {"x86_64": 438, "aarch64": 438}[platform.machine()]
    pidfd = os.pidfd_open(pid)

    def twin():
        for fd, name in wire.process_fds(pid).items():
            if name == target:
                got = _libc.syscall(number, pidfd, int(fd), 0)
                if got >= 0:
                    return got
        return None

    try:
        return wire.wait_until(twin, target)
    finally:
        os.close(pidfd)


def access_thread(pid):
    """The thread that is not the first one."""
    (thread,) = wire.wait_until(
        lambda: [int(name) for name in os.listdir(f"/proc/{pid}/task") if int(name) != pid] or None, "its thread"
    )
    return thread


def run_and_kill(group, thread, count, act, is_over):
    """
    Hold this thread of the worker, act(), let the thread do `count` beginnings or ends of system calls, and kill the
    worker. Returns False if is_over() before.
    """
    worker = group.device.worker()
    step = stepper.Stepper(thread(worker), foreign=True)
    try:
        act()
        for _ in range(count):
            assert step.step()
            if is_over(step):
                return False
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(step.pid, stepper.WALL)
    return True


def request(group, vmm, command, payload=b"", fds=(), expect=lambda reply: None, stride=1):
    """Make this request again and again, and kill the worker ever later. Returns how often."""
    count = 0
    while True:
        number = []

        def over(step):
            return step.at("recvmmsg") and not vmm.unread_by_device() and vmm.waiting()

        going_on = run_and_kill(
            group, access_thread, count, lambda: number.append(vmm.send(command, payload, fds)), over
        )
        expect(vmm.reply_to(number[0], command))
        if not going_on:
            return count
        count += stride


@pytest.fixture
def steady(guarded, arm):
    """A guarded group, a VMM and its eventfds; afterwards everything works, and no descriptor is left over."""
    group = guarded()
    vmm = group.vmm()
    fds = arm(vmm)
    expect_in_order(group, vmm, fds)
    before = descriptors(group)
    yield group, vmm, fds
    expect_in_order(group, vmm, fds)
    assert vmm.waiting() == 0, "a reply came twice"
    group.device.wait_fds(before)


def accepted(reply):
    assert reply.flags == vfio_user.REPLY


def test_each_step_of_a_register(steady):
    group, vmm, _ = steady

    def position(reply):
        assert struct.unpack_from("=I", reply.payload, 16) == (group.id,)

    assert request(group, vmm, *vfio_user.region_read(0, IV_POSITION, 4), expect=position) > 4


def test_each_step_of_a_config_write(steady):
    group, vmm, _ = steady
    def written(reply):
        accepted(reply)
        assert vmm.config(INTERRUPT_LINE, 1) == 0x5A

    vmm.set_config(INTERRUPT_LINE, 1, 0)
    request(group, vmm, *vfio_user.region_write(CONFIG, INTERRUPT_LINE, b"\x5a"), expect=written)


def test_each_step_of_a_doorbell(steady):
    group, vmm, _ = steady

    def heard(reply):
        accepted(reply)
        rung(group.at_peer[2])

    request(
        group, vmm, *vfio_user.region_write(0, 12, struct.pack("=I", group.peer_id << 16 | 2)), expect=heard
    )


def test_each_step_of_new_eventfds(steady, eventfds):
    """Of each place, the eventfd that was set last is used, and no other one is open."""
    group, vmm, fds = steady
    new = eventfds(VECTORS)

    def taken(reply):
        accepted(reply)
        for vector, fd in enumerate(new):
            wire.ring(group.at_device[vector])
            rung(fd)
        vmm.assign(MSIX, 0, *fds)

    payload = vfio_user.set_irqs(vfio_user.EVENTFD | vfio_user.TRIGGER, MSIX, 0, VECTORS)
    request(group, vmm, *payload, fds=list(new), expect=taken)


def test_each_step_of_a_mapping(steady):
    group, vmm, _ = steady
    with open("/dev/null") as file:
        request(group, vmm, *vfio_user.dma_map(), fds=[file.fileno()], expect=accepted)


def test_each_step_of_eventfds_to_ring_with(steady):
    """Their copies are closed, however the reply went out."""
    group, vmm, _ = steady

    def complete(reply):
        assert reply.fds
        for fd in reply.fds:
            vmm.close_fd(fd)

    request(group, vmm, *vfio_user.get_io_fds(0), expect=complete, stride=3)


def test_each_step_of_a_reset(steady):
    group, vmm, _ = steady

    def done(reply):
        accepted(reply)
        assert vmm.config(INTERRUPT_LINE, 1) == 0
        vmm.set_config(INTERRUPT_LINE, 1, 7)

    vmm.set_config(INTERRUPT_LINE, 1, 7)
    request(group, vmm, vfio_user.RESET, expect=done)


# ---- the loop's thread ---------------------------------------------------------------------------------


def happen(group, act, expect, prepare=lambda: None, stride=1):
    """The same for what the loop's thread does."""
    count = 0
    going_on = True
    while going_on:
        prepare()
        worker = group.device.worker()
        epoll = readable_twin(worker, "anon_inode:[eventpoll]")

        def over(step):
            return step.at("poll") and not select.select([epoll], [], [], 0)[0]

        going_on = run_and_kill(group, lambda pid: pid, count, act, over)
        os.close(epoll)
        expect()
        count += stride
    return count


def test_each_step_of_an_interrupt(steady):
    group, _, fds = steady
    happen(group, lambda: wire.ring(group.at_device[1]), lambda: rung(fds[1]))


def test_each_step_of_joins_and_leaves(steady):
    """The device knows who is there, and has the eventfds of nobody else."""
    group, vmm, _ = steady
    here = []

    def join():
        here.append(group.server.client())

    def known():
        for client in here:
            ring_until_known(vmm, client.id, VECTORS - 1, client.peers[client.id][VECTORS - 1])

    def leave():
        client = here.pop(0)
        client.close()
        group.server.clients.remove(client)

    happen(group, join, known, stride=3)
    happen(group, leave, known, prepare=lambda: (join(), known()), stride=2)
    while here:
        leave()
    group.expect_alone()


# ---- at random -----------------------------------------------------------------------------------------


def test_registers_under_random_kills(guarded):
    """A guest of revision 0 with INTx: all that it reads is as a naive model says."""
    group = guarded("--revision", "0", "--msi", "off", "--size", "1", size=MIB)
    vmm = group.vmm()
    chance = random.Random(7)
    stop = threading.Event()
    kills = []

    def killer():
        while not stop.is_set():
            time.sleep(random.Random().uniform(0, 0.05))
            try:
                kills.append(kill_worker(group))
            except ProcessLookupError:
                pass

    thread = threading.Thread(target=killer)
    thread.start()
    model = {"mask": 0, "status": 0, "line": 0}
    actions = 0
    try:
        deadline = time.monotonic() + wire.sized(6, 120)
        while time.monotonic() < deadline:
            value = chance.randrange(1 << 32)
            what = chance.randrange(8)
            if what == 0:
                vmm.set_register(INTR_MASK, value)
                model["mask"] = value
            elif what == 1:
                assert vmm.register(INTR_MASK) == model["mask"]
            elif what == 2:
                vmm.set_register(INTR_STATUS, value)
                model["status"] = value
            elif what == 3:
                assert vmm.register(INTR_STATUS) == model["status"]
                model["status"] = 0
            elif what == 4:
                vmm.set_config(INTERRUPT_LINE, 1, value & 0xFF)
                model["line"] = value & 0xFF
            elif what == 5:
                assert vmm.config(INTERRUPT_LINE, 1) == model["line"]
            elif what == 6:
                vmm.ring(group.peer_id, value % VECTORS)
                rung(group.at_peer[value % VECTORS])
            else:
                vmm.write(2, value % MIB & ~0xFFF, bytes([value & 0xFF]) * 4096)
                assert vmm.read(2, value % MIB & ~0xFFF, 4096) == bytes([value & 0xFF]) * 4096
            actions += 1
    finally:
        stop.set()
        thread.join()
    assert len(kills) > 20 and actions > 100
