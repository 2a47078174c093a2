"""What is taken out of texts and streams, and that it does not matter where a stream is cut."""

import base64
import html
import json
import random
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_nb.redaction.redactor import Redactor, redactable

SECRET = 'sk/a+b=c%d e\\f"g&<Z9>é'
PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    + "\n".join(line.decode() for line in base64.encodebytes(random.Random(7).randbytes(900)).splitlines())
    + "\n-----END PRIVATE KEY-----\n"
)


def json_text(text: str) -> str:
    return json.dumps(text)[1:-1]


def lower_hex(text: str) -> str:
    """Percent-encoding with small letters."""
    return "".join(
        f"%{octet:02x}" if chr(octet) in '/+=%\\"&<> ' else chr(octet) for octet in text.encode("latin-1")
    )


ENCODERS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "address": quote,
    "address, all of it": lambda text: quote(text, safe=""),
    "address, small letters": lower_hex,
    "form": quote_plus,
    "every byte": lambda text: "".join(f"%{octet:02X}" for octet in text.encode()),
    "JSON": json_text,
    "JSON as it is": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON, escaped slash": lambda text: json_text(text).replace("/", "\\/"),
    "JSON for HTML": lambda text: json_text(text).replace("<", "\\u003c").replace(">", "\\u003E").replace("&", "\\u0026"),
    "JSON, all of it": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "JSON, all of it, capitals": lambda text: "".join(f"\\u{ord(char):04X}" for char in text),
    "JSON in JSON": lambda text: json_text(json_text(text)),
    "JSON in an address": lambda text: quote(json_text(text)),
    "address in JSON": lambda text: json_text(quote(text)),
    "HTML": html.escape,
    "HTML, decimal": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(char):x};" for char in text),
    "address in HTML": lambda text: html.escape(quote(text) + "&x=1").removesuffix("&amp;x=1"),
    "repr": lambda text: repr(text)[1:-1],
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal, capitals": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, no padding": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 in an address": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
    "base64 in JSON": lambda text: base64.b64encode(text.encode()).decode().replace("/", "\\/"),
}  # fmt: skip
SECRETS = {
    "odd": SECRET,
    "plain": "hunter2hunter2",
    "key": "sk-ant-REDACTED",
    "letters": "ÿþûúÿþûú?>é",
    "figures": "1234567890",
    "slashes": 'a\\b\\\\c"d%41&amp;e',
}


