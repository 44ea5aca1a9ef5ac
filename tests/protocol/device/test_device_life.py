# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-device over many lives of its VMM, and its own end."""

import errno
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

import pytest

import ivshmem_wire as wire
import stepper
import vfio_user as vu
from ivshmem_fixtures import root_only
from vfio_user import BAR2, CONFIG, GET_INFO, INTX, MSIX, message
from vfio_user_fixtures import SIZE, VECTORS, Client, ring_until_known

INFO = struct.pack("=IIII", 16, 0, 0, 0)
READ = struct.pack("=QII", 0, BAR2, 4)


def stuff(vmm, command=vu.REGION_READ, payload=READ):
    """Requests, and no reply is read, until neither end takes any more: requests wait, unread."""
    data = message(command, payload)
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


def test_a_new_life(group, eventfds):
    """Registers as after power-on, the same id, peers and memory, nothing of the VMM before."""
    vmm = group.vmm()
    fds = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *fds)
    vmm.set_register(vu.INTR_MASK, 7)
    vmm.set_register(vu.INTR_STATUS, 7)
    vmm.set_config(4, 2, 0x406)
    vmm.set_config(0x10, 4, 0xFEB00000)
    vmm.write_number(vu.BAR1, 0, 8, 0xFEE00000)
    vmm.write(BAR2, 0, b"stays")
    vmm.close()
    vmm = group.vmm()
    assert vmm.register(vu.INTR_MASK) == 0
    assert vmm.register(vu.INTR_STATUS) == 0
    assert vmm.register(vu.IV_POSITION) == group.id
    assert vmm.config(4) == 0x00100000
    assert vmm.config(0x10) == 0
    assert vmm.read_number(vu.BAR1, 0, 8) == 0
    assert vmm.read(BAR2, 0, 5) == b"stays"
    wire.ring(group.at_device[0])
    vmm.ring(group.id, 1)
    vmm.info()
    assert [wire.rings(fd) for fd in fds] == [0] * VECTORS, "the eventfds of the one before"
    new = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *new)
    wire.wait_rings(new[0])
    wire.wait_rings(new[1])
    vmm.ring(group.peer_id, 3)
    assert wire.rings(group.at_peer[3]) == 1


def test_at_once_and_often(group, eventfds):
    """The next connection is made the moment the last one is closed, and is never refused."""
    fds = eventfds(VECTORS)
    for _ in range(wire.sized(200, 5000)):
        vmm = group.device.connect()
        vmm.attach()
        vmm.assign(MSIX, 0, *fds)
        vmm.sock.close()
        vmm.close()
        group.device.vmms.clear()


def test_eventfds_are_closed(group, intx_group):
    """Of MSI-X, of INTx and of its resampling, all of them."""
    canaries = []
    for each, index, flags in (
        (group, MSIX, vu.EVENTFD | vu.TRIGGER),
        (intx_group, INTX, vu.EVENTFD | vu.TRIGGER),
        (intx_group, INTX, vu.EVENTFD | vu.UNMASK),
    ):
        vmm = each.device.vmms[0] if each.device.vmms else each.vmm()
        fd = wire.eventfd()
        before = len(each.device.fds())
        vmm.set_irqs(flags, index, 0, 1, fds=[fd])
        assert len(each.device.fds()) == before + 1
        canaries.append(fd)
    for each in (group, intx_group):
        each.device.forget_vmms()
        each.device.assert_idle()
    for fd in canaries:
        os.close(fd)


@pytest.mark.parametrize("how", ["shutdown", "write side", "close"])
def test_ways_to_go(group, how):
    vmm = group.vmm()
    if how == "shutdown":
        vmm.sock.shutdown(socket.SHUT_RDWR)
    elif how == "write side":
        vmm.shut()
    vmm.close()
    group.device.assert_idle()
    assert group.vmm().register(vu.IV_POSITION) == group.id


def test_gone_with_requests_and_replies_on_the_way(group):
    for _ in range(20):
        vmm = group.vmm()
        for _ in range(50):
            vmm.send(vu.REGION_READ, READ)
        vmm.close()
        group.device.vmms.clear()
    assert group.vmm().info()[0] == 16


def test_killed_while_it_rings(group):
    """What it wrote before it died is done; half a message is not."""
    vmm = group.vmm()
    write = struct.pack("=QIII", vu.DOORBELL, vu.BAR0, 4, group.peer_id << 16)
    for _ in range(10):
        vmm.send(vu.REGION_WRITE, write, flags=vu.NO_REPLY)
    vmm.send_bytes(message(vu.REGION_WRITE, write)[:-1])
    vmm.close()
    wire.wait_rings(group.at_peer[0], 10)


# ---- two at the same time ------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [vu.QEMU_VERSION, vu.RUST_VERSION], ids=["qemu", "rust"])
def test_second_vmm_is_told_that_it_is_one_too_many(group, payload):
    """After a while, an error that names the reason, and the end; QEMU would abort if it were reset."""
    first = group.vmm()
    second = group.device.connect()
    assert second.refused(vu.VERSION, payload) == errno.EBUSY
    second.assert_ended()
    assert first.register(vu.IV_POSITION) == group.id
    first.close()
    second.close()
    group.device.assert_idle()
    assert group.vmm().info()[0] == 16


