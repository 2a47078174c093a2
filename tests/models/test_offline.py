"""The embedded offline model: what it makes of a request, turn by turn."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_nb import Agent, Model, SessionConfig
from loom_nb.capabilities.describe import describe_value
from loom_nb.capabilities.variables import VariablesCapability
from loom_nb.errors import LoomError, ToolError
from loom_nb.events import CallDelta, Delta, TextDelta, ThinkingDelta
from loom_nb.messages import (
    Conversation,
    DataPart,
    ImagePart,
    Message,
    Origin,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    user,
)
from loom_nb.models.offline import LABEL, OfflineModel
from loom_nb.models.offline.arithmetic import expression, value_of
from loom_nb.models.offline.facts import read_facts
from loom_nb.models.offline.task import ASKED
from loom_nb.protocols import Generation, OutputSchema, Reply, Request
from loom_nb.runtime.output import OutputType
from loom_nb.stores.memory import MemoryStore
from loom_nb.tools import Tool, as_tool, result_parts, tool


def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


def subtract(a: int, b: int) -> int:
    """Subtract b from a."""
    return a - b


def power(base: float, exponent: int = 2) -> float:
    """Raise to a power."""
    return base**exponent


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def forecast(
    city: str, days: int = 3, unit: Literal["metric", "imperial"] = "metric", hourly: bool = False
) -> str:
    """Weather forecast for a city."""
    return f"{city}: rain for {days} days"


def celsius(fahrenheit: float) -> float:
    """Convert a temperature from Fahrenheit to Celsius."""
    return (fahrenheit - 32) / 1.8


def top_rows(column: str, n: int = 5) -> str:
    """The rows with the largest values.

    Args:
        column: the column to sort by.
        n: how many rows.
    """
    if column not in ("price", "city"):
        raise ToolError(f"no column {column!r}; there are: 'city', 'price'")
    return "city | price\nParis | 12.5\nRome | 10"


def read_file(path: str) -> str:
    """Read a text file."""
    return "to be or\nnot to be"


def save_report(path: str, text: str) -> str:
    """Save a report to a file."""
    return "saved"


def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


def greet(name: str) -> str:
    """Say hello to a person."""
    return f"Hello {name}"


def primes(limit: int) -> list[int]:
    """All primes below a limit."""
    return [2, 3, 5, 7]


def is_prime(n: int) -> bool:
    return True


def convert(amount: float, source: str, target: str) -> str:
    """Convert an amount of money between currencies."""
    return "93"


def search(query: str, limit: int = 5) -> list[dict[str, Any]]:
    """Search the documentation."""
    return [{"title": "Loops", "score": 0.9}, {"title": "Sets", "score": 0.5}]


def book(day: dt.date, name: str, seats: int) -> str:
    """Book a table."""
    return "booked"


def total(values: list[float]) -> float:
    """The sum of a list."""
    return sum(values)


def tag(items: list[str], upper: bool = False) -> str:
    """Tag items."""
    return " ".join(items)


def distance(origin: str, destination: str) -> float:
    """Distance between two cities."""
    return 1105.5


def calculate(expression: str) -> float:
    """Evaluate an arithmetic expression."""
    return 87.0


def get_time() -> str:
    """The current time."""
    return "12:00"


def erase(name: str) -> str:
    """Delete a record for good."""
    return "gone"


FRAME = """DataFrame: 1,204 rows \u00d7 3 columns
column | dtype | missing
city | object | 0
price | float64 | 12
sold on | datetime64[ns] | 3
first 2 rows:
 | city | price | sold on
0 | Paris | 12.5 | 2024-01-01
1 | Rome | 10 | 2024-01-02"""
STATISTICS = """DataFrame: 1,204 rows \u00d7 3 columns
city (object): count 1,204, distinct 7, most: Paris (500), Rome (300)
price (float64): count 1,192, missing 12, mean 11.25, std 1.77, min 10, 25% 10.6, 50% 11.2, 75% 11.9, max 12.5
sold on (datetime64[ns]): count 1,201, min 2024-01-01, max 2024-12-31"""


@tool(read_only=True)
def list_variables() -> str:
    """List the notebook's variables: name, type, size and a one-line summary."""
    return (
        "name | type | size | summary\n"
        "df | DataFrame | 1,204\u00d73 | columns city, price, sold on\n"
        "x | int |  | 5\n"
        "names | list | 2 items | ['a', 'b']"
    )


@tool(read_only=True)
def inspect_variable(
    name: str, detail: Literal["summary", "head", "statistics", "schema"] = "summary"
) -> str:
    """Look into one variable of the notebook without running code."""
    if name == "x":
        return "x: 5"
    if name != "df":
        raise ToolError(f"there is no variable {name!r}")
    return f"df: {STATISTICS if detail == 'statistics' else FRAME}"


VARIABLES = (list_variables, inspect_variable)
EVERYTHING = (
    *VARIABLES, add, multiply, subtract, power, weather, forecast, celsius, top_rows, read_file, save_report,
    count_words, greet, primes, convert, search, book, total, tag, distance, calculate, get_time, erase,
)  # fmt: skip


def data(name: str, text: str) -> DataPart:
    return DataPart(name, text, Origin("notebook", name))


