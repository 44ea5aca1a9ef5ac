# SPDX-License-Identifier: BSD-2-Clause
"""The command line tool: read and write."""

import json
import os
import subprocess

import ivshmem_wire as wire
from ivshmem_cli import FAILURE, ODD, feed
from ivshmem_fixtures import root_only


def test_write_and_read_bytes(memory_of, run):
    memory = memory_of("1M")
    data = os.urandom(300001)
    run("write", "0x10001", stdin=data)
    assert os.pread(memory, len(data) + 1, 0x10001) == data + b"\0"
    process = run("read", "0x10001", str(len(data)))
    assert bytes(process.output["stdout"]) == data
    # To the end of the memory.
    process = run("read", "0")
    assert bytes(process.output["stdout"]) == os.pread(memory, 1 << 20, 0)
    assert run("read", "1M").stdout == "" and run("read", "0", "0").stdout == ""


def test_write_text(memory_of, run):
    memory = memory_of("64K")
    os.pwrite(memory, b"x" * 64, 0)
    assert run("write", "4", "hello, guest").stdout == ""
    assert os.pread(memory, 20, 0) == b"xxxxhello, guestxxxx"
    run("write", "0", "--nul", "abc")
    assert os.pread(memory, 6, 0) == b"abc\0he"
    run("write", "--length", "2", "1K", "abc")
    assert os.pread(memory, 4, 1024) == b"ab\0\0"
    os.pwrite(memory, b"yyyyyy", 2048)
    run("write", "-n", "3", "--nul", "2K", "abcdef")
    assert os.pread(memory, 6, 2048) == b"ab\0yyy"
    run("write", "-n", "1", "-0", "2K", "abcdef")
    assert os.pread(memory, 3, 2048) == b"\0b\0"
    run("write", "--nul", "3K", "")
    run("write", "--", "3K", "-dash")
    assert os.pread(memory, 6, 3072) == b"-dash\0"
    assert json.loads(run("write", "-j", "--nul", "3K", "four").stdout) == {"offset": 3072, "length": 5}


def test_write_stdin_options(memory_of, run):
    memory = memory_of("64K")
    os.pwrite(memory, b"z" * 16, 0)
    for arguments, expected in (
        (["--nul"], b"abcdef\0z"),
        (["--length", "3"], b"abcdef\0z"),
        (["--length", "3", "--nul"], b"ab\0def\0z"),
    ):
        output = run("write", "0", "--json", *arguments, stdin=b"abcdef").stdout
        assert os.pread(memory, 8, 0) == expected
        assert json.loads(output)["offset"] == 0
    # Nothing is taken from stdin beyond what is wanted.
    fd = feed(b"0123456789")
    run("write", "0", "--length", "4", stdin=fd)
    assert os.lseek(fd, 0, os.SEEK_CUR) == 4
    os.close(fd)


def test_write_beyond_the_end(memory_of, run):
    memory = memory_of("4K")
    process = run("write", "4093", "abcd", status=FAILURE)
    assert "4 KiB (4096 bytes)" in process.stderr
    assert os.pread(memory, 3, 4093) == b"\0\0\0", "a text that does not fit must not be written"
    run("write", "4093", "abc")
    process = run("write", "4093", "abc", "--nul", status=FAILURE)
    process = run("write", "5000", "a", status=FAILURE)
    assert "offset 5000" in process.stderr and "4096 bytes" in process.stderr
    run("write", str(2**64 - 1), "abc", status=FAILURE)


def test_write_too_much_from_stdin(memory_of, run):
    memory = memory_of("64K")
    data = os.urandom(200000)
    process = run("write", "1000", stdin=data, status=FAILURE)
    assert "64 KiB (65536 bytes)" in process.stderr and str(65536 - 1000) in process.stderr
    assert os.pread(memory, 1 << 20, 0) == b"\0" * 1000 + data[: 65536 - 1000]
    # Exactly full is not too much, and one NUL more is.
    for nul in ([], ["--nul"]):
        run("write", "0", "--length", "64K", *nul, stdin=data)
    run("write", "0", stdin=data[:65536])
    run("write", "0", "--nul", stdin=data[:65536], status=FAILURE)
    run("write", "65537", stdin=b"", status=FAILURE)


