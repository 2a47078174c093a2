import array
import collections
import dataclasses
import datetime as dt
import decimal
import fractions
import io
import math
import pathlib
import re
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_nb.capabilities.describe import describe, describe_image, describe_value, shorten
from loom_nb.messages import DataPart, ImagePart, Origin
from tests import cost

DETAILS = ("summary", "schema", "head", "statistics")


def orders(rows=1204):
    return pd.DataFrame(
        {
            "order id": range(rows),
            "price": np.linspace(1, 9, rows),
            "country": ["NO", "SE", None, "DK"] * (rows // 4),
            "when": pd.date_range("2024-01-01", periods=rows, freq="h", tz="Europe/Oslo"),
        }
    )


def test_a_frame_for_a_prompt_is_its_schema_and_first_rows():
    part = describe_value("df", orders())

    assert isinstance(part, DataPart)
    assert (part.name, part.origin) == ("df", Origin("notebook", "df"))
    assert part.summary == "DataFrame 1,204\u00d74 → schema + 5 rows"
    assert part.text.splitlines()[:6] == [
        "DataFrame: 1,204 rows \u00d7 4 columns",
        "column | dtype | missing",
        "order id | int64 | 0",
        "price | float64 | 0",
        f"country | {orders().country.dtype} | 301",
        f"when | {orders().when.dtype} | 0",
    ]
    assert "first 5 rows:" in part.text
    assert "0 | 0 | 1.0 | NO | 2024-01-01 00:00:00+01:00" in part.text


def test_the_statistics_of_a_frame_agree_with_pandas():
    frame = orders()
    text = describe(frame, "statistics").text

    told = frame["price"].describe()
    assert f"mean {told['mean']:.6g}, std {told['std']:.6g}, min 1, 25% {told['25%']:.6g}" in text
    assert "count 903, distinct 3, most: NO (301)" in text
    assert "min 2024-01-01 00:00:00+01:00" in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (True, "True"),
        (7, "7"),
        pytest.param(10**6000, "an integer of 19,932 bits", id="huge"),
        (1.5, "1.5"),
        (math.nan, "nan"),
        (2 + 1j, "(2+1j)"),
        ("some words", "some words"),
        (b"raw", "bytes: b'raw'"),
        (decimal.Decimal("1.10"), "1.10"),
        (fractions.Fraction(1, 3), "1/3"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (dt.datetime(2024, 2, 29, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Oslo")), "2024-02-29 01:00:00+01:00"),
        (dt.timedelta(hours=1), "1:00:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/a b"), "PurePosixPath('/a b')"),
        (range(3), "range(0, 3)"),
        (re.compile("a+"), "re.compile('a+')"),
        (np.float32(1.5), "1.5"),
        (np.datetime64("2024-01-01"), "2024-01-01"),
        (pd.NaT, "NaT"),
        (pd.NA, "<NA>"),
        (pd.Timestamp("2024-01-01", tz="UTC"), "2024-01-01 00:00:00+00:00"),
        (pd.Interval(0, 1), "(0, 1]"),
    ],
)
def test_single_values_are_told_as_they_are(value, expected):
    assert describe_value("x", value).text == expected


def odd_frames():
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["letter", None])
    yield "empty", pd.DataFrame()
    yield "no rows", pd.DataFrame({"a": pd.Series([], dtype="float64"), "b": pd.Series([], dtype=object)})
    yield "no columns", pd.DataFrame(index=range(5))
    yield "duplicated columns", pd.DataFrame([[1, "x"], [2, "y"]], columns=["a", "a"])
    yield "row MultiIndex", pd.DataFrame({"v": [1, 2]}, index=index)
    yield "column MultiIndex", pd.DataFrame([[1, 2], [3, 4]], columns=index)
    yield (
        "mixed objects",
        pd.DataFrame({"o": [1, "a", None, [1], {"k": 2}, b"x", object(), dt.date(2024, 1, 1)]}),
    )
    yield "NaN only", pd.DataFrame({"n": [math.nan] * 3, "o": pd.Series([None] * 3, dtype=object)})
    yield (
        "datetime tz",
        pd.DataFrame({"t": pd.to_datetime(["2024-01-01", None]).tz_localize("America/New_York")}),
    )
    yield "no moments", pd.DataFrame({"t": pd.to_datetime([None, None]), "d": pd.to_timedelta([None, None])})
    yield "categories", pd.DataFrame({"c": pd.Categorical(["u", None, "v"], ordered=True)})
    yield "no categories", pd.DataFrame({"c": pd.Categorical([None, None])})
    yield (
        "nullable",
        pd.DataFrame({"i": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean")}),
    )
    yield "strings", pd.DataFrame({"s": pd.array(["a", None], "string")})
    yield "periods", pd.DataFrame({"p": pd.period_range("2024", periods=2, freq="M")})
    yield "intervals", pd.DataFrame({"i": pd.interval_range(0, 2)})
    yield "sparse", pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1])})
    yield "complex", pd.DataFrame({"c": [1j, 2j]})
    yield "infinite", pd.DataFrame({"f": [math.inf, -math.inf, 1.0]})
    yield "half floats", pd.DataFrame({"f": np.array([1, 65504], "float16")})
    yield "odd labels", pd.DataFrame([[1, 2, 3, 4]], columns=[None, math.nan, (1, 2), "a|b\nc"])
    yield "decimals", pd.DataFrame({"d": [decimal.Decimal("1.1"), decimal.Decimal("NaN")]})
    yield "wide", pd.DataFrame(np.zeros((2, 3000)))
    yield "long words", pd.DataFrame({"w": ["x" * 100_000] * 3})
    yield "lone surrogates", pd.DataFrame({"\ud800": pd.Series(["\udfff", "a\0b"], dtype=object)})


