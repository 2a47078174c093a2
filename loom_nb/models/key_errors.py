"""Why a model has no key that it may use, as errors: none, locked, not granted here, nobody to ask.

Each says what to paste. No message holds a key.
"""

from collections.abc import Sequence

from loom_nb.errors import KeyLocked, KeyNotGranted, LoomKeyError, NobodyToAsk

_OFFLINE = "%%loom -m offline   (needs no key)"


def no_key(
    vendor: str, names: Sequence[str], *, kept: Sequence[str] | None = None, known: bool = True
) -> LoomKeyError:
    """There is none, neither kept nor in the environment.

    Args:
        vendor: whose key.
        names: the environment variables that may hold it.
        kept: the names of the secrets that are kept; None where nobody has looked.
        known: whether `%loom key set` knows the vendor.
    """
    store = f"kept: {', '.join(kept) or 'none'} · " if kept is not None else ""
    typed = [f"%loom key set {vendor}   (hidden input, kept encrypted)"] if known else []
    script = (
        [f'import os, getpass; os.environ["{names[0]}"] = getpass.getpass()   (a script)'] if names else []
    )
    return LoomKeyError(
        f"no key for '{vendor}'",
        cause=f"{store}the environment has no {' or '.join(names)}",
        fixes=[*typed, *script, _OFFLINE],
    )


def locked(vendor: str, cause: str = "") -> KeyLocked:
    """One is kept, and the store is locked."""
    return KeyLocked(
        f"the key for '{vendor}' is locked",
        cause=cause or "it is kept here, and nobody has opened the store since this kernel began",
        fixes=["%loom key unlock   (asks for the passphrase, hidden)", _OFFLINE],
    )


def not_granted(vendor: str, reason: str, *, fixes: Sequence[str] = ()) -> KeyNotGranted:
    """One is kept, and may not be used for this: `reason` is that of the policy."""
    return KeyNotGranted(
        f"the key for '{vendor}' may not be used here",
        cause=reason,
        fixes=[*(fixes or [f"%loom key grant {vendor} --here"]), f"%loom key show {vendor}"],
    )


def nobody(vendor: str, reason: str) -> NobodyToAsk:
    """One is kept, and a person would have to allow its use."""
    return NobodyToAsk(
        f"the key for '{vendor}' needs a person's yes, and nobody can be asked here",
        cause=reason,
        fixes=[f"%loom key policy {vendor} autonomous", _OFFLINE],
    )
