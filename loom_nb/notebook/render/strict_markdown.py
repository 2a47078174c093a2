"""Markdown from a model, a tool, a file or the web, as HTML that can do nothing.

Raw HTML is text, images are not loaded, links go to http, https and mailto only and show where
they go, nothing from the input becomes a class, a style or an id. Characters that hide or reorder
text are shown as what they are.
"""

import html
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from loom_nb.notebook.cited import INVENTED

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

    from loom_nb.notebook.cited import Evidence

MAX_DEPTH = 20
"""Quotes and lists nested deeper are shown as plain text."""
MAX_COLOURED = 20_000
"""Longer code is shown without colours."""

_CONTROL = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_HIDDEN = re.compile(f"[{_CONTROL}]")
_JOINER_SCRIPTS = re.compile("[\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u17ff]")
_SYMBOL = re.compile("[#*0-9\u00a9\u00ae\u2000-\u3300\ufe0f\U0001f000-\U0001faff]")


def visible(text: str) -> str:
    """`text` with the characters that hide, reorder or control shown as ``⟨U+202E⟩``.

    Kept are newlines, tabs, and joiners and variation selectors where a script or an emoji needs
    them.
    """
    if text.isascii() and text.isprintable():
        return text
    return _HIDDEN.sub(_shown, text.replace("\r\n", "\n"))


def escape(text: str) -> str:
    """Foreign text as HTML text or as the value of an attribute."""
    return html.escape(visible(text), quote=True)


def _shown(match: re.Match[str]) -> str:
    char = match.group()
    text, at = match.string, match.start()
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if char in "\ufe0e\ufe0f" and before != char and _SYMBOL.match(before):
        return char
    if char == "\u200d" and _SYMBOL.match(before) and _SYMBOL.match(after):
        return char
    if char in "\u200c\u200d" and _JOINER_SCRIPTS.match(before) and _JOINER_SCRIPTS.match(after):
        return char
    if char < " ":
        return chr(0x2400 + ord(char))
    return f"⟨U+{ord(char):04X}⟩"


def to_html(source: str, *, colours: bool = True, evidence: "Evidence | None" = None) -> str:
    """Strict HTML of a piece of Markdown. The cost is linear in its length.

    Args:
        source: the Markdown, from anywhere.
        colours: mark up known languages in fenced code.
        evidence: what it may cite; `[1]` leads to where the passage is told.
    """
    parser = _parser()
    tokens = parser.parse(visible(source), {})
    if _too_deep(tokens):
        return f'<pre style="{PRE}">{escape(source)}</pre>\n'
    _soften(tokens)
    if evidence is not None:
        _cite(tokens, evidence)
    rendered: str = parser.renderer.render(tokens, parser.options, {"colours": colours, "evidence": evidence})
    return visible(rendered)  # entities such as &#x202e; have become characters by now


def parsed(source: str) -> "list[Token] | None":
    """The tokens of the strict parser; None where it is nested too deep to be shown as Markdown."""
    tokens = _parser().parse(visible(source), {})
    return None if _too_deep(tokens) else tokens


def coloured(code: str, language: str) -> str:
    """Code as HTML, with the short Pygments classes that JupyterLab's themes colour.

    No colours of our own: none is readable on white and on black alike. Keywords are bold and
    comments italic, so that a page without these classes still shows a difference.
    """
    lexer = _lexer(language) if len(code) <= MAX_COLOURED else None
    if lexer is None:
        return escape(code)
    from pygments.token import STANDARD_TYPES, Comment, Keyword

    out = []
    for kind, text in lexer.get_tokens(code):
        name = next((STANDARD_TYPES[k] for k in reversed(kind.split()) if STANDARD_TYPES.get(k)), "")
        style = ' style="font-weight:600"' if kind in Keyword else ""
        style = ' style="font-style:italic"' if kind in Comment else style
        out.append(
            f'<span class="{name}"{style}>{escape(text)}</span>' if name and text.strip() else escape(text)
        )
    return "".join(out)


