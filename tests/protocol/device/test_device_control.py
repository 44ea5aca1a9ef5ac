# SPDX-License-Identifier: BSD-2-Clause
"""The control socket of ivshmem-device: what it tells of accesses, doorbells, interrupts, its VMM and its server."""

import os
import signal
import stat

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from control_client import ask, ask_bytes, refusal
from openmetrics import parse as parse_metrics
from vfio_user import MSIX
from vfio_user_fixtures import SIZE, VECTORS


@pytest.fixture
def control(room):
    return room.file("control")


@pytest.fixture
def watched(own_group, control):
    return own_group("--control-socket", control)


def table(control, name, key):
    """An array of counters as a dictionary."""
    return {row.pop(key): row for row in ask(control, "counters")[name]}


def test_status(watched, control):
    status = ask(control, "status")
    assert status["program"] == "ivshmem-device" and status["pid"] == watched.device.pid
    assert status["socket"] == watched.device.path and status["revision"] == 1
    assert status["memory_bytes"] == SIZE and status["vectors"] == VECTORS
    assert status["server"] == {"socket": watched.server.path, "state": "joined", "id": 1, "peers": 2}
    assert status["vmm"] is None
    assert stat.S_IMODE(os.stat(control).st_mode) == 0o600


def test_its_vmm(watched, control):
    vmm = watched.device.connect()
    vmm.attach()
    told = ask(control, "status")["vmm"]
    assert told["pid"] == os.getpid() and told["uid"] == os.geteuid() and told["negotiated"]
    assert told["max_fds"] > 0 and told["max_transfer_bytes"] > 0 and told["since"] > ask(control, "status")["since"]
    watched.device.forget_vmms()
    wire.wait_until(lambda: ask(control, "status")["vmm"] is None, "it is gone")


def test_its_server_ends_and_another_comes(watched, control, processes):
    def state():
        return ask(control, "status")["server"]["state"]

    vmm = watched.vmm()
    watched.server.signal(signal.SIGKILL)
    watched.server.wait()
    wire.wait_until(lambda: state() == "gone: the VM goes on without it", "the server is missed")
    vmm.close()
    wire.wait_until(lambda: state().startswith("gone: looking"), "it looks for another one")
    processes.append(wire.Server(watched.server.path, "-l", str(SIZE), vectors=VECTORS))
    wire.wait_until(lambda: state() == "joined", "it has found it")
    assert ask(control, "status")["server"]["id"] == 0 and ask(control, "peers")["peers"][0]["self"]


def test_register_accesses(watched, control):
    vmm = watched.vmm()
    before = table(control, "registers", "register")
    for _ in range(3):
        vmm.register(vu.IV_POSITION)
    vmm.set_register(vu.INTR_MASK, 1)
    vmm.register(vu.INTR_MASK)
    vmm.read(0, 128, 4)
    config = table(control, "regions", "region")["config"]
    vmm.config(0)
    vmm.write(vu.BAR2, 0, b"x" * 100)
    after = table(control, "registers", "register")

    def more(register):
        return tuple(after[register][key] - before[register][key] for key in ("reads", "writes"))

    assert more("IVPosition") == (3, 0) and more("IntrMask") == (1, 1) and more("other") == (1, 0)
    regions = table(control, "regions", "region")
    assert regions["config"]["reads"] == config["reads"] + 1 and regions["BAR2"] == {"reads": 0, "writes": 1}


def test_doorbells_and_interrupts(watched, control, arm):
    vmm = watched.vmm()
    fds = arm(vmm)

    def out():
        return {(row["peer"], row["vector"]): row["rings"] for row in ask(control, "counters")["doorbells_out"]}

    before, sent = out(), ask(control, "counters")["interrupts"]["sent"]
    for _ in range(5):
        vmm.ring(watched.peer_id, 2)
    vmm.ring(watched.peer_id, 3)
    assert out()[0, 2] == before.get((0, 2), 0) + 5 and out()[0, 3] == before.get((0, 3), 0) + 1
    assert ask(control, "peers")["peers"][0]["doorbells"] == sum(before.values()) + 6
    rings = table(control, "doorbells_in", "vector")[1]["rings"]
    os.write(watched.at_device[1], (7).to_bytes(8, "little"))
    wire.wait_rings(fds[1])
    counted = table(control, "doorbells_in", "vector")[1]
    assert counted["rings"] == rings + 7 and counted["watched"]
    interrupts = ask(control, "counters")["interrupts"]
    assert interrupts["sent"] == sent + 1 and interrupts["pending"] == 0
    assert interrupts["vectors_with_eventfd"] == VECTORS


def test_what_the_vmm_cannot_take_is_pending(watched, control, arm):
    vmm = watched.vmm()
    arm(vmm)
    vmm.unassign(MSIX, 2)
    before = ask(control, "counters")["interrupts"]
    watched.ring_and_wait(2)
    wire.wait_until(lambda: ask(control, "counters")["interrupts"]["pending"] == 1, "the interrupt waits")
    after = ask(control, "counters")["interrupts"]
    assert after["deferred"] > before["deferred"] and after["sent"] == before["sent"]
    assert after["vectors_with_eventfd"] == VECTORS - 1


def test_what_it_does_not_see(watched, control):
    """A VMM that took the eventfds rings without the device, which says how many it gave away."""
    vmm = watched.vmm()
    assert ask(control, "counters")["ioeventfds_given"] == 0
    vmm.io_fds(0)
    assert ask(control, "counters")["ioeventfds_given"] == 2 * VECTORS


def test_metrics(watched, control, arm):
    vmm = watched.vmm()
    arm(vmm)
    families = parse_metrics(ask_bytes(control, b"metrics\n").decode())
    assert all(name.startswith("ivshmem_device_") for name in families)
    key = frozenset({"device": "device"}.items())
    assert families["ivshmem_device_vmm_connected"].samples["ivshmem_device_vmm_connected", key] == 1
    assert families["ivshmem_device_peers"].samples["ivshmem_device_peers", key] == 2
    reads = families["ivshmem_device_register_reads"].samples
    assert len(reads) == 5 and all(value >= 0 for value in reads.values())


def test_it_only_looks(watched, control):
    for request in ("drain", "disconnect 0", "reload"):
        assert "there are: status, peers, counters, metrics" in refusal(control, request, "EOPNOTSUPP")


def test_without_a_server(plain, control):
    device = plain("--control-socket", control)
    status = ask(control, "status")
    assert "server" not in status and status["backing"].startswith("file ") and status["vectors"] == 0
    assert ask(control, "peers") == {"peers": []} and ask(control, "counters")["interrupts"]["pending"] == 0
    parse_metrics(ask_bytes(control, b"metrics\n").decode())
    device.finish()
    assert not os.path.exists(control)


def test_while_a_guest_is_busy(watched, control):
    """Accesses without a pause do not keep operators from their answers, nor the reverse."""
    vmm = watched.vmm()
    before = table(control, "registers", "register")["IVPosition"]["reads"]
    for _ in range(200):
        vmm.register(vu.IV_POSITION)
        ask(control, "counters")
    assert table(control, "registers", "register")["IVPosition"]["reads"] == before + 200


def test_none_by_default_and_a_path_that_cannot_be(device, launch, room):
    device("--file", room.file("memory"), "--size", str(SIZE))
    assert sorted(os.listdir(room.path)) == ["device", "memory"]
    process = launch(
        "ivshmem-device", "--socket", room.file("other"), "--file", room.file("memory"), "--control-socket", room.file("no/such")
    )
    assert process.wait() == 1 and "no/such" in process.stderr and not os.path.exists(room.file("other"))
