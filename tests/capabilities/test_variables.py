import dataclasses
import datetime as dt
import enum
import types

import numpy as np
import pandas as pd
import pytest

from loom_nb.capabilities import Capability
from loom_nb.capabilities.variables import inspected, listing
from loom_nb.errors import LoomUsageError, ToolError
from loom_nb.messages import ImagePart
from tests.capabilities.hostile import CALLS, WiredType, make, wired

DETAILS = ("summary", "schema", "head", "statistics")


def rows(namespace, **options):
    return listing(Capability.variables(namespace, **options).visible())


def inspect_text(namespace, name, detail="summary"):
    return inspected(Capability.variables(namespace).visible(), name, detail)[0].text


async def call(tool, **arguments):
    value = tool.function(**tool.validate(arguments))
    return "\n".join(part.text for part in value if hasattr(part, "text"))


async def test_the_tools_only_read_and_see_variables_made_after_they_were_opened():
    namespace = {}
    toolset = await Capability.variables(lambda: namespace).open()
    listed, inspected_ = toolset.tools
    assert [(t.name, t.effects) for t in toolset.tools] == [
        ("list_variables", frozenset({"reads"})),
        ("inspect_variable", frozenset({"reads"})),
    ]
    assert await call(listed) == "the notebook has no variables yet"

    namespace["price"] = 3.5

    assert "price | float |  | 3.5" in await call(listed)
    assert "price: 3.5" in await call(inspected_, name="price")


async def test_an_unknown_detail_is_refused_before_the_call():
    toolset = await Capability.variables({"x": 1}).open()

    with pytest.raises(ToolError, match="detail"):
        toolset.tools[1].validate({"name": "x", "detail": "everything"})


def test_modules_private_names_and_ipythons_own_are_not_listed():
    namespace = {
        "np": np,
        "_": 1,
        "_hidden": 1,
        "In": [],
        "Out": {},
        "exit": 1,
        "quit": 1,
        "get_ipython": 1,
        "kept": 2,
    }

    assert rows(namespace).splitlines() == ["name | type | size | summary", "kept | int |  | 2"]


def test_hidden_takes_names_patterns_and_the_values_ipython_began_with():
    started = {"open": 1}
    namespace = {"open": started["open"], "tmp_a": 1, "b": 2}

    assert rows(namespace, hidden=["tmp*", "b"]).splitlines()[1:] == ["open | int |  | 1"]
    assert "open" not in rows(namespace, hidden=started)
    assert "open" in rows({"open": "mine"}, hidden=started)


def test_functions_and_classes_come_last_by_their_signatures():
    def total(prices: list[float], *rest, tax: float = 0.2, api_key="s3cret", **more) -> float:
        """Add up prices.

        More words.
        """

    async def later(a, /, b=None): ...

    class Shop:
        """Sells."""

        def open(self, hour: int): ...

    text = rows({"total": total, "x": 1, "later": later, "Shop": Shop, "alias": total})

    assert text.splitlines()[3:] == [
        "functions and classes:",
        "  total(prices: list[float], *rest, tax: float = 0.2, api_key=..., **more) -> float",
        "  async later(a, /, b=None)",
        "  class Shop",
        "  alias = total(prices: list[float], *rest, tax: float = 0.2, api_key=..., **more) -> float",
    ]
    assert inspect_text({"total": total}, "total").endswith("-> float\nAdd up prices.")
    assert inspect_text({"Shop": Shop}, "Shop") == "Shop: class Shop\nSells.\n  open(self, hour: int)"


