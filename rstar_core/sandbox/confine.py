"""What binds a fork server once (namespaces, file tree, user, privileges) and each child anew (limits).

Best effort: where the kernel refuses a layer, the others still hold, and the server reports which ones do. Which of
them a run may do without is ``level.py``'s to say.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import sysconfig
from pathlib import Path

from rstar_core.sandbox.landlock import restrict_files

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_THP_DISABLE = 1, 4, 38, 41
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
OWN_SPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2
SA_NOCLDSTOP = 1
SYS_PIVOT_ROOT, SYS_MOUNT_SETATTR = 155, 442
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
ATTR_READ_ONLY, ATTR_NO_SUID, ATTR_NO_DEVICES = 1, 2, 4
CAPABILITY_VERSION = 0x20080522
OWN_ID = 59_871  # nobody else's: below what systemd gives out, and mapped in most containers
NO_RANDOM_ADDRESSES = 0x0040000
MIB = 1 << 20
MAX_DESCRIPTORS = 32

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/urandom")
# Of the environment only these: it also holds generators of problems, which compute the answers.
PACKAGES = frozenset(
    "antlr4 antlr4_python3_runtime latex2sympy2_extended math_verify mpmath numpy numpy.libs scipy scipy.libs "
    "sympy".split()
)
STAGING = "/sys"  # where the new root is put together: it is there on every Linux, and nothing we show lies below it

libc = ctypes.CDLL(None, use_errno=True)


def readable_paths() -> list[str]:
    """All that a child may read: the interpreter, its libraries, ``PACKAGES``, two devices. None lies below another."""
    found: list[str] = []
    for path in sorted({sys.base_prefix, *LIBRARIES, *DEVICES, *packages()}, key=len):
        if os.path.exists(path) and not any(path.startswith(f"{above}/") for above in found):  # noqa: PTH110 - light
            found.append(path)
    return found


def site_packages() -> str:
    """Where this interpreter's packages lie."""
    return sysconfig.get_path("purelib")


def packages() -> list[str]:
    """``PACKAGES``, each with what it is said to be (``sympy-1.14.0.dist-info``): some ask for a version."""
    site = site_packages()
    return [f"{site}/{name}" for name in os.listdir(site) if name.partition("-")[0] in PACKAGES]  # noqa: PTH208 - light


