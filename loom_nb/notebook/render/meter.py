"""A meter: how much of something is used, as text and as HTML."""

from loom_nb.notebook.render.strict_markdown import escape

EDGE = "rgba(128,128,128,0.35)"


def text_meter(share: float, width: int, marks: tuple[str, str] = ("█", "·")) -> str:
    """A bar of so many columns in brackets; of what is more than nothing, one at least is full.

    Args:
        share: 0 to 1; more is shown as 1.
        width: columns between the brackets.
        marks: of what is used and of what is free.
    """
    full, free = marks
    filled = min(width, round(share * width)) or (1 if share > 0 else 0)
    return f"[{full * filled:{free}<{width}}]"


def html_meter(share: float, title: str, colour: str) -> str:
    """The same, 16 em wide; `title` may be anybody's words."""
    return (
        f'<div title="{escape(title)}" style="height:0.8em;width:16em;overflow:hidden;'
        f'border:1px solid {EDGE};border-radius:4px;background:rgba(128,128,128,0.12)"><div style="'
        f'height:100%;width:{min(share, 1) * 100:.1f}%;background:{colour}"></div></div>'
    )


def meter_marks(ascii: bool) -> tuple[str, str]:  # noqa: A002  the name of the option
    """What a meter is drawn with as text."""
    return ("#", ".") if ascii else ("█", "·")
