"""The border parser: what is refused, what passes, and that nothing else comes out of it."""

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loom_nb.border import MAX_BYTES, clean, parse, parse_object
from loom_nb.errors import BorderError, LoomError

LONG = "1" * 309  # as a float it is still finite
TOO_LONG = "1" * 310

REFUSED: dict[str, str | bytes] = {
    "duplicate key": '{"a": 1, "a": 2}',
    "duplicate key with an equal value": '{"a": 1, "a": 1}',
    "duplicate key written with an escape": '{"a": 1, "\\u0061": 2}',
    "duplicate empty key": '{"": 1, "": 2}',
    "duplicate key deep inside": '[{"b": [{"c": {"a": 1, "b": 2, "a": 3}}]}]',
    "NaN": "NaN",
    "nan in a list": "[nan]",
    "Infinity": "Infinity",
    "-Infinity": '{"a": -Infinity}',
    "1e400": "1e400",
    "-1e400": "[-1e400]",
    "1E+400": '{"a": [0, 1E+400]}',
    "1e309": "1e309",
    "infinite without exponent": TOO_LONG + ".0",
    "infinite without exponent, in a list": f"[{TOO_LONG}.5, 1]",
    "infinite after a long text": json.dumps(["x" * 10_000])[:-1] + ",1e999]",
    "infinite at a depth": "[" * 150 + "1e400" + "]" * 150,
    "integer over 4,300 digits": "1" * 4301,
    "escaped lone high surrogate": '"\\ud800"',
    "escaped lone low surrogate": '"\\udc00"',
    "two high surrogates": '"\\ud800\\ud800"',
    "surrogates in the wrong order": '"\\ude00\\ud83d"',
    "escaped lone surrogate as a key": '{"\\ud800": 1}',
    "lone surrogate in a str": '"\ud800"',
    "surrogate encoded as UTF-8": b'"\xed\xa0\x80"',
    "invalid byte": b'"\xff"',
    "invalid byte in a key": b'{"\xff": 1}',
    "overlong encoding": b'"\xc0\x80"',
    "cut UTF-8": b'"\xe2\x82"',
    "UTF-16": '"a"'.encode("utf-16"),
    "byte order mark": "\ufeff1",
    "too deep": "[" * 202 + "]" * 202,
    "much too deep": "[" * 200_000,
    "too deep in objects": '{"a":' * 202 + "1" + "}" * 202,
    "empty": "",
    "blank": " \n",
    "two documents": "1 2",
    "cut object": '{"a": 1',
    "cut string": '"abc',
    "cut escape": '"\\u12"',
    "unknown escape": '"\\x41"',
    "trailing comma": "[1,]",
    "trailing comma in an object": '{"a": 1,}',
    "comment": "// no\n1",
    "single quotes": "'a'",
    "bare key": "{a: 1}",
    "Python's True": "True",
    "leading zero": "01",
    "plus sign": "+1",
    "point first": ".5",
    "point last": "1.",
    "minus alone": "-",
    "hexadecimal": "0x10",
    "raw newline in a string": '"a\nb"',
    "raw NUL in a string": '"a\x00b"',
    "NUL after the document": "1\x00",
    "other white space": "\u00a01",
}

