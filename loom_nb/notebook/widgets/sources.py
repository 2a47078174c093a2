"""The JavaScript and the CSS of a widget, joined with what it shares with others: nothing is built."""

from pathlib import Path

_HERE = Path(__file__).parent


def script(name: str) -> str:
    """One module: what widgets talk by and are made of, and the widget of this name."""
    return _joined("parts.js", f"{name}.js")


def style(name: str) -> str:
    """One sheet: what cards and tables look like alike, and the widget of this name."""
    return _joined("theme.css", f"{name}.css")


def sheet(name: str) -> str:
    """The one sheet of a widget that looks like no other."""
    return _joined(f"{name}.css")


def _joined(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)