def test_a_missing_name_is_an_error_that_names_the_nearest():
    with pytest.raises(ToolError) as caught:
        inspect_text({"orders": 1}, "order")

    assert "no variable 'order'" in str(caught.value)
    assert "orders" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "withheld"),
    [
        ("api_key", "v4lue", True),
        ("OPENAI_API_KEY", "v4lue", True),
        ("openaiKey", "v4lue", True),
        ("key", "v4lue", True),
        ("token", "v4lue", True),
        ("accessToken", "v4lue", True),
        ("password", "v4lue", True),
        ("db_password", b"v4lue", True),
        ("secret", ["v4lue"], True),
        ("client_secret", {"a": "v4lue"}, True),
        ("password", 123456, True),
        ("monkey", "v4lue", False),
        ("keyboard", "v4lue", False),
        ("tokenizer", "v4lue", False),
        ("max_tokens", 4096, False),
        ("password", None, False),
    ],
)
def test_what_looks_like_a_secret_by_its_name_is_listed_without_its_value(name, value, withheld):
    listed = rows({name: value})
    looked = "".join(inspect_text({name: value}, name, detail) for detail in DETAILS)

    assert name in listed
    assert ("withheld" in listed) == withheld
    assert ("withheld" in looked) == withheld
    if withheld:
        assert "v4lue" not in listed + looked
        assert "123456" not in listed + looked


def test_secrets_inside_of_other_values_are_withheld_too():
    @dataclasses.dataclass
    class Login:
        user: str
        password: str

    frame = pd.DataFrame({"user": ["ann"], "password": ["v4lue"], "api_key": ["v4lue"], "key": ["k1"]})
    namespace = {
        "cfg": {"api_key": "v4lue", "deep": {"secret": "v4lue"}, "url": "http://x"},
        "many": [{"auth_token": "v4lue"}],
        "login": Login("ann", "v4lue"),
        "frame": frame,
    }

    text = rows(namespace) + "".join(inspect_text(namespace, name, d) for name in namespace for d in DETAILS)

    assert "v4lue" not in text
    assert all(word in text for word in ("ann", "http://x", "k1", "withheld"))


def hostile_namespace():
    plain = make(wired())
    built = {
        "h_object": plain,
        "h_dict": make(wired(dict)),
        "h_list": make(wired(list)),
        "h_set": make(wired(set)),
        "h_tuple": make(wired(tuple), (1, 2)),
        "h_str": make(wired(str), "words"),
        "h_int": make(wired(int), 7),
        "h_float": make(wired(float), 1.5),
        "h_bytes": make(wired(bytes), b"raw"),
        "h_date": make(wired(dt.date), 2024, 1, 2),
        "h_frame": make(wired(pd.DataFrame, without=("__setattr__", "__getattribute__", "__getattr__"))),
        "h_array": make(wired(np.ndarray, without=("__array_finalize__",)), (0,)),
        "h_error": make(wired(ValueError)),
    }
    # pandas asks objects when a frame is made of them: so they are put in afterwards
    hashless, table = np.array([1, 2, 3], dtype=object), np.array([[1, 2], [3, 4]], dtype=object)
    built["series_of_hostile"] = pd.Series(hashless, dtype=object, copy=False)
    built["frame_of_hostile"] = pd.DataFrame(table, columns=["a", "b"], copy=False)
    for spot in range(2):
        hashless[spot] = table[spot, 0] = plain
    built["array_of_hostile"] = hashless
    built["dict_of_hostile"] = {"a": plain, "b": [plain, (plain,)]}
    built["list_of_hostile"] = [plain, plain]
    built["space"] = types.SimpleNamespace(a=plain)
    built["HostileClass"] = type.__call__(WiredType, "HostileClass", (), {"method": lambda self: None})
    attributed = pd.DataFrame({"a": [1]})
    attributed.attrs["mine"] = plain
    built["frame_with_attrs"] = attributed

    def with_defaults(a=plain, b: "plain" = 3): ...

    with_defaults.__annotations__["a"] = plain
    built["function_with_hostile"] = with_defaults

    class Zone(dt.tzinfo):
        def utcoffset(self, _):
            CALLS.append("utcoffset")
            return dt.timedelta(0)

        dst = tzname = utcoffset

    built["moment"] = dt.datetime(2024, 1, 1, tzinfo=Zone())

    @dataclasses.dataclass
    class Lazy:
        a: int = 1

        @property
        def costly(self):
            CALLS.append("costly")
            raise RuntimeError

    built["lazy"] = Lazy()
    return built


