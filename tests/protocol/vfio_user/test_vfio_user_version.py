# SPDX-License-Identifier: BSD-2-Clause
"""vfio-user: the first message."""

import errno
import json
import os
import struct

import pytest

import ivshmem_wire as wire
import vfio_user as vu
from vfio_user import VERSION, message, version_payload

CAPABILITIES = json.loads(vu.QEMU_JSON)["capabilities"]


def with_key(key, value):
    return {"capabilities": dict(CAPABILITIES, **{key: value})}


def without_key(key):
    return {"capabilities": {name: value for name, value in CAPABILITIES.items() if name != key}}


def assert_serves(group):
    """Whatever was said on another connection, the next VMM finds a device."""
    assert group.vmm().info()[2:] == (9, 5)


def refused_and_closed(group, payload, expected=errno.EINVAL, fds=()):
    vmm = group.device.connect()
    assert vmm.refused(VERSION, payload, fds) == expected
    vmm.assert_ended()
    vmm.close()
    assert_serves(group)


# ---- what clients send ---------------------------------------------------------------------------------


def test_qemu(group):
    vmm = group.device.connect()
    answer = vmm.exchange(VERSION, vu.QEMU_VERSION)
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


def test_config_space_in_one_read(vmm):
    assert len(vmm.read(vu.CONFIG, 0, 256)) == 256


def test_cloud_hypervisor(group):
    vmm = group.device.connect()
    minor, capabilities = vmm.version(vu.RUST_VERSION)
    assert minor == 1
    if "migration" in capabilities:
        assert "pgsize" in capabilities["migration"], "its parser panics"


@pytest.mark.parametrize("minor, answer", [(0, 0), (1, 1), (2, 1), (65535, 1)])
def test_minor_is_the_smaller_one(group, minor, answer):
    assert group.device.connect().version(version_payload(vu.QEMU_JSON, minor=minor))[0] == answer


@pytest.mark.parametrize("text", [None, b"", b"{}", {"capabilities": {}}], ids=["none", "", "empty", "no capabilities"])
def test_nothing_said_means_defaults(group, text):
    minor, capabilities = group.device.connect().version(version_payload(text, minor=1))
    assert minor == 1
    assert capabilities["max_msg_fds"] <= 16


@pytest.mark.parametrize("key", sorted(CAPABILITIES))
def test_each_key_may_be_missing(group, key):
    vmm = group.vmm(version_payload(without_key(key)))
    assert vmm.info()[2:] == (9, 5)


def test_unknown_keys_are_ignored(group):
    text = {"capabilities": dict(CAPABILITIES, twin_socket={"supported": True, "fd_index": 0}, more=[1, {}])}
    text["else"] = "x"
    group.vmm(version_payload(text)).info()


@pytest.mark.parametrize("key", ["max_msg_fds", "max_dma_maps", "max_data_xfer_size", "pgsizes"])
def test_large_numbers_are_no_fault(group, key):
    """They are what the client can take."""
    group.vmm(version_payload(with_key(key, 1 << 40))).info()


def test_small_transfers(group):
    """A client that takes little."""
    vmm = group.vmm(version_payload(with_key("max_data_xfer_size", 256)))
    assert vmm.read(vu.CONFIG, 0, 256)[:4] == bytes.fromhex("f41a1011")
    assert vmm.read(vu.BAR2, 0, 256) == bytes(256)


def test_id_is_echoed(group):
    for number in (0, 1, 0x8000, 65535):
        vmm = group.device.connect()
        reply = vmm.exchange(VERSION, vu.QEMU_VERSION, number=number)
        assert reply.number == number
        # QEMU's counter goes on over connections, Cloud Hypervisor uses one twice.
        for _ in range(2):
            assert vmm.exchange(vu.GET_INFO, struct.pack("=IIII", 16, 0, 0, 0), number=7).number == 7
        vmm.close()


