"""`--attach` and `{fig}`: what travels with a prompt, how it is shown, and that nothing else is read."""

import json
import re

import pytest

from loom_nb.errors import LoomUsageError
from loom_nb.events import MessageAdded, RunFinished, RunStarted
from loom_nb.messages import DataPart, FilePart, ImagePart, user
from loom_nb.notebook import cell, render
from loom_nb.notebook.attachments import attached_to, seen_in
from loom_nb.notebook.cell import CellRequest, Reference
from loom_nb.notebook.dry_run import DryRun
from loom_nb.notebook.render import attachments
from loom_nb.notebook.transcript import Picture, Transcript
from tests.media.test_media import drawn, noise, pdf, sound
from tests.notebook.shells import offered
from tests.notebook.test_render import judged

PNG = drawn("PNG", color=5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    (work / "photo.png").write_bytes(PNG)
    (work / "report.pdf").write_bytes(pdf())
    (work / "my notes.md").write_text("a b")
    (work / "tool.py").write_text("x")
    monkeypatch.chdir(work)
    return work


def parts_of(shell):
    return shell.loom_workbench.results[-1].messages[0].parts


# -- the flag ------------------------------------------------------------------------------------------


def test_the_flag_takes_several_files_and_quoted_names():
    request = cell.parse('--attach photo.png "my notes.md" --attach https://example.org/a.pdf -q', "hi")
    assert request.attach == ("photo.png", "my notes.md", "https://example.org/a.pdf")
    assert cell.parse("", "look at photo.png").attach == ()
    with pytest.raises(LoomUsageError, match="expected at least one"):
        cell.parse("--attach", "hi")


def test_what_is_attached_travels_and_what_is_only_named_does_not(shell, folder):
    assert shell.run_cell("%%loom -q --attach photo.png report.pdf\ncompare with my notes.md").success
    text, image, document = parts_of(shell)
    assert (type(image), image.data, image.name) == (ImagePart, PNG, "photo.png")
    assert (type(document), document.data) == (FilePart, pdf())
    assert text.text == "compare with my notes.md"


def test_the_demo_counts_what_a_vendor_would_and_not_the_base64(shell, folder):
    (folder / "noise.jpg").write_bytes(noise((800, 600), "JPEG"))
    assert shell.run_cell("%%loom -q\nhi").success
    assert shell.run_cell("%%loom -q --new --attach noise.jpg\nhi").success
    plain, seen = (result.usage.input_tokens for result in shell.loom_workbench.results)
    assert 600 < seen - plain < 900


def test_a_file_that_is_not_there_stops_the_cell_before_anything_runs(shell, folder):
    done = shell.run_cell("%%loom --attach foto.png\nhi")
    assert isinstance(done.error_in_exec, LoomUsageError)
    assert done.error_in_exec.fixes[0] == "photo.png"
    assert shell.loom_workbench.results == []
    assert shell.loom_workbench.session is None


def test_bytes_and_images_of_the_notebook_are_looked_at_in_braces(shell, folder):
    shell.run_cell(
        "import pathlib\nraw = pathlib.Path('photo.png').read_bytes()\nname = 'photo.png'\nbroken = raw[:40]"
    )
    assert shell.run_cell("%%loom -q\nwhat is on {raw}, {name} and {broken}?").success
    parts = parts_of(shell)
    assert [type(part) for part in parts[1:]] == [DataPart, ImagePart, DataPart, DataPart]
    assert parts[2].data == PNG and str(parts[2].origin) == "notebook:raw"


async def test_a_dry_run_fetches_nothing_and_says_so(folder):
    request = CellRequest("hi", attach=("photo.png", "https://example.org/x.png"), dry_run=True)
    parts, told = await attached_to(request)
    assert [part.name for part in parts] == ["photo.png"]
    assert told == ["https://example.org/x.png is fetched when the cell runs"]


def test_a_value_that_is_no_picture_is_described_and_not_looked_at():
    assert seen_in(Reference("x", "photo.png")) == []
    assert seen_in(Reference("x", pdf(extra=b"/Encrypt 1 0 R"))) == []


def test_tab_offers_the_files_that_can_be_attached(shell, folder):
    assert offered(shell, "%%loom --attach ") == ["data/", "photo.png", "report.pdf"]
    assert offered(shell, "%%loom --attach photo.png re") == ["report.pdf"]
    (folder / "data" / "a.wav").write_bytes(sound(0.1))
    assert offered(shell, "%%loom --attach data/") == ["data/a.wav"]
    assert "--attach" in offered(shell, "%%loom --at")


# -- how it is shown -----------------------------------------------------------------------------------


def run_of(*parts):
    events = [RunStarted("m", "look"), MessageAdded(user("look", *parts)), RunFinished("completed", "ok")]
    return Transcript.of(events)


def test_each_attachment_is_a_card_with_its_measure_and_an_image_has_a_thumbnail():
    photo = ImagePart(noise((1200, 900), "JPEG"), "image/jpeg", name="lake.jpg")
    shown = run_of(
        photo,
        FilePart(pdf(12), "application/pdf", "report.pdf"),
        FilePart(sound(3.4), "audio/wav", "bell.wav"),
    )
    markup = render.html(shown)
    words = judged(markup)
    for told in (
        "lake.jpg",
        "1,200 × 900 px",
        "JPEG",
        "report.pdf",
        "12 pages",
        "~30,000 tok",
        "bell.wav",
        "3.4 s",
    ):
        assert told in words
    assert re.findall(r'<img alt="([^"]*)"', markup)[0].startswith(
        "attached image lake.jpg (JPEG, 1,200 × 900 px"
    )
    assert len(markup) < 60_000 < len(photo.data)
    assert markup == render.html(shown)
    for text in (render.plain(shown), render.markdown(shown)):
        assert "lake.jpg" in text and "12 pages" in text


def test_what_is_no_image_is_never_drawn_and_hostile_names_stay_text():
    evil = '"><img src=https://example.org/x onerror=alert(1)>.png'
    parts = (
        ImagePart(b"<svg onload=alert(1)>", "image/png", name=evil),
        ImagePart(PNG, "image/svg+xml", name=evil),
    )
    markup = attachments.html(run_of(*parts).prompt)
    assert "<img" not in markup
    assert evil in judged(markup)


def test_a_bomb_is_told_in_words_and_not_unpacked():
    head = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    bomb = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + head + bytes(4)
    markup = attachments.html(run_of(ImagePart(bomb, "image/png", name="bomb.png")).prompt)
    assert "<img" not in markup and "60,000 × 60,000 px" in markup


def test_the_line_of_an_attachment_says_all_of_it():
    assert attachments.line(Picture("a.png", "image/png", PNG)).startswith("a.png (PNG, 60 × 40 px, ")


def test_a_dry_run_shows_the_request_without_pages_of_base64(shell, folder):
    (folder / "large.png").write_bytes(noise((300, 300)))
    dry = shell.run_cell("%%loom -n --attach large.png\nlook").result
    assert isinstance(dry, DryRun)
    data = json.loads(dry.body)
    assert len(dry.body) > 300_000 and data
    assert len(dry.card.text) < 60_000
    assert "characters of base64" in dry.card.text
