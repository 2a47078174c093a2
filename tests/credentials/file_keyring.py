"""A keychain over a file, for machines without one: a backend of `keyring` like any other."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

VARIABLE = "LOOM_NB_TEST_KEYCHAIN"
"""Names the file. It is locked as a whole while it is changed, as a real keychain is."""


class FileKeyring(KeyringBackend):
    """Passwords in JSON. A file beside it that ends with .locked means that its owner locked it."""

    priority = 1

    @contextmanager
    def _content(self):
        import fcntl

        path = Path(os.environ[VARIABLE])
        if path.with_suffix(".locked").exists():
            raise KeyringLocked("locked")
        with path.with_suffix(".turn").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            text = path.read_text() if path.exists() else "{}"
            content = json.loads(text)
            yield content
            if json.dumps(content) != text:
                draft = path.with_suffix(".new")
                draft.write_text(json.dumps(content))
                draft.replace(path)

    def get_password(self, service, username):
        with self._content() as content:
            return content.get(f"{service}/{username}")

    def set_password(self, service, username, password):
        with self._content() as content:
            content[f"{service}/{username}"] = password

    def delete_password(self, service, username):
        with self._content() as content:
            if content.pop(f"{service}/{username}", None) is None:
                raise PasswordDeleteError("not there")
