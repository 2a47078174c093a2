"""`%loom knowledge`: documents of this notebook: add, index, look through them, ask what they find."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from loom_nb.errors import LoomUsageError
from loom_nb.notebook import cell as cells
from loom_nb.notebook import knowledge_cards as cards
from loom_nb.notebook import knowledge_graph
from loom_nb.notebook.card import Card
from loom_nb.notebook.knowledge_places import ADD, KnowledgePlaces, source_of
from loom_nb.notebook.line_words import option

if TYPE_CHECKING:
    from loom_nb.capabilities.knowledge.base import KnowledgeBase
    from loom_nb.capabilities.knowledge.rows import ChunkRow, DocumentRow
    from loom_nb.notebook.workbench import Workbench

OF = "--of"
"""Before the name of a variable that holds a base, or a capability with one, in place of the notebook's."""
LOOKED_AT = 100
"""Documents among which one is looked for by its name."""


async def knowledge(bench: "Workbench", words: list[str]) -> Card:
    """Carry out `%loom knowledge`.

    Raises:
        LoomUsageError: it takes something else, or there is no such document.
    """
    words = list(words)
    variable = option(words, OF, "%loom knowledge --of base")
    verb = words[0] if words else ""
    carry_out = VERBS.get(verb)
    if carry_out is not None:
        return await carry_out(bench, words[1:], variable)
    unknown = next((word for word in words if word.startswith("--")), "")
    if unknown:
        raise LoomUsageError(
            f"%loom knowledge has no {unknown}", fixes=["%loom knowledge --of base", "%loom knowledge index"]
        )
    return await _look(bench, words, variable)


# -- which documents ---------------------------------------------------------------------------------------


def base_of(bench: "Workbench", variable: str = "") -> "KnowledgeBase":
    """The base of this notebook, or the one in a variable.

    Raises:
        LoomUsageError: the notebook has no documents, or the variable holds no base.
    """
    if not variable:
        return places(bench).base()
    base = _in_variable(bench.shell.user_ns.get(variable))
    if base is None:
        known = bases_in(bench)
        raise LoomUsageError(
            f"--of {variable}: that is no KnowledgeBase, and no capability or agent with one",
            cause=f"there are {', '.join(known)}" if known else "no variable of this notebook holds one",
            fixes=[f"%loom knowledge --of {one}" for one in cells.near(variable, known)] or [ADD],
        )
    return base


def _in_variable(value: Any) -> "KnowledgeBase | None":
    from loom_nb.capabilities.knowledge.base import KnowledgeBase
    from loom_nb.capabilities.knowledge.capability import KnowledgeCapability

    match value:
        case KnowledgeBase():
            return value
        case KnowledgeCapability():
            return value.base()
        case _:
            return None


def bases_in(bench: "Workbench") -> list[str]:
    """The variables that hold a base, or a capability with one."""
    kinds = ("KnowledgeBase", "KnowledgeCapability")
    return sorted(name for name, value in bench.names().items() if type(value).__name__ in kinds)


def places(bench: "Workbench") -> KnowledgePlaces:
    """The list of this notebook."""
    return bench.equipment.knowledge


def owner_of(bench: "Workbench", variable: str) -> str:
    """Whose documents they are, for a person."""
    if variable:
        return f"the variable {variable}"
    if bench.notebook:  # a card is shared: the notebook's name, not its path
        return f"notebook {Path(bench.notebook).name}"
    return Path(places(bench).owner).name


def _of(variable: str) -> str:
    return f" {OF} {variable}" if variable else ""


# -- looking -----------------------------------------------------------------------------------------------


async def _look(bench: "Workbench", words: list[str], variable: str) -> Card:
    """The table of all documents, or of the passages that a question finds."""
    if not variable and not places(bench).sources():
        if words:
            _refuse_near(words)
        return cards.none_card(owner_of(bench, variable))
    from loom_nb.notebook.knowledge_table import KnowledgeRows

    base_of(bench, variable)
    source = KnowledgeRows(bench, " ".join(words), variable)
    contents = await source.contents()
    if words and not contents.card.tables:
        _refuse_near(words)
    return bench.tables.card(source, contents)


