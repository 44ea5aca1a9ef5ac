# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: options, targets, and the commands that come, see or ring, and go."""

import glob
import json
import os
import re
import resource
import subprocess
import time

import pytest

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, ODD, OK, USAGE, counts, script
from ivshmem_fixtures import root_only

COMMANDS = [
    "info", "peers", "ring", "wait", "monitor", "read", "write", "ping", "echo", "channels", "send", "recv", "forward", "listen",
    "format", "bench", "keeper", "shell",
]


# ---- the command line itself ---------------------------------------------------------------------------


def test_help_lists_every_command(run_plain):
    for arguments in (["--help"], ["-h"], ["help"]):
        process = run_plain(*arguments)
        assert process.stderr == ""
        for command in COMMANDS:
            assert re.search(rf"^  {command}\b", process.stdout, re.MULTILINE), command
        for word in ("--target", "--json", "--backend", "--connect-timeout", "IVSHMEM_TARGET", "Exit codes"):
            assert word in process.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_command(run_plain, command):
    process = run_plain(command, "--help")
    assert process.stderr == ""
    assert process.stdout.startswith(f"usage: ivshmem [OPTION]... {command}")
    for word in ("With --json:", "Exit codes:", "Examples:"):
        assert word in process.stdout
    assert len(process.stdout.partition("Examples:\n")[2].splitlines()) >= 2
    assert [line for line in process.lines() if len(line) > 80] == []


def test_version(run_plain):
    assert re.fullmatch(r"ivshmem \d+\.\d+\.\d+\n", run_plain("--version").stdout)


@pytest.mark.parametrize(
    "arguments, word",
    [
        ([], "command is missing"),
        (["frobnicate"], "frobnicate"),
        (["--frobnicate", "info"], "--frobnicate"),
        (["-x", "info"], "-x"),
        (["info", "--frobnicate"], "--frobnicate"),
        (["info", "-x"], "-x"),
        (["info", "--json=yes"], "--json"),
        (["--target"], "--target"),
        (["wait", "--count"], "--count"),
        (["wait", "-c"], "-c"),
        (["info", "junk"], "junk"),
        (["peers", "junk"], "junk"),
        (["wait", "junk"], "junk"),
        (["monitor", "junk"], "junk"),
        (["shell", "junk"], "junk"),
        (["ring"], "PEER"),
        (["ping"], "PEER"),
        (["echo"], "PEER"),
        (["read"], "OFFSET"),
        (["write"], "OFFSET"),
        (["read", "0", "1", "junk"], "junk"),
        (["write", "0", "text", "junk"], "junk"),
        (["ping", "0", "1"], "1"),
        (["--target", "nonsense", "info"], "nonsense"),
        (["--target", "unix:", "info"], "unix:"),
        (["--target", "tcp:1", "info"], "tcp:1"),
        (["--target", "/x", "--backend", "vfio", "info"], "--backend"),
        (["--backend", "uio", "info"], "uio"),
        (["--connect-timeout", "soon", "info"], "soon"),
        (["--connect-timeout", "0", "info"], "'0'"),
        (["--connect-timeout", "-1", "info"], "-1"),
    ],
)
def test_usage_errors(run_plain, arguments, word):
    process = run_plain(*arguments, status=USAGE)
    assert process.stdout == ""
    first, last = process.stderr.splitlines()
    assert first.startswith("ivshmem: ") and word in first
    assert last.startswith("Try ") and "--help" in last


BAD_NUMBERS = ["-1", "1x", "x", "", " 1", "+1", "1.5", "0x", "18446744073709551616"]


@pytest.mark.parametrize("number", BAD_NUMBERS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["ring", "0", "--count", "@"],
        ["wait", "--count", "@"],
        ["wait", "--vector", "@"],
        ["ping", "0", "--count", "@"],
        ["echo", "0", "--count", "@"],
        ["ring", "--", "@"],
        ["ring", "--", "0:@"],
        ["ping", "--", "0:@"],
        ["echo", "--", "@"],
        ["read", "--", "@"],
        ["read", "--", "0", "@"],
        ["write", "--length", "@", "0", "text"],
    ],
)
def test_bad_numbers(run_plain, arguments, number):
    run_plain("--target", "/nowhere", *(word.replace("@", number) for word in arguments), status=USAGE)


