"""A page as text: its bytes decoded, and HTML as Markdown with nothing hidden in it."""

import codecs
import re
from html import unescape
from typing import Any
from urllib.parse import urljoin

from loom_nb.border import clean

_MAX_TAG = 16_384
"""Characters of one tag. The converter looks at each attribute once for every other one of its tag."""
_MAX_DEPTH = 256
_MAX_LINKS = 5_000
_MAX_LINK = 500

_TEXTS = frozenset({"json", "xml", "x-ndjson", "ndjson", "yaml", "x-yaml", "toml", "javascript", "graphql"})
_CHARSETS = ("utf", "ascii", "latin", "iso8859", "cp", "gb", "big5", "shift_jis", "euc", "koi8", "mac", "hz")
_NOT_TEXT = ["head", "iframe", "math", "object", "svg"]
_RAW = ("script", "style", "textarea", "title")
_OPENING = re.compile(rf"<(?:(!--)|({'|'.join(_RAW)})\b|[a-z])", re.IGNORECASE)
_CLOSING = {name: re.compile(f"</{name}", re.IGNORECASE) for name in _RAW}
_TAG = re.compile(r"""<(?:[^>"']++|"[^"]*+"|'[^']*+')*+>""")
_TITLE = re.compile(r"<title\b[^>]{0,1000}>([^<]{0,1000})", re.IGNORECASE)
_BASE = re.compile(r"""<base\s[^<>]{0,1000}?href\s*=\s*["']?([^"'<>\s]{1,500})""", re.IGNORECASE)


def page_text(html: str, url: str = "") -> str:
    """The words of a page that a reader would see, as Markdown. Never raises.

    Links and images have whole addresses; those that lead to no page of the web are just words.
    """
    from html_to_markdown import ConversionError, ConversionOptions, PreprocessingOptions, convert

    page = _without_long_tags(clean(html))
    options = ConversionOptions(
        extract_metadata=False,
        compact_tables=True,
        max_depth=_MAX_DEPTH,
        exclude_selectors=_NOT_TEXT,
        inline_data_media="alt_text_only",
        hidden_content="drop",
        preprocessing=PreprocessingOptions(enabled=False),  # it takes headings in a <header> away
    )
    head = page[:100_000]
    base = _BASE.search(head)
    try:
        visitor: Any = _Visitor(urljoin(url, unescape(base[1])) if base else url)
        made = convert(page, options, visitor)
        body = (made.content or "").strip()
    except (ConversionError, ValueError) as error:
        body = f"(this page could not be read: {clean(str(error))[:200]})"
    found = _TITLE.search(head)
    title = " ".join(unescape(found[1]).split()) if found else ""
    return clean(f"Title: {title}\n\n{body}".strip() if title else body)


class _Visitor:
    """Is asked by the converter about each link and image."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._links = 0

    def visit_link(self, _: Any, href: str, text: str, title: str | None) -> Any:
        words, address = text.strip(), self._absolute(href)
        return _custom(f"[{words}]({address})" if words and address else text)

    def visit_image(self, _: Any, src: str, alt: str, title: str | None) -> Any:
        words, address = " ".join(alt.split()), self._absolute(src)
        return _custom(f"![{words}]({address})" if words and address else words)

    def _absolute(self, href: str) -> str:
        """A link as a whole address, where it leads to another page of the web."""
        self._links += 1
        if not href or href.startswith("#") or len(href) > _MAX_LINK or self._links > _MAX_LINKS:
            return ""
        try:
            address = urljoin(self._base, href.strip())
        except ValueError:
            return ""
        if not address.startswith(("http://", "https://")) or len(address) > _MAX_LINK:
            return ""
        return address.replace(" ", "%20").replace("(", "%28").replace(")", "%29")


def _custom(output: str) -> dict[str, str]:
    return {"type": "custom", "output": output}


def _without_long_tags(html: str) -> str:
    """Tags of over _MAX_TAG characters are left out: an image within its address, or an attack."""
    if len(html) <= _MAX_TAG:
        return html
    kept: list[str] = []
    start = at = lost = 0
    while found := _OPENING.search(html, at):
        if found[1]:
            comment = html.find("-->", found.end())
            at = comment + 3 if comment >= 0 else len(html)
            continue
        tag = _TAG.match(html, found.start())
        if tag is None:  # no end in sight, or a quotation mark too many
            at, lost = found.end(), lost + 1
            if lost > 50:
                return "".join([*kept, html[start : found.start()]])
            continue
        if tag.end() - tag.start() > _MAX_TAG:
            kept.append(html[start : tag.start()])
            start = tag.end()
        at = tag.end()
        if found[2]:
            end = _CLOSING[found[2].lower()].search(html, at)
            at = end.start() if end else len(html)
    return "".join([*kept, html[start:]])


def is_text(kind: str) -> bool:
    """Whether a media type is one of text."""
    if not kind.startswith("application/"):
        return kind.startswith("text/")
    subtype = kind.removeprefix("application/")
    return subtype in _TEXTS or subtype.endswith(("+json", "+xml", "+yaml"))


def as_text(body: bytes, content_type: str, url: str) -> str:
    """A text document as text: by the charset that it or its header names, HTML as Markdown."""
    text = body.decode(_charset(body, content_type), "replace")
    return page_text(text, url) if "html" in content_type.partition(";")[0].lower() else text


def _charset(body: bytes, content_type: str) -> str:
    """The declared charset where it is an ordinary one: some codecs are costly or no text at all."""
    named = ""
    for source in (content_type, body[:1024].decode("ascii", "ignore")):
        _, found, rest = source.lower().partition("charset=")
        if found:
            named = rest.lstrip("\"' ").split(";")[0].split('"')[0].split("'")[0].split(">")[0].strip(" /")
            break
    try:
        known = codecs.lookup(named).name if named.isascii() else ""
    except (LookupError, ValueError):
        known = ""
    return known if known.startswith(_CHARSETS) and known != "utf-7" else "utf-8"
