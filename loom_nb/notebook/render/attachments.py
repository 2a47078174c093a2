"""What was attached to a prompt, as small cards: an image by a thumbnail, a PDF by its pages, a sound by how
long it is. Nothing in them is fetched: a picture is drawn from its own bytes, scaled, or told in words.
"""

import base64

from loom_nb.media.counting import file_tokens
from loom_nb.media.kinds import IMAGES, NAMES
from loom_nb.media.measures import measured
from loom_nb.media.pictures import thumbnail
from loom_nb.notebook.render.facts import one_line
from loom_nb.notebook.render.strict_markdown import escape
from loom_nb.notebook.transcript import Picture, Prompt
from loom_nb.runtime.artifacts import size_in_words

_EDGE = "rgba(128,128,128,0.35)"
_CARD = (
    f"float:left;margin:0.2em 0.6em 0.4em 0;border:1px solid {_EDGE};"
    "border-radius:6px;padding:0.5em 0.6em;background:rgba(128,128,128,0.05);max-width:260px"
)
_IMAGE = "max-width:240px;max-height:160px;border-radius:3px;margin:0 0 0.2em 0"
_BADGE = (
    f"border:1px solid {_EDGE};border-radius:4px;padding:0 0.4em;font-size:0.8em;"
    "letter-spacing:0.05em;font-weight:600;margin:0 0.5em 0 0"
)
_MUTED = "opacity:0.75"
LARGEST = 400_000
"""Bytes of a thumbnail, or of a small picture in place of one."""


def facts(shown: Picture) -> list[str]:
    """What is known of an attachment beside its name: "PNG", "800 × 600 px", "12 kB", "~638 tok"."""
    kind = NAMES.get(shown.media_type, shown.media_type)
    size = measured(shown.data, shown.media_type)
    tokens = file_tokens(shown.data, shown.media_type)
    return [one for one in (kind, size, size_in_words(len(shown.data)), f"~{tokens:,} tok") if one]


def line(shown: Picture) -> str:
    """An attachment in words: ``photo.png (PNG, 800 × 600 px, 12 kB, ~638 tok)``."""
    return one_line(f"{shown.name or 'image'} ({', '.join(facts(shown))})")


def html(prompt: Prompt | None) -> str:
    """A card for each attachment; empty where there are none."""
    if prompt is None or not prompt.attachments:
        return ""
    cards = "".join(map(_card, prompt.attachments))
    return f'<div style="overflow:auto">{cards}</div>\n'


def _card(shown: Picture) -> str:
    kind, *rest = facts(shown)
    name = f'<span style="font-weight:600;overflow-wrap:break-word">{escape(shown.name or "image")}</span>'
    told = f'<div style="font-size:0.85em;{_MUTED}">{escape(" · ".join(rest))}</div>'
    badge = f'<span style="{_BADGE}">{escape(kind)}</span>'
    return f'<div style="{_CARD}">{_seen(shown)}<div>{badge}{name}</div>{told}</div>'


def _seen(shown: Picture) -> str:
    """The thumbnail; nothing where there is none: the words stand below."""
    if shown.media_type not in IMAGES:
        return ""
    small = thumbnail(shown.data)
    if small is None or len(small[1]) > LARGEST:
        return ""
    kind, data = small
    alt = escape(f"attached image {line(shown)}")
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return f'<div><img alt="{alt}" style="{_IMAGE}" src="{source}"></div>'
