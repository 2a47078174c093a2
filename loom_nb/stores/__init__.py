"""Where the logs of the sessions are kept: in a SQLite file; in plain files or in memory on request."""

import os
from pathlib import Path

from loom_nb.stores.files import FileSessionStore
from loom_nb.stores.memory import MemoryStore
from loom_nb.stores.sqlite import SqliteStore

__all__ = ["FileSessionStore", "MemoryStore", "SqliteStore", "default_store"]


def default_store(path: Path | None = None) -> SqliteStore:
    """The store of this user: `loom.db` in `$LOOM_NB_HOME`, or else in the user's data folder.

    Args:
        path: the file to use instead.
    """
    if path is not None:
        return SqliteStore(path)
    home = os.environ.get("LOOM_NB_HOME")
    if home:
        return SqliteStore(Path(home) / "loom.db")
    from platformdirs import user_data_path

    return SqliteStore(user_data_path("loom_nb", appauthor=False) / "loom.db")