@dataclass
class Played:
    """One request played to its end, with the tools really called."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    text: str = ""
    deltas: list[Delta] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)


class Talk:
    """A conversation driven by hand: reply, run the tools, reply again."""

    def __init__(self, *tools: Any, output: dict[str, Any] | None = None) -> None:
        self.conversation = Conversation()
        self.tools: list[Tool] = [as_tool(one) for one in tools]
        self.output = OutputSchema("answer", output) if output is not None else None

    async def say(self, text: str, *parts: Part) -> Played:
        self.conversation.add(user(text, *parts))
        played = Played()
        while True:
            reply = await OfflineModel().reply(self.request(), played.deltas.append)
            played.replies.append(reply)
            self.conversation.add(reply.message)
            if not reply.message.calls:
                played.text = reply.message.text
                return played
            assert len(played.rounds) < 4, "it never asks for tools a fifth time"
            played.rounds.append(len(reply.message.calls))
            results = [self._call(part, played) for part in reply.message.calls]
            self.conversation.add(Message("tool", tuple(results)))

    def request(self, **more: Any) -> Request:
        return Request("Be kind.", self.conversation, self.tools, output=self.output, **more)

    def _call(self, part: ToolCallPart, played: Played) -> ToolResultPart:
        found = next(one for one in self.tools if one.name == part.name)
        arguments = found.validate(part.arguments)  # raises when the model sent anything wrong
        played.calls.append((part.name, json.loads(part.arguments)))
        try:
            return ToolResultPart(
                part.id, part.name, result_parts(found.function(**arguments), Origin("tool", part.name))
            )
        except (LoomError, ValueError, LookupError, RuntimeError) as error:
            return ToolResultPart(part.id, part.name, (TextPart(f"{error}"),), is_error=True)


# ------------------------------------------------------------------ one request, one tool


CALLS: list[tuple[str, tuple[Any, ...], list[tuple[str, dict[str, Any]]]]] = [
    ("add 2 and 3", (add, multiply), [("add", {"a": 2, "b": 3})]),
    ("Please add -2.5 to 1,204", (add, multiply), [("add", {"a": -2.5, "b": 1204})]),
    ("what is the sum of two and seven", (add, multiply), [("add", {"a": 2, "b": 7})]),
    ("5 times 6", (add, multiply), [("multiply", {"a": 5, "b": 6})]),
    ("what is 5 * 6?", (add, multiply), [("multiply", {"a": 5, "b": 6})]),
    ("a=4, b=9: add them", (add,), [("add", {"a": 4, "b": 9})]),
    ("subtract 3 from 10", (subtract, add), [("subtract", {"a": 10, "b": 3})]),
    ("2 to the power of 10", (power,), [("power", {"base": 2, "exponent": 10})]),
    ("raise 7 to a power", (power,), [("power", {"base": 7})]),
    ("What's the weather in Paris?", (weather, add), [("weather", {"city": "Paris"})]),
    ("weather in New York City today", (weather,), [("weather", {"city": "New York City"})]),
    ("weather for oslo please", (weather,), [("weather", {"city": "oslo"})]),
    ('weather in "San José"', (weather,), [("weather", {"city": "San José"})]),
    ("Wie ist das Wetter in Köln?", (weather,), [("weather", {"city": "Köln"})]),
    ("forecast for Berlin for 5 days", (forecast, get_time), [("forecast", {"city": "Berlin", "days": 5})]),
    (
        "forecast for Berlin in imperial units",
        (forecast,),
        [("forecast", {"city": "Berlin", "unit": "imperial"})],
    ),
    ("hourly forecast for Lima", (forecast,), [("forecast", {"city": "Lima", "hourly": True})]),
    (
        "forecast in Rome without hourly details, days=2",
        (forecast,),
        [("forecast", {"city": "Rome", "days": 2, "hourly": False})],
    ),
    ("100 fahrenheit in celsius", (celsius, weather), [("celsius", {"fahrenheit": 100})]),
    ("convert 98.6 °F to celsius", (celsius, weather), [("celsius", {"fahrenheit": 98.6})]),
    ("how warm is 50 F?", (celsius,), [("celsius", {"fahrenheit": 50})]),
    ("show the top 3 rows by price", (top_rows,), [("top_rows", {"column": "price", "n": 3})]),
    ("top rows by price", (*VARIABLES, top_rows), [("top_rows", {"column": "price"})]),
    ("top 2 by price", (*VARIABLES, top_rows), [("top_rows", {"column": "price", "n": 2})]),
    ("is 17 prime?", (is_prime, primes), [("is_prime", {"n": 17})]),
    ("What is 20 °C in Fahrenheit?", (celsius,), []),
    ("top_rows column=city n=2", (top_rows,), [("top_rows", {"column": "city", "n": 2})]),
    ("read notes.txt", (read_file, save_report), [("read_file", {"path": "notes.txt"})]),
    ("open the file data/2024/q1.csv", (read_file,), [("read_file", {"path": "data/2024/q1.csv"})]),
    ("read `my notes.txt`", (read_file,), [("read_file", {"path": "my notes.txt"})]),
    (
        'save the report "all well" to out/report.txt',
        (save_report, read_file),
        [("save_report", {"path": "out/report.txt", "text": "all well"})],
    ),
    (
        'count the words in "to be, or not to be"',
        (count_words,),
        [("count_words", {"text": "to be, or not to be"})],
    ),
    ("greet Ada", (greet,), [("greet", {"name": "Ada"})]),
    ("say hello to Grace Hopper", (greet,), [("greet", {"name": "Grace Hopper"})]),
    ("primes below 10", (primes,), [("primes", {"limit": 10})]),
    ("list all primes with limit 30", (primes,), [("primes", {"limit": 30})]),
    (
        "convert 100 usd to eur",
        (convert, celsius),
        [("convert", {"amount": 100, "source": "usd", "target": "eur"})],
    ),
    ("search for loops in python", (search,), [("search", {"query": "loops in python"})]),
    ("search for bread and butter", (search,), [("search", {"query": "bread and butter"})]),
    (
        'search the documentation for "list, tuple", limit 2',
        (search,),
        [("search", {"query": "list, tuple", "limit": 2})],
    ),
    (
        "book a table for 4 seats on 2024-05-01 under the name Ada",
        (book,),
        [("book", {"day": "2024-05-01", "name": "Ada", "seats": 4})],
    ),
    ("what's the total of 1, 2 and 3.5?", (total,), [("total", {"values": [1, 2, 3.5]})]),
    ("total of [4, 5]", (total,), [("total", {"values": [4, 5]})]),
    ('tag "red", "green" and "blue"', (tag,), [("tag", {"items": ["red", "green", "blue"]})]),
    ("tag apples, pears and plums", (tag,), [("tag", {"items": ["apples", "pears", "plums"]})]),
    (
        "distance from Paris to Rome",
        (distance,),
        [("distance", {"origin": "Paris", "destination": "Rome"})],
    ),
    ("calculate 12*7+3", (calculate,), [("calculate", {"expression": "12*7+3"})]),
    ("what time is it?", (get_time, weather), [("get_time", {})]),
    ("use get_time", (get_time, weather), [("get_time", {})]),
    ("erase the record named Ada", (erase,), [("erase", {"name": "Ada"})]),
    # several at once, and one after the other
    (
        "weather in Paris and Rome",
        (weather,),
        [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})],
    ),
    (
        "What is the weather in Paris, Rome and Oslo?",
        (weather, add),
        [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"})],
    ),
    (
        "convert 32 and 212 fahrenheit to celsius",
        (celsius,),
        [("celsius", {"fahrenheit": 32}), ("celsius", {"fahrenheit": 212})],
    ),
    (
        "what is the time and the weather in Oslo",
        (get_time, weather),
        [("get_time", {}), ("weather", {"city": "Oslo"})],
    ),
    (
        "add 2 and 3 and multiply the result by 4",
        (add, multiply),
        [("add", {"a": 2, "b": 3}), ("multiply", {"a": 5.0, "b": 4})],
    ),
    (
        "add 2 and 3, then multiply it by 4, then subtract 1 from the result",
        (add, multiply),
        [("add", {"a": 2, "b": 3}), ("multiply", {"a": 5.0, "b": 4})],
    ),
    (
        "read notes.txt and count the words",
        (read_file, count_words),
        [("read_file", {"path": "notes.txt"}), ("count_words", {"text": "to be or\nnot to be"})],
    ),
    # the notebook's data
    ("what data do I have here?", VARIABLES, [("list_variables", {})]),
    ("list my variables", VARIABLES, [("list_variables", {})]),
    ("Welche Daten habe ich?", VARIABLES, [("list_variables", {})]),
    ("Quelles données ai-je ?", VARIABLES, [("list_variables", {})]),
    ("¿Qué datos tengo?", VARIABLES, [("list_variables", {})]),
    (
        "describe df",
        VARIABLES,
        [("inspect_variable", {"name": "df"}), ("inspect_variable", {"name": "df", "detail": "statistics"})],
    ),
    (
        "which column has missing values?",
        VARIABLES,
        [("list_variables", {}), ("inspect_variable", {"name": "df", "detail": "schema"})],
    ),
    (
        "what is the mean price?",
        VARIABLES,
        [("list_variables", {}), ("inspect_variable", {"name": "df", "detail": "statistics"})],
    ),
    ("show the first rows of df", VARIABLES, [("inspect_variable", {"name": "df", "detail": "head"})]),
    ("what columns does df have?", VARIABLES, [("inspect_variable", {"name": "df", "detail": "schema"})]),
]


@pytest.mark.parametrize(("text", "tools", "expected"), CALLS, ids=[case[0][:50] for case in CALLS])
async def test_the_words_of_a_request_choose_the_tool_and_its_arguments(text, tools, expected):
    played = await Talk(*tools).say(text)

    assert played.calls == expected
    assert played.text.startswith(LABEL)


WORDS: list[tuple[str, tuple[Any, ...], list[str]]] = [
    ("hello", (weather,), ["demo model", "weather"]),
    ("Guten Morgen", (), ["Hallo", "Demo-Modell"]),
    ("Bonjour", (), ["modèle de démonstration"]),
    ("Hola", (), ["modelo de demostración"]),
    (
        "help",
        (weather, add),
        ["`weather(city)`: The weather in a city", "`add(a, b)`", "%loom model anthropic:"],
    ),
    ("what can you do?", (), ["arithmetic", "%loom key set anthropic"]),
    ("who are you?", (), ["not a language model"]),
    ("thanks!", (), ["welcome"]),
    ("", (add,), ["no request", "add 2 and 3"]),
    ("what is 12*7?", (), ["12\\*7 = **84**", "arithmetic"]),
    ("what is 12*7+3?", (add, multiply), ["**87**"]),
    ("15% of 80", (), ["**12**"]),
    ("what is the square root of 16", (), ["**4**"]),
    ("average of 1, 2 and 6", (), ["**3**"]),
    ("how much is 10 divided by 4?", (), ["**2.5**"]),
    ("what is 1/0?", (), ["no value"]),
    ("9**9**9**9", (), ["no value"]),
    ("what is the capital of France?", (weather,), ["do not know the world", "`weather`", "%loom model"]),
    ("write a poem about spring", (), ["do not know the world", "%%loom -t my_function"]),
    ("don't add 2 and 3", (add,), ["no tool here that fits"]),
    ("I like to read books", (read_file,), ["no tool here that fits"]),
    ("what's the weather?", (weather,), ["Which city?", "I need `city` for `weather`"]),
    ("read the file", (read_file,), ["Which path?", "I need `path` for `read_file`"]),
    ("add 2", (add,), ["I need `b` for `add`"]),
    ("add 2 and 3", (add,), ["`add(a=2, b=3)` gives **5**"]),
    ("primes below 10", (primes,), ["4 values: **2**, **3**, **5**, **7**"]),
    ("search for loops", (search,), ["2 rows", "| title | score |", "| Loops | 0.9 |"]),
    ("top 2 rows by price", (top_rows,), ["| city | price |", "| Paris | 12.5 |"]),
    ("read notes.txt", (read_file,), ["```text\nto be or\nnot to be\n```"]),
    ("what data do I have?", VARIABLES, ["**3 variables**", "| df | DataFrame |", "describe {df}"]),
    ("describe df", VARIABLES, ["**1,204 rows**", "`price` (12)", "| price | 11.25 | 10 | 12.5 |"]),
    ("describe x", VARIABLES, ["`x` is 5"]),
    ("which column has missing values?", VARIABLES, ["`price` (12)", "`sold on` (3)"]),
    ("how many rows does df have?", VARIABLES, ["**1,204 rows**", "**3 columns**"]),
    ("show the first row of df", VARIABLES, ["| 0 | Paris |"]),
    ("how many distinct values has city in df?", VARIABLES, ["distinct values of `city` in `df` is **7**"]),
    ("hi, I'm Ada", (weather,), ["Noted: your name: Ada"]),
    ("summarise price in df", VARIABLES, ["`price` in `df` (float64)", "mean 11.25"]),
    ("what is the largest country?", VARIABLES, ["do not know the world", "none of them"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tools", "phrases"), WORDS, ids=[case[0][:50] or "empty" for case in WORDS])
async def test_answers_say_what_is_known_and_where_it_is_from(text, tools, phrases):
    played = await Talk(*tools).say(text)

    assert [phrase for phrase in phrases if phrase not in played.text] == []
    assert played.text.startswith(LABEL)


async def test_independent_calls_go_out_in_one_turn_and_dependent_ones_in_two():
    together = await Talk(get_time, weather).say("what is the time and the weather in Oslo")
    after = await Talk(add, multiply).say("add 2 and 3 and multiply the result by 4")

    assert together.rounds == [2]
    assert together.text.startswith(f"{LABEL}The tools say:\n\n- `get_time()`")
    assert after.rounds == [1, 1]
    assert "**20**" in after.text


# ------------------------------------------------------------------ conversations


async def test_a_question_for_an_argument_is_answered_by_the_next_message():
    talk = Talk(weather, read_file)

    asked = await talk.say("what's the weather?")
    answered = await talk.say("Paris")

    assert ASKED.search(asked.text)
    assert answered.calls == [("weather", {"city": "Paris"})]


async def test_several_missing_arguments_are_asked_for_one_by_one():
    talk = Talk(book)

    questions = [(await talk.say(text)).text for text in ("book a table", "2024-05-01", "Ada")]
    booked = await talk.say("4")

    assert [ASKED.search(question)[1] for question in questions] == ["day", "name", "seats"]
    assert booked.calls == [("book", {"day": "2024-05-01", "name": "Ada", "seats": 4})]


async def test_another_request_instead_of_the_answer_is_taken_as_one():
    talk = Talk(weather, read_file, add)

    await talk.say("read the file")
    instead = await talk.say("what is the weather in Rome?")
    never = await talk.say("never mind")

    assert instead.calls == [("weather", {"city": "Rome"})]
    assert never.calls == []


async def test_a_question_with_choices_names_them_and_takes_one():
    def paint(colour: Literal["red", "green"]) -> str:
        """Paint the wall."""
        return f"painted {colour}"

    talk = Talk(paint)
    asked = await talk.say("paint the wall")
    painted = await talk.say("the green one")

    assert "One of `red`, `green`" in asked.text
    assert painted.calls == [("paint", {"colour": "green"})]


async def test_which_of_several_frames_is_asked_and_the_answer_goes_on():
    @tool(read_only=True, name="list_variables")
    def two_frames() -> str:
        """List the notebook's variables."""
        return (
            "name | type | size | summary\n"
            "df | DataFrame | 4\u00d72 | columns a\n"
            "sales | DataFrame | 9\u00d72 | columns b"
        )

    talk = Talk(two_frames, inspect_variable)
    asked = await talk.say("which columns have missing values?")
    answered = await talk.say("df")

    assert "I need `name` for `inspect_variable`" in asked.text
    assert "`df`, `sales`" in asked.text
    assert answered.calls == [("inspect_variable", {"name": "df", "detail": "schema"})]


