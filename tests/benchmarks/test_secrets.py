"""What a secret costs: put, get and use among a thousand, beside a bare row with the same pragmas."""

import sqlite3
from contextlib import closing

import pytest
from measure import interleaved

from loom_nb.credentials.master_key import KeyFile
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.credentials.secrets import secret
from loom_nb.credentials.store import SqliteSecretStore
from loom_nb.credentials.uses import Use

pytestmark = [pytest.mark.slow, pytest.mark.benchmark, pytest.mark.timeout(900)]

MANY, TURN = 1_000, 50
HERE = Binding(hosts=("api.example.com",), paths=("/v1",))
KEY = secret("api_key", {"value": "sk-" + "x" * 40})


class Works:
    """What is done with a store of secrets."""

    def __init__(self, folder, size):
        self.store = SqliteSecretStore(folder / "secrets.db", KeyFile(folder / "master.key"))
        self.count = 0
        for number in range(size):
            policy = (
                CredentialPolicy(mode="one_shot", uses=10**9)
                if number % 2
                else CredentialPolicy(mode="autonomous")
            )
            self.store.put(f"s{number}", KEY, binding=HERE, policy=policy)

    def put(self):
        self.count += 1
        self.store.put(f"new-{self.count}", KEY, binding=HERE)

    def get(self):
        self.store.get("s7")

    def facts(self):
        self.store.facts("s7")

    def ruling(self):
        assert self.store.ruling(used("s8")).decision == "allow"

    def take(self):
        self.store.take(used("s8"))

    def take_counted(self):
        self.store.take(used("s7"))


def used(scope):
    return Use(
        scope=scope, who="tool:http_request", notebook="a.ipynb", session="nb-1", run="r1", call="c1", method="GET",
        scheme="https", host="api.example.com", port=443, path="/v1/items", why="to list what is there",
    )  # fmt: skip


class Bare:
    """A row of the same size, written and read by hand."""

    def __init__(self, path):
        self.db = sqlite3.connect(path, isolation_level=None)
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "fullfsync = ON",
            "secure_delete = ON",
            "foreign_keys = ON",
        ):
            self.db.execute(f"PRAGMA {pragma}").fetchall()
        self.db.execute("CREATE TABLE t (scope TEXT PRIMARY KEY, facts BLOB, box BLOB) WITHOUT ROWID")
        self.count = 0
        for _ in range(MANY):
            self.write()

    def write(self):
        self.count += 1
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("INSERT INTO t VALUES (?, ?, ?)", (f"s{self.count}", b"x" * 400, b"x" * 100))
        self.db.execute("COMMIT")

    def read(self):
        self.db.execute("BEGIN")
        self.db.execute("SELECT facts, box FROM t WHERE scope = 's7'").fetchone()
        self.db.execute("ROLLBACK")


def often(work):
    def turn():
        for _ in range(TURN):
            work()

    return turn


def test_the_cost_of_a_secret_among_a_thousand(table, tmp_path):
    for name in ("many", "few"):
        (tmp_path / name).mkdir()
    many, few, bare = Works(tmp_path / "many", MANY), Works(tmp_path / "few", 10), Bare(tmp_path / "bare.db")
    goals = {"put": "goal ≤ 1,000 µs", "get": "goal ≤ 200 µs"}
    with closing(many.store), closing(few.store), closing(bare.db):
        for what in ("put", "get", "facts", "ruling", "take", "take_counted"):
            floor = bare.read if what in ("get", "facts", "ruling") else bare.write
            works = [often(getattr(many, what)), often(getattr(few, what)), often(floor)]
            at_many, at_few, least = (seconds / TURN * 1e6 for seconds in interleaved(*works, rounds=11))
            kind = "row read" if floor == bare.read else "row written"
            table(
                f"{what.replace('_', ', ')}, CPU, {MANY:,} secrets",
                f"{at_many:,.0f} µs ({at_few:,.0f} µs of 10)",
                f"{least:,.0f} µs: a bare {kind}",
                f"{at_many / least:.1f}× · {goals.get(what, '')}",
            )
