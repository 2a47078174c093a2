"""Who holds a lease: a process is known by its host, number and birth; the dead are told from the living."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from loom_nb.stores.leases import Owner, busy, lost

linux = pytest.mark.skipif(sys.platform != "linux", reason="births are read from /proc")


def test_this_process_lives() -> None:
    mine = Owner.mine()

    assert mine.pid == os.getpid()
    assert mine == Owner.mine()
    assert mine.lives(mine) is not False


@linux
def test_a_later_process_of_the_same_number_is_another_one() -> None:
    mine = Owner.mine()
    ticks, _, place = mine.born.partition("-")

    assert mine.lives(mine) is True
    assert replace(mine, born=f"{int(ticks) - 1}-{place}").lives(mine) is False


@linux
def test_a_process_that_ended_is_dead() -> None:
    show = "from loom_nb.stores.leases import Owner; print(Owner.mine())"
    shown = subprocess.run(
        [sys.executable, "-c", show], capture_output=True, text=True, check=True
    ).stdout.strip()

    assert Owner.parse(shown).lives(Owner.mine()) is False


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"born": "1-another-boot"}])
def test_of_a_process_elsewhere_nothing_can_be_told(change: dict[str, str]) -> None:
    mine = Owner.mine()

    assert replace(mine, **change).lives(mine) is None  # type: ignore[arg-type]  # strings for string fields


def test_without_a_birth_only_death_can_be_told() -> None:
    here = Owner("here", os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert here.lives(here) is None
    assert Owner("here", process.pid).lives(here) is False


@pytest.mark.parametrize(
    "owner",
    [Owner.mine(), Owner("a", 1), Owner("odd:host:name", 7, "12-boot.ns"), Owner("", 0, "")],
    ids=["this process", "without a birth", "odd names", "nobody"],
)
def test_an_owner_is_read_back_as_it_was_written(owner: Owner) -> None:
    assert Owner.parse(str(owner)) == owner


@pytest.mark.parametrize("text", ["", "nonsense", "host:pid:born", "::", "a:b"])
def test_text_that_is_no_owner_is_nobody_who_lives_here(text: str) -> None:
    assert Owner.parse(text).lives(Owner.mine()) is None


def test_the_refusals_say_who_why_and_what_to_do() -> None:
    mine = Owner.mine()
    there = Owner("elsewhere", 41)

    assert "this process" in busy("s", mine, mine, 30).title
    assert "process 41 on elsewhere" in busy("s", there, mine, 12).title
    assert any("12 s" in fix for fix in busy("s", there, mine, 12).fixes)
    assert "passed to elsewhere:41" in lost("s", 3, there.short).title
    assert "given back" in lost("s", 3, "").title
    for refusal in (busy("s", mine, mine, 0), busy("s", there, mine, -5), lost("s", 3, "")):
        assert refusal.cause and refusal.fixes
