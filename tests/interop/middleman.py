# SPDX-License-Identifier: BSD-2-Clause
"""
Somebody between QEMU and ivshmem-device, who can end their connection at a chosen point of the conversation.
To QEMU that is the end of the device at that point.
"""

import os
import select
import socket
import threading

import ivshmem_wire as wire


def pass_on(source, target):
    """What is there, with its descriptors. False at the end of the stream."""
    data, fds, _, _ = socket.recv_fds(source, 65536, 64)
    if data:
        socket.send_fds(target, [data], fds)
    for fd in fds:
        os.close(fd)
    return bool(data)


class Middleman:
    def __init__(self, path, device_path):
        self.path = path
        self.device = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.device.connect(device_path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(1)
        self.vmm = None
        self.wake, self.waker = socket.socketpair()
        self.thread = threading.Thread(target=self._pump, daemon=True)
        self.thread.start()

    def _pump(self):
        if self.wake in select.select([self.wake, self.listener], [], [])[0]:
            return
        self.vmm = self.listener.accept()[0]
        target = {self.vmm: self.device, self.device: self.vmm}
        going = True
        while going:
            ready = select.select([self.wake, *target], [], [])[0]
            going = self.wake not in ready and all(pass_on(source, target[source]) for source in ready)

    def hold(self):
        """From now on, what either says stays in its socket."""
        self.waker.close()
        self.thread.join(wire.TIMEOUT)
        assert not self.thread.is_alive()

    def break_off(self, taken):
        """Once the VMM has asked for something, with the request `taken` from the socket or not."""
        assert wire.readable(self.vmm, wire.TIMEOUT), "the VMM asks for nothing"
        if taken:
            self.vmm.recv(65536)
        self.vmm.close()

    def close(self):
        self.hold()
        for each in (self.vmm, self.device, self.listener, self.wake):
            if each:
                each.close()