def test_looking_at_hostile_values_calls_none_of_their_code():
    namespace = hostile_namespace()
    CALLS.clear()
    WiredType.armed = True
    try:
        listed = rows(namespace)
        looked = {(n, d): inspect_text(namespace, n, d) for n in namespace for d in DETAILS}
    finally:
        WiredType.armed = False

    assert CALLS == []
    assert all(f"{name} | " in listed for name in namespace if "function" not in name and "Class" not in name)
    assert "could not be described" not in "".join(looked.values())
    assert "visible: int" in looked["h_object", "summary"]
    assert "s3cret" not in "".join([listed, *looked.values()])
    assert looked["h_str", "summary"] == "h_str: words"
    assert looked["h_int", "summary"] == "h_int: 7"
    assert "<Hostile>" in looked["frame_of_hostile", "head"]


def test_the_traps_of_the_hostile_values_do_work():
    plain = make(wired())
    CALLS.clear()

    for ask in (
        repr,
        len,
        str,
        bool,
        hash,
        lambda v: v.name,
        lambda v: v == 1,
        lambda v: isinstance(v, dict),
    ):
        with pytest.raises(RuntimeError):
            ask(plain)

    assert len(CALLS) >= 8


def test_a_user_class_is_shown_by_the_names_and_types_of_its_attributes_only():
    class Client:
        limit = 3

        def __init__(self):
            self.url = "http://hidden.example"
            self.rows = [1, 2]
            self._private = 1

    class Slotted:
        __slots__ = ("a", "b")

        def __init__(self):
            self.a = 5

    text = inspect_text({"client": Client()}, "client")

    assert "url: str, 21 characters" in text
    assert "rows: list, 2 items of int" in text
    assert "hidden.example" not in text
    assert "_private" not in text
    assert "a: int" in inspect_text({"s": Slotted()}, "s")


def test_records_and_enums_show_their_values():
    class Colour(enum.Enum):
        RED = 1

    @dataclasses.dataclass
    class Point:
        x: int
        colour: Colour

    text = inspect_text({"p": Point(3, Colour.RED)}, "p")

    assert "x: 3" in text
    assert "Colour.RED" in text


def test_a_figure_comes_with_its_picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(40, 20))
    figure.subplots().plot([1, 2, 3])

    text, image = inspected({"fig": figure}, "fig", "summary")

    assert "40\u00d720 in" in text.text
    assert isinstance(image, ImagePart)
    assert image.data.startswith(b"\x89PNG")
    assert int.from_bytes(image.data[16:20], "big") <= 1200
    assert (image.name, str(image.origin)) == ("fig", "notebook:fig")


def test_a_namespace_that_grows_while_it_is_listed_is_no_failure():
    import threading

    namespace = {f"v{n}": n for n in range(50)}
    stop = threading.Event()

    def grow():
        n = 0
        while not stop.is_set():
            namespace[f"w{n % 500}"] = n
            namespace.pop(f"w{(n * 7) % 500}", None)
            n += 1

    worker = threading.Thread(target=grow)
    worker.start()
    try:
        for _ in range(50):
            assert "v49 | int" in rows(namespace)
    finally:
        stop.set()
        worker.join()


def test_a_long_listing_is_cut_and_names_the_rest():
    text = rows({f"v{n}": n for n in range(260)})

    assert "... and 60 more: v200, v201" in text


@pytest.mark.parametrize("wrong", [{"namespace": 3}, {"namespace": {}, "hidden": "abc"}, {"namespaces": {}}])
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(LoomUsageError, match=r"namespace|hidden"):
        Capability.variables(**wrong)


def test_the_description_shows_none_of_the_variables_in_its_repr():
    assert "v4lue" not in repr(Capability.variables({"a": "v4lue"}))
