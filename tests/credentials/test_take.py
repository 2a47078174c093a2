"""A use is one transaction: judged by what was sealed, written down, counted, and only then given out."""

import os
import resource
import shutil
import sqlite3
from contextlib import closing

import pytest

from loom_nb.credentials.master_key import KeyFile
from loom_nb.credentials.policies import Binding, CredentialPolicy, Window
from loom_nb.credentials.secrets import secret
from loom_nb.credentials.store import SqliteSecretStore
from loom_nb.credentials.uses import Use
from loom_nb.errors import (
    CredentialDenied,
    LoomUsageError,
    ScopeNotFound,
    SecretDamaged,
    SecretsLocked,
    StoreDamaged,
    StoreError,
)

CANARY = "loomcanary0Zq7"
KEY = secret("api_key", {"value": CANARY})
HERE = Binding(hosts=("api.github.com",))
FREE = CredentialPolicy(mode="autonomous")
USE = Use(
    scope="github", who="tool:http_request", notebook="a.ipynb", method="GET", scheme="https",
    host="api.github.com", port=443, path="/user", why="to see who I am",
)  # fmt: skip


class Clock:
    """A clock that stands where it is set."""

    at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "secrets.db"


def opened(path, clock=None, master=None):
    master = master or KeyFile(path.parent / "keys" / "master.key")
    return SqliteSecretStore(path, master, **({"now": clock} if clock else {}))


@pytest.fixture
def store(path, clock):
    with closing(opened(path, clock)) as one:
        yield one


def kinds(store, scope=""):
    return [row.kind for row in store.log(scope)]


def test_a_use_is_written_down_with_who_what_and_where_and_without_the_value(store, path):
    store.put("github", KEY, binding=HERE, policy=FREE)
    facts, value = store.take(USE)
    assert value == KEY
    assert facts == store.facts("github")
    row = store.log("github")[-1]
    assert (row.kind, row.use, row.version, row.mode) == ("used", USE, 1, "autonomous")
    assert "GET https://api.github.com/user" in row.reason
    assert store.check_log() == 2
    assert CANARY not in str(store.log())
    assert not [
        file for file in path.parent.rglob("*") if file.is_file() and CANARY.encode() in file.read_bytes()
    ]


def test_one_shot_gives_once_and_a_count_gives_so_often(store):
    store.put("github", KEY, binding=HERE, policy=CredentialPolicy(mode="one_shot"))
    assert store.take(USE)[0].policy.uses == 0
    with pytest.raises(CredentialDenied, match="no uses left"):
        store.take(USE)
    store.change("github", policy=CredentialPolicy(mode="one_shot", uses=3))
    assert [store.take(USE)[0].policy.uses for _ in range(3)] == [2, 1, 0]
    with pytest.raises(CredentialDenied):
        store.take(USE)
    assert kinds(store) == ["put", "used", "refused", "changed", "used", "used", "used", "refused"]
    assert store.check_log() == 8


def test_who_must_be_asked_is_refused_without_a_yes_and_not_counted(store):
    store.put("github", KEY, binding=HERE, policy=CredentialPolicy(uses=1))
    assert store.ruling(USE).decision == "ask"
    with pytest.raises(CredentialDenied, match="without a person's yes"):
        store.take(USE)
    store.take(Use(**{**{f: getattr(USE, f) for f in USE.__struct_fields__}, "approved": "q1"}))
    assert kinds(store) == ["put", "asked", "refused", "used"]
    assert store.log()[-1].use.approved == "q1"


def test_what_is_not_there_is_locked_or_damaged_is_refused_and_written_down(store, path, tmp_path):
    with pytest.raises(ScopeNotFound):
        store.take(USE)
    store.put("github", KEY, binding=HERE, policy=FREE)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(
            "UPDATE secrets SET facts = replace(CAST(facts AS TEXT), 'GET', 'PUT'), box = zeroblob(60)"
        )
        db.execute("UPDATE secrets SET facts = CAST(facts AS BLOB)")
    with pytest.raises(SecretDamaged):
        store.take(USE)
    (path.parent / "keys" / "master.key").rename(tmp_path / "away")
    with closing(opened(path)) as other, pytest.raises(SecretsLocked):
        other.take(USE)
    assert kinds(store, "github") == ["refused", "put", "refused", "refused"]
    store.check_log()


