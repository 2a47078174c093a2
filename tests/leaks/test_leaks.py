"""The leak matrix: a canary of each type goes through every channel, and is seen in none of them."""

import pytest

from tests.leaks import (  # noqa: F401  they bring their channels with them
    browser_channels,
    disk_channels,
    log_channels,
    model_channels,
    notebook_channels,
    object_channels,
    policy_channels,
    process_channels,
    run_channels,
    running_channels,
    ssh_channels,
    traceback_channels,
)
from tests.leaks.canaries import PIECE
from tests.leaks.matrix import CHANNELS, DECLARED, ROWS, Channel, Row, Seen
from tests.leaks.world import World


def cases():
    for one in CHANNELS.values():
        marks = [pytest.mark.slow, *one.marks] if one.slow else [*one.marks]
        yield pytest.param(one, id=one.id, marks=marks)


def judge(world: World, name: str, seen: Seen) -> None:
    """Nothing of a canary is in what was seen, and the control is."""
    parts = seen.data()
    assert len(seen.control) >= PIECE
    scanner = world.scanner(seen.control)
    hits = [(part, hit) for part, data in parts.items() for hit in scanner.scan(data, deep=seen.deep)]
    leaks = [f"{part}: {hit}" for part, hit in hits if hit.whose != "control"]
    scanned = sum(map(len, parts.values()))
    ROWS.append(Row(name, scanner.forms, scanned, len(leaks), len(parts)))
    assert scanned, "nothing came out that could be looked through"
    assert any(hit.whose == "control" for _, hit in hits), (
        "what had to come through did not: it carries nothing"
    )
    assert not leaks, "\n".join(leaks[:20])


@pytest.mark.parametrize("one", list(cases()))
def test_no_secret_comes_out_of(one: Channel, kept: World):
    judge(kept, one.id, one.drive(kept))


def test_every_channel_that_is_declared_is_driven_and_the_other_way_round():
    declared = [f"{group}: {name}" for group, names in DECLARED.items() for name in names]
    assert len(set(declared)) == len(declared)
    assert sorted(CHANNELS) == sorted(declared)


def test_a_secret_that_does_come_out_is_told(kept: World):
    value, marker = kept.canary("password").value, kept.marker()
    with pytest.raises(AssertionError, match=r"password\.value as"):
        judge(kept, "told", Seen({"it": f"{marker} {value}"}, marker))
    ROWS.pop()


@pytest.mark.parametrize(
    ("parts", "why"),
    [({}, "nothing came out"), ({"a": ""}, "nothing came out"), ({"a": "b"}, "carries nothing")],
)
def test_a_channel_that_carries_nothing_proves_nothing(kept: World, parts, why):
    with pytest.raises(AssertionError, match=why):
        judge(kept, "empty", Seen(parts, kept.marker()))
    ROWS.pop()
