"""What the text of a `%%loom` cell becomes."""

import collections
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_nb.errors import LoomUsageError, NotBuiltError
from loom_nb.notebook.cell import LATER_FLAGS, CellRequest, interpolate, parse


def told(text, **names):
    prompt, references, _ = interpolate(text, names)
    return prompt, {reference.path: reference.value for reference in references}


def test_a_cell_without_flags_is_just_its_prompt():
    assert parse("", "hello\n") == CellRequest("hello")


def test_each_flag_is_read():
    request = parse(
        "-m openai:x -o answer --schema list[Foo] -t one two* --max-steps 3 --timeout 1.5 -n --raw -q --new",
        "p",
    )
    assert request == CellRequest(
        "p",
        model="openai:x",
        out="answer",
        schema="list[Foo]",
        tools=("one", "two*"),
        max_steps=3,
        timeout=1.5,
        dry_run=True,
        raw=True,
        quiet=True,
        new=True,
    )
    assert parse("--continue r7").continues == "r7"
    assert parse("-h").help
    assert parse("-t a,b -t c").tools == ("a", "b", "c")


def test_a_mistyped_flag_is_refused_with_a_suggestion():
    with pytest.raises(LoomUsageError, match="--modle") as caught:
        parse("--modle x", "p")
    assert caught.value.fixes == ("%%loom --model",)


@pytest.mark.parametrize("flag", LATER_FLAGS)
def test_a_flag_of_a_later_version_is_refused_by_name(flag):
    with pytest.raises(NotBuiltError, match=f"{flag} is not part of this version"):
        parse(f"{flag} x", "p")


def test_several_models_are_refused_by_name():
    with pytest.raises(NotBuiltError, match="several models"):
        parse("-m a,b")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-m", "expected one argument"),
        ("--max-steps none", "invalid number value"),
        ("--max-steps 0", "not a positive number"),
        ("--timeout nan", "not a positive number"),
        ("-o 1x", "no name for a variable"),
        ("-o class", "no name for a variable"),
        ("--new --continue r1", "--new and --continue exclude each other"),
        ("--new --fork r1", "--new and --fork exclude each other"),
        ("--fork r1 --continue r2", "--continue and --fork exclude each other"),
        ("what is this", "unexpected 'what'"),
        ("-m 'open", "quotation mark"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(line, says):
    with pytest.raises(LoomUsageError, match=says):
        parse(line, "p")


def test_a_windows_path_keeps_its_backslashes():
    assert parse(r"-m C:\models\x").model == r"C:\models\x"


def test_a_named_variable_travels_beside_the_instruction():
    assert told("clean {df}, then {df} again", df=[1]) == ("clean ⟨df⟩, then ⟨df⟩ again", {"df": [1]})


def test_attributes_keys_and_places_are_followed():
    @dataclasses.dataclass
    class Config:
        rate: int = 7

    pair = collections.namedtuple("pair", "left right")(1, 2)
    text, values = told(
        "{c.rate} {d['a b']} {d[\"k\"]} {rows[0]} {rows[-1].left} {p.right}",
        c=Config(),
        d={"a b": 1, "k": 2},
        rows=[3, pair],
        p=pair,
    )
    assert text == "⟨c.rate⟩ ⟨d['a b']⟩ ⟨d[\"k\"]⟩ ⟨rows[0]⟩ ⟨rows[-1].left⟩ ⟨p.right⟩"
    assert list(values.values()) == [7, 1, 2, 3, 1, 2]


def test_columns_of_a_frame_are_reached_by_name():
    import pandas as pd

    text, values = told("{df.price} {df['price']} {df.shape} {df.mean}", df=pd.DataFrame({"price": [1, 2]}))
    assert text == "⟨df.price⟩ ⟨df['price']⟩ ⟨df.shape⟩ {df.mean}"
    assert values["df.shape"] == (2, 1)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        r"\frac{1}{2}",
        "{k: v for k, v in x}",
        "a lone { and }",
        "{missing}",
        "{}",
        "{x!r}",
        "{x:>10}",
        "{x()}",
        "{x.upper()}",
        "{x.__class__}",
        "{__name__}",
        "$x",
        "`{x}`",
        "``a `{x}` b``",
        "```python\nprint({x})\n```",
        "~~~\n{x}\n~~~",
        "```\n{x} in a fence that never closes",
        "{{missing}}",
        "$`missing`",
        "{x.nothing}",
        "{x[99]}",
        "{x['key']}",
        "{ x }",
    ],
)
def test_anything_else_stays_as_typed(text):
    assert told(text, x="abc", __name__="m") == (text, {})


def test_doubled_braces_write_the_reference_itself():
    assert told("{{x}}", x=1) == ("{x}", {})


def test_the_dollar_form_is_an_alias():
    assert told("see $`x` and `x`", x=1) == ("see ⟨x⟩ and `x`", {"x": 1})


