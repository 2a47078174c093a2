"""What a person attaches is read once, checked, and arrives at each vendor to the byte; nothing else is read."""

import base64
import io
import os
import sys

import pytest
from PIL import Image

import loom_nb
from loom_nb import Agent, LoomError, MemoryStore, Model, RuntimeTask
from loom_nb.capabilities.attaching import MOST_TEXT, attached, media_of
from loom_nb.errors import LoomUsageError, SetupError
from loom_nb.events import MessageAdded, RunStarted
from loom_nb.media import pictures
from loom_nb.messages import DataPart, FilePart, ImagePart, Origin
from loom_nb.testing import Say, WireServer
from tests.capabilities.sites import serving
from tests.media.test_media import MP3, drawn, noise, pdf, sound

PNG = drawn("PNG", color=5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for vendor in ("ANTHROPIC", "OPENAI"):
        monkeypatch.setenv(f"{vendor}_API_KEY", "k")
    for name, data in {
        "photo.png": PNG, "photo.txt": PNG, "report.pdf": pdf(), "bell.wav": sound(1.0), "bell.mp3": MP3,
        "notes.md": "# Grüße\n".encode(), "big photo.jpg": noise((2000, 1000), "JPEG"),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
    return tmp_path


# -- what becomes of it --------------------------------------------------------------------------------


def test_a_file_becomes_a_part_by_its_bytes_and_not_by_its_name(folder):
    assert loom_nb.attach("photo.png") == ImagePart(
        PNG, "image/png", Origin("file", "photo.png"), "photo.png"
    )
    assert loom_nb.attach("photo.txt").media_type == "image/png"
    assert loom_nb.attach(folder / "report.pdf").media_type == "application/pdf"
    assert loom_nb.attach("bell.wav").data == sound(1.0)
    assert loom_nb.attach("bell.mp3", name="the bell").name == "the bell"
    notes = loom_nb.attach("notes.md")
    assert (notes.media_type, notes.data.decode()) == ("text/plain", "# Grüße\n")
    big = loom_nb.attach("big photo.jpg")
    assert Image.open(io.BytesIO(big.data)).size == (1568, 784)


def test_values_of_the_notebook_become_parts_as_they_do_in_a_prompt():
    import pandas as pd
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    part = loom_nb.attach(figure, name="fig")
    assert (type(part), part.name, str(part.origin)) == (ImagePart, "fig", "notebook:fig")
    assert isinstance(loom_nb.attach(Image.new("RGB", (8, 8)), name="im"), ImagePart)
    assert loom_nb.attach(PNG, name="raw").data == PNG
    frame = loom_nb.attach(pd.DataFrame({"a": [1]}), name="df")
    assert isinstance(frame, DataPart) and "DataFrame" in frame.summary
    assert loom_nb.attach(part) is part


def test_bytes_of_the_notebook_are_looked_at_and_texts_are_not():
    assert media_of(PNG, "raw") == ImagePart(PNG, "image/png", Origin("notebook", "raw"), "raw")
    assert media_of(bytearray(pdf()), "doc").media_type == "application/pdf"
    for value in ("photo.png", b"words", b"\0\1", 7, None):
        assert media_of(value, "x") is None


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.zip", b"PK\x03\x04\0", "cannot be attached: its bytes are none of these"),
        ("a.flac", b"fLaC\0", "cannot be attached: it is FLAC"),
        ("empty", b"", "it is empty"),
        ("a.pdf", pdf(101), "a.pdf has 101 pages"),
        ("a.pdf", pdf(extra=b"/Encrypt 9 0 R"), "locked by a password"),
        ("a.txt", b"x" * (MOST_TEXT + 1), "too large to be attached"),
        ("a.png", PNG[:50], "a damaged PNG"),
        (".env", b"KEY=1", "by its name it holds secrets"),
        ("id_rsa", b"x", "by its name it holds secrets"),
    ],
)
def test_what_cannot_be_attached_says_why(folder, name, data, told):
    (folder / name).write_bytes(data)
    with pytest.raises(LoomUsageError, match=told):
        loom_nb.attach(name)


