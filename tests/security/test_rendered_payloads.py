"""Whatever foreign text stands in a run, in whatever place: on every surface it stays text, and is seen."""

import json
import re
from functools import lru_cache

import pytest
from markdown_it import MarkdownIt

from loom_nb.notebook import render
from loom_nb.notebook.card import describe_card
from loom_nb.notebook.painter import Announcer
from loom_nb.notebook.render import Live
from loom_nb.notebook.transcript import Transcript, fold
from tests.notebook.test_render import judged
from tests.notebook.test_render_markdown import HIDDEN, Page
from tests.security.payloads import FORGERIES, PAYLOADS, run_with, the_end

STATES = ("open", "over")
KINDS = ("text/plain", "text/markdown", "text/llm+plain")
TAGS = {
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "ul",
    "ol",
    "li",
    "blockquote",
    "pre",
    "code",
    "em",
    "strong",
}
TAGS |= {"s", "a", "hr", "br", "table", "thead", "tbody", "tr", "th", "td"}


@lru_cache(maxsize=512)
def shown(payload: str, state: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The surfaces of a run with the payload, as they are saved and as they are seen live."""
    events = run_with(payload)
    transcript = Transcript.of([*events, the_end(payload)] if state == "over" else events, run=payload)
    bundle = render.bundle(transcript, times=True, prompt=True)
    json.dumps(bundle[render.RECORD_TYPE])
    json.dumps(render.metadata(transcript))
    return bundle, tuple(piece.html for piece in Live(times=True, prompt=True).pieces(transcript))


def test_there_are_enough_payloads():
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 80


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_html_holds_nothing_but_our_own_elements(payload, state):
    bundle, live = shown(payload, state)
    for markup in (bundle["text/html"], *live):
        words = judged(markup)  # tags, attributes, styles, classes, addresses: all on the lists
        assert not HIDDEN.search(words)
        assert not re.search(r"<img[^>]+src=.(?!data:image/(png|jpeg|gif|webp);base64,)", markup)
        assert " id=" not in re.sub(r">[^<]*<|\"[^\"]*\"", "><", markup)
        markup.encode()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_only_the_models_own_words_may_make_elements(payload, state):
    """All other places show the letters: there are as many elements as with a harmless text of its shape."""

    def elements(text: str) -> list[str]:
        wordless = [
            event for event in run_with(text) if type(event).__name__ not in ("TextDelta", "MessageAdded")
        ]
        shape = Transcript.of([*wordless, the_end("")] if state == "over" else wordless)
        page = Page(render.html(shape, times=True))
        # code is coloured by its words, and a text without any leaves a part out
        return [tag for tag, told in page.elements if not (tag == "span" and "class" in told)]

    # a diff has its marks at the beginnings of its lines
    harmless = re.sub(r"(?m)(?<!^)[^\n\r\x85\u2028\u2029]|^[^-+@\n\r\x85\u2028\u2029]", "x", payload)
    assert elements(payload) == elements(harmless)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_markdown_is_inert_in_a_renderer_that_trusts_it(payload, state):
    trusting = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    trusting.validateLink = lambda url: True
    page = Page(trusting.render(shown(payload, state)[0]["text/markdown"]))

    assert not page.strange
    for tag, attributes in page.elements:
        assert tag in TAGS, tag
        assert set(attributes) <= {"href", "class", "style", "start"}, attributes
        assert re.match(r"(https?://|mailto:)", attributes.get("href", "http://")), attributes
        assert re.fullmatch(r"(language-[\w+#.-]+)?", attributes.get("class", "")), attributes
        assert re.fullmatch(r"(text-align:\w+)?", attributes.get("style", "")), attributes


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_hides_reorders_or_controls_is_seen(payload, state):
    bundle, _ = shown(payload, state)
    for kind in KINDS:
        found = HIDDEN.search(bundle[kind])
        assert found is None, (
            kind,
            hex(ord(found.group())),
            bundle[kind][max(0, found.start() - 60) : found.end()],
        )


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("payload", FORGERIES)
def test_no_foreign_line_of_plain_text_looks_like_one_of_ours(payload, state):
    lines = shown(payload, state)[0]["text/plain"].split("\n")
    for forged in payload.split("\n"):
        told = forged.strip()
        if told.startswith(("✓", "ok ")):
            assert told not in lines and f"    {told}" not in lines
        if told.startswith(("receipt", "verdict")):
            assert f"    {told}" not in lines


@pytest.mark.parametrize("payload", [one for one in FORGERIES if re.match(r"(- )?✓|ok ", one)])
def test_a_forged_line_of_the_model_is_marked_as_quoted(payload):
    bundle, _ = shown(payload, "over")

    assert f"(quoted) {payload.removeprefix('- ')}"[:60] in bundle["text/plain"]
    assert "(quoted) " in bundle["text/markdown"]


@pytest.mark.parametrize("payload", FORGERIES)
def test_no_foreign_line_begins_like_a_line_of_the_record_for_models(payload):
    ours = r"\[(tool|receipt|user)"
    lines = shown(payload, "over")[0]["text/llm+plain"].split("\n")
    forged = set(payload.split("\n"))

    assert not [line for line in lines if re.match(ours, line) and line in forged]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_is_heard_and_what_a_runtime_says_of_itself_is_visible_too(payload):
    voice = Announcer()
    for event in [*run_with(payload), the_end(payload)]:
        assert not HIDDEN.search(voice.take(event))

    class Runtime:
        def describe(self):
            return {
                "mode": payload,
                payload: [payload],
                "allowed": [payload],
                "asked": [],
                "denied": [payload],
            }

    card = describe_card(Runtime())
    assert not HIDDEN.search(str(card)) and not HIDDEN.search(card.to_html())
    assert "<script" not in card.to_html().lower() and "<img" not in card.to_html().lower()


@pytest.mark.timeout(150)
def test_the_largest_payloads_cost_no_more_than_a_moment():
    transcript, live = Transcript(), Live()
    for event in run_with("<b>" * 20_000 + "[" * 5_000):
        transcript = fold(transcript, event)
    live.pieces(transcript)
    render.bundle(transcript)
