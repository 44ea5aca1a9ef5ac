# SPDX-License-Identifier: BSD-2-Clause
"""ivshmem-server --regions: the manager, and the servers that it runs."""

import contextlib
import os
import re
import signal

import guardian
import ivshmem_wire as wire


class Manager(wire.Process):
    """Runs the regions of `folder`; their sockets are in `runtime`."""

    def __init__(self, room, *arguments, binary=None, **options):
        self.folder, self.runtime = room.file("regions"), room.file("run")
        os.makedirs(self.folder, exist_ok=True)
        self.clients, self.known = [], set()
        environment = {"XDG_RUNTIME_DIR": room.path, **options.pop("env", {})}
        argv = [binary or wire.program("ivshmem-server"), "-F", "--regions", self.folder, "--runtime-dir", self.runtime]
        super().__init__(argv + list(arguments), env=environment, **options)

    def settled(self):
        """Waits until all that a start or a reload has set off is decided: (regions that serve, all, wrong files)."""
        words = self.expect(r"ivshmem-server: regions that serve: (\d+) of (\d+); wrong files: (\d+)")
        self.servers()
        return tuple(int(number) for number in words.groups())

    def reload(self):
        self.signal(signal.SIGHUP)
        return self.settled()

    def socket(self, name):
        return os.path.join(self.runtime, name + ".sock")

    def servers(self):
        """The process id of each region's server."""
        found = {}
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
            children = [int(word) for word in file.read().split()]
        for pid in children:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
                name = re.search(r"\0--name=([^\0]*)", file.read())
                if name:
                    found[name.group(1)] = pid
            if pid not in self.known:
                self.known.add(pid)
                guardian.guard_process(pid)
        return found

    def client(self, name, vectors=1):
        client = wire.RawClient(self.socket(name), vectors)
        self.clients.append(client)
        return client.greet()

    def kill(self):
        """The manager first, or it starts other servers."""
        servers = self.servers().values() if self.running() else ()
        if servers:
            self.signal(signal.SIGKILL)
        for pid in servers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        super().kill()
        for client in self.clients:
            client.close()
        for pid in self.known:
            guardian.release("process", str(pid))
