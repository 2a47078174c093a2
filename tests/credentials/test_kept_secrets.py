"""What a person keeps as a secret is taken out of what that person writes down."""

import pytest

from loom_nb.credentials.broker import broker_at
from loom_nb.credentials.kept_secrets import KeptSecrets
from loom_nb.errors import SecretsLocked

TULIP = "tulip-orchid-93715-basalt"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOM_SECRET_KEY", "ab" * 32)
    folder = tmp_path / "secrets"
    yield folder
    broker_at(folder).stop()


def test_where_none_is_kept_nothing_is_started(folder):
    assert KeptSecrets(folder)(f"the code is {TULIP}") == f"the code is {TULIP}"
    assert broker_at(folder).pid is None and not folder.exists()


def test_a_secret_is_taken_out_though_it_was_never_used(folder):
    broker_at(folder).put("gate", "api_key", {"value": TULIP})
    words = KeptSecrets(folder)
    assert words(f"the code is {TULIP}!") == "the code is [secret gate]!"
    assert words("the code is on the board") == "the code is on the board"
    assert words("") == ""


def test_while_secrets_are_locked_it_is_not_said(tmp_path):
    broker = broker_at(tmp_path / "locked")
    broker.unlock("a long enough passphrase")
    broker.put("gate", "api_key", {"value": TULIP})
    broker.stop()
    with pytest.raises(SecretsLocked):
        KeptSecrets(tmp_path / "locked")("the code is on the board")
    broker.stop()
