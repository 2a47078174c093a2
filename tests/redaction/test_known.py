import pytest

from loom_nb.redaction.known import KnownSecrets

OLD, NEW = "old-value-1234567890", "brand-new-value-987654321"


def of_process(monkeypatch: pytest.MonkeyPatch) -> KnownSecrets:
    """The secrets of this process, of which nothing else is known."""
    monkeypatch.setenv("SERVICE_TOKEN", OLD)
    monkeypatch.setenv("PLACEHOLDER", "x")
    known = KnownSecrets()
    known.refresh()
    return known


def told(known: KnownSecrets) -> str:
    assert known.redactor is not None
    return known.redactor.text(f"{OLD} {NEW}")


@pytest.mark.parametrize("looks", [1, 2])
def test_a_new_value_is_known_at_the_very_next_look(monkeypatch, looks):
    known = of_process(monkeypatch)
    for _ in range(looks):
        known.refresh()
    monkeypatch.setenv("SERVICE_TOKEN", NEW)
    known.refresh()
    assert told(known) == f"{OLD} [secret SERVICE_TOKEN]"


def test_a_variable_that_takes_the_place_of_another_one_is_known_too(monkeypatch):
    known = of_process(monkeypatch)
    monkeypatch.delenv("PLACEHOLDER")
    monkeypatch.setenv("OTHER_TOKEN", NEW)
    known.refresh()
    assert told(known) == "[secret SERVICE_TOKEN] [secret OTHER_TOKEN]"


def test_nothing_is_made_anew_where_nothing_changed():
    known = KnownSecrets({"SERVICE_TOKEN": OLD})
    known.refresh()
    made = known.redactor
    known.refresh()
    assert known.redactor is made
