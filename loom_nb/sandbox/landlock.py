"""Walls that a process builds around itself: Landlock for files, a system call filter for sockets.

Only the standard library, and only what is loaded quickly: this runs in a child between its start
and its program. Every failure raises OSError, so that no program starts without its walls.
"""

import ctypes
import os
import struct

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
READS = EXECUTE | READ_FILE | READ_DIR
_RIGHTS_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 3  # bind and connect, from ABI 4
_SCOPES = 3  # abstract sockets and signals, from ABI 6

LEAST_ABI = 3
"""Before it, a file outside of the walls could be cut to nothing."""

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _EACCES, _ENOSYS = 1, 13, 38
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_DROP_FROM_BOUND, _CAPABILITIES = 24, 0x20080522

FAMILIES_OF_NETWORK = (_INET, _INET6, _NETLINK)
FAMILIES_IN_NAMESPACE = (_UNIX, _INET, _INET6, _NETLINK)
"""What may be made where the network is one's own, and sockets of others cannot be seen."""

# machine: (audit number, socket, [add_key, request_key, keyctl, io_uring_setup, _enter, _register])
_MACHINES = {
    "x86_64": (0xC000003E, 41, (248, 249, 250, 425, 426, 427)),
    "aarch64": (0xC00000B7, 198, (217, 218, 219, 425, 426, 427)),
}

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def abi() -> int:
    """The version of Landlock that this kernel speaks; 0 where there is none."""
    found = _libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(int(found), 0)


def machine_is_known() -> bool:
    """Whether the system calls of this machine are in our table."""
    return os.uname().machine in _MACHINES


def writes(version: int) -> int:
    """The rights of a tree that may be read and written: everything but making devices."""
    return _handled(version) & ~((1 << 6) | (1 << 11) | IOCTL_DEV)


def restrict(rules: list[tuple[str, int]], *, network: bool) -> None:
    """Close everything to this process and its children but the trees in `rules`. root is no root in there.

    Args:
        rules: path and rights of each tree; a path that is gone is passed over.
        network: whether IP sockets may be made. Sockets of other kinds never may, pairs always.

    Raises:
        OSError: a wall could not be built.
    """
    version = abi()
    if version < LEAST_ABI:
        raise OSError(_ENOSYS, "Landlock is not there")
    _drop_capabilities()
    _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _restrict_files(version, rules, network=network)
    _restrict_calls(network=network)


def _drop_capabilities() -> None:
    """With them, root could read the environment of any process."""
    for number in range(64):
        _libc.prctl(_DROP_FROM_BOUND, number, 0, 0, 0)  # fails where there is none to drop
    header = struct.pack("Ii", _CAPABILITIES, 0)
    _check(_libc.capset(header, bytes(24)), "capabilities")


def _restrict_files(version: int, rules: list[tuple[str, int]], *, network: bool) -> None:
    handled = _handled(version)
    fields = [handled]
    if version >= 4:
        fields.append(0 if network else _TCP)
    if version >= 6:
        fields.append(_SCOPES)
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = _check(_libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0), "ruleset")
    for path, rights in rules:
        _allow(ruleset, path, rights & handled)
    _check(_libc.syscall(_RESTRICT, ruleset, 0), "restrict")
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return
    if not os.path.isdir(f"/proc/self/fd/{place}"):  # noqa: PTH112  pathlib takes long to load
        rights &= _RIGHTS_OF_FILES
    attributes = struct.pack("=Qi", rights, place)
    _check(_libc.syscall(_ADD, ruleset, 1, attributes, 0), f"rule for {path}")
    os.close(place)


def _restrict_calls(*, network: bool) -> None:
    program = filter_program(os.uname().machine, FAMILIES_OF_NETWORK if network else ())
    loaded = _Program(len(program) // 8, program)
    _check(_libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(loaded), 0, 0), "filter")


def filter_program(machine: str, families: tuple[int, ...]) -> bytes:
    """The filter: no sockets but of these families, no kernel keyring, no io_uring.

    io_uring makes sockets without the system call that is filtered. Raises KeyError for a machine
    that is not in the table.
    """
    audit, socket, refused = _MACHINES[machine]
    code = [_step(_LOAD, 4), _step(_EQUAL, audit, 1, 0), _step(_RETURN, _KILL), _step(_LOAD, 0)]
    if machine == "x86_64":  # the second calling convention has the same calls by other numbers
        code += [_step(_AT_LEAST, 0x40000000, 0, 1), _step(_RETURN, _ERRNO | _ENOSYS)]
    for number in refused:
        code += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ERRNO | _EPERM)]
    code += [_step(_EQUAL, socket, 1, 0), _step(_RETURN, _ALLOW), _step(_LOAD, 16)]
    for family in families:
        code += [_step(_EQUAL, family, 0, 1), _step(_RETURN, _ALLOW)]
    return b"".join([*code, _step(_RETURN, _ERRNO | _EACCES)])


def _step(operation: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("HBBI", operation, then, otherwise, value)


def _handled(version: int) -> int:
    return _RIGHTS_BY_ABI[min(version, 5)]


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return int(result)
