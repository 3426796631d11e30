"""The system calls that a child may make: an allow-list as a classic BPF program (x86-64 only).

What is not listed fails with EPERM, which Python reports as PermissionError. The calls that could leave the
sandbox or see through it end the process instead.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
from collections.abc import Iterable

# Instructions and actions, see linux/bpf_common.h and linux/seccomp.h.
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER_OFFSET, ARCH_OFFSET, ARGS_OFFSET = 0, 4, 16
ARCH_X86_64, FIRST_X32_CALL = 0xC000003E, 0x40000000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2

# Numbers from asm/unistd_64.h.
READING = {"read": 0, "recvmsg": 47, "pread64": 17, "readv": 19, "getdents64": 217, "lseek": 8, "close": 3}
WRITING = {"write": 1, "writev": 20}  # to what is open: /dev/null and the run's own channel
STATUS = {"stat": 4, "fstat": 5, "lstat": 6, "newfstatat": 262, "statx": 332, "access": 21, "faccessat": 269,
          "faccessat2": 439, "readlink": 89, "readlinkat": 267, "getcwd": 79}  # fmt: skip
MEMORY = {"mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "madvise": 28, "membarrier": 324}
SIGNALS = {"rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sigaltstack": 131, "restart_syscall": 219}
TIME = {"nanosleep": 35, "clock_nanosleep": 230, "clock_gettime": 228, "clock_getres": 229, "gettimeofday": 96,
        "time": 201, "times": 100, "getrusage": 98, "select": 23, "pselect6": 270, "poll": 7, "ppoll": 271}  # fmt: skip
SELF = {"getpid": 39, "getppid": 110, "gettid": 186, "getuid": 102, "geteuid": 107, "getgid": 104, "getegid": 108,
        "uname": 63, "sysinfo": 99, "getrlimit": 97, "sched_yield": 24, "sched_getaffinity": 204, "futex": 202,
        "set_robust_list": 273, "rseq": 334, "getrandom": 318, "exit": 60, "exit_group": 231}  # fmt: skip
FILES = {"dup": 32, "dup2": 33, "dup3": 292, "pipe": 22, "pipe2": 293}
ALLOWED = (READING, WRITING, STATUS, MEMORY, SIGNALS, TIME, SELF, FILES)
FATAL = {"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "mount": 165, "unshare": 272, "setns": 308,
         "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "keyctl": 250, "io_uring_setup": 425,
         "io_uring_enter": 426, "io_uring_register": 427}  # fmt: skip
REFUSED = {16: errno.ENOTTY, 57: errno.EAGAIN, 58: errno.EAGAIN, 435: errno.ENOSYS}
"""ioctl, fork, vfork and clone3: with the errors that their callers know how to take."""
MMAP, OPEN, OPENAT, CLONE, FCNTL, PRLIMIT = 9, 2, 257, 56, 72, 302
CLONE_PARENT, SIGCHLD = 0x8000, 17
BRANCH = CLONE_PARENT | SIGCHLD  # the one clone that a child may ask for: a process, and a child of the zygote
NOTIFY, SYS_SECCOMP, SET_FILTER, NEW_LISTENER = 0x7FC00000, 317, 1, 8

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)  # duplicate, and get and set flags; F_SETOWN would be kill in disguise


class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(Instruction))]


Code = tuple[int, int, int, int]


def has_filter() -> bool:
    return platform.machine() == "x86_64"


def build_filter(may_branch: bool) -> Program | None:
    """The child's program, or None on a processor whose call numbers are not known here."""
    if not has_filter():
        return None
    cloning = [(LOAD, 0, 0, _argument(0)), (JUMP_EQUAL, 0, 1, BRANCH), _return(ALLOW)] if may_branch else []
    on_clone = _on(CLONE, [*cloning, _return(ERRNO | errno.EAGAIN)])
    return _program([*_preamble(), *_rules(), *on_clone, _return(ERRNO | errno.EPERM)])


