"""Where the secrets of this user lie, and what may be seen of that from outside: costs a look at the disk."""

from collections.abc import Mapping
from pathlib import Path


def folder(home: Path) -> Path:
    """Where secrets lie below the home of loom_nb."""
    return home / "secrets"


WAYS: Mapping[str, str] = {
    "keychain": "the keychain of this system",
    "environment": "LOOM_SECRET_KEY of the environment",
    "passphrase": "a passphrase",
    "file": "a key file beside them, which only you may read",
}
"""The ways to the master key, as they are noted beside a store, in words."""


def way_of(home: Path) -> str:
    """Which way to the master key the store goes; empty where it has none yet."""
    try:
        return (folder(home) / "opened-by").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def opened_by(home: Path) -> str:
    """The same in words."""
    return WAYS.get(way_of(home), "")


def is_begun(home: Path) -> bool:
    """Whether anything was ever kept: costs one look at the disk, and starts nothing."""
    place = folder(home)
    return place.is_dir() and any(place.iterdir())
