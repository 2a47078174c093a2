"""Commands on other machines as values: where a secret leads, and output in bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_nb.credentials.policies import Binding
from loom_nb.credentials.remote import Destination, Output, Unfiltered, UntilMark, audited, destination
from loom_nb.errors import CredentialDenied, LoomUsageError
from loom_nb.redaction.redactor import Redactor
from tests.credentials.ssh_servers import facts

KEY = "SHA256:" + "A" * 43


def bound(host="db.example.com", **given):
    return facts(Binding(hosts=(host,), user="deploy", **given))


@pytest.mark.parametrize(
    ("host", "where"),
    [
        ("db.example.com", "deploy@db.example.com"),
        ("db.example.com:22", "deploy@db.example.com"),
        ("db.example.com:2222", "deploy@db.example.com:2222"),
        ("[::1]:2222", "deploy@[::1]:2222"),
        ("127.0.0.1", "deploy@127.0.0.1"),
    ],
)
def test_a_secret_leads_to_one_user_on_one_host(host, where):
    assert str(destination(bound(host))) == where


def test_addresses_are_written_without_brackets():
    assert destination(bound("[::1]")) == Destination("deploy", "::1", 22)


@pytest.mark.parametrize(
    ("binding", "of_type", "why"),
    [
        (Binding(hosts=("a.example",), user="u"), "api_key", "of type api_key"),
        (Binding(hosts=("a.example",)), "password", "bound to no user"),
        (Binding(user="u"), "password", "must be bound to one host"),
        (Binding(hosts=("a.example", "b.example"), user="u"), "password", "must be bound to one host"),
        (Binding(hosts=("*.a.example",), user="u"), "password", "must be bound to one host"),
    ],
)
def test_any_other_secret_is_not_for_ssh(binding, of_type, why):
    with pytest.raises(CredentialDenied, match=why):
        destination(facts(binding, of_type=of_type))


def test_users_and_keys_are_checked_when_they_are_bound():
    assert Binding(host_keys=(KEY, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ")).host_keys[0] == KEY
    for user in ("a b", "a@b", "root:x", "a\nb"):
        with pytest.raises(LoomUsageError):
            Binding(user=user)
    for key in ("MD5:aa", "SHA256:short", "ssh-ed25519", "ssh-ed25519 AAAA" + "A" * 30 + " me@here"):
        with pytest.raises(LoomUsageError):
            Binding(host_keys=(key,))


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(2, 60))
def test_output_keeps_its_beginning_and_its_end_whatever_the_pieces(pieces, most):
    output = Output(most, Unfiltered())
    for piece in pieces:
        output.feed(piece)
    output.end()
    whole, half = b"".join(pieces), most // 2
    assert output.received == len(whole)
    if len(whole) <= 2 * half:
        assert output.text == whole.decode("utf-8", "replace")
    else:
        assert output.text.startswith(whole[:half].decode("utf-8", "replace"))
        assert output.text.endswith(whole[len(whole) - half :].decode("utf-8", "replace"))
        assert f"{len(whole) - 2 * half:,} of {len(whole):,} bytes left out" in output.text


def test_output_never_holds_more_than_its_bound():
    output = Output(1_000, Unfiltered())
    for _ in range(5_000):
        output.feed(b"x" * 997)
        assert len(output._head) + len(output._tail) <= 1_500
    assert len(output.text) < 1_100


def test_a_secret_at_the_cut_is_gone_before_the_cut_is_made():
    secret = "Canary-at-the-cut-0123456789"
    for before in range(40):
        output = Output(60, Redactor({"prod.db": [secret]}).stream())
        for byte in f"{'.' * before}{secret}{'.' * 200}".encode():
            output.feed(bytes([byte]))
        output.end()
        assert not any(secret[at : at + 6] in output.text for at in range(len(secret) - 5))


@given(st.binary(max_size=200), st.integers(0, 255), st.binary(max_size=50), st.data())
def test_a_mark_splits_a_stream_wherever_it_is_cut(before, number, after, data):
    stream = before + b"\x1emark " + str(number).encode() + b"\n" + after
    if b"\x1emark " in before + b"\x1emark"[:0]:
        return
    until, heard, rest = UntilMark("mark"), b"", b""
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        first, second = until.feed(stream[:size])
        heard, rest, stream = heard + first, rest + second, stream[size:]
    assert (heard, until.number, rest) == (before, number, after)


def test_half_a_mark_is_output_where_no_mark_comes():
    until = UntilMark("mark")
    assert until.feed(b"text\x1ema") == (b"text", b"")
    assert (until.end(), until.number) == (b"\x1ema", None)


def test_the_audit_keeps_a_long_command_by_its_beginning_and_its_hash():
    assert audited("id") == "id"
    long = audited("x" * 5_000)
    assert long.startswith("x" * 4_000)
    assert "5,000 characters, sha256:" in long
    assert long != audited("x" * 4_999 + "y")