def test_a_link_to_a_secret_and_a_name_that_is_nearly_right(folder):
    (folder / "id_ed25519").write_text("key")
    (folder / "harmless.txt").symlink_to(folder / "id_ed25519")
    with pytest.raises(LoomUsageError, match="holds secrets"):
        loom_nb.attach("harmless.txt")
    with pytest.raises(LoomUsageError, match=r"there is no file 'fotos/photo.png'"):
        loom_nb.attach("fotos/photo.png")
    with pytest.raises(LoomUsageError) as caught:
        loom_nb.attach("foto.png")
    assert caught.value.fixes[0] == "photo.png"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_or_a_folder_is_never_waited_for(folder):
    os.mkfifo("pipe")
    for name in ("pipe", "."):
        with pytest.raises(LoomUsageError, match="no file|cannot be read"):
            loom_nb.attach(name)


def test_without_pillow_what_needs_nothing_goes_and_the_rest_says_what_to_install(folder, monkeypatch):
    for name in [one for one in sys.modules if one.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert loom_nb.attach("photo.png").data == PNG
    with pytest.raises(SetupError, match="Pillow is not installed") as caught:
        loom_nb.attach("big photo.jpg")
    assert caught.value.fixes == (pictures.INSTALL,)


# -- addresses -----------------------------------------------------------------------------------------


async def test_an_address_is_fetched_once_by_the_guarded_way():
    async with serving() as site:
        site.page("/a/photo%20one", PNG, kind="text/html")
        part = await attached(site.url("/a/photo%20one"), allow=[("127.0.0.1", site.port)])
        assert len(site.asked) == 1
        with pytest.raises(LoomUsageError, match="not public|refused"):
            await attached(site.url("/a/photo%20one"))
        with pytest.raises(LoomUsageError, match="HTTP 404"):
            await attached(site.url("/none"), allow=[("127.0.0.1", site.port)])
        assert len(site.asked) == 2
    assert (part.data, part.name, str(part.origin)) == (PNG, "photo one", f"web:{site.url('/a/photo%20one')}")


async def test_a_plain_call_fetches_beside_a_loop_that_runs():
    with pytest.raises(LoomUsageError, match="refused"):
        loom_nb.attach("http://127.0.0.1:1/x.png")


# -- what a vendor is sent -----------------------------------------------------------------------------


async def sent(server, model, *parts):
    agent = Agent(model, session_store=MemoryStore())
    result = await agent.run(RuntimeTask("look", attachments=parts))
    assert result.status == "completed", result.reason
    return server.requests[-1].json


async def test_anthropic_is_sent_the_very_bytes(folder):
    parts = [loom_nb.attach(name) for name in ("photo.png", "big photo.jpg", "report.pdf", "notes.md")]
    with WireServer([Say("seen")], rules=True) as server:
        body = await sent(server, Model.anthropic("claude-wire", base_url=server.url), *parts)
    _, image, photo, document, notes = body["messages"][0]["content"]
    assert (image["type"], image["source"]["media_type"]) == ("image", "image/png")
    assert base64.b64decode(image["source"]["data"]) == PNG
    assert base64.b64decode(photo["source"]["data"]) == parts[1].data
    assert (document["type"], document["title"]) == ("document", "report.pdf")
    assert base64.b64decode(document["source"]["data"]) == pdf()
    assert notes["source"]["data"] == "# Grüße\n"


async def test_openai_chat_is_sent_the_very_bytes(folder):
    parts = [loom_nb.attach(name) for name in ("photo.png", "report.pdf", "bell.wav", "bell.mp3", "notes.md")]
    with WireServer([Say("heard")], rules=True) as server:
        body = await sent(server, Model.openai("gpt-wire", base_url=f"{server.url}/v1"), *parts)
    _, image, document, wav, mp3, notes = body["messages"][-1]["content"]
    assert image["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert document["file"]["filename"] == "report.pdf"
    assert base64.b64decode(document["file"]["file_data"].partition(",")[2]) == pdf()
    assert wav["type"] == "input_audio"
    assert (base64.b64decode(wav["input_audio"]["data"]), wav["input_audio"]["format"]) == (sound(1.0), "wav")
    assert (base64.b64decode(mp3["input_audio"]["data"]), mp3["input_audio"]["format"]) == (MP3, "mp3")
    assert notes["text"].startswith('<data name="notes.md" origin="file:notes.md">\n# Grüße')


async def test_openai_responses_is_sent_the_very_bytes(folder):
    parts = [loom_nb.attach(name) for name in ("photo.png", "report.pdf")]
    with WireServer([Say("seen")], rules=True) as server:
        model = Model.openai("gpt-wire", base_url=f"{server.url}/v1", api="responses")
        body = await sent(server, model, *parts)
    _, image, document = body["input"][-1]["content"]
    assert image["image_url"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert base64.b64decode(document["file_data"].partition(",")[2]) == pdf()


@pytest.mark.parametrize("vendor", ["anthropic", "responses"])
async def test_what_a_model_cannot_take_is_refused_before_anything_is_sent_or_said(folder, vendor):
    with WireServer([Say("fine")], rules=True) as server:
        model = (
            Model.anthropic("claude-wire", base_url=server.url)
            if vendor == "anthropic"
            else Model.openai("gpt-wire", base_url=f"{server.url}/v1", api="responses")
        )
        async with Agent(model, session_store=MemoryStore()).session() as session:
            failed = await session.run(RuntimeTask("listen", attachments=(loom_nb.attach("bell.wav"),)))
            assert (failed.status, server.requests) == ("failed", [])
            assert "does not take bell.wav: it takes no sound" in failed.reason
            kinds = [type(entry.event) for entry in failed.events]
            assert RunStarted in kinds and MessageAdded not in kinds
            assert (await session.run("and now?")).output == "fine"
            assert len(server.requests) == 1


async def test_an_attachment_that_is_no_part_is_named_with_what_makes_one():
    with pytest.raises(LoomUsageError, match="photo.png") as caught:
        await Agent(session_store=MemoryStore()).run(RuntimeTask("x", attachments=("photo.png",)))
    assert "loom_nb.attach('photo.png')" in caught.value.fixes[0]


async def test_a_prompt_that_names_a_file_is_a_text(folder):
    result = await Agent(Model.scripted(["ok"]), session_store=MemoryStore()).run(
        "what is on photo.png and {photo}?"
    )
    (part,) = result.messages[0].parts
    assert part.text == "what is on photo.png and {photo}?"


# -- what is kept --------------------------------------------------------------------------------------


async def test_the_ledger_tells_size_and_tokens_and_the_log_keeps_a_photograph_once(folder):
    store = MemoryStore()
    photo = loom_nb.attach("big photo.jpg")
    async with Agent(Model.scripted(["ok", "ok"]), session_store=store).session() as session:
        await session.run(RuntimeTask("look", attachments=(photo,)))
        await session.run("and again")
        ledger = await session.ledger()
        item = next(one for one in ledger.items if one.kind == "image")
        assert item.words == f"big photo.jpg (image/jpeg, 1,568 × 784 px, {len(photo.data):,} bytes)"
        assert (item.origin, item.tokens) == ("file:big photo.jpg", 1568)
        held = [entry for entry in session.events() if photo.data in _bytes_of(entry.event)]
    assert len(held) == 1


def _bytes_of(event):
    if not isinstance(event, MessageAdded):
        return b""
    return b"".join(part.data for part in event.message.parts if isinstance(part, ImagePart | FilePart))


def test_the_errors_are_ours():
    assert issubclass(SetupError, LoomError)