@pytest.mark.parametrize(
    "arguments",
    [
        ["ring", "0", "--count", "0"],
        ["wait", "--count", "0"],
        ["wait", "--vector", "2048"],
        ["wait", "--timeout", "x"],
        ["wait", "--timeout", "-1"],
        ["wait", "--timeout", "999999999999"],
        ["ring", "65536"],
        ["ring", "0:2048"],
        ["ring", "0:"],
        ["ring", ":0"],
        ["ring", "0:0:0"],
        ["ring", "none"],
        ["ring", "0:some"],
        ["ring", "0" * 64],
        ["ping", "all"],
        ["ping", "0:all"],
        ["ping", "0", "--interval", "x"],
        ["ping", "0", "--timeout", "x"],
        ["ping", "0", "--count", "0"],
        ["echo", "all"],
        ["echo", "0:all"],
        ["echo", "0", "--timeout", "x"],
        ["read", "0", "--hex", "--text"],
        ["read", "0", "--hex", "--raw"],
        ["read", "0", "--raw", "--json"],
        ["write", "0", "text", "--nul", "--length", "0"],
        ["monitor", "--reconnect-interval", "0"],
        ["shell", "--reconnect-interval", "x"],
    ],
)
def test_senseless_arguments(run_plain, arguments):
    run_plain("--target", "/nowhere", *arguments, status=USAGE)


def test_closed_standard_descriptors(server, cli):
    """What the tool opens must not end up as its stdin, stdout or stderr."""
    server()
    # The result cannot be written, and neither can the message about it.
    assert cli("info", setup=lambda: os.closerange(0, 3)).wait() == FAILURE
    assert cli("shell", setup=lambda: os.close(0)).wait() == OK


def test_full_disk_is_a_failure(server, run):
    server()
    with open("/dev/full", "w") as full:
        assert "stdout" in run("info", stdout=full, status=FAILURE).stderr
        run("--help", stdout=full, status=FAILURE)
        run("read", "0", "64K", stdout=full, status=FAILURE)
        script(run, "info\n", stdout=full, status=FAILURE)


def test_descriptor_limit_is_raised(attached):
    """More peers than the soft limit allows: the tool raises it to the hard one."""

    def lower():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, hard))

    process = attached("peers", "--json", own_id=30, own=4, peers={peer: 4 for peer in range(30)}, setup=lower).process
    assert process.wait() == OK, process.describe()
    assert len(json.loads(process.stdout)["peers"]) == 30


# ---- targets -------------------------------------------------------------------------------------------


def test_target_forms(server, room, run_plain):
    server()
    for target in (f"unix:{room.socket}", room.socket):
        for arguments in (
            ["--target", target, "info"],
            ["-t", target, "info"],
            ["info", "--target", target],
            ["info", f"--target={target}"],
        ):
            assert f"unix:{room.socket}" in run_plain(*arguments).stdout
        assert room.socket in run_plain("info", env={"IVSHMEM_TARGET": target}).stdout
    relative = run_plain("-t", "./socket", "info", cwd=room.path)
    assert "unix:./socket" in relative.stdout
    run_plain("-t", "../" + os.path.basename(room.path) + "/socket", "info", cwd=room.path)
    # The option wins over the environment.
    run_plain("-t", room.socket, "info", env={"IVSHMEM_TARGET": "/nowhere"})
    process = run_plain("info", env={"IVSHMEM_TARGET": "nonsense"}, status=USAGE)
    assert "IVSHMEM_TARGET" in process.stderr


def has_ivshmem_device():
    for path in glob.glob("/sys/bus/pci/devices/*"):
        with open(f"{path}/vendor") as vendor, open(f"{path}/device") as device:
            if (vendor.read().strip(), device.read().strip()) == ("0x1af4", "0x1110"):
                return True
    return False


def in_private_tmp(directory):
    """For a child: another /tmp, and the build directory at /mnt because it may have been below the old."""
    return wire.private_mounts(("/mnt", wire.BUILD), ("/tmp", directory))


def can_unshare():
    try:
        subprocess.run(["true"], preexec_fn=in_private_tmp("/proc"), check=True)
        return True
    except (OSError, subprocess.SubprocessError):
        return False


