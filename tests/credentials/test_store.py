"""The store of secrets: sealed rows, one master key, many processes, crashes, damage."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from loom_nb.credentials.master_key import EnvironmentKey, KeyFile, Passphrase
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.credentials.sealing import SealingKey
from loom_nb.credentials.secrets import secret
from loom_nb.credentials.store import SqliteSecretStore
from loom_nb.errors import LoomUsageError, ScopeNotFound, SecretDamaged, SecretsLocked

CANARY = "loomcanary0Zq7"
KEY = secret("api_key", {"value": CANARY})


class Moments:
    """A clock that is told."""

    at = 1_000.0

    def __call__(self) -> float:
        self.at += 1
        return self.at


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "secrets.db"


@pytest.fixture
def store(path):
    with closing(SqliteSecretStore(path, KeyFile(path.parent / "keys" / "master.key"), now=Moments())) as one:
        yield one


def again(path, master=None):
    return SqliteSecretStore(path, master or KeyFile(path.parent / "keys" / "master.key"))


def every_byte_below(folder: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_what_is_put_is_there_in_another_process_and_nowhere_in_clear(store, path):
    facts = store.put("github", KEY, binding=Binding(hosts=("api.github.com",)), grants=("nb",), note="mine")
    assert (facts.scope, facts.type, facts.version, facts.created) == ("github", "api_key", 1, 1_001.0)
    with closing(again(path)) as other:
        assert other.get("github") == (facts, KEY)
        assert other.list() == (facts,) == other.list("git")
        assert other.list("x") == ()
    assert CANARY.encode() not in every_byte_below(path.parent)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((path.parent / "keys" / "master.key").stat().st_mode) == 0o600
    assert CANARY not in repr(store) + repr(facts)


def test_facts_are_read_without_any_key(store, path):
    facts = store.put("github", KEY)
    (path.parent / "keys" / "master.key").unlink()
    with closing(again(path)) as other:
        assert other.facts("github") == facts
        assert other.list() == (facts,)
        with pytest.raises(SecretsLocked, match="cannot be read"):
            other.get("github")
        with pytest.raises(SecretsLocked):
            other.put("another", KEY)
        assert not (path.parent / "keys" / "master.key").exists()


def test_a_name_is_taken_rotated_revoked_and_counts_on(store):
    first = store.put("github", KEY, policy=CredentialPolicy(mode="autonomous"))
    with pytest.raises(LoomUsageError, match="already"):
        store.put("github", KEY)
    other = secret("api_key", {"value": "another"})
    second = store.rotate("github", other)
    assert (second.version, second.created, second.policy) == (2, first.created, first.policy)
    assert store.get("github") == (second, other)
    with pytest.raises(LoomUsageError, match="is of type api_key"):
        store.rotate("github", secret("password", {"value": "x"}))
    assert store.revoke("github")
    assert not store.revoke("github")
    for gone in (store.get, store.facts):
        with pytest.raises(ScopeNotFound, match="github"):
            gone("github")
    with pytest.raises(ScopeNotFound):
        store.rotate("github", KEY)
    assert store.put("github", KEY).version == 3


def test_facts_change_and_the_value_stays(store):
    store.put("github", KEY)
    changed = store.change("github", policy=CredentialPolicy(mode="one_shot"), grants=("a",))
    assert (changed.policy.uses, changed.grants, changed.version) == (1, ("a",), 1)
    assert store.get("github") == (changed, KEY)


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "x" * 201, "a\0b", 3])
def test_a_name_that_is_none_is_refused(store, name):
    with pytest.raises(LoomUsageError, match="a scope is a name"):
        store.put(name, KEY)


def test_another_master_key_opens_nothing_and_destroys_nothing(store, path, tmp_path):
    facts = store.put("github", KEY)
    with closing(again(path, KeyFile(tmp_path / "other.key"))) as other:
        (tmp_path / "other.key").write_text(SealingKey.fresh().to_text())
        (tmp_path / "other.key").chmod(0o600)
        for use in (
            lambda: other.get("github"),
            lambda: other.put("x", KEY),
            lambda: other.rotate("github", KEY),
        ):
            with pytest.raises(SecretsLocked, match="does not open"):
                use()
    assert store.get("github") == (facts, KEY)


def test_a_key_that_others_can_read_is_refused(store, path):
    store.put("github", KEY)
    (path.parent / "keys" / "master.key").chmod(0o644)
    with closing(again(path)) as other, pytest.raises(SecretsLocked, match="read by others") as refused:
        other.get("github")
    assert "chmod 600" in str(refused.value)


@pytest.mark.parametrize("text", ["", "short", "!" * 44, "A" * 43 + "=x"])
def test_a_file_that_holds_no_key_is_told_without_what_it_holds(path, text):
    (path.parent / "keys").mkdir(parents=True)
    (path.parent / "keys" / "master.key").write_text(text)
    (path.parent / "keys" / "master.key").chmod(0o600)
    with closing(again(path)) as store, pytest.raises(SecretsLocked, match="holds no master key") as refused:
        store.put("x", KEY)
    assert not text or text not in str(refused.value)


def test_a_row_that_was_made_text_is_told_by_its_name_and_the_others_go_on(store, path):
    for scope in ("bad", "good"):
        store.put(scope, secret("api_key", {"value": f"{scope}-0123456789"}))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE secrets SET box = CAST(x'ff00fe' AS TEXT) WHERE scope = 'bad'")
    assert store.damaged() == ("bad",)
    store.rotate("good", secret("api_key", {"value": "another-0123456789"}))
    with pytest.raises(SecretDamaged):
        store.get("bad")


def test_who_reads_the_file_keeps_nobody_from_forgetting(store, path):
    store.put("a", secret("api_key", {"value": "a-0123456789"}))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM secrets").fetchone()
        assert store.revoke("a")
    assert store.list() == ()


def test_a_passphrase_opens_it_and_another_does_not(path):
    with closing(again(path, Passphrase(lambda: "Ångström and more"))) as store:
        facts = store.put("github", KEY)
    with closing(again(path, Passphrase(lambda: "A\u030angstro\u0308m and more"))) as store:
        assert store.get("github") == (facts, KEY)
    with closing(again(path, Passphrase(lambda: "something else"))) as store, pytest.raises(SecretsLocked):
        store.get("github")
    with (
        closing(again(path, Passphrase(lambda: "short"))) as store,
        pytest.raises(SecretsLocked, match="8 char"),
    ):
        store.get("github")


def test_a_variable_holds_the_key_where_somebody_sets_it(path, monkeypatch):
    monkeypatch.setenv("MY_KEY", SealingKey.fresh().to_text())
    with closing(again(path, EnvironmentKey("MY_KEY"))) as store:
        facts = store.put("github", KEY)
    with closing(again(path, EnvironmentKey("MY_KEY"))) as store:
        assert store.get("github") == (facts, KEY)
    monkeypatch.delenv("MY_KEY")
    with (
        closing(again(path, EnvironmentKey("MY_KEY"))) as store,
        pytest.raises(SecretsLocked, match="not set"),
    ):
        store.get("github")


def test_a_new_master_key_takes_over_and_the_old_one_is_of_no_use(store, path, tmp_path):
    facts = [store.put(f"s{number}", KEY) for number in range(20)]
    assert store.rekey(KeyFile(tmp_path / "new.key")) == 20
    assert [store.get(one.scope) for one in facts] == [(one, KEY) for one in facts]
    with closing(again(path, KeyFile(tmp_path / "new.key"))) as other:
        assert other.get("s7") == (facts[7], KEY)
    with closing(again(path)) as other, pytest.raises(SecretsLocked):
        other.get("s7")


def test_a_store_that_another_process_sealed_anew_is_read_on(store, path):
    facts = store.put("github", KEY)
    with closing(again(path)) as other:
        other.rekey()
    assert store.get("github") == (facts, KEY)
    assert store.put("more", KEY).version == 1


@pytest.mark.parametrize("column", ["facts", "box"])
def test_a_changed_byte_anywhere_in_a_row_is_noticed_and_concerns_no_other(store, path, column):
    store.put("github", KEY, note="n")
    other = store.put("other", KEY)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        ((whole,),) = db.execute(f"SELECT {column} FROM secrets WHERE scope = 'github'").fetchall()
        for place in range(len(whole)):
            changed = bytearray(whole)
            changed[place] ^= 1 << (place % 8)
            db.execute(f"UPDATE secrets SET {column} = ? WHERE scope = 'github'", (bytes(changed),))
            with pytest.raises(SecretDamaged):
                store.get("github")
        db.execute(f"UPDATE secrets SET {column} = ? WHERE scope = 'github'", (whole[:-1],))
        assert store.damaged() == ("github",)
        assert store.get("other") == (other, KEY)
        db.execute(f"UPDATE secrets SET {column} = ? WHERE scope = 'github'", (whole,))
    assert store.damaged() == ()


def test_a_row_is_of_no_use_under_another_name_or_in_an_older_form(store, path):
    store.put("cheap", KEY, policy=CredentialPolicy(mode="autonomous"))
    store.put("dear", secret("api_key", {"value": "dear"}), policy=CredentialPolicy(mode="one_shot"))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        rows = dict(db.execute("SELECT scope, box FROM secrets"))
        facts = dict(db.execute("SELECT scope, facts FROM secrets"))
        for told, box in (
            (facts["dear"], rows["cheap"]),  # another's value
            (facts["dear"].replace(b"one_shot", b"autonomous"), rows["dear"]),  # a milder policy
            (facts["cheap"], rows["cheap"]),  # another's row as a whole
        ):
            db.execute("UPDATE secrets SET facts = ?, box = ? WHERE scope = 'dear'", (told, box))
            with pytest.raises(SecretDamaged):
                store.get("dear")


def test_what_is_revoked_or_rotated_leaves_no_bytes_behind(store, path):
    store.put("github", KEY)
    with closing(sqlite3.connect(path)) as db:
        ((before,),) = db.execute("SELECT box FROM secrets").fetchall()
    assert before in every_byte_below(path.parent)
    store.revoke("github")
    assert before not in every_byte_below(path.parent)


PUTS = """
    import sys
    from loom_nb.credentials.master_key import KeyFile
    from loom_nb.credentials.secrets import secret
    from loom_nb.credentials.store import SqliteSecretStore
    path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    store = SqliteSecretStore(path, KeyFile(__import__("pathlib").Path(path).parent / "keys" / "master.key"), busy_seconds=60)
    for number in range(count):
        store.put(f"{name}.{number}", secret("api_key", {"value": f"value-{name}-{number}"}))
        print(number, flush=True)
        if number % 10 == 9:
            store.rotate(f"{name}.{number}", secret("api_key", {"value": f"value-{name}-{number}"}))
        if number % 25 == 24:
            store.rekey()
