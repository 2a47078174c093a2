"""What a person sees of documents: sources, one in full, what a question finds in them, where it was told.

Pure: values go in, a card comes out. Words of documents are foreign: they are text, characters that are not
seen made visible.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from urllib.parse import quote as quoted_url

from loom_nb.capabilities.addresses import is_address
from loom_nb.capabilities.knowledge.graph_search import Subgraph
from loom_nb.capabilities.knowledge.rows import (
    BaseState,
    ChunkRow,
    DocumentRow,
    IndexReport,
    Page,
    Score,
    SourceRow,
    Use,
)
from loom_nb.capabilities.knowledge.searching import GRAPH_WEIGHT
from loom_nb.notebook.card import Card, Drawn, Table
from loom_nb.notebook.render.strict_markdown import escape, visible
from loom_nb.retrieval.fusion import VECTOR_WEIGHT, WORDS_WEIGHT
from loom_nb.wording import counted, moment, one_line

SHOWN = 20
"""Rows of a list that is printed."""
WORDS = 120
"""Characters of a passage in a list."""
WEIGHTS: Mapping[str, float] = {"words": WORDS_WEIGHT, "vector": VECTOR_WEIGHT, "graph": GRAPH_WEIGHT}
"""How much each part of a score counts, by its name."""
_NUMBER = re.compile(r"\d+")


def document_id(number: int) -> str:
    """How a document is typed."""
    return f"d{number}"


def opens_at(path: str, url: str, location: str) -> str:
    """Where to open a document so that a passage is seen: "papers/a.md:12", "b.pdf, page 3", an address."""
    number = _NUMBER.search(location)
    place = relative(path) if path else url
    if path and location.startswith("line") and number is not None:
        return f"{place}:{number[0]}"
    return ", ".join(one for one in (place, location) if one)


def relative(path: str) -> str:
    """A path as one would type it here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def link_to(path: str, url: str, location: str) -> Drawn | None:
    """A link that opens the document: a file of this folder in the editor, an address in another tab."""
    if is_address(url):
        href, more = url, ' rel="noopener noreferrer nofollow" target="_blank"'
    elif path and not Path(relative(path)).is_absolute():
        number = _NUMBER.search(location)
        page = f"#page={number[0]}" if location.startswith("page") and number is not None else ""
        href, more = quoted_url(relative(path)) + page, ""
    else:
        return None
    told = f"opens at {opens_at(path, url, location)}"
    return Drawn(visible(told), f'<p><a href="{escape(href)}"{more}>{escape(told)}</a></p>')


# -- all of it ---------------------------------------------------------------------------------------------


def state_facts(state: BaseState, owner: str) -> tuple[tuple[str, str], ...]:
    """What a base holds, in few words."""
    read = f"by words and by meaning ({state.embedder})" if state.embedder else "by words"
    facts = [
        ("of", owner),
        ("indexed", moment(state.indexed) if state.indexed else "not yet: %loom knowledge index"),
        ("found", read if state.indexed else ""),
        ("entity graph", counted(state.entities, "name") if state.entities else ""),
        ("not readable", counted(state.failed, "document") if state.failed else ""),
    ]
    return tuple((name, visible(words)) for name, words in facts if words)


def source_cells(row: SourceRow) -> tuple[str, ...]:
    """A source in a list."""
    return (
        row.name,
        row.kind or "removed",
        relative(row.where) if row.kind in ("folder", "files") else row.where,
        f"{row.documents:,}",
        f"{row.chunks:,}",
        f"{row.failed:,}" if row.failed else "",
        moment(row.indexed) if row.indexed else "not yet",
    )


def document_cells(row: DocumentRow) -> tuple[str, ...]:
    """A document in a list."""
    return (
        document_id(row.id),
        one_line(row.title or row.key, WORDS),
        row.source,
        row.kind or "not read",
        f"{row.chunks:,}",
        f"{row.tokens:,}",
        f"{row.uses:,}×",
        one_line(row.error, WORDS),
    )