@pytest.mark.skipif(not can_unshare(), reason="needs the right to make a mount namespace")
def test_default_target(server, room, processes):
    def info(status):
        # An empty IVSHMEM_TARGET is as if it was not there.
        process = wire.Process(["/mnt/ivshmem", "info"], setup=in_private_tmp(room.path), env={"IVSHMEM_TARGET": ""})
        processes.append(process)
        assert process.wait() == status, process.describe()
        return process

    group = server(path=room.file("ivshmem_socket"))
    assert "unix:/tmp/ivshmem_socket" in info(OK).stdout
    if not has_ivshmem_device():
        group.finish()
        process = info(FAILURE)
        # The sentence names both ways.
        for word in ("/tmp/ivshmem_socket", "ivshmem-server", "unix:", "pci:auto", "ivshmem-doorbell"):
            assert word in process.stderr


@pytest.mark.skipif(has_ivshmem_device(), reason="this machine has an ivshmem device")
def test_no_device(run_plain):
    process = run_plain("--target", "pci:auto", "info", status=FAILURE)
    assert "ivshmem-doorbell" in process.stderr
    process = run_plain("--target", "pci:99:1f.7", "--backend", "sysfs", "info", status=FAILURE)
    assert process.stderr.startswith("ivshmem: ")


def test_missing_socket(run, room):
    """With a remedy, also when only a dead server's socket is there, and when its path cannot be that of a socket."""
    process = run("info", status=FAILURE)
    assert room.socket in process.stderr and "ivshmem-server" in process.stderr
    wire.bound(room.socket).close()
    process = run("info", status=FAILURE)
    assert room.socket in process.stderr and "start it again" in process.stderr
    assert "107 bytes" in run("info", path="/tmp/" + "x" * 200, status=FAILURE).stderr


@root_only
def test_no_permission(server, room, run):
    server()
    os.chmod(room.socket, 0o600)
    # The build directory may be closed to others, so the program is opened here.
    binary = os.open(wire.program("ivshmem"), os.O_RDONLY)
    try:
        process = run(
            "info",
            binary=f"/proc/self/fd/{binary}",
            pass_fds=[binary],
            user=65534,
            status=FAILURE,
            env={"LD_LIBRARY_PATH": wire.BUILD},
        )
    finally:
        os.close(binary)
    assert "permission" in process.stderr.lower(), process.describe()


def test_silent_server_times_out(fake, run):
    began = time.monotonic()
    process = run("info", "--connect-timeout", "0.3", status=FAILURE)
    assert time.monotonic() - began < 5, "that was the default, not what was asked for"
    assert len(process.stderr.splitlines()) == 1


# ---- info and peers ------------------------------------------------------------------------------------


def test_info(server, run, room):
    server("-l", "2M", "--no-observer-socket", vectors=3)
    output = run("info").stdout
    for pattern in (
        rf"target:\s+unix:{room.socket}",
        r"back end:\s+unix",
        r"own id:\s+0",
        r"vectors:\s+3",
        r"memory:\s+2 MiB \(2097152 bytes\)",
        r"mapping:\s+write-back",
    ):
        assert re.search(f"^{pattern}$", output, re.MULTILINE), output
    assert json.loads(run("info", "--json").stdout) == {
        "target": f"unix:{room.socket}",
        "backend": "unix",
        "id": 1,
        "vectors": 3,
        "size": 2097152,
        "mapping": "write-back",
    }


def test_peers(server, run):
    group = server("--no-observer-socket", vectors=2)
    assert run("peers").lines() == ["own id 0: 2 vectors", "no other peer is connected"]
    group.client()
    group.client()
    assert run("peers").lines() == ["own id 3: 2 vectors", "peer 1: 2 vectors", "peer 2: 2 vectors"]
    assert json.loads(run("-j", "peers").stdout) == {
        "id": 4,
        "vectors": 2,
        "peers": [{"id": 1, "vectors": 2}, {"id": 2, "vectors": 2}],
    }


def test_peers_with_different_vectors(attached):
    process = attached("peers", own_id=7, own=1, peers={9: 3, 65535: 1}).process
    assert process.wait() == OK
    assert process.lines() == ["own id 7: 1 vector", "peer 9: 3 vectors", "peer 65535: 1 vector"]


