# SPDX-License-Identifier: BSD-2-Clause
"""
`ivshmem doctor` and virtual machine monitors: real QEMUs with wrong options. What QEMU makes of each of them is part of the
test: it ends, or runs. Cloud Hypervisor is not there, and so its command lines are only read.
"""

import json
import os
import shlex
import sys

import pytest

import ivshmem_wire as wire
from ivshmem_channels import make_memory
from ivshmem_cli import feed
from ivshmem_doctor import doctor  # noqa: F401
from supervised import Supervised
from vfio_user_fixtures import Device

sys.path.insert(0, os.path.join(wire.ROOT, "scripts"))

import vm

QEMU = vm.QEMU
Q35 = ["-machine", "q35"]
PLAIN = ["-device", "ivshmem-plain,memdev=m"]
DOORBELL = ["-device", "ivshmem-doorbell,chardev=c"]
FILE = "memory-backend-file,id=m,mem-path={file}"
SOCKET = ["-chardev", "socket,id=c,path={socket}"]
VFIO_USER = '{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":"{device}"}}}}'


@pytest.fixture
def places(room):
    """What the words of command lines name."""
    file = f"/dev/shm/{room.shm_name()}"
    make_memory(file, 1 << 20)
    return {"socket": room.socket, "file": file, "device": room.file("device")}


@pytest.fixture
def qemu(processes, places, room):
    """qemu(words, ...): it runs, paused; room.file("qmp") is there once it has its devices."""

    def start(words, program=QEMU, **options):
        argv = [program, *(word.format(**places) for word in words), "-display", "none", "-nodefaults", "-S"]
        process = wire.Process([*argv, "-qmp", f"unix:{room.file('qmp')},server=on,wait=off"], **options)
        processes.append(process)
        return process

    return start


def reached(path):
    """A connection to a socket on which somebody listens already; None."""
    try:
        return wire.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


@pytest.fixture
def runs(qemu, room):
    """The same, ready: it answers its monitor only after it has made its devices."""

    def start(words, **options):
        process = qemu(words, **options)
        monitor = wire.wait_until(lambda: reached(room.file("qmp")) or not process.running(), "QEMU begins")
        assert process.running(), process.describe()
        with monitor:
            monitor.settimeout(wire.TIMEOUT)
            assert b"QMP" in monitor.recv(4096), process.describe()
        return process

    return start


@pytest.fixture
def diagnose(doctor, places, room):
    """diagnose(words): a report of a command line that does not run."""

    def diagnose(words, program=QEMU):
        path = room.file("script")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n# qemu\nexec " + shlex.join([program, *(word.format(**places) for word in words)]) + " &\n")
        return doctor("--command-line", path)

    return diagnose


# ---- the process ---------------------------------------------------------------------------------------


def test_a_qemu_in_order(doctor, runs, server, room):
    server("-l", "4M", vectors=2)
    process = runs([*Q35, *SOCKET, "-device", "ivshmem-doorbell,chardev=c,vectors=2"])
    report = doctor("--vmm", process.pid).only()
    report.has("qemu.looked-at", f"process {process.pid} (qemu-system-x86_64)", "vectors 2")
    report.has("socket.answers", "1 peer of 2 vectors")
    # Who asks for the socket is told of those who use it.
    assert doctor("-t", room.socket).only().ids() == report.ids()


def test_no_vmm(doctor, room, launch):
    doctor("--vmm", os.getpid()).only("vmm.unknown")
    make_memory(room.file("empty"), 0)
    doctor("--command-line", room.file("empty")).only("vmm.unknown")
    doctor("--command-line", room.file("none")).only("vmm.unreadable").has("vmm.unreadable", "No such")
    process = launch("ivshmem", "--version")
    process.wait()
    doctor("--vmm", process.pid).only("vmm.unreadable").has("vmm.unreadable", "No such process")
    with open(room.file("quote"), "w", encoding="utf-8") as file:
        file.write("qemu-system-x86_64 'unclosed")
    doctor("--command-line", room.file("quote")).only("vmm.unreadable").has("vmm.unreadable", "a quote is not closed")


def test_no_device(doctor, runs):
    process = runs(Q35)
    doctor("--vmm", process.pid).only("vmm.no-device").has("vmm.no-device", f"process {process.pid}")


def test_group_of_an_earlier_server(doctor, runs, server, room):
    first = server()
    process = runs([*Q35, *SOCKET, *DOORBELL])
    doctor("-t", room.socket).only()
    first.finish()
    server()
    report = doctor("-t", room.socket).only("vmm.other-group")
    report.has("vmm.other-group", f"process {process.pid}", room.socket)