@pytest.mark.parametrize("detail", DETAILS)
@pytest.mark.parametrize(("name", "frame"), [pytest.param(n, f, id=n) for n, f in odd_frames()])
def test_odd_frames_are_described_whole(name, frame, detail):
    made = describe(frame, detail)

    assert made.text.startswith(f"DataFrame: {frame.shape[0]:,} rows \u00d7 {frame.shape[1]:,} columns")
    assert "?" not in made.text.replace("str?", "")
    assert len(describe_value(name, frame).text) <= 4000
    for n in range(min(3, frame.shape[1])):
        assert describe(frame.iloc[:, n], detail).type == "Series"
    assert describe(frame.index).text


def test_what_pandas_counts_as_missing_is_counted():
    frame = pd.DataFrame(
        {
            "o": pd.Series([None, math.nan, pd.NA, pd.NaT, decimal.Decimal("NaN"), 0, ""], dtype=object),
            "f": [math.nan, 1, 2, 3, 4, 5, 6],
        }
    )

    lines = describe(frame, "schema").text.splitlines()

    assert lines[2:] == [f"o | object | {frame.o.isna().sum()}", "f | float64 | 1"]


def test_a_subclass_of_a_frame_is_described_by_its_data():
    class Sales(pd.DataFrame):
        @property
        def _constructor(self):
            raise AssertionError("the code of a subclass ran")

    made = describe(Sales({"a": [1, 2]}))

    assert (made.type, made.size) == ("Sales", "2\u00d71")
    assert "a | int64 | 0" in made.text


def test_describing_changes_nothing():
    frame = orders(8)
    frame.attrs["note"] = "mine"
    before = frame.copy()

    for detail in DETAILS:
        describe(frame, detail)
        describe(frame["price"], detail)

    pd.testing.assert_frame_equal(frame, before)
    assert list(frame.columns) == ["order id", "price", "country", "when"]
    assert frame["price"].name == "price"


