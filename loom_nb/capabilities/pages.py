"""An HTML page as readable text: headings, paragraphs, lists, tables and links; nothing hidden."""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin

# fmt: off
_SKIPPED = frozenset({
    "head", "iframe", "math", "noscript", "object", "script", "select", "style", "svg", "template",
})
_VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr",
})
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "details", "dd", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li",
    "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "td",
    "tfoot", "th", "thead", "tr", "ul",
})
# fmt: on
_HEADINGS = {f"h{n}": "#" * n + " " for n in range(1, 7)}
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_STEP = 4_096
_PENDING = 4 * _STEP
"""Characters of one mark that is not at its end: a longer one is left out."""


def page_text(html: str, url: str = "") -> str:
    """The words of a page that a reader would see; links as `[words](address)`. Never raises."""
    reader = _Reader(url)
    at = 0
    while at < len(html):
        reader.feed(html[at : at + _STEP])
        at += _STEP
        if len(reader.rawdata) > _PENDING:  # the parser would look at all of it again at each step
            at = _past_pending(reader, html, at)
    reader.close()
    return reader.text()


def _past_pending(reader: HTMLParser, html: str, at: int) -> int:
    """Drop the mark that the parser still waits to see the end of; where to read on."""
    pending = reader.rawdata
    if reader.cdata_elem:  # within a script, which is not shown anyway
        reader.rawdata = pending[-16:]
        return at
    end = "-->" if pending.startswith("<!--") else ">"
    found = html.find(end, at)
    reader.rawdata = ""
    return len(html) if found < 0 else found + len(end)


class _Reader(HTMLParser):
    """Collects text; `HTMLParser` demands a class."""

    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self._url = url
        self._out: list[str] = []
        self._title: list[str] = []
        self._in_title = False
        self._skip: list[str] = []
        self._pre = 0
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._in_title = not self._title
        if self._skip and self._skip[0] == "head" and tag in _BLOCKS:
            self._skip.clear()  # the end of the head may be left out
        if self._skip:
            if tag == self._skip[0]:
                self._skip.append(tag)
            return
        given = dict(attrs)
        if (
            tag in _SKIPPED
            or ("hidden" in given and tag not in _VOID)
            or _HIDDEN.search(given.get("style") or "")
        ):
            if tag not in _VOID:
                self._skip.append(tag)
            return
        self._open(tag, given)

    def _open(self, tag: str, given: dict[str, str | None]) -> None:
        if tag == "br":
            self._out.append("\n")
        elif tag in ("td", "th"):
            self._out.append(" | ")
        elif tag in _BLOCKS:
            self._out.append("\n\n" if tag not in ("li", "tr", "dt", "dd") else "\n")
            self._out.append(_HEADINGS.get(tag, "- " if tag == "li" else ""))
        if tag == "pre":
            self._pre += 1
        elif tag == "a":
            self._links.append((given.get("href") or "", len(self._out)))
            self._out.append("")
        elif tag == "img" and given.get("alt"):
            self._out.append(f"[image: {given['alt']}]")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._skip:
            if tag == self._skip[0]:
                self._skip.pop()
            return
        if tag == "pre":
            self._pre = max(0, self._pre - 1)
        if tag == "a" and self._links:
            self._close_link(*self._links.pop())
        elif tag in _BLOCKS and tag not in ("td", "th", "li", "tr"):
            self._out.append("\n\n")

    def _close_link(self, href: str, start: int) -> None:
        words = " ".join("".join(self._out[start:]).split())
        address = _absolute(self._url, href)
        if address and words:
            self._out[start:] = [f"[{words}]({address})"]

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif not self._skip:
            self._out.append(data if self._pre else re.sub(r"\s+", " ", data))

    def text(self) -> str:
        """What was collected, with its white space in order."""
        lines = [line.rstrip() for line in "".join(self._out).split("\n")]
        body = re.sub(r"\n{3,}", "\n\n", "\n".join(map(_flush_left, lines)))
        title = " ".join("".join(self._title).split())
        return f"Title: {title}\n\n{body.strip()}".strip() if title else body.strip()


def _flush_left(line: str) -> str:
    """Without the bar before a row's first cell, and the single space that marks leave behind."""
    line = line.removeprefix(" ").removeprefix("| ") if line.startswith((" | ", "  | ")) else line
    return line[1:] if line.startswith(" ") and not line.startswith("  ") else line


def _absolute(url: str, href: str) -> str:
    """A link as a whole address, where it leads to another page of the web."""
    if not href or href.startswith("#"):
        return ""
    try:
        address = urljoin(url, href.strip())
    except ValueError:
        return ""
    return address if address.startswith(("http://", "https://")) and len(address) <= 500 else ""