def list_card(
    sources: Sequence[SourceRow], page: Page[DocumentRow], state: BaseState, owner: str, of: str = ""
) -> Card:
    """The sources, and the first of their documents."""
    rows = page.rows[:SHOWN]
    facts = state_facts(state, owner)
    if page.total > len(rows):
        facts = (*facts, ("shown", f"the first {len(rows)} documents, and {page.total - len(rows):,} more"))
    tables = [
        _table(
            "sources", ("name", "kind", "where", "documents", "chunks", "not readable", "indexed"),
            [source_cells(row) for row in sources], {3, 4, 5}, {1, 6},
        )
    ]  # fmt: skip
    if rows:
        columns = ("id", "document", "source", "kind", "chunks", "tokens", "used", "problem")
        tables.append(_table("documents", columns, [document_cells(row) for row in rows], {4, 5, 6}, {3, 5}))
    return Card(title_of(state), facts, tuple(tables), steps=_steps(rows, state, of))


def title_of(state: BaseState) -> str:
    """How much there is."""
    return (
        f"{counted(state.documents, 'document')} in {counted(state.sources, 'source')}, "
        f"{counted(state.chunks, 'chunk')}"
    )


def _steps(rows: Sequence[DocumentRow], state: BaseState, of: str) -> tuple[tuple[str, str], ...]:
    if not rows:
        return (
            (f"%loom knowledge index{of}", "reads the documents"),
            ("%%loom -t knowledge", "gives them to an agent; it reads them, too"),
        )
    first = document_id(rows[0].id)
    return (
        (f"%loom knowledge search{of} WORDS", "what a question finds, and why"),
        (f"%loom knowledge show{of} {first}", "its chunks, and where it opens"),
        (f"%loom knowledge index{of}", "reads what has changed"),
        *(
            ((f"%loom knowledge graph{of}", "how the things it names belong together"),)
            if state.entities
            else ()
        ),
        *((("%%loom -t knowledge", "gives them to an agent"),) if not of else ()),
    )


def none_card(owner: str) -> Card:
    """Where there is nothing yet."""
    return Card(
        "no documents yet",
        (("of", visible(owner)),),
        steps=(
            ("%loom knowledge add FOLDER", "or a file, or https://…; it is remembered for this notebook"),
            ("%loom knowledge index", "reads them"),
            ("%%loom -t knowledge", "gives them to an agent, whose answer cites them"),
        ),
    )


def added_card(name: str, where: str) -> Card:
    """A source was added."""
    return Card(
        f"added: {visible(name)}",
        (("where", visible(relative(where))),),
        steps=(
            ("%loom knowledge index", "reads it now; the next cell with -t knowledge does it, too"),
            (f"%loom knowledge rm {quote(name)}", "takes it out again; no file is touched"),
        ),
    )


def removed_card(name: str, where: str) -> Card:
    """A source was taken out."""
    return Card(
        f"no longer a source: {visible(name)}",
        (("where", visible(where)), ("its files", "stay as they are")),
        steps=((f"%loom knowledge add {quote(where)} --name {quote(name)}", "brings it back"),),
    )


def report_card(report: IndexReport, of: str = "") -> Card:
    """What indexing did, and what could not be read."""
    facts = [
        ("new", f"{report.added:,}"),
        ("changed", f"{report.changed:,}"),
        ("as before", f"{report.unchanged:,}"),
        ("gone", f"{report.removed:,}"),
        ("took", f"{report.seconds:.1f} s"),
        *(("note", visible(note)) for note in report.notes),
    ]
    failed = [(one_line(name, WORDS), one_line(why, 200)) for name, why in report.failed.items()]
    left = len(failed) - SHOWN
    if left > 0:
        facts.append(("not readable", f"the first {SHOWN} are shown, and there are {left:,} more"))
    caption = "could not be read; what was indexed of them before is kept"
    tables = (_table(caption, ("document", "why"), failed[:SHOWN]),) if failed else ()
    title = f"indexed: {counted(report.documents, 'document')}, {counted(report.chunks, 'chunk')}"
    return Card(
        title + (f"; {counted(len(failed), 'document')} not readable" if failed else ""),
        tuple(facts),
        tables,
        steps=(
            (f"%loom knowledge search{of} WORDS", "what a question finds, and why"),
            (f"%loom knowledge{of}", "the table of them"),
        ),
    )