def test_server_that_took_over_the_clients(doctor, runs, room, processes):
    """It is younger than the QEMU, which is its client nevertheless."""
    os.mkdir(room.file("run"))
    server = Supervised(room.socket, runtime=room.file("run"))
    processes.append(server)
    process = runs([*Q35, *SOCKET, *DOORBELL])
    server.expect("ivshmem-server: peer 0 joined .*")
    server.restart()
    report = doctor("--vmm", process.pid).only()
    (worker,) = wire.process_children(server.server)
    report.has("socket.answers", f"process {worker}", "1 peer")
    server.finish()


def test_few_descriptors(doctor, runs, server, room):
    server(vectors=8)
    process = runs([*Q35, *SOCKET, "-device", "ivshmem-doorbell,chardev=c,vectors=8"], limit_files=64)
    report = doctor("-t", room.socket).only("vmm.few-descriptors")
    report.has("vmm.few-descriptors", f"prlimit --pid {process.pid}", "of 8 vectors")


# ---- devices that QEMU refuses, or crashes of ----------------------------------------------------------

ENDS = {
    "old-device": ("qemu.old-device", [*SOCKET, "-device", "ivshmem,chardev=c,size=1M"]),
    "no-chardev": ("qemu.no-socket", ["-device", "ivshmem-doorbell"]),
    "other-chardev": ("qemu.no-socket", ["-device", "ivshmem-doorbell,chardev=d"]),
    "no-memdev": ("qemu.no-memory", ["-device", "ivshmem-plain"]),
    "other-memdev": ("qemu.no-memory", PLAIN),
    "size": ("qemu.size", ["-object", FILE + "2,size=3M,share=on", *PLAIN]),
    "size-json": ("qemu.size", ["-object", json.dumps({"qom-type": "memory-backend-file", "id": "m", "share": True,
                                                       "mem-path": "FILE2", "size": 3 << 20}), *PLAIN]),
    "file-size": ("qemu.file-size", ["-object", FILE + ",size=2M,share=on", *PLAIN]),
    "no-vectors": ("qemu.vectors-range", [*SOCKET, "-device", "ivshmem-doorbell,chardev=c,vectors=0"]),
    "many-vectors": ("qemu.vectors-range", [*SOCKET, "-device", "ivshmem-doorbell,chardev=c,vectors=2049"]),
    "migratable": ("qemu.not-migratable", ["-only-migratable", "-object", FILE + ",size=1M,share=on", *PLAIN]),
}


@pytest.mark.parametrize("case", ENDS)
def test_qemu_ends(diagnose, qemu, server, places, room, case):
    finding, words = ENDS[case]
    places["file2"] = places["file"] + "2"
    room.shm_name("memory2")
    words = [word.replace("{", "{{").replace("}", "}}").replace("FILE2", places["file2"]) if "qom-type" in word else word
             for word in words]
    server(vectors=1)
    report = diagnose([*Q35, *words])
    report.has(finding)
    assert report.ids("error") == {finding}, report.process.describe()
    process = qemu([*Q35, *words])
    assert process.wait() != 0, process.describe()


def test_vfio_user_not_as_json(diagnose, qemu, plain):
    plain()
    words = [*Q35, "-device", "vfio-user-pci,socket={device}"]
    diagnose(words).only("qemu.vfio-user-form").has("qemu.vfio-user-form", '{"driver":"vfio-user-pci"')
    process = qemu(words, program=vm.qemu_with_vfio_user())
    assert process.wait() != 0


def test_vfio_user_and_caching_mode(doctor, runs, plain):
    """That QEMU ends is tested in tests/vm/test_doctor.py: it does when the guest switches the IOMMU on."""
    plain()
    words = [*Q35, "-device", "intel-iommu,intremap=on", "-device", VFIO_USER]
    process = runs(words, program=vm.qemu_with_vfio_user())
    doctor("--vmm", process.pid).only("qemu.caching-mode").has("qemu.looked-at", "vfio-user-pci with /")


def test_vfio_user_without_a_device(diagnose, qemu, places):
    words = [*Q35, "-device", VFIO_USER]
    diagnose(words).only("socket.missing").has("socket.missing", "ivshmem-device --socket")
    wire.bound(places["device"], backlog=None).close()
    report = diagnose(words).only("socket.no-device")
    report.has("socket.no-device", f"ivshmem-device --socket {places['device']}")
    process = qemu(words, program=vm.qemu_with_vfio_user())
    assert process.wait() != 0


