"""What a person does to a session as a whole: it gets a name, is deleted, is brought back."""

from loom_nb.errors import LoomUsageError, SessionDeleted, StoreError

LONGEST = 80
"""Characters of a name."""


def as_name(text: str) -> str:
    """A name in one line. Raises `LoomUsageError` for what is too long, or cannot be shown."""
    name = " ".join(text.split())
    if len(name) > LONGEST:
        raise LoomUsageError(
            f"a name has at most {LONGEST} characters, not {len(name)}", fixes=[f'"{name[:40]}"']
        )
    if not name.isprintable():
        raise LoomUsageError("a name has only characters that can be shown", cause=f"given: {name!a}")
    return name


def unknown(session: str) -> StoreError:
    """The refusal for a session that has no entries."""
    return StoreError(f"There is no session {session!r}", fixes=("%loom sessions --all",))


def not_deleted(session: str) -> StoreError:
    """The refusal to bring back what is there."""
    return StoreError(
        f"Session {session!r} is not among the deleted ones",
        cause="it was brought back, purged, or never deleted",
        fixes=("%loom sessions deleted",),
    )


def is_deleted(session: str) -> SessionDeleted:
    """The refusal to write what was deleted."""
    return SessionDeleted(
        f"Session {session!r} was deleted",
        cause="nothing is written to what no listing shows",
        fixes=(f"%loom sessions undo {session}", "begin a session of its own: %%loom --new"),
    )