def _refuse_near(words: list[str]) -> None:
    """A search that finds nothing may have been meant as something else."""
    near = cells.near(words[0], VERBS, cutoff=0.6)
    if near:
        rest = " ".join(words[1:])
        raise LoomUsageError(
            f"no document has anything of '{' '.join(words)}'",
            fixes=[*(f"%loom knowledge {verb} {rest}".strip() for verb in near), "%loom knowledge"],
        )


async def _search(bench: "Workbench", words: list[str], variable: str) -> Card:
    if not words:
        raise LoomUsageError(
            "%loom knowledge search: what?", fixes=['%loom knowledge search "what does attention cost?"']
        )
    base, query = base_of(bench, variable), " ".join(words)

    def found() -> Card:
        return cards.scores_card(query, base.scores(query), _indexed(base, variable), _of(variable))

    return await asyncio.to_thread(found)


def _indexed(base: "KnowledgeBase", variable: str) -> Any:
    """What a base holds. Raises LoomUsageError where nothing was ever indexed."""
    state = base.state()
    if state.indexed is None:
        raise LoomUsageError(
            "nothing is indexed yet", fixes=[f"%loom knowledge index{_of(variable)}", "%loom knowledge"]
        )
    return state


async def _show(bench: "Workbench", words: list[str], variable: str) -> Card:
    name = _one(words, "show", "DOCUMENT or CHUNK")
    base = base_of(bench, variable)
    chunk, document = await asyncio.to_thread(_find, base, name, variable)
    if chunk is not None:
        return cards.chunk_card(chunk, document, _of(variable))
    return cards.document_card(document, await asyncio.to_thread(base.chunks, document.id), _of(variable))


async def _uses(bench: "Workbench", words: list[str], variable: str) -> Card:
    name = _one(words, "uses", "DOCUMENT or CHUNK")
    base = base_of(bench, variable)
    chunk, document = await asyncio.to_thread(_find, base, name, variable)
    uses = await asyncio.to_thread(base.uses, chunk.id if chunk is not None else document.id)
    title = f"chunk {chunk.id}" if chunk is not None else f"{cards.document_id(document.id)} {document.title}"
    return cards.uses_card(title, uses)


def _find(base: "KnowledgeBase", name: str, variable: str) -> "tuple[ChunkRow | None, DocumentRow]":
    """A document by d12, its name or its title; or a chunk, by the beginning of its id, and its document."""
    _indexed(base, variable)
    if name[:1] == "d" and name[1:].isdecimal() and (document := base.document(int(name[1:]))) is not None:
        return None, document
    chunk = base.chunk(name)
    if chunk is not None and (document := base.document(chunk.document)) is not None:
        return chunk, document
    rows = base.documents(name, limit=LOOKED_AT).rows
    exact = [row for row in rows if name in (row.key, row.title, row.path)] or list(rows)
    if len(exact) == 1:
        return None, exact[0]
    of = _of(variable)
    if exact:
        raise LoomUsageError(
            f"{len(exact)} documents have {name!r:.80}",
            fixes=[f"%loom knowledge show{of} {cards.document_id(row.id)}" for row in exact[:3]],
        )
    titles = {row.title or row.key: row.id for row in base.documents(limit=LOOKED_AT).rows}
    near = cells.near(name, titles)
    raise LoomUsageError(
        f"there is no document and no chunk {name!r:.80}",
        fixes=[*(f"%loom knowledge show{of} {cards.document_id(titles[one])}" for one in near),
               f"%loom knowledge{of}   (which there are)"],
    )  # fmt: skip


