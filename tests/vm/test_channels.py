# SPDX-License-Identifier: BSD-2-Clause
"""
Channels between the host and guests, and between guests, with each way to use a device: `ivshmem send` and `recv`.

The guests are shared, and each test leaves them as they were.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess

import pytest

import ivshmem_wire as wire
import vm
from in_guest import BOOT_LIMIT, ROOT_PORT
from ivshmem_cli import FAILURE, OK, TIMEOUT, feed
from test_driver import driver  # noqa: F401
from vfio_user_fixtures import Device

pytestmark = pytest.mark.limit(300)


def under_kvm(*arguments):
    return pytest.param(*arguments, marks=pytest.mark.under_kvm)


VECTORS = 2
SIZE = 300_000  # more than a ring has room for
AREAS = 16  # in 4 MiB, by default

# A line is a command. tool TARGET... is the command line as root with vfio and sysfs, and as an ordinary user with our driver.
COMMANDS = """
head -c %d /dev/urandom >/tmp/data; chmod 666 /tmp/data
echo ready
while read -r line && [ "$line" != end ]; do eval "$line"; done
""" % SIZE
AS_USER = "load-driver || exit 9\ntool() { su user -c \"exec ivshmem --verbose $*\"; }\n" + COMMANDS
AS_ROOT = "bind-vfio\ntool() { ivshmem --verbose \"$@\"; }\n" + COMMANDS

NEVER_RESCUED = "ivshmem: debug: something was there, and nobody had woken us: 0 times"


def died(name, who):
    return f"ivshmem: the other end of '{name}' died or gave up: {who}"


class Host:
    """The tool on the host, attached to the server, unless there is another target."""

    def __init__(self, server, cli):
        self.server = server
        self.cli = cli

    def start(self, *arguments, target=None, **options):
        return self.cli("--verbose", *arguments, *(["--target", target] if target else []), **options)

    def run(self, *arguments, status=OK, **options):
        process = self.start(*arguments, **options)
        assert process.wait() == status, process.describe()
        return process

    def receive(self, name, *arguments, **options):
        process = self.start("recv", name, *arguments, **options)
        process.expect(f"ivshmem: listening under '{name}'", "stderr")
        return process

    def send(self, name, data=None, **options):
        """Without data: zeros, without end."""
        fd = feed(data) if data else os.open("/dev/zero", os.O_RDONLY)
        process = self.start("send", name, stdin=fd, **options)
        os.close(fd)
        return process

    def participants(self):
        """Who takes part, as everybody sees it who only looks."""
        return json.loads(self.run("channels", "--json").stdout)["participants"]

    def participant(self, name):
        (found,) = [x for x in self.participants() if x["name"] == name]
        return found

    def wait_until_under_way(self, name):
        """Until a channel has carried more than its ring has room for."""
        def received():
            channels = [channel for x in self.participants() for channel in x["channels"]]
            return max((channel["received"] for channel in channels if channel["name"] == name), default=0)

        wire.wait_until(lambda: received() > 1 << 20, f"many bytes through {name}")

    def claim(self, area):
        """Whether an area is owned, left, or that of a dead one."""
        return self.run("read", str(128 + 8 * area), "1").output["stdout"][0]


class Guest:
    """One that carries out what it is told, with the tool attached in one of its ways."""

    def __init__(self, machine, *arguments):
        self.machine = machine
        self.arguments = " ".join(arguments)

    def using(self, *arguments):
        """The same guest, attached in another way."""
        return Guest(self.machine, *arguments)

    def do(self, line):
        self.machine.send(line + "\n")

    def start(self, arguments, name, streams="</dev/null"):
        """
        Start the tool; what it says goes to files, and `name` tells it apart from others. It is no child of the shell
        that we type to: a child that ends there interrupts `read`, which then forgets what it has of a line.
        """
        self.do(f"rm -f /tmp/*-{name}; ({{ tool {self.arguments} {arguments} >/tmp/out-{name} 2>/tmp/err-{name} {streams}; "
                f"echo $? >/tmp/status-{name}; }} &)")

    def receive(self, name, streams="</dev/null"):
        """A receiver that listens."""
        self.start(f"recv {name}", "receiver", streams)
        self.do(f"until grep -q 'listening under' /tmp/err-receiver; do sleep 0.1; done; echo {name} listens")
        self.machine.expect(f"^{name} listens$")

    def send(self, name, source="</tmp/data"):
        self.start(f"send {name}", "sender", source)

    def ends(self, name, status=OK):
        """Wait for its end; returns what it said."""
        got, *said = self.ask(f"until [ -s /tmp/status-{name} ]; do sleep 0.1; done; cat /tmp/status-{name} /tmp/err-{name}")
        assert int(got) == status, said
        return said

    def runs(self, name):
        return self.ask(f"[ -e /tmp/status-{name} ] || echo runs") == ["runs"]

    def kill(self, pid):
        self.ask(f"kill -9 {pid}")

    def ask(self, line):
        self.do(f"{line}; echo end of output")
        lines = []
        while (text := self.machine.expect("^.*$").group()) != "end of output":
            lines.append(text)
        return lines

    def hash_of(self, path):
        return self.ask(f"sha256sum {path}")[0].split()[0]


def hash_of(data):
    return hashlib.sha256(data).hexdigest()


OWNED, LEFT, DEAD = 1, 2, 3  # docs/channels.md, "The header"
ENDLESS = "</dev/zero"


def exchange(host, guest, interrupts=True, target=None):
    """As many bytes as do not fit into a ring arrive in each direction, and nobody slept through what it waited for."""
    receiver = host.receive("up", target=target)
    guest.send("up")
    said = [guest.ends("sender")]
    assert receiver.wait() == OK, receiver.describe()
    assert hash_of(receiver.output["stdout"]) == guest.hash_of("/tmp/data")

    data = secrets.token_bytes(SIZE)
    guest.receive("down")
    sender = host.send("down", data, target=target)
    said.append(guest.ends("receiver"))
    assert sender.wait() == OK, sender.describe()
    assert guest.hash_of("/tmp/out-receiver") == hash_of(data)
    if interrupts:
        said += [process.lines("stderr") for process in (receiver, sender)]
        assert all(NEVER_RESCUED in lines for lines in said), said


# ---- guests of one server


class Everybody:
    """The host and three guests: with our driver, with vfio, and with our driver for our device."""

    def __init__(self, image, accel, driver, ends):
        self.ends = ends
        self.room = wire.Room()
        ends.callback(self.room.close)
        self.server = self.add(wire.Server(self.room.socket, "-l", "4M", vectors=VECTORS))
        self.host = Host(self.server, lambda *arguments, **options: self.add(wire.Cli(self.room.socket, *arguments, **options)))
        self.image, self.accel, self.driver = image, accel, driver
        self.plain = self.room.shm_name()
        memory = ["-object", f"memory-backend-file,id=memory,size=4M,share=on,mem-path=/dev/shm/{self.plain}",
                  "-device", "ivshmem-plain,memdev=memory,addr=0x1e"]
        qemus = vm.ivshmem_doorbell(self.server.path, VECTORS)
        self.machines = []
        by_driver = self.boot("driver", AS_USER, devices=qemus + memory, iommu=None, files=driver)
        by_vfio = self.boot("vfio", AS_ROOT, devices=qemus, kernel_options="iomem=relaxed")
        for machine in self.machines:
            machine.expect("^ready$", BOOT_LIMIT)
        # Of the two devices of this guest, the nodes tell.
        nodes = Guest(by_driver).ask("for node in /sys/class/ivshmem/*; do cat $node/vectors; done")
        self.guests = {
            "driver": Guest(by_driver, "--target", f"dev:/dev/ivshmem{nodes.index(str(VECTORS))}"),
            "plain": Guest(by_driver, "--target", f"dev:/dev/ivshmem{nodes.index('0')}"),
            "vfio": Guest(by_vfio, "--backend", "vfio"),
            "sysfs": Guest(by_vfio, "--backend", "sysfs"),
        }

    def __getitem__(self, name):
        if name == "ours" and name not in self.guests:
            self.guests[name] = self.boot_ours()
        return self.guests[name]

    def boot_ours(self):
        """Only when a test wants it: under KVM none does, and guests boot slowly there."""
        device = self.add(Device(self.room.file("device"), "--server", self.room.socket, "--vectors", str(VECTORS),
                                 "--doorbell-bar", "on"))
        machine = self.boot("ours", AS_USER, devices=vm.vfio_user(device.path), iommu=None, files=self.driver,
                            qemu=vm.qemu_with_vfio_user())
        machine.expect("^ready$", BOOT_LIMIT)
        return Guest(machine)

    def add(self, process):
        self.ends.callback(process.kill)
        return process

    def boot(self, name, script, **options):
        machine = vm.Guest(self.image, self.accel, self.room.path, name=name, script=script, **options)
        self.machines.append(machine)
        self.ends.callback(machine.stop)
        return machine.start()

    def end(self):
        """Everybody goes as on any other day."""
        for machine in self.machines:
            machine.send("end\n")
            assert machine.wait_script()[0] == 0


@pytest.fixture(scope="module")
def everybody(request, image, accel, driver):  # noqa: F811
    failed = request.session.testsfailed
    with contextlib.ExitStack() as ends:
        everybody = Everybody(image, accel, driver, ends)
        yield everybody
        if request.session.testsfailed == failed:
            everybody.end()


@pytest.mark.parametrize("way, back_end", [under_kvm("driver", "kernel"), under_kvm("vfio", "vfio"), under_kvm("sysfs", "sysfs"),
                                           ("ours", "kernel")])
def test_host_and_guest(everybody, way, back_end):
    """sysfs has no interrupts: it looks, and nobody can say that it slept too long."""
    guest = everybody[way]
    assert f"back end: {back_end}" in guest.ask(f"tool {guest.arguments} info")
    exchange(everybody.host, guest, interrupts=way != "sysfs")


@pytest.mark.parametrize("scheme", ["shm", "file"])
def test_host_and_guest_with_plain_memory(everybody, scheme):
    target = {"shm": f"shm:{everybody.plain}", "file": f"file:/dev/shm/{everybody.plain}"}[scheme]
    exchange(everybody.host, everybody["plain"], interrupts=False, target=target)


@pytest.mark.parametrize("sender, receiver", [under_kvm("driver", "vfio"), under_kvm("vfio", "driver"), ("vfio", "ours"),
                                              ("ours", "sysfs"), ("sysfs", "driver")])
def test_guest_and_guest(everybody, sender, receiver):
    """Nobody on the host takes part."""
    everybody[receiver].receive("across")
    everybody[sender].send("across")
    said = [everybody[sender].ends("sender"), everybody[receiver].ends("receiver")]
    assert everybody[receiver].hash_of("/tmp/out-receiver") == everybody[sender].hash_of("/tmp/data")
    if "sysfs" not in (sender, receiver):
        assert all(NEVER_RESCUED in lines for lines in said), said


@pytest.mark.parametrize("way", ["driver", "ours"])
def test_two_processes_of_a_guest(everybody, way):
    guest = everybody[way]
    guest.receive("here")
    guest.send("here")
    said = [guest.ends("sender"), guest.ends("receiver")]
    assert guest.hash_of("/tmp/out-receiver") == guest.hash_of("/tmp/data")
    assert all(NEVER_RESCUED in lines for lines in said), said


@pytest.mark.parametrize("way", ["driver", "sysfs"])
def test_what_can_be_seen_from_both_sides(everybody, way):
    """top takes no area in a guest either, and each side knows which processes are its own."""
    host, guest = everybody.host, everybody[way]
    receiver = host.receive("seen", stdout=subprocess.DEVNULL)
    guest.start("send seen", "sender", "< /dev/zero")
    host.wait_until_under_way("seen")
    from_host = json.loads(host.run("top", "--once", "--json", "--interval", "0.5").stdout)
    (line,) = guest.ask(f"tool {guest.arguments} top --once --json --interval 0.5")
    from_guest = json.loads(line)
    assert from_guest["peers"] is None and from_guest["areas"] == from_host["areas"] > 0
    assert {x["id"] for x in from_host["peers"]} >= {own_id(guest)}
    for seen, here in ((from_host, "ivshmem recv"), (from_guest, "ivshmem send")):
        assert {x["name"]: x["here"] for x in seen["participants"]} == {
            name: name == here for name in ("ivshmem recv", "ivshmem send")
        }
        own = [x for x in seen["participants"] if x["here"]]
        assert [x["program"] for x in own] == ["ivshmem"] and own[0]["user"]
        (sender,) = [x for x in seen["participants"] if x["name"] == "ivshmem send"]
        assert max(x["sent_per_second"] or 0 for x in sender["channels"]) > 0
    shown = guest.ask(f"tool {guest.arguments} top --once")
    assert any("elsewhere" in line for line in shown)
    receiver.signal(signal.SIGINT)
    assert receiver.wait() == FAILURE
    guest.ends("sender", FAILURE)


def own_id(guest):
    (line,) = [line for line in guest.ask(f"tool {guest.arguments} info") if line.startswith("own id:")]
    return int(line.split()[-1])


@pytest.mark.parametrize("way", ["driver", "vfio"])
def test_a_process_of_a_guest_is_traced(everybody, way):
    """It sleeps, the host rings it, and it wakes up."""
    host, guest = everybody.host, everybody[way]
    guest.start("recv --keep traced", "receiver")
    guest.ask("until grep -q 'listening under' /tmp/err-receiver; do sleep 0.1; done")
    pid = host.participant("ivshmem recv")["pid"]
    guest.ask(f"until tool trace --last 1 {pid} | grep -q channel_sleep; do sleep 0.1; done")
    assert host.send("traced", b"something").wait() == OK
    lines = guest.ask(f"until tool trace {pid} >/tmp/trace; grep -q channel_closed /tmp/trace; do sleep 0.1; done; cat /tmp/trace")
    events = iter([line.split()[2] for line in lines])
    wanted = ("client_attached", "area_taken", "channel_listening", "channel_sleep", "client_rung", "channel_wake", "channel_accepted")
    assert all(name in events for name in wanted), lines
    guest.ask(f"kill {pid}")
    guest.ends("receiver")


@pytest.mark.parametrize("way", ["driver", "vfio", "sysfs"])
def test_measuring_between_host_and_guest(everybody, way):
    host, guest = everybody.host, everybody[way]
    guest.start("bench --serve speed", "server")
    measured = host.run("bench", "speed", "--seconds", "0.2", "--json")
    results = [json.loads(line) for line in measured.lines()]
    assert len(results) == 6 and all(x.get("records", x.get("round_trips", x.get("bytes"))) > 0 for x in results)
    guest.ask(f"kill {host.participant('ivshmem bench')['pid']}")
    said = guest.ends("server")
    assert host.participants() == []
    if way != "sysfs":
        assert NEVER_RESCUED in said and NEVER_RESCUED in measured.lines("stderr")


# ---- sockets


WEB = "ip link set lo up; pidof httpd >/dev/null || httpd -p 127.0.0.1:80 -h /tmp"


@contextlib.contextmanager
def listening(host, guest, name, to):
    """The guest's listen; what it says is in its files."""
    guest.start(f"listen {name} {to}", name)
    guest.ask(f"until grep -q 'listening under' /tmp/err-{name}; do sleep 0.1; done")
    yield
    guest.ask(f"kill {host.participant('ivshmem listen')['pid']}")
    assert NEVER_RESCUED in guest.ends(name)


