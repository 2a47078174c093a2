"""Who may write a session: the lease, the process that holds it, and whether that process still lives."""

import os
import socket
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from loom_nb.errors import LeaseLost, SessionBusy, StoreError
from loom_nb.protocols import Lease


@dataclass(slots=True, weakref_slot=True, eq=False)
class HeldLease:
    """The right to write one session. Whoever drops it without giving it back has given it back.

    Not frozen, because the socket `Lease` lets its fields be set; nothing here sets them.
    """

    session: str
    fence: int


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: host, number, and when and where it was born.

    `born` tells a process from a later one of the same number, and one machine or container from
    another of the same name. It is empty where the system does not say.
    """

    host: str
    pid: int
    born: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.born}"

    @property
    def short(self) -> str:
        """`host:pid`, for people."""
        return f"{self.host}:{self.pid}"

    @classmethod
    def mine(cls, host: str | None = None) -> "Owner":
        """This process. `host` replaces the name of this machine."""
        pid = os.getpid()
        ticks = _born_ticks(pid)
        born = f"{ticks}-{_place()}" if ticks else ""
        return cls(host or socket.gethostname(), pid, born)

    @classmethod
    def parse(cls, text: str) -> "Owner":
        """The inverse of `str`. What is no owner becomes one that nobody can be, so its lease expires."""
        try:
            host, pid, born = text.rsplit(":", 2)
            return cls(host, int(pid), born)
        except ValueError:
            return cls(text, 0)

    def lives(self, mine: "Owner") -> bool | None:
        """Whether the process lives, as seen from `mine`. None where that cannot be told from here."""
        if self.host != mine.host or self.born.partition("-")[2] != mine.born.partition("-")[2]:
            return None
        if self.born:
            return _born_ticks(self.pid) == self.born.partition("-")[0]
        if sys.platform in {"win32", "emscripten", "wasi"}:
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return None
        return None  # some process has this number, perhaps a later one: the clock decides


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """What a store keeps of the lease of a session. An empty `owner` means that nobody holds it."""

    fence: int = 0
    owner: str = ""
    expires: float = 0.0

    @property
    def holder(self) -> Owner:
        """The process that holds it."""
        return Owner.parse(self.owner)


# The leases that somebody in this process still refers to, by store, session and fence.
_IN_USE: "weakref.WeakValueDictionary[tuple[str, str, int], HeldLease]" = weakref.WeakValueDictionary()


class Leases:
    """The rules by which a store on disk gives and takes the right to write a session.

    Pure but for the clock and for what this process holds: the store reads a row, asks, and keeps
    the row that it gets, all under a lock of its own.

    Args:
        place: names the store; two objects for the same place in one process know of each other.
        seconds: how long a silent holder on another machine keeps its right.
        now: the clock, in seconds since the epoch.
        host: the name of this machine, where the system's own will not do.
    """

    def __init__(
        self,
        place: str,
        *,
        seconds: float = 30.0,
        now: Callable[[], float] = time.time,
        host: str | None = None,
    ) -> None:
        self._place = place
        self._seconds = seconds
        self._now = now
        self._host = host

    def mine(self) -> Owner:
        """This process, as it signs leases."""
        return Owner.mine(self._host)

    def take(self, session: str, old: LeaseRow) -> tuple[HeldLease, LeaseRow]:
        """The next lease of a session and its row. Raises `SessionBusy` while the old one is in force."""
        mine = self.mine()
        if self.in_force(session, old, mine):
            raise busy(session, old.holder, mine, old.expires - self._now())
        # One without a past may be the second of its name, after a purge: no old lease may fit it.
        lease = HeldLease(session, old.fence + 1 if old.fence else max(int(self._now() * 1000), 1))
        _IN_USE[self._place, session, lease.fence] = lease
        return lease, LeaseRow(lease.fence, str(mine), self._now() + self._seconds)

    def closed(self, session: str, old: LeaseRow) -> LeaseRow:
        """The row of a session that nobody may write. Raises `SessionBusy` while somebody does."""
        mine = self.mine()
        if self.in_force(session, old, mine):
            raise busy(session, old.holder, mine, old.expires - self._now())
        return LeaseRow(old.fence + 1)

    def check(self, lease: Lease, row: LeaseRow) -> None:
        """Raise `LeaseLost` if the lease is not the one of the row."""
        if row.fence != lease.fence or not row.owner:
            raise lost(lease.session, lease.fence, row.holder.short if row.owner else "")

    def renewed(self, row: LeaseRow) -> LeaseRow:
        """The row with a whole term before it."""
        return replace(row, expires=self._now() + self._seconds)

    def due(self, row: LeaseRow) -> bool:
        """Whether half of the term is over."""
        return row.expires - self._now() < self._seconds / 2

    def drop(self, lease: Lease) -> None:
        """Nobody in this process holds it any more."""
        _IN_USE.pop((self._place, lease.session, lease.fence), None)

    def in_force(self, session: str, row: LeaseRow, mine: Owner) -> bool:
        """Whether somebody writes the session, as seen from `mine`.

        Of a process of this machine it is known whether it lives, whatever the clocks say; of
        another machine, its lease tells.
        """
        if not row.owner:
            return False
        holder = row.holder
        if holder == mine:
            return (self._place, session, row.fence) in _IN_USE
        lives = holder.lives(mine)
        return self._now() < row.expires if lives is None else lives

    def writer(self, session: str, row: LeaseRow, mine: Owner) -> str:
        """Who writes the session, for a listing; empty when nobody does."""
        return row.holder.short if self.in_force(session, row, mine) else ""


def _born_ticks(pid: int) -> str:
    """The start time of a running process in ticks since the boot; empty if it is gone or unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    if len(fields) < 20 or fields[0] in {b"Z", b"X"}:
        return ""
    return fields[19].decode()


def _place() -> str:
    """This boot of this machine, and the process namespace in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return "?"
    return f"{boot}.{namespace.removeprefix('pid:').strip('[]')}"


def busy(session: str, owner: Owner, mine: Owner, seconds: float) -> SessionBusy:
    """The refusal for a session that `owner` writes; `seconds` are left of the lease."""
    if owner == mine:
        holder, closing = "this process", "close it where it is open: await session.close()"
    elif owner.lives(mine):
        holder = f"process {owner.pid} on this machine ({owner.short})"
        closing = (
            f"close it there: await session.close(), or shut down the kernel with process id {owner.pid}"
        )
    else:
        holder = f"process {owner.pid} on {owner.host} ({owner.short})"
        closing = f"close it there, or wait {max(seconds, 1):.0f} s: the right ends if that process is silent"
    return SessionBusy(
        f"Session {session!r} is being written by {holder}",
        cause="one writer at a time keeps a session's log in order",
        fixes=(closing, "begin a session of its own: %%loom --new"),
    )


def lost(session: str, fence: int, holder: str) -> LeaseLost:
    """The refusal for a lease that is over; `holder` is who has the right now, or empty."""
    now = f"has passed to {holder}" if holder else "was given back"
    return LeaseLost(
        f"The right to write session {session!r} {now}",
        cause=f"the lease with number {fence} is over, so nothing was written",
        fixes=("open the session anew: run the cell again", "begin a session of its own: %%loom --new"),
    )


def out_of_order(session: str, expected: int, got_session: str, got: int) -> StoreError:
    """The refusal for an entry that does not continue the log."""
    return StoreError(
        f"Entry {got} of session {got_session!r} does not continue session {session!r} at {expected}",
        cause="a log has no gaps and no repeats, so nothing was written",
        fixes=("open the session anew, so that it reads its log first",),
    )