# ---- what is wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("major", [1, 2, 999, 65535])
def test_another_major(group, major):
    refused_and_closed(group, version_payload(vu.QEMU_JSON, major=major))


@pytest.mark.parametrize("length", range(4))
def test_too_short(group, length):
    refused_and_closed(group, bytes(length))


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
    ],
    ids=lambda text: repr(text[:40]),
)
def test_no_json(group, text):
    refused_and_closed(group, version_payload(text))


@pytest.mark.parametrize("text", [b"{}", vu.QEMU_JSON], ids=["empty", "QEMU's"])
def test_no_nul(group, text):
    refused_and_closed(group, version_payload(text, end=b""))


@pytest.mark.parametrize("value", [23, "x", [], None, True], ids=repr)
def test_capabilities_of_another_type(group, value):
    refused_and_closed(group, version_payload({"capabilities": value}))


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
def test_each_key_wrong(group, key, value):
    refused_and_closed(group, version_payload(with_key(key, value)))


def test_second_version(vmm):
    assert vmm.refused(VERSION, vu.QEMU_VERSION) == errno.EINVAL


@pytest.mark.parametrize("command", [command for command in range(20) if command != VERSION] + [255, 65535])
def test_anything_else_first(group, command):
    vmm = group.device.connect()
    assert vmm.refused(command, struct.pack("=IIII", 16, 0, 0, 0)) == errno.EINVAL
    vmm.assert_ended()
    vmm.close()
    assert_serves(group)


def test_version_without_reply(group):
    """No reply at all, also not to a refused one; nobody can work with that, but nobody may hang on it."""
    vmm = group.device.connect()
    vmm.send(VERSION, vu.QEMU_VERSION, flags=vu.NO_REPLY)
    assert vmm.info()[2:] == (9, 5)
    vmm = group_next(group)
    vmm.send(VERSION, b"", flags=vu.NO_REPLY)
    vmm.assert_ended()


def group_next(group):
    """The next VMM, after the one before has gone."""
    group.device.forget_vmms()
    return group.device.connect()


def test_descriptors_with_version_are_closed(group):
    before = len(group.device.fds())
    canaries = [wire.Canary() for _ in range(3)]
    vmm = group.device.connect()
    fds = [canary.fd for canary in canaries]
    try:
        vmm.call(VERSION, vu.QEMU_VERSION, fds)
    except vu.Refused:
        pass
    for canary in canaries:
        canary.close_own()
        canary.assert_closed()
    group.device.forget_vmms()
    group.device.wait_fds(before)


def test_json_that_is_large(group):
    text = json.dumps({"capabilities": {"x": "y" * 60000}}).encode()
    vmm = group.device.connect()
    assert vmm.version(version_payload(text))[0] == 0
    vmm.close()
    refused_and_closed(group, version_payload(text.replace(b"yy", b"yyy")))


def test_json_that_never_ends(group):
    """More than a socket holds: the rest of it is not waited for."""
    vmm = group.device.connect()
    with pytest.raises(BrokenPipeError):
        vmm.send_bytes(message(VERSION, version_payload(b"y" * 900000), 5))
    assert vmm.reply_to(5, VERSION).error == errno.EINVAL
    vmm.assert_ended()


def test_connect_and_go(group):
    for _ in range(50):
        group.device.connect().close()
    group.device.forget_vmms()
    assert_serves(group)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 20, 100, 213])
def test_gone_in_the_middle_of_it(group, length):
    vmm = group.device.connect()
    vmm.send_bytes(vu.message(VERSION, vu.QEMU_VERSION)[:length])
    vmm.close()
    assert_serves(group)


def test_nobody_else_may_be_first(group):
    """os.urandom() is not a protocol."""
    for _ in range(20):
        vmm = group.device.connect()
        try:
            vmm.send_bytes(os.urandom(300))
            vmm.sock.shutdown(1)
        except BrokenPipeError:
            pass
        vmm.drain_to_end()
        vmm.close()
    assert_serves(group)
