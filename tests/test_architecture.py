"""The floors: every module stands on one, and knows only those below."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "loom_nb"


def test_the_contracts_of_the_floors_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_says_on_which_floor_it_stands():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = {name.strip() for layer in contracts[0]["layers"] for name in layer.replace("|", ":").split(":")}
    there = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - {"__init__", "__main__"} == named


def test_every_module_opens_with_a_sentence():
    silent = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if not (ast.get_docstring(ast.parse(path.read_text())) or "").strip()
    ]
    assert silent == []


FORBIDDEN = frozenset({"HTML", "HTMLMath", "Javascript", "Latex", "Markdown", "Math", "SVG"})
"""What runs, or draws, whatever text it is given."""
SHOWING = ("IPython", "ipywidgets")


def unfit(source: str) -> list[str]:
    """The displays of foreign text in a module, as they are written, whatever they are imported as."""
    homes: dict[str, str] = {}
    """What each name in the module stands for: `W` for `ipywidgets`, `show` for `IPython.display`."""
    found, tree = [], ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.asname is not None
                homes[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if whole else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in SHOWING:
            homes |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found += [alias.name for alias in node.names if alias.name in FORBIDDEN | {"*"}]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN:
            first, _, rest = ast.unparse(node.value).partition(".")
            if f"{homes.get(first, first)}.{rest}".split(".")[0] in (*SHOWING, "widgets", "display"):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and _looks_up(node, homes):
            found.append(ast.unparse(node))
    return found


def _looks_up(call: ast.Call, homes: dict[str, str]) -> bool:
    """Whether it is `getattr(module, "HTML")` of one of those modules."""
    if not (isinstance(call.func, ast.Name) and call.func.id == "getattr" and len(call.args) > 1):
        return False
    of, name = call.args[0], call.args[1]
    first = ast.unparse(of).partition(".")[0]
    known = homes.get(first, first).partition(".")[0] in SHOWING
    return known and not (isinstance(name, ast.Constant) and name.value not in FORBIDDEN)


@pytest.mark.parametrize(
    "source",
    [
        "from IPython.display import HTML",
        "from IPython.display import Markdown as words",
        "from IPython.core.display import HTML",
        "from ipywidgets import HTMLMath",
        "from ipywidgets.widgets import HTML",
        "from IPython.display import *",
        "import IPython\nIPython.display.HTML(text)",
        "import IPython.display\nIPython.display.Markdown(text)",
        "import IPython.display as show\nshow.HTML(text)",
        "import IPython.core.display as d\nd.Javascript(text)",
        "from IPython import display\ndisplay.HTML(text)",
        "from IPython import display as d\nd.SVG(text)",
        "from IPython.core import display_functions as d, display as e\ne.HTML(text)",
        "import ipywidgets\nipywidgets.HTML(text)",
        "import ipywidgets as W\nW.HTML(text)",
        "import ipywidgets as x\nx.HTMLMath(text)",
        "import ipywidgets.widgets as w\nw.HTML(text)",
        "from ipywidgets import widgets as w\nw.HTML(text)",
        "def late():\n    import ipywidgets as x\n    return x.widgets.HTML",
        "import ipywidgets as x\nmake = x.HTML",
        "import ipywidgets as x\ngetattr(x, 'HTML')(text)",
        "import ipywidgets as x\ngetattr(x, name)(text)",
    ],
)
def test_the_rule_about_foreign_text_sees_every_way_to_write_it(source):
    assert unfit(source)


@pytest.mark.parametrize(
    "source",
    [
        "from IPython.display import display\ndisplay(bundle, raw=True)",
        "import ipywidgets as x\nx.Button()",
        "import ipywidgets as x\ngetattr(x, 'Button')",
        "from loom_nb.render import HTML\nHTML(text)",
        "import strict\nstrict.Markdown(text)",
        "words = kinds.HTML",
    ],
)
def test_the_rule_about_foreign_text_lets_ours_be(source):
    assert unfit(source) == []


def test_foreign_text_reaches_a_screen_only_through_our_renderer():
    """No display(HTML(...)), display(Markdown(...)), ipywidgets.HTML: they would run what they are given."""
    found = {path.name: wrong for path in PACKAGE.rglob("*.py") if (wrong := unfit(path.read_text()))}
    assert found == {}


def test_functions_fit_on_a_screen():
    long = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 75:
                    long.append(f"{path.relative_to(ROOT)}:{node.name} has {length} lines")
    assert long == []
