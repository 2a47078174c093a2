"""What every store of secrets promises: in a file of its own, and over a keychain."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import keyring
import pytest

from loom_nb.credentials.keychain import LEFT_SECONDS, KeychainStore
from loom_nb.credentials.master_key import KeyFile
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.credentials.secrets import SECRET_TYPES, secret
from loom_nb.credentials.store import SqliteSecretStore
from loom_nb.credentials.uses import Use
from loom_nb.errors import (
    CredentialDenied,
    LoomUsageError,
    ScopeNotFound,
    SecretDamaged,
    SecretsLocked,
    StoreDamaged,
)
from tests.credentials.file_keyring import VARIABLE, FileKeyring
from tests.credentials.test_secrets import GOOD

pytestmark = pytest.mark.skipif(
    os.name != "posix", reason="the keychain of the tests locks its file as POSIX does"
)
CANARY = "loomcanary0Zq7"
KEY, OTHER = secret("api_key", {"value": CANARY}), secret("api_key", {"value": f"{CANARY}-2"})
HERE = Binding(hosts=("api.example.com",))
FREE = CredentialPolicy(mode="autonomous")
SERVICE = "loom_nb secrets"


class Clock:
    at = 1_000_000.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """The file of a keychain that this process, and those that it starts, have for theirs."""
    path = tmp_path / "keychain.json"
    monkeypatch.setenv(VARIABLE, str(path))
    before = keyring.get_keyring()
    keyring.set_keyring(FileKeyring())
    yield path
    keyring.set_keyring(before)


def opened(kind, folder, clock=None):
    more = {"now": clock} if clock else {}
    if kind == "keychain":
        return KeychainStore(folder / "facts.db", **more)
    return SqliteSecretStore(folder / "secrets.db", KeyFile(folder / "master.key"), **more)


@pytest.fixture(params=["sqlite", "keychain"])
def kind(request):
    return request.param


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def store(kind, folder, chain, clock):
    with closing(opened(kind, folder, clock)) as one:
        yield one


def use(scope="github", **given):
    return Use(
        **{
            "scope": scope, "who": "tool:http_request", "method": "GET", "scheme": "https", "host": "api.example.com",
            "port": 443, "path": "/", **given,
        }
    )  # fmt: skip


def kinds(store):
    return [row.kind for row in store.log()]


@pytest.mark.parametrize("type_", SECRET_TYPES)
def test_each_type_is_there_for_another_that_opens_it(store, kind, folder, type_):
    one = secret(type_, GOOD[type_])
    facts = store.put("s", one, binding=HERE, policy=FREE, grants=("tool:http_request",), note="n")
    with closing(opened(kind, folder)) as other:
        assert other.facts("s") == facts == other.list()[0]
        assert other.get("s") == (facts, one) == other.take(use("s"))
        assert other.damaged() == ()


def test_a_name_is_taken_rotated_changed_revoked_and_counts_on(store):
    store.put("github", KEY, binding=HERE, policy=FREE)
    with pytest.raises(LoomUsageError, match="already"):
        store.put("github", OTHER)
    assert store.get("github")[1] == KEY
    assert store.rotate("github", OTHER).version == 2
    assert store.get("github")[1] == OTHER
    with pytest.raises(LoomUsageError, match="is of type"):
        store.rotate("github", secret("password", {"value": "x"}))
    assert store.change("github", note="n").note == "n"
    assert store.take(use())[1] == OTHER
    assert store.rekey() == 1
    assert store.get("github")[1] == OTHER
    assert store.revoke("github")
    assert not store.revoke("github")
    for gone in (
        store.get,
        store.facts,
        lambda scope: store.rotate(scope, KEY),
        lambda scope: store.take(use(scope)),
    ):
        with pytest.raises(ScopeNotFound):
            gone("github")
    assert store.put("github", KEY).version == 3
    assert kinds(store) == ["put", "rotated", "changed", "used", "rekeyed", "revoked", "refused", "put"]
    assert store.check_log() == 8


def test_a_use_is_judged_written_and_counted(store):
    store.put("github", KEY, binding=HERE, policy=CredentialPolicy(mode="one_shot"))
    with pytest.raises(CredentialDenied, match="bound to"):
        store.take(use(host="evil.example"))
    assert store.ruling(use()).decision == "allow"
    assert store.take(use())[1] == KEY
    with pytest.raises(CredentialDenied, match="no uses left"):
        store.take(use())
    store.change("github", policy=CredentialPolicy())
    assert store.ruling(use()).decision == "ask"
    with pytest.raises(CredentialDenied, match="a person's yes"):
        store.take(use())
    assert store.take(use(approved="q1"))[1] == KEY
    assert kinds(store) == ["put", "refused", "used", "refused", "changed", "asked", "refused", "used"]


def test_a_box_that_was_seen_closed_stays_closed(store, clock):
    store.put("github", KEY, binding=HERE, policy=CredentialPolicy(mode="time_boxed", end=clock.at + 100))
    store.take(use())
    clock.at += 100
    with pytest.raises(CredentialDenied, match="closed at"):
        store.take(use())
    clock.at -= 90
    with pytest.raises(CredentialDenied, match="turned back"):
        store.take(use())


def test_no_value_stands_in_a_file_of_the_store_nor_in_what_it_says(store, folder):
    facts = store.put("github", KEY, binding=HERE, policy=FREE)
    store.take(use())
    store.rotate("github", OTHER)
    assert not [file for file in folder.rglob("*") if file.is_file() and CANARY.encode() in file.read_bytes()]
    assert CANARY not in repr(store) + repr(facts) + repr(store.log())


def test_a_row_that_was_changed_is_refused_and_concerns_no_other(store):
    import sqlite3

    store.put("github", KEY, binding=HERE, policy=CredentialPolicy(mode="one_shot"))
    other = store.put("other", OTHER, binding=HERE, policy=FREE)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.execute(
            "UPDATE secrets SET facts = CAST(replace(CAST(facts AS TEXT), 'one_shot', 'autonomous') AS BLOB)"
        )
    for ask in (lambda: store.get("github"), lambda: store.take(use())):
        with pytest.raises(SecretDamaged):
            ask()
    assert store.damaged() == ("github",)
    assert store.take(use("other")) == (other, OTHER)


def test_a_log_that_was_changed_is_told_and_all_secrets_serve_on(store):
    import sqlite3

    store.put("github", KEY, binding=HERE, policy=FREE)
    store.take(use())
    with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.execute(
            "UPDATE audit SET row = CAST(replace(CAST(row AS TEXT), 'GET', 'PUT') AS BLOB) WHERE seq = 2"
        )
    with pytest.raises(StoreDamaged, match="row 2"):
        store.check_log()
    assert [row.kind for row in store.log()] == ["put", "damaged"]
    assert store.take(use())[1] == KEY


def test_threads_that_want_the_last_uses_get_each_once(store):
    store.put("github", KEY, binding=HERE, policy=CredentialPolicy(mode="one_shot", uses=5))
    told: Counter[str] = Counter()

    def want():
        for _ in range(5):
            try:
                assert store.take(use())[1] == KEY
                told["had"] += 1
            except CredentialDenied:
                told["refused"] += 1

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {"had": 5, "refused": 35}


RACE = """
import sys
from pathlib import Path
from tests.contracts.test_secret_store import opened, use
from loom_nb.errors import CredentialDenied
had = 0
store = opened(sys.argv[1], Path(sys.argv[2]))
for _ in range(10):
    try:
        store.take(use())
        had += 1
    except CredentialDenied:
        pass