@contextlib.contextmanager
def forwarding(host, path, name):
    process = host.start("forward", f"unix:{path}", name)
    process.expect("ivshmem: forwarding .*", "stderr")
    yield process
    process.process.terminate()
    assert process.wait() == OK, process.describe()
    assert NEVER_RESCUED in process.lines("stderr")


def fetch(path, name):
    """A file of a web server behind a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60 * wire.FACTOR)
        connection.connect(path)
        connection.sendall(f"GET /{name} HTTP/1.0\r\n\r\n".encode())
        answer = bytearray()
        while part := connection.recv(65536):
            answer += part
    head, body = bytes(answer).split(b"\r\n\r\n", 1)
    assert b" 200 " in head.splitlines()[0], head
    return body


@pytest.mark.parametrize("way", ["driver", "vfio", "ours"])
def test_a_web_server_of_a_guest(everybody, way):
    """From the host, several at a time."""
    host, guest, path = everybody.host, everybody[way], everybody.room.file("web")
    guest.ask(WEB)
    with listening(host, guest, "web", "tcp:127.0.0.1:80"), forwarding(host, path, "web"):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            pages = list(pool.map(lambda _: fetch(path, "data"), range(4)))
        assert {hash_of(page) for page in pages} == {guest.hash_of("/tmp/data")}


def test_a_web_server_of_another_guest(everybody):
    """Nobody on the host takes part."""
    host, server, client = everybody.host, everybody["driver"], everybody["vfio"]
    server.ask(WEB)
    client.ask("ip link set lo up")
    with listening(host, server, "web", "tcp:127.0.0.1:80"):
        client.start("forward tcp:127.0.0.1:8080 web", "forward")
        client.ask("until grep -q 'forwarding' /tmp/err-forward; do sleep 0.1; done")
        (page,) = client.ask("wget -q -O - http://127.0.0.1:8080/data | sha256sum")
        assert page.split()[0] == server.hash_of("/tmp/data")
        client.ask(f"kill {host.participant('ivshmem forward')['pid']}")
        assert NEVER_RESCUED in client.ends("forward")


def test_a_program_of_a_guest(everybody):
    host, guest = everybody.host, everybody["driver"]
    with listening(host, guest, "count", "exec -- wc -c"):
        process = host.start("forward", "stdio", "count", stdin=subprocess.PIPE)
        process.write("12345")
        process.process.stdin.close()
        assert process.wait() == OK, process.describe()
        assert process.stdout.split() == ["5"]


# ---- who notices that somebody died (docs/channels.md)


@pytest.fixture
def two_areas(everybody):
    """Who comes third gets an area only if that of a dead one is taken for it."""
    everybody.host.run("format", "--areas", "2")
    yield
    everybody.host.run("format", "--force")


@pytest.mark.parametrize("way", [under_kvm("driver"), "ours"])
def test_a_sender_in_a_guest_dies(everybody, two_areas, way):
    """The driver tells the host's process, the only other one there is."""
    host, guest = everybody.host, everybody[way]
    receiver = host.receive("victim", stdout=subprocess.DEVNULL)
    guest.send("victim", ENDLESS)
    host.wait_until_under_way("victim")
    victim = host.participant("ivshmem send")
    guest.kill(victim["pid"])
    assert receiver.wait() == FAILURE, receiver.describe()
    assert died("victim", "ivshmem send") in receiver.lines("stderr")
    assert NEVER_RESCUED in receiver.lines("stderr")
    assert host.claim(victim["area"]) == DEAD and host.participants() == []
    exchange(host, guest)


