# SPDX-License-Identifier: BSD-2-Clause
"""A client of control sockets (docs/protocol.md)."""

import json
import socket

import ivshmem_wire as wire


def connect(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.settimeout(wire.TIMEOUT)
    sock.connect(path)
    return sock


def ask_bytes(path, data):
    """Send these bytes and nothing more; the answer to its end."""
    with connect(path) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as file:
            return file.read()


def ask(path, request):
    """The answer to a request: one line of JSON, and no refusal."""
    answer = ask_bytes(path, request.encode() + b"\n")
    assert answer.endswith(b"\n") and answer.count(b"\n") == 1, answer
    document = json.loads(answer)
    assert "error" not in document, document
    return document


def refusal(path, request, code):
    """The sentence with which the request is refused, with this code."""
    document = json.loads(ask_bytes(path, request.encode() + b"\n"))
    assert set(document) == {"error", "code"} and document["code"] == code, document
    return document["error"]