def test_rows_are_written_for_everything_that_changes_a_secret(store, tmp_path):
    store.put("github", KEY, binding=HERE, policy=FREE)
    store.rotate("github", secret("api_key", {"value": CANARY + "2"}))
    store.change("github", grants=("tool:http_request",), note="n")
    store.rekey(KeyFile(tmp_path / "new.key"))
    store.take(USE)
    store.revoke("github")
    store.revoke("github")
    with pytest.raises(ScopeNotFound):
        store.take(USE)
    assert kinds(store) == ["put", "rotated", "changed", "rekeyed", "used", "revoked", "refused"]
    assert [row.seq for row in store.log("github", limit=2)] == [6, 7]
    assert "tool:http_request" in store.log("github")[2].reason
    assert store.check_log() == 7


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes what is read-only")
def test_a_store_that_may_not_be_written_gives_nothing_out(store, path):
    store.put("github", KEY, binding=HERE, policy=FREE)
    store.close()
    path.chmod(0o400)
    with closing(opened(path)) as other, pytest.raises(StoreError):
        other.take(USE)


@pytest.mark.skipif(os.name != "posix", reason="limits of files are of POSIX")
def test_where_no_row_can_be_written_nothing_is_given_out_and_nothing_counted(store, path):
    store.put("github", KEY, binding=HERE, policy=CredentialPolicy(mode="one_shot", uses=5))
    before = store.log()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(opened(path)) as other:
        other.unlock()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, limit[1]))
        try:
            with pytest.raises(StoreError, match="disk"):
                other.take(USE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (store.log(), store.facts("github").policy.uses) == (before, 5)
    assert store.take(USE)[0].policy.uses == 4


def test_without_its_audit_nothing_is_used(store, path):
    store.put("github", KEY, binding=HERE, policy=FREE)
    no_room = "CREATE TRIGGER no_room BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'no room'); END"
    for harm in (no_room, "DELETE FROM audit_head", "DROP TABLE audit"):
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(harm)
        with pytest.raises(StoreError):
            store.take(USE)


def test_a_box_that_was_seen_closed_is_not_opened_by_a_clock_that_is_turned_back(store, clock, path):
    end = clock.at + 3_600
    store.put("github", KEY, binding=HERE, policy=CredentialPolicy(mode="time_boxed", end=end))
    store.take(USE)
    clock.at -= 59  # clocks are set, a little
    store.take(USE)
    clock.at = end
    with pytest.raises(CredentialDenied, match="closed at"):
        store.take(USE)
    clock.at = end - 61
    with pytest.raises(CredentialDenied, match="turned back"):
        store.take(USE)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:  # nor by the file without the key
        db.execute("UPDATE audit_head SET seen = 0.0")
        with pytest.raises(CredentialDenied, match="turned back"):
            store.take(USE)
        db.execute("UPDATE audit_head SET seen = 0.0, sealed_seen = 0.0")
        with pytest.raises(CredentialDenied, match="turned back"):
            store.take(USE)
    store.change("github", policy=store.facts("github").policy)  # a person says: this is the time
    store.take(USE)


def test_a_clock_that_is_turned_back_does_not_stop_what_has_no_time_box(store, clock):
    store.put("github", KEY, binding=HERE, policy=FREE)
    store.take(USE)
    clock.at -= 1e6
    store.take(USE)


def test_a_zone_that_nobody_knows_is_refused_when_it_is_set(store):
    nowhere = CredentialPolicy(mode="time_boxed", windows=(Window(zone="Europe/Nowhere"),))
    with pytest.raises(LoomUsageError, match="no time zone"):
        store.put("github", KEY, policy=nowhere)
    store.put("github", KEY)
    with pytest.raises(LoomUsageError, match="no time zone"):
        store.change("github", policy=nowhere)


HARMS = [
    ("UPDATE audit SET row = CAST(replace(CAST(row AS TEXT), 'GET', 'PUT') AS BLOB) WHERE seq = 3", 3),
    ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 3", 3),
    ("UPDATE audit SET scope = 'other' WHERE seq = 3", 3),
    ("DELETE FROM audit WHERE seq = 3", 3),
    ("UPDATE audit SET row = 'text' WHERE seq = 3", 3),
    ("DELETE FROM audit WHERE seq > 3", 4),
    ("DELETE FROM audit", 1),
    ("UPDATE audit_head SET seal = zeroblob(28)", 6),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "first"), HARMS)
