"""Origins: arguments are found again in the conversation, and what is not looked up is never trusted."""

import pytest

from loom_nb import GovernancePolicy, WhenUntrusted, tool
from loom_nb.messages import MODEL, USER, Conversation, Message, Origin, TextPart, ToolResultPart, user
from loom_nb.protocols import Call, Scene
from loom_nb.runtime.origins import MAX_LEAVES, NOT_LOOKED, REST, Origins

WEB, TOOL = Origin("web", "https://example.org"), Origin("tool", "search")


def result(text: str, origin: Origin = WEB, name: str = "c1") -> Message:
    return Message("tool", (ToolResultPart(name, "t", (TextPart(text, origin),), origin=origin),))


def origins(*messages: Message) -> Origins:
    conversation = Conversation()
    for message in messages:
        conversation.add(message)
    return Origins(conversation)


@tool(effects=["reads", "network"])
def fetch(url: str) -> str:
    return "page"


@tool
def write(path: str = "", text: str = "") -> str:
    return "written"


async def verdict(known: Origins, of, **arguments):
    scene = Scene(trace=known.trace)
    one = Call("c", of.name, arguments, of, scene=scene, written=arguments)
    return await GovernancePolicy((WhenUntrusted(),), mode="all").judge(one)


def test_the_users_words_count_wherever_they_stand_else_whoever_was_first():
    known = origins(result("alpha beta gamma"), result("beta gamma delta", TOOL), user("gamma, please", USER))
    found = known.trace({"a": "alpha", "b": ["beta"], "c": {"d": "gamma"}, "e": "epsilon", "f": "delta"})
    assert found.arguments == {"a": WEB, "b[0]": WEB, "c.d": USER, "e": MODEL, "f": TOOL}
    assert found.context == {"web", "tool"}


def test_what_comes_later_is_found_too():
    conversation = Conversation()
    conversation.add(result("alpha"))
    known = Origins(conversation)
    assert known.trace({"a": "omega"}).arguments == {"a": MODEL}
    conversation.add(result("omega", TOOL))
    assert known.trace({"a": "omega"}).arguments == {"a": TOOL}
    assert known.trace({"b": "omega"}).arguments == {"b": TOOL}


PAGE = "".join(f"line {n} of a long page\n" for n in range(4_000))

HEAVY = {
    "many long texts": ([PAGE] * 100, {"texts": [f"not there at all {n}" for n in range(2_000)]}),
    "many texts": (["a page"], {"texts": [f"not there at all {n}" for n in range(200_000)]}),
    "one that is hard to find": (["a" * 29_000] * 2_000, {"text": "a" * 49 + "b" + "a" * 49}),
    "one that is hard to find in short ones": (["a" * 2_400] * 20_000, {"text": "a" * 1_000 + "b" + "a" * 1_000}),
    "a huge one": (["a" * 4_000_000] * 20, {"text": "a" * 50_000 + "b"}),
    "huge ones": (["x" * 4_000_000 + str(n) for n in range(10)], {"texts": ["x" * 4_000_000 + "y"] * 20}),
}  # fmt: skip


@pytest.mark.parametrize("what", HEAVY)
@pytest.mark.timeout(150)
async def test_looking_up_is_given_up_where_there_is_too_much_of_it(what):
    texts, arguments = HEAVY[what]
    known = origins(*(result(text) for text in texts))
    known.trace({"a": "each message is taken in once"})
    found = known.trace(arguments)
    assert NOT_LOOKED in found.arguments.values()
    assert len(found.arguments) <= MAX_LEAVES + 1
    assert not any(origin.trusted for origin in found.arguments.values())
    said = await verdict(known, write, **arguments)
    assert said.decision == "ask"
    assert len(said.reason) < 3_000


async def test_an_address_that_was_not_looked_up_is_not_one_that_somebody_wrote():
    url = "https://example.org/next"
    pages = [result("a" * 3_000_000, TOOL) for _ in range(10)]
    assert (await verdict(origins(result(url, TOOL), *pages), fetch, url=url)).decision == "allow"
    late = await verdict(origins(*pages, result(url, TOOL)), fetch, url=url)
    assert (late.decision, late.reason.count("not looked up")) == ("ask", 1)


async def test_the_words_of_the_user_are_looked_up_first():
    url = "https://example.org/next"
    pages = [result("a" * 3_000_000, WEB) for _ in range(10)]
    assert (await verdict(origins(*pages, user(f"read {url}", USER)), fetch, url=url)).decision == "allow"


def test_more_texts_than_are_looked_up_count_as_one_that_nobody_vouches_for():
    known = origins(result("a page"), user("word", USER))
    found = known.trace({"texts": ["word"] * (MAX_LEAVES + 5)}).arguments
    assert (len(found), found[REST], found["texts[0]"]) == (MAX_LEAVES + 1, NOT_LOOKED, USER)


def test_where_only_the_user_spoke_nothing_is_looked_up():
    known = origins(user("word"))
    assert known.trace({"a": "word", "b": "other"}).arguments == {}