async def test_it_remembers_what_it_is_told_from_the_conversation_alone():
    talk = Talk(weather)

    noted = await talk.say("My name is Ada")
    await talk.say("remember that the deadline is Friday")
    await talk.say("Remember my favourite colour is blue and I live in Oslo")

    assert "Noted" in noted.text
    assert "**Ada**" in (await talk.say("what is my name?")).text
    assert "**blue**" in (await talk.say("what's my favourite colour?")).text
    assert "**Oslo**" in (await talk.say("where do I live?")).text
    assert "the deadline is Friday" in (await talk.say("what did I tell you?")).text
    assert "the deadline is Friday" in (await talk.say("when is the deadline?")).text
    assert "have not told me" in (await talk.say("what is my shoe size?")).text


async def test_nothing_is_remembered_from_another_conversation():
    await Talk().say("my name is Ada")

    assert "Ada" not in (await Talk().say("what is my name?")).text


async def test_follow_ups_use_the_last_call_the_last_column_and_the_last_number():
    talk = Talk(weather, *VARIABLES)
    await talk.say("weather in Paris")
    rome = await talk.say("and in Rome?")
    await talk.say("what is the max of price in df?")
    least = await talk.say("and the minimum?")
    rows = await talk.say("how many rows does it have?")

    assert rome.calls == [("weather", {"city": "Rome"})]
    assert "minimum of `price` in `df` is **10**" in least.text
    assert "**1,204 rows**" in rows.text

    sums = Talk(primes, multiply)
    await sums.say("primes below 10")
    assert "**4.25**" in (await sums.say("and their mean?")).text
    await sums.say("multiply 2 and 3")
    assert (await sums.say("multiply that by 5")).calls == [("multiply", {"a": 6.0, "b": 5})]
    await sums.say("what is 10 + 5 - 2?")
    assert "**16**" in (await sums.say("that plus 3")).text


