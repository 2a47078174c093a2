import inspect
import subprocess
import sys

import pytest

from loom_nb import protocols
from loom_nb.capabilities import Capability
from loom_nb.errors import LoomUsageError, NotBuiltError, SetupError
from loom_nb.tools import tool


def double(x: int) -> int:
    """Twice x."""
    return 2 * x


async def test_every_constructor_gives_a_description_that_opens_to_tools(tmp_path):
    made = [
        Capability.files(str(tmp_path), read_only=False),
        Capability.shell(str(tmp_path)),
        Capability.web(),
        Capability.http(),
        Capability.python({}),
        Capability.variables({}),
        Capability.human(),
        Capability.plan(),
        Capability.scratchpad(),
        Capability.custom("maths", tools=[double]),
    ]

    for capability in made:
        assert isinstance(capability, protocols.Capability)
        toolset = await capability.open()
        assert toolset.tools
        for one in toolset.tools:
            assert one.description
            assert one.schema["type"] == "object"
            assert one.validate is not None
        if toolset.close is not None:
            await toolset.close()
    names = ["files", "shell", "web", "http", "python", "variables", "human", "plan", "scratchpad", "maths"]
    assert [capability.name for capability in made] == names


async def test_custom_tools_are_functions_or_tools_with_names_of_their_own():
    @tool(read_only=True)
    def triple(x: int) -> int:
        return 3 * x

    toolset = await Capability.custom("maths", [double, triple]).open()

    assert [(t.name, t.read_only) for t in toolset.tools] == [("double", False), ("triple", True)]
    assert Capability.custom("maths", [triple]) == Capability.custom("maths", tools=(triple,))


@pytest.mark.parametrize(
    ("name", "tools", "error", "named"),
    [
        ("", [double], LoomUsageError, "name"),
        (3, [double], LoomUsageError, "name"),
        ("maths", [double, double], LoomUsageError, "double"),
        ("maths", double, LoomUsageError, "tools"),
        ("maths", [3], SetupError, "int"),
        ("maths", "double", SetupError, "str"),
    ],
)
def test_wrong_custom_tools_are_refused_at_once(name, tools, error, named):
    with pytest.raises(error, match=named):
        Capability.custom(name, tools=tools)


@pytest.mark.parametrize("noun", ["mcp"])
def test_what_is_not_built_is_refused_by_name(noun):
    with pytest.raises(NotBuiltError, match=f"Capability.{noun} is not part of this version") as caught:
        getattr(Capability, noun)("anything", option=1)

    assert "built are files, shell, web" in str(caught.value)


@pytest.mark.parametrize(
    ("constructor", "wrong", "fix"),
    [
        (Capability.files, {"rooot": "."}, "Capability.files(root=...)"),
        (Capability.web, {"allowed": []}, "Capability.web(allow=...)"),
        (Capability.variables, {"namespace": {}, "hiden": ()}, "Capability.variables(hidden=...)"),
        (Capability.custom, {"name": "x", "tool": []}, "Capability.custom(tools=...)"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_one(constructor, wrong, fix):
    with pytest.raises(LoomUsageError, match="has no field") as caught:
        constructor(**wrong)

    assert list(wrong)[-1] in caught.value.title
    assert caught.value.fixes == (fix,)


def test_a_missing_or_surplus_argument_is_a_usage_error():
    with pytest.raises(LoomUsageError, match="namespace"):
        Capability.variables()
    with pytest.raises(LoomUsageError, match="too many"):
        Capability.files(".", True, 3)


def test_the_facade_itself_is_not_an_instance_of_anything():
    with pytest.raises(LoomUsageError, match="not made directly"):
        Capability()


def test_the_constructors_keep_their_signatures_for_help_and_completion():
    assert list(inspect.signature(Capability.files).parameters) == ["root", "read_only"]
    assert "root" in inspect.getdoc(Capability.files)


def test_importing_the_capabilities_loads_no_heavy_library():
    heavy = "'httpx', 'httpx2', 'httpcore2', 'pandas', 'numpy', 'IPython', 'pydantic', 'matplotlib', 'anyio'"
    code = f"import sys, loom_nb.capabilities; print([m for m in ({heavy}) if m in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
