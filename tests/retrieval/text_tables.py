"""A real table of FTS5 for texts, in memory."""

import sqlite3

from loom_nb.retrieval.analysis import TOKENIZE, index_text


def table_of(*texts):
    """A database whose table `texts` has these, numbered from 1."""
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE VIRTUAL TABLE texts USING fts5(body, {TOKENIZE})")
    rows = enumerate(map(index_text, texts), 1)
    db.executemany("INSERT INTO texts (rowid, body) VALUES (?, ?)", rows)
    return db
