"""Becomes one child of the supervisor, by exec. Standard library only: run as ``python -I -S launch.py``.

- Linux: the child gets ``--death-signal`` when the supervisor dies, however it dies.
- ``--not-root``: Postgres refuses to run as uid 0. As root, the child gets a user namespace in which root's own uid has
  another number. Nothing changes on disk, so that any path works that works for root. Where user namespaces are
  forbidden (some containers), the child becomes an unprivileged user, keeps only the capability to pass directories
  that are closed to that user (a checkout below a 0700 home), and owns the directories given by ``--owned``.
"""

import argparse
import ctypes
import os
import pwd
import struct
import sys

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
#: initdb looks its own user up, so the number must have a name.
USERS = ("postgres", "daemon", "nobody")


def unprivileged_user() -> pwd.struct_passwd:
    """A user of this machine that is not root."""
    for name in USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    for entry in pwd.getpwall():
        if entry.pw_uid != 0:
            return entry
    sys.exit("Postgres does not run as root, and this machine has no other user: add one (useradd postgres)")


def check(result: int) -> None:
    """Raises OSError from errno where a C function reported failure."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def own(path: str, uid: int, gid: int) -> None:
    """Gives a tree to a user, unless its top belongs to them already."""
    if not os.path.exists(path) or os.stat(path).st_uid == uid:
        return
    for parent, directories, files in os.walk(path):
        for name in directories + files:
            os.chown(os.path.join(parent, name), uid, gid, follow_symlinks=False)
    os.chown(path, uid, gid)  # last: a tree that was given half is given again


def namespace_allowed(libc: ctypes.CDLL, user: pwd.struct_passwd) -> bool:
    """Whether the kernel lets us map ids; tried in a copy, since failing halfway would leave us without any id."""
    probe = os.fork()
    if probe == 0:
        try:
            map_ids(libc, user)
            os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(probe, 0)[1] == 0


def map_ids(libc: ctypes.CDLL, user: pwd.struct_passwd) -> None:
    """Enters a user namespace in which our own uid and gid have the numbers of ``user``."""
    uid, gid = os.geteuid(), os.getegid()
    check(libc.unshare(CLONE_NEWUSER))
    for file, text in (
        ("/proc/self/setgroups", "deny"),
        ("/proc/self/uid_map", f"{user.pw_uid} {uid} 1"),
        ("/proc/self/gid_map", f"{user.pw_gid} {gid} 1"),
    ):
        with open(file, "w", encoding="ascii") as stream:
            stream.write(text)


def become(libc: ctypes.CDLL, user: pwd.struct_passwd) -> None:
    """Drops root for good, keeping CAP_DAC_OVERRIDE across exec."""
    # Else access(2) judges without capabilities, and initdb asks it whether there is a server beside it.
    check(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION_3, 0))
    bit = 1 << CAP_DAC_OVERRIDE
    data = ctypes.create_string_buffer(struct.pack("=6I", bit, bit, bit, 0, 0, 0))
    check(libc.capset(header, data))
    check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0))


def leave_root(libc: ctypes.CDLL, owned: list[str]) -> None:
    """Makes this process one that Postgres accepts."""
    user = unprivileged_user()
    if sys.platform == "linux" and namespace_allowed(libc, user):
        for path in owned:  # an earlier start may have given it away
            own(path, os.geteuid(), os.getegid())
        map_ids(libc, user)
        return
    for path in owned:
        own(path, user.pw_uid, user.pw_gid)
    if sys.platform == "linux":
        become(libc, user)
    else:
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


def main() -> None:
    """Parses the command line and becomes the command after ``--``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--death-signal", type=int, required=True)
    parser.add_argument("--not-root", action="store_true")
    parser.add_argument("--owned", action="append", default=[])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    libc = ctypes.CDLL(None, use_errno=True)
    if options.not_root and os.geteuid() == 0:
        leave_root(libc, options.owned)
    if sys.platform == "linux":
        check(libc.prctl(PR_SET_PDEATHSIG, options.death_signal, 0, 0, 0))
        if os.getppid() != options.parent:  # it died before the line above took effect
            sys.exit("the supervisor is gone")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
