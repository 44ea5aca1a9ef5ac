# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: the first message."""

import errno
import json
import os
import struct

import pytest

import vfio_user as vu
from vfio_user import VERSION, message, version_payload

CAPABILITIES = json.loads(vu.QEMU_JSON)["capabilities"]


def with_key(key, value):
    return {"capabilities": dict(CAPABILITIES, **{key: value})}


@pytest.fixture
def newcomer(group):
    """A VMM that has said nothing yet. Whatever becomes of it, the next one finds a device."""
    vmm = group.device.connect()
    yield vmm
    vmm.close()
    assert group.vmm().info()[2:] == (9, 5)


@pytest.fixture
def refused(newcomer):
    """The payload of VERSION must be refused, and the connection ended."""

    def refused(payload, command=VERSION):
        assert newcomer.refused(command, payload) == errno.EINVAL
        newcomer.assert_ended()

    return refused


# ---- what clients send ---------------------------------------------------------------------------------


def test_qemu(newcomer):
    answer = newcomer.exchange(VERSION, vu.QEMU_VERSION)
    assert answer.size <= 214, "QEMU has room for as much as it sent"
    assert not answer.fds
    assert struct.unpack_from("=HH", answer.payload) == (0, 0), "QEMU refuses a minor version above its own"
    assert answer.payload.endswith(b"\0") and b"\0" not in answer.payload[4:-1]
    capabilities = json.loads(answer.payload[4:-1])["capabilities"]
    assert 1 <= capabilities["max_msg_fds"] <= 16
    assert 256 <= capabilities.get("max_data_xfer_size", 1 << 20) <= 64 << 20
    assert capabilities.get("max_dma_maps", 65535) <= 65535
    assert capabilities.get("pgsizes", 4096) % 4096 == 0
    assert not {"write_multiple", "twin_socket"} & capabilities.keys()


def test_cloud_hypervisor(newcomer):
    minor, capabilities = newcomer.version(vu.RUST_VERSION)
    assert minor == 1
    if "migration" in capabilities:
        assert "pgsize" in capabilities["migration"], "its parser panics"


@pytest.mark.parametrize("minor, answer", [(0, 0), (1, 1), (2, 1), (65535, 1)])
def test_minor_is_the_smaller_one(newcomer, minor, answer):
    assert newcomer.version(version_payload(vu.QEMU_JSON, minor=minor))[0] == answer


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        b"{}",
        {"capabilities": {}},
        *({"capabilities": {name: CAPABILITIES[name] for name in CAPABILITIES if name != key}} for key in CAPABILITIES),
        dict(with_key("twin_socket", {"supported": True, "fd_index": 0}), more="x"),
        with_key("more", [1, {}]),
        *(with_key(key, 1 << 40) for key in ("max_msg_fds", "max_dma_maps", "max_data_xfer_size", "pgsizes")),
        {"capabilities": {"x": "y" * 60000}},
    ],
    ids=lambda text: str(text)[:100],
)
def test_what_a_client_may_say(newcomer, text):
    """Nothing means defaults, each key may be missing, unknown ones are ignored, and numbers are what it can take."""
    minor, capabilities = newcomer.version(version_payload(text, minor=1))
    assert minor == 1
    assert capabilities["max_msg_fds"] <= 16
    assert newcomer.info()[2:] == (9, 5)


def test_small_transfers(group):
    """A client that takes little."""
    vmm = group.vmm(version_payload(with_key("max_data_xfer_size", 256)))
    assert vmm.read(vu.CONFIG, 0, 256)[:4] == bytes.fromhex("f41a1011")
    assert vmm.read(vu.BAR2, 0, 256) == bytes(256)


# ---- what is wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("major", [1, 2, 999, 65535])
def test_another_major(refused, major):
    refused(version_payload(vu.QEMU_JSON, major=major))


@pytest.mark.parametrize("length", range(4))
def test_too_short(refused, length):
    refused(bytes(length))


@pytest.mark.parametrize(
    "text",
    [
        b" ",
        b"}",
        b"{",
        b'{"capabilities"',
        b'{"capabilities": {}',
        b'{"capabilities": {"max_msg_fds": 16}} }',
        b'{"capabilities": {"max_msg_fds": }}',
        b'{"capabilities": {"max_msg_fds: 16}}',
        b'{"capabilities": {}}\0{}',
        b'{"capabilities\0": {}}',
        b"[]",
        b"1",
        b'"capabilities"',
        b"null",
        b"\xff\xfe",
        b'{"capabilities": {"\xff": 1}}',
        b"[" * 90000,
        b'{"capabilities":' * 5000,
        b'{"capabilities": {"x": "' + b"y" * 90000 + b'"}}',
    ],
    ids=lambda text: repr(text[:40]),
)
def test_no_json(refused, text):
    """Or too much of it."""
    refused(version_payload(text))


@pytest.mark.parametrize("text", [b"{}", vu.QEMU_JSON], ids=["empty", "QEMU's"])
def test_no_nul(refused, text):
    refused(version_payload(text, end=b""))


@pytest.mark.parametrize("value", [23, "x", [], None, True], ids=repr)
def test_capabilities_of_another_type(refused, value):
    refused(version_payload({"capabilities": value}))


@pytest.mark.parametrize(
    "key, value",
    [
        ("max_msg_fds", "16"),
        ("max_msg_fds", {}),
        ("max_msg_fds", None),
        ("max_msg_fds", -1),
        ("max_data_xfer_size", "1048576"),
        ("max_data_xfer_size", []),
        ("max_data_xfer_size", -1),
        ("migration", "23"),
        ("migration", 4096),
        ("migration", {"pgsize": "4096"}),
        ("migration", {"pgsize": []}),
    ],
    ids=str,
)
def test_each_key_wrong(refused, key, value):
    refused(version_payload(with_key(key, value)))


@pytest.mark.parametrize("command", [command for command in range(20) if command != VERSION] + [255, 65535])
def test_anything_else_first(refused, command):
    refused(struct.pack("=IIII", 16, 0, 0, 0), command)


def test_version_without_reply(group):
    """No reply at all, also not to a refused one; nobody can work with that, but nobody may hang on it."""
    vmm = group.device.connect()
    vmm.send(VERSION, vu.QEMU_VERSION, flags=vu.NO_REPLY)
    assert vmm.info()[2:] == (9, 5)
    group.device.forget_vmms()
    vmm = group.device.connect()
    vmm.send(VERSION, b"", flags=vu.NO_REPLY)
    vmm.assert_ended()


def test_json_that_never_ends(newcomer):
    """More than a socket holds: the rest of it is not waited for."""
    with pytest.raises(BrokenPipeError):
        newcomer.send_bytes(message(VERSION, version_payload(b"y" * 900000), 5))
    assert newcomer.reply_to(5, VERSION).error == errno.EINVAL
    newcomer.assert_ended()


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 20, 100, 213])
def test_gone_in_the_middle_of_it(group, newcomer, length):
    newcomer.send_bytes(message(VERSION, vu.QEMU_VERSION)[:length])
    for _ in range(50):
        group.device.connect().close()


def test_nobody_else_may_be_first(group, newcomer):
    """os.urandom() is not a protocol."""
    for vmm in (newcomer, *(group.device.connect() for _ in range(20))):
        try:
            vmm.send_bytes(os.urandom(300))
            vmm.sock.shutdown(1)
        except BrokenPipeError:
            pass
        vmm.drain_to_end()