def test_a_receiver_in_a_guest_dies(everybody, two_areas):
    """While the host waits for it to make room."""
    host, guest = everybody.host, everybody["driver"]
    guest.receive("victim", ">/dev/null")
    sender = host.send("victim")
    host.wait_until_under_way("victim")
    victim = host.participant("ivshmem recv")
    guest.ask(f"kill -STOP {victim['pid']}")
    guest.kill(victim["pid"])
    assert sender.wait() == FAILURE, sender.describe()
    assert died("victim", "ivshmem recv") in sender.lines("stderr")
    assert NEVER_RESCUED in sender.lines("stderr")
    assert host.participants() == []
    exchange(host, guest)


@pytest.mark.parametrize("way", ["driver", "vfio"])
def test_a_process_of_the_host_dies(everybody, way):
    """Nobody tells a guest, until another process of the host takes part. One that only looks tells nobody."""
    host, guest = everybody.host, everybody[way]
    guest.receive("victim")
    sender = host.start("send", "victim", stdin=subprocess.PIPE)
    sender.write("the last words\n")
    wire.wait_until(lambda: guest.ask("cat /tmp/out-receiver") == ["the last words"], "the first bytes to arrive")
    area = host.participant("ivshmem send")["area"]
    sender.kill()
    (survivor,) = host.participants()
    assert survivor["name"] == "ivshmem recv" and survivor["channels"][0]["phase"] == "connected"
    assert host.claim(area) == OWNED and guest.runs("receiver")

    host.run("recv", "another", "--timeout", "0", status=TIMEOUT)
    said = guest.ends("receiver", FAILURE)
    assert died("victim", "ivshmem send") in said and NEVER_RESCUED in said
    assert host.participants() == []