"""


def putting(path, name, count):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PUTS), str(path), name, str(count)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_four_processes_that_put_rotate_and_rekey_lose_nothing(path):
    with closing(again(path)) as store:
        processes = [putting(path, f"p{number}", 50) for number in range(4)]
        assert [process.wait() for process in processes] == [0] * 4
        for process in processes:
            process.stdout.close()
        assert len(store.list()) == 200
        assert store.damaged() == ()
        assert store.get("p3.49")[1].reveal() == "value-p3-49"


def killed_at_random_points(path, times, seed):
    rng, acknowledged = random.Random(seed), 0
    for round_ in range(times):
        process = putting(path, f"r{round_}", 1_000)
        for _ in range(rng.randrange(1, 30)):
            line = process.stdout.readline()
        acknowledged = int(line)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with closing(again(path)) as store:
            for number in range(acknowledged + 1):
                assert store.get(f"r{round_}.{number}")[1].reveal() == f"value-r{round_}-{number}"
            assert store.damaged() == ()
    assert b"value-r" not in every_byte_below(path.parent)


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is of POSIX")
@pytest.mark.timeout(300)
def test_what_was_acknowledged_survives_a_kill(path):
    killed_at_random_points(path, 5, seed=1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_key_of_another_user_is_refused(store, path):
    store.put("github", KEY)
    os.chown(path.parent / "keys" / "master.key", 65_534, 65_534)
    with closing(again(path)) as other, pytest.raises(SecretsLocked, match="belongs to another user"):
        other.get("github")