def stopped_card(progress: str, of: str = "") -> Card:
    """Indexing was stopped."""
    return Card(
        "indexing was stopped by you",
        (
            ("got to", visible(progress)),
            ("kept", "what was read so far; searches find what was indexed before"),
        ),
        steps=((f"%loom knowledge index{of}", "goes on from there"),),
    )


# -- one of it ---------------------------------------------------------------------------------------------


def document_facts(row: DocumentRow, *, linked: bool = False) -> tuple[tuple[str, str], ...]:
    """All that is known of a document beside its words."""
    facts = [
        ("source", row.source),
        ("kind", row.kind),
        ("opens at", "" if linked else opens_at(row.path, row.url, "") or row.key),
        ("size", f"{counted(row.chunks, 'chunk')}, about {row.tokens:,} tokens"),
        ("indexed", moment(row.indexed)),
        ("used", counted(row.uses, "time") if row.uses else "never"),
        ("could not be read", row.error),
    ]
    return tuple((name, visible(words)) for name, words in facts if words)


def document_card(row: DocumentRow, chunks: Sequence[ChunkRow], of: str = "") -> Card:
    """A document with its chunks."""
    rows = [
        (
            one.id, one.location, one_line(" > ".join(one.headings), 80), f"{one.tokens:,}", f"{one.uses:,}×",
            one_line(one.text, WORDS),
        )
        for one in chunks[:SHOWN]
    ]  # fmt: skip
    left = len(chunks) - len(rows)
    link = link_to(row.path, row.url, "")
    facts = document_facts(row, linked=link is not None)
    if left > 0:
        facts = (*facts, ("shown", f"the first {len(rows)} chunks, and {left:,} more"))
    columns = ("chunk", "where", "under", "tokens", "used", "begins")
    first = (((f"%loom knowledge show{of} {chunks[0].id}", "a chunk in full"),)) if chunks else ()
    return Card(
        f"{document_id(row.id)}: {visible(one_line(row.title or row.key, WORDS))}",
        facts,
        (_table("chunks", columns, rows, {3, 4}, {2, 3}),) if rows else (),
        steps=(*first, (f"%loom knowledge uses{of} {document_id(row.id)}", "the runs it was told to")),
        drawn=(link,) if link is not None else (),
    )


def chunk_card(row: ChunkRow, document: DocumentRow, of: str = "") -> Card:
    """A chunk in full, with where it stands."""
    link = link_to(document.path, document.url, row.location)
    facts = [
        ("document", f"{document_id(document.id)}, {document.title or document.key}"),
        ("opens at", "" if link is not None else opens_at(document.path, document.url, row.location)),
        ("under", " > ".join(row.headings)),
        ("place", f"chunk {row.ordinal + 1} of {document.chunks}, characters {row.start:,} to {row.end:,}"),
        ("used", counted(row.uses, "time") if row.uses else "never"),
    ]
    return Card(
        f"chunk {row.id}",
        tuple((name, visible(one_line(words, 400))) for name, words in facts if words),
        text=visible(row.text.strip("\n")),
        steps=(
            (f"%loom knowledge show{of} {document_id(document.id)}", "all of the document"),
            (f"%loom knowledge uses{of} {row.id}", "the runs it was told to"),
        ),
        drawn=(link,) if link is not None else (),
    )


# -- what a question finds ---------------------------------------------------------------------------------


def made_of(score: Score) -> str:
    """The parts of a score: "words 0.80 (3 of 4 of the question's words)"."""
    parts = [f"{name} {score.components[name]:.2f}" for name in WEIGHTS if name in score.components]
    if "answered" in score.components:
        parts.append(f"answers {score.components['answered']:.0%} of the question")
    return " · ".join(parts)