def test_a_large_frame_costs_little_and_says_that_it_is_sampled():
    rows = 3_000_000
    frame = pd.DataFrame(
        {"n": np.arange(rows, dtype="int32"), "o": pd.Series(["a", None, 3] * (rows // 3), dtype=object)}
    )
    texts = []

    assert cost.calls(lambda: texts.extend(describe(frame, detail).text for detail in DETAILS)) < rows // 3
    assert "missing" in texts[0]
    assert "in a sample of" in texts[1]
    assert "(sample of" in texts[3]


@pytest.mark.parametrize("shape", [(50_000_000,), (1, 1, 50_000_000), (25_000, 2_000), (30_000_000, 2)])
def test_a_large_array_is_sampled(shape):
    array, texts = np.ones(shape, dtype="float32"), []

    assert cost.taken(lambda: texts.append(describe(array).text)) < 80_000_000
    assert "(sample of" in texts[0]
    assert "mean 1," in texts[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(12).reshape(3, 4), "shape (3, 4), dtype int64, 96 bytes\ncount 12, mean 5.5"),
        (np.array([True, False]), "true 1 of 2"),
        (np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"), "min 2024-01-01, max 2024-01-01"),
        (np.array(["NaT"], dtype="datetime64[D]"), "all missing"),
        (np.array("x"), "shape ()"),
        (np.array([]), "shape (0,)"),
        (np.zeros((0, 3)), "shape (0, 3)"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), "dtype [('a', '<i4'), ('b', '<f8')]"),
        (np.array([1, "a", None], dtype=object), "first values: 1, a, None"),
        (np.ma.masked_array([1, 2], [0, 1]), "MaskedArray: shape (2,)"),
        (np.array([math.nan, math.nan]), "count 0, missing 2"),
        (np.float16([1, 2]), "mean 1.5"),
    ],
)
def test_arrays_are_described(values, expected):
    assert expected in describe(values).text


def test_nested_data_is_told_to_a_bounded_depth_even_when_it_holds_itself():
    loop = {"name": "loop"}
    loop["self"] = [loop]

    text = describe(loop).text

    assert "'name': 'loop'" in text
    assert len(text) < 1000


def test_a_long_string_keeps_its_head_and_tail():
    part = describe_value("log", "begin " + "x" * 100_000 + " end")

    assert len(part.text) <= 4000
    assert part.text.startswith("begin ")
    assert part.text.endswith(" end")
    assert "characters left out" in part.text
    assert part.summary == "str 100,010 characters → text (shortened)"


def test_a_class_may_say_itself_what_a_model_reads_of_it_in_a_prompt_only():
    class Ship:
        def _repr_llm_(self):
            return "a ship"

    assert describe_value("ship", Ship()).text == "a ship"
    assert "a ship" not in describe(Ship()).text


@pytest.mark.parametrize("result", [RuntimeError("no"), 3, None])
def test_a_class_that_fails_to_say_it_is_described(result):
    class Ship:
        def __init__(self):
            self.mast = 1

        def _repr_llm_(self):
            if isinstance(result, Exception):
                raise result
            return result

    assert "mast: int" in describe_value("ship", Ship()).text


def test_the_repr_of_an_opaque_object_is_part_of_a_prompt_when_it_says_something():
    class Forest:
        def __repr__(self):
            return "Forest(trees=3)"

    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert "repr: Forest(trees=3)" in describe_value("model", Forest()).text
    assert "repr" not in describe_value("model", Broken()).text
    assert " at 0x" not in describe_value("model", object()).text
    assert "Forest(trees" not in describe(Forest()).text


def test_a_secret_is_withheld_from_a_prompt():
    assert "v4lue" not in describe_value("openai_api_key", "v4lue").text
    assert "v4lue" not in describe_value("cfg", {"password": "v4lue"}).text
    assert describe_value("key", "v4lue").text == "v4lue"
    assert "withheld" in describe_value("openai_api_key", "v4lue").summary


def test_the_origin_may_be_given():
    assert describe_value("x", 1, origin=Origin("user", "task")).origin == Origin("user", "task")


def test_figures_and_images_become_png_of_bounded_size():
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(2, 1), dpi=100)
    images = [
        describe_image(figure),
        *(describe_image(Image.new(m, (3000, 20))) for m in ("RGB", "CMYK", "L", "F")),
    ]

    assert all(isinstance(image, ImagePart) and image.data.startswith(b"\x89PNG") for image in images)
    assert [Image.open(io.BytesIO(image.data)).size for image in images] == [(200, 100), *[(1200, 8)] * 4]
    assert figure.get_dpi() == 100
    assert "3,000\u00d720" in describe(Image.new("RGB", (3000, 20))).text


