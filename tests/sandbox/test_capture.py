"""A long output in bounded memory."""

from loom_nb.sandbox.capture import LiveView, Window


def test_a_short_output_is_kept_whole():
    window = Window(100)
    window.add(b"one\n")
    window.add("zwei ä\n".encode())
    assert window.text() == "one\nzwei ä\n"
    assert window.cut == 0


def test_of_a_long_output_the_two_ends_are_kept_and_the_middle_is_counted():
    window = Window(20)
    for n in range(1000):
        window.add(f"{n:04d}\n".encode())
    assert window.text() == "0000\n0001\n\n[… 4,980 bytes left out …]\n0998\n0999\n"
    assert window.total == 5000


def test_a_cut_in_the_middle_of_a_character_leaves_no_broken_one_behind():
    window = Window(7)
    window.add("ä".encode() * 50)
    assert "\ufffd" not in window.text()


def test_an_output_of_exactly_the_limit_is_not_cut():
    window = Window(10)
    window.add(b"0123456789")
    assert (window.text(), window.cut) == ("0123456789", 0)


def test_the_live_view_gathers_what_comes_quickly():
    shown: list[str] = []
    view = LiveView(shown.append, every=0.1)
    for n in range(10):
        view.add(b"x", now=1.0 + n / 1000)
    assert shown == ["x"]
    view.tick(1.2)
    assert shown == ["x", "x" * 9]


def test_the_live_view_skips_what_nobody_could_read_and_says_so():
    shown: list[str] = []
    view = LiveView(shown.append, every=0.1, most=10)
    view.add(b"a" * 5, now=1.0)
    view.add(b"b" * 95, now=1.01)
    view.add(b"c" * 5, now=1.02)
    view.finish()
    assert shown == ["aaaaa", "\n[… 90 bytes not shown …]\nbbbbbccccc"]


def test_a_character_that_comes_in_two_pieces_is_shown_once_it_is_whole():
    shown: list[str] = []
    view = LiveView(shown.append, every=0.0)
    first, second = "ä".encode()[:1], "ä".encode()[1:]
    view.add(first, now=1.0)
    view.add(second, now=2.0)
    view.finish()
    assert "".join(shown) == "ä"
