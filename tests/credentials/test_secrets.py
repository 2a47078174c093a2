"""Secrets: each type is checked, and no value comes out but by being asked for."""

import copy
import io
import pickle
import traceback

import pytest
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from loom_nb.credentials.secrets import FIELDS, SECRET_TYPES, Secret, secret
from loom_nb.errors import LoomUsageError

CANARY = "loomcanary/+=%0Zq7"
PEM = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----\n"
GOOD = {
    "password": {"value": CANARY},
    "api_key": {"value": CANARY},
    "basic_auth": {"username": "ana", "password": CANARY},
    "bearer_token": {"token": CANARY, "expires_at": 1_800_000_000},
    "oauth2_client_credentials": {
        "client_id": "me", "client_secret": CANARY, "token_url": "https://id.example/token", "scopes": ["a", "b"],
    },
    "ssh_private_key": {"key_pem": PEM, "passphrase": CANARY},
    "aws_sigv4": {"access_key_id": "AKIDEXAMPLE", "secret_access_key": CANARY, "region": "eu-north-1"},
    "jwt_signing_key": {"private_key_pem": CANARY, "algorithm": "HS256", "ttl_seconds": 300},
}  # fmt: skip


@pytest.mark.parametrize("name", SECRET_TYPES)
def test_each_type_is_made_revealed_and_written_to_be_sealed(name):
    one = secret(name, GOOD[name])
    for field in FIELDS[one.type].required:
        assert one.reveal(field)
    assert any(CANARY in value for value in one.hidden())
    assert Secret.from_json(one.to_json()) == one
    field = FIELDS[one.type].hidden[0]
    assert one != secret(name, GOOD[name] | {field: one.reveal(field).replace("canary", "Canary")})


@pytest.mark.parametrize("name", SECRET_TYPES)
def test_a_value_shows_in_nothing_that_is_printed_compared_copied_or_traced(name):
    one, other = secret(name, GOOD[name]), secret(name, GOOD[name])
    screen = Console(file=io.StringIO(), width=200)
    shown = [
        repr(one),
        str(one),
        f"{one}",
        f"{one!r:>80}",
        format(one),
        pretty_repr(one),
        repr([one]),
        repr({"k": one}),
    ]
    try:
        held = one  # noqa: F841  for the locals of the traceback
        raise RuntimeError("boom")
    except RuntimeError as error:
        shown += traceback.format_exception(error)
        screen.print(Traceback(show_locals=True))
    with pytest.raises(AssertionError) as differ:
        assert one == "something else", (one, other)
    shown += [str(differ.value), screen.file.getvalue()]
    assert not [text for text in shown if "loomcanary" in text]
    with pytest.raises(TypeError):
        vars(one)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(one, protocol)
    assert copy.deepcopy([one])[0] is one
    with pytest.raises(AttributeError):
        one.type = "password"


WRONG = [
    ("pasword", {"value": "x"}, "there is no secret of type"),
    ("password", {}, "needs value"),
    ("password", {"value": ""}, "needs value"),
    ("password", {"value": 3}, "is text, not int"),
    ("password", {"value": True}, "is text, not bool"),
    ("password", {"value": "a\nloomcanary"}, "must be one line"),
    ("password", {"value": "a\0loomcanary"}, "NUL"),
    ("password", {"value": "\ud800loomcanary"}, "surrogate"),
    ("password", {"value": "loomcanary" * 10_000}, "longer than"),
    ("password", {"value": "x", "username": "loomcanary"}, "has no username"),
    ("api_key", {"value": "loomcanary with blanks"}, "printable ASCII"),
    ("api_key", {"value": "loomcanary\r\nX-Header: 1"}, "printable ASCII"),
    ("bearer_token", {"token": "lööm"}, "printable ASCII"),
    ("bearer_token", {"token": "x", "expires_at": "loomcanary"}, "number of seconds"),
    ("basic_auth", {"username": "a:b", "password": "loomcanary"}, "colon"),
    ("oauth2_client_credentials", GOOD["oauth2_client_credentials"] | {"token_url": "http://id.example"}, "https"),
    ("oauth2_client_credentials", GOOD["oauth2_client_credentials"] | {"token_url": "https://u:loomcanary@h/"}, "without a user"),
    ("oauth2_client_credentials", GOOD["oauth2_client_credentials"] | {"token_url": "https://["}, "not an address"),
    ("ssh_private_key", {"key_pem": "loomcanary"}, "PEM"),
    ("aws_sigv4", {"access_key_id": "AKID", "secret_access_key": "loom canary"}, "printable ASCII"),
    ("jwt_signing_key", {"private_key_pem": "loomcanary", "algorithm": "none"}, "one of RS256"),
    ("jwt_signing_key", {"private_key_pem": "loomcanary", "algorithm": "HS256", "ttl_seconds": "soon"}, "seconds"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "told"), WRONG)
def test_what_is_wrong_is_told_without_the_value(name, fields, told):
    with pytest.raises(LoomUsageError, match=told) as refused:
        secret(name, fields)
    assert "loomcanary" not in "".join(traceback.format_exception(refused.value)).replace(str(fields), "")


def test_the_line_break_behind_a_pasted_key_is_not_part_of_it():
    assert secret("api_key", {"value": "abc\r\n"}).reveal() == "abc"


def test_a_field_that_a_type_has_not_is_refused_and_one_not_given_is_empty():
    one = secret("aws_sigv4", GOOD["aws_sigv4"])
    assert one.reveal("session_token") == ""
    with pytest.raises(LoomUsageError, match="has no 'value'"):
        one.reveal()