TAKEN: dict[str, tuple[str | bytes, Any]] = {
    "object": ('{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
    "bytes": ('{"ä": "🧶"}'.encode(), {"ä": "🧶"}),
    "surrogate pair": ('"\\ud83d\\ude00"', "😀"),
    "escaped NUL": ('"\\u0000"', "\0"),
    "same key in two objects": ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
    "huge integer": ("1" + "0" * 4000, 10**4000),
    "largest float": ("1.7976931348623157e308", 1.7976931348623157e308),
    "long float that is finite": (LONG + ".5", float(LONG)),
    "underflow": ("1e-400", 0.0),
    "negative zero": ("-0.0", -0.0),
    "an e in a text": ('"1e400"', "1e400"),
    "deep enough": ("[" * 200 + "]" * 200, None),
    "white space": (" \t\r\n1 ", 1),
    "line separator": ('"\u2028"', "\u2028"),
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_breaks_the_rules_is_refused_by_name(text: str | bytes) -> None:
    with pytest.raises(BorderError) as refused:
        parse(text, what="arguments of read_file")

    assert refused.value.title.startswith("arguments of read_file: ")
    assert len(refused.value.title) < 400
    refused.value.title.encode()  # the message itself can be kept
    assert isinstance(refused.value, LoomError)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(("text", "value"), TAKEN.values(), ids=TAKEN)
def test_what_keeps_the_rules_passes_unchanged(text: str | bytes, value: Any) -> None:
    parsed = parse(text)

    if value is not None:
        assert parsed == value
        assert type(parsed) is type(value)


def test_the_message_stays_short_however_long_the_key() -> None:
    key = json.dumps("k" * 100_000)

    with pytest.raises(BorderError, match=r"uplicate key .*column") as refused:
        parse(f"{{{key}: 1, {key}: 2}}")

    assert len(refused.value.title) < 400


class TestSize:
    def test_bytes_count_not_characters(self) -> None:
        assert parse('"é"', max_bytes=4) == "é"
        with pytest.raises(BorderError, match="5 bytes, the limit is 4"):
            parse('"éa"', max_bytes=4)

    def test_without_a_limit_of_its_own_sixteen_megabytes_pass_and_one_byte_more_does_not(self) -> None:
        text = b'"' + b"x" * (MAX_BYTES - 2) + b'"'

        assert len(parse(text)) == MAX_BYTES - 2
        with pytest.raises(BorderError, match="the limit is 16,777,216"):
            parse(text + b" ")


class TestObjects:
    def test_an_object_passes(self) -> None:
        assert parse_object('{"a": {}}') == {"a": {}}

    @pytest.mark.parametrize(
        ("text", "kind"), [("[]", "list"), ('"a"', "str"), ("1", "int"), ("null", "NoneType")]
    )
    def test_anything_else_is_refused_with_what_it_is(self, text: str, kind: str) -> None:
        with pytest.raises(BorderError, match=f"an object is expected, this is a {kind}"):
            parse_object(text)

    def test_the_limits_hold_too(self) -> None:
        with pytest.raises(BorderError, match="limit"):
            parse_object('{"a": 1}', max_bytes=3)


CLEANED = [
    ("plain", "plain"),
    ("", ""),
    ("ünï 🧶", "ünï 🧶"),
    ("a\ud800b", "a\ufffdb"),
    ("\udc00", "\ufffd"),
    ("\ude00\ud83d", "\ufffd\ufffd"),
    ("\ud83d\ude00", "😀"),
    ("a\0b", "a\u2400b"),
    ("\ud800\0é", "\ufffd\u2400é"),
    ("\ufeffa\ufffe", "\ufeffa\ufffe"),
    ("\r\n\t\x1b[0m", "\r\n\t\x1b[0m"),
]


class TestClean:
    @pytest.mark.parametrize(("text", "kept"), CLEANED, ids=ascii)
    def test_only_surrogates_and_nul_are_replaced(self, text: str, kept: str) -> None:
        assert clean(text) == kept

    @given(st.text(st.characters(categories=None) | st.characters(categories=["Cs"]) | st.just("\0")))
    @example("\ud83d" + "\ude00" * 2)
    def test_whatever_comes_in_can_be_kept_sent_and_cleaned_again(self, text: str) -> None:
        kept = clean(text)

        kept.encode()
        assert "\0" not in kept
        assert clean(kept) == kept
        assert parse(json.dumps(kept, ensure_ascii=False)) == kept

    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
    def test_good_text_is_left_alone(self, text: str) -> None:
        assert clean(text) == text


PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=30,
)

FRAGMENTS = st.sampled_from(
    [
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        '"',
        '{"a":',
        '"a"',
        '"e"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        "\\u0000",
        "\ud800",
        "é",
        "0",
        "1",
        "-",
        ".",
        "E",
        "1e5",
        "1e400",
        TOO_LONG,
        "NaN",
        "Infinity",
        "null",
        "true",
        " ",
        "\0",
        "\ufeff",
    ]
)


def strange(value: Any) -> bool:
    """Whether a value holds what the border promises to keep out."""
    match value:
        case float():
            return not math.isfinite(value)
        case str():
            return any("\ud800" <= character <= "\udfff" for character in value)
        case list():
            return any(strange(item) for item in value)
        case dict():
            return any(strange(key) or strange(item) for key, item in value.items())
        case _:
            return type(value) not in {int, bool, type(None)}


class TestAnything:
    @given(value=PLAIN, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
    def test_plain_data_goes_round(self, value: Any, ascii_only: bool, indent: int | None) -> None:
        text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)

        assert parse(text) == value
        assert parse(text.encode()) == value

    @settings(max_examples=400)
    @given(st.lists(FRAGMENTS, max_size=12).map("".join) | st.text(max_size=40) | st.binary(max_size=40))
    def test_any_input_gives_plain_data_or_a_border_error(self, text: str | bytes) -> None:
        try:
            value = parse(text)
        except BorderError:
            return

        assert not strange(value)
        assert value == json.loads(text)

    @given(value=PLAIN, at=st.integers(0, 10_000), byte=st.integers(0, 255))
    def test_a_changed_byte_gives_plain_data_or_a_border_error(self, value: Any, at: int, byte: int) -> None:
        data = bytearray(json.dumps(value).encode())
        data[at % len(data)] = byte

        with suppress(BorderError):
            assert not strange(parse(bytes(data)))

    @given(
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), PLAIN, min_size=1, max_size=5),
        st.data(),
    )
    def test_a_key_said_twice_is_refused_wherever_it_stands(
        self, value: dict[str, Any], data: st.DataObject
    ) -> None:
        key = data.draw(st.sampled_from(sorted(value)))
        twice = f"{json.dumps(value)[:-1]}, {json.dumps(key, ensure_ascii=False)}: 0}}"
        depth = data.draw(st.integers(0, 5))

        with pytest.raises(BorderError, match="uplicate"):
            parse("[" * depth + twice + "]" * depth)
