"""Makes text of a file: Markdown, pages, notebooks, code, PDF, DOCX, each with its headings and places.

What a file holds comes from outside: nothing in it is run, and what cannot be read is an error of that
one document.
"""

import ast
import codecs
import io
import logging
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from loom_nb.border import clean
from loom_nb.capabilities.knowledge.documents import Document, Heading, Kind, Mark, markdown_outline
from loom_nb.errors import LoomError, SetupError, Unreadable

MAX_CHARS = 8_000_000
"""Of a document's text."""
MAX_UNPACKED = 200_000_000
"""Bytes of a DOCX when it is unpacked: a small file may hold a very large one."""
_QUIET = logging.NullHandler()
MAX_PAGES = 5_000

_CODE = frozenset(
    [
        ".py",
        ".pyi",
        ".js",
        ".mjs",
        ".ts",
        ".tsx",
        ".jsx",
        ".java",
        ".kt",
        ".scala",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".cs",
        ".go",
        ".rs",
        ".rb",
        ".php",
        ".swift",
        ".r",
        ".jl",
        ".lua",
        ".pl",
        ".sh",
        ".bash",
        ".zsh",
        ".sql",
        ".m",
        ".hs",
        ".ex",
        ".exs",
        ".erl",
        ".clj",
        ".ml",
        ".fs",
        ".dart",
        ".zig",
        ".css",
        ".scss",
    ]
)
_TEXT = frozenset(
    [
        ".txt",
        ".text",
        ".log",
        ".csv",
        ".tsv",
        ".rst",
        ".org",
        ".tex",
        ".bib",
        ".json",
        ".yaml",
        ".yml",
        ".toml",
        ".xml",
        ".ini",
        ".cfg",
    ]
)
_KINDS: dict[str, Kind] = {
    ".md": "markdown", ".markdown": "markdown", ".mdx": "markdown", ".qmd": "markdown", ".rmd": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html", ".pdf": "pdf", ".docx": "docx", ".ipynb": "notebook",
    **dict.fromkeys(_CODE, "code"), **dict.fromkeys(_TEXT, "text"),
}  # fmt: skip


def kind_of(name: str, media_type: str = "") -> Kind | None:
    """What a document is by its media type or its name; None: nothing that is read here."""
    media_type = media_type.partition(";")[0].strip().lower()
    if media_type in _MEDIA:
        return _MEDIA[media_type]
    found = _KINDS.get(PurePosixPath(name.replace("\\", "/")).suffix.lower())
    if found is None and media_type.startswith("text/"):
        return "text"
    return found


_MEDIA: dict[str, Kind] = {
    "text/html": "html", "application/xhtml+xml": "html", "text/markdown": "markdown",
    "application/pdf": "pdf", "application/x-ipynb+json": "notebook",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
}  # fmt: skip


def converted(data: bytes, name: str, media_type: str = "", url: str = "") -> Document:
    """The text of a document.

    Args:
        data: its bytes.
        name: its path or address; what it is is told from the ending, where no media type tells it.
        media_type: as a server told it.
        url: links within it start from there.

    Raises:
        Unreadable: it is damaged, encrypted, empty of words, or of a kind that is not read.
        SetupError: reading it takes a library that is not installed.
    """
    kind = kind_of(name, media_type)
    if kind is None:
        raise Unreadable(f"{_ending(name)} files are not read")
    try:
        document = _CONVERTERS[kind](data, name, url)
    except LoomError as error:
        if isinstance(error, Unreadable | SetupError):
            raise
        raise Unreadable(error.title) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    if not document.text.strip():
        raise Unreadable("there are no words in it" + (_SCANNED if kind == "pdf" else ""))
    if len(document.text) > MAX_CHARS:
        raise Unreadable(f"its text has {len(document.text):,} characters, the limit is {MAX_CHARS:,}")
    return document if document.title else replace(document, title=_file_name(name))


_SCANNED = ": it may be scanned, and pictures are not read"


def of_text(text: str, name: str, title: str = "") -> Document:
    """A text that is given as it is; Markdown headings in it are seen. Raises Unreadable for an empty one."""
    text = _tidy(text)
    if not text.strip():
        raise Unreadable("there are no words in it")
    return Document(text, title or name, "markdown", markdown_outline(text))


