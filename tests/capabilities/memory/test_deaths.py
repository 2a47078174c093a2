"""Sudden deaths in the midst of writing notes and their files: what was told is there, and all agree."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from loom_nb.capabilities.memory.mirror import Mirror
from loom_nb.capabilities.memory.notes import NoteNotFound
from loom_nb.capabilities.memory.store import NoteStore
from tests.capabilities.memory.test_mirror import agrees

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
KILLS = int(os.environ.get("LOOM_NB_KILLS", "100"))
SCRIPT = Path(__file__).with_name("deaths.py")


def killed(folder, kills, seed):
    rng = random.Random(seed)
    has, gone = {}, set()
    for number in range(kills):
        command = [sys.executable, str(SCRIPT), str(folder), f"{seed}k{number}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            for _ in range(rng.randrange(8)):
                told(process.stdout.readline(), has, gone)
            end = time.perf_counter() + rng.random() * 0.02  # somewhere within the next one
            while time.perf_counter() < end:
                pass
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:  # what it had told before it died
                told(line, has, gone)
        with closing(NoteStore(folder / "memory.db")) as store:
            assert store.check() == []
            lost = [note for note, version in has.items() if version_of(store, note) < version]
            mirror = Mirror(folder / "notes", store)
            mirror.sync()
            assert not mirror.sync()
            agrees(store, mirror)
            assert lost == []
            assert all(version_of(store, note) == 0 for note in gone)
    return len(has), len(gone)


def told(line, has, gone):
    match line.split():
        case ["has", id, version]:
            has[id] = int(version)
        case ["forgets", id]:
            del has[id]  # from here on it may be there or not
        case ["gone", id]:
            gone.add(id)


def version_of(store, note):
    try:
        return store.get(note).version
    except NoteNotFound:
        return 0


@pytest.mark.timeout(120)
def test_after_a_few_sudden_deaths_index_table_and_files_agree(tmp_path):
    killed(tmp_path, 4, 1)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_after_many_sudden_deaths_index_table_and_files_agree(tmp_path, capsys):
    """100 of them, or `LOOM_NB_KILLS`."""
    has, gone = killed(tmp_path, KILLS, 2)
    with capsys.disabled():
        print(f"\n{KILLS} kills: {has} notes there, {gone} forgotten")
    assert has
