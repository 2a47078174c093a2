"""Prices: known, unknown, and never from the network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loom_nb import Model
from loom_nb.messages import Usage
from loom_nb.models.prices import cost

MILLION = 1_000_000


def test_input_and_output_are_priced_by_the_million():
    tenth = Usage(MILLION // 10, MILLION // 10)

    assert cost("anthropic", "claude-sonnet-4-5", tenth) == pytest.approx(0.3 + 1.5)
    assert cost("openai", "gpt-4o", tenth) == pytest.approx(0.25 + 1.0)


def test_cached_tokens_are_part_of_the_input_and_cheaper():
    fresh = cost("anthropic", "claude-sonnet-4-5", Usage(100_000, 0))
    cached = cost("anthropic", "claude-sonnet-4-5", Usage(100_000, 0, cache_read_tokens=100_000))
    written = cost("anthropic", "claude-sonnet-4-5", Usage(100_000, 0, cache_write_tokens=100_000))

    assert fresh and cached and written
    assert cached == pytest.approx(fresh * 0.1)
    assert written == pytest.approx(fresh * 1.25)


def test_a_model_with_a_date_in_its_name_is_found():
    assert cost("openai", "gpt-4o-2024-08-06", Usage(MILLION, 0)) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("vendor", "model"),
    [("openai", "gpt-none"), ("nobody", "gpt-4o"), ("anthropic", "gpt-4o"), ("qwen", "qwen-plus"), ("", "")],
)
def test_a_price_that_is_not_known_is_none(vendor: str, model: str):
    assert cost(vendor, model, Usage(10, 10)) is None


def test_counts_that_cannot_be_are_not_priced():
    assert cost("anthropic", "claude-sonnet-4-5", Usage(10, 5, cache_read_tokens=100)) is None


def test_nothing_costs_nothing():
    assert cost("anthropic", "claude-sonnet-4-5", Usage()) == 0.0


def test_models_ask_for_the_price_of_their_vendor():
    usage = Usage(1000, 1000)

    assert Model.gemini("gemini-2.5-flash").cost(usage) == pytest.approx(0.0003 + 0.0025)
    assert Model.offline().cost(usage) == 0.0
    assert Model.ollama("llama3.2").cost(usage) is None
    assert Model.compatible("gpt-4o", base_url="http://localhost:1/v1").cost(usage) is None
    assert Model.cassette("x.json", "openai:gpt-4o").cost(usage) == cost("openai", "gpt-4o", usage)


def test_no_network_is_used(tmp_path: Path):
    # a process in which every connection and every look-up fails
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*args, **kwargs): raise SystemExit('the network was used')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
    )
    code = (
        "import threading\n"
        "from loom_nb.messages import Usage\n"
        "from loom_nb.models import prices\n"
        "prices.load()\n"
        "print(prices.cost('openai', 'gpt-4o', Usage(1000, 1000)), prices.cost('openai', 'zz', Usage(1, 1)))\n"
        "print(threading.active_count())"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )

    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.split() == ["0.0125", "None", "1"]