def test_device_with_a_relative_path(diagnose, processes, places, room):
    """The kernel knows its socket under that name. And nobody disturbs it: it serves one VMM at a time."""
    device = Device("device", "--file", places["file"], cwd=room.path)
    processes.append(device)
    with wire.connect(places["device"]):
        diagnose([*Q35, "-device", VFIO_USER]).only()
    assert device.running()


def test_virtual_iommu_under_kvm(diagnose, processes):
    """QEMU itself, where there is KVM to ask."""
    kvm = ["-accel", "kvm", "-device", "intel-iommu,intremap=on"]
    words = [*Q35, *kvm, "-object", FILE + ",size=1M,share=on", *PLAIN]
    diagnose(words).only("qemu.irqchip").has("qemu.irqchip", "kernel-irqchip=split")
    for name in ("-machine", "-M"):
        diagnose([name, "q35,kernel-irqchip=split", *words[2:]]).only()
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        process = wire.Process([QEMU, *Q35, *kvm, "-display", "none", "-nodefaults", "-S"])
        processes.append(process)
        assert process.wait() != 0 and "Interrupt Remapping cannot work" in process.stderr, process.describe()


# ---- those that it takes, or hangs of ------------------------------------------------------------------


def test_qemu_listens(doctor, qemu, server, places):
    """Both listen, and nobody speaks: QEMU never gets as far as its devices."""
    places["socket"] += "2"
    process = qemu([*Q35, "-chardev", "socket,id=c,path={socket},server=on,wait=off", *DOORBELL])
    wire.wait_until(lambda: os.path.exists(places["socket"]), "QEMU listens")
    report = doctor("--vmm", process.pid).only("qemu.server-side")
    report.has("qemu.server-side", f"path={places['socket']}")
    assert process.running()
    process.kill()


@pytest.mark.parametrize("option", ["reconnect=1", "reconnect-ms=500"])
def test_reconnect(diagnose, server, option):
    server()
    report = diagnose([*Q35, "-chardev", "socket,id=c,path={socket}," + option, *DOORBELL]).only("qemu.reconnect")
    report.has("qemu.reconnect", f"leave out {option}")


def test_qemu_that_reconnects_hangs(doctor, qemu, server):
    server()
    process = qemu([*Q35, "-chardev", "socket,id=c,path={socket},reconnect=1", *DOORBELL])
    wire.wait_until(lambda: wire.process_cpu_seconds(process.pid) > 1, "QEMU turns round and round")
    doctor("--vmm", process.pid).only("qemu.reconnect")
    process.kill()


RUNS = {
    "private": ("qemu.not-shared", ["-object", FILE + ",size=1M", *PLAIN]),
    "share=off": ("qemu.not-shared", ["-object", "memory-backend-memfd,id=m,size=1M,share=off", *PLAIN]),
    "ram": ("qemu.unreachable-memory", ["-object", "memory-backend-ram,id=m,size=1M,share=on", *PLAIN]),
    "memfd": ("qemu.unreachable-memory", ["-object", "memory-backend-memfd,id=m,size=1M", *PLAIN]),
    "vectors": ("qemu.vectors", [*SOCKET, "-device", "ivshmem-doorbell,chardev=c,vectors=2"]),
    "vectors-default": ("qemu.vectors", [*SOCKET, *DOORBELL]),
    "ioeventfd": ("qemu.ioeventfd-off", [*SOCKET, "-device", "ivshmem-doorbell,chardev=c,vectors=3,ioeventfd=off"]),
    "master": ("qemu.master", [*SOCKET, "-device", "ivshmem-doorbell,chardev=c,vectors=3,master=on"]),
    "port": ("qemu.unplug", ["-device", "pcie-root-port,id=p,chassis=1", *SOCKET,
                             "-device", '{{"driver":"ivshmem-doorbell","chardev":"c","vectors":3,"bus":"p"}}']),
    "no-remapping": ("qemu.no-remapping", ["-device", "intel-iommu,intremap=off", "-object", FILE + ",size=1M,share=on", *PLAIN]),
}


@pytest.mark.parametrize("case", RUNS)
def test_qemu_runs(doctor, runs, server, case):
    finding, words = RUNS[case]
    server(vectors=3)
    process = runs([*Q35, *words])
    report = doctor("--vmm", process.pid)
    report.has(finding, f"process {process.pid}")
    assert report.ids("note", "warning", "error") - {"qemu.unreachable-memory"} == {finding} - {"qemu.unreachable-memory"}


