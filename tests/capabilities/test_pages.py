import pytest

from loom_nb.capabilities.pages import page_text


def test_a_page_becomes_headings_paragraphs_lists_tables_and_links():
    page = """<!doctype html><html><head><title>The  news</title><style>x{}</style></head><body>
    <header><h1>One</h1></header><p>Some <b>bold</b>\n words &amp; <a href="/more?x=1">a link</a>.</p>
    <ul><li>first<li>second<ul><li>inner</ul></ul><ol><li>one<li>two</ol>
    <table><tr><th>a<th>b<tr><td>1<td>2|3</table><pre>  keep
    this</pre><img src=x alt="a cat"></body></html>"""

    assert page_text(page, "https://example.org/dir/") == (
        "Title: The news\n\n# One\n\nSome **bold** words & [a link](https://example.org/more?x=1).\n\n"
        "- first\n- second\n  * inner\n\n1. one\n2. two\n\n| a | b |\n| --- | --- |\n| 1 | 2\\|3 |\n\n"
        "```\n  keep\n    this\n```\n\n![a cat](https://example.org/dir/x)"
    )


def test_the_language_of_code_is_kept():
    page = '<pre><code class="language-python">x = 1\ny = "`"</code></pre>'

    assert page_text(page) == '```python\nx = 1\ny = "`"\n```'


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<form><h1>All of it</h1><p>is in a form</p></form>", "# All of it\n\nis in a form"),
        ("<nav><a href=/n>next</a></nav>", "[next](https://example.org/n)"),
        ("<base href='https://other.test/x/'><a href=y>z</a>", "[z](https://other.test/x/y)"),
        ("<a href='/a b(c)'>z</a>", "[z](https://example.org/a%20b%28c%29)"),
        ("<img src='data:image/png;base64,AAAA' alt='a dot'>", "a dot"),
        ("<p>one<img src=/pixel.gif>two</p>", "onetwo"),
        (
            "<a href=/p><img src=/i.png alt=pic></a>",
            "[![pic](https://example.org/i.png)](https://example.org/p)",
        ),
        ("<p>1 &lt; 2 &amp; 3", "1 < 2 & 3"),
        ("", ""),
        ("just words", "just words"),
        ("\ud800\0", "\ufffd\u2400"),
    ],
)
def test_small_pages(page, expected):
    assert page_text(page, "https://example.org/dir/") == expected


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
        "<table><tr><td>",
        "<ul><li>",
        "<blockquote>",
        "<b>",
        "<a '",
        '<a "' + "'>",
        "<svg>",
        "<title>",
        "<td>x",
        "<img src=x alt=y>",
    ],
)
@pytest.mark.timeout(150)  # a second where the work grows with the length, hours where with its square
def test_a_megabyte_of_broken_marks_is_read_in_linear_time(piece):
    page = (piece * (1_000_000 // len(piece)))[:1_000_000]

    assert isinstance(page_text(page, "https://example.org/"), str)


@pytest.mark.parametrize(
    "page",
    [
        "<p " + " ".join(f"a{n}=1" for n in range(120_000)) + ">words",
        "<p " + " ".join(f"a{n}='<>'" for n in range(80_000)) + ">words",
        "<base href='http://x.test/" + "a" * 400_000 + "/'>" + "<a href=x>words</a>" * 20_000,
        "<table><tr>" + "<td>x" * 2_000 + "<tr><td>words" * 2_000 + "</table>",
        "<table>" + "<tr><td colspan=10000 rowspan=60000>words" * 500 + "</table>",
        "<div>" * 100 + "words" + "</div>" * 100_000,
    ],
)
@pytest.mark.timeout(150)
def test_a_page_that_was_made_to_be_costly_is_read_in_bounds(page):
    text = page_text(page, "https://example.org/")

    assert "words" in text
    assert len(text) < 10_000_000


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
