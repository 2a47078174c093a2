"""The values that were used so far, to be taken out of everything that leaves the broker."""

import threading
from collections.abc import Iterable

from loom_nb.redaction.redactor import Redactor


class Used:
    """Values by the name of their secret. Safe from any thread; they are forgotten with the process."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._values: dict[str, set[str]] = {}
        self._redactor = Redactor({})

    @property
    def redactor(self) -> Redactor:
        """Takes all of them out of texts and streams."""
        return self._redactor

    def add(self, scope: str, values: Iterable[str]) -> Redactor:
        """From now on, these too."""
        with self._turn:
            known = self._values.setdefault(scope, set())
            if not known.issuperset(values := tuple(values)):
                known.update(values)
                self._redactor = Redactor(self._values)
            return self._redactor

    def __repr__(self) -> str:
        return f"<Used {len(self._values)}>"
