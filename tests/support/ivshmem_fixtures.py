# SPDX-License-Identifier: BSD-2-Clause
"""What the tests in Python have in common with pytest: protocol/, interop/ and vm/."""

import os
import re
import resource
import signal

import pytest

import ivshmem_wire as wire
import stepper

# Somebody's uid: the limit on descriptors in flight counts per user, and does not count for root.
LONELY_UID = 61616


def limited_in_flight():
    """
    Without these capabilities, a user's descriptors in flight are limited to RLIMIT_NOFILE of the
    sender.
    """
    CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 21, 24
    with open("/proc/self/status") as file:
        effective = int(re.search(r"^CapEff:\s*(\w+)", file.read(), re.MULTILINE).group(1), 16)
    return not effective & (1 << CAP_SYS_ADMIN | 1 << CAP_SYS_RESOURCE)


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
can_step = pytest.mark.skipif(not stepper.KNOWN, reason="the numbers of system calls are not known here")

# Clients that do not read hold up to 278 descriptors in flight each; these tests have hundreds of such
# clients.
many_in_flight = pytest.mark.skipif(
    limited_in_flight() and resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 300000,
    reason="without privilege the kernel allows too few descriptors in flight",
)
# Here the server's own limit is small, and would be the one for those in flight as well.
few_descriptors = pytest.mark.skipif(
    limited_in_flight(), reason="without privilege the small limit would also be that of descriptors in flight"
)


def configure(config):
    config.addinivalue_line("markers", "long: larger with IVSHMEM_TEST_LONG=1")
    config.addinivalue_line("markers", "limit(seconds): how long the test may take at most")
    wire.raise_descriptor_limit()
    # A polite request to end must still run the fixtures' clean-up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(autouse=True)
def limit(request):
    """No test may hang the whole run, whatever the program under test does."""
    marker = request.node.get_closest_marker("limit")
    seconds = (marker.args[0] if marker else 120) * wire.FACTOR
    if wire.LONG:
        seconds *= 10

    def expired(_signal, _frame):
        pytest.fail(f"the test took more than {seconds} s")

    previous = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def room(limit):
    room = wire.Room()
    yield room
    room.close()


@pytest.fixture
def closing():
    """A list of things with close(); closed at the end, last one first."""
    things = []
    yield things
    for thing in reversed(things):
        thing.close()


@pytest.fixture
def processes(limit):
    """A list of processes; those that still run at the end are killed."""
    started = []
    yield started
    for process in started:
        process.kill()
    for process in started:
        process.check_sanitizer()


def lasting(kind, usual_path, processes):
    """start(*arguments, ...): one that must survive the test and end cleanly after it, unless the test has ended it."""
    started = []

    def start(*arguments, path=None, **options):
        process = kind(path or usual_path, *arguments, **options)
        processes.append(process)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.process.returncode is None:
            process.finish()


@pytest.fixture
def server(room, processes, closing):
    """start(*arguments, vectors=1, ...): see lasting()."""
    yield from lasting(wire.Server, room.socket, processes)


@pytest.fixture
def cli(room, processes):
    def start(*arguments, path=None, **options):
        process = wire.Cli(path or room.socket, *arguments, **options)
        processes.append(process)
        return process

    return start


@pytest.fixture
def launch(processes):
    """launch(name, *arguments, ...): one of our programs."""

    def launch(name, *arguments, **options):
        process = wire.Process([wire.program(name), *arguments], **options)
        processes.append(process)
        return process

    return launch


@pytest.fixture
def start(processes, room):
    """A server that may fail to start."""

    def start(*arguments, path=None, **options):
        process = wire.Server(path or room.socket, *arguments, ready=False, **options)
        processes.append(process)
        return process

    return start


@pytest.fixture
def refused(start):
    """refused(*arguments, words=(), ...): a server that must refuse to start, with a sentence that has these words."""

    def refused(*arguments, words=(), **options):
        process = start(*arguments, **options)
        expect_refusal(process, *words)
        return process

    return refused


@pytest.fixture
def daemon(room, processes):
    """start(*arguments, status=0, ...): the server in the background, if the status is 0."""

    def start(*arguments, status=0, path=None, pid_file=None, **options):
        process = wire.Daemon(path or room.socket, pid_file or room.file("pid"), *arguments, **options)
        processes.append(process)
        assert process.wait() == status, process.describe()
        return process

    return start


def start_unprivileged(start, room, arguments=(), **options):
    """The server as somebody who has no privilege at all, from a directory that is his."""
    os.chown(room.path, LONELY_UID, LONELY_UID)
    binary = room.file("ivshmem-server")
    with open(wire.program("ivshmem-server"), "rb") as source:
        with open(binary, "wb") as copy:
            copy.write(source.read())
    os.chmod(binary, 0o755)
    return start(*arguments, binary=binary, user=LONELY_UID, **options)


def expect_refusal(process, *words):
    assert process.wait() == 1, process.describe()
    assert len(process.stderr.split()) >= 4, f"no sentence on stderr\n{process.describe()}"
    for word in words:
        assert word in process.stderr, process.describe()


@pytest.fixture
def fake(room, closing):
    server = wire.FakeServer(room.socket)
    closing.append(server)
    return server