@pytest.mark.parametrize("size, cpu, fits", [
    ("64G", "qemu64,phys-bits=36", False),
    ("32G", "qemu64,phys-bits=36", True),
    ("1T", "qemu64", False),
    ("1M", "qemu32", True),
])
def test_address_bits(diagnose, server, size, cpu, fits):
    """That a guest finds no place is tested in tests/vm/test_doctor.py."""
    server("-l", size)
    report = diagnose([*Q35, "-cpu", cpu, "-m", "4G", *SOCKET, *DOORBELL])
    report.only(*([] if fits else ["qemu.address-bits"]))
    if not fits:
        report.has("qemu.address-bits", "phys-bits=46")


def test_wide_addresses_and_kvm(diagnose, server):
    """No machine here has such a processor."""
    server()
    words = ["-machine", "q35,accel=kvm,kernel-irqchip=split", "-device", "intel-iommu,intremap=on",
             "-cpu", "EPYC,phys-bits=52", *SOCKET, *DOORBELL]
    report = diagnose(words).only()
    report.has("qemu.wide-addresses", "52 bits", "host-phys-bits-limit=46")
    report.has("qemu.iommu-silent", "under KVM")


def test_what_a_vmm_uses_is_looked_at(diagnose, places):
    report = diagnose([*Q35, *SOCKET, *DOORBELL])
    report.only("socket.missing").has("socket.missing", places["socket"])
    os.truncate(places["file"], 0)
    report = diagnose([*Q35, "-object", FILE + ",size=1M,share=on", *PLAIN])
    report.only("memory.empty").has("memory.empty", places["file"])


def test_file_that_is_gone(doctor, runs, places):
    """Nobody else can join the QEMU that has it."""
    process = runs([*Q35, "-object", FILE + ",size=1M,share=on", *PLAIN])
    os.unlink(places["file"])
    doctor("--vmm", process.pid).only("memory.missing").has("memory.missing", places["file"])


def test_commas_and_stdin(doctor, room):
    """A comma in a value is two commas; a log of libvirt has lines that go on."""
    path = room.file("a,b")
    text = f"2026-11-29: starting up\nLC_ALL=C \\\n/usr/bin/qemu-system-x86_64 \\\n-chardev \\\n" \
        f"socket,id=c,path={path.replace(',', ',,')} \\\n-device 'ivshmem-doorbell,chardev=c' \\\n-S\nchar device redirected\n"
    fd = feed(text.encode())
    report = doctor("--command-line", "-", stdin=fd)
    os.close(fd)
    report.only("socket.missing").has("socket.missing", path)


# ---- Cloud Hypervisor ----------------------------------------------------------------------------------


CLOUD_HYPERVISOR = {
    "in-order": ([], "--memory size=1G,shared=on --user-device socket={device}"),
    "huge-pages": ([], "--memory size=1G,hugepages=on --user-device socket={device}"),
    "private": (["cloud-hypervisor.not-shared"], "--memory size=1G --user-device socket={device}"),
    "no-memory": (["cloud-hypervisor.not-shared"], "--user-device socket={device}"),
    "zones": ([], "--memory size=0 --memory-zone id=a,size=1G,shared=on id=b,size=1G,hugepages=on --user-device socket={device}"),
    "private-zone": (["cloud-hypervisor.not-shared"],
                     "--memory size=0 --memory-zone id=a,size=1G,shared=on id=b,size=1G --user-device socket={device}"),
    "iommu": (["cloud-hypervisor.iommu"], "--memory size=1G,shared=on --user-device id=a,socket={device},iommu=on"),
    "second": (["cloud-hypervisor.iommu"],
               "--memory shared=on,size=1G --user-device socket={device} socket={device},iommu=on --cpus boot=1"),
    "size": (["cloud-hypervisor.size"], "--memory size=1G --ivshmem path={file},size=3M"),
}


@pytest.mark.parametrize("case", CLOUD_HYPERVISOR)
def test_cloud_hypervisor(diagnose, plain, case):
    findings, words = CLOUD_HYPERVISOR[case]
    plain()
    report = diagnose(words.split(), program="/usr/bin/cloud-hypervisor").only(*findings)
    report.has("cloud-hypervisor.plain" if case == "size" else "cloud-hypervisor.looked-at")
