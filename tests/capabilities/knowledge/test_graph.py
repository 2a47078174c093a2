"""The entity graph: checked, grounded, merged, bounded in cost, and a way to passages over several hops."""

import json

import pytest

from loom_nb import Model
from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeQuery, KnowledgeSource, extend
from loom_nb.capabilities.knowledge.graph import Extraction, NamedEntity, NamedRelation, expected, within
from loom_nb.capabilities.knowledge.tables import MIGRATIONS, SCHEMA
from loom_nb.database import Database, Schema

TEXTS = {
    "curie": "Marie Curie, also called Madame Curie, discovered polonium.",
    "polonium": "Polonium is named after Poland.",
    "poland": "Poland lies on the Baltic coast, where amber is found.",
    "bread": "Bread is made of flour.",
}


def said(entities, relations=()):
    return json.dumps({
        "entities": [{"name": name, "kind": kind, "about": "", "aliases": list(aliases)} for name, kind, *aliases in entities],
        "relations": [dict(zip(("subject", "relation", "object"), one, strict=True)) for one in relations],
    })  # fmt: skip


NOTHING = said([])
BREAD = said([("Bread", "food")])
CURIE = said(
    [("Marie Curie", "person", "Madame Curie"), ("polonium", "element")],
    [("Marie Curie", "discovered", "polonium")],
)
POLAND = said([("Poland", "country"), ("amber", "thing")], [("amber", "is found in", "Poland")])
POLONIUM = said([("Polonium", "element"), ("Poland", "country")], [("Polonium", "is named after", "Poland")])


async def base_with(tmp_path, *replies, **options):
    base = KnowledgeBase([KnowledgeSource.texts(TEXTS)], path=tmp_path / "k.db", embedder=None)
    await base.index()
    steps = [step async for step in extend(base, Model.scripted(list(replies)), **options)]
    return base, steps[-1]


ALL = (BREAD, CURIE, POLAND, POLONIUM)  # by the names of the texts


async def test_a_question_leads_over_hops_to_passages_that_share_no_word_with_it(tmp_path):
    base, last = await base_with(tmp_path, *ALL, gleanings=0)

    assert (last.done, last.total, last.calls, last.entities) == (4, 4, 4, 5)
    query = "what did Madame Curie find?"
    assert [one.title for one in await base.search(query)] == ["curie"]
    found = await base.search(KnowledgeQuery(query, hops=3))
    assert [one.title for one in found] == ["curie", "polonium", "poland"]
    assert found[1].trace == ("Marie Curie -[discovered]-> polonium",)
    assert found[2].trace == ("Marie Curie -[discovered]-> polonium -[is named after]-> Poland",)
    assert found[0].components["graph"] > found[1].components["graph"] > found[2].components["graph"]


async def test_it_asks_again_for_what_was_missed_until_nothing_is(tmp_path):
    more = said(
        [("Marie Curie", "person"), ("polonium", "element")], [("Marie Curie", "discovered", "polonium")]
    )
    base, last = await base_with(
        tmp_path, BREAD, NOTHING, said([("Marie Curie", "person")]), more, *[NOTHING] * 5,
        gleanings=3,
    )  # fmt: skip

    assert last.calls == 9
    assert last.entities == 3
    assert [(one.relation) for one in base.subgraph(["Marie Curie"]).edges] == ["discovered"]


async def test_the_cost_is_bounded_and_the_next_call_goes_on(tmp_path):
    base, last = await base_with(tmp_path, BREAD, CURIE, gleanings=0, most_calls=2)
    assert (last.done, last.total, last.stopped) == (2, 4, "the limit of calls")

    steps = [step async for step in extend(base, Model.scripted([POLAND, POLONIUM]), gleanings=0)]

    assert (steps[-1].total, steps[-1].calls) == (2, 2)
    assert [step async for step in extend(base, Model.scripted([]))] == []


async def test_an_answer_without_the_form_costs_its_passage_and_no_other(tmp_path):
    base, last = await base_with(tmp_path, "no JSON", CURIE, '{"entities": 3}', POLONIUM, gleanings=0)

    assert (last.failed, last.entities) == (2, 3)
    assert base.state().entities == 3


def test_only_what_the_passage_names_itself_is_kept():
    found = Extraction(
        [
            NamedEntity("Marie Curie", "person", "x\n" * 400, ["Madame  CURIE", "Einstein"]),
            NamedEntity("Einstein"),
            NamedEntity(""),
        ],
        [
            NamedRelation("Marie Curie", "knew", "Einstein"),
            NamedRelation("Marie Curie", "is", "madame curie"),
        ],
    )

    kept = within(found, TEXTS["curie"])

    assert [(one.name, one.aliases) for one in kept.entities] == [("Marie Curie", ["Madame CURIE"])]
    assert len(kept.entities[0].about) <= 300
    assert "\n" not in kept.entities[0].about
    assert [one.relation for one in kept.relations] == ["is"]


