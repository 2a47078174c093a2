"""What an agent's code draws, shows and writes: kept with the run, and told on every surface."""

import base64
import json
from dataclasses import replace

import pandas as pd
import pytest

from loom_nb import (
    Agent,
    Capability,
    GovernancePolicy,
    MemoryStore,
    Model,
    Runtime,
    SqliteStore,
    artifact,
    tool,
)
from loom_nb.errors import LoomUsageError
from loom_nb.events import ArtifactAdded, event_from_json, event_to_json
from loom_nb.models.scripted import Call
from loom_nb.notebook import render
from loom_nb.notebook.exporting import export
from loom_nb.notebook.transcript import Product, Transcript, fold
from loom_nb.runtime.artifacts import artifacts_of
from tests.notebook.test_render import judged

NASTY = "<img src=x onerror=alert(1)>|`x`"
SURFACES = ("text/plain", "text/markdown", "text/html", "text/llm+plain")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CODE = """
import pandas as pd
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
plt.plot([1, 2, 3])
plt.figure("sales")
plt.plot([3, 2])
df = pd.DataFrame({"city": ["Bern", "Ulm"] * 60, "n": range(120)})
df.to_csv("out.csv")
from pathlib import Path
Path(".env").write_text("KEY=1")
Path("api_key.pem").write_text("KEY=1")
df
"""


def agent_of(folder, *script, tools=(), store=None):
    return Agent(
        Model.scripted([*script, "done"]),
        tools=tools,
        capabilities=(
            Capability.python({}, root=folder), Capability.files(str(folder), read_only=False)
        ),
        runtime=replace(Runtime.sdk(), governance=GovernancePolicy(mode="all")),
        session_store=store or MemoryStore(),
    )  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_what_code_draws_shows_and_writes_is_kept_by_name_and_only_once(here):
    calls = [Call("run_python", {"code": CODE}), Call("run_python", {"code": CODE})]
    result = await agent_of(here, *calls).run("draw")
    kept = result.artifacts
    assert kept.names == ["figure 1", "sales", "df", "out.csv"], "no secrets, and nothing twice"
    assert [one.kind for one in kept] == ["image", "image", "table", "data"]
    assert kept["df"].table.shape == (120, 2)
    assert kept["sales"].image.startswith(b"\x89PNG")
    assert kept["out.csv"].text.startswith(",city,n")
    saved = kept["df"].save(here / "copy.csv")
    assert len(pd.read_csv(saved)) == 120
    with pytest.raises(LoomUsageError, match="is no table"):
        _ = kept["sales"].table


async def test_a_file_that_is_written_back_has_that_as_its_last_version(here):
    calls = [
        Call("run_python", {"code": f"import pathlib\npathlib.Path('out.txt').write_text({text!r})"})
        for text in "ABBA"
    ]

    kept = (await agent_of(here, *calls).run("write")).artifacts

    assert (here / "out.txt").read_text() == "A"
    assert kept["out.txt"].text == "A"
    assert kept["out.txt"].version == 3


async def test_files_that_are_left_out_are_told(here):
    code = "import pathlib\nfor n in range(25): pathlib.Path(f'f{n:02}.txt').write_text(str(n))"
    result = await agent_of(here, Call("run_python", {"code": code})).run("write")

    assert len(result.artifacts) == 20
    assert (
        "5 more files were written and are not kept with the run: of one call 20 are"
        in result.tools[0].result
    )


async def test_in_a_folder_with_too_many_files_it_is_told_that_none_are_followed(here):
    code = "import pathlib\nfor n in range(5_001): pathlib.Path(f'f{n}.txt').touch()"
    again = "pathlib.Path('one.txt').write_text('1')"
    calls = [Call("run_python", {"code": one}) for one in (code, again, again)]
    result = await agent_of(here, *calls).run("write")

    words = "holds more than 5,000 files and folders: what was written there is not kept"
    assert [words in call.result for call in result.tools] == [True, True, False]


async def test_a_file_whose_name_cannot_be_kept_is_told_and_the_others_are_kept(here):
    code = "import pathlib\nfor n in ('a\\nb.txt', 'z.txt'): pathlib.Path(n).write_text('x')"
    result = await agent_of(here, Call("run_python", {"code": code})).run("write")

    assert result.artifacts.names == ["z.txt"]
    assert "a b.txt is not kept" in result.tools[0].result


