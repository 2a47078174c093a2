"""Tags of cells, however they are spelled."""

import pytest

from loom_nb.capabilities.cell_tags import is_hidden, is_pinned, tags_of
from loom_nb.capabilities.notebook_file import listed


@pytest.mark.parametrize(
    "tag", ["loom-hide", "loom:hide", "Loom_Hide", " loom hide ", "loom-exclude", "LOOM.HIDDEN"]
)
def test_a_cell_is_hidden_by_its_tag(tag):
    assert is_hidden(["x", tag])
    assert not is_pinned([tag])


@pytest.mark.parametrize("tag", ["loom-pin", "loom:pin", "loom/pinned"])
def test_a_cell_is_pinned_by_its_tag(tag):
    assert is_pinned({tag})
    assert not is_hidden({tag})


@pytest.mark.parametrize("tag", ["hide", "loom", "hide-input", "loomhide", ""])
def test_other_tags_say_nothing(tag):
    assert not is_hidden([tag])
    assert not is_pinned([tag])


@pytest.mark.parametrize("odd", [None, [], {"tags": "loom-hide"}, {"tags": None}, {"tags": 3}])
def test_odd_metadata_has_no_tags(odd):
    assert tags_of(odd) == frozenset()


def test_the_list_of_a_notebook_file_keeps_a_hidden_cell_to_itself():
    book = (
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": ['
        b'{"cell_type": "code", "id": "a", "metadata": {"tags": ["loom:hide"]}, "source": "hush", "outputs": []},'
        b'{"cell_type": "markdown", "id": "b", "metadata": {}, "source": "seen"}]}'
    )
    told = listed(book, "it.ipynb")
    assert "hush" not in told
    assert "[0] hidden from agents by a tag" in told
    assert "seen" in told
