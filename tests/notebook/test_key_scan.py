"""What `scan` finds in a notebook, and that no finding holds a secret."""

import base64
import json
from typing import Any

import pytest

from loom_nb.notebook.key_scan import KeyFinding, scan
from loom_nb.redaction.redactor import Redactor

TOKEN = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"


def cell(source: str, *outputs: dict[str, Any], kind: str = "code", **more: Any) -> dict[str, Any]:
    return {
        "cell_type": kind,
        "metadata": {},
        "source": source.splitlines(True),
        "outputs": list(outputs),
        **more,
    }


def notebook(*cells: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def places(found: tuple[KeyFinding, ...]) -> list[tuple[int, str, str]]:
    return [(one.cell, one.where, one.kind) for one in found]


STREAM = {"output_type": "stream", "name": "stdout", "text": [f"token is {TOKEN}\n"]}
PLACES: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
    "source": (notebook(cell("1"), cell(f"x = 1\nt = '{TOKEN}'")), (2, "source")),
    "Markdown": (notebook(cell(f"use {TOKEN}", kind="markdown")), (1, "source")),
    "stream": (notebook(cell("1", STREAM)), (1, "output")),
    "html": (
        notebook(cell("1", {"output_type": "display_data", "data": {"text/html": f"<b>{TOKEN}</b>"}, "metadata": {}})),
        (1, "output"),
    ),
    "json": (
        notebook(cell("1", {"output_type": "display_data", "data": {"application/json": {"a": [{"b": TOKEN}]}}})),
        (1, "output"),
    ),
    "traceback": (
        notebook(cell("1", {"output_type": "error", "ename": "E", "evalue": "no", "traceback": [f"\x1b[31mbad {TOKEN}\x1b[0m"]})),
        (1, "output"),
    ),
    "metadata of an output": (notebook(cell("1", {"output_type": "stream", "text": "", "metadata": {"h": TOKEN}})), (1, "output")),
    "metadata of a cell": (notebook(cell("1") | {"metadata": {"loom": {"note": TOKEN}}}), (1, "metadata")),
    "attachment": (notebook(cell("![a](attachment:a.txt)", kind="markdown", attachments={"a.txt": {"text/plain": TOKEN}})), (1, "attachment")),
    "metadata of the notebook": (notebook(cell("1"), params={"t": TOKEN}), (0, "metadata")),
    "widget state": (
        notebook(cell("1"), widgets={"application/vnd.jupyter.widget-state+json": {"state": {"a": {"state": {"value": TOKEN}}}}}),
        (0, "widget state"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_a_key_is_found_wherever_it_stands(name: str):
    given, (number, where) = PLACES[name]

    found = scan(given)

    assert places(found) == [(number, where, "GitHub token")]
    assert found[0].fix
    assert TOKEN[4:] not in repr(found) + str(found[0])


def test_a_text_with_a_secrets_name_is_found_also_where_it_is_put_out():
    said = {"output_type": "stream", "name": "stdout", "text": "it is correcthorsebattery"}
    given = notebook(cell("password = 'correcthorsebattery'"), cell("print(password)", said))

    found = scan(given)

    assert places(found) == [
        (1, "source", "text with a secret's name"),
        (2, "output", "text with a secret's name"),
    ]
    assert "correcthorse" not in repr(found)


def test_a_password_in_a_widget_is_found_by_its_name():
    state = {"a": {"model_name": "PasswordModel", "state": {"password": "hunter2hunter2"}}}

    found = scan(notebook(widgets={"application/vnd.jupyter.widget-state+json": {"state": state}}))

    assert places(found) == [(0, "widget state", "password")]


def test_a_stored_secret_is_found_in_any_encoding_also_in_what_is_no_text():
    redactor = Redactor({"db.main": ["just some words"]})
    picture = base64.b64encode(b"\x89PNG just some words").decode()
    shown = {"output_type": "display_data", "data": {"image/png": picture}, "metadata": {}}
    given = notebook(cell("a = 'just%20some%20words'"), cell("1", shown))

    found = scan(
        given, lambda texts: [(n, name) for n, text in enumerate(texts) for name in redactor.names_in(text)]
    )

    assert [(one.cell, one.where, one.scope) for one in found] == [
        (1, "source", "db.main"),
        (2, "output", "db.main"),
    ]
    assert "some words" not in repr(found)


def test_several_in_one_line_are_all_masked_in_its_excerpt():
    found = scan(notebook(cell(f"# {TOKEN} password=hunter2hunter2")))

    assert [one.excerpt for one in found] == ["# ghp_…", "# ghp_… password=…"]


def test_a_clean_notebook_and_one_that_is_none_have_no_findings():
    assert (
        scan(
            notebook(cell("import os\nkey = os.environ['API_KEY']", {"output_type": "stream", "text": "ok"}))
        )
        == ()
    )
    assert scan({}) == ()
    assert scan({"cells": [None, {"source": 3, "outputs": [None]}], "metadata": []}) == ()


def test_the_lessons_have_no_findings():
    from pathlib import Path

    for path in sorted(Path("tutorial").glob("*.ipynb")):
        found = scan(json.loads(path.read_text("utf-8")))
        shown = [
            one for one in found if path.name != "09_secrets.ipynb" or one.cell != 38
        ]  # which is about it
        assert not shown, f"{path}: {[str(one) for one in shown]}"
