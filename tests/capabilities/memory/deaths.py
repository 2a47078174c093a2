"""Writes, edits and forgets notes with a folder beside them until it is killed, and tells what it has done.

python deaths.py FOLDER SEED
"""

import random
import sys
from pathlib import Path

from loom_nb.capabilities.memory.mirror import Mirror
from loom_nb.capabilities.memory.store import NoteStore

folder, seed = Path(sys.argv[1]), sys.argv[2]
rng = random.Random(seed)
store = NoteStore(folder / "memory.db")
mirror = Mirror(folder / "notes", store)
told = lambda *words: print(*words, flush=True)  # noqa: E731
mine: list[str] = []
told("ready")
n = 0
while True:
    n += 1
    what = rng.random()
    if what < 0.45 or not mine:
        note = store.add(f"death {seed} writes lantern {seed}x{n} " + "word " * rng.randrange(40)).note
        mine.append(note.id)
        told("has", note.id, note.version)
    elif what < 0.6:
        note = store.edit(rng.choice(mine), "text", f"death {seed} edits lantern {seed}e{n}")
        told("has", note.id, note.version)
    elif what < 0.7:
        gone = mine.pop(rng.randrange(len(mine)))
        told("forgets", gone)
        store.forget(gone)
        told("gone", gone)
    elif what < 0.8:
        (mirror.folder).mkdir(exist_ok=True)
        (mirror.folder / f"hand-{seed}-{n}.md").write_text(f"written by hand {seed}h{n}")
    else:
        mirror.sync()
        told("synced")
