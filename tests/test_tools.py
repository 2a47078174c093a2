"""Tools: schemas from annotations and docstrings, checks before the call, results as parts."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import sys
import typing
from decimal import Decimal
from functools import partial
from typing import Annotated, Literal, Optional

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from loom_nb.errors import BorderError, LoomUsageError, SetupError, ToolError
from loom_nb.messages import ImagePart, Origin, TextPart
from loom_nb.runtime.output import OutputType
from loom_nb.tools import Tool, as_tool, readable, result_parts, tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class OldRow(typing.TypedDict):
    name: str


class Filter(BaseModel):
    column: str
    values: list[str] = []


class Row(TypedDict):
    name: str
    age: int


@tool(read_only=True)
async def search(
    query: str,
    limit: Annotated[int, Field(ge=1, le=10)] = 5,
    colours: list[Colour] | None = None,
    where: Optional[Filter] = None,  # noqa: UP045  the old spelling must work too
    *,
    order: Literal["up", "down"] = "up",
    at: Point | None = None,
    row: Row | None = None,
    day: datetime.date | None = None,
) -> str:
    """Search the documents.

    More about it.

    Args:
        query: what to look for
        limit: how many hits
    """
    return query


def test_a_schema_comes_from_postponed_annotations_of_every_kind():
    properties = search.schema["properties"]

    assert properties["query"] == {"type": "string", "description": "what to look for"}
    assert properties["limit"] == {
        "type": "integer", "minimum": 1, "maximum": 10, "default": 5, "description": "how many hits",
    }  # fmt: skip
    assert properties["order"] == {"type": "string", "enum": ["up", "down"], "default": "up"}
    assert {"$ref": "#/$defs/Colour"} in [
        p for p in properties["colours"]["anyOf"][0].values() if isinstance(p, dict)
    ]
    assert search.schema["required"] == ["query"]
    assert search.schema["additionalProperties"] is False
    assert "title" not in str(search.schema)


def test_the_description_is_the_docstring_without_its_arguments():
    assert search.description == "Search the documents.\n\nMore about it."


def test_numpy_style_docstrings_describe_several_names_at_once():
    @tool
    def add(a: int, b: int) -> int:
        """Add.

        Parameters
        ----------
        a, b : int
            The summands.
        """
        return a + b

    assert [p["description"] for p in add.schema["properties"].values()] == ["The summands.", "The summands."]


def test_arguments_arrive_as_the_types_of_the_signature():
    values = search.validate(
        '{"query":"x","colours":["red"],"where":{"column":"c"},"at":{"x":1},"row":{"name":"n","age":3},"day":"2024-02-29"}'
    )

    assert values["colours"] == [Colour.RED]
    assert values["where"] == Filter(column="c")
    assert values["at"] == Point(1, 0)
    assert values["row"] == {"name": "n", "age": 3}
    assert values["day"] == datetime.date(2024, 2, 29)
    assert values["limit"] == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "query: Field required"),
        ('{"query":"x","limit":0}', "limit: Input should be greater than or equal to 1 (got 0)"),
        ('{"query":"x","limit":"many"}', "limit: Input should be a valid integer"),
        ('{"query":"x","Query":1}', "Query: Extra inputs are not permitted (got 1)"),
        ('{"query":"x","order":"sideways"}', "order: Input should be 'up' or 'down'"),
        ('{"query":"x","at":{"y":1}}', "at.x: Field required"),
        ('{"query":1}', "query: Input should be a valid string (got 1)"),
    ],
)
def test_a_wrong_argument_is_named_with_what_was_given(text, told):
    with pytest.raises(ToolError, match="search was not called") as caught:
        search.validate(text)
    assert told in caught.value.title


@pytest.mark.parametrize(
    "text", ['{"query":"a"', '{"query":"a","query":"b"}', "[]", '{"query": NaN}', "null", '"x"']
)
def test_arguments_that_break_the_rules_of_the_border_never_reach_the_function(text):
    with pytest.raises(BorderError, match="arguments of search"):
        search.validate(text)


def test_no_arguments_may_be_an_empty_text():
    @tool
    def ping() -> str:
        return "pong"

    assert ping.validate("") == {}
    assert ping.schema == {"type": "object", "properties": {}, "additionalProperties": False}


def test_parameter_names_that_pydantic_uses_itself_are_fine():
    @tool
    def odd(model_config: str, schema: int, json: bool = False, model_dump: str = "") -> None: ...

    assert odd.validate({"model_config": "a", "schema": 1}) == {
        "model_config": "a", "schema": 1, "json": False, "model_dump": "",
    }  # fmt: skip


def test_a_parameter_may_be_called_as_an_alias_of_another_one_is():
    @tool
    def odd(copy: str, a_copy: int, fields: bool, name: str = "n") -> None: ...

    given = {"copy": "c", "a_copy": 2, "fields": True}
    assert odd.validate(given) == {**given, "name": "n"}
    assert list(odd.schema["properties"]) == ["copy", "a_copy", "fields", "name"]


def test_annotations_that_name_things_of_an_enclosing_function_resolve():
    class Local(BaseModel):
        a: int

    @tool
    def take(value: Local) -> int:
        return value.a + (0 if Local else 1)

    assert take.validate({"value": {"a": 1}}) == {"value": Local(a=1)}


def test_an_annotation_that_is_not_defined_says_which():
    @tool
    def take(value: NowhereDefined) -> None:  # noqa: F821
        ...

    with pytest.raises(SetupError, match="NowhereDefined"):
        _ = take.schema


@pytest.mark.parametrize("effects", [(), ("reads",), ("writes",)])
def test_a_tool_that_declares_nothing_counts_as_one_that_writes(effects):
    declared = tool(name="t")(print) if not effects else tool(name="t", effects=effects)(print)  # type: ignore[arg-type]
    assert declared.read_only is (effects == ("reads",))
    assert declared.side_by_side is declared.read_only
    assert declared.idempotent is False


def test_contradictions_and_unknown_effects_are_refused():
    with pytest.raises(LoomUsageError, match="read_only"):
        tool(read_only=True, destructive=True)(print)
    with pytest.raises(LoomUsageError, match=r"(?s)effects=\['flies'\].*some of reads, "):
        tool(effects=["flies"])(search.function)  # type: ignore[list-item]
    with pytest.raises(LoomUsageError, match="no name for a tool"):
        Tool(search.function, "a b", "")
    with pytest.raises(LoomUsageError, match="timeout"):
        tool(timeout=0)(search.function)


def test_functions_that_cannot_be_described_say_why():
    with pytest.raises(SetupError, match=r"\*rest"):
        _ = tool(name="t")(lambda *rest: rest).schema
    with pytest.raises(SetupError, match="by position"):
        _ = tool(name="t")(lambda a, /: a).schema

    @tool
    def take(value: pytest.Config) -> None: ...

    with pytest.raises(SetupError, match="JSON cannot carry"):
        _ = take.schema
    with pytest.raises(SetupError, match="not int"):
        as_tool(3)  # type: ignore[arg-type]


def test_methods_partials_and_callables_become_tools():
    class Shop:
        def buy(self, item: str) -> str:
            """Buy something."""
            return item

    class Till:
        def __call__(self, cents: int) -> int:
            """Take money."""
            return cents

    assert as_tool(Shop().buy).schema["required"] == ["item"]
    assert as_tool(Shop().buy).description == "Buy something."
    assert as_tool(Till()).name == "Till"
    assert as_tool(Till()).schema["properties"] == {"cents": {"type": "integer"}}
    assert as_tool(partial(Shop().buy, "tea")).schema["properties"] == {}
    assert (as_tool(partial(Till())).name, as_tool(partial(Till())).description) == ("Till", "Take money.")


def far(start: str, end: str, unit: Literal["km", "miles"] = "km", digits: int = 0) -> str:
    """How far it is.

    Args:
        start: where from.
        end: where to.
        unit: of the answer.
        digits: behind the point.
    """
    return f"{start} {end} {unit} {digits}"


async def far_away(start: str, end: str) -> str:
    """Far away."""
    return start + end


@pytest.mark.parametrize(
    ("bound", "left", "called"),
    [
        (partial(far, "Rome"), ["end", "unit", "digits"], "Rome Oslo km 0"),
        (partial(far, start="Rome"), ["end", "unit", "digits"], "Rome Oslo km 0"),
        (partial(far, unit="miles"), ["start", "end", "digits"], "Bonn Oslo miles 0"),
        (partial(partial(far, "Rome"), digits=2), ["end", "unit"], "Rome Oslo km 2"),
        (partial(partial(far, unit="km"), "Rome", unit="miles"), ["end", "digits"], "Rome Oslo miles 0"),
    ],
)
def test_a_partial_keeps_the_name_and_the_types_of_its_function(bound, left, called):
    made = as_tool(bound)

    assert (made.name, made.description) == ("far", "How far it is.")
    assert list(made.schema["properties"]) == left
    assert made.schema["properties"]["end"] == {"type": "string", "description": "where to."}
    given = {name: value for name, value in (("start", "Bonn"), ("end", "Oslo")) if name in left}
    assert made.function(**made.validate(given)) == called
    with pytest.raises(ToolError, match="extra|not permitted"):
        made.validate({**given, "start": 1, "unit": 1, "digits": 1})


def test_a_nested_partial_with_words_of_its_own_is_one_tool():
    inner = partial(far, "Rome")
    inner.note = "kept apart"  # partials with attributes are not flattened
    outer = partial(inner, unit="miles")
    assert outer.func is inner

    assert list(as_tool(outer).schema["properties"]) == ["end", "digits"]
    named = partial(far, "Rome")
    named.__name__, named.__doc__ = "far_from_rome", "How far Rome is."
    assert (as_tool(named).name, as_tool(named).description) == ("far_from_rome", "How far Rome is.")
    assert tool(name="rome")(partial(far, "Rome")).name == "rome"


def test_a_partial_of_a_coroutine_function_is_awaited():
    assert as_tool(partial(far_away, "Rome")).is_async


def test_a_partial_of_a_tool_keeps_what_the_tool_may_do():
    whole = tool(read_only=True, timeout=7)(far)

    made = as_tool(partial(partial(whole, "Rome"), unit="miles"))

    assert (made.name, made.read_only, made.timeout) == ("far", True, 7)
    assert list(made.schema["properties"]) == ["end", "digits"]
    assert made.function(**made.validate({"end": "Oslo"})) == "Rome Oslo miles 0"
    with pytest.raises(LoomUsageError, match="cannot be bound"):
        as_tool(partial(Tool(dict, "raw", "", json_schema={"type": "object"}), a=1))


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="typing.TypedDict is enough from Python 3.12 on")
def test_before_python_3_12_a_typed_dict_comes_from_typing_extensions():
    def add(row: OldRow) -> str:
        """Add."""
        return row["name"]

    with pytest.raises(SetupError, match="cannot carry") as raised:
        as_tool(add).schema  # noqa: B018  reading it is the question
    assert raised.value.fixes == ("from typing_extensions import TypedDict",)
    with pytest.raises(SetupError) as form:
        OutputType(OldRow)
    assert form.value.fixes == raised.value.fixes


def test_a_tool_still_works_as_the_function_it_was():
    @tool
    def double(x: int) -> int:
        return 2 * x

    assert double(4) == 8


def test_a_raw_schema_is_checked_by_its_own_words():
    raw = Tool(
        dict, "raw", "", json_schema={"type": "object", "properties": {"a": {"type": "integer", "minimum": 2}}, "required": ["a"]},
    )  # fmt: skip
    assert raw.validate('{"a": 2, "b": 1}') == {"a": 2, "b": 1}
    with pytest.raises(ToolError, match="a: 1 is less than the minimum of 2"):
        raw.validate('{"a": 1}')
    with pytest.raises(ToolError, match="'a' is a required property"):
        raw.validate("{}")


class Reader:
    def _repr_llm_(self) -> str:
        return "for a model"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("words", "words"),
        (None, "(no result)"),
        ({"a": [1, 2.5, None]}, '{"a":[1,2.5,null]}'),
        (Decimal("1.50"), '"1.50"'),
        (datetime.date(2024, 1, 2), '"2024-01-02"'),
        (Point(1, 2), '{"x":1,"y":2}'),
        (Filter(column="c"), '{"column":"c","values":[]}'),
        (Reader(), "for a model"),
        ({1, 2} - {2}, "[1]"),
        (object, "<class 'object'>"),
    ],
)
def test_what_a_function_returns_becomes_text_that_a_model_can_read(value, text):
    assert readable(value) == text


def test_frames_become_tables_and_figures_become_images():
    import matplotlib as mpl
    import pandas as pd

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    frame = pd.DataFrame({"a": range(60)})
    text = readable(frame)
    assert text.startswith("DataFrame, 60 rows x 1 columns\na\n0\n1\n")
    assert text.endswith("first 50 rows of 60")

    by_name = pd.DataFrame({"n": [1.0, 2.5]}, index=pd.Index(["x", "y|z"], name="who"))
    assert readable(by_name) == "DataFrame, 2 rows x 1 columns\nwho | n\nx | 1\ny\\|z | 2.5"
    assert readable(by_name["n"]).startswith("Series, 2 rows x 1 columns\nwho | n\n")

    figure = plt.figure()
    (part,) = result_parts(figure, Origin("tool", "plot"))
    plt.close(figure)
    assert isinstance(part, ImagePart)
    assert part.data.startswith(b"\x89PNG")


def test_lone_surrogates_and_nul_bytes_never_leave_a_tool():
    (part,) = result_parts("a\ud800b\0c", Origin("tool", "t"))
    assert isinstance(part, TextPart)
    assert part.text == "a\ufffdb\u2400c"
