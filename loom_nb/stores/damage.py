"""Says where a log is not as it was written, and what to do about it."""

from dataclasses import dataclass

from loom_nb.errors import StoreDamaged

FIXES = ("%loom doctor", "begin a session of its own: %%loom --new")


@dataclass(frozen=True, slots=True)
class Damage:
    """A place in a log that is not as it was written. `seq` 0 stands for the session as a whole."""

    session: str
    seq: int
    problem: str

    def __str__(self) -> str:
        return f"session {self.session!r}, entry {self.seq}: {self.problem}"

    def error(self, place: object) -> StoreDamaged:
        """The refusal to read over it; `place` is the file."""
        return StoreDamaged(
            f"The log of session {self.session!r} is damaged at entry {self.seq}: {self.problem}",
            cause=f"{place} is not as it was written; other sessions are not concerned",
            fixes=FIXES,
        )