@pytest.mark.parametrize("value", [None, "text", 3, pd.DataFrame(), np.zeros((3, 3)), object()])
def test_all_else_has_no_image(value):
    assert describe_image(value) is None


def test_live_objects_are_not_used_up():
    numbers = iter([1, 2])
    generator = (n for n in [1, 2])

    with io.StringIO("text") as file:
        texts = [describe_value("x", value).text for value in (numbers, generator, file)]

        assert file.read() == "text"
    assert list(numbers) == list(generator) == [1, 2]
    assert all(texts)


@pytest.mark.parametrize("most", [0, 1, 10, 60, 100, 1000])
def test_shortening_keeps_to_the_limit(most):
    assert len(shorten("abc" * 5000, most)) <= most


@dataclasses.dataclass
class Box:
    content: object


Pair = collections.namedtuple("Pair", "a b")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(codec=None)),
    st.binary(),
    st.decimals(),
    st.fractions(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.builds(pathlib.PurePosixPath, st.text(st.characters(exclude_characters="\0", codec="utf-8"))),
    st.sampled_from(
        [int, len, math, print, Box, Pair, object(), np.int8(3), array.array("i", [1]), memoryview(b"x")]
    ),
)
hashable = st.one_of(st.text(), st.integers(), st.booleans(), st.dates(), st.tuples(st.integers(), st.text()))
data = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=15),
        st.dictionaries(hashable, inner, max_size=25),
        st.sets(hashable),
        st.frozensets(hashable),
        st.builds(collections.deque, st.lists(inner, max_size=5)),
        st.builds(Box, inner),
        st.builds(Pair, inner, inner),
        st.builds(tuple, st.lists(inner, max_size=5)),
    ),
    max_leaves=40,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.text(max_size=30), value=data, most=st.integers(60, 2000))
def test_any_nested_data_is_described_within_the_limit(name, value, most):
    part = describe_value(name, value, max_chars=most)

    assert len(part.text) <= most
    assert 0 < len(part.summary) <= 160
    part.text.encode()
    for detail in DETAILS:
        made = describe(value, detail)
        assert "could not be described" not in made.text
        assert "\n" not in made.line


columns = st.one_of(
    st.lists(st.one_of(scalars, st.lists(st.integers(), max_size=2)), min_size=6, max_size=6).map(
        lambda values: pd.Series(values, dtype=object)
    ),
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=6, max_size=6).map(
        lambda v: pd.Series(v, dtype="Int64")
    ),
    st.lists(st.floats(), min_size=6, max_size=6).map(lambda v: pd.Series(v, dtype="float64")),
    st.lists(st.text(st.characters(codec="utf-8")), min_size=6, max_size=6).map(
        lambda v: pd.Series(v, dtype="string")
    ),
    st.lists(st.sampled_from(["a", "b", None]), min_size=6, max_size=6).map(
        lambda v: pd.Series(v, dtype="category")
    ),
    st.lists(
        st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)) | st.none(), min_size=6, max_size=6
    ).map(lambda v: pd.Series(pd.to_datetime(pd.Series(v, dtype="datetime64[ns]"))).dt.tz_localize("UTC")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parts=st.lists(st.tuples(hashable, columns), max_size=6), rows=st.integers(0, 6))
def test_any_frame_is_described_within_the_limit(parts, rows):
    frame = pd.DataFrame({n: column for n, (_, column) in enumerate(parts)}).iloc[:rows]
    frame.columns = pd.Index([label for label, _ in parts], dtype=object, tupleize_cols=False)

    part = describe_value("df", frame, max_chars=1500)

    assert len(part.text) <= 1500
    assert part.text.startswith("DataFrame: ")
    for detail in DETAILS:
        assert "could not be described" not in describe(frame, detail).text
