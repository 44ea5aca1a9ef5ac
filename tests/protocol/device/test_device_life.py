# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device over many lives of its VMM, and its own end."""

import errno
import os
import re
import signal
import socket
import stat
import struct
import threading
import time

import pytest

import ivshmem_wire as wire
import stepper
import vfio_user as vu
from ivshmem_fixtures import root_only
from vfio_user import BAR2, MSIX, message
from vfio_user_fixtures import SIZE, VECTORS, Client, Device, ring_until_known, vmm_process
from vfio_user_migration import check_power_on, configure

READ = vu.region_read(BAR2, 0, 4)


def stuff(vmm):
    """Requests, and no reply is read, until neither end takes any more: requests wait, unread."""
    data = message(*READ)
    vmm.sock.setblocking(False)
    idle = 0
    while idle < 20:
        try:
            vmm.sock.send(data)
            idle = 0
        except BlockingIOError:
            idle += 1
            time.sleep(0.005)
    assert vmm.unread_by_device() > 0


# ---- one VMM after the other ---------------------------------------------------------------------------


def test_a_new_life(group, arm):
    """Registers as after power-on, the same id, peers and memory, nothing of the VMM before."""
    vmm = group.vmm()
    fds = arm(vmm)
    configure(vmm, group)
    vmm.write(BAR2, 0, b"stays")
    vmm.close()
    vmm = group.vmm()
    check_power_on(vmm, group)
    assert vmm.read(BAR2, 0, 5) == b"stays"
    wire.ring(group.at_device[0])
    vmm.ring(group.id, 1)
    vmm.info()
    assert fds.rings() == [0] * VECTORS, "the eventfds of the one before"
    new = arm(vmm)
    wire.wait_rings(new[0])
    wire.wait_rings(new[1])
    group.expect_doorbells(vmm)


def test_a_vmm_that_watches_what_the_device_watches(group, arm):
    """The eventfd that peers ring is also that of the VMM, to which the device leaves it. The next one starts anew."""
    vmm = group.vmm()
    vmm.assign(MSIX, 0, *group.at_device)
    for fd in group.at_device:
        wire.ring(fd)
    group.device.expect_idle()
    assert all(wire.readable(fd, 0) for fd in group.at_device)
    group.device.forget_vmms()
    vmm = group.vmm()
    fds = arm(vmm)
    vmm.info()
    assert fds.rings() == [0] * VECTORS
    group.expect_interrupts(fds)


def test_at_once_and_often(group, arm):
    """The next connection is made the moment the last one is closed, and is never refused."""
    for _ in range(wire.sized(200, 5000)):
        vmm = group.device.connect()
        vmm.attach()
        arm(vmm)
        vmm.sock.close()
        vmm.close()
        group.device.vmms.clear()


@pytest.mark.parametrize("how", ["shutdown", "write side", "close"])
def test_ways_to_go(group, how):
    vmm = group.vmm()
    if how == "shutdown":
        vmm.sock.shutdown(socket.SHUT_RDWR)
    elif how == "write side":
        vmm.sock.shutdown(socket.SHUT_WR)
        vmm.assert_ended()
    vmm.close()
    group.device.assert_idle()
    assert group.vmm().register(vu.IV_POSITION) == group.id


def test_gone_with_requests_and_replies_on_the_way(group):
    for _ in range(20):
        vmm = group.vmm()
        for _ in range(50):
            vmm.send(*READ)
        vmm.close()
        group.device.vmms.clear()
    assert group.vmm().info()[0] == 16


def test_killed_while_it_rings(group):
    """What it wrote before it died is done; half a message is not."""
    vmm = group.vmm()
    write = vu.region_write(vu.BAR0, vu.DOORBELL, struct.pack("<I", group.peer_id << 16))
    for _ in range(10):
        vmm.send(*write, flags=vu.NO_REPLY)
    vmm.send_bytes(message(*write)[:-1])
    vmm.close()
    wire.wait_rings(group.at_peer[0], 10)


# ---- two at the same time ------------------------------------------------------------------------------


def test_second_vmm_that_pipelines(group, vmm, given_away):
    """Version and maps with descriptors in one go: all is taken, so that nothing resets the connection."""
    others = []
    fds = given_away()
    for _ in range(20):
        second = group.device.connect()
        others.append(second)
        second.send(vu.VERSION, vu.QEMU_VERSION)
        try:
            for _ in range(20):
                second.send(*vu.dma_map(), fds)
        except BrokenPipeError:
            pass
    for second in others:
        [reply] = second.drain_to_end()
        assert (reply.flags, reply.error) == (vu.REPLY | vu.ERROR, errno.EBUSY)
        second.close()