def test_the_first_row_that_is_not_as_it_was_written_is_named_and_all_secrets_serve_on(
    store, path, harm, first
):
    store.put("github", KEY, binding=HERE, policy=FREE)
    for _ in range(5):
        store.take(USE)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(harm)
    with pytest.raises(StoreDamaged, match=f"damaged at row {first}:"):
        store.check_log()
    store.log()
    assert store.get("github")[1] == KEY
    store.take(USE)
    assert store.log()[-1].kind in ("used", "damaged")  # behind a row that is gone no row can be vouched for


def test_a_chain_that_is_written_anew_without_the_key_is_noticed(store, path):
    store.put("github", KEY, binding=HERE, policy=FREE)
    for _ in range(5):
        store.take(USE)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        import hashlib

        before, rows = bytes(32), db.execute("SELECT seq, row FROM audit ORDER BY seq").fetchall()
        for seq, row in rows:
            told = row.replace(b"to see who I am", b"something else..") if seq == 4 else row
            before = hashlib.sha256(before + told).digest()
            db.execute("UPDATE audit SET row = ?, hash = ? WHERE seq = ?", (told, before, seq))
        db.execute("UPDATE audit_head SET hash = ?", (before,))
        with pytest.raises(StoreDamaged, match="row 6: it is not the row that was sealed"):
            store.check_log()
        db.execute("UPDATE audit_head SET sealed_hash = ?", (before,))
        with pytest.raises(StoreDamaged, match="the seal over it does not fit"):
            store.check_log()


def test_every_byte_of_the_audit_that_is_changed_is_noticed(store, path):
    store.put("github", KEY, binding=HERE, policy=FREE)
    store.take(USE)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for column in ("row", "hash"):
            ((whole,),) = db.execute(f"SELECT {column} FROM audit WHERE seq = 2").fetchall()
            for place in range(len(whole)):
                changed = bytearray(whole)
                changed[place] ^= 1 << (place % 8)
                db.execute(f"UPDATE audit SET {column} = ? WHERE seq = 2", (bytes(changed),))
                with pytest.raises(StoreDamaged, match="row 2"):
                    store.check_log()
            db.execute(f"UPDATE audit SET {column} = ? WHERE seq = 2", (whole,))
    assert store.check_log() == 2


def test_long_and_odd_texts_of_a_use_are_kept_short_and_whole(store):
    odd = Use(scope="x\ud800" * 900, who="tool:" + "y" * 5_000, why="\ud800\0" + "z" * 10_000)
    with pytest.raises(ScopeNotFound):
        store.take(odd)
    (row,) = store.log()
    assert len(row.use.who) == len(row.use.why) == len(row.use.scope) == 1_000
    assert store.check_log() == 1


V1 = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE data_keys (id INTEGER PRIMARY KEY AUTOINCREMENT, salt BLOB NOT NULL, box BLOB NOT NULL)",
    """CREATE TABLE secrets (scope TEXT PRIMARY KEY, data_key INTEGER NOT NULL REFERENCES data_keys,
        facts BLOB NOT NULL, box BLOB NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE versions (scope TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID",
)


def test_a_store_of_the_first_version_is_taken_over_with_all_it_holds(store, path, clock):
    facts = store.put("github", KEY, binding=HERE, policy=FREE)
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TABLE audit")
        db.execute("DROP TABLE audit_head")
        db.execute("UPDATE meta SET value = '1' WHERE key = 'schema'")
        assert {sql for (sql,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} >= {
            "meta", "data_keys", "secrets", "versions",
        }  # fmt: skip
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path, path.with_suffix(".v1"))
    with closing(opened(path, clock)) as later:
        assert later.get("github") == (facts, KEY)
        assert later.log() == ()
        assert later.check_log() == 0
        later.take(USE)
        assert later.check_log() == 1