def of_row(text: str, title: str, number: object) -> Document:
    """A row of a table. Raises Unreadable for an empty one."""
    text = _tidy(text)
    if not text.strip():
        raise Unreadable("there are no words in it")
    return Document(text, title, "row", unit=f"row {number}")


def _markdown(data: bytes, name: str, _: str) -> Document:
    text = _decoded(data)
    outline = markdown_outline(text)
    return Document(text, _markdown_title(text, outline), "markdown", outline)


def _markdown_title(text: str, outline: tuple[Heading, ...]) -> str:
    """Of the front matter, else the first heading of the first level."""
    if text.startswith("---\n"):
        end = text.find("\n---", 4)
        found = re.search(r"^title:\s*(.+?)\s*$", text[4 : max(4, end)], re.MULTILINE)
        if found:
            return found[1].strip("\"'")[:300]
    return next((one.title for one in outline if one.level == 1), "")


def _plain(data: bytes, name: str, _: str) -> Document:
    return Document(_decoded(data), "", "text")


def _page(data: bytes, name: str, url: str) -> Document:
    from loom_nb.capabilities.pages import page_text

    text = _tidy(page_text(_decoded(data), url))
    title = ""
    if text.startswith("Title: "):
        head, _, text = text.partition("\n")
        title, text = head.removeprefix("Title: ").strip(), text.lstrip("\n")
    outline = markdown_outline(text)
    return Document(text, title or _markdown_title(text, outline), "html", outline)


def _notebook(data: bytes, name: str, _: str) -> Document:
    from loom_nb.capabilities.notebook_file import sources

    pieces: list[str] = []
    marks: list[Mark] = []
    at = 0
    for number, kind, written in sources(data, name):
        source = _tidy(written).strip("\n")
        if not source.strip():
            continue
        piece = f"{_fenced(source)}\n\n" if kind == "code" else f"{source}\n\n"
        marks.append(Mark(at, number))
        pieces.append(piece)
        at += len(piece)
    text = "".join(pieces)
    outline = markdown_outline(text)
    return Document(text, _markdown_title(text, outline), "notebook", outline, tuple(marks), "cell")


def _fenced(source: str) -> str:
    longest = max([len(found[0]) for found in re.finditer(r"`{3,}", source)], default=2)
    mark = "`" * (longest + 1)
    return f"{mark}python\n{source}\n{mark}"


def _code(data: bytes, name: str, _: str) -> Document:
    text = _decoded(data)
    is_python = name.lower().endswith((".py", ".pyi"))
    outline = tuple(_python_definitions(text) if is_python else _definitions(text))
    return Document(text, "", "code", outline)