@pytest.mark.parametrize("form", ENCODERS)
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_taken_out_in_each_of_its_forms(name: str, form: str):
    if form == "address, small letters" and name == "letters":
        pytest.skip("the encoder of this test writes Latin-1")
    redactor = Redactor({name: [SECRETS[name]]})

    assert redactor.text(f"<<{ENCODERS[form](SECRETS[name])}>>") == f"<<[secret {name}]>>"


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "user1:", "user12:"])
@pytest.mark.parametrize("after", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_amid_other_data_is_taken_out_of_base64(name: str, before: str, after: str):
    redactor = Redactor({name: [SECRETS[name]]})
    coded = base64.b64encode(f"{before}{SECRETS[name]}{after}".encode()).decode()

    left = redactor.text(coded)

    assert f"[secret {name}]" in left
    # at its edges base64 mixes a secret with its neighbours: these few characters may stay
    assert len(left.replace(f"[secret {name}]", "")) <= (len(before) + len(after)) * 4 // 3 + 6


def test_a_text_without_a_secret_is_handed_back_itself():
    text = "nothing %41 &amp; \\u0041 here"

    assert Redactor({"a": ["hunter2hunter2"]}).text(text) is text
    assert Redactor({}).text(text) is text


def test_short_secrets_are_passed_over_and_can_be_told_beforehand():
    redactor = Redactor({"pin": ["1234567"], "word": ["ébéébé"]})

    assert not redactable("1234567")
    assert redactable("12345678")
    assert redactable("ébéébé")  # nine bytes
    assert redactor.text("1234567 ébéébé") == "1234567 [secret word]"


def test_a_secret_within_another_one_leaves_nothing_of_it():
    redactor = Redactor({"a": ["12345678"], "b": ["abc-12345678-xyz"]})

    assert redactor.text("abc-12345678-xyz and 12345678") == "[secret b] and [secret a]"


def test_secrets_that_overlap_leave_nothing_of_either():
    redactor = Redactor({"a": ["abcdefgh"], "b": ["efghijkl"]})

    assert redactor.text("-abcdefghijkl-") == "-[secret a]-"


def test_two_in_a_row_are_counted_as_two():
    text, found = Redactor({"a": ["abcdefgh"]}).counted("abcdefghabcdefgh abcdefgh")

    assert text == "[secret a][secret a] [secret a]"
    assert found == {"a": 3}


@pytest.mark.parametrize(
    "form", ["plain", "JSON", "JSON in JSON", "address", "hexadecimal", "base64", "base64 for addresses"]
)
def test_a_private_key_is_taken_out_whole(form: str):
    redactor = Redactor({"ssh": [PEM]})

    assert redactor.text(f"<{ENCODERS[form](PEM)}>") == "<[secret ssh]>"


@pytest.mark.parametrize("newline", ["\r\n", "\n    ", " ", "\\n", '",\n"'])
def test_of_a_private_key_each_line_is_taken_out_however_lines_end(newline: str):
    redactor = Redactor({"ssh": [PEM]})

    left = redactor.text(newline.join(PEM.splitlines()))

    assert not any(line in left for line in PEM.splitlines() if not line.startswith("-"))


@pytest.mark.parametrize("width", [76, 64])
def test_a_private_key_is_taken_out_of_base64_in_lines(width: int):
    coded = base64.b64encode(PEM.encode()).decode()
    lines = [coded[n : n + width] for n in range(0, len(coded), width)]

    left = Redactor({"ssh": [PEM]}).text("\n".join(lines))

    assert left.replace("[secret ssh]", "").strip("\n") == ""


def test_a_part_of_a_long_secret_is_taken_out_too():
    left = Redactor({"ssh": [PEM]}).text(PEM[:500])

    assert left.startswith("[secret ssh]")
    assert len(left) < 80


def test_whose_secrets_stand_in_a_text_is_told_without_changing_it():
    redactor = Redactor({"a": ["hunter2hunter2"], "b": ["12345678"], "c": ["something else"]})

    assert redactor.names_in(f"{b'hunter2hunter2'.hex()} 12345678") == {"a", "b"}


def test_what_resembles_a_secret_stays():
    redactor = Redactor({"a": ["hunter2hunter2"]})
    other = base64.b64encode(bytes(range(256))).decode() + bytes(range(256)).hex() + " hunter2 %hunter2hunter"

    assert redactor.text(other) == other


# -- streams


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = [*sorted(places), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def streamed(redactor: Redactor, pieces: Iterable[bytes]) -> bytes:
    stream = redactor.stream()
    return b"".join([*map(stream.feed, pieces), stream.end()])


@pytest.mark.parametrize("form", ENCODERS)
def test_a_stream_says_the_same_wherever_it_is_cut_once(form: str):
    redactor = Redactor({"odd": [SECRET], "plain": ["hunter2hunter2"]})
    data = f"u\\{ENCODERS[form](SECRET)}&am%{ENCODERS[form]('hunter2hunter2')}\\".encode()
    whole = redactor.data(data)

    assert b"[secret odd]" in whole
    assert all(streamed(redactor, cut(data, [place])) == whole for place in range(len(data) + 1))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_stream_says_the_same_in_pieces_of_one_size(size: int):
    redactor = Redactor({"odd": [SECRET], "ssh": [PEM]})
    data = "".join(f"{encode(SECRET)}\\ {encode(PEM)}" for encode in ENCODERS.values()).encode()[:20_000]

    assert streamed(redactor, cut(data, range(0, len(data), size))) == redactor.data(data)


SIGNS = 'ab\\%&;#x41u0"é '


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_stream_says_the_same_however_it_is_cut(data: st.DataObject):
    secrets = data.draw(st.lists(st.text(SIGNS, min_size=8, max_size=14), min_size=1, max_size=3))
    piece = st.one_of(
        st.text(SIGNS, max_size=6),
        st.builds(
            lambda secret, encode: encode(secret),
            st.sampled_from(secrets),
            st.sampled_from([*ENCODERS.values()]),
        ),
        st.builds(lambda secret, places: secret[places:], st.sampled_from(secrets), st.integers(0, 6)),
    )
    text = "".join(data.draw(st.lists(piece, max_size=6))).encode()
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=12))
    redactor = Redactor({f"k{n}": [secret] for n, secret in enumerate(secrets)})

    assert streamed(redactor, cut(text, places)) == redactor.data(text)