print(had)
store.close()
"""


@pytest.mark.timeout(120)
def test_processes_that_want_the_last_use_have_it_once(store, kind, folder):
    store.put("github", KEY, binding=HERE, policy=CredentialPolicy(mode="one_shot"))
    root = str(Path(__file__).parents[2])
    backend = {"PYTHON_KEYRING_BACKEND": "tests.credentials.file_keyring.FileKeyring"}
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, **backend, "PYTHONPATH": path}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, kind, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(4)
    ]
    assert sum(int(process.communicate()[0]) for process in processes) == 1
    assert Counter(kinds(store)) == {"put": 1, "used": 1, "refused": 39}


# -- what is of a keychain alone -------------------------------------------------------------------------


@pytest.fixture
def kept(folder, chain, clock):
    with closing(opened("keychain", folder, clock)) as one:
        yield one


def entries(chain):
    content = json.loads(chain.read_text())
    return [
        value for name, value in content.items() if name.startswith(f"{SERVICE}/") and "master" not in name
    ]


def test_the_keychain_holds_one_entry_a_secret_and_none_of_what_is_gone(kept, chain):
    kept.put("github", KEY)
    kept.put("other", KEY)
    assert len(entries(chain)) == 2
    kept.rotate("github", OTHER)
    assert len(entries(chain)) == 2
    for refused in (lambda: kept.put("github", OTHER), lambda: kept.rotate("nobody", OTHER)):
        with pytest.raises((LoomUsageError, ScopeNotFound)):
            refused()
    assert len(entries(chain)) == 2
    kept.revoke("github")
    kept.revoke("other")
    assert entries(chain) == []


def test_an_entry_that_somebody_deletes_in_the_keychain_is_revoked_and_no_use_is_counted(kept, chain):
    kept.put("github", KEY, binding=HERE, policy=CredentialPolicy(mode="one_shot"))
    content = json.loads(chain.read_text())
    chain.write_text(json.dumps({name: value for name, value in content.items() if "master" in name}))
    with pytest.raises(SecretDamaged, match="holds no value for github any more"):
        kept.take(use())
    with pytest.raises(SecretDamaged):
        kept.get("github")
    assert kept.damaged() == ("github",)
    assert kept.facts("github").policy.uses == 1
    assert kept.rotate("github", OTHER).version == 2
    assert kept.take(use())[1] == OTHER


@pytest.mark.parametrize("text", ["", "{", "[]", '{"type":"api_key"}', '{"value":"loomcanary"}', "\udc00"])
def test_what_the_keychain_should_not_hold_is_told_without_a_word_of_it(kept, chain, text):
    kept.put("github", KEY)
    content = json.loads(chain.read_text())
    chain.write_text(
        json.dumps({name: value if "master" in name else text for name, value in content.items()})
    )
    with pytest.raises(SecretDamaged, match="not what was put there") as refused:
        kept.get("github")
    assert "loomcanary" not in str(refused.value)


def test_a_keychain_that_is_locked_gives_nothing_counts_nothing_and_loses_nothing(kept, chain):
    kept.put("github", KEY, binding=HERE, policy=CredentialPolicy(mode="one_shot"))
    chain.with_suffix(".locked").touch()
    for ask in (
        lambda: kept.take(use()),
        lambda: kept.get("github"),
        lambda: kept.put("more", KEY),
        lambda: kept.rotate("github", OTHER),
    ):
        with pytest.raises(SecretsLocked, match="the keychain refuses"):
            ask()
    assert kept.facts("github").version == 1
    assert kept.revoke("github")  # which needs no key
    chain.with_suffix(".locked").unlink()
    kept.put("github", OTHER, binding=HERE, policy=FREE)
    assert len(entries(chain)) == 1  # what could not be deleted then
    assert kept.take(use())[1] == OTHER


def test_what_a_process_left_behind_is_swept_up_and_what_is_under_way_is_not(kept, chain, clock):
    keyring.set_password(SERVICE, "left", KEY.to_json().decode())
    keyring.set_password(SERVICE, "under way", KEY.to_json().decode())
    kept.put("github", KEY)
    with kept._database.transaction(
        "IMMEDIATE"
    ) as db:  # as a process leaves it that dies in the middle of a put
        db.execute("INSERT INTO entries VALUES ('left', 's', 0, ?)", (clock.at - LEFT_SECONDS - 1,))
        db.execute("INSERT INTO entries VALUES ('under way', 's', 0, ?)", (clock.at - 10,))
    kept.put("more", KEY)
    assert keyring.get_password(SERVICE, "left") is None
    assert keyring.get_password(SERVICE, "under way")
    assert kept.damaged() == ()


def test_without_a_keychain_it_is_said_what_is_missing(folder):
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    try:
        with closing(opened("keychain", folder)) as store:
            with pytest.raises(SecretsLocked, match="the keychain refuses") as refused:
                store.put("github", KEY)
            assert "NoKeyringError" in str(refused.value)
            assert store.list() == ()
            with pytest.raises(SecretsLocked):
                store.take(use())
            assert kinds(store) == ["refused"]
    finally:
        keyring.set_keyring(before)