def test_second_vmm_that_pipelines(group):
    """Version and maps with descriptors in one go: all is taken, so that nothing resets the connection."""
    first = group.vmm()
    canary = wire.Canary()
    others = []
    for _ in range(20):
        second = group.device.connect()
        others.append(second)
        second.send(vu.VERSION, vu.QEMU_VERSION)
        try:
            for _ in range(20):
                second.send(vu.DMA_MAP, struct.pack("=IIQQQ", 32, 3, 0, 0, 4096), [canary.fd])
        except BrokenPipeError:
            pass
    for second in others:
        [reply] = second.drain_to_end()
        assert (reply.flags, reply.error) == (vu.REPLY | vu.ERROR, errno.EBUSY)
        second.close()
    canary.close_own()
    canary.assert_closed()
    assert first.info()[0] == 16


def test_many_who_say_nothing(group):
    """Bounded, whatever connects; the one that is served notices nothing."""
    first = group.vmm()
    before = len(group.device.fds())
    silent = [group.device.connect() for _ in range(100)]
    assert first.info()[0] == 16
    last = group.device.connect()
    assert last.refused(vu.VERSION, vu.QEMU_VERSION) == errno.EBUSY
    assert len(group.device.fds()) <= before + 16
    assert first.info()[0] == 16
    for vmm in silent:
        vmm.close()
    group.device.wait_fds(before)


def test_second_in_pieces_and_without_reply(group):
    first = group.vmm()
    for data in (b"\1", message(vu.VERSION, vu.QEMU_VERSION, flags=vu.NO_REPLY), os.urandom(1000)):
        second = group.device.connect()
        second.send_bytes(data)
        second.sock.shutdown(socket.SHUT_WR)
        second.drain_to_end()
        second.close()
    assert first.info()[0] == 16


# ---- VMMs that stall -----------------------------------------------------------------------------------


def assert_serves_its_server(group):
    """The device still follows the group: its own eventfds are taken, and a newcomer's are kept."""
    known = len(group.device.fds())
    wire.ring(group.at_device[0])
    wire.wait_until(lambda: not wire.readable(group.at_device[0], 0), "the device takes rings")
    other = group.server.client()
    wire.wait_until(lambda: len(group.device.fds()) >= known + VECTORS, "the device hears of newcomers")
    other.close()
    wire.wait_until(lambda: len(group.device.fds()) <= known, "and of those who leave")
    group.peer.follow(lambda: len(group.peer.peers) == 2, "the newcomer left")


@pytest.mark.parametrize("length", [1, 15, 16, 20, 213])
def test_half_a_message_and_silence(own_group, length):
    """It may stall as long as it likes; the group and SIGTERM do not wait for it."""
    group = own_group()
    vmm = group.device.connect()
    vmm.send_bytes(message(vu.VERSION, vu.QEMU_VERSION)[:length])
    assert_serves_its_server(group)
    assert group.vmm().register(vu.IV_POSITION) == group.id, "it keeps nobody out"
    group.device.finish()
    vmm.drain_to_end()


def test_half_a_request_and_silence(own_group):
    group = own_group()
    vmm = group.vmm()
    vmm.send_bytes(message(vu.REGION_READ, READ)[:20])
    vmm.wait_taken()
    assert_serves_its_server(group)
    group.device.finish()
    vmm.drain_to_end()


def test_silence_keeps_nobody_out(group):
    """Who connected first and says nothing, or not all of a message, is no VMM yet."""
    before = len(group.device.fds())
    silent = []
    for _ in range(10):
        silent.append(group.device.connect())
        silent.append(group.device.connect())
        silent[-1].send_bytes(message(vu.VERSION, vu.QEMU_VERSION)[:-1])
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
    program = (
        "import signal, sys; sys.path[:0] = sys.argv[2:]; from vfio_user import Client\n"
        "vmm = Client(sys.argv[1]).attach(); print(flush=True); signal.pause()"
    )
    arguments = [sys.executable, "-c", program, group.device.path, *sys.path]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"\n", "it is attached"
            yield process
        finally:
            process.kill()


def test_killed_and_back_at_once(group, doomed):
    doomed.kill()
    assert group.vmm().register(vu.IV_POSITION) == group.id


def test_killed_while_the_next_one_waits(group, doomed):
    """A VMM takes its time to die; the next one may be there before its socket is closed."""
    before = len(group.device.fds())
    vmm = group.device.connect()
    number = vmm.send(vu.VERSION, vu.QEMU_VERSION)
    group.device.wait_fds(before + 1)
    time.sleep(0.2)
    assert not vmm.waiting(), "it is neither let in nor refused"
    doomed.kill()
    assert not vmm.reply_to(number, vu.VERSION).flags & vu.ERROR
    assert vmm.register(vu.IV_POSITION) == group.id