@pytest.fixture
def mortal(everybody, image, accel, driver):  # noqa: F811
    """mortal(script): one more guest, whose QEMU may be killed."""
    with contextlib.ExitStack() as ends:
        def start(script, **options):
            machine = vm.Guest(image, accel, everybody.room.path, name="mortal", script=script,
                               devices=vm.ivshmem_doorbell(everybody.server.path, VECTORS), **options)
            ends.callback(machine.stop)
            machine.start().expect("^ready$", BOOT_LIMIT)
            return Guest(machine)

        yield start


def kill_qemu(host, guest):
    """And wait until the server knows."""
    monitor = host.start("monitor", target=f"observe:{host.server.path}.observe")
    monitor.expect("looking on .*")
    guest.machine.process.kill()
    monitor.expect(r"peer \d+ left")


@pytest.mark.under_kvm
def test_a_guest_dies(everybody, mortal, driver):  # noqa: F811
    """The server tells the host's process, which marks all areas of the guest. So another guest learns of it, too."""
    host, guest, other = everybody.host, mortal(AS_USER, iommu=None, files=driver), everybody["vfio"]
    receiver = host.receive("to-host", stdout=subprocess.DEVNULL)
    guest.start("send to-host", "sender", ENDLESS)
    other.receive("to-guest", ">/dev/null")
    guest.start("send to-guest", "another", ENDLESS)
    for name in ("to-host", "to-guest"):
        host.wait_until_under_way(name)
    kill_qemu(host, guest)
    assert receiver.wait() == FAILURE, receiver.describe()
    assert died("to-host", "ivshmem send") in receiver.lines("stderr")
    said = other.ends("receiver", FAILURE)
    assert died("to-guest", "ivshmem send") in said and NEVER_RESCUED in said
    assert host.participants() == []