async def _graph(bench: "Workbench", words: list[str], variable: str) -> Card:
    base = base_of(bench, variable)
    if words[:1] == [knowledge_graph.BUILD]:
        _indexed(base, variable)
        return await knowledge_graph.build(bench, base, words[1:], _of(variable))
    names = [" ".join(words)] if words else []
    shown = await asyncio.to_thread(base.subgraph, names)
    if shown.nodes:
        return cards.graph_card(names, shown, _of(variable))
    if base.state().entities:
        known = [node.name for node in base.subgraph().nodes]
        near = cells.near(names[0], known) or known[:2] if names else known[:2]
        raise LoomUsageError(
            f"the entity graph has no {names[0]!r:.80}",
            fixes=[*(f"%loom knowledge graph{_of(variable)} {quote(one)}" for one in near),
                   f"%loom knowledge graph{_of(variable)}"],
        )  # fmt: skip
    raise LoomUsageError(
        "there is no entity graph of these documents",
        cause="a model reads it from them, and that costs; it is made where it is asked for",
        fixes=[
            f"%loom knowledge graph {knowledge_graph.BUILD}{_of(variable)}",
            "from loom_nb.capabilities.knowledge import extend",
            f"async for step in extend({variable or 'base'}, model): print(step)",
        ],
    )


# -- changing ----------------------------------------------------------------------------------------------


async def _add(bench: "Workbench", words: list[str], variable: str) -> Card:
    words = list(words)
    form = "%loom knowledge add papers --name literature"
    name = option(words, "--name", form)
    _refuse_variable(variable, "add")
    unknown = next((word for word in words if word.startswith("--")), "")
    if unknown or len(words) != 1:
        what = f" has no {unknown}" if unknown else ": which folder, file or address?"
        raise LoomUsageError(f"%loom knowledge add{what}", fixes=[form, ADD])
    source = source_of(words[0], name)
    places(bench).add(source)
    return cards.added_card(source.name, source.where)


async def _remove(bench: "Workbench", words: list[str], variable: str) -> Card:
    _refuse_variable(variable, "rm")
    name = _one(words, "rm", "the NAME of a source")
    known = {one.name: one for one in places(bench).sources()}
    if name not in known:
        near = cells.near(name, known)
        raise LoomUsageError(
            f"there is no source {name!r:.80}",
            cause=f"there are {', '.join(known)}" if known else "there is none",
            fixes=[*(f"%loom knowledge rm {quote(one)}" for one in near), "%loom knowledge"],
        )
    places(bench).remove(name)
    await places(bench).forget()
    return cards.removed_card(name, known[name].where)


def _refuse_variable(variable: str, verb: str) -> None:
    if variable:
        raise LoomUsageError(
            f"%loom knowledge {verb} is for the documents of this notebook",
            cause=f"what {variable} is made of stands where it is made",
            fixes=[ADD],
        )


async def _index(bench: "Workbench", words: list[str], variable: str) -> Card:
    from loom_nb.notebook import knowledge_indexing

    if words:
        raise LoomUsageError(
            f"%loom knowledge index takes nothing more, not {' '.join(words)!r:.80}",
            fixes=["%loom knowledge index"],
        )
    return await knowledge_indexing.index(bench, base_of(bench, variable), _of(variable))


# -- words -------------------------------------------------------------------------------------------------


def _one(words: list[str], verb: str, form: str) -> str:
    if words:
        return " ".join(words)
    raise LoomUsageError(
        f"%loom knowledge {verb} takes {form}", fixes=["%loom knowledge   (which documents there are)"]
    )


VERBS: "dict[str, Callable[[Workbench, list[str], str], Awaitable[Card]]]" = {
    "add": _add,
    "rm": _remove,
    "index": _index,
    "search": _search,
    "show": _show,
    "uses": _uses,
    "graph": _graph,
}


def names(bench: "Workbench", verb: str, variable: str = "") -> list[str]:
    """What may stand behind a verb; nothing is made for it."""
    try:
        if verb == "rm":
            return [one.name for one in places(bench).sources()]
        base = base_of(bench, variable)
        if not base.path.exists():
            return []
        if verb == "graph":
            return [knowledge_graph.BUILD, *(node.name for node in base.subgraph().nodes)]
        return [cards.document_id(row.id) for row in base.documents(limit=50).rows]
    except LoomUsageError:
        return []
