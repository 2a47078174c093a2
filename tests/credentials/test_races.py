"""Many processes and sudden deaths: the last use is had once, and nothing that was acknowledged is lost."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import keyring
import pytest

from loom_nb.credentials.master_key import KeyFile
from loom_nb.credentials.policies import CredentialPolicy
from loom_nb.credentials.sealing import SealingKey
from loom_nb.credentials.store import SqliteSecretStore
from loom_nb.errors import SecretsLocked
from tests.credentials.file_keyring import VARIABLE, FileKeyring
from tests.credentials.races import HERE, key, opened

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
KILLS = int(os.environ.get("LOOM_NB_KILLS", "60"))
"""Of the slow test; 200 for a release."""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "secrets.db"


@pytest.fixture
def chained(tmp_path, monkeypatch):
    """The same, of a store whose values are in a keychain."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "keychain.json"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.credentials.file_keyring.FileKeyring")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    before = keyring.get_keyring()
    keyring.set_keyring(FileKeyring())
    yield tmp_path / "home" / "facts.db"
    keyring.set_keyring(before)


@contextmanager
def running(path, what, name, count):
    command = [sys.executable, Path(__file__).with_name("races.py"), path, what, name, str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def race(path, processes, attempts, rounds):
    with closing(opened(path)) as store, ExitStack() as stack:
        racers = [stack.enter_context(running(path, "take", f"p{n}", attempts)) for n in range(processes)]
        for number in range(rounds):
            scope = f"round-{number}"
            store.put(scope, key(scope), binding=HERE, policy=CredentialPolicy(mode="one_shot"))
            for racer in racers:
                racer.stdin.write(f"{scope}\n")
                racer.stdin.flush()
            won = [int(racer.stdout.readline()) for racer in racers]
            assert sum(won) == 1, won
            assert store.facts(scope).policy.uses == 0
            rows = Counter(row.kind for row in store.log(scope, limit=10_000))
            assert rows == {"put": 1, "used": 1, "refused": processes * attempts - 1}
        assert store.check_log() == rounds * (processes * attempts + 1)


@pytest.mark.timeout(120)
def test_of_many_processes_that_want_the_last_use_one_gets_it(path):
    race(path, processes=4, attempts=10, rounds=3)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_of_eight_processes_with_fifty_attempts_each_one_gets_it_in_each_of_twenty_rounds(path):
    race(path, processes=8, attempts=50, rounds=20)


def many_puts(path, each):
    with closing(opened(path)) as store, ExitStack() as stack:
        store.unlock()
        writers = [stack.enter_context(running(path, "put", f"p{n}", each)) for n in range(4)]
        assert [writer.wait() for writer in writers] == [0] * 4
        assert len(store.list()) == 4 * each
        assert store.damaged() == ()
        assert store.check_log() == 4 * each
        for n in range(4):
            assert store.get(f"p{n}.{each - 1}")[1] == key(f"p{n}.{each - 1}")


@pytest.mark.timeout(120)
def test_what_four_processes_put_is_all_there(path):
    many_puts(path, 25)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_that_four_processes_put_are_all_there(path):
    many_puts(path, 250)


class Expected:
    """What must be there, by what was told; one more thing may have been done than was told."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.versions: dict[str, int] = {}
        self.used: Counter[str] = Counter()

    def told(self, line):
        what, scope, version, _ = line.split()
        if what == "revoke":
            del self.versions[scope]
        elif what in ("put", "rotate"):
            self.versions[scope] = int(version)
        self.used[scope] += what == "take"

    def check(self, store):
        kept = {facts.scope: facts for facts in store.list(self.prefix)}
        assert len(kept.keys() ^ self.versions.keys()) <= 1
        for scope in kept.keys() & self.versions.keys():
            facts, value = store.get(scope)
            assert facts.version in (self.versions[scope], self.versions[scope] + 1)
            assert value == key(f"{scope}-{facts.version}")
        rows = [row for row in store.log(limit=1_000_000) if row.use.scope.startswith(self.prefix)]
        used = Counter(row.use.scope for row in rows if row.kind == "used")
        assert not self.used - used  # no use without its row
        assert (used - self.used).total() <= 1
        for facts in kept.values():
            assert facts.policy.uses == 1_000 - used[facts.scope]  # nor one that was not counted
        assert store.damaged() == ()
        store.check_log()


def killed(path, times, seed):
    rng, done = random.Random(seed), Counter()
    for number in range(times):
        expected = Expected(f"r{seed}-{number}.")
        with running(path, "churn", expected.prefix[:-1], 100_000) as process:
            for _ in range(rng.randrange(1, 40)):
                line = process.stdout.readline()
                done[line.split()[0]] += 1
                expected.told(line)
            for _ in range(rng.randrange(30_000)):  # somewhere within the next one
                pass
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:  # what it had told before it died
                if line.endswith("\n"):
                    expected.told(line)
        with closing(opened(path)) as store:
            store.unlock()
            expected.check(store)
    return done


def none_is_readable_without_the_key(path):
    files = [file for file in path.parent.rglob("*") if file.is_file()]
    assert not [file for file in files if b"loomcanary" in file.read_bytes()]
    other = path.with_name("other.key")
    other.write_text(SealingKey.fresh().to_text())
    other.chmod(0o600)
    with closing(SqliteSecretStore(path, KeyFile(other))) as store:
        assert store.list()
        for facts in store.list():
            with pytest.raises(SecretsLocked):
                store.get(facts.scope)


@pytest.mark.timeout(120)
def test_what_was_told_survives_sudden_deaths_and_no_use_is_without_its_row(path):
    killed(path, 4, seed=1)
    none_is_readable_without_the_key(path)


@pytest.mark.timeout(120)
def test_no_value_in_a_keychain_is_lost_by_sudden_deaths(chained):
    killed(chained, 4, seed=3)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_no_value_in_a_keychain_is_lost_by_many_sudden_deaths(chained):
    killed(chained, KILLS, seed=4)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_what_was_told_survives_many_sudden_deaths(path, capsys):
    done = killed(path, KILLS, seed=2)
    none_is_readable_without_the_key(path)
    with capsys.disabled():
        print(f"\n{KILLS} kills: {dict(done)}")