async def test_a_call_that_never_ran_is_tried_once_more_with_what_the_error_offers():
    conversation = Conversation([user("top 3 rows by prce")])
    request = Request("", conversation, [as_tool(top_rows)])
    first = await OfflineModel().reply(request, lambda delta: None)
    conversation.add(first.message)
    wrong = "top_rows was not called, its arguments are wrong: column: Input should be 'city' or 'price'"
    refused = ToolResultPart(first.message.calls[0].id, "top_rows", (TextPart(wrong),), is_error=True)
    conversation.add(Message("tool", (refused,)))

    again = await OfflineModel().reply(request, lambda delta: None)

    assert json.loads(first.message.calls[0].arguments) == {"column": "prce", "n": 3}
    assert json.loads(again.message.calls[0].arguments) == {"column": "price", "n": 3}


async def test_a_tool_that_failed_is_reported_and_nothing_else_is_called():
    def boom(n: int) -> int:
        """Explode n times."""
        raise RuntimeError(f"n is {n}")

    def between(city: str, other: str) -> float:
        """Distance between two cities."""
        return {("Rome", "Paris"): 1105.0}[city, other]

    twice = await Talk(boom).say("call boom with 1 and then boom with 2")
    unknown = await Talk(between).say("distance from 'Rome' to 'Oslo'")
    offered = await Talk(top_rows).say("top 3 rows by prce")

    assert twice.calls == [("boom", {"n": 1}), ("boom", {"n": 2})]
    assert "`boom(n=1)` did not work: n is 1" in twice.text
    assert unknown.calls == [("between", {"city": "Rome", "other": "Oslo"})]
    assert "did not work" in unknown.text
    assert offered.calls == [("top_rows", {"column": "prce", "n": 3})]
    assert "did not work: no column 'prce'" in offered.text


async def test_a_tool_that_never_works_is_not_called_for_ever():
    def stubborn(price: int) -> str:
        """Sell for a price."""
        raise ValueError(f"price {price} is wrong, try 'price' 7, 8 or 9")

    played = await Talk(stubborn).say("sell for price 5, 6, 7, 8 and 9 with stubborn")

    assert len(played.rounds) == 1
    assert "did not work" in played.text


async def test_a_refusal_is_reported_and_not_tried_again():
    def locked(name: str) -> str:
        """Unlock a door."""
        raise ToolError("locked was refused: nobody can be asked in this version")

    played = await Talk(locked).say("unlock the door named Front with locked")

    assert len(played.calls) == 1
    assert "was refused" in played.text


async def test_a_misspelt_variable_is_looked_up_in_the_list():
    played = await Talk(*VARIABLES).say("describe dff")

    assert [name for name, _ in played.calls][:2] == ["inspect_variable", "list_variables"]
    assert "`df` has **1,204 rows**" in played.text


# ------------------------------------------------------------------ data that travels with the message


async def test_questions_about_data_in_the_message_need_no_tool():
    part = data("df", f"{FRAME}\n{STATISTICS}")
    talk = Talk()

    assert "**1,204 rows**" in (await talk.say("how many rows has ⟨df⟩?", part)).text
    assert "`city` (object), `price`" in (await talk.say("which columns are in ⟨df⟩?", part)).text
    assert "`price` (12)" in (await talk.say("any missing values in {df}?", part)).text
    assert "**11.25**" in (await talk.say("what is the mean price?")).text
    assert "**12.5**" in (await talk.say("and its maximum?")).text
    assert "| Paris | 12.5 |" in (await talk.say("show the first rows of ⟨df⟩", part)).text


async def test_what_the_data_do_not_say_is_not_made_up():
    played = await Talk().say("what is the mean price of ⟨df⟩?", data("df", FRAME))

    assert "does not say" in played.text
    assert "df['price'].mean()" in played.text


async def test_a_described_frame_in_the_message_is_looked_at_with_the_tool_when_there_is_one():
    played = await Talk(*VARIABLES).say("describe ⟨df⟩", data("df", FRAME))

    assert played.calls == [("inspect_variable", {"name": "df", "detail": "statistics"})]
    assert "| price | 11.25 |" in played.text


async def test_cleaning_is_declined_with_what_is_wrong_in_the_data():
    played = await Talk(*VARIABLES).say("clean ⟨df⟩ and tell me what changed", data("df", FRAME))

    assert "I cannot change `df`" in played.text
    assert "dropna(subset=['price', 'sold on'])" in played.text


@pytest.mark.parametrize(
    ("text", "function", "part", "expected"),
    [
        ("celsius of ⟨t⟩", celsius, data("t", "50"), {"fahrenheit": 50}),
        ("weather in ⟨place⟩", weather, data("place", "Lima"), {"city": "Lima"}),
        ("weather in ⟨place⟩", weather, data("place", "'Lima'"), {"city": "Lima"}),
        ("total of ⟨v⟩", total, data("v", "[1, 2]"), {"values": [1, 2]}),
        ("total of ⟨v⟩", total, data("v", "list: 2 items\n  1\n  2.5"), {"values": [1, 2.5]}),
        ("top 3 rows of ⟨df⟩ by price", top_rows, data("df", FRAME), {"column": "price", "n": 3}),
    ],
)
async def test_values_of_the_notebook_become_arguments(text, function, part, expected):
    played = await Talk(function).say(text, part)

    assert [arguments for _, arguments in played.calls] == [expected]


