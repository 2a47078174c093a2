"""What a memory costs: a write at 1,000, 10,000 and 50,000 notes, and a search at 50,000; less in one round."""

import random
import time
from contextlib import closing

import pytest
from measure import ROUNDS, interleaved

from loom_nb.capabilities.memory import tables
from loom_nb.capabilities.memory.notes import PERSON, Note, Viewer
from loom_nb.capabilities.memory.store import NoteStore

pytestmark = [pytest.mark.slow, pytest.mark.benchmark, pytest.mark.timeout(1_800)]

SIZES = (1_000, 10_000, 50_000) if ROUNDS > 1 else (200, 1_000, 5_000)
CHUNK = 1_000
HERE = Viewer("s", "n.ipynb")


class Words:
    """Texts of one vocabulary whose words are as frequent as those of a language (Zipf)."""

    def __init__(self, seed):
        made, letters = random.Random(0), "abcdefghijklmnoprstuvw"
        self._words = ["".join(made.choices(letters, k=made.randint(4, 9))) for _ in range(30_000)]
        self._weights = [1 / rank for rank in range(1, 30_001)]
        self._chance = random.Random(seed)

    def text(self, count=20):
        return " ".join(self._chance.choices(self._words, self._weights, k=count))


def filled(path, size, words):
    store = NoteStore(path)
    for start in range(0, size, CHUNK):
        with store.writing() as db:
            for n in range(start, min(size, start + CHUNK)):
                note = Note(id=f"n{n:07}", text=words.text(), created=float(n), updated=float(n))
                tables.write(db, note)
                tables.version(db, note, "added", float(n), PERSON)
    return store


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder, words = tmp_path_factory.mktemp("memory"), Words(1)
    made = [filled(folder / f"{size}.db", size, words) for size in SIZES]
    yield made
    for store in made:
        store.close()


def test_what_a_write_costs_does_not_depend_on_how_many_notes_there_are(stores, capsys):
    words = Words(2)

    def adds(store):
        return lambda: [store.add(words.text()) for _ in range(20)]

    def edits(store):
        ids = [hit.note.id for hit in store.page(limit=20).rows]
        return lambda: [store.edit(one, "text", words.text()) for one in ids]

    added = [1e3 * seconds / 20 for seconds in interleaved(*map(adds, stores))]
    edited = [1e3 * seconds / 20 for seconds in interleaved(*map(edits, stores))]
    with capsys.disabled():
        print(f"\nadd    {' · '.join(f'{n:,}: {ms:.2f} ms' for n, ms in zip(SIZES, added, strict=True))}")
        print(f"edit   {' · '.join(f'{n:,}: {ms:.2f} ms' for n, ms in zip(SIZES, edited, strict=True))}")


def test_a_search_among_many_notes(stores, capsys):
    store, words = stores[-1], Words(3)
    queries = [words.text(6) for _ in range(100)]
    times = []
    for query in queries:  # how frequent words are is counted once
        assert store.search(query, viewer=HERE, threshold=0.0)
    for _ in range(max(1, ROUNDS // 3)):
        for query in queries:
            start = time.process_time()
            store.search(query, viewer=HERE)
            times.append(1e3 * (time.process_time() - start))
    times.sort()
    median, late = times[len(times) // 2], times[int(len(times) * 0.95)]
    with capsys.disabled():
        print(f"\nsearch among {SIZES[-1]:,}: median {median:.2f} ms, 95 % below {late:.2f} ms (CPU)")


def test_a_page_of_a_listing_is_cheap_wherever_it_is(stores, capsys):
    store = stores[-1]
    sorts = ("-updated", "-uses", "text", "-importance")

    def pages():
        for sort in sorts:
            assert len(store.page(sort=sort, offset=SIZES[-1] // 2, limit=50).rows) == 50

    (seconds,) = interleaved(pages)
    with capsys.disabled():
        print(f"\na page in the middle of {SIZES[-1]:,}: {1e3 * seconds / len(sorts):.1f} ms")


def test_the_beginning_of_a_run_is_chosen_in_time(tmp_path, capsys):
    with closing(filled(tmp_path / "m.db", 2_000, Words(4))) as store:
        goal = Words(5).text(300)
        (seconds,) = interleaved(lambda: store.choose(goal, viewer=HERE))
    with capsys.disabled():
        print(f"\nchosen for a goal of 300 words: {1e3 * seconds:.1f} ms")