def _python_definitions(text: str) -> Iterator[Heading]:
    """Classes and functions, from their first decorator on."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield from _definitions(text)
        return
    starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def walk(body: list[ast.stmt], level: int) -> Iterator[Heading]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                line = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                word = "class" if isinstance(node, ast.ClassDef) else "def"
                yield Heading(starts[min(line, len(starts)) - 1], level, f"{word} {node.name}")
                if isinstance(node, ast.ClassDef):
                    yield from walk(node.body, level + 1)

    yield from walk(tree.body, 1)


_DEFINITION = re.compile(
    r"^(?P<indent>[ \t]{0,8})(?:(?:export|default|pub(?:\([a-z]+\))?|public|private|protected|internal|"
    r"static|final|abstract|async|unsafe|override|open|sealed|inline|extern|virtual)[ \t]+){0,6}"
    r"(?P<word>class|struct|enum|trait|interface|impl|module|namespace|object|def|func|fun|fn|function|sub|"
    r"CREATE[ \t]+(?:OR[ \t]+REPLACE[ \t]+)?(?:TABLE|VIEW|FUNCTION|PROCEDURE))[ \t]+"
    r"(?P<name>[\w$.:<>~]{1,100})",
    re.MULTILINE | re.IGNORECASE,
)


def _definitions(text: str) -> Iterator[Heading]:
    """Lines that begin a definition in most languages; how deep it stands is told by its indentation."""
    for found in _DEFINITION.finditer(text):
        width = len(found["indent"].expandtabs(4))
        word = " ".join(found["word"].split())
        yield Heading(found.start(), 1 + (width > 0) + (width > 4), f"{word} {found['name']}")


def _pdf(data: bytes, name: str, _: str) -> Document:
    try:
        import pypdf
    except ImportError:
        raise _missing("PDF", "pypdf") from None
    logging.getLogger("pypdf").addHandler(_QUIET)  # what is wrong with a file is told of the document
    pieces: list[str] = []
    marks: list[Mark] = []
    at = 0
    try:
        reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("it is encrypted")
        for number, page in enumerate(reader.pages[:MAX_PAGES], 1):
            piece = _tidy(page.extract_text() or "").strip() + "\n\n"
            marks.append(Mark(at, number))
            pieces.append(piece)
            at += len(piece)
        title = _tidy(str((reader.metadata.title if reader.metadata else "") or "")).strip()
    except LoomError:
        raise
    except Exception as error:  # noqa: BLE001  the border to a library that raises all kinds for damaged files
        raise Unreadable(f"it is no sound PDF: {type(error).__name__}") from None
    return Document("".join(pieces), title[:300], "pdf", (), tuple(marks), "page")


def _docx(data: bytes, name: str, _: str) -> Document:
    try:
        import docx
    except ImportError:
        raise _missing("DOCX", "python-docx") from None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(one.file_size for one in packed.infolist()) > MAX_UNPACKED:
                raise Unreadable("it is too large when it is unpacked")
        opened = docx.Document(io.BytesIO(data))
        return _docx_document(opened)
    except LoomError:
        raise
    except Exception as error:  # noqa: BLE001  the border to a library that raises all kinds for damaged files
        raise Unreadable(f"it is no sound DOCX: {type(error).__name__}") from None


def _docx_document(opened: Any) -> Document:
    """Paragraphs as Markdown, tables with bars; places are counted in paragraphs."""
    pieces: list[str] = []
    marks: list[Mark] = []
    outline: list[Heading] = []
    at = number = 0
    for block in opened.iter_inner_content():
        if hasattr(block, "rows"):
            words = "\n".join(
                " | ".join(_tidy(cell.text).replace("\n", " ") for cell in row.cells) for row in block.rows
            )
        else:
            number += 1
            words = _tidy(block.text).strip("\n")
            level = _heading_level(block)
            if level and words.strip():
                words = " ".join(words.split())
                outline.append(Heading(at, level, words[:200]))
                words = f"{'#' * level} {words}"
        if not words.strip():
            continue
        marks.append(Mark(at, max(number, 1)))
        pieces.append(f"{words}\n\n")
        at += len(words) + 2
    text = "".join(pieces)
    title = _tidy(str(opened.core_properties.title or "")).strip()
    first = next((one.title for one in outline if one.level == 1), "")
    return Document(text, title[:300] or first, "docx", tuple(outline), tuple(marks), "paragraph")


def _heading_level(paragraph: Any) -> int:
    style = str(getattr(paragraph.style, "name", "") or "")
    if style == "Title":
        return 1
    found = re.fullmatch(r"Heading ([1-6])", style)
    return int(found[1]) if found else 0


_CONVERTERS: dict[Kind, Callable[[bytes, str, str], Document]] = {
    "markdown": _markdown, "text": _plain, "html": _page, "notebook": _notebook, "code": _code,
    "pdf": _pdf, "docx": _docx,
}  # fmt: skip


def _missing(kind: str, library: str) -> SetupError:
    return SetupError(f"{kind} files need the library {library}", fixes=["pip install 'loom-nb[documents]'"])


def _decoded(data: bytes) -> str:
    """The words of a text file: by its mark, as UTF-8, else as the old code page that decodes anything.

    Raises Unreadable for what is no text.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _tidy(data[len(mark) :].decode(name, "replace"))
    if b"\0" in data[:8_192]:
        raise Unreadable("it is no text")
    try:
        return _tidy(data.decode("utf-8"))
    except UnicodeDecodeError:
        return _tidy(data.decode("cp1252", "replace"))


_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def _tidy(text: str) -> str:
    return clean(text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n"))


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower() or "such"


def _file_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name or name
