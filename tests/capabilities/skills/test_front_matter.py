"""What a SKILL.md may say in its head, and that nothing else gets past."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loom_nb.capabilities.skills.front_matter import MAX_HEAD, NotASkill, is_name, parse, read_yaml

WHOLE = """---
name: tidy-up
description: >
  Tidies
  a folder.
version: 1.10
license: MIT
allowed-tools: Read, Bash(git diff:*) Grep
metadata: {author: ann, since: 2024-01-01}
---
# Body
"""


def test_the_head_of_a_skill_is_read_and_every_value_stays_the_text_it_is():
    matter, body = parse(WHOLE, "tidy-up")

    assert (matter.name, matter.description, matter.version) == ("tidy-up", "Tidies a folder.", "1.10")
    assert matter.allowed_tools == ("Read", "Bash(git diff:*)", "Grep")
    assert matter.metadata == {"metadata.author": "ann", "metadata.since": "2024-01-01"}
    assert body == "# Body\n"


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("name: a\nname: b", "twice"),
        ("name: &x a\ndescription: *x", "anchor"),
        ("name: !!python/object/apply:os.system [id]", "tag"),
        ("a: [[[[[[[1]]]]]]]", "nested"),
        ("name: [", "no YAML"),
        ("- a\n- b", "no list of names"),
        ("? [a]\n: b", "no text"),
        ("a: " + "x" * MAX_HEAD, "characters"),
        ("\n".join(f"k{n}: 1" for n in range(600)), "too many"),
        ("name: Tidy Up\ndescription: x", "its name is"),
        ("name: ../../etc\ndescription: x", "its name is"),
        ("name: other\ndescription: x", "they must be the same"),
        ("name: tidy-up", "description"),
        ("name: tidy-up\ndescription: [a]", "is no text"),
        ("name: tidy-up\ndescription: x\nallowed-tools: '('", "allowed-tools"),
        ("name: tidy-up\ndescription: x\nallowed-tools: a\nallowed_tools: b", "both"),
        ("name: tidy-up\n---\n---\n", "description"),
    ],
)
def test_a_head_that_is_not_sound_is_refused_with_what_is_wrong(head, told):
    with pytest.raises(NotASkill, match=told):
        parse(f"---\n{head}\n---\nbody", "tidy-up")


@pytest.mark.parametrize("text", ["", "no head", "---\nname: a\n", "--- \n", "\n---\nname: tidy-up\n---\n"])
def test_a_text_without_a_whole_head_is_no_skill(text):
    with pytest.raises(NotASkill):
        parse(text, "tidy-up")


@pytest.mark.parametrize("name", ["a", "a-b", "x" * 64, "9-lives"])
def test_names_are_small_letters_digits_and_hyphens(name):
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "a--b", "A", "a_b", "a/b", "..", "a.b", "x" * 65, "ä", "a\n", "\u0430"]
)
def test_nothing_else_is_a_name(name):
    assert not is_name(name)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=400))
@example("a: " * 200)
@example("{" * 400)
@example("- " * 200)
def test_whatever_stands_in_a_head_is_read_or_refused(text):
    try:
        tree = read_yaml(text)
    except NotASkill:
        return
    assert isinstance(tree, (str, list, dict))


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\x7f\ufeff\ufffe\uffff"), max_size=40),
        min_size=1,
        max_size=6,
    )
)  # fmt: skip
def test_values_in_quotes_come_out_as_they_went_in(values):
    head = "\n".join(f"{key}: '{value.replace(chr(39), chr(39) * 2)}'" for key, value in values.items())

    assert read_yaml(head) == values
