"""Which sandbox there is, and what is said when it is not the one that is wanted."""

import pytest

from loom_nb.errors import SetupError
from loom_nb.sandbox import Sandbox, choose, doctor_lines, probe
from loom_nb.sandbox.landlock import FAMILIES_OF_NETWORK, filter_program

NONE = Sandbox("none", why=("bubblewrap: it is not installed", "Landlock: this kernel has none"))
LANDLOCK = Sandbox("landlock", why=("bubblewrap: it is not installed",))


def test_what_was_found_is_looked_for_once():
    assert probe() is probe()


def test_a_level_below_none_says_why():
    found = probe()
    assert found.tier == ("T0" if found.level == "none" else "T1")
    assert found.level == "bubblewrap" or found.why


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("required", NONE), ("bubblewrap", NONE), ("landlock", NONE), ("bubblewrap", LANDLOCK)],
)
def test_a_sandbox_that_is_wanted_and_not_there_is_an_error_that_says_what_to_do(wanted, found):
    with pytest.raises(SetupError) as raised:
        choose(wanted, found)
    assert "not installed" in raised.value.cause
    assert raised.value.fixes


def test_auto_takes_what_there_is():
    assert choose("auto", NONE) is NONE
    assert choose("auto", LANDLOCK) is LANDLOCK
    assert choose("required", LANDLOCK) is LANDLOCK


def test_none_by_choice_says_so():
    chosen = choose("none")
    assert chosen.tier == "T0"
    assert "switched off" in chosen.why[0]


def test_a_mistyped_wish_is_an_error():
    with pytest.raises(SetupError, match="no sandbox"):
        choose("bubblewarp")  # type: ignore[arg-type]


def test_the_doctor_tells_level_reasons_and_what_to_do():
    lines = doctor_lines(NONE)
    assert lines[0] == "none (T0)"
    assert "bubblewrap: it is not installed" in lines


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_of_system_calls_has_whole_steps_and_jumps_within_itself(machine):
    program = filter_program(machine, FAMILIES_OF_NETWORK)
    assert len(program) % 8 == 0
    steps = [program[n : n + 8] for n in range(0, len(program), 8)]
    for n, step in enumerate(steps):
        if step[0] & 0x07 == 0x05:  # a jump
            assert n + 1 + max(step[2], step[3]) < len(steps)
    assert len(program) > len(filter_program(machine, ()))
