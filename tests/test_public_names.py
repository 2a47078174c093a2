"""The public face: sorted, whole, loaded on first use."""

import subprocess
import sys

import loom_nb


def test_the_public_names_are_sorted_and_whole():
    assert loom_nb.__all__ == sorted(loom_nb.__all__, key=lambda name: (name.islower(), name))
    assert set(loom_nb._HOMES) | {"load_ipython_extension", "unload_ipython_extension"} == set(
        loom_nb.__all__
    )


def test_every_public_name_is_there_and_lives_where_it_says():
    for name, home in loom_nb._HOMES.items():
        value = getattr(loom_nb, name)
        assert value is getattr(sys.modules[home], name)
        assert value.__doc__, f"{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(loom_nb, "nothing_of_this_name")
    assert set(loom_nb.__all__) <= set(dir(loom_nb))


HEAVY = (
    "anthropic",
    "openai",
    "pandas",
    "ipywidgets",
    "anywidget",
    "IPython",
    "httpx2",
    "pydantic",
    "rich",
    "sqlite3",
)


def loaded_by(statement: str, which: str = "sys.modules") -> set[str]:
    code = f"import sys; {statement}; print(*({which}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stderr == ""
    return set(out.stdout.splitlines()[-1].split())  # a card may stand above


def test_importing_the_package_loads_nothing_heavy_and_prints_nothing():
    assert not loaded_by("import loom_nb") & set(HEAVY)


def test_making_an_agent_and_running_it_offline_loads_no_sdk():
    statement = (
        "from loom_nb import Agent, MemoryStore; "
        "assert Agent(session_store=MemoryStore()).run_sync('hello').status == 'completed'"
    )
    assert not loaded_by(statement) & {"anthropic", "openai", "pandas", "ipywidgets", "IPython", "httpx2"}


def test_loading_the_extension_loads_nothing_heavy_beside_the_shell():
    """A kernel is looked at in `notebook/test_kernel.py`."""
    statement = (
        "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance(); "
        "before = set(sys.modules); shell.run_line_magic('load_ext', 'loom_nb')"
    )
    loaded = loaded_by(statement, "set(sys.modules) - before")
    assert "loom_nb.notebook.extension" in loaded
    assert not loaded & {*HEAVY, "httpx", "numpy", "matplotlib"}
