"""Moves a program into namespaces of its own, so that nothing it makes can outlive it.

enter() puts the rest of the calling program into new network, mount and PID namespaces (and a user namespace when the
caller is not root). The program becomes PID 1 of them: whatever kills it, the kernel kills everything that it started
and drops every interface, mount and file of the lab, because the state lives on a tmpfs of that mount namespace.

Happy path: unshare, fork; the parent stays outside, passes signals on and ends with the child's status; the child
mounts its own /proc and a tmpfs over /run and returns to the caller.

Failure modes: a kernel or container that forbids one of the steps raises IsolationError, whose text says which step
and what the usual cause is. If the parent dies, even by SIGKILL, the child dies with it (PR_SET_PDEATHSIG).
"""

import ctypes
import errno
import os
import select
import signal
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_BIND = 0x1000
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1

RUN_DIR = "/run"
STAYING = b"stay"

has_entered = False
outer_pid = None  # our process ID outside of the namespaces
_to_parent = -1

_libc = ctypes.CDLL(None, use_errno=True)


class IsolationError(Exception):
    """The system does not let this program have namespaces of its own."""


def _call(function, *arguments):
    if getattr(_libc, function)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


def unshare(flags):
    _call("unshare", flags)


def setns(fd, kind):
    _call("setns", fd, kind)


def mount(source, target, kind=None, flags=0, data=None):
    def text(value):
        return None if value is None else os.fsencode(value)

    try:
        _call("mount", text(source), text(target), text(kind), ctypes.c_ulong(flags), text(data))
    except OSError as error:
        raise OSError(error.errno, f"mount {target}: {os.strerror(error.errno)}") from None


def unmount(target):
    _call("umount2", os.fsencode(target), MNT_DETACH)


def die_with_parent(enabled=True):
    """The kernel kills this process when its parent ends. Turned off by a lab that is to stay up."""
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL if enabled else 0, 0, 0, 0)


def enter(tied=False):
    """Returns in the child, inside the namespaces; the calling process never returns from it.

    Call it before any thread was started. tied: the outer process dies with *its* parent too, as a test should.
    """
    global has_entered, outer_pid, _to_parent
    if tied:
        _tie_to(os.getppid())
    _unshare_all()
    alive_read, alive_write = os.pipe()
    stay_read, _to_parent = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child != 0:
        os.close(alive_read)
        os.close(_to_parent)
        _stand_by(child, stay_read)
    os.close(alive_write)
    os.close(stay_read)
    die_with_parent()
    if select.select([alive_read], [], [], 0)[0]:
        os._exit(1)  # the parent was gone before we asked to die with it
    os.close(alive_read)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    outer_pid = int(os.readlink("/proc/self"))  # while /proc is still the outer one
    _make_home()
    has_entered = True


def stay():
    """The outer process ends with status 0; this one lives on without a terminal, until it is sent a signal."""
    die_with_parent(False)
    os.setsid()
    sys.stdout.flush()
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    os.write(_to_parent, STAYING)


def is_in_user_namespace():
    """Whether user 0 of here is an ordinary user outside."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", "4294967295"]


def _tie_to(parent):
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def _leave(number, _frame):
    raise SystemExit(128 + number)


def _unshare_all():
    flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    if os.geteuid() == 0:
        try:
            unshare(flags)
            return
        except OSError as error:
            if error.errno != errno.EPERM:
                raise IsolationError(f"no namespaces of our own: {error}") from None
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER | flags)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
    except OSError as error:
        raise IsolationError(f"no user namespace: {error}{_why_no_user_namespace()}") from None


def _why_no_user_namespace():
    """The settings known to forbid user namespaces, named when they do."""
    if os.geteuid() == 0:
        return " (a container without the right to make namespaces? give it CAP_SYS_ADMIN)"
    reasons = [
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces is 0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone is 0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
         "kernel.apparmor_restrict_unprivileged_userns is 1"),
    ]
    for path, value, sentence in reasons:
        try:
            with open(path, encoding="ascii") as file:
                if file.read().strip() == value:
                    return f" ({sentence}; run as root instead)"
        except OSError:
            pass
    return " (run as root instead)"


def _write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _stand_by(child, stay_read):
    """The outer process: passes signals on, ends as the child ends. Ctrl-C reaches the child by itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: os.kill(child, number))
    if os.read(stay_read, len(STAYING)) == STAYING:
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _make_home():
    """Private mounts, a /proc of this PID namespace, an empty /run."""
    try:
        _make_mounts_private()
        mount("proc", "/proc", "proc")
        resolv_conf = _read("/etc/resolv.conf")
        mount("tmpfs", RUN_DIR, "tmpfs", 0, "mode=755")
    except OSError as error:
        raise IsolationError(f"no mounts of our own: {error}") from None
    _restore_resolv_conf(resolv_conf)
    os.environ["TMPDIR"] = os.path.join(RUN_DIR, "tmp")
    os.mkdir(os.environ["TMPDIR"])


def _make_mounts_private():
    """Without this the tmpfs over /run would appear in the namespace we came from."""
    try:
        mount("none", "/", None, MS_REC | MS_PRIVATE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise OSError(error.errno, "the root directory is not a mount point (a chroot?): "
                                   "bind it onto itself, or enter it with pivot_root") from None


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _restore_resolv_conf(content):
    """/etc/resolv.conf is a link into /run on many systems; pods need a file there to mount theirs over."""
    target = os.path.realpath("/etc/resolv.conf")
    if not os.path.exists(target) and target.startswith(RUN_DIR + "/"):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content)
