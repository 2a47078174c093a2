"""Chunks are pieces of the text, bounded, overlapping, with whole blocks of code, under stable names."""

import itertools
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_nb.capabilities.knowledge.chunking import chunked
from loom_nb.capabilities.knowledge.documents import Document, Mark, fences, markdown_outline
from loom_nb.errors import LoomUsageError
from loom_nb.tokens import estimate

PIECES = st.sampled_from([
    "# One\n", "## Two words\n", "\n\n", "A sentence of some words. ", "```python\nx = 1\nprint(x)\n```\n",
    "```\n" + "line of code\n" * 30 + "```\n", "多字节文字。", "word ", "\n", "~~~\n", "x" * 90, "- item\n", "é ", "```\n",
    "Heading\n=======\n", "😀 ",
])  # fmt: skip
TEXTS = st.lists(PIECES, max_size=60).map("".join)


def markdown(text: str) -> Document:
    return Document(text, kind="markdown", outline=markdown_outline(text))


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(8, 80), st.floats(0, 0.5), st.booleans())
def test_chunks_are_bounded_pieces_that_cover_every_word(text, size, share, is_markdown):
    document = markdown(text) if is_markdown else Document(text)

    chunks = chunked(document, "n", size, int(size * share))

    covered = [False] * len(text)
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        assert estimate(chunk.text) <= chunk.tokens <= size or len(chunk.text) == 1
        covered[chunk.start : chunk.end] = [True] * len(chunk.text)
    assert all(is_covered or char.isspace() for is_covered, char in zip(covered, text, strict=True))
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    assert all(one.start < other.start and one.end < other.end for one, other in itertools.pairwise(chunks))


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(8, 80), st.floats(0, 0.5))
def test_a_block_of_code_that_fits_is_whole_in_one_chunk(text, size, share):
    chunks = chunked(markdown(text), "n", size, int(size * share))

    for fence in fences(text):
        if estimate(text[fence.start : fence.end]) < size - 1:
            assert any(one.start <= fence.start and one.end >= fence.end for one in chunks)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(8, 40))
def test_every_chunk_is_shown_with_all_its_fences_closed(text, size):
    text = text.replace("```", "\n```").replace("~~~", "\n~~~")  # so that no cut makes a fence of words
    whole = fences(text)
    if whole and whole[-1].closing == whole[-1].end:  # the document itself leaves one open
        text += f"\n{whole[-1].mark}\n"
    for chunk in chunked(markdown(text), "n", size, 0):
        assert all(fence.closing < fence.end for fence in fences(chunk.shown)), (chunk, chunk.shown)


def test_a_section_that_is_cut_goes_on_with_the_end_of_the_chunk_before():
    sentences = " ".join(f"This is sentence number {number} of a long story." for number in range(200))

    chunks = chunked(Document(sentences), "n", 100, 20)

    for one, other in itertools.pairwise(chunks):
        shared = sentences[other.start : one.end]
        assert 0 < estimate(shared) <= 20
        assert other.text.startswith("This is sentence")  # it begins where a sentence does


def test_code_that_must_be_cut_is_fenced_again():
    text = "```python\n" + "\n".join(f"line_{number} = {number}" for number in range(100)) + "\n```\n"

    chunks = chunked(markdown(text), "n", 60, 0)

    assert len(chunks) > 3
    assert all(one.shown.startswith("```python\nline_") and one.shown.endswith("```") for one in chunks[1:-1])


def test_a_chunk_knows_the_headings_above_it_and_its_lines():
    text = "# Animals\n\n" + "Intro. " * 60 + "\n\n## Bees\n\n" + "Bees dance. " * 60 + "\n"

    last = chunked(markdown(text), "n", 120, 0)[-1]

    assert last.headings == ("Animals", "Bees")
    assert last.location.startswith("line")


def test_names_stay_when_other_parts_of_the_document_change():
    parts = [f"# Part {n}\n\n" + f"Words of part {n}. " * 30 + "\n\n" for n in range(5)]
    before = chunked(markdown("".join(parts)), "n", 120, 0)
    after = chunked(markdown("".join(["# New\n\nSomething else.\n\n" * 12, *parts])), "n", 120, 0)

    assert {one.id for one in before[1:]} <= {one.id for one in after}
    assert not {one.id for one in before} & {
        one.id for one in chunked(markdown("".join(parts)), "other", 120, 0)
    }


def test_the_same_words_twice_in_a_document_have_two_names():
    text = "# A\n\n" + "same words " * 40 + "\n\n# A\n\n" + "same words " * 40 + "\n\n"

    chunks = chunked(markdown(text), "n", 130, 0)

    assert len({one.id for one in chunks}) == len(chunks) > 1


@pytest.mark.parametrize(("size", "overlap"), [(4, 0), (100, 60), (100, -1)])
def test_sizes_that_make_no_sense_are_refused(size, overlap):
    with pytest.raises(LoomUsageError):
        chunked(Document("text"), "n", size, overlap)


def steps_to_cut(document: Document) -> int:
    """Lines of our own that are carried out, and characters and items that are looked through at once."""
    count = 0

    class Text(str):
        def count(self, *given):
            nonlocal count
            count += given[-1] - given[-2]
            return super().count(*given)

    def step(*_):
        nonlocal count
        count += 1
        return step

    before = sys.gettrace()
    sys.settrace(lambda *_: step)
    try:
        chunked(replace(document, text=Text(document.text)), "x")
    finally:
        sys.settrace(before)
    return count


WORDS = "A paragraph of some words here.\n\n"


@pytest.mark.parametrize(
    "made",
    [
        lambda n: Document("```\nx\n```\nword word\n\n" * n, "", "markdown"),
        lambda n: Document(
            WORDS * n, "", "docx", (), tuple(Mark(i * len(WORDS), i + 1) for i in range(n)), "paragraph"
        ),
        lambda n: Document("a line of a log file with words\n" * n, "", "text"),
    ],
    ids=["blocks of code", "paragraphs", "lines"],
)
def test_twice_as_long_a_document_takes_twice_as_long_to_cut(made):
    once, twice = steps_to_cut(made(400)), steps_to_cut(made(800))

    assert twice < 2.5 * once