def fix_addresses() -> None:
    """Start this program again without address randomisation: what hangs on addresses is then the same every time."""
    persona = libc.personality(0xFFFFFFFF)
    if persona & NO_RANDOM_ADDRESSES == 0 and libc.personality(persona | NO_RANDOM_ADDRESSES) != -1:
        os.execv(sys.executable, sys.orig_argv)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when ``parent`` (its pid as seen from here) dies."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def child_ends() -> int:
    """A descriptor that is readable when a child has ended; being stopped and continued is no news."""
    action = (ctypes.c_uint64 * 19)()  # struct sigaction: handler, 128 bytes of mask, flags, restorer
    action[17] = SA_NOCLDSTOP
    libc.sigaction(signal.SIGCHLD, ctypes.byref(action), None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    mask = (ctypes.c_uint64 * 16)(1 << (signal.SIGCHLD - 1))
    descriptor: int = libc.signalfd(-1, ctypes.byref(mask), os.O_NONBLOCK | os.O_CLOEXEC)
    return descriptor


def small_pages() -> None:
    """No huge pages, here and in all children: one fault is then one page, and copies share what they do not write."""
    libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def prefer_as_oom_victim() -> None:
    Path("/proc/self/oom_score_adj").write_text("1000")


# --- namespaces, files, user ----------------------------------------------------------------------------------


def isolate() -> list[str]:
    """Leave the host: own processes, network, IPC and mounts; a file tree of ``readable_paths``; a user without rights.

    Returns the layers that the kernel granted. After "namespaces" the next fork is process 1. Works as root, in a
    container's root without rights, and as an ordinary user. Needs /proc, which is out of reach afterwards.
    """
    is_root = os.geteuid() == 0
    has_spaces = is_root and libc.unshare(OWN_SPACES) == 0
    has_files = has_spaces and _enter_own_root()
    has_user = is_root and _become_nobody()
    if not has_spaces:
        has_spaces = _unshare_as_user()
        has_files = has_spaces and _enter_own_root()
    granted = {"namespaces": has_spaces, "mounts": has_files, "own user": has_user}
    return [layer for layer, is_granted in granted.items() if is_granted]


def _unshare_as_user() -> bool:
    uid, gid = os.geteuid(), os.getegid()
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self is root's, and the maps can't be written
    if libc.unshare(CLONE_NEWUSER | OWN_SPACES):
        return False
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{OWN_ID} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{OWN_ID} {gid} 1")
    return True


def _become_nobody() -> bool:
    """From root to a user that owns nothing, unless the interpreter could then not read its own library."""
    os.setegid(OWN_ID)
    os.seteuid(OWN_ID)
    is_readable = os.access(os.__file__, os.R_OK, effective_ids=True)
    os.seteuid(0)
    os.setegid(0)
    if is_readable:
        os.setgroups([])
        os.setresgid(OWN_ID, OWN_ID, OWN_ID)
        os.setresuid(OWN_ID, OWN_ID, OWN_ID)
    return is_readable


def _enter_own_root() -> bool:
    """A read-only file tree in memory that holds ``readable_paths`` and nothing else; False where mounting is refused.

    The old root goes last, so that a refusal on the way leaves everything readable as it was.
    """
    try:
        _mount(None, "/", None, MS_REC | MS_PRIVATE)
        _mount("tmpfs", STAGING, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
        for path in readable_paths():
            _show(path)
        _hide_other_packages()
        _seal(STAGING, ATTR_READ_ONLY | ATTR_NO_SUID)
        os.chdir(STAGING)
        _must(libc.syscall(SYS_PIVOT_ROOT, b".", b"."))
        _must(libc.umount2(b".", MNT_DETACH))
        os.chdir("/")
    except OSError:
        return False
    return True


def _hide_other_packages() -> None:
    """Without an environment of its own, the interpreter's tree holds them."""
    site, shown = site_packages(), packages()
    if any(site.startswith(f"{path}/") for path in readable_paths()):
        _mount("tmpfs", STAGING + site, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
        for path in shown:
            _show(path)


def _show(path: str) -> None:
    target = STAGING + path
    if os.path.isdir(path):  # noqa: PTH112 - this process stays light
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    _mount(path, target, None, MS_BIND | MS_REC)
    if path not in DEVICES:
        _seal(target, ATTR_READ_ONLY | ATTR_NO_SUID | ATTR_NO_DEVICES)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [text.encode() if text is not None else None for text in (source, target, kind, options)]
    _must(libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]))


def _seal(target: str, attributes: int) -> None:
    """Add mount attributes to ``target`` and all below it: adding is allowed where the host has locked others."""
    wanted = (ctypes.c_uint64 * 4)(attributes)
    _must(libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, wanted, ctypes.sizeof(wanted)))


def _must(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), "the kernel refused")


# --- privileges and limits ------------------------------------------------------------------------------------


def lock_down() -> bool:
    """Give up every privilege, then every file but the interpreter's. True if Landlock is in force."""
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    return restrict_files(libc, readable_paths(), site_packages())


def memory_in_use(proc: int) -> tuple[int, int]:
    """Bytes of address space, and of data in it, that this process has mapped. ``proc`` is an open /proc."""
    with open(os.open("self/statm", os.O_RDONLY, dir_fd=proc), encoding="ascii") as handle:  # noqa: PTH123
        fields = handle.read().split()
    return int(fields[0]) * resource.getpagesize(), int(fields[5]) * resource.getpagesize()


def limit_resources(cpu_seconds: int, max_address_space: int, max_data: int, max_processes: int) -> None:
    """Hard limits on this process and its children: they can't raise them again."""
    limits = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_AS: max_address_space,
        resource.RLIMIT_DATA: max_data,
        resource.RLIMIT_NPROC: max_processes,
        resource.RLIMIT_STACK: 64 * MIB,
        resource.RLIMIT_NOFILE: MAX_DESCRIPTORS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for name, value in limits.items():
        resource.setrlimit(name, (value, value))
