# SPDX-License-Identifier: BSD-2-Clause
"""
Runs a program from system call to system call (ptrace), to do something to it at an exact instant that
no sleep would hit.
"""

import ctypes
import os
import platform
import signal
import struct

PTRACE_TRACEME, PTRACE_CONT, PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SYSCALL, PTRACE_SETOPTIONS = 0, 7, 16, 17, 24, 0x4200
PTRACE_GET_SYSCALL_INFO = 0x420E
PTRACE_GETREGS, PTRACE_SETREGS = 12, 13
PTRACE_GETEVENTMSG, PTRACE_EVENT_FORK = 0x4201, 1
PTRACE_O_TRACESYSGOOD, PTRACE_O_TRACEFORK, PTRACE_O_TRACEEXEC, PTRACE_O_EXITKILL = 1, 2, 0x10, 0x100000
WALL = 0x40000000
SYSCALL_STOP = signal.SIGTRAP | 0x80

# The numbers of some system calls; a program may use either of several.
_NUMBERS = {
    "x86_64": {
        "listen": {50}, "unlink": {87, 263}, "wait": {232, 281, 441}, "recvmsg": {47}, "accept": {288}, "poll": {7, 271},
        "recvmmsg": {299},
    },
    "aarch64": {
        "listen": {201}, "unlink": {35}, "wait": {22, 441}, "recvmsg": {212}, "accept": {242}, "poll": {73},
        "recvmmsg": {243},
    },
}.get(platform.machine(), {})
KNOWN = bool(_NUMBERS)

# struct user_regs_struct of x86-64, and where in it a system call has its number, arguments and result.
_REGISTERS = struct.Struct("=27Q")
_NUMBER, _RESULT, _PLACE, _ARGUMENTS = 15, 10, 16, (14, 13, 12, 7, 9, 8)
CAN_MAKE_CALLS = platform.machine() == "x86_64"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request, pid, address=0, data=0):
    result = _libc.ptrace(request, pid, address, data)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"ptrace({request:#x})")
    return result


def trace_me():
    """For the child, just before it executes the program."""
    _libc.ptrace(PTRACE_TRACEME, 0, None, None)


class Stepper:
    """
    Of a child that called trace_me(), or with `attach` of any child, or with `foreign` of any process or thread. All
    calls must come from the thread that started it, or attached to it.
    """

    def __init__(self, pid, attach=False, foreign=False):
        self.pid, self.foreign = pid, foreign
        self.ended = False
        if attach or foreign:
            _ptrace(PTRACE_ATTACH, pid)
        assert os.WIFSTOPPED(os.waitpid(pid, WALL)[1])
        _ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

    def step(self):
        """To the beginning or end of the next system call; False if the program ended instead."""
        deliver = 0
        while True:
            _ptrace(PTRACE_SYSCALL, self.pid, 0, deliver)
            # WNOWAIT: the end is for Popen to see.
            result = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT | WALL)
            if result.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
                self.ended = True
                if self.foreign:
                    os.waitpid(self.pid, 0)  # or its parent never hears of it
                return False
            status = os.waitpid(self.pid, WALL)[1]
            if os.WSTOPSIG(status) == SYSCALL_STOP:
                return True
            # That it executes another program is an event, and no signal.
            deliver = 0 if status >> 16 else os.WSTOPSIG(status)

    def into_child(self):
        """To the fork: the child, held at its first instant, and the parent running freely."""
        _ptrace(PTRACE_SETOPTIONS, self.pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK)
        status = 0
        while status >> 8 != signal.SIGTRAP | PTRACE_EVENT_FORK << 8:
            _ptrace(PTRACE_CONT, self.pid)
            status = os.waitpid(self.pid, 0)[1]
            assert os.WIFSTOPPED(status), "the program ended before it forked"
        message = ctypes.c_ulong()
        _ptrace(PTRACE_GETEVENTMSG, self.pid, 0, ctypes.addressof(message))
        child = Stepper.__new__(Stepper)
        child.pid, child.ended, child.foreign = message.value, False, True
        os.waitpid(child.pid, WALL)
        self.release()
        return child

    def kill(self):
        """Before the system call that is about to begin."""
        os.kill(self.pid, signal.SIGKILL)
        if self.foreign:
            os.waitpid(self.pid, 0)

    def close(self):
        """End one that is not our own child, and that is still held."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, WALL)
        except (ProcessLookupError, ChildProcessError):
            pass

    def system_call(self):
        """The number of the system call that is about to begin, None at the end of one."""
        buffer = ctypes.create_string_buffer(128)
        _ptrace(PTRACE_GET_SYSCALL_INFO, self.pid, 128, ctypes.addressof(buffer))
        operation, number = buffer.raw[0], struct.unpack_from("@Q", buffer.raw, 24)[0]
        return number if operation == 1 else None

    def at(self, name):
        return self.system_call() in _NUMBERS[name]

    def run_to(self, name):
        """
        To the beginning of a system call: "listen", "unlink", or "wait" for events. Returns the steps
        taken.
        """
        steps = 0
        while self.step():
            steps += 1
            if self.at(name):
                return steps
        raise AssertionError(f"the program ended before it called {name}")

    def make_call(self, number, *arguments):
        """
        Have the program make another system call than the one that it is about to begin, which it makes
        afterwards. Returns the result, or None if it ended instead.
        """
        buffer = ctypes.create_string_buffer(_REGISTERS.size)
        _ptrace(PTRACE_GETREGS, self.pid, 0, ctypes.addressof(buffer))
        before = _REGISTERS.unpack(buffer.raw)
        registers = list(before)
        registers[_NUMBER] = number
        for index, value in zip(_ARGUMENTS, arguments):
            registers[index] = value
        self._set_registers(registers)
        if not self.step():
            return None
        _ptrace(PTRACE_GETREGS, self.pid, 0, ctypes.addressof(buffer))
        result = _REGISTERS.unpack(buffer.raw)[_RESULT]
        # Back to the instruction, which has two bytes, and which takes the number from where the result was.
        registers = list(before)
        registers[_PLACE] -= 2
        registers[_RESULT] = before[_NUMBER]
        self._set_registers(registers)
        return result - 2**64 if result >= 2**63 else result

    def _set_registers(self, registers):
        buffer = ctypes.create_string_buffer(_REGISTERS.pack(*registers))
        _ptrace(PTRACE_SETREGS, self.pid, 0, ctypes.addressof(buffer))

    def release(self, deliver=0):
        """Let it run freely, from here on and with this signal."""
        _ptrace(PTRACE_DETACH, self.pid, 0, deliver)
