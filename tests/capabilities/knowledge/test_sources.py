"""A source that fails costs its own documents and those of no other."""

import numpy as np
import pandas as pd
import pytest

from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource


def raises():
    raise ConnectionError("the wiki is down")


def breaks_off():
    yield "Aphids give honeydew."
    raise KeyError("x")


async def promises():
    return ["Aphids give honeydew."]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (KnowledgeSource.callable(raises), "ConnectionError: the wiki is down"),
        (KnowledgeSource.callable(breaks_off), "KeyError: 'x'"),
        (KnowledgeSource.callable(promises), "gave a coroutine"),
        (KnowledgeSource.callable(lambda: None), "gave a NoneType"),
        (KnowledgeSource.callable(lambda: "all in one"), "gave a str"),
        (KnowledgeSource.urls("https://\ud800.example/\x00"), "must be percent-encoded"),
        (KnowledgeSource.urls("http://[::1"), "a port is"),
    ],
)
async def test_a_source_that_fails_is_told_and_the_others_are_indexed(tmp_path, source, why):
    other = KnowledgeSource.texts({"bees": "The queen bee lays eggs."})
    base = KnowledgeBase([source, other], path=tmp_path / "k.db", embedder=None)

    report = await base.index()

    assert report.documents == 1
    (told,) = report.failed.values()
    assert why in told
    assert await base.search("queen bee")
    base.close()


@pytest.mark.parametrize("typed", ["https://example.org/Page", " HTTPS://example.org/Page\n"])
def test_an_address_is_one_however_it_is_typed(typed):
    source = KnowledgeSource.of(typed)

    assert source.kind == "urls"
    assert source.name == source.where == typed.strip()


async def test_cells_without_a_value_are_empty_and_others_are_their_words(tmp_path):
    frame = pd.DataFrame({
        "name": pd.array(["Ada", pd.NA, "Alan"], dtype="string"),
        "born": [pd.Timestamp("1815-12-10"), pd.NaT, None],
        "about": [np.array(["engines", "poems"]), float("nan"), []],
    })  # fmt: skip
    source = KnowledgeSource.dataframe(frame, ["name", "born", "about"])
    base = KnowledgeBase([source], path=tmp_path / "k.db", embedder=None)

    report = await base.index()

    assert dict(report.failed) == {"table: 1": "there are no words in it"}
    texts = [chunk.text for row in base.documents(sort="source").rows for chunk in base.chunks(row.id)]
    assert texts == [
        "name: Ada\n\nborn: 1815-12-10 00:00:00\n\nabout: ['engines' 'poems']",
        "name: Alan\n\nabout: []",
    ]
    base.close()


async def test_names_that_are_no_text_are_kept_as_what_can_be_read_of_them(tmp_path):
    source = KnowledgeSource.callable(lambda: [("k\ud800", "Wasps like jam.")], name="\ud800")
    base = KnowledgeBase([source], path=tmp_path / "k.db", embedder=None)

    assert (await base.index()).documents == 1

    (found,) = await base.search("wasps like jam")
    assert (found.title, found.source) == ("k\ufffd", "\ufffd")
    base.close()


async def test_rows_that_are_left_out_of_a_table_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("loom_nb.capabilities.knowledge.sources.MAX_ROWS", 3)
    frame = pd.DataFrame({"text": [f"words of row {n}" for n in range(5)]})
    source = KnowledgeSource.dataframe(frame, ["text"])
    base = KnowledgeBase([source], path=tmp_path / "k.db", embedder=None)

    report = await base.index()

    assert (report.documents, report.notes) == (3, ("table: 2 rows beyond the first 3 are left out",))
    base.close()
