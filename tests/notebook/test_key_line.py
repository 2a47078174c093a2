"""What a `%loom key` line says: flags, names, policies, bindings, grants; and no value in any message."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from loom_nb.credentials.gate import ruling
from loom_nb.credentials.policies import Binding, CredentialPolicy, SecretFacts
from loom_nb.credentials.uses import Use
from loom_nb.errors import LoomUsageError
from loom_nb.notebook import key_line as lines

STOCKHOLM = ZoneInfo("Europe/Stockholm")
NOW = datetime(2026, 11, 21, 20, 0, tzinfo=STOCKHOLM)
HOUR = 3600.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# --- words and flags ---------------------------------------------------------------------------------


def test_flags_stand_in_any_order_and_may_repeat():
    line = lines.read(
        "set", ["--host", "a.example", "github", "--host=b.example", "--type", "api_key", "--here"]
    )
    assert line.name == "github"
    assert line.flags["--host"] == ("a.example", "b.example")
    assert line.one("--type") == "api_key"
    assert "--here" in line.flags
    assert line.one("--policy") == ""


def test_a_time_box_may_be_two_words():
    line = lines.read("set", ["x", "--policy", "time_boxed", "now..+2h"])
    assert line.one("--policy") == "time_boxed:now..+2h"
    assert line.name == "x"


@pytest.mark.parametrize(
    ("verb", "words", "fix"),
    [
        ("set", ["x", "--hots", "a"], "%loom key set NAME --host"),
        ("bind", ["x", "--policy", "a"], "%loom key set NAME --policy"),
        ("set", ["x", "--host"], "--host api.github.com"),
        ("set", ["x", "--host", "--path", "/"], "--host api.github.com"),
    ],
)
def test_a_flag_that_is_none_says_what_was_meant(verb, words, fix):
    with pytest.raises(LoomUsageError) as caught:
        lines.read(verb, words)
    assert fix in caught.value.fixes


@pytest.mark.parametrize(
    "words",
    [
        ["anthropic", "s3cret-words"],
        ["anthropic", "two", "s3cret-words"],
        ["sk-ant-api03-s3cret-words-abcdefghijkl"],
        ["ghp_s3cretwords0123456789s3cretwords01234"],
        ["anthropic", "--s3cret-words"],
        ["anthropic", "-s3cret-words_with_more_of_it"],
    ],
)
def test_a_secret_that_was_typed_into_the_line_is_refused_and_not_repeated(words):
    with pytest.raises(LoomUsageError) as caught:
        _ = lines.read("set", words).name
    assert "s3cret" not in str(caught.value).replace("--s3cret-words", "") or words[1:] == ["--s3cret-words"]


def test_a_value_in_place_of_a_name_says_to_take_it_out_of_the_cell():
    with pytest.raises(LoomUsageError, match="never a value") as caught:
        _ = lines.read("set", ["anthropic", "s3cret"]).name
    assert "take it out of the cell" in caught.value.cause
    assert "s3cret" not in str(caught.value)


# --- when --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("autonomous", CredentialPolicy(mode="autonomous")),
        ("notify-after", CredentialPolicy(mode="notify_after")),
        ("one_shot", CredentialPolicy(mode="one_shot", uses=1)),
        ("one_shot:3", CredentialPolicy(mode="one_shot", uses=3)),
        ("one_shot 3", CredentialPolicy(mode="one_shot", uses=3)),
    ],
)
def test_a_policy_is_its_mode_and_what_belongs_to_it(text, policy):
    assert lines.policy_of(text, NOW) == policy


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("now..+2h", NOW.timestamp(), NOW.timestamp() + 2 * HOUR),
        ("now..+90min", NOW.timestamp(), NOW.timestamp() + 1.5 * HOUR),
        ("..+1d", None, NOW.timestamp() + 24 * HOUR),
        ("2026-11-22T08:00..", at("2026-11-22T08:00+01:00"), None),
        ("2026-11-22T08:00Z..+1h", at("2026-11-22T08:00+00:00"), at("2026-11-22T09:00+00:00")),
        ("21:00..22:30", at("2026-11-21T21:00+01:00"), at("2026-11-21T22:30+01:00")),
        ("22:00..06:00", at("2026-11-21T22:00+01:00"), at("2026-11-22T06:00+01:00")),
        ("2026-07-01..2026-12-01", at("2026-07-01T00:00+02:00"), at("2026-12-01T00:00+01:00")),
    ],
)
def test_a_time_box_means_the_zone_it_is_typed_in_unless_it_names_one(text, start, end):
    assert lines.window(text, NOW) == (start, end)


def test_a_moment_without_a_zone_is_of_the_system_where_only_its_offset_is_known():
    now = datetime.now().astimezone()
    day = now.replace(hour=12, minute=0, second=0, microsecond=0, tzinfo=None)
    start, _ = lines.window(f"{day.isoformat()}..", now)
    assert start == day.timestamp()


def test_hours_of_the_day_are_a_window_in_their_zone():
    policy = lines.policy_of("time_boxed:mon-fri 09:00-17:00 Europe/Stockholm", NOW)
    (window,) = policy.windows
    assert (window.days, window.from_, window.to) == (("mon", "tue", "wed", "thu", "fri"), "09:00", "17:00")
    assert window.holds(at("2026-11-20T09:00+01:00"))
    assert not window.holds(at("2026-11-21T12:00+01:00"))
    assert lines.policy_of("time_boxed:08:00-09:00", NOW).windows[0].zone == "Europe/Stockholm"
    assert lines.policy_of("time_boxed:mon,sat-sun 08:00-09:00", NOW).windows[0].days == ("mon", "sat", "sun")


@pytest.mark.parametrize(
    "text",
    [
        "oneshot", "", "one_shot:0", "one_shot:x", "autonomous:now", "time_boxed", "time_boxed:..", "time_boxed:x..y",
        "time_boxed:now..now", "time_boxed:2020-01-01..2020-02-01", "time_boxed:25:00..26:00",
        "time_boxed:fri-mon 09:00-17:00 Nowhere/Land", "time_boxed:mox 09:00-17:00", "time_boxed:09:00-25:00",
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused_with_one_to_paste(text):
    with pytest.raises(LoomUsageError):
        lines.policy_of(text, NOW)


def test_hours_without_a_known_zone_ask_for_one():
    with pytest.raises(LoomUsageError, match="in which zone"):
        lines.policy_of("time_boxed:09:00-17:00", datetime(2026, 11, 21, tzinfo=UTC))


# --- where -------------------------------------------------------------------------------------------


def bound(*words: str, before: Binding | None = None) -> Binding:
    return lines.binding_of(lines.read("bind", ["x", *words]), before or Binding())


def test_a_binding_takes_what_is_named_and_leaves_the_rest():
    before = Binding(hosts=("a.example",), methods=("GET",), paths=("/v1/",))
    assert bound("--host", "https://B.example:8443/any", before=before) == Binding(
        hosts=("b.example:8443",), methods=("GET",), paths=("/v1/",)
    )
    assert bound("--method", "post", "--any", "path", before=before) == Binding(
        hosts=("a.example",), methods=("POST",)
    )
    assert bound("--apply", "header:X-API-Key", "--user", "deploy").apply == "header:X-API-Key"


@pytest.mark.parametrize("words", [("--host", "a/b"), ("--path", "v1"), ("--method", "G T"), ("--any", "x")])
def test_what_cannot_be_bound_to_is_refused(words):
    with pytest.raises(LoomUsageError):
        bound(*words)


# --- who ---------------------------------------------------------------------------------------------


def grants(*words: str, notebook: str = "/home/ada/a.ipynb") -> tuple[str, ...]:
    return lines.grants_of(lines.read("grant", ["x", *words]), notebook)


def allowed(given: tuple[str, ...], notebook: str = "", who: str = "tool:http_request") -> bool:
    facts = SecretFacts(
        scope="x", type="api_key", version=1, created=0, updated=0, grants=given,
        binding=Binding(hosts=("a.example",)), policy=CredentialPolicy(mode="autonomous"),
    )  # fmt: skip
    use = Use(scope="x", who=who, notebook=notebook, method="GET", scheme="https", host="a.example", path="/")
    return ruling(facts, use, 0.0).decision == "allow"


def test_here_is_this_notebook_and_no_other():
    given = lines.granted((), grants("--here"))
    assert given == ("notebook:/home/ada/a.ipynb",)
    assert allowed(given, "/home/ada/a.ipynb")
    assert not allowed(given, "/home/ada/b.ipynb")
    assert not allowed(given, "")


def test_the_last_that_is_revoked_leaves_nobody_and_not_everybody():
    given = lines.revoked(("notebook:/home/ada/a.ipynb",), grants("--here"))
    assert not allowed(given, "/home/ada/a.ipynb")
    assert not allowed(given, "/home/ada/b.ipynb")
    assert not allowed(given, "")
    again = lines.granted(given, grants("--here"))
    assert again == ("notebook:/home/ada/a.ipynb",)
    assert allowed(lines.opened(given, ["notebook"]), "/home/ada/b.ipynb")


def test_kinds_of_grants_do_not_disturb_each_other():
    given = lines.granted(("model:anthropic",), grants("--tool", "http_request", "--agent", "ada"))
    assert given == ("model:anthropic", "tool:http_request", "agent:ada")
    assert lines.revoked(given, ("tool:http_request",)) == ("model:anthropic", "agent:ada", "tool:(none)")


@pytest.mark.parametrize("words", [("--grant", "everybody"), ("--grant", "user:ada"), ("--grant", "tool:")])
def test_what_is_no_grant_is_refused(words):
    with pytest.raises(LoomUsageError, match="a grant is"):
        grants(*words)


def test_a_notebook_without_a_name_cannot_be_granted_to():
    with pytest.raises(LoomUsageError, match="does not tell"):
        grants("--here", notebook="")


@pytest.mark.parametrize(
    ("days", "meant"),
    [
        ("fri-mon", ("fri", "sat", "sun", "mon")),
        ("sun-mon", ("sun", "mon")),
        ("sat-sun,wed", ("sat", "sun", "wed")),
        ("mon-sun", ("mon", "tue", "wed", "thu", "fri", "sat", "sun")),
    ],
)
def test_days_over_the_end_of_the_week_are_those_between(days, meant):
    policy = lines.policy_of(f"time_boxed:{days} 09:00-17:00 UTC", NOW)
    assert policy.windows[0].days == meant


@pytest.mark.parametrize(
    "now", ["2026-10-25T01:30+02:00", "2026-10-25T02:50+02:00", "2026-03-29T01:30+01:00"]
)
@pytest.mark.parametrize(
    ("text", "seconds"), [("now..+2h", 7_200), ("now..+20min", 1_200), ("+1h..+2h", 7_200)]
)
def test_hours_from_now_are_hours_whatever_the_clocks_do(now, text, seconds):
    here = datetime.fromisoformat(now).astimezone(ZoneInfo("Europe/Stockholm"))
    start, end = lines.window(text, here)
    assert end - start == seconds
