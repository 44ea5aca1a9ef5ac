# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: snapshot, restore and clone."""

import contextlib
import json
import os
import random
import signal
import stat
import subprocess

import pytest

from ivshmem_channels import ends, listing, make_memory
from ivshmem_cli import FAILURE, OK, USAGE
from kept_group import NO_LEAKS
from stepper import Stepper, trace_me

SIZE = 4 << 20
PAGE = 4096
EPOCH, CLAIMS = slice(16, 24), slice(128, 128 + 256 * 8)
HALF = b"IVREST\0\0"


def path_of(target):
    scheme, path = target.split(":", 1)
    return "/dev/shm/" + path if scheme == "shm" else path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def holes(path):
    """The pages of a file that are in holes."""
    found = set()
    with open(path, "rb") as file:
        at, size = 0, os.fstat(file.fileno()).st_size
        while at < size:
            try:
                data = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                data = size
            found |= set(range(at // PAGE, data // PAGE))
            at = os.lseek(file.fileno(), data, os.SEEK_HOLE) if data < size else size
    return found


def fill(path, rng, size=SIZE):
    """Random pages, and holes between them."""
    make_memory(path, size)
    with open(path, "r+b") as file:
        at = 0
        while at < size // PAGE:
            run = rng.randint(1, 60)
            if rng.random() < 0.5:
                file.seek(at * PAGE)
                file.write(rng.randbytes(min(run * PAGE, size - at * PAGE)))
            at += run


def run(tool, target, *arguments, status=OK):
    process = tool(target, *arguments)
    assert process.wait() == status, process.describe()
    if status == FAILURE:
        assert process.stderr.startswith("ivshmem: "), process.describe()
    return process


def said(tool, target, *arguments):
    return json.loads(run(tool, target, *arguments, "--json").stdout)


@pytest.fixture
def cleaner():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def saved(tool, shm_target, room):
    """Memory with channels and some data, and a snapshot of it."""
    run(tool, shm_target, "format")
    run(tool, shm_target, "write", "3M", "what was saved")
    file = room.file("snapshot")
    run(tool, shm_target, "snapshot", file)
    return file


# ---- what comes back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_same_bytes_and_holes(tool, shm_target, room, seed):
    rng = random.Random(seed)
    memory, file = path_of(shm_target), room.file("snapshot")
    fill(memory, rng)
    before, empty = read(memory), holes(memory)
    result = said(tool, shm_target, "snapshot", file)
    assert result == {"file": file, "size": SIZE, "data": SIZE - len(empty) * PAGE, "reflink": False}
    assert read(file) == before and holes(file) == empty and holes(memory) == empty
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    # Another content of the same size, and all of it gone again.
    with open(memory, "r+b") as there:
        for page in rng.sample(range(SIZE // PAGE), 300):
            os.pwrite(there.fileno(), rng.randbytes(PAGE), page * PAGE)
    assert said(tool, shm_target, "restore", file)["areas"] == 0
    assert read(memory) == before
    # The first page is always written.
    assert holes(memory) | {0} == empty | {0}


@pytest.mark.parametrize("begins", [b"IVCHAN\1\0", b"something else"])
@pytest.mark.parametrize("pages", [1, 2])
def test_memory_too_small_for_channels(tool, room, pages, begins):
    memory, file = room.file("memory"), room.file("snapshot")
    content = begins + random.Random(pages).randbytes(pages * PAGE - len(begins))
    with open(memory, "wb") as there:
        there.write(content)
    run(tool, "file:" + memory, "snapshot", file)
    assert read(file) == content
    with open(memory, "r+b") as there:
        there.write(b"\xff" * len(content))
    run(tool, "file:" + memory, "restore", file)
    assert read(memory) == content


def test_memory_that_was_allocated_stays_so(tool, shm_target, room):
    memory, file = path_of(shm_target), room.file("snapshot")
    with open(memory, "wb") as there:
        os.posix_fallocate(there.fileno(), 0, SIZE)
    run(tool, shm_target, "write", "1M", "x")
    run(tool, shm_target, "snapshot", file)
    assert os.stat(file).st_blocks < 100
    run(tool, shm_target, "restore", file)
    assert os.stat(memory).st_blocks >= SIZE // 512 and read(memory) == read(file)


def test_through_a_server(tool, server, room):
    """By its socket for observers, and as a client where there is none."""
    server("-l", "4M", "-n", "1")
    target, file = "unix:" + room.socket, room.file("snapshot")
    run(tool, target, "write", "5000", "hello")
    for name in (target, "observe:" + room.socket + ".observe"):
        run(tool, name, "snapshot", "--overwrite", file)
        run(tool, name, "write", "5000", "HELLO")
        run(tool, name, "restore", file)
        assert run(tool, name, "read", "5000", "--text").stdout.strip() == "hello"


# ---- channels --------------------------------------------------------------------------------------------


def test_areas_are_free_and_the_rest_is_as_it_was(tool, shm_target, saved):
    memory = path_of(shm_target)
    before = bytearray(read(saved))
    assert said(tool, shm_target, "restore", saved)["areas"] == 8
    after = bytearray(read(memory))
    assert after[EPOCH] != before[EPOCH] and any(after[EPOCH])
    for each in (before, after):
        each[EPOCH] = bytes(8)
    assert before == after
    assert listing(tool, shm_target) == {"areas": 8, "participants": []}


def test_whoever_took_part_learns_of_it(tool, receiver, shm_target, room, saved):
    """One that sleeps and one that others talk to; both are refused, then forced, and can come back at once."""
    first = receiver(shm_target, "x", "--keep")
    busy = room.file("busy")
    run(tool, shm_target, "snapshot", busy)
    for file in (saved, busy):
        refused = run(tool, shm_target, "restore", file, status=FAILURE)
        assert "1 process takes part" in refused.stderr and "--force" in refused.stderr and first.running()
    before = read(path_of(shm_target))
    # The image has an area that belongs to this very process, which lives.
    run(tool, shm_target, "restore", "--force", busy)
    ends(first, FAILURE, "restored the memory", "start again")
    assert listing(tool, shm_target)["participants"] == []
    assert read(path_of(shm_target))[EPOCH] != before[EPOCH]
    again = receiver(shm_target, "x")
    sender = tool(shm_target, "send", "x", "--quiet", stdin=os.open("/dev/null", os.O_RDONLY))
    assert sender.wait() == OK and again.wait() == OK


def test_a_clone_is_a_region_of_its_own(tool, receiver, shm_target, room, cleaner):
    name = shm_target + "-clone"
    cleaner.callback(os.unlink, path_of(name))
    process = receiver(shm_target, "x", "--keep")
    result = said(tool, shm_target, "clone", name)
    assert result["target"] == name and result["size"] == SIZE
    assert listing(tool, name) == {"areas": 8, "participants": []}
    assert read(path_of(name))[PAGE:] == read(path_of(shm_target))[PAGE:]
    assert process.running() and len(listing(tool, shm_target)["participants"]) == 1
    assert "exists already" in run(tool, shm_target, "clone", name, status=FAILURE).stderr
    file = room.file("clone")
    assert "file:" + file in run(tool, name, "clone", "file:" + file).stdout
    receiver("file:" + file, "x", "--keep")


# ---- a restore that is killed ----------------------------------------------------------------------------


def killed_restore(launch, target, file, calls):
    """Restore, killed after so many system calls; whether it had ended before."""
    process = launch("ivshmem", "-t", target, "restore", file, setup=trace_me, env=NO_LEAKS)
    stepper = Stepper(process.pid)
    for _ in range(2 * calls):
        if not stepper.step():
            break
    ended = stepper.ended
    if not ended:
        process.signal(signal.SIGKILL)
    process.wait()
    return ended


def test_killed_at_any_moment(launch, tool, shm_target, room):
    """Old, half-restored, or new: and a half-restored one is told of, and mended by restore and by format."""
    memory, file = path_of(shm_target), room.file("snapshot")
    run(tool, shm_target, "format")
    with open(memory, "r+b") as there:
        for page in range(300, 1000, 140):
            os.pwrite(there.fileno(), b"n" * PAGE, page * PAGE)
    run(tool, shm_target, "snapshot", file)
    new = read(file)
    old = new[:PAGE] + b"o" * (SIZE - PAGE)
    seen, ended, calls = [], False, 1
    while not ended:
        with open(memory, "r+b") as there:
            there.write(old)
        ended = killed_restore(launch, shm_target, file, calls)
        now = read(memory)
        if now[:8] == HALF:
            seen.append("half")
            for command in (["channels"], ["send", "x"], ["snapshot", room.file("never")]):
                assert "half-restored" in run(tool, shm_target, *command, status=FAILURE).stderr
            assert not os.path.exists(room.file("never"))
            run(tool, shm_target, *(["restore", file] if len(seen) % 2 else ["format"]))
            assert listing(tool, shm_target)["areas"] == 8
            assert read(memory)[PAGE:] == new[PAGE:] or len(seen) % 2 == 0
        elif now[EPOCH] == new[EPOCH]:
            seen.append("old")
            assert now == old
        else:
            seen.append("new")
            assert now[PAGE:] == new[PAGE:]
        calls += 1 if seen[-1] == "half" else 4
    assert seen == sorted(seen, key=["old", "half", "new"].index) and seen.count("half") > 5 and "old" in seen


def test_killed_snapshot_leaves_the_former_file(launch, tool, shm_target, room, saved):
    before = read(saved)
    run(tool, shm_target, "write", "3M", "something newer")
    calls, ended = 40, False
    while not ended:
        process = launch("ivshmem", "-t", shm_target, "snapshot", "-o", saved, setup=trace_me, env=NO_LEAKS)
        stepper = Stepper(process.pid)
        for _ in range(2 * calls):
            if not stepper.step():
                break
        ended = stepper.ended
        if not ended:
            process.signal(signal.SIGKILL)
        process.wait()
        assert read(saved) in (before, read(path_of(shm_target)))
        calls += 3
    assert read(saved) == read(path_of(shm_target)) != before
    assert not [name for name in os.listdir(os.path.dirname(saved)) if "ivshmem-part" in name]


# ---- what is refused -------------------------------------------------------------------------------------


def test_names_that_are_taken(tool, shm_target, room, saved):
    refused = run(tool, shm_target, "snapshot", saved, status=FAILURE)
    assert "exists already" in refused.stderr and "--overwrite" in refused.stderr
    run(tool, shm_target, "snapshot", "--overwrite", saved)
    memory = path_of(shm_target)
    for command in ("snapshot", "restore"):
        refused = run(tool, shm_target, command, memory, status=FAILURE)
        assert "is the memory itself" in refused.stderr
    refused = run(tool, shm_target, "snapshot", "-o", memory, status=FAILURE)
    assert "is the memory itself" in refused.stderr
    folder = os.path.dirname(saved)
    for name, word in ((folder + "/no/where", "No such file"), (folder + "/", "cannot be the name"),
                       ("/dev/null", "it is no file")):
        refused = run(tool, shm_target, "snapshot", "-o", name, status=FAILURE)
        assert word in refused.stderr, refused.stderr


def test_snapshots_that_cannot_be_restored(tool, shm_target, room, saved):
    other = room.file("other")
    before = read(path_of(shm_target))

    def refuse(word, file=other, target=shm_target):
        assert word in run(tool, target, "restore", file, status=FAILURE).stderr
        assert read(path_of(shm_target)) == before

    refuse("No such file")
    make_memory(other, SIZE + PAGE)
    refuse("restore it into memory of its own size")
    refuse("it is no file", os.path.dirname(other))
    refuse("for reading only", saved, shm_target + ",ro")
    for begins, word in ((HALF, "half-restored itself"), (b"IVCHAN\2\0", "layout 2")):
        make_memory(other, SIZE)
        with open(other, "r+b") as file:
            file.write(begins)
        refuse(word)


def test_no_room(tool, room, tmp_path):
    """On a file system of its own, of 2 MiB."""
    with small_file_system(tmp_path) as folder:
        memory = room.file("memory")
        make_memory(memory, SIZE)
        with open(memory, "r+b") as file:
            file.write(b"x" * (3 << 20))
        refused = run(tool, "file:" + memory, "snapshot", f"{folder}/snapshot", status=FAILURE)
        assert "there is no room for" in refused.stderr and "3 MiB" in refused.stderr
        assert os.listdir(folder) == []
        # Zeros need no room, even where they are no holes.
        with open(memory, "r+b") as file:
            file.write(bytes(3 << 20))
        run(tool, "file:" + memory, "snapshot", f"{folder}/snapshot")
        # Nor does the memory become half-restored by a full file system.
        make_memory(f"{folder}/memory", SIZE)
        full = room.file("full")
        with open(full, "wb") as file:
            file.write(b"x" * SIZE)
        refused = run(tool, f"file:{folder}/memory", "restore", full, status=FAILURE)
        assert "there is no room for" in refused.stderr
        assert not any(read(f"{folder}/memory"))


@contextlib.contextmanager
def small_file_system(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    result = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    if result.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", ["second", "unix:/tmp/x", "shm:", "file:", "shm:a/b", "shm:" + "x" * 5000])
def test_names_for_a_clone(tool, shm_target, name):
    process = tool(shm_target, "clone", name)
    assert process.wait() == USAGE and process.stderr, process.describe()