def test_many_who_say_nothing(group, vmm):
    """Bounded, whatever connects; the one that is served notices nothing."""
    before = len(group.device.fds())
    silent = [group.device.connect() for _ in range(100)]
    assert vmm.info()[0] == 16
    last = group.device.connect()
    assert last.refused(vu.VERSION, vu.QEMU_VERSION) == errno.EBUSY
    assert len(group.device.fds()) <= before + 16
    for each in silent:
        each.close()


def test_second_in_pieces_and_without_reply(group, vmm):
    for data in (b"\1", message(vu.VERSION, vu.QEMU_VERSION, flags=vu.NO_REPLY), os.urandom(1000)):
        second = group.device.connect()
        second.send_bytes(data)
        second.sock.shutdown(socket.SHUT_WR)
        replies = second.drain_to_end()
        assert len(data) == 1000 or not replies
        second.close()


# ---- VMMs that stall -----------------------------------------------------------------------------------


def assert_serves_its_server(group):
    """The device still follows the group: its own eventfds are taken, and a newcomer's are kept."""
    known = len(group.device.fds())
    group.ring_and_wait()
    other = group.server.client()
    wire.wait_until(lambda: len(group.device.fds()) >= known + VECTORS, "the device hears of newcomers")
    other.close()
    wire.wait_until(lambda: len(group.device.fds()) <= known, "and of those who leave")
    group.expect_alone()


FIRST = message(vu.VERSION, vu.QEMU_VERSION)


@pytest.mark.parametrize("data", [*(FIRST[:length] for length in (1, 15, 16, 20, 213)), message(*READ)[:20]], ids=len)
def test_half_a_message_and_silence(own_group, data):
    """It may stall as long as it likes; the group, the next VMM if it is none yet, and SIGTERM do not wait for it."""
    group = own_group()
    is_first = FIRST.startswith(data)
    vmm = group.device.connect() if is_first else group.vmm()
    vmm.send_bytes(data)
    assert_serves_its_server(group)
    if is_first:
        assert group.vmm().register(vu.IV_POSITION) == group.id
    group.device.finish()
    vmm.drain_to_end()


def test_silence_keeps_nobody_out(group):
    """Who connected first and says nothing, or not all of a message, is no VMM yet."""
    before = len(group.device.fds())
    silent = []
    for _ in range(10):
        silent.append(group.device.connect())
        silent.append(group.device.connect())
        silent[-1].send_bytes(FIRST[:-1])
    for _ in range(3):
        vmm = group.device.connect().attach()
        assert vmm.register(vu.IV_POSITION) == group.id
        vmm.close()
    for each in silent:
        each.close()
    group.device.wait_fds(before)


@pytest.fixture
def doomed(group):
    """The process of a VMM that has the device."""
    with vmm_process(group.device.path, "import signal; signal.pause()") as process:
        yield process


def test_killed_while_the_next_one_waits(group, doomed):
    """
    A VMM takes its time to die; the next one may be there before its socket is closed, and is let in before others who
    come later.
    """
    before = len(group.device.fds())
    vmm, later = group.device.connect(), group.device.connect()
    number = vmm.send(vu.VERSION, vu.QEMU_VERSION)
    group.device.wait_fds(before + 2)
    time.sleep(0.1)
    later.send(vu.VERSION, vu.QEMU_VERSION)
    time.sleep(0.1)
    assert not vmm.waiting(), "it is neither let in nor refused"
    doomed.kill()
    assert not vmm.reply_to(number, vu.VERSION).flags & vu.ERROR
    assert vmm.register(vu.IV_POSITION) == group.id
    assert not later.waiting()


def test_many_who_speak_while_another_is_there(group, vmm):
    """
    They wait for a while, not for ever, and hear an error that names the reason, and the end: QEMU would abort if the
    connection were reset. The one that is served notices nothing.
    """
    others = []
    for payload in [vu.QEMU_VERSION, vu.RUST_VERSION] * 15:
        others.append(group.device.connect())
        others[-1].send(vu.VERSION, payload, number=1)
    assert vmm.info()[0] == 16
    for other in others:
        assert other.reply_to(1, vu.VERSION).error == errno.EBUSY
        other.assert_ended()
        other.close()


def test_replies_that_nobody_reads(own_group):
    """The device waits in a send that nobody takes, with requests unread. It ends, and resets nothing."""
    group = own_group()
    vmm = group.vmm()
    stuff(vmm)
    assert_serves_its_server(group)
    group.device.finish()
    assert len(vmm.drain_to_end()) > 10, "what it had answered"


