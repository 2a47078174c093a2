"""What it costs to find: by words among 50,000 texts, by vector among 10,000, and to learn a space of meaning."""

import random
import sqlite3
from functools import partial

import numpy as np
import pytest
from measure import interleaved

from loom_nb.retrieval.analysis import TOKENIZE, index_text
from loom_nb.retrieval.full_text import search
from loom_nb.retrieval.lsa import LatentSemantics
from loom_nb.retrieval.vectors import VectorIndex

pytestmark = [pytest.mark.slow, pytest.mark.benchmark, pytest.mark.timeout(900)]

TEXTS, WORDS, ROWS, WIDTH = 50_000, 60, 10_000, 384
RARE, USUAL, COMMON = "w7100 w4200", "w350 w801 w1400 w90", "w1 w2 w3 w4 w5"


def texts(count, seed=5):
    """Texts whose words are as often as those of a language: the n-th word stands 1/n as often as the first."""
    draw = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(1, 8_001)]
    weights = [1 / number for number in range(1, 8_001)]
    return [" ".join(draw.choices(vocabulary, weights, k=WORDS)) for _ in range(count)]


def ranked(db, expression):
    """What FTS5 does by itself."""
    bare = "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT 50"
    return db.execute(bare, (expression,)).fetchall()


def test_finding_by_words_among_fifty_thousand(table, tmp_path):
    db = sqlite3.connect(tmp_path / "texts.db")
    db.execute(f"CREATE VIRTUAL TABLE texts USING fts5(body, {TOKENIZE})")
    rows = ((number, index_text(text)) for number, text in enumerate(texts(TEXTS)))
    db.executemany("INSERT INTO texts (rowid, body) VALUES (?, ?)", rows)
    db.commit()
    for name, query in (("rare", RARE), ("usual", USUAL), ("common", COMMON), ("one common", "w1"),
                        ("mixed", f"{RARE} {COMMON}")):  # fmt: skip
        expression = " OR ".join(f'"{word}"' for word in query.split())
        ours, floor = interleaved(
            partial(search, db, "texts", query),
            partial(ranked, db, expression),
        )
        table(
            f"{name} words, 50k texts",
            f"{ours * 1e3:.2f} ms",
            f"{floor * 1e3:.2f} ms ORDER BY rank",
            "≤ 5 ms",
        )


def test_finding_by_vector_among_ten_thousand(table):
    draw = np.random.default_rng(1)
    vectors = draw.standard_normal((ROWS, WIDTH)).astype(np.float32)
    index = VectorIndex(WIDTH)
    index.add(range(ROWS), vectors)
    query = vectors[7]
    some = set(range(0, ROWS, 3))
    ours, among, floor = interleaved(
        lambda: index.near(query, 50), lambda: index.near(query, 50, some), lambda: vectors @ query
    )
    table("10k × 384, 50 nearest", f"{ours * 1e3:.2f} ms", f"{floor * 1e3:.2f} ms product alone", "≤ 10 ms")
    table("the same among a third", f"{among * 1e3:.2f} ms", "", "≤ 10 ms")


def test_learning_a_space_of_meaning(table):
    some = texts(1_000)
    space = LatentSemantics.fit(some)
    fit, embed = interleaved(
        lambda: LatentSemantics.fit(some), lambda: space.embed(some[:1], kind="query"), rounds=3
    )
    table("fit on 1,000 texts", f"{fit:.2f} s", "", "")
    table("embed a question", f"{embed * 1e3:.2f} ms", "", "")