@pytest.mark.parametrize("columns", [1_000, 200_000])
async def test_a_table_with_very_many_columns_is_shown_and_kept_in_part(here, columns):
    code = f"import pandas as pd, numpy as np\npd.DataFrame(np.zeros((60, {columns})))"
    result = await agent_of(here, Call("run_python", {"code": code})).run("show")

    assert result.status == "completed"
    assert f"60 rows x {columns:,} columns" in result.tools[0].result
    assert f"first 200 columns of {columns:,}" in result.tools[0].result
    assert len(result.tools[0].result) < 200_000


async def test_of_a_large_table_the_first_rows_are_kept_and_all_are_counted(here):
    code = "import pandas as pd\npd.DataFrame({'n': range(200_000)})"
    result = await agent_of(here, Call("run_python", {"code": code})).run("show")
    (one,) = result.artifacts
    assert (one.name, len(one.table)) == ("table 1", 50_000)
    assert one.summary == "table, first 50,000 rows × 1 column of 200,000"
    (block,) = [block for block in Transcript.of(result.events).blocks if isinstance(block, Product)]
    assert block.table.of_rows == 200_000


async def test_a_file_that_is_too_large_is_not_kept_and_the_model_is_told(here):
    code = "from pathlib import Path as P\nP('big.bin').write_bytes(bytes(10_000_001)); P('small.txt').write_text('x')"
    result = await agent_of(here, Call("run_python", {"code": code})).run("write")
    assert result.artifacts.names == ["small.txt"]
    assert "big.bin has 10,000,001 bytes: too large to be kept" in result.tools[0].result


async def test_files_that_are_written_by_the_files_tools_are_kept_as_well(here):
    calls = [
        Call("write_file", {"path": "a/b.txt", "content": "one"}),
        Call("edit_file", {"path": "a/b.txt", "old_text": "one", "new_text": "two"}),
        Call("write_file", {"path": ".env", "content": "KEY=1"}),
    ]
    result = await agent_of(here, *calls).run("write")
    assert [(one.name, one.version, one.text) for one in result.artifacts] == [
        ("a/b.txt", 1, "one"), ("a/b.txt", 2, "two")
    ]  # fmt: skip


@tool(read_only=True)
def keep() -> str:
    """Keep one of each kind."""
    artifact("chart", PNG)
    artifact("towns", pd.DataFrame([[NASTY, 1]] * 30, columns=["city", "n"]))
    artifact("note " + NASTY, "first line\n" + NASTY)
    artifact("drawing", b"<svg onload=alert(1)></svg>", "image/svg+xml")
    return "kept"


async def test_every_surface_tells_the_same_facts_and_runs_nothing(here):
    result = await agent_of(here, Call("keep"), tools=(keep,)).run("keep")
    bundle = render.bundle(Transcript.of(result.events))
    for kind in SURFACES:
        shown = bundle[kind].replace("\\", "")
        for fact in ("artifact chart", "artifact towns", "artifact note", "artifact drawing", "30 rows"):
            assert fact in shown, (kind, fact)
        assert "10 of 30 rows" in shown, kind
        assert "not drawn: only PNG and JPEG are" in shown, kind
        assert (
            'result.artifacts["towns"].table'.replace('"', "&quot;" if kind == "text/html" else '"') in shown
        )
    judged(bundle["text/html"])
    markup = bundle["text/html"]
    assert markup.count("<img") == 1
    assert base64.b64encode(PNG).decode() in markup
    assert '<img alt="artifact chart' in markup
    assert "<svg" not in markup and "<svg" not in bundle["text/markdown"]
    record = json.loads(json.dumps(bundle[render.RECORD_TYPE]))
    assert [one["name"] for one in record["artifacts"]] == result.artifacts.names
    assert base64.b64encode(PNG).decode() not in json.dumps(record), "a record has no payloads"


async def test_what_was_shown_live_is_shown_again_without_a_kernel(here):
    store = SqliteStore(here / "s.db")
    agent = agent_of(here, Call("run_python", {"code": CODE}), store=store)
    result = await agent.run("draw")
    live = Transcript()
    for entry in result.events:
        live = fold(live, entry)
    store.close()
    again = SqliteStore(here / "s.db")
    entries = list(again.read(result.session_id))
    assert render.bundle(Transcript.of(entries)) == render.bundle(live)
    assert artifacts_of(entries).names == result.artifacts.names
    assert "data:image/png;base64," in export(entries, "html")
    again.close()


def test_an_artifact_of_an_old_log_is_still_told():
    event = ArtifactAdded("sales", "table", "application/json", "table, 3 rows × 1 column", 10, "0" * 64)
    again = event_from_json(event_to_json(event))
    assert again == event
    shown = render.bundle(Transcript.of([again]))
    assert "artifact sales" in shown["text/plain"]