def test_a_guest_dies_and_nobody_on_the_host_takes_part(everybody, mortal):
    """Other guests learn of it when somebody does, whatever it has to do with it."""
    host, guest, other = everybody.host, mortal(AS_ROOT), everybody["driver"]
    other.receive("victim", ">/dev/null")
    guest.start("send victim", "sender", ENDLESS)
    host.wait_until_under_way("victim")
    victim = host.participant("ivshmem send")
    # vfio tells nobody.
    guest.kill(victim["pid"])
    guest.ask("until [ -s /tmp/status-sender ]; do sleep 0.1; done")
    assert host.claim(victim["area"]) == OWNED
    kill_qemu(host, guest)
    assert host.claim(victim["area"]) == OWNED
    assert other.runs("receiver")

    keeper = host.start("keeper")
    keeper.expect(rf'area {victim["area"]}: "ivshmem send", pid {victim["pid"]}, peer \d+ vector 0, died')
    assert died("victim", "ivshmem send") in other.ends("receiver", FAILURE)
    assert host.claim(victim["area"]) == DEAD
    keeper.finish(signal.SIGTERM)


@pytest.mark.parametrize("way", ["driver", "vfio"])
def test_the_device_is_unplugged(server, cli, boot, driver, way):  # noqa: F811
    """
    A process that sleeps is told, and ends; the device leaves. QEMU would crash if any peer had left before
    (docs/vmms.md). Through our driver, the memory is gone by then, which a process may notice first.
    """
    host = Host(server("-l", "4M", vectors=VECTORS), cli)
    sender = host.start("send", "victim", stdin=subprocess.PIPE)
    if way == "driver":
        options = {"script": AS_USER, "iommu": None, "files": driver}
    else:
        options = {"script": AS_ROOT}
    guest = Guest(boot(server=host.server, devices=ROOT_PORT, bus="root-port", **options))
    guest.machine.expect("^ready$", BOOT_LIMIT)
    guest.receive("victim")
    sender.write("the last words\n")
    wire.wait_until(lambda: guest.ask("cat /tmp/out-receiver") == ["the last words"], "the first bytes to arrive")
    guest.machine.monitor("device_del", id="ivshmem")
    said = "\n".join(guest.ends("receiver", FAILURE))
    unplugged = "ivshmem: cannot use 'victim' any more: the device was unplugged"
    assert unplugged in said or (way == "driver" and "is gone with its device" in said), said
    guest.machine.wait_event("DEVICE_DELETED", BOOT_LIMIT)
    if way == "vfio":
        assert sender.wait() == FAILURE and died("victim", "ivshmem recv") in sender.lines("stderr"), sender.describe()