async def test_real_frames_from_the_real_tools_are_understood():
    import pandas as pd

    frame = pd.DataFrame({"city": ["Paris", "Rome", None], "unit price": [12.5, 10.0, 9.0]})
    opened = await VariablesCapability({"df": frame, "numbers": [1, 2, 6]}).open()

    talk = Talk(*opened.tools)
    assert "**2 variables**" in (await talk.say("what data do I have here?")).text
    described = await talk.say("describe ⟨df⟩", describe_value("df", frame))
    assert "**3 rows** and **2 columns**" in described.text
    assert "| unit price | 10.5 | 9 | 12.5 |" in described.text
    assert "`city` (1)" in (await talk.say("which column has missing values?")).text
    assert "**12.5**" in (await talk.say("what is the highest unit price?")).text
    assert "**3**" in (await talk.say("mean of ⟨numbers⟩", describe_value("numbers", [1, 2, 6]))).text


@pytest.mark.parametrize(
    "text",
    [
        "DataFrame, 5 rows x 3 columns\ncity: object, 0 missing\nprice: float64, 2 missing\nn: int64",
        "5 rows \u00d7 3 columns\n\n| column | type | missing |\n| --- | --- | --- |\n"
        "| city | str | 0 |\n| price | float | 2 |\n| n | int | 0 |",
        "DataFrame (5, 3)\n #   Column  Non-Null Count  Dtype\n 0   city    5 non-null      object\n"
        " 1   price   3 non-null      float64\n 2   n       5 non-null      int64",
    ],
)  # fmt: skip
def test_schemas_are_read_in_several_layouts(text):
    facts = read_facts("df", text)

    assert (facts.rows, facts.width) == (5, 3)
    assert [column.name for column in facts.columns] == ["city", "price", "n"]
    assert facts.columns[1].missing == 2


def test_statistics_are_read_from_a_printed_table():
    text = "DataFrame: 5 rows x 2 columns\n\n"
    text += "       price    n\ncount   5.0  5.0\nmean   11.2  3.0\nmax    12.5  5.0"

    facts = read_facts("df", text)

    assert facts.column("what is the mean price").statistics["mean"] == "11.2"


def test_foreign_text_cannot_break_out_of_its_block():
    facts = read_facts("t", "x\n```\n# injected\n```")
    part = data("t", facts.text)

    reply = _reply_now(Request("", Conversation([user("describe ⟨t⟩", part)])))

    assert "````text\nx\n```\n# injected\n```\n````" in reply.message.text


async def test_an_image_is_declined():
    talk = Talk()
    talk.conversation.add(Message("user", (TextPart("what is in the picture?"), ImagePart(b"x"))))

    reply = await OfflineModel().reply(talk.request(), lambda delta: None)

    assert "cannot look at images" in reply.message.text


# ------------------------------------------------------------------ structured output

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


@pytest.mark.parametrize(
    ("text", "tools", "parts", "schema", "expected"),
    [
        ("Ada Lovelace is 36 years old", (), (), PERSON, {"name": "Ada Lovelace", "age": 36}),
        ("name=Grace, age=85", (), (), PERSON, {"name": "Grace", "age": 85}),
        (
            "Ada is 36 and Bob is 41",
            (),
            (),
            _list_of(PERSON),
            [{"name": "Ada", "age": 36}, {"name": "Bob", "age": 41}],
        ),
        (
            "how large is ⟨df⟩?",
            (),
            (data("df", FRAME),),
            {
                "type": "object",
                "properties": {
                    "rows": {"type": "integer"},
                    "columns": {"type": "array", "items": {"type": "string"}},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
                "required": ["rows", "columns", "note"],
            },
            {"rows": 1204, "columns": ["city", "price", "sold on"], "note": None},
        ),
        (
            "weather in Oslo",
            (weather,),
            (),
            {
                "type": "object",
                "properties": {"city": {"type": "string"}, "weather": {"type": "string"}},
                "required": ["city", "weather"],
            },
            {"city": "Oslo", "weather": "sunny in Oslo"},
        ),
        ("add 2 and 3", (add,), (), {"type": "number"}, 5.0),
        ("primes below 10", (primes,), (), {"type": "array", "items": {"type": "integer"}}, [2, 3, 5, 7]),
    ],
)
async def test_a_structured_answer_is_json_with_what_was_found(text, tools, parts, schema, expected):
    played = await Talk(*tools, output=schema).say(text, *parts)

    assert json.loads(played.text) == expected
    jsonschema.validate(json.loads(played.text), schema)


FOUR = """DataFrame: 4 rows \u00d7 2 columns
column | dtype | missing
city | str | 0
visits | int64 | 0
first 4 rows:
 | city | visits
0 | Rome | 10
1 | Oslo | 12
2 | Paris | 20
3 | Lima | 7"""
MORE = FOUR.replace("4 rows \u00d7", "9 rows \u00d7")


@dataclass
class City:
    """A form to fill."""

    name: str
    visits: int


@dataclass
class Note:
    """A form of which one field may stay empty."""

    name: str
    visits: int | None
    stars: int = 3


@dataclass
class Settings:
    """A form with the keys of a dict."""

    a: int
    b: str


def form_of(kind: Any) -> dict[str, Any]:
    """The schema as the runtime sends it."""
    return dict(OutputType(kind).schema.schema)


def value_of_answer(kind: Any, text: str) -> Any:
    """The answer as the runtime reads it."""
    return OutputType(kind).accept(text)


CITIES = [City("Rome", 10), City("Oslo", 12), City("Paris", 20), City("Lima", 7)]


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("how many rows has ⟨df⟩?", int, 4),
        ("how many columns has ⟨df⟩?", int, 2),
        ("which columns has ⟨df⟩?", list[str], ["city", "visits"]),
        ("columns with missing values in ⟨df⟩", list[str], []),
        ("mean of visits in ⟨df⟩", float, 12.25),
        ("what is the mean of ⟨df⟩?", float, 12.25),
        ("total visits in ⟨df⟩", int, 49),
        ("how many cities are in ⟨df⟩?", int, 4),
        ("how many rows in ⟨df⟩ have more than 10 visits?", int, 2),
        ("how many visits has Rome in ⟨df⟩?", int, 10),
        ("names of the cities in ⟨df⟩", list[str], ["Rome", "Oslo", "Paris", "Lima"]),
        ("the cities in ⟨df⟩", list[City], CITIES),
        ("cities with more than 10 visits in ⟨df⟩", list[City], CITIES[1:3]),
        ("which city has the most visits in ⟨df⟩?", str, "Paris"),
        ("which city has the most visits in ⟨df⟩?", City, CITIES[2]),
        ("the cities with the most visits in ⟨df⟩", list[City], CITIES[2:3]),
        ("Rome in ⟨df⟩", City, CITIES[0]),
        ("the visits in ⟨df⟩ over 10", list[int], [12, 20]),
        ("total visits of Rome and Oslo in ⟨df⟩", int, 22),
        ("3 + 4?", int, 7),
        ("what is half of 5?", float, 2.5),
        ("what is ⟨x⟩ plus 4?", int, 7),
        ("⟨x⟩", int, 3),
        ("⟨cfg['a']⟩", int, 1),
        ("read ⟨cfg⟩", Settings, Settings(1, "x")),
        ("mean of ⟨nums⟩", float, 3.0),
        ("⟨nums⟩", list[int], [1, 2, 6]),
        ("max of ⟨df.visits⟩", int, 20),
        ("⟨df.visits⟩", list[int], [10, 12, 20, 7]),
        ("Ada, 3 visits", Note, Note("Ada", 3)),
        ("Rome", Note, Note("Rome", None, 3)),
        ("the city of ⟨note⟩", City, City("Kyoto", 4)),
        ("hello", int | None, None),
    ],
)
async def test_a_schema_is_filled_with_what_the_answer_in_words_would_say(text, kind, expected):
    values = {
        "df": FOUR, "x": "3", "cfg['a']": "1", "cfg": "dict: 2 items\n  'a': 1\n  'b': 'x'",
        "nums": "list: 3 items\n  1\n  2\n  6", "note": "Kyoto has 4 visits",
        "df.visits": "Series: 4 values, int64\nmissing: 0\ncount 4, mean 12.25, std 5.56, min 7, max 20\n"
        "first 4 values:\n | value\n0 | 10\n1 | 12\n2 | 20\n3 | 7",
    }  # fmt: skip
    parts = [data(name, told) for name, told in values.items() if f"⟨{name}⟩" in text]

    played = await Talk(output=form_of(kind)).say(text, *parts)

    assert value_of_answer(kind, played.text) == expected


