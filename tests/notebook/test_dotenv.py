"""A value out of a `.env` file by its name: what is understood, and what is refused by its line."""

import pytest

from loom_nb.errors import LoomUsageError
from loom_nb.notebook.dotenv import value_in


@pytest.fixture
def env(tmp_path):
    def written(text: str):
        path = tmp_path / ".env"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=plain", "plain"),
        ("export A=plain", "plain"),
        ("  A=plain  # why", "plain"),
        ("A=a#b", "a#b"),
        ("\ufeffA=first", "first"),
        ("A=x\r\nB=y\r\n", "x"),
        ("A=one\nA=two", "two"),
        ("A='$HOME `x` \\n'", "$HOME `x` \\n"),
        ("A='a # b'  # why", "a # b"),
        ('A="a\\nb \\"c\\" \\\\ \\$5"', 'a\nb "c" \\ $5'),
        ('A="-----BEGIN\nAAAA\n-----END"\nB=2', "-----BEGIN\nAAAA\n-----END"),
        ("B='\nA=inside\n'\nA=outside", "outside"),
        ("# A=no\nA=yes", "yes"),
        ("A=eyJ0eXAi.eyJ=.x_-/+==", "eyJ0eXAi.eyJ=.x_-/+=="),
    ],
)
def test_what_a_line_says_is_what_is_read(env, text, value):
    assert value_in(env(text), "A") == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A= spam", "blanks around ="),
        ("A =spam", "blanks around ="),
        ("A=spam eggs", "stands between"),
        ("A=$SPAM", "stands between"),
        ("A=`spam`", "stands between"),
        ('A="${SPAM}"', "not carried out"),
        ('A="spam \\x"', "an escape other than"),
        ("A='spam", "not closed"),
        ('A="spam" eggs', "not closed"),
        ("A=", "no value for A"),
        ("B=spam", "no value for A"),
        ("A:spam", "no value for A"),
    ],
)
def test_what_is_not_understood_is_said_and_not_guessed(env, text, why):
    with pytest.raises(LoomUsageError) as caught:
        value_in(env(f"# first\n{text}"), "A")
    assert why in str(caught.value)
    assert "spam" not in str(caught.value)
    if "no value" not in why:
        assert "line 2" in caught.value.title


def test_a_line_that_is_not_asked_for_may_be_anything(env):
    assert value_in(env("B = ${X}\nC=a b\n!!!\nA=yes\nD='open"), "A") == "yes"


@pytest.mark.parametrize("name", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"A=\xff\xfe")
    with pytest.raises(LoomUsageError, match="cannot be read"):
        value_in(tmp_path / name, "A")