PRE = (
    "margin:0.4em 0;padding:0.5em 0.8em;overflow:auto;white-space:pre;font-family:monospace;font-size:0.92em;"
    "line-height:1.45;border-radius:4px;border:1px solid rgba(128,128,128,0.25);"
    "background:rgba(128,128,128,0.08)"
)
"""The look of a block of code."""

_MUTED = "opacity:0.75"
_LINK = re.compile(r"(https?://[^/?#\s]|mailto:[^?#\s])", re.IGNORECASE)
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,30}")


@lru_cache(maxsize=1)
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    options: dict[str, Any] = {
        "html": False,
        "linkify": False,
        "typographer": False,
        "maxNesting": MAX_DEPTH + 4,
    }
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    # A definition would show nothing where it stands, and links could point to what is not seen.
    parser.disable(["reference", "html_block", "html_inline"])
    parser.validateLink = _may_be_followed  # type: ignore[method-assign]  # its way of being set
    parser.inline.ruler.before("escape", "math", _math_rule)
    for kind, rule in _RULES.items():
        parser.add_render_rule(kind, rule)
    return parser


def _may_be_followed(url: str) -> bool:
    return _LINK.match(url) is not None


def _too_deep(tokens: "Sequence[Token]") -> bool:
    return any(token.level >= MAX_DEPTH for token in tokens)


def _soften(tokens: "Sequence[Token]") -> None:
    """Headings two steps smaller, so that an answer does not shout in a notebook; tables that fit it."""
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        elif token.type == "th_open":
            token.attrSet("scope", "col")
        if token.type in ("th_open", "td_open"):
            align = str(token.attrGet("style") or "text-align:left")
            token.attrSet("style", align)


def _cite(tokens: "Sequence[Token]", evidence: "Evidence") -> None:
    """Make tokens of their own of the citations in words; links and code are left alone."""
    from markdown_it.token import Token

    for token in tokens:
        if not token.children:
            continue
        made: list[Token] = []
        within = 0
        for child in token.children:
            within += (child.type == "link_open") - (child.type == "link_close")
            behind_code = bool(made) and made[-1].type in ("code_inline", "link_close", "image")
            if child.type != "text" or within:
                made.append(child)
                continue
            for piece in evidence.pieces(child.content, behind_code=behind_code):
                kind = "text" if isinstance(piece, str) else "citation"
                made.append(Token(kind, "", 0, level=child.level))
                made[-1].content = piece if isinstance(piece, str) else ""
                made[-1].meta = {} if isinstance(piece, str) else {"numbers": piece}
        token.children = made


@lru_cache(maxsize=64)
def _lexer(language: str) -> Any:
    if not _LANGUAGE.fullmatch(language):
        return None
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


# --- how single tokens look


