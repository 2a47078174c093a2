"""Capabilities that other packages announce: a real distribution on the path, found by its entry points."""

import sys

import pytest

from loom_nb import Agent, MemoryStore, Model
from loom_nb.capabilities import Capability
from loom_nb.errors import SetupError
from loom_nb.models.scripted import Call

CODE = """
from dataclasses import dataclass
from loom_nb.protocols import Toolset
from loom_nb.tools import tool

@dataclass(frozen=True)
class Weather:
    place: str = "here"
    name: str = "weather"

    async def open(self):
        def forecast() -> str:
            "The weather."
            return f"sun at {self.place}"
        return Toolset(tools=[tool(read_only=True)(forecast)])

def broken(**options):
    raise RuntimeError("no key for the weather")

def nothing():
    return 3
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    (tmp_path / "loom_weather.py").write_text(CODE)
    info = tmp_path / "loom_weather-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loom-weather\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[loom_nb.capabilities]\nweather = loom_weather:Weather\nbroken = loom_weather:broken\nnothing = loom_weather:nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("loom_weather", None)


async def test_a_capability_of_another_package_is_found_and_used(installed):
    weather = Capability.plugin("weather", place="sea")
    agent = Agent(
        Model.scripted([Call("forecast", {}), "done"]), capabilities=[weather], session_store=MemoryStore()
    )
    assert (await agent.run("go")).tools[0].result == "sun at sea"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wether", "no installed package brings a capability 'wether'"),
        ("broken", "RuntimeError: no key for the weather"),
        ("nothing", "is no capability"),
    ],
)
def test_what_cannot_be_had_is_told(installed, name, told):
    with pytest.raises(SetupError) as caught:
        Capability.plugin(name)
    assert told in str(caught.value)
    assert name != "wether" or "Capability.plugin('weather')" in str(caught.value)
