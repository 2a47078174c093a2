"""Secrets kept in this process, with the face of the broker: for tests that need no process of its own."""

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loom_nb.credentials.master_key import KeyFile
from loom_nb.credentials.policies import SecretFacts
from loom_nb.credentials.secrets import secret
from loom_nb.credentials.store import SqliteSecretStore
from loom_nb.credentials.uses import AuditKind, AuditRow, Use


class KeptHere:
    """The administration of `Broker` on a `SqliteSecretStore`."""

    tier = "broker process"

    def __init__(self, home: Path) -> None:
        self.store = SqliteSecretStore(home / "secrets.db", KeyFile(home / "keys" / "master.key"))
        self.rows: list[AuditRow] = []
        self._seq = itertools.count(1)

    def note(self, kind: AuditKind, scope: str, **more: Any) -> None:
        use = more.pop("use", None) or Use(scope=scope, who="person")
        self.rows.append(AuditRow(seq=next(self._seq), moment=time.time(), kind=kind, use=use, **more))

    def put(self, scope: str, secret_type: str, fields: Mapping[str, object], **about: Any) -> SecretFacts:
        facts = self.store.put(scope, secret(secret_type, fields), **about)
        self.note("put", scope)
        return facts

    def rotate(self, scope: str, fields: Mapping[str, object]) -> SecretFacts:
        facts = self.store.rotate(scope, secret(self.store.facts(scope).type, fields))
        self.note("rotated", scope)
        return facts

    def change(self, scope: str, **about: Any) -> SecretFacts:
        facts = self.store.change(scope, **about)
        self.note("changed", scope)
        return facts

    def revoke(self, scope: str) -> bool:
        gone = self.store.revoke(scope)
        self.note("revoked", scope)
        return gone

    def facts(self, scope: str) -> SecretFacts:
        return self.store.facts(scope)

    def list(self, prefix: str = "") -> tuple[SecretFacts, ...]:
        return self.store.list(prefix)

    def damaged(self) -> tuple[str, ...]:
        return self.store.damaged()

    def check_log(self):
        return self.store.check_log()

    def rekey(self) -> int:
        return self.store.rekey()

    def lock(self) -> None:
        self.store.lock()

    def unlock(self, passphrase: str = "") -> None:
        self.store.unlock()

    def find(self, texts: Sequence[str]) -> "list[tuple[int, str]]":
        known = [(one.scope, self.store.get(one.scope)[1].hidden()) for one in self.store.list()]
        return [
            (n, scope)
            for n, text in enumerate(texts)
            for scope, values in known
            if any(v in text for v in values)
        ]

    def log(self, scope: str = "", *, limit: int = 100) -> tuple[AuditRow, ...]:
        rows = [row for row in self.rows if not scope or row.use.scope == scope]
        return tuple(rows[-limit:])
