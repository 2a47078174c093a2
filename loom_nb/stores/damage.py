"""Says where a log is not as it was written, and what to do about it."""

from dataclasses import dataclass

import msgspec

from loom_nb.errors import StoreDamaged

FIXES = ("%loom doctor", "begin a session of its own: %%loom --new")


@dataclass(frozen=True, slots=True)
class Damage:
    """A place in a log that is not as it was written. `seq` 0 stands for the session as a whole."""

    session: str
    seq: int
    problem: str
    newer: bool = False
    """It is as it was written, but by a version that knows more."""

    def __str__(self) -> str:
        return f"session {self.session!r}, entry {self.seq}: {self.problem}"

    def error(self, place: object) -> StoreDamaged:
        """The refusal to read over it; `place` is the file."""
        if self.newer:
            return StoreDamaged(
                f"The log of session {self.session!r} was written by a newer loom_nb",
                cause=f"entry {self.seq} of {place} is whole, but {self.problem}",
                fixes=("pip install --upgrade loom-nb", FIXES[1]),
            )
        return StoreDamaged(
            f"The log of session {self.session!r} is damaged at entry {self.seq}: {self.problem}",
            cause=f"{place} is not as it was written; other sessions are not concerned",
            fixes=FIXES,
        )


def unread(session: str, seq: int, error: Exception) -> Damage:
    """A whole entry that holds no event of this version: JSON that fits none is of a newer one."""
    newer = isinstance(error, msgspec.ValidationError)
    return Damage(session, seq, f"no event that this version knows: {error}", newer)