@pytest.mark.parametrize(
    ("text", "kind", "field"),
    [
        ("hello", City, "name"),
        ("Hello", City, "name"),
        ("hello", list[City], "value"),
        ("hello", int, "value"),
        ("hello", str, "value"),
        ("Summarise this", City, "name"),
        ("describe Rome in 3 words", City, "visits"),
        ("how many legs have 3 dogs?", int, "value"),
        ('what is the capital of "France"?', str, "value"),
        ("is this good?", Literal["good", "bad"], "value"),
        ("which city has the most visits in ⟨df⟩?", int, "value"),
        ("mean visits per city in ⟨df⟩", float, "value"),
        ("the cities in ⟨df⟩ starting with R", list[City], "value"),
        ("the cities in ⟨part⟩", list[City], "value"),
        ("names of the cities in ⟨part⟩", list[str], "value"),
        ("mean of visits in ⟨part⟩", float, "value"),
        ("how many rows in ⟨part⟩ have more than 10 visits?", int, "value"),
        ("the people in ⟨df⟩", list[Settings], "a"),
        ("the cities in ⟨df⟩ sorted by visits", list[City], "value"),
        ("top 2 cities in ⟨df⟩", list[City], "value"),
        ("mean visits of London in ⟨df⟩", float, "value"),
        ("second largest visits in ⟨df⟩", int, "value"),
        ("half of the total visits in ⟨df⟩", float, "value"),
    ],
)
async def test_a_field_for_which_nothing_is_found_is_named_in_words(text, kind, field):
    parts = [data(name, told) for name, told in {"df": FOUR, "part": MORE}.items() if f"⟨{name}⟩" in text]

    played = await Talk(output=form_of(kind)).say(text, *parts)

    assert played.text.startswith(f"{LABEL}I cannot fill `{field}`: ")
    with pytest.raises(ToolError):
        value_of_answer(kind, played.text)


async def test_a_repair_turn_gets_the_same_words_and_no_new_calls():
    talk = Talk(weather, output=form_of(City))
    first = await talk.say("weather in Rome")

    again = await talk.say("This does not fit the schema: broken\nAnswer with only JSON that fits.")

    assert first.calls == [("weather", {"city": "Rome"})]
    assert again.calls == []
    assert again.text == first.text
    assert "I cannot fill `visits`" in again.text


async def test_a_run_whose_form_stays_empty_fails_honestly_and_one_that_is_filled_gives_the_value():
    agent = Agent(model=Model.offline(), session_store=MemoryStore())
    session = agent.session(SessionConfig(id="forms"))

    empty = await session.start("hello", schema=City)
    full = await session.start("3 + 4?", schema=int)
    await session.close()

    assert (empty.status, empty.fault, empty.turns) == ("failed", "format", 3)
    assert (full.status, full.data) == ("completed", 7)


async def test_a_failed_tool_is_the_reason_that_a_field_stays_empty():
    def boom(n: int) -> int:
        """Explode n times."""
        raise RuntimeError("too loud")

    played = await Talk(boom, output=form_of(int)).say("call boom with 1")

    assert played.calls == [("boom", {"n": 1})]
    assert "cannot fill `value`: `boom(n=1)` did not work: too loud" in played.text


async def test_the_rest_of_a_small_frame_is_looked_up_and_a_large_one_is_not():
    import pandas as pd

    frame = pd.DataFrame({"city": list("abcdefghi"), "visits": range(9)})
    large = pd.DataFrame({"city": ["a"] * 90, "visits": range(90)})
    opened = await VariablesCapability({"df": frame, "large": large}).open()
    talk = Talk(*opened.tools, output=form_of(list[City]))

    played = await talk.say("the cities in ⟨df⟩", describe_value("df", frame))
    refused = await talk.say("the cities in ⟨large⟩", describe_value("large", large))

    assert value_of_answer(list[City], played.text) == [City(c, n) for n, c in enumerate("abcdefghi")]
    assert "of the 90 rows of `large` only 5 are shown" in refused.text


# ------------------------------------------------------------------ names, rows and figures


async def test_a_path_that_travels_with_its_value_is_not_looked_up():
    series = "Series: 2 values, int64\nmissing: 0\ncount 2, mean 4.5, std 2, min 3, max 6"
    talk = Talk(*VARIABLES)

    item = await talk.say("what is ⟨cfg['a']⟩?", data("cfg['a']", "1"))
    column = await talk.say("describe ⟨df.visits⟩", data("df.visits", series))
    mean = await talk.say("mean of ⟨df.visits⟩", data("df.visits", series))

    assert item.calls == column.calls == mean.calls == []
    assert "`cfg['a']` is 1." in item.text
    assert "`df.visits` has **2 values** (int64)." in column.text
    assert "The mean of `df.visits` is **4.5**." in mean.text


async def test_a_plain_value_is_described_once():
    talk = Talk(*VARIABLES)

    one = await talk.say("⟨x⟩", data("x", "5"))
    several = await talk.say("⟨cfg⟩", data("cfg", "dict: 1 items\n  'a': 1"))

    assert one.text == f"{LABEL}`x` is 5."
    assert several.text.count("'a': 1") == 1


