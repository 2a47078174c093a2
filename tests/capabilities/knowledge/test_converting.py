"""Every kind of document as text, with its headings and places; one that cannot be read says why."""

import contextlib
import subprocess
import sys

import pytest

from loom_nb.capabilities.knowledge.chunking import chunked
from loom_nb.capabilities.knowledge.converting import MAX_CHARS, converted, kind_of
from loom_nb.errors import Unreadable
from tests.capabilities.knowledge.papers import docx, locked_pdf, notebook, pdf


def test_markdown_has_its_title_and_sections():
    made = converted(b"---\ntitle: Of bees\n---\n# Bees\n\n## Dance\r\n\r\nThey dance.\r\n", "bees.md")

    assert (made.title, made.kind) == ("Of bees", "markdown")
    assert [one.title for one in made.outline] == ["Bees", "Dance"]
    assert "\r" not in made.text


def test_headings_within_code_are_none():
    made = converted(b"# Real\n\n```sh\n# a comment\n```\n\n    # indented\n", "a.md")

    assert [one.title for one in made.outline] == ["Real"]


def test_a_heading_is_told_without_the_marks_that_close_it():
    made = converted(b"# Bees ##\n\n## C#\n\n###   Ants\t#  \n", "a.md")

    assert [one.title for one in made.outline] == ["Bees", "C#", "Ants"]


@pytest.mark.parametrize(
    "text",
    [
        "---\ntitle: a" + " " * 400_000 + "b\n---\nwords",
        "# a" + " " * 400_000 + "b\nwords",
        "words\n=====\n\n" * 150_000,
    ],
)
def test_a_document_that_repeats_itself_is_read_and_cut_in_one_go(text):
    """Where each line looked through all that follow it, or all before it, this took hours."""
    made = converted(text.encode(), "a.md")

    assert chunked(made, "a.md")[-1].end == len(text)


def test_a_page_is_its_words_without_scripts():
    made = converted(
        b"<title>Owls</title><script>alert(1)</script><h1>Owls</h1><p>They turn their heads.</p>", "owls.html"
    )

    assert made.title == "Owls"
    assert "alert" not in made.text
    assert "They turn their heads." in made.text
    assert made.outline[0].title == "Owls"


def test_a_pdf_tells_on_which_page_its_words_stand():
    made = converted(pdf("Whales sing.", "They eat krill.", title="On whales"), "whales.pdf")
    at = made.text.index("krill")

    assert made.title == "On whales"
    assert made.location(at, at + 5) == "page 2"
    assert chunked(made, "n")[0].location == "pages 1-2"


def test_a_docx_has_headings_paragraphs_and_tables():
    made = converted(
        docx((1, "Ants"), (0, "They follow trails."), (2, "Legs"), [["species", "legs"], ["Formica", "six"]]),
        "ants.docx",
    )

    assert [(one.level, one.title) for one in made.outline] == [(1, "Ants"), (2, "Legs")]
    assert "Formica | six" in made.text
    at = made.text.index("trails")
    assert made.location(at, at + 6) == "paragraph 2"


def test_a_notebook_is_its_cells_without_those_that_are_hidden():
    data = notebook(("markdown", "# Frogs"), ("code", "croak = 'ribbit'"), ("markdown", "The end."))

    made = converted(data, "frogs.ipynb")

    assert made.title == "Frogs"
    assert "```python\ncroak = 'ribbit'\n```" in made.text
    at = made.text.index("croak")
    assert made.location(at, at + 1) == "cell 1"


def test_code_is_cut_by_its_definitions():
    python = converted(
        b"@cached\ndef one():\n    pass\n\nclass Two:\n    async def three(self): pass\n", "a.py"
    )
    rust = converted(b"pub struct Web {\n}\n\nimpl Web {\n    pub fn spin(&self) {}\n}\n", "a.rs")
    broken = converted(b"def one(:\n    pass\n\ndef two(): pass\n", "b.py")

    assert [one.title for one in python.outline] == ["def one", "class Two", "def three"]
    assert python.outline[0].offset == 0
    assert [one.title for one in rust.outline] == ["struct Web", "impl Web", "fn spin"]
    assert [one.title for one in broken.outline] == ["def one", "def two"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_text_of_any_usual_encoding_is_read(encoding):
    assert (
        converted("Käfer fliegen nach Süden.".encode(encoding), "a.txt").text == "Käfer fliegen nach Süden."
    )


@pytest.mark.parametrize(
    ("data", "name", "why"),
    [
        (b"", "a.md", "no words"),
        (b"  \n \n", "a.txt", "no words"),
        (b"\x00\x01\x02", "a.txt", "no text"),
        (b"not a pdf", "a.pdf", "no sound PDF"),
        (b"PK\x03\x04 broken", "a.docx", "no sound DOCX"),
        (b"{}", "a.ipynb", "no notebook"),
        (b"{", "a.ipynb", "EOF"),
        (b"[" * 100_000, "a.ipynb", "recursion"),
        (b"GIF89a", "a.gif", ".gif files are not read"),
        (b"a " * (MAX_CHARS // 2 + 1), "a.txt", "limit"),
    ],
)
def test_what_cannot_be_read_says_why(data, name, why):
    with pytest.raises(Unreadable, match=why):
        converted(data, name)


def test_scanned_and_locked_pdfs_say_so():
    with pytest.raises(Unreadable, match="scanned"):
        converted(pdf(""), "scan.pdf")
    with pytest.raises(Unreadable, match="encrypted"):
        converted(locked_pdf("secret words"), "locked.pdf")


def test_truncated_files_of_every_kind_never_raise_anything_else():
    for name, data in (("a.pdf", pdf("Some words here.")), ("a.docx", docx((0, "Words.")))):
        for cut in range(0, len(data), max(1, len(data) // 40)):
            with contextlib.suppress(Unreadable):
                converted(data[:cut], name)


def test_a_docx_that_unpacks_to_very_much_is_refused():
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            packed.writestr(f"word/{number}.xml", b"0" * 80_000_000)
    with pytest.raises(Unreadable, match="too large"):
        converted(out.getvalue(), "bomb.docx")


def test_a_missing_library_is_named_with_the_extra_to_install():
    code = (
        "import sys; sys.modules['pypdf'] = sys.modules['docx'] = None\n"
        "from loom_nb.capabilities.knowledge.converting import converted\n"
        "from loom_nb.errors import SetupError\n"
        "for name in ('a.pdf', 'a.docx'):\n"
        "    try: converted(b'x', name)\n"
        "    except SetupError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.count("pip install 'loom-nb[documents]'") == 2


def test_the_kind_is_told_by_media_type_before_the_name():
    assert kind_of("https://example.org/page", "text/html; charset=utf-8") == "html"
    assert kind_of("README.MD") == "markdown"
    assert kind_of("a.bin") is None