async def test_names_that_turn_out_to_be_one_are_merged(tmp_path):
    texts = {
        "1": "Mrs Curie won a prize.", "2": "Sklodowska was born in Warsaw.",
        "3": "Mrs Curie, born Sklodowska, taught in Paris.",
    }  # fmt: skip
    base = KnowledgeBase([KnowledgeSource.texts(texts)], path=tmp_path / "k.db", embedder=None)
    await base.index()
    replies = [
        said([("Mrs Curie", "person"), ("prize", "thing")], [("Mrs Curie", "won", "prize")]),
        said([("Sklodowska", "person"), ("Warsaw", "city")], [("Sklodowska", "was born in", "Warsaw")]),
        said(
            [("Mrs Curie", "person", "Sklodowska"), ("Paris", "city")], [("Sklodowska", "taught in", "Paris")]
        ),
    ]
    async for _ in extend(base, Model.scripted(replies), gleanings=0):
        pass

    shown = base.subgraph(["Sklodowska"], hops=1)
    assert shown.nodes[0].name == "Mrs Curie"
    assert sorted(one.relation for one in shown.edges) == ["taught in", "was born in", "won"]
    assert base.state().entities == 4


async def test_the_graph_forgets_with_the_documents(tmp_path):
    _base, _ = await base_with(tmp_path, *ALL, gleanings=0)
    rest = {name: text for name, text in TEXTS.items() if name != "polonium"}
    again = KnowledgeBase([KnowledgeSource.texts(rest)], path=tmp_path / "k.db", embedder=None)
    await again.index()

    found = await again.search(KnowledgeQuery("what did Madame Curie find?", hops=3))
    assert [one.title for one in found] == ["curie"]


@pytest.mark.parametrize("names", [["nobody"], []])
async def test_a_subgraph_of_nothing_is_empty(tmp_path, names):
    base = KnowledgeBase([KnowledgeSource.texts(TEXTS)], path=tmp_path / "k.db", embedder=None)
    await base.index()

    assert base.subgraph(names).nodes == ()


async def test_what_only_a_document_said_goes_with_it(tmp_path):
    texts = {
        "1": "Mrs Curie won a prize.",
        "2": "Mrs Curie, called the agent Falcon, met Bohr.",
        "3": "Bread is made of flour.",
    }
    base = KnowledgeBase([KnowledgeSource.texts(texts)], path=tmp_path / "k.db", embedder=None)
    await base.index()
    replies = [
        said([("Mrs Curie", "person"), ("prize", "thing")], [("Mrs Curie", "won", "prize")]),
        json.dumps({
            "entities": [
                {"name": "the agent Falcon", "kind": "person", "about": "was a spy", "aliases": ["Mrs Curie"]},
                {"name": "Bohr", "kind": "person", "about": "", "aliases": []},
            ],
            "relations": [{"subject": "Mrs Curie", "relation": "met", "object": "Bohr"}],
        }),
        BREAD,
    ]  # fmt: skip
    async for _ in extend(base, Model.scripted(replies), gleanings=0):
        pass
    assert base.subgraph(["the agent Falcon"]).nodes != ()
    del texts["2"], texts["3"]
    rest = KnowledgeBase([KnowledgeSource.texts(texts)], path=tmp_path / "k.db", embedder=None)
    await rest.index()

    assert [node.name for node in rest.subgraph().nodes] == ["Mrs Curie", "prize"]
    assert rest.subgraph(["the agent Falcon"]).nodes == ()
    rows = rest.reading(
        lambda db: [
            row
            for name in ("entities", "aliases", "mentions", "edges", "extracted")
            for row in db.execute(f"SELECT * FROM {name}")
        ]
    )
    assert not any(word in repr(rows) for word in ("spy", "alcon", "ohr", "read", "met"))
    assert len(rows) == 2 + 2 + 2 + 1 + 1
    rest.close()
    base.close()


async def test_a_base_of_before_forgets_what_it_had_kept_too_long(tmp_path):
    old = Database(tmp_path / "k.db", Schema(SCHEMA.application, MIGRATIONS[:1]), 1.0)
    with old.transaction("IMMEDIATE") as db:
        db.execute("INSERT INTO entities VALUES (1, 'Marie Curie', 'person', 'was a spy')")
        db.execute("INSERT INTO aliases VALUES ('marie curie', 1)")
        db.execute("INSERT INTO mentions VALUES (1, 'gone')")
        db.execute("INSERT INTO extracted VALUES ('gone', '1')")
    old.close()
    base = KnowledgeBase([KnowledgeSource.texts(TEXTS)], path=tmp_path / "k.db", embedder=None)

    assert base.state().entities == 0
    assert (await base.index()).documents == 4
    base.close()


async def test_a_name_that_is_far_too_long_costs_its_relation_and_no_more(tmp_path):
    answer = said(
        [("Marie Curie", "person"), ("polonium", "element")],
        [("Marie" + "!" * 200 + "Curie", "discovered", "polonium")],
    )
    base, last = await base_with(tmp_path, BREAD, answer, POLAND, POLONIUM, gleanings=0)

    assert (last.done, last.failed) == (4, 0)
    assert base.subgraph(["Marie Curie"]).edges == ()


def test_what_reading_takes_is_told_before():
    passages = [("1", "Curie, line 1", "Marie Curie discovered polonium. " * 10)] * 8

    once, twice = expected(passages, gleanings=0), expected(passages, gleanings=1)

    assert (once.passages, once.calls, twice.calls) == (8, 8, 16)
    assert 8 * 80 < once.usage.input_tokens < 8 * 2_000
    assert twice.usage.input_tokens > 2 * once.usage.input_tokens
    assert twice.usage.output_tokens == 2 * once.usage.output_tokens
    assert expected([]).usage.input_tokens == 0
