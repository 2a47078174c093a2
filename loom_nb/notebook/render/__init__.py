"""A transcript as what is seen: five surfaces with the same facts, and the pieces of a live view.

Pure: a transcript goes in, text comes out. Whatever a model, a tool, a file or the web has written
is strict Markdown or escaped text here, and nothing else draws it.
"""

from loom_nb.notebook.render.bundle import RECORD_TYPE, bundle, metadata, record
from loom_nb.notebook.render.live import Live, Look, Piece, document, pieces
from loom_nb.notebook.render.llm import llm
from loom_nb.notebook.render.markdown import markdown
from loom_nb.notebook.transcript import Transcript

__all__ = [
    "RECORD_TYPE",
    "Live",
    "Piece",
    "bundle",
    "html",
    "llm",
    "markdown",
    "metadata",
    "pieces",
    "plain",
    "record",
]


def plain(
    transcript: Transcript,
    *,
    times: bool = False,
    ascii: bool = False,  # noqa: A002  the name of the option
    prompt: bool = False,
) -> str:
    """The transcript as text of at most 100 columns."""
    return document(transcript, Look(times, ascii, prompt))[1]


def html(transcript: Transcript, *, times: bool = False, prompt: bool = False) -> str:
    """The transcript as HTML that is safe in trusted and untrusted notebooks."""
    return document(transcript, Look(times, prompt=prompt))[0]