def test_end_with_requests_on_the_way(plain):
    """Unread requests at the end must not reset the connection, however many still come."""
    for _ in range(wire.sized(10, 200)):
        device = plain()
        vmm = device.vmm()
        stop = threading.Event()

        def ask(vmm=vmm, stop=stop):
            data = message(*READ) * 50
            try:
                while not stop.is_set():
                    vmm.sock.sendall(data)
            except (BrokenPipeError, TimeoutError):
                pass

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            for _ in range(20):
                assert vmm.receive()
            device.signal(signal.SIGTERM)
            vmm.drain_to_end()  # ConnectionResetError would fail the test
        finally:
            stop.set()
            thread.join()
        assert device.wait() == 0, device.describe()


def test_stalled_in_a_large_reply(plain):
    """1 MiB to a client that does not read, then SIGTERM."""
    device = plain(size=4 << 20)
    vmm = device.vmm()
    for _ in range(5):
        vmm.send(*vu.region_read(BAR2, 0, 1 << 20))
    wire.wait_until(lambda: vmm.waiting() > 30000, "it has begun to answer")
    device.finish()
    vmm.sock.settimeout(wire.TIMEOUT)
    while vmm.sock.recv(1 << 20):
        pass


# ---- the end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(own_group, number):
    group = own_group()
    vmm, second = group.vmm(), group.device.connect()
    group.device.finish(number)
    vmm.assert_ended()
    with pytest.raises(BrokenPipeError):
        vmm.send(*vu.get_info())
    second.drain_to_end()
    # The server is told by the end of the connection, so that the others hear of it.
    group.peer.follow(lambda: group.id not in group.peer.peers, "the others hear that it left")
    assert group.device.stderr == ""


def test_again_on_the_same_path(own_group, device):
    """Whoever held the memory goes on; the new process has a new id, and the memory is still there."""
    group = own_group()
    vmm = group.vmm()
    vmm.write(BAR2, 100, b"still")
    group.device.kill()
    group.peer.follow(lambda: group.id not in group.peer.peers, "it left")
    assert os.path.exists(group.device.path), "SIGKILL leaves the socket behind"
    group.device = device("--server", group.server.path, "--vectors", str(VECTORS), path=group.device.path)
    vmm = group.vmm()
    assert vmm.register(vu.IV_POSITION) == 2
    assert vmm.read(BAR2, 100, 5) == b"still"
    group.peer.follow_until_knows([0, 2])
    group.id = 2


def test_089_092_end_with_peers_and_rings_pending(own_group, arm):
    """Peers that are there, peers that left, rings nobody has taken: nothing of it disturbs the end."""
    group = own_group()
    vmm = group.vmm()
    others = [group.server.client() for _ in range(5)]
    ring_until_known(vmm, others[-1].id, 3, others[-1].peers[others[-1].id][3])
    for other in others[:3]:
        other.close()
    arm(vmm, 2)
    for fd in group.at_device:
        wire.ring(fd)
    vmm.ring(group.id, 3)
    group.device.finish()
    for other in others[3:]:
        other.follow(lambda other=other: group.id not in other.peers, "the others hear that it left")
        other.close()