def test_many_who_speak_while_another_is_there(group):
    """They wait for a while, not for ever, and are answered; the one that is served notices nothing."""
    first = group.vmm()
    others = []
    for _ in range(30):
        others.append(group.device.connect())
        others[-1].send(vu.VERSION, vu.QEMU_VERSION, number=1)
    assert first.info()[0] == 16
    for other in others:
        assert other.reply_to(1, vu.VERSION).error == errno.EBUSY
        other.assert_ended()
        other.close()
    assert first.info()[0] == 16


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
            data = message(vu.REGION_READ, READ) * 50
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
        vmm.send(vu.REGION_READ, struct.pack("=QII", 0, BAR2, 1 << 20))
    wire.wait_until(lambda: vmm.waiting() > 30000, "it has begun to answer")
    device.finish()
    vmm.sock.settimeout(wire.TIMEOUT)
    while vmm.sock.recv(1 << 20):
        pass


# ---- the end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(own_group, number):
    group = own_group()
    vmm = group.vmm()
    group.device.finish(number)
    vmm.assert_ended()
    # The server is told by the end of the connection, so that the others hear of it.
    group.peer.follow(lambda: group.id not in group.peer.peers, "the others hear that it left")
    assert group.device.stderr == ""


def test_the_vmm_sees_an_orderly_end(plain):
    device = plain()
    vmm = device.vmm()
    number = vmm.send(GET_INFO, INFO)
    assert vmm.reply_to(number, GET_INFO).payload
    device.finish()
    vmm.assert_ended()
    with pytest.raises(BrokenPipeError):
        vmm.send(GET_INFO, INFO)


def test_the_one_that_is_refused_sees_an_orderly_end_too(plain):
    device = plain()
    first = device.vmm()
    second = device.connect()
    device.finish()
    first.assert_ended()
    second.drain_to_end()


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


def test_089_092_end_with_peers_and_rings_pending(own_group, eventfds):
    """Peers that are there, peers that left, rings nobody has taken: nothing of it disturbs the end."""
    group = own_group()
    vmm = group.vmm()
    others = [group.server.client() for _ in range(5)]
    ring_until_known(vmm, others[-1].id, 3, others[-1].peers[others[-1].id][3])
    for other in others[:3]:
        other.close()
    fds = eventfds(2)
    vmm.assign(MSIX, 0, *fds)
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
    group.peer.follow(lambda: len(group.peer.peers) == 2, "all the others have left")
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


def test_106_a_socket_in_use(plain, room, processes):
    """Of a device that lives: refused, and that one is not disturbed."""
    device = plain()
    other = wire.Process(
        [wire.program("ivshmem-device"), "--socket", device.path, "--file", room.file("memory")]
    )
    processes.append(other)
    assert other.wait() == 1
    assert device.path in other.stderr
    assert device.vmm().info()[0] == 16


def test_106_a_stale_socket_is_replaced(plain, room):
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(room.file("device"))
    stale.close()
    assert plain().vmm().info()[0] == 16


def test_106_a_file_is_no_socket(room, processes):
    path = room.file("precious")
    for name in (path, room.file("memory")):
        with open(name, "w") as file:
            file.write("x" * 4096)
    process = wire.Process([wire.program("ivshmem-device"), "--socket", path, "--file", room.file("memory")])
    processes.append(process)
    assert process.wait() == 1
    assert path in process.stderr
    with open(path) as file:
        assert file.read(1) == "x"


def test_socket_mode(plain):
    device = plain("--socket-mode", "0600")
    assert stat.S_IMODE(os.stat(device.path).st_mode) == 0o600


def test_socket_mode_by_default(plain):
    assert stat.S_IMODE(os.stat(plain().path).st_mode) == 0o660


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


def test_spinning(own_group, eventfds):
    """Looks for the next request before it sleeps; all is as without, only quicker."""
    group = own_group("--spin", "200")
    vmm = group.vmm()
    fds = eventfds(VECTORS)
    vmm.assign(MSIX, 0, *fds)
    for at in range(200):
        vmm.ring(group.peer_id, at % VECTORS)
        assert wire.rings(group.at_peer[at % VECTORS]) == 1
        wire.ring(group.at_device[at % VECTORS])
        wire.wait_rings(fds[at % VECTORS])
    assert_serves_its_server(group)
    vmm.close()
    group.device.assert_idle()


def test_spinning_is_bounded(plain):
    """With nothing to do, it sleeps after a while."""
    device = plain("--spin", "1000")
    vmm = device.vmm()
    assert vmm.read(CONFIG, 0, 2) == b"\xf4\x1a"
    time.sleep(0.05)
    used = device.cpu_seconds()
    time.sleep(0.5)
    assert device.cpu_seconds() - used < 0.2


def test_idle_takes_no_processor_time(own_group):
    group = own_group()
    vmm = group.vmm()
    silent = group.device.connect()
    used = group.device.cpu_seconds()
    time.sleep(0.5)
    assert group.device.cpu_seconds() - used < 0.1
    silent.close()
    vmm.close()


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