def shares(score: Score) -> Mapping[str, float]:
    """What each part adds to the score; together they are the score."""
    weighed = {name: WEIGHTS[name] * score.components.get(name, 0.0) for name in WEIGHTS}
    whole = sum(weighed.values()) or 1.0
    return {name: score.score * value / whole for name, value in weighed.items() if value > 0}


def scores_card(query: str, scores: Sequence[Score], state: BaseState, of: str = "") -> Card:
    """The passages that come near a question, told or not, and why."""
    told = sum(one.told for one in scores)
    rows = [
        (
            one.chunk.id,
            one_line(one.chunk.text, WORDS),
            ", ".join(part for part in (one.title, one.chunk.location) if part),
            f"{one.score:.2f}",
            made_of(one),
            "yes" if one.told else f"no: {one.why}",
        )
        for one in scores[:SHOWN]
    ]
    columns = ("chunk", "passage", "where", "score", "made of", "told")
    best = (((f"%loom knowledge show{of} {scores[0].chunk.id}", "the best one in full"),)) if scores else ()
    return Card(
        f"{counted(told, 'passage')} of {counted(state.documents, 'document')}",
        (
            ("looked for", visible(query)),
            *((("nothing", "no passage comes near it"),) if not scores else ()),
            *((("nothing told", "no passage is near enough"),) if scores and not told else ()),
        ),
        (_table("best first", columns, rows, {3}, {0}),) if rows else (),
        steps=(*best, (f"%loom knowledge{of} {quote(query)}", "the same as a table to look through")),
    )


def how(one: Use) -> str:
    """How a passage came to a run."""
    return "with the task" if one.by == "enrichment" else "the agent looked"


def uses_card(name: str, uses: Sequence[Use]) -> Card:
    """The runs to which a chunk, or any of a document, was told."""
    rows = [
        (
            f"{one.session}/{one.run}", moment(one.time), f"[{one.number}]",
            how(one), one_line(one.query, 80),
            one.chunk,
        )
        for one in uses[:SHOWN]
    ]  # fmt: skip
    if not rows:
        return Card(
            f"{visible(name)} was told to no run yet",
            steps=(("%%loom -t knowledge", "gives it to an agent"),),
        )
    columns = ("run", "when", "as", "how", "asked", "chunk")
    left = len(uses) - len(rows)
    return Card(
        f"{visible(name)} was told {counted(len(uses), 'time')}",
        (("shown", f"the latest {len(rows)}, and {left:,} more"),) if left > 0 else (),
        (_table("the latest first", columns, rows, set(), {1, 5}),),
        steps=((f"%loom show {rows[0][0]}", "draws the run again"),),
    )


def graph_card(names: Sequence[str], shown: Subgraph, of: str = "") -> Card:
    """A part of the entity graph, as a picture and in words."""
    from loom_nb.notebook.render.subgraph import svg, words

    told = words(shown)
    in_words = f"<details><summary>in words</summary>{escape(told)}</details>"
    title = f"around {', '.join(names)}" if names else "what is related most"
    more = (("left out", f"{shown.more:,} further names"),) if shown.more else ()
    return Card(
        visible(f"{title}: {len(shown.nodes)} names, {counted(len(shown.edges), 'relation')}"),
        more,
        drawn=(Drawn(visible(told), svg(shown) + in_words),),
        steps=(
            (
                f"%loom knowledge graph{of} {quote(visible(shown.nodes[0].name))}",
                "what is around one of them",
            ),
        ),
    )


def _table(
    caption: str,
    columns: tuple[str, ...],
    rows: Sequence[Sequence[str]],
    numbers: set[int] | None = None,
    only_html: set[int] | None = None,
) -> Table:
    shown = tuple(tuple(visible(cell) for cell in row) for row in rows)
    return Table(caption, columns, shown, frozenset(numbers or ()), only_html=frozenset(only_html or ()))