def _fence(self: Any, tokens: "Sequence[Token]", index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    language = token.info.strip().split(maxsplit=1)[0] if token.info.strip() else ""
    code = coloured(token.content, language.lower()) if env.get("colours", True) else escape(token.content)
    title = f' title="{escape(language)}"' if _LANGUAGE.fullmatch(language) else ""
    pre = f'<pre style="{PRE}"{title}>{code}</pre>'
    return f'<div class="highlight" style="background:transparent">{pre}</div>\n'


def _code_block(self: Any, tokens: "Sequence[Token]", index: int, options: Any, env: Any) -> str:
    return f'<pre style="{PRE}">{escape(tokens[index].content)}</pre>\n'


def _image(self: Any, tokens: "Sequence[Token]", index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    label = f"{token.content}, " if token.content else ""
    line = escape(f"{label}{token.attrGet('src')}")
    return f'<span style="{_MUTED}">[image not loaded: {line}]</span>'


def _link_open(self: Any, tokens: "Sequence[Token]", index: int, options: Any, env: Any) -> str:
    url = _href(tokens[index])
    return f'<a href="{escape(url)}" rel="noopener noreferrer nofollow" target="_blank">'


def _link_close(self: Any, tokens: "Sequence[Token]", index: int, options: Any, env: Any) -> str:
    opening = index
    while tokens[opening].type != "link_open":
        opening -= 1
    url = _href(tokens[opening])
    label = "".join(token.content for token in tokens[opening + 1 : index])
    if _plain_address(label) == _plain_address(url) and "@" not in url.split("?", maxsplit=1)[0].removeprefix(
        "mailto:" + label
    ):
        return "</a>"
    return f'</a> <span style="{_MUTED}">({escape(url)})</span>'


def _href(token: "Token") -> str:
    return str(token.attrGet("href")).replace("'", "%27")


def _plain_address(text: str) -> str:
    return re.sub(r"^(https?://|mailto:)", "", text.strip(), flags=re.IGNORECASE).rstrip("/")


def _table_open(self: Any, tokens: "Sequence[Token]", index: int, options: Any, env: Any) -> str:
    return '<div style="overflow:auto"><table style="margin:0.5em 0">\n'


def _table_close(self: Any, tokens: "Sequence[Token]", index: int, options: Any, env: Any) -> str:
    return "</table></div>\n"


def _math(self: Any, tokens: "Sequence[Token]", index: int, options: Any, env: Any) -> str:
    opening, closing = ("\\[", "\\]") if tokens[index].markup == "$$" else ("\\(", "\\)")
    body = escape(tokens[index].content)
    return f'<span class="mathjax_process tex2jax_process">{opening}{body}{closing}</span>'


def _citation(self: Any, tokens: "Sequence[Token]", index: int, options: Any, env: Any) -> str:
    """Each number leads to its passage; one that stands for nothing says so."""
    evidence: Evidence = env["evidence"]
    told = []
    for number in tokens[index].meta["numbers"]:
        source = evidence.source(number)
        match evidence.standing(number):
            case "evidence" if source is not None:
                title = escape(source.place[:200])
                told.append(f'<a href="#{evidence.anchor(number)}" title="{title}">{number}</a>')
            case "earlier":
                told.append(f'<span title="told earlier in this conversation">{number}</span>')
            case _:
                told.append(
                    f'<span style="text-decoration:line-through">{number}</span>'
                    f' <strong style="{_FLAG}">⚠ {INVENTED}</strong>'
                )
    return f"[{', '.join(told)}]"


_FLAG = "font-size:0.85em;white-space:nowrap"

_RULES: dict[str, Callable[..., str]] = {
    "citation": _citation,
    "fence": _fence,
    "code_block": _code_block,
    "image": _image,
    "link_open": _link_open,
    "link_close": _link_close,
    "table_open": _table_open,
    "table_close": _table_close,
    "math": _math,
}

_FORMULA = re.compile(
    r"\$\$(?P<display>[^$]{1,2000}?)\$\$"
    r"|\$(?P<inline>[^\s$](?:[^$\n]{0,500}?[^\s$\\])?)\$(?![0-9A-Za-z])"
    r"|\\\[(?P<brackets>.{1,2000}?)\\\]"
    r"|\\\((?P<round>.{1,500}?)\\\)",
    re.DOTALL,
)
_TEX_THAT_ACTS = re.compile(
    r"\\(href|url|html\w*|class|cssId|style|data|require|def|let|gdef|edef|newcommand|newenvironment|unicode|"
    r"includegraphics|bbox|mmlToken|texttip|toggle|begingroup)\b|\\[\[\]()]"
)


_LOOKS_LIKE_TEX = re.compile(r"[\\^_=+<>]|^\s*[A-Za-z]\s*$")
"""What tells a formula from words between escaped brackets."""


def _math_rule(state: "StateInline", silent: bool) -> bool:
    """A formula, which the page may typeset; all other text is marked as none."""
    if state.src[state.pos] not in "$\\":
        return False
    found = _FORMULA.match(state.src, state.pos, state.posMax)
    if found is None or state.src[state.pos - 1 : state.pos] == "\\":
        return False
    body = next(group for group in found.groups() if group is not None)
    if _TEX_THAT_ACTS.search(body) or (found["inline"] is None and not _LOOKS_LIKE_TEX.search(body)):
        return False
    if not silent:
        token = state.push("math", "span", 0)
        token.content = body
        token.markup = "$$" if found["display"] or found["brackets"] else "$"
    state.pos = found.end()
    return True
