"""Stars stand where a secret stood, and every other character stays where it was."""

import pytest

from loom_nb.redaction.hiding import Hiding
from loom_nb.redaction.known import KnownSecrets
from loom_nb.redaction.redactor import _in_characters

FORM = "sk-ant-api03-" + "A1b2C3d4" * 12
KNOWN = "quite-a-long-canary-7781"


@pytest.fixture
def hide():
    return Hiding(KnownSecrets({"MY_TOKEN": KNOWN}))


@pytest.mark.parametrize("around", ["plain {}, and more", "漢字 é {} 🍣 \ud800", "{}", "a\n{}\nb {} c"])
@pytest.mark.parametrize("secret", [FORM, KNOWN])
def test_a_secret_is_covered_and_nothing_moves(hide, around, secret):
    text = around.replace("{}", secret)

    assert hide(text) == around.replace("{}", "*" * len(secret))


def test_a_secret_of_several_lines_keeps_them(hide):
    body = "\n".join(["MIIEowIBAAKCAQEAx7Yk3vQ0" * 2] * 4)
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    made = hide(f"before\n{key}\nafter")

    assert "MIIE" not in made
    assert made.split("\n")[0] == "before" and made.split("\n")[-1] == "after"
    assert len(made) == len(f"before\n{key}\nafter") and made.count("\n") == 7


def test_a_text_without_secrets_is_itself(hide):
    text = "nothing to see 漢"

    assert hide(text) is text


def test_many_secrets_among_other_letters_are_covered_where_they_stand(hide):
    line = f"é 漢 {KNOWN} 🍣 \ud800 {FORM}\n"
    hidden = line.replace(KNOWN, "*" * len(KNOWN)).replace(FORM, "*" * len(FORM))

    assert hide(line * 50) == hidden * 50


def test_each_byte_is_read_once_to_count_characters():
    read = 0

    class Bytes(bytes):
        def __getitem__(self, at):
            nonlocal read
            piece = bytes(self)[at]
            read += len(piece)
            return piece

    data = Bytes("é secret".encode() * 500)
    places = [(at, at + 6) for at in range(3, len(data), 9)]
    found = _in_characters(places, data)

    assert [(at, end) for at, end in found[:2]] == [(2, 8), (10, 16)]
    assert read <= len(data)
