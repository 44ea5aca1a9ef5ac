# SPDX-License-Identifier: BSD-2-Clause
"""The observer's end of the protocol, in raw bytes."""

import ivshmem_wire as wire

VERSION = 65536
COMPLETE = -2
SUFFIX = ".observe"


class Observer(wire.RawClient):
    """Knows in `peers` what it was told, and in `group_vectors` how many each of them has."""

    def __init__(self, path, **options):
        super().__init__(path + SUFFIX, **options)
        self.complete = False

    def greet(self):
        """Read up to the message that says that everybody who is there was announced."""
        message = self.receive()
        assert message is not None, "closed without a word"
        assert message.fd is None, "a descriptor with the version"
        if message.number != VERSION:
            raise wire.Refused(message.number)
        message = self.receive()
        assert message is not None and message.fd is None
        self.group_vectors = self.vectors = message.number
        self.memory = self.expect(wire.MEMORY, True)
        self.follow(lambda: self.complete, "being told that this is all")
        self.log.clear()
        return self

    def take(self, message):
        if message != wire.Message(COMPLETE, None):
            return super().take(message)
        assert not self.complete, "told twice that this is all"
        self.complete = True
        return True
