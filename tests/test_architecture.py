"""The floors: every module stands on one, and knows only those below."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

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


def test_foreign_text_reaches_a_screen_only_through_our_renderer():
    """No display(HTML(...)), display(Markdown(...)), ipywidgets.HTML: they would run what they are given."""
    forbidden = {"HTML", "Markdown", "HTMLMath", "Javascript", "SVG"}
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
                "IPython",
                "ipywidgets",
            ):
                found += [f"{path.name}: {alias.name}" for alias in node.names if alias.name in forbidden]
            named = (
                isinstance(node, ast.Attribute)
                and node.attr in forbidden
                and isinstance(node.value, ast.Name)
            )
            if named and node.value.id in ("IPython", "ipywidgets", "widgets", "display", "W"):
                found.append(f"{path.name}: {node.value.id}.{node.attr}")
    assert found == []


def test_functions_fit_on_a_screen():
    long = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 75:
                    long.append(f"{path.relative_to(ROOT)}:{node.name} has {length} lines")
    assert long == []