def listen_to_branches(libc: ctypes.CDLL) -> int:
    """Have the broker decide each clone that names CLONE_PARENT, here and in all children; the listener's descriptor.

    Negative where the kernel can't do that. Needs no_new_privs. This process itself forks without that flag.
    """
    on_clone = [(LOAD, 0, 0, _argument(0)), (JUMP_ANY_BIT, 0, 1, CLONE_PARENT), _return(NOTIFY)]
    program = _program([*_preamble(), *_on(CLONE, [*on_clone, _return(ALLOW)]), _return(ALLOW)])
    listener: int = libc.syscall(SYS_SECCOMP, SET_FILTER, NEW_LISTENER, ctypes.byref(program))
    return listener


def _program(code: list[Code]) -> Program:
    return Program(len(code), (Instruction * len(code))(*(Instruction(*fields) for fields in code)))


def install_filter(libc: ctypes.CDLL, program: Program) -> None:
    """Bind the calling process, for good. Needs no_new_privs."""
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the system-call filter was refused")


def _return(action: int) -> Code:
    return (RETURN, 0, 0, action)


def _argument(index: int) -> int:
    """Offset of the low half of a call's argument."""
    return ARGS_OFFSET + 8 * index


def _preamble() -> list[Code]:
    return [
        (LOAD, 0, 0, ARCH_OFFSET),
        (JUMP_EQUAL, 1, 0, ARCH_X86_64),
        _return(KILL),
        (LOAD, 0, 0, NUMBER_OFFSET),
        (JUMP_AT_LEAST, 0, 1, FIRST_X32_CALL),
        _return(KILL),
    ]


def _rules() -> Iterable[Code]:
    for calls in ALLOWED:
        for number in calls.values():
            yield from _on(number, [_return(ALLOW)])
    for number in FATAL.values():
        yield from _on(number, [_return(KILL)])
    for number, error in REFUSED.items():
        yield from _on(number, [_return(ERRNO | error)])
    yield from _on(MMAP, _unless_shared())
    yield from _on(OPEN, _unless_writing(1))
    yield from _on(OPENAT, _unless_writing(2))
    yield from _on(FCNTL, _if_listed(1, FCNTL_COMMANDS))
    yield from _on(PRLIMIT, _only_reading_own())


def _on(number: int, body: list[Code]) -> list[Code]:
    """``body``, which always returns, for the call ``number``; other calls pass it by."""
    return [(JUMP_EQUAL, 0, len(body), number), *body]


def _unless_shared() -> list[Code]:
    """Memory that copies of the process would write for each other: refused, as is what could be made such memory."""
    return [
        (LOAD, 0, 0, _argument(3)),
        (JUMP_ANY_BIT, 1, 0, mmap.MAP_SHARED),
        _return(ALLOW),
        (JUMP_ANY_BIT, 2, 0, mmap.MAP_ANONYMOUS),
        (LOAD, 0, 0, _argument(2)),
        (JUMP_ANY_BIT, 0, 1, mmap.PROT_WRITE),
        _return(ERRNO | errno.EPERM),
        _return(ALLOW),
    ]


def _unless_writing(index: int) -> list[Code]:
    return [
        (LOAD, 0, 0, _argument(index)),
        (JUMP_ANY_BIT, 0, 1, WRITE_FLAGS),
        _return(ERRNO | errno.EROFS),
        _return(ALLOW),
    ]


def _if_listed(index: int, values: Iterable[int]) -> list[Code]:
    tests = [code for value in values for code in ((JUMP_EQUAL, 0, 1, value), _return(ALLOW))]
    return [(LOAD, 0, 0, _argument(index)), *tests, _return(ERRNO | errno.EPERM)]


def _only_reading_own() -> list[Code]:
    """prlimit: of the caller itself, and with no new limit."""
    halves = [(LOAD, 0, 0, _argument(index) + half) for index in (0, 2) for half in (0, 4)]
    tests = [code for load in halves for code in (load, (JUMP_EQUAL, 1, 0, 0), _return(ERRNO | errno.EPERM))]
    return [*tests, _return(ALLOW)]
