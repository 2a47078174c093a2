"""What it costs to index a thousand documents, to look at them again, and to search them."""

import asyncio
import random
import time
from pathlib import Path

import pytest
from measure import ROUNDS

from loom_nb.capabilities.knowledge import KnowledgeBase, KnowledgeSource

pytestmark = [pytest.mark.slow, pytest.mark.benchmark, pytest.mark.timeout(600)]

DOCUMENTS = 1_000 if ROUNDS > 1 else 200
WORDS = [f"word{number}" for number in range(5_000)]
WEIGHTS = [1 / (number + 1) for number in range(5_000)]


def write(folder: Path) -> int:
    """Documents of about 720 words each; their bytes."""
    rng, size = random.Random(1), 0
    folder.mkdir()
    for number in range(DOCUMENTS):
        paragraphs = [" ".join(rng.choices(WORDS, WEIGHTS, k=120)) for _ in range(6)]
        text = f"# Title {number}\n\n" + "\n\n".join(paragraphs) + f"\n\nThe key of it is number{number}x.\n"
        size += len(text)
        (folder / f"d{number}.md").write_text(text)
    return size


def cost(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize("embedder", [None, "lsa"])
def test_knowledge(table, tmp_path, embedder):
    """The floor is reading the files and nothing else."""
    folder = tmp_path / "documents"
    size = write(folder)
    floor = cost(lambda: [one.read_bytes() for one in folder.iterdir()])
    base = KnowledgeBase([KnowledgeSource.folder(folder)], path=tmp_path / "k.db", embedder=embedder)
    steps: list[object] = []
    kind = "words" if embedder is None else "words and latent semantics"
    whole = cost(lambda: asyncio.run(base.index(steps.append)))
    chunks = base.state().chunks
    table(
        f"index of {DOCUMENTS:,} documents, {size / 1e6:.1f} MB, {chunks:,} chunks ({kind})",
        f"{whole:.2f} s CPU, {len(steps)} steps of progress", f"{floor:.3f} s", f"{whole / floor:.0f} · told",
    )  # fmt: skip
    same = min(cost(lambda: asyncio.run(base.index())) for _ in range(ROUNDS))
    table(
        f"{DOCUMENTS:,} documents of which none changed ({kind})",
        f"{same:.3f} s CPU",
        f"{floor:.3f} s",
        f"{same / floor:.1f} · told",
    )
    changed = []
    for number in range(ROUNDS):
        (folder / "d7.md").write_text(f"# Title\n\nThis is version{number} of it.\n")
        changed.append(cost(lambda: asyncio.run(base.index())))
    table(
        f"1 of {DOCUMENTS:,} documents changed ({kind})",
        f"{min(changed):.3f} s CPU",
        f"{whole:.2f} s (all)",
        f"{min(changed) / whole:.3f} · ≪ 1",
    )

    async def search() -> None:
        for number in range(20):
            assert await base.search(f"what is the key number{number + 20}x?")

    asyncio.run(search())
    took = min(cost(lambda: asyncio.run(search())) for _ in range(ROUNDS)) / 20
    table(f"a search of {chunks:,} chunks ({kind})", f"{took * 1e3:.2f} ms CPU", "—", "— · told")
