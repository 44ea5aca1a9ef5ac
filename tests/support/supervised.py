# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-server --supervise, as a server."""

import functools
import os
import signal

import ivshmem_wire as wire
from ivshmem_fixtures import lasting


class Supervised(wire.Server):
    """The parent; `server` is the process id of its child."""

    def __init__(self, path, *arguments, runtime=None, **options):
        options.setdefault("start_new_session", True)
        super().__init__(path, "--supervise", *arguments, env={"XDG_RUNTIME_DIR": runtime}, **options)
        self.runtime = runtime
        self.known = 0

    @property
    def server(self):
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
            children = [int(word) for word in file.read().split()]
        assert len(children) <= 1
        if children and children[0] != self.known:
            self.known = children[0]
        return children[0] if children else None

    def restart(self):
        before = self.server
        self.signal(signal.SIGHUP)
        self.expect(r"ivshmem-server: restarting the server")
        self.expect(r"ivshmem-server: peers that stayed connected: \d+")
        assert self.server != before

    def crash(self):
        """All processes of the server at once."""
        worker = wire.process_children(self.server)[0]
        os.kill(worker, signal.SIGSTOP)
        os.kill(self.server, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)



def supervising(room, processes):
    """For a fixture, see lasting(): none of them leaves its private socket behind."""
    runtime = room.file("run")
    os.makedirs(runtime)
    yield from lasting(functools.partial(Supervised, runtime=runtime), room.socket, processes)
    assert os.listdir(runtime) == []