def test_a_backtick_that_never_closes_is_no_code():
    assert told("it`s {x}", x=1) == ("it`s ⟨x⟩", {"x": 1})


def test_a_property_and_a_hook_are_never_run():
    ran = []

    class Trap:
        kept = 5

        @property
        def danger(self):
            ran.append("property")
            return 1

        def __getattr__(self, name):
            ran.append(name)
            return 1

        def __getitem__(self, key):
            ran.append(key)
            return 1

    text, values = told("{t.danger} {t.other} {t[0]} {t['k']} {t.kept}", t=Trap())
    assert text == "{t.danger} {t.other} {t[0]} {t['k']} ⟨t.kept⟩"
    assert values == {"t.kept": 5}
    assert ran == []


def test_a_default_dictionary_makes_no_new_key():
    counts = collections.defaultdict(int)
    assert told("{c['a']}", c=counts) == ("{c['a']}", {})
    assert not counts


def test_raw_leaves_every_brace_alone():
    assert parse("--raw", "{x} {{x}} {xx}", {"x": 1}) == CellRequest("{x} {{x}} {xx}", raw=True)


# -- slips -----------------------------------------------------------------------------------------------


class Config:
    rate = 7

    def __init__(self):
        self.limit = 3

    @property
    def live(self):
        raise AssertionError("a property was run")

    def __getattr__(self, name):
        raise AssertionError("a hook was run")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clean {dff}", "dff (did you mean df?)"),
        ("clean {DF} and {DF}", "DF (did you mean df?)"),
        ("clean {dff.price}", "dff.price (did you mean df.price?)"),
        ("the {table.prise}", "table.prise (did you mean table.price?)"),
        ("the {table['prise']}", "table['prise'] (did you mean table['price']?)"),
        ("the {table.mean}", "table.mean (reading it would run code)"),
        ('{cfg_map["hots"]}', 'cfg_map["hots"] (did you mean cfg_map["host"]?)'),
        ("{config.limits}", "config.limits (did you mean config.limit?)"),
        ("{config.rates}", "config.rates (did you mean config.rate?)"),
        ("{config.live}", "config.live (reading it would run code)"),
        ("{config.zzz}", "config.zzz"),
        ("{rows[99]}", "rows[99]"),
        ("{rows[99]} and {dff}", "rows[99], dff (did you mean df?)"),
    ],
)
def test_a_reference_that_leads_nowhere_stays_as_typed_and_the_reader_is_told(text, says):
    import pandas as pd

    names = {
        "df": [1],
        "table": pd.DataFrame({"price": [1]}),
        "cfg_map": {"host": 1},
        "config": Config(),
        "rows": [1, 2],
    }
    prompt, _, notices = interpolate(text, names)
    assert prompt == text
    assert notices == (f"not found: {says}",)
    assert parse("", text, names).notices == notices


@pytest.mark.parametrize(
    "text",
    [
        "{nothing_like_it}",
        "{dff: 1}",
        "{dff, x}",
        '{"dff": 1}',
        r"\frac{dff}{dff}",
        r"\begin{dff} x^{dff} y_{dff} \sqrt[3]{dff}",
        "${dff}",
        "{{dff}}",
        "`{dff}` and ```{dff}```",
        "~~~\n{dff}\n~~~",
        "{d}",
        "{__dff__}",
        "{dff()}",
    ],
)
def test_latex_json_sets_code_and_strangers_stay_silent(text):
    assert interpolate(text, {"df": [1], "__df__": 1}) == (text, (), ())


@pytest.mark.timeout(150)
def test_a_text_full_of_slips_is_read_in_no_time():
    names = {f"variable_{n}": n for n in range(2_000)}
    _, _, (told,) = interpolate(" ".join(f"{{variabel_{n}}}" for n in range(20_000)), names)
    assert told.count("did you mean") == 20  # to look for all 20,000 takes many minutes


@given(st.text(alphabet=st.sampled_from("{}[]`$~x.\"'0 \n\r\\_"), max_size=60) | st.text(max_size=80))
def test_any_text_without_references_comes_back_unchanged(text):
    assert interpolate(text, {}) == (text, (), ())


@given(st.text(alphabet=st.sampled_from("{}[]`$~xy.\"'0 \n-"), max_size=80))
def test_any_text_with_variables_never_raises_and_only_marks_or_keeps(text):
    prompt, references, _ = interpolate(text, {"x": "abc", "y": {"x": [1]}})
    assert prompt.count("⟨") == prompt.count("⟩") >= len(references)


def test_a_long_text_of_braces_and_ticks_is_read_in_linear_time():
    text = "{`" * 50_000 + "{x}"
    prompt, references, _ = interpolate(text, {"x": 1})
    assert len(prompt) == len(text)
    assert len(references) == 1
