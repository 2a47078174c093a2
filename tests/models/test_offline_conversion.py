"""The offline model and units: "and in miles?" is asked of a tool that converts, not of the last one."""

from typing import Literal

import pytest

from loom_nb.models.offline.conversion import unit_asked
from tests.models.test_offline import Talk


def distance(city: str) -> str:
    """How far a city is from here."""
    return f"{city} is 1,105.5 km away"


def distance_km(city: str) -> float:
    """How far a city is from here, in km."""
    return 1105.5


def distance_in(city: str, unit: Literal["km", "miles"] = "km") -> str:
    """How far a city is from here."""
    return f"1,105.5 {unit}"


def convert(value: float, source: str, target: str) -> str:
    """Convert a value from one unit to another."""
    return f"686.9 {target}"


def exchange(amount: float, source: str, target: str) -> str:
    """Convert money from one currency to another."""
    return f"93 {target}"


def to_miles(km: float) -> float:
    """Convert kilometres to miles."""
    return km * 0.621


def price(item: str) -> str:
    """What an item costs."""
    return "100 EUR"


KM_TO_MILES = ("convert", {"value": 1105.5, "source": "km", "target": "miles"})


@pytest.mark.parametrize(
    "text", ["and in miles?", "in miles?", "what is that in miles?", "now in miles", "how much is that in miles?"]
)  # fmt: skip
@pytest.mark.parametrize("far", [distance, distance_km])
async def test_a_figure_in_another_unit_is_converted(far, text):
    talk = Talk(far, convert)
    await talk.say("distance to Oslo")
    told = await talk.say(text)

    assert told.calls == [KM_TO_MILES]
    assert "686.9 miles" in told.text
    assert (await talk.say("and in feet?")).calls == [
        ("convert", {"value": 1105.5, "source": "km", "target": "feet"})
    ]


async def test_the_tool_that_converts_this_kind_of_units_is_taken():
    talk = Talk(distance, exchange, price, convert)
    await talk.say("distance to Oslo")
    assert (await talk.say("and in miles?")).calls == [KM_TO_MILES]
    await talk.say("price of tea")
    assert (await talk.say("and in dollars?")).calls == [
        ("exchange", {"amount": 100, "source": "EUR", "target": "dollars"})
    ]

    named = Talk(distance, exchange, to_miles)
    await named.say("distance to Oslo")
    assert (await named.say("and in miles?")).calls == [("to_miles", {"km": 1105.5})]


async def test_without_such_a_tool_the_last_one_is_not_asked_about_a_city_called_miles():
    talk = Talk(distance, exchange)
    await talk.say("distance to Oslo")
    told = await talk.say("and in miles?")

    assert told.calls == []
    assert told.text


async def test_a_tool_with_a_unit_of_choice_is_called_again():
    talk = Talk(distance_in, convert)
    await talk.say("distance to Oslo")

    assert (await talk.say("and in miles?")).calls == [("distance_in", {"city": "Oslo", "unit": "miles"})]


async def test_what_is_no_unit_is_a_value_as_before():
    talk = Talk(distance, convert)
    await talk.say("distance to Oslo")

    assert (await talk.say("and to Rome?")).calls == [("distance", {"city": "Rome"})]
    assert unit_asked("and in Rome?") == unit_asked("what is a mile?") == unit_asked("in 5 minutes") == ""
