# SPDX-License-Identifier: BSD-2-Clause
"""
A supervisor that keeps descriptors for the next process of its service, as systemd does. Nothing here uses the
code under test.
"""

import array
import fcntl
import os
import signal
import socket
import threading

import ivshmem_wire as wire

FIRST_FD = 3
OUT_OF_THE_WAY = 700
GROUP = "ivshmem-group"


class FakeSupervisor:
    """
    start() runs the program, which gets `sockets` (name to socket) and what it had stored. `store` has the names
    and the descriptors in it, `messages` the texts that came. With `deaf`, it stores nothing and does not say so.
    """

    def __init__(self, path, processes, deaf=False):
        self.path, self.processes, self.deaf = path, processes, deaf
        self.store, self.messages, self.sockets = [], [], {}
        self.changed = threading.Condition()
        self.process = None
        self.notify = wire.bound(path, socket.SOCK_DGRAM)
        self.notify.settimeout(None)
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        while True:
            data, control, flags, _ = self.notify.recvmsg(4096, 4096, socket.MSG_CMSG_CLOEXEC)
            fds = [fd for _, _, body in control for fd in array.array("i", body)]
            assert not flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC)
            if data == b"close":
                return
            with self.changed:
                self._take(data.decode(), fds)
                self.changed.notify_all()

    def _take(self, text, fds):
        fields = dict(line.split("=", 1) for line in text.split("\n"))
        self.messages.append(text)
        if "BARRIER" in fields:
            assert fields == {"BARRIER": "1"} and len(fds) == 1, "systemd ignores the barrier then"
        elif "FDSTORE" in fields and not self.deaf:
            assert fields["FDPOLL"] == "0", "systemd would drop sockets whose other end is closed"
            self.store += [(fields["FDNAME"], os.dup(fd)) for fd in fds]
        elif "FDSTOREREMOVE" in fields:
            for name, fd in self.store:
                if name == fields["FDNAME"]:
                    os.close(fd)
            self.store = [kept for kept in self.store if kept[0] != fields["FDNAME"]]
        for fd in fds:
            os.close(fd)

    def start(self, argv, **options):
        passed = [(name, sock.fileno()) for name, sock in self.sockets.items()] + self.store
        # Out of the way first: one of them may be where another one has to go.
        high = [(name, fcntl.fcntl(fd, fcntl.F_DUPFD, OUT_OF_THE_WAY)) for name, fd in passed]
        last = options.pop("setup", None)

        def setup():
            for number, (_, fd) in enumerate(high):
                os.dup2(fd, FIRST_FD + number, inheritable=True)
                os.set_inheritable(fd, False)
            if last:
                last()

        environment = {"NOTIFY_SOCKET": self.path}
        if passed:
            environment["LISTEN_FDS"] = str(len(passed))
            environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in passed)
        environment.update(options.pop("env", {}))
        pass_fds = [*range(FIRST_FD, FIRST_FD + len(high)), *(fd for _, fd in high)]
        # The shell knows its own process id, as LISTEN_PID must be.
        shell = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"] if passed else []
        # The server is several processes, which end together.
        options.setdefault("start_new_session", True)
        self.process = wire.Process(shell + argv, env=environment, setup=setup, pass_fds=pass_fds, **options)
        for _, fd in high:
            os.close(fd)
        self.processes.append(self.process)
        return self.process

    def wait_for(self, text):
        """Until a message has this line."""
        with self.changed:
            came = lambda: any(text in message.split("\n") for message in self.messages)
            assert self.changed.wait_for(came, wire.TIMEOUT), f"{text} did not come: {self.messages} {self.process.describe()}"

    def ready(self):
        """Until it serves, and what it had stored is no longer needed."""
        self.wait_for("READY=1")
        return self.process

    def catch_up(self):
        """Until all that was sent so far is read: systemd does so before it hears that the process ended."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"CAUGHT_UP=1", self.path)
        self.wait_for("CAUGHT_UP=1")

    def stop(self, number=signal.SIGTERM, status=0):
        self.messages.clear()
        self.process.finish(number, status)

    def names(self):
        return [name for name, _ in self.store]

    def close(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.sendto(b"close", self.path)
        sock.close()
        self.thread.join()
        self.notify.close()
        for _, fd in self.store:
            os.close(fd)
        self.store = []