def test_server_without_vectors(server, run):
    server("--no-observer-socket", vectors=0)
    assert re.search(r"^vectors:\s+0$", run("info").stdout, re.MULTILINE)
    for arguments in (["wait"], ["ping", "0"], ["echo", "0"]):
        waiting, line = run(*arguments, status=FAILURE).lines("stderr")
        assert "waiting for vector 0" in waiting
        assert "-n 1" in line


def test_json_is_valid_whatever_the_names(server, room, run_plain):
    """A path may hold any byte but NUL; JSON may not."""
    path = os.path.join(os.fsencode(room.path), ODD)
    server()
    os.symlink(room.socket, path)
    process = run_plain("-t", os.fsdecode(b"unix:" + path), "-j", "info")
    assert process.output["stdout"].count(b"\n") == 1
    target = json.loads(bytes(process.output["stdout"]).decode("utf-8", errors="strict"))["target"]
    assert target == f"unix:{room.path}/" + 'od"d\\ \x01\x1f\n\t\x7f ä \ufffd\ufffd(\ufffd\ufffd\ufffd'


# ---- ring ----------------------------------------------------------------------------------------------


def test_ring(server, run):
    group = server(vectors=2)
    first, second = group.client(), group.client()
    run("ring", "0")
    assert counts(*first.peers[0], *second.peers[1]) == [1, 0, 0, 0]
    run("ring", "1:1", "0:1", "0:0", "--count", "3")
    assert counts(*first.peers[0], *second.peers[1]) == [3, 3, 0, 3]
    assert run("ring", "0x1").stdout == ""
    assert counts(*second.peers[1]) == [1, 0]


def test_ring_all(server, run):
    group = server(vectors=2)
    first, second = group.client(), group.client()
    run("ring", "1:all")
    assert counts(*first.peers[0], *second.peers[1]) == [0, 0, 1, 1]
    run("ring", "all")
    assert counts(*first.peers[0], *second.peers[1]) == [1, 1, 1, 1]
    run("ring", "all:1", "--count", "2")
    assert counts(*first.peers[0], *second.peers[1]) == [0, 2, 0, 2]


@pytest.mark.parametrize("whom, rung", [("all", [0, 0, 1, 1]), ("1:1", [0, 1, 0, 0])])
def test_ring_all_does_not_ring_ourselves(attached, whom, rung):
    """But who asks for it may."""
    a = attached("ring", whom, own_id=1, peers={0: 2})
    assert a.process.wait() == OK
    assert counts(*a.own, *a.peers[0]) == rung


def test_ring_nobody(server, run):
    server()
    process = run("ring", "all")
    assert "nobody" in process.stderr
    assert run("ring", "all", "--quiet").stderr == ""


def test_ring_json(server, run):
    group = server(vectors=2)
    first = group.client()
    output = json.loads(run("ring", "--json", "0:all", "--count", "2").stdout)
    assert output == {"rung": [{"peer": 0, "vector": vector, "count": 2} for vector in (0, 1)]}
    assert counts(*first.peers[0]) == [2, 2]


def test_116_ring_errors(server, run):
    group = server(vectors=2)
    first = group.client()
    process = run("ring", "9", status=FAILURE)
    assert "peer 9" in process.stderr and "not connected" in process.stderr
    process = run("ring", "0:2", status=FAILURE)
    assert "vector 2" in process.stderr and "2 vectors" in process.stderr
    assert "peer 9" in run("ring", "9:all", status=FAILURE).stderr
    # One wrong peer does not keep the others from being rung.
    process = run("ring", "9", "0:1", "--json", status=FAILURE)
    assert json.loads(process.stdout) == {"rung": [{"peer": 0, "vector": 1, "count": 1}]}
    assert counts(*first.peers[0]) == [0, 1]


@pytest.mark.parametrize("program", ["ivshmem", "ivshmem-server", "ivshmem-device"])
def test_help_fits_a_terminal(program):
    text = subprocess.run([wire.program(program), "--help"], capture_output=True, text=True, check=True).stdout
    assert text.count("\n") > 20
    assert [line for line in text.splitlines() if len(line) > 80] == []
