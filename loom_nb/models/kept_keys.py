"""Keys of models that are kept elsewhere than in the environment: who keeps them, and what went wrong."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from loom_nb.errors import CredentialDenied, CredentialError, LoomKeyError, ScopeNotFound, SecretsLocked
from loom_nb.models import key_errors
from loom_nb.protocols import KeySource, Running, current_run

_source: Callable[[], KeySource] | None = None


def come_from(source: Callable[[], KeySource] | None) -> Callable[[], KeySource] | None:
    """Let keys that are in no environment come from there. Nothing is asked before one is needed.

    Returns:
        where they came from before.
    """
    global _source  # one place for the whole process, like the environment
    before, _source = _source, source
    return before


def source() -> KeySource | None:
    """Who keeps keys; None where nobody does."""
    return None if _source is None else _source()


def problem(vendor: str, names: Sequence[str], error: BaseException) -> LoomKeyError | None:
    """What an error of a call says of a kept key; None where it says nothing of it.

    Args:
        vendor: whose key.
        names: the environment variables that may hold it, too.
        error: as the SDK raised it, with what was raised below it.
    """
    below: BaseException | None = error
    while below is not None and not isinstance(below, CredentialError):
        below = below.__cause__
    match below:
        case None:
            return None
        case ScopeNotFound():
            return key_errors.no_key(vendor, names)
        case SecretsLocked():
            return key_errors.locked(vendor, f"{below.title}: {below.cause}" if below.cause else below.title)
        case CredentialDenied() if "person's yes" in below.title:
            return key_errors.nobody(vendor, below.cause)
        case CredentialDenied():
            return key_errors.not_granted(vendor, below.cause or below.title)
    return LoomKeyError(
        f"the key for '{vendor}' cannot be used: {below.title}", cause=below.cause, fixes=below.fixes
    )


@contextmanager
def for_run(run: Running | None) -> Iterator[None]:
    """What is called within is called for a run: whoever gives a key out writes that down."""
    mark = current_run.set(run)
    try:
        yield
    finally:
        current_run.reset(mark)
