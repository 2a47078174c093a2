"""The secrets that a process knows by itself: of its environment, and what a person typed as one."""

import os
import re
import threading
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from loom_nb.redaction.redactor import Redactor, redactable

_MARKS = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_ADDRESSES = re.compile(r"UR[IL]|DSN|CONN|PROXY|DATABASE|BROKER|REDIS", re.IGNORECASE)
_PATH = re.compile(r"(?:~|\.{1,2}|[A-Za-z]:)?(?:[/\\][\w.@ -]+)*[/\\][A-Za-z_.][\w. -]{2,}[/\\]?")


class KnownSecrets:
    """Secrets by name, and what takes all of them out of texts. Safe from any thread.

    Args:
        environment: read anew at each `refresh`; variables that are named like secrets count, and addresses
            that hold a password.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.redactor: Redactor | None = None
        """As of the latest `refresh` or `add`; None where there is nothing to look for."""
        self._environment = os.environ if environment is None else environment
        self._turn = threading.Lock()
        self._of_environment: dict[str, str] = {}
        self._data = getattr(self._environment, "_data", self._environment)
        """All of it as it lies there: to decode `os.environ` takes ten times as long."""
        self._seen: dict[Any, Any] | None = None
        """The same at the latest look."""
        self._told: dict[str, frozenset[str]] = {}

    def refresh(self) -> None:
        """Look at the environment again: every run and every result asks, and most find nothing changed."""
        if self._data != self._seen:
            self._look()

    def _look(self) -> None:
        environment = self._environment
        self._seen = dict(self._data)  # before it is read: what changes meanwhile is seen by the next look
        found = {name: environment.get(name, "") for name in tuple(environment) if self._counts(name)}
        if found != self._of_environment:
            with self._turn:
                self._of_environment = found
                self._made()

    def add(self, name: str, *values: str) -> None:
        """From now on, these too."""
        kept = frozenset(filter(redactable, values))
        if not kept <= self._told.get(name, frozenset()):
            with self._turn:
                self._told[name] = self._told.get(name, frozenset()) | kept
                self._made()

    @staticmethod
    @lru_cache(4096)
    def _counts(name: str) -> bool:
        """Whether a variable may hold a secret, by its name: these are the same nearly always."""
        return bool(_MARKS.search(name) or _ADDRESSES.search(name))

    def _made(self) -> None:
        secrets: dict[str, Iterable[str]] = dict(environment_secrets(self._of_environment))
        self.redactor = Redactor(secrets | self._told) or None

    def __repr__(self) -> str:
        return f"<KnownSecrets {len(self._of_environment) + len(self._told)}>"


def environment_secrets(
    environment: Mapping[str, str], key_names: Collection[str] = ()
) -> dict[str, tuple[str, ...]]:
    """The secrets in environment variables, by the name of the variable.

    Of each the value of what is named like a secret, unless it is the path of a file, and else the
    password of an address.

    Args:
        environment: the variables.
        key_names: more of them that count, whatever they are called.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, value in environment.items():
        secret = value.strip() if name in key_names else _secret(name, value.strip())
        if redactable(secret):
            found[name] = (secret,)
    return found


def _secret(name: str, value: str) -> str:
    if _MARKS.search(name):
        return "" if _PATH.fullmatch(value) else value
    try:
        return unquote(urlsplit(value).password or "") if "@" in value and "://" in value else ""
    except ValueError:
        return ""
