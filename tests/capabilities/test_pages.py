import time

import pytest

from loom_nb.capabilities.pages import page_text


def test_a_page_becomes_headings_paragraphs_lists_tables_and_links():
    page = """<!doctype html><html><head><title>The  news</title><style>x{}</style></head><body>
    <h1>One</h1><p>Some <b>bold</b>\n words &amp; <a href="/more?x=1">a link</a>.</p>
    <ul><li>first<li>second</ul><table><tr><th>a<th>b<tr><td>1<td>2</table>
    <pre>  keep
    this</pre><img src=x alt="a cat"></body></html>"""

    assert page_text(page, "https://example.org/dir/") == (
        "Title: The news\n\n# One\n\nSome bold words & [a link](https://example.org/more?x=1).\n\n"
        "- first\n- second\n\na | b\n1 | 2\n\n  keep\n    this\n\n[image: a cat]"
    )


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>SECRET</script>",
        "<style>SECRET</style>",
        "<!-- SECRET -->",
        "<noscript><p>SECRET</p></noscript>",
        "<template>SECRET</template>",
        '<div style="display: none"><div>x</div>SECRET</div>',
        '<span style="VISIBILITY:hidden">SECRET</span>',
        "<p hidden>SECRET</p>",
        "<svg><text>SECRET</text></svg>",
        "<iframe>SECRET</iframe>",
    ],
)
def test_what_a_reader_would_not_see_is_left_out(hidden):
    assert page_text(f"<body><p>before</p>{hidden}<p>after</p>") == "before\n\nafter"


@pytest.mark.parametrize(
    "href", ["javascript:alert(1)", "data:text/html,x", "#top", "", "http://[::1", "file:///etc"]
)
def test_links_that_lead_to_no_page_are_just_words(href):
    assert page_text(f'<a href="{href}">words</a>', "https://example.org/") == "words"


def test_a_head_without_an_end_does_not_swallow_the_page():
    assert page_text("<head><title>t</title><p>words") == "Title: t\n\nwords"


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a ",
        "<!--",
        "<![CDATA[",
        "<a b='",
        "</",
        "&#",
        "<?",
        "<!",
        "<div>",
        "<a href=x>",
        "<script>",
        "&a",
        "<p ",
    ],
)
def test_a_megabyte_of_broken_marks_takes_no_more_than_seconds(piece):
    page = (piece * (1_000_000 // len(piece)))[:1_000_000]
    started = time.process_time()

    page_text(page, "https://example.org/")

    assert time.process_time() - started < 8


@pytest.mark.parametrize(
    "long",
    [
        "<!--" + "SECRET " * 20_000 + "-->",
        '<img src="data:image/png;base64,' + "SECRET" * 20_000 + '">',
        "<script>" + "SECRET < " * 20_000 + "</script>",
        "<style>" + "SECRET " * 20_000 + "</style>",
    ],
)
def test_what_is_long_and_not_shown_does_not_come_to_light(long):
    assert page_text(f"<p>before</p>{long}<p>after</p>") == "before\n\nafter"


def test_a_long_text_is_whole():
    assert page_text("<p>" + "word & more " * 20_000).count("word & more") == 20_000