async def test_a_name_in_braces_that_is_no_variable_is_said_to_be_none():
    near = await Talk(*VARIABLES).say("describe {dff}")
    none = await Talk(weather, *VARIABLES).say("weather in {somewhere}")
    there = await Talk(*VARIABLES).say("how many rows has {df}?")
    elsewhere = await Talk(*VARIABLES).say("explain `f'{q}'` and $\\frac{a}{b}$ and ${HOME}")

    assert near.calls == [("list_variables", {})]
    assert "There is no variable `dff` (did you mean `df`?)." in near.text
    assert none.calls == [("list_variables", {})]
    assert "There is no variable `somewhere`." in none.text
    assert "**1,204 rows**" in there.text
    assert elsewhere.calls == []


async def test_the_row_that_stands_out_is_named_where_all_rows_are_shown():
    talk = Talk()
    tie = FOUR.replace("| 12", "| 20")

    assert (
        "**Paris** has the most `visits` in `df`: **20**"
        in (await talk.say("which city has the most visits in ⟨df⟩?", data("df", FOUR))).text
    )
    assert (
        "**Lima** has the least `visits`"
        in (await talk.say("which city has the fewest visits in ⟨df⟩?", data("df", FOUR))).text
    )
    assert (
        "**Oslo and Paris** have the most `visits`"
        in (await talk.say("which city has the most visits in ⟨df⟩?", data("df", tie))).text
    )
    assert (
        "Paris"
        not in (
            (await Talk().say("which city has the most visits in ⟨df⟩?", data("df", MORE))).text.split("```")[
                0
            ]
        )
    )


async def test_sums_are_exact_where_the_rows_are_shown_and_rounded_sensibly_else():
    described = "DataFrame: 3 rows \u00d7 1 columns\nn (int64): count 3, mean 16.3333, min 16, max 17"
    large = "DataFrame: 1,200 rows \u00d7 1 columns\nr (float64): count 1,200, mean 599.512, min 0, max 1199"

    async def asked(text: str) -> str:
        return (await Talk().say("what is the sum of ⟨df⟩?", data("df", text))).text

    assert "is **49**" in await asked(FOUR)
    assert "is **49**" in await asked(described)
    assert "is about **719,414**" in await asked(large)


async def test_nothing_inside_tex_is_arithmetic_or_a_variable():
    talk = Talk(*VARIABLES)
    await talk.say("what data do I have?")

    played = await talk.say("explain $\\frac{a}{b}$ and \\(x^2\\) and $2 + 3$")

    assert played.calls == []
    assert "is beyond me" in played.text
    assert "`x` is" not in played.text


async def test_one_thing_is_counted_in_the_singular():
    one = FOUR.replace("4 rows \u00d7 2 columns", "1 rows \u00d7 1 columns")

    assert "**1 row** and **1 column**." in (await Talk().say("how large is ⟨df⟩?", data("df", one))).text


# ------------------------------------------------------------------ one tool, two names, no types


def boom(n: int) -> str:
    """Explode n times."""
    return "bang " * n


def printer(word: str) -> str:
    """Shout a word."""
    return word.upper()


def favourites() -> list[str]:
    """The cities with the most visits."""
    return ["Paris"]


def bigframe() -> str:
    return "rows"


def between(city: str, other: str) -> float:
    """Distance between two cities."""
    return 1.0


def area(width, height):
    """The area of a rectangle."""
    return str(width * height)


def echo(word, times):
    """Repeat a word."""
    return str(word) * times


PAIR = [("between", {"city": "Rome", "other": "Paris"})]


@pytest.mark.parametrize(
    ("text", "function", "expected"),
    [
        ("explode 3 times", boom, [("boom", {"n": 3})]),
        ("shout 'hello'", printer, [("printer", {"word": "hello"})]),
        ("shout", printer, []),
        ("which cities have the most visits?", favourites, [("favourites", {})]),
        ("fetch the big frame", bigframe, [("bigframe", {})]),
        ("I like cities with visits", favourites, []),
        ("3 + 4", boom, []),
        ("distance between Rome and Paris", between, PAIR),
        ("distance of city Rome and other Paris", between, PAIR),
        ("distance from Rome to Paris", between, PAIR),
        ("distance to Paris from Rome", between, PAIR),
        ("distance from 'Rome' to 'Paris'", between, PAIR),
        ("Distance Rome, Paris", between, PAIR),
        ("distance Rome Paris", between, PAIR),
        (
            "What is the distance between New York and Los Angeles?",
            between,
            [("between", {"city": "New York", "other": "Los Angeles"})],
        ),
        ("area of 3 and 4", area, [("area", {"width": 3, "height": 4})]),
        ("area with height 4.5 and width 3", area, [("area", {"width": 3, "height": 4.5})]),
        ("repeat 'hi' 3 times", echo, [("echo", {"word": "hi", "times": 3})]),
        ("repeat hi 3 times", echo, [("echo", {"word": "hi", "times": 3})]),
    ],
)
async def test_a_single_tool_is_found_by_what_it_is_for_and_its_arguments_by_their_form(
    text, function, expected
):
    played = await Talk(*VARIABLES, function).say(text)

    assert played.calls == expected


# ------------------------------------------------------------------ the stream and the reply


async def test_the_deltas_add_up_to_the_message():
    talk = Talk(weather, add)
    played = await talk.say("weather in Paris and Rome")
    calls, answer = played.replies[0].message, played.replies[1].message

    text = "".join(delta.text for delta in played.deltas if isinstance(delta, TextDelta))
    fragments: dict[str, str] = {}
    for delta in played.deltas:
        if isinstance(delta, CallDelta):
            fragments[delta.call_id] = fragments.get(delta.call_id, "") + delta.arguments
    thoughts = [delta.text for delta in played.deltas if isinstance(delta, ThinkingDelta)]

    assert text == answer.text
    assert fragments == {part.id: part.arguments for part in calls.calls}
    assert thoughts == ["picking weather because of “weather”"]
    assert [part.text for part in calls.parts if isinstance(part, ThinkingPart)] == thoughts
    assert sum(isinstance(delta, TextDelta) for delta in played.deltas) > 3
    assert [reply.stop_reason for reply in played.replies] == ["tool_calls", "end"]


async def test_the_reply_names_the_demo_and_counts_what_was_read_and_written():
    talk = Talk(weather)
    short = (await talk.say("hello")).replies[0]
    long = (await talk.say("hello " + "there " * 500)).replies[0]

    assert short.model == "offline-demo"
    assert OfflineModel().name == "offline:demo"
    assert short.usage.input_tokens >= 1
    assert short.usage.output_tokens >= 1
    assert long.usage.input_tokens > short.usage.input_tokens + 500


async def test_every_call_of_a_session_has_an_id_of_its_own():
    talk = Talk(weather)
    for _ in range(3):
        await talk.say("weather in Paris and Rome")

    ids = [part.id for message in talk.conversation for part in message.calls]

    assert len(ids) == 6
    assert len(set(ids)) == 6