def test_everything_at_once(own_group, eventfds):
    """Accesses, rings from all sides, peers that come and go, eventfds that change: two threads share it all."""
    group = own_group()
    stop = threading.Event()
    fds = eventfds(2 * VECTORS)
    failures = []

    def guarded(action):
        def run():
            try:
                while not stop.is_set():
                    action()
            except BaseException as failure:  # told by the main thread
                failures.append(failure)
                stop.set()

        return threading.Thread(target=run)

    def churn():
        other = group.server.client()
        for fd in other.peers.get(group.id, []):
            wire.ring(fd)
        other.close()

    def ring():
        for fd in group.at_device:
            wire.ring(fd)
        time.sleep(0)

    threads = [guarded(churn), guarded(ring)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + wire.sized(1, 60)
    lives = 0
    while time.monotonic() < deadline and not stop.is_set():
        vmm = group.device.connect().attach()
        for at in range(50):
            vmm.assign(MSIX, 0, *fds[at % 4 : at % 4 + VECTORS])
            for peer in range(lives % 7 + 2):
                vmm.ring(peer, at % VECTORS)
            vmm.io_fds(0)
            vmm.write(BAR2, at, b"x")
            if at % 10 == 9:
                vmm.reset()
                vmm.disable(MSIX)
        vmm.close()
        group.device.vmms.clear()
        lives += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert lives > 0
    group.peer.drain()
    group.expect_alone()
    group.device.assert_idle()


@pytest.mark.skipif(not stepper.KNOWN, reason="the numbers of system calls are not known for this processor")
@pytest.mark.limit(300)
def test_107_sigterm_at_any_time_of_the_start(room, processes):
    """Between any two system calls: it ends in order, and nothing is left."""
    with open(room.file("memory"), "wb") as file:
        file.truncate(SIZE)
    path = room.file("device")
    arguments = [wire.program("ivshmem-device"), "--socket", path, "--file", room.file("memory")]

    def start():
        process = wire.Process(arguments, setup=stepper.trace_me)
        processes.append(process)
        return process, stepper.Stepper(process.pid)

    process, steps = start()
    total = steps.run_to("listen")
    steps.release(signal.SIGTERM)
    assert process.wait() == 0
    # The loader and the libraries come first; what is ours is near the end.
    for count in range(max(0, total - wire.sized(40, 400)), total + 4, 3):
        process, steps = start()
        for _ in range(count):
            assert steps.step()
        held = signal.SIGTERM not in wire.blocked_signals(process.pid)
        steps.release(signal.SIGTERM)
        status = process.wait()
        assert status == (-signal.SIGTERM if held else 0), process.describe()
        assert not os.path.lexists(path)


# ---- the socket ----------------------------------------------------------------------------------------


@pytest.fixture
def refused_socket(room, processes):
    """refused_socket(path): a device that cannot listen there, and says so."""

    def refused_socket(path):
        process = Device(path, "--file", room.file("memory"), ready=False)
        processes.append(process)
        assert process.wait() == 1
        assert path in process.stderr

    return refused_socket


def test_106_a_socket_in_use(plain, refused_socket):
    """Of a device that lives: refused, and that one is not disturbed."""
    device = plain()
    refused_socket(device.path)
    assert device.vmm().info()[0] == 16


def test_106_a_stale_socket_is_replaced(plain, room):
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(room.file("device"))
    stale.close()
    assert plain().vmm().info()[0] == 16


def test_106_a_file_is_no_socket(room, refused_socket):
    path = room.file("precious")
    for name in (path, room.file("memory")):
        with open(name, "w") as file:
            file.write("x" * 4096)
    refused_socket(path)
    with open(path) as file:
        assert file.read(1) == "x"


@pytest.mark.parametrize("arguments, mode", [((), 0o660), (("--socket-mode", "0600"), 0o600)])
def test_socket_mode(plain, arguments, mode):
    assert stat.S_IMODE(os.stat(plain(*arguments).path).st_mode) == mode


@root_only
def test_socket_owner_and_group(plain):
    status = os.stat(plain("--socket-owner", "65534", "--socket-group", "65533").path)
    assert (status.st_uid, status.st_gid) == (65534, 65533)


def test_listens_before_it_says_ready(plain):
    """QEMU connects once and does not try again."""
    for _ in range(10):
        device = plain()
        assert Client(device.path).attach().config(0) == 0x11101AF4
        device.finish()


def test_spinning(own_group, arm):
    """Looks for the next request before it sleeps; all is as without, only quicker."""
    group = own_group("--spin", "200")
    vmm = group.vmm()
    fds = arm(vmm)
    for _ in range(50):
        group.expect_doorbells(vmm)
        group.expect_interrupts(fds)
    assert_serves_its_server(group)
    vmm.close()
    group.device.assert_idle()


def test_spinning_is_bounded(plain):
    """With nothing to do, it sleeps after a while, whoever is connected."""
    device = plain("--spin", "1000")
    device.vmm().info()
    device.connect()
    time.sleep(0.05)
    device.expect_idle()


def test_verbose_tells_what_happens(own_group):
    group = own_group("--verbose")
    group.device.expect(r".*\bconnected.*")
    group.device.expect(r".*\bdisconnected.*")
    group.vmm()
    group.device.expect(rf".*\bconnected \(process {os.getpid()}\b.*")
    other = group.server.client()
    group.device.expect(rf".*\bpeer {other.id} joined.*")
    other.close()
    group.device.expect(rf".*\bpeer {other.id} left.*")
    assert group.device.stderr == ""


def test_tells_which_vmm_had_it(own_group):
    """Without --verbose: that, and nothing of the peers."""
    group = own_group()
    with open("/proc/self/comm", encoding="ascii") as file:
        program = file.read().strip()
    who = f"(process {os.getpid()}, user {os.geteuid()}, program {program})"
    group.device.forget_vmms()
    group.device.expect(r".*disconnected.*")
    before = len(group.device.lines())
    group.vmm().close()
    group.device.expect(re.escape(f"ivshmem-device: the VMM disconnected {who}"))
    group.server.client().close()
    group.device.finish()
    assert group.device.stderr == ""
    assert group.device.lines()[before:] == [
        f"ivshmem-device: a VMM connected {who}",
        f"ivshmem-device: the VMM disconnected {who}",
    ]


def test_a_flood_of_vmms_is_few_lines(own_group):
    group = own_group()
    for _ in range(40):
        group.vmm().close()
        group.device.assert_idle()
    group.device.finish()
    assert sum(" connected" in line or " disconnected" in line for line in group.device.lines()) <= 20
    assert "no more of this is told" in group.device.stdout
