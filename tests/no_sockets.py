"""Runs a command that the kernel kills, children and C libraries included, the moment it makes a socket.

    python tests/no_sockets.py COMMAND [ARGUMENT ...]

A seccomp filter on the socket system call: it is inherited by every child and cannot be taken off again. Exit status
is that of the command; killed by the filter it is SIGSYS.
"""

import ctypes
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_KILL_PROCESS, RET_ALLOW = 0x80000000, 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
# machine -> (audit architecture, number of the socket call); from linux/audit.h and asm/unistd.h
CALLS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
SUPPORTED = sys.platform == "linux" and platform.machine() in CALLS


def filter_program(architecture: int, call: int) -> bytes:
    """A BPF program: kill on another architecture (its numbers differ) and on `call`, allow the rest.

    An instruction is (code, jump if true, jump if false, constant); the data has the call at 0, the machine at 4.
    """
    instructions = (
        (LOAD_WORD, 0, 0, 4),
        (JUMP_IF_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, RET_KILL_PROCESS),
        (LOAD_WORD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, call),
        (RETURN, 0, 0, RET_KILL_PROCESS),
        (RETURN, 0, 0, RET_ALLOW),
    )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_sockets() -> None:
    """From here on this process and its children are killed when they make a socket. Raises OSError where refused."""
    program = filter_program(*CALLS[platform.machine()])
    libc = ctypes.CDLL(None, use_errno=True)
    argument = Program(len(program) // 8, program)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(argument), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel refused the filter")


if __name__ == "__main__":
    forbid_sockets()
    os.execvp(sys.argv[1], sys.argv[1:])
