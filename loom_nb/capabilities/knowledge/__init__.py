"""Knowledge: documents that an agent is given, found by what they say, told with where they say it.

    base = KnowledgeBase([KnowledgeSource.folder("papers")])
    await base.index(progress=print)
    for evidence in await base.search("what does attention cost?"):
        print(evidence.score, evidence.title, evidence.location, evidence.text)

    Agent(knowledge=[KnowledgeSource.folder("papers")])

What a face reads, all of it synchronous, from any thread, and without an effect:

    base.sources() -> list[SourceRow]                     name, kind, where, documents, chunks, failed
    base.documents(query="", sort="title", offset=0, limit=100) -> Page[DocumentRow]
                                                          sort: DOCUMENT_ORDERS, "-" before it turns it round
    base.chunks(document) -> list[ChunkRow]               of a DocumentRow.id, in their order
    base.scores(query, limit=20) -> list[Score]           what a query finds and why, below the threshold too
    base.uses(id) -> list[Use]                            of a chunk (its id) or a document (its number)
    base.state() -> BaseState                             counts, the embedder, when it was indexed
    base.subgraph(names, hops=2) -> Subgraph              of the entity graph, if one was made

What acts: `await base.index(progress=…)`, `async for progress in base.indexing()`, `base.cancel()`,
`await base.search(query)`, `base.close()`; `async for progress in extend(base, model)` reads the entity graph
with a model. `bases()` gives those that capabilities of this process opened.

The names below are loaded on first use.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "BaseState": "loom_nb.capabilities.knowledge.rows",
    "ChunkRow": "loom_nb.capabilities.knowledge.rows",
    "DocumentRow": "loom_nb.capabilities.knowledge.rows",
    "Evidence": "loom_nb.capabilities.knowledge.query",
    "GraphProgress": "loom_nb.capabilities.knowledge.graph",
    "IndexProgress": "loom_nb.capabilities.knowledge.rows",
    "IndexReport": "loom_nb.capabilities.knowledge.rows",
    "KnowledgeBase": "loom_nb.capabilities.knowledge.base",
    "KnowledgeCapability": "loom_nb.capabilities.knowledge.capability",
    "KnowledgeQuery": "loom_nb.capabilities.knowledge.query",
    "KnowledgeSource": "loom_nb.capabilities.knowledge.sources",
    "Page": "loom_nb.capabilities.knowledge.rows",
    "Score": "loom_nb.capabilities.knowledge.rows",
    "SourceRow": "loom_nb.capabilities.knowledge.rows",
    "Use": "loom_nb.capabilities.knowledge.rows",
    "Subgraph": "loom_nb.capabilities.knowledge.graph_search",
    "bases": "loom_nb.capabilities.knowledge.base",
    "extend": "loom_nb.capabilities.knowledge.graph",
}

__all__ = [
    "BaseState",
    "ChunkRow",
    "DocumentRow",
    "Evidence",
    "GraphProgress",
    "IndexProgress",
    "IndexReport",
    "KnowledgeBase",
    "KnowledgeCapability",
    "KnowledgeQuery",
    "KnowledgeSource",
    "Page",
    "Score",
    "SourceRow",
    "Subgraph",
    "Use",
    "bases",
    "extend",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'loom_nb.capabilities.knowledge' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