async def test_options_that_mean_nothing_to_rules_are_named_in_a_notice():
    talk = Talk()
    talk.conversation.add(user("help"))

    async def ask(generation: Generation) -> Reply:
        return await OfflineModel().reply(talk.request(generation=generation), lambda delta: None)

    assert (await ask(Generation())).notices == ()
    assert "temperature, seed" in (await ask(Generation(temperature=0.5, seed=1))).notices[0]
    cut = await ask(Generation(max_output_tokens=5))
    assert (cut.stop_reason, cut.usage.output_tokens <= 5) == ("length", True)
    stopped = await ask(Generation(stop=("offline",)))
    assert (stopped.stop_reason, stopped.message.text) == ("stop_sequence", "DEMO · I am the ")


async def test_pacing_changes_nothing_but_the_time():
    talk = Talk(weather)
    talk.conversation.add(user("hello"))

    slow = await OfflineModel(pace=0.001).reply(talk.request(), lambda delta: None)
    fast = await OfflineModel().reply(talk.request(), lambda delta: None)

    assert slow == fast


async def test_a_history_written_by_another_model_does_not_disturb_it():
    talk = Talk(add)
    talk.conversation.add(user("do something odd"))
    talk.conversation.add(Message("assistant", (ToolCallPart("c1", "unknown", "{broken"),)))
    talk.conversation.add(
        Message("tool", (ToolResultPart("c1", "unknown", (TextPart("no"),), is_error=True),))
    )

    reply = await OfflineModel().reply(talk.request(), lambda delta: None)

    assert reply.message.text.startswith(LABEL)


async def test_four_rounds_of_tools_are_the_end_whatever_came_back():
    conversation = Conversation([user("add 2 and 3 and multiply the result by 4")])
    for n in range(4):
        conversation.add(Message("assistant", (ToolCallPart(f"c{n}", "add", '{"a": 1, "b": 1}'),)))
        conversation.add(Message("tool", (ToolResultPart(f"c{n}", "add", (TextPart("2"),)),)))

    reply = await OfflineModel().reply(
        Request("", conversation, [as_tool(add), as_tool(multiply)]), lambda delta: None
    )

    assert reply.message.calls == ()


async def test_an_empty_conversation_gets_a_greeting_and_closing_twice_is_fine():
    model = OfflineModel()

    reply = await model.reply(Request("", Conversation()), lambda delta: None)
    await model.close()
    await model.close()

    assert reply.message.text.startswith(LABEL)


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 100_000, "and " * 25_000, "1," * 50_000, "(" * 100_000, "a.b/" * 25_000, "'" * 100_000),
        *("é🙂\ud800\0" * 9_000, "remember that " * 7_000, "weather in " * 9_000, " " * 100_000),
        *("\n|" * 50_000, "[1" * 50_000, "a@" * 50_000),
    ],
    ids=lambda text: ascii(text[:8]),
)
@pytest.mark.timeout(150)
async def test_a_text_of_any_size_is_answered(text):
    played = await Talk(*EVERYTHING).say(text, data("blob", text))

    assert played.text.startswith(LABEL)


# ------------------------------------------------------------------ properties

TOOLSETS: tuple[tuple[Any, ...], ...] = (
    (),
    (add, multiply, celsius),
    VARIABLES,
    (weather, book, tag, total),
    EVERYTHING,
)
_ODD = [
    "and",
    "then",
    "the result",
    "it",
    "⟨df⟩",
    "{x}",
    "-1e400",
    "99999999999999999999",
    "1.5",
    "2024-13-45",
]
_ODD += [
    '"',
    "`",
    "city=",
    "n=x",
    "days=1.5",
    "remember that",
    "my name is",
    "\ud800",
    "\0",
    "🙂",
    "[",
    "{",
    "\n",
]
_PHRASES = st.sampled_from([case[0] for case in (*CALLS, *WORDS)] + _ODD)
TEXTS = st.one_of(st.text(max_size=80), st.lists(_PHRASES, min_size=1, max_size=5).map(" ".join))


def _reply_now(request: Request) -> Reply:
    """Drive the coroutine without a loop: it only ever yields to it."""
    coroutine = OfflineModel().reply(request, lambda delta: None)
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value


@settings(max_examples=120, deadline=None)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=3),
    which=st.integers(0, len(TOOLSETS) - 1),
    value=TEXTS,
    bad=st.booleans(),
)
def test_any_text_ends_in_an_answer_and_every_call_is_valid(
    texts: Sequence[str], which: int, value: str, bad: bool
):
    tools = {one.name: one for one in map(as_tool, TOOLSETS[which])}
    conversation = Conversation()
    for text in texts:
        conversation.add(user(text, data("df", FRAME), data("x", value)))
        for turn in range(6):
            reply = _reply_now(Request("", conversation, list(tools.values())))
            conversation.add(reply.message)
            if not reply.message.calls:
                break
            assert turn < 4
            for part in reply.message.calls:
                tools[part.name].validate(part.arguments)
            results = tuple(
                ToolResultPart(part.id, part.name, (TextPart(value),), is_error=bad)
                for part in reply.message.calls
            )
            conversation.add(Message("tool", results))
        assert reply.message.text.startswith(LABEL)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, which=st.integers(0, len(TOOLSETS) - 1))
def test_the_same_request_gives_the_same_bytes(text: str, which: int):
    tools = [as_tool(one) for one in TOOLSETS[which]]

    def once() -> tuple[Reply, bytes]:
        request = Request("", Conversation([user(text)]), tools)
        return _reply_now(request), OfflineModel().encode(request)

    assert once() == once()


def nested(leaf, extend):
    """Values of up to three levels: what st.recursive gives, without its guess at the depth."""
    grown = leaf
    for _level in range(2):
        grown = st.one_of(leaf, extend(grown))
    return grown


_SCHEMAS = nested(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "integer", "minimum": 3},
            {"type": "number", "exclusiveMaximum": -1},
            {"type": "boolean"},
            {"enum": ["a", "b"]},
            {"type": "null"},
            {"type": ["string", "null"]},
            {"type": "string", "format": "date", "minLength": 4},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(lambda item: {"type": "array", "items": item}, inner),
        st.builds(
            lambda one, two: {
                "type": "object",
                "properties": {"name": one, "age": two},
                "required": ["name", "age"],
                "additionalProperties": False,
            },
            inner,
            inner,
        ),
    ),
)


@settings(max_examples=100, deadline=None)
@given(text=TEXTS, schema=_SCHEMAS)
def test_a_structured_answer_fits_its_schema_or_says_what_is_missing(text: str, schema: dict[str, Any]):
    request = Request("", Conversation([user(text, data("df", FRAME))]), output=OutputSchema("s", schema))

    answer = _reply_now(request).message.text

    if not answer.startswith(f"{LABEL}I cannot fill `"):
        jsonschema.validate(json.loads(answer), schema)


@settings(max_examples=200, deadline=None)
@given(
    nested(
        st.integers(-99, 99).map(str),
        lambda e: st.builds("({} {} {})".format, e, st.sampled_from("+-*"), e),
    )
)
def test_arithmetic_agrees_with_python(formula: str):
    asked = expression(f"what is {formula}?")

    assert (asked is None and formula.lstrip("(-").rstrip(")").isdigit()) or value_of(asked or "") == eval(
        formula
    )