def test_a_stream_holds_back_only_what_may_be_the_beginning_of_a_secret():
    stream = Redactor({"a": ["hunter2hunter2"]}).stream()

    assert stream.feed(b"some words and hunt") == b"some words and "
    assert stream.feed(b"ing") == b"hunting"
    assert stream.feed(b" %4") == b" "
    assert stream.feed(b"2 hunter2hunter2") == b"%42 [secret a]"
    assert stream.end() == b""


def test_a_stream_of_a_secret_that_repeats_itself_holds_no_more_than_that():
    stream = Redactor({"a": ["aaaaaaaa"]}).stream()

    given = [stream.feed(b"a" * 10) for _ in range(500)]

    assert b"".join(given) + stream.end() == b"[secret a]"
    assert given[0] == b"[secret a]"


def test_without_the_library_the_same_is_found(monkeypatch: pytest.MonkeyPatch):
    quick = Redactor({"odd": [SECRET], "a": ["abcdefgh"], "b": ["efghijkl"]})
    monkeypatch.setitem(__import__("sys").modules, "ahocorasick_rs", None)
    slow = Redactor({"odd": [SECRET], "a": ["abcdefgh"], "b": ["efghijkl"]})
    data = "".join(f"{encode(SECRET)}\\ abcdefghijkl" for encode in ENCODERS.values()).encode()

    assert slow.data(data) == quick.data(data)
    assert streamed(slow, cut(data, range(0, len(data), 5))) == quick.data(data)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\\n", "\\r\\n", "\n    "])
@pytest.mark.parametrize("width", [60, 64, 76])
@pytest.mark.parametrize("before", range(0, 60, 7))
def test_a_secret_is_taken_out_of_code_that_goes_on_in_the_next_line(before: int, width: int, newline: str):
    secret = "k3y/" + "aB7+zQ9=" * 5
    redactor = Redactor({"it": secret})
    whole = b"x" * before + secret.encode() + b" and more of it" * 5
    for coded in (base64.b64encode(whole).decode(), whole.hex()):
        text = newline.join(coded[start : start + width] for start in range(0, len(coded), width))
        made = redactor.text(text)
        assert "[secret it]" in made
        inner = coded[(before * 4) // 3 + 4 : (before * 4) // 3 + 40] if coded[-1:] == "=" else ""
        assert not inner or inner not in made.replace(newline, "")
        assert redactor.names_in(text) == {"it"}
        assert redactor.holds(text.encode())


def test_lines_that_only_look_coded_stay_as_they_are():
    text = "aaaaaaaaaaaaaaaaaaaaaaaa\nbbbbbbbbbbbbbbbbbbbbbbbb\n" * 20
    assert Redactor({"it": "k3y/aB7+zQ9=aB7+zQ9="}).text(text) is text


def test_a_line_of_a_key_by_itself_is_taken_out_of_code():
    lines = [
        "-----BEGIN PRIVATE KEY-----",
        "MC4CAQAwBQYDK2VwBCIEIB7sSqk1",
        "w0JxHq7vN2mYd8fKe3Lr9TgZ",
        "-----END PRIVATE KEY-----",
    ]
    redactor = Redactor({"key": "\n".join(lines)})
    for line in lines[1:3]:
        for coded in (base64.b64encode(f"x{line}yz".encode()).decode(), line.encode().hex()):
            assert "[secret key]" in redactor.text(f"it is {coded}")