def test_read_hex(memory_of, run):
    memory = memory_of("1M")
    os.pwrite(memory, bytes(range(0x18, 0x18 + 24)) + b"A~\x7f\x80\xff", 3)
    if os.path.exists("/usr/bin/hexdump"):
        expected = subprocess.run(
            ["/usr/bin/hexdump", "-C", "-s", "1", "-n", "999", f"/proc/self/fd/{memory}"],
            pass_fds=[memory], stdout=subprocess.PIPE, check=True, text=True,
        ).stdout
        assert run("read", "--hex", "1", "999").stdout == expected
    assert run("read", "--hex", "0", "0x4e").lines() == [
        "00000000  00 00 00 18 19 1a 1b 1c  1d 1e 1f 20 21 22 23 24  |........... !\"#$|",
        "00000010  25 26 27 28 29 2a 2b 2c  2d 2e 2f 41 7e 7f 80 ff  |%&'()*+,-./A~...|",
        "00000020  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|",
        "*",
        "00000040  00 00 00 00 00 00 00 00  00 00 00 00 00 00        |..............|",
        "0000004e",
    ]
    assert json.loads(run("read", "3", "4", "-j").stdout) == {"offset": 3, "length": 4, "hex": "18191a1b"}
    large = json.loads(run("read", "0", "200000", "-j").stdout)
    assert bytes.fromhex(large["hex"]) == os.pread(memory, 200000, 0)


def test_read_text(memory_of, run):
    memory = memory_of("1M")
    os.pwrite(memory, b"hello\nthere\0junk", 100)
    assert run("read", "--text", "100").stdout == "hello\nthere\n"
    assert run("read", "--text", "100", "3").stdout == "hel\n"
    assert json.loads(run("read", "--text", "--json", "100").stdout) == {
        "offset": 100,
        "length": 11,
        "text": "hello\nthere",
    }
    os.pwrite(memory, ODD + b"\0", 200)
    assert json.loads(run("read", "--text", "--json", "200").stdout)["length"] == len(ODD)
    assert bytes(run("read", "--text", "200").output["stdout"]) == ODD + b"\n"
    # Without any NUL, to the end.
    os.pwrite(memory, b"e" * 200000, (1 << 20) - 200000)
    assert run("read", "-s", str((1 << 20) - 200000)).stdout == "e" * 200000 + "\n"


def test_read_beyond_the_end(memory_of, run):
    memory_of("4K")
    for arguments in (["4097"], ["0", "4097"], ["1", "4K"], ["4096", "1"], [str(2**64 - 1), "2"]):
        for way in ([], ["--hex"], ["--text"], ["--json"]):
            process = run("read", *arguments, *way, status=FAILURE)
            assert process.stdout == "" and "4096 bytes" in process.stderr


def test_read_on_a_terminal(memory_of, run, terminal):
    memory = memory_of("1M")
    os.pwrite(memory, b"first line of memory", 0)
    os.pwrite(memory, b"\x1b[31mred\x07\xc2\x9b \xc3\xa4\ttab\0", 512)
    run("read", "0", stdout=terminal.process_end)
    dump = terminal.expect(b"00000100\r\n")
    assert b"|first line of me|" in dump
    # Near the end there are fewer than 256 bytes.
    run("read", "0xffff0", stdout=terminal.process_end)
    terminal.expect(b"00100000\r\n")
    run("read", "512", "--text", stdout=terminal.process_end)
    assert terminal.expect(b"\r\n") == b"\\x1b[31mred\\x07\xc2\\x9b \xc3\xa4\ttab"
    run("read", "0", "5", "--raw", stdout=terminal.process_end)
    assert terminal.rest() == b"first"


def test_truncated_memory_is_no_crash(attached):
    """Somebody truncates the file of a memory that is not sealed."""
    a = attached("shell", seals=False)
    os.ftruncate(a.memory, 0)
    a.process.write("read 0 16\n")
    assert a.process.wait() == FAILURE
    assert "truncated" in a.process.stderr and "full" not in a.process.stderr, a.process.describe()


@root_only
def test_a_full_file_system_is_not_called_truncation(server, run, room):
    """The object has its size, but there is no page to be had for it."""
    small = room.file("small")
    os.mkdir(small)
    srv = server("-m", small, "-l", "1M", setup=wire.private_mounts((small, "tmpfs", "size=64K")))
    process = run("write", "0", stdin=bytes(1 << 20), status=FAILURE)
    assert "full" in process.stderr and "--preallocate" in process.stderr, process.describe()
    assert "truncated" not in process.stderr
    assert srv.running()
