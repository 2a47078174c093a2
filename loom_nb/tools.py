"""A function that a model may call: its name, its schema, what it does to the world.

    @tool(read_only=True)
    def search(query: str, limit: int = 5) -> list[str]:
        '''Search the documentation.

Args:
            query: what to look for.
        '''

The schema comes from the annotations and the docstring. A tool that declares no effects counts as
one that writes.
"""

import dataclasses
import functools
import hashlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import msgspec

from loom_nb import checks
from loom_nb.border import clean, parse_object
from loom_nb.errors import LoomUsageError, SetupError, ToolError
from loom_nb.messages import FilePart, ImagePart, Origin, ResultPart, TextPart
from loom_nb.tokens import estimate

if TYPE_CHECKING:
    from pydantic import BaseModel

Effect = Literal["reads", "writes", "runs", "network"]
EFFECTS: tuple[Effect, ...] = ("reads", "writes", "runs", "network")

DEFAULT_TIMEOUT = 300.0
"""Seconds that a tool may take where it names no limit of its own."""
DEFAULT_MAX_CHARS = 20_000
"""Characters of a result that the model is given; the middle of a longer one is read on request."""

MAX_ATTACHMENT_BYTES = 8 * 2**20
"""Bytes of an image or file that a tool may return."""

ToolFunction: TypeAlias = Callable[..., Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Assessment:
    """What one call would do, told by its tool before it runs. Making it changes nothing.

    The judge decides on this rather than on what the tool could do at worst.
    """

    effects: frozenset[Effect]
    destructive: bool = False
    reasons: tuple[str, ...] = ()
    """For the card, in words: "deletes files", "overwrites report.csv"."""
    refusal: str = ""
    """Not empty: nobody can allow it, for example a path outside of the root."""
    failure: str = ""
    """Not empty: it would fail as things are, so that nobody need be asked; told to the model."""
    preview: str = ""
    """What would change or run."""
    preview_kind: Literal["text", "diff", "code", "command"] = "text"
    paths: tuple[str, ...] = ()
    """Every path that it touches: absolute, links resolved."""
    hosts: tuple[str, ...] = ()
    """Every host that it talks to: lower case, IDNA."""
    sandbox: str = ""
    """The level under which a child process would run; empty where there is none."""
    binds: str = ""
    """What a leave is bound to beside the arguments: the hash of a script that would run."""
    seal: str = ""
    """Stands for what was looked at (a file's content); if it differs when the leave comes, it is void."""


_WANTED = {
    "effects": checks.some_of(*EFFECTS, such_as='["reads"]'),
    "function": checks.function("the arguments", such_as="my_function"),
    "description": checks.text(such_as='"what it does"'),
    **dict.fromkeys(("destructive", "idempotent"), checks.flag()),
    "parallel": checks.flag(optional=True),
    "timeout": checks.number(above=0, unit="a number of seconds", such_as="60"),
    "max_chars": checks.whole(1, such_as="20_000"),
}


@dataclasses.dataclass(frozen=True)
class Tool:
    """A named function with its schema and its effects.

    Raises:
        LoomUsageError: a field is of a wrong type, or out of range.
    """

    function: ToolFunction
    name: str
    description: str
    effects: frozenset[Effect] = frozenset({"writes"})
    destructive: bool = False
    """Whether what it does cannot be taken back."""
    idempotent: bool = False
    """Whether running it twice is the same as once: only then is it repeated after a crash."""
    parallel: bool | None = None
    """Whether it may run beside other tools of the same turn; by default only what just reads may."""
    timeout: float = DEFAULT_TIMEOUT
    max_chars: int = DEFAULT_MAX_CHARS
    json_schema: Mapping[str, Any] | None = None
    """Given: the schema as it is, and the function is called with the arguments as they come."""
    inline: bool = False
    """Run a synchronous function on the event loop: only for what takes microseconds."""
    undoable: bool = False
    """Whether what it does can be taken back by a tool of ours: the mode `edits` lets it run."""
    assess: Callable[..., Assessment] | None = None
    """Called with the validated arguments; tells what this very call would do."""

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise LoomUsageError(
                f"{checks.shown(self.name)} is no name for a tool",
                cause="a name has 1 to 64 letters, digits, '_' or '-'",
            )
        checks.check(self, _WANTED, called="tool")

    @cached_property
    def read_only(self) -> bool:
        """Whether it only looks."""
        return self.effects <= {"reads", "network"} and not self.destructive

    @cached_property
    def sorted_effects(self) -> tuple[str, ...]:
        """`effects` in the order of the alphabet."""
        return tuple(sorted(self.effects))

    @cached_property
    def origin(self) -> Origin:
        """The origin of what it returns."""
        return Origin("tool", self.name)

    @cached_property
    def side_by_side(self) -> bool:
        """Whether it may run beside other tools of the same turn."""
        return self.read_only if self.parallel is None else self.parallel

    @cached_property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self.function)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments, an object."""
        if self.json_schema is not None:
            return dict(self.json_schema)
        return _tidy(self._arguments.model_json_schema())

    @property
    def source_hash(self) -> str:
        """SHA-256 of name, schema, source and what the function is bound to: a change voids every leave."""
        marks = [self.name.encode(), self.encoded_schema, *_bound_to(self.function)]
        return hashlib.sha256(b"\0".join(marks)).hexdigest()

    @cached_property
    def encoded_schema(self) -> bytes:
        """`schema` as JSON, made once."""
        return msgspec.json.encode(self.schema)

    @cached_property
    def tokens(self) -> int:
        """What it weighs in a request: name, description and schema, estimated."""
        return estimate(self.name + self.description) + len(self.encoded_schema) // 4

    @cached_property
    def _arguments(self) -> "type[BaseModel]":
        return _arguments_model(self.function, self.name)

    @cached_property
    def _check(self) -> Callable[[Any], Any]:
        return self._arguments.__pydantic_validator__.validate_python

    @cached_property
    def _what(self) -> str:
        return f"arguments of {self.name}"

    @cached_property
    def _fields(self) -> tuple[tuple[str, str], ...] | None:
        """(parameter of the function, attribute of the arguments model); None where they are all the same."""
        fields = [(info.alias or name, name) for name, info in self._arguments.model_fields.items()]
        return tuple(fields) if any(parameter != name for parameter, name in fields) else None

    def parse(self, arguments: str | bytes) -> dict[str, Any]:
        """The arguments as plain data. Raises `BorderError` where the text breaks the border's rules."""
        return parse_object(arguments or "{}", what=self._what)

    def validate(self, arguments: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function takes them, by parameter.

        Raises:
            ToolError: names each wrong field, for the model to mend.
            BorderError: the text is not JSON of the border's rules.
        """
        plain = self.parse(arguments) if isinstance(arguments, (str, bytes)) else arguments
        if self.json_schema is not None:
            return _check_against_schema(self.json_schema, dict(plain), self.name)
        try:
            values = self._check(plain)
        except ValueError as error:  # pydantic's ValidationError is one
            raise ToolError(_what_is_wrong(error, self.name)) from None
        made: dict[str, Any] = vars(values)
        if self._fields is None:
            return made
        return {parameter: made[attribute] for parameter, attribute in self._fields}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it had not been decorated."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.name} ({', '.join(sorted(self.effects))})>"


@overload
def tool(function: ToolFunction, /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = ...,
    description: str | None = ...,
    read_only: bool = ...,
    effects: Iterable[Effect] | None = ...,
    destructive: bool = ...,
    idempotent: bool = ...,
    parallel: bool | None = ...,
    timeout: float = ...,
    max_chars: int = ...,
) -> Callable[[ToolFunction], Tool]: ...
def tool(
    function: ToolFunction | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    effects: Iterable[Effect] | None = None,
    destructive: bool = False,
    idempotent: bool = False,
    parallel: bool | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    max_chars: int = DEFAULT_MAX_CHARS,
) -> Tool | Callable[[ToolFunction], Tool]:
    """Make a tool of a function, with or without arguments: ``@tool`` or ``@tool(read_only=True)``.

    Args:
        function: a plain or async function whose parameters can be passed by name.
        name: what the model calls it; the function's name by default.
        description: what the model is told; the docstring's first part by default.
        read_only: short for ``effects=["reads"]``.
        effects: what it does to the world; nothing said counts as ``["writes"]``.
        destructive: what it does cannot be taken back.
        idempotent: running it twice is the same as once.
        parallel: it may run beside other tools of the same turn; by default only what just reads may.
        timeout: seconds.
        max_chars: characters of the result that the model is given at once.
    """
    if effects is not None:
        effects = checks.checked("tool", "effects", effects, _WANTED["effects"])
    if read_only and (destructive or (effects is not None and not {*effects} <= {"reads", "network"})):
        raise LoomUsageError("a tool cannot be read_only and have effects", fixes=["drop one of the two"])

    def decorate(target: ToolFunction) -> Tool:
        summary = description if description is not None else _summary(target)
        declared = effects if effects is not None else ("reads",) if read_only else ("writes",)
        return Tool(
            function=target,
            name=name or _name_of(target),
            description=summary,
            effects=frozenset(declared),
            destructive=destructive,
            idempotent=idempotent or read_only,
            parallel=parallel,
            timeout=timeout,
            max_chars=max_chars,
        )

    return decorate if function is None else decorate(function)


def as_tool(value: Tool | ToolFunction) -> Tool:
    """`value` itself if it is a tool, else the function as a tool.

    A `functools.partial` keeps the name and the types of its function, or the effects of its tool; what
    it binds is no argument any more.
    """
    if isinstance(value, Tool):
        return value
    if isinstance(value, functools.partial) and isinstance(inner := innermost(value), Tool):
        return _partial_tool(inner, value)
    if callable(value):
        return tool(value)
    raise LoomUsageError(
        f"a tool is a function or a Tool, not {type(value).__name__}", fixes=["tools=[my_function]"]
    )


def innermost(function: Any) -> Any:
    """What a `functools.partial` calls in the end, also where partials are nested; else `function` itself."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _bindings(function: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(arguments bound by position, arguments bound by name) of a partial and of the partials in it."""
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        args, keywords = (*function.args, *args), {**function.keywords, **keywords}
        function = function.func
    return args, keywords


def _partial_tool(inner: Tool, given: Any) -> Tool:
    """A tool some arguments of which are bound."""
    if inner.json_schema is not None:
        raise LoomUsageError(
            f"tool {inner.name}: arguments of a tool with a schema of its own cannot be bound",
            fixes=["a function that calls it, with the arguments that are left"],
        )
    args, keywords = _bindings(given)
    assess = functools.partial(inner.assess, *args, **keywords) if inner.assess is not None else None
    bound = functools.partial(inner.function, *args, **keywords)
    return dataclasses.replace(inner, function=bound, assess=assess)


def _name_of(function: Any) -> str:
    """What a person calls it: of a partial, the name of its function."""
    for one in (function, innermost(function)):
        if isinstance(name := getattr(one, "__name__", None), str):
            return name
    return type(innermost(function)).__name__


_PARTS = (TextPart, ImagePart, FilePart)
_ONLY_JSON = frozenset({int, float, bool, dict})
"""Common types of which it is plain that they are no parts, figures or frames."""


def result_parts(value: Any, origin: Origin) -> tuple[ResultPart, ...]:
    """What a function returned, as parts that a model can read.

    Text stays text; parts stay parts; None is said in words; figures become images; objects with
    `_repr_llm_` say it themselves; frames become tables; the rest becomes JSON, or `repr` at last.
    """
    if isinstance(value, str):
        return (TextPart(clean(value), origin),)
    if type(value) in _ONLY_JSON:
        return (TextPart(_as_json(value), origin),)
    if isinstance(value, _PARTS):
        return (_fit(value),)
    if isinstance(value, (list, tuple)) and value and all(isinstance(one, _PARTS) for one in value):
        return tuple(map(_fit, value))
    png = _png(value)
    if png is not None:
        return (_fit(ImagePart(png, "image/png", origin)),)
    return (TextPart(clean(readable(value)), origin),)


def _fit(part: ResultPart) -> ResultPart:
    """A part as it may be kept: text cleaned, and an attachment of a size that a log can hold."""
    if isinstance(part, TextPart):
        text = clean(part.text)
        return part if text is part.text else TextPart(text, part.origin)
    if len(part.data) <= MAX_ATTACHMENT_BYTES:
        return part
    size, most = len(part.data) / 2**20, MAX_ATTACHMENT_BYTES / 2**20
    return TextPart(f"({part.media_type} of {size:.1f} MB left out: the limit is {most:.0f} MB)", part.origin)


def readable(value: Any) -> str:
    """A value as text for a model."""
    if isinstance(value, str):
        return value
    if isinstance(value, TextPart):
        return value.text
    if value is None:
        return "(no result)"
    own = getattr(type(value), "_repr_llm_", None)
    if own is not None:
        return str(own(value))
    if "pandas" in sys.modules and type(value).__module__.partition(".")[0] == "pandas":
        return _table(value)
    return _as_json(value)


def _as_json(value: Any) -> str:
    """A value as JSON, which escapes what may not be kept; else as Python writes it."""
    try:
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    except (TypeError, ValueError, UnicodeError, RecursionError):
        return clean(repr(value))


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no plain form")


_MOST_COLUMNS = 200
"""Of a table that a model reads."""


def _table(value: Any) -> str:
    """The first rows of a frame or series, cells between bars: short, and easy to read for a model."""
    frame = value.to_frame() if hasattr(value, "to_frame") and not hasattr(value, "columns") else value
    if not hasattr(frame, "columns"):
        return repr(value)
    head = frame.iloc[:50, :_MOST_COLUMNS]
    if type(frame.index).__name__ != "RangeIndex":
        head = head.reset_index()
    lines = [f"{type(value).__name__}, {frame.shape[0]:,} rows x {frame.shape[1]:,} columns"]
    lines.append(" | ".join(_cell(column) for column in head.columns))
    lines += [" | ".join(map(_cell, row)) for row in head.itertuples(index=False, name=None)]
    if len(head) < len(frame):
        lines.append(f"... first {len(head)} rows of {len(frame):,}")
    if frame.shape[1] > _MOST_COLUMNS:
        lines.append(f"... first {_MOST_COLUMNS} columns of {frame.shape[1]:,}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value).replace("\n", " ").replace("|", "\\|")
    return text if len(text) <= 80 else text[:77] + "..."


def _png(value: Any) -> bytes | None:
    if "matplotlib" in sys.modules and type(value).__module__.startswith("matplotlib.figure"):
        import io

        buffer = io.BytesIO()
        value.savefig(buffer, format="png")
        return buffer.getvalue()
    return None


def _bound_to(function: Any) -> Iterator[bytes]:
    """The source of a function, of what it wraps, and the plain values that it is bound to."""
    while function is not None:
        if isinstance(function, functools.partial):
            yield repr((function.args, sorted(function.keywords.items()))).encode("utf-8", "replace")
            function = function.func
            continue
        code = function if hasattr(function, "__code__") else type(function).__call__
        try:
            yield inspect.getsource(code.__code__).encode("utf-8", "replace")
        except (OSError, TypeError, AttributeError):
            yield _compiled(getattr(code, "__code__", type(function))).encode("utf-8", "replace")
        owner = getattr(function, "__self__", None if code is function else function)
        if owner is not None:
            yield repr(owner).encode("utf-8", "replace")
        held = [getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)]
        held += [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _filled(cell)]
        yield repr([repr(one) if isinstance(one, _PLAIN) else type(one).__name__ for one in held]).encode()
        function = getattr(function, "__wrapped__", None)


_PLAIN = (str, bytes, int, float, bool, type(None), tuple, dict)


def _compiled(code: Any) -> str:
    """Compiled code as text, with the code inside of it: for functions whose source is nowhere."""
    if not isinstance(code, types.CodeType):
        return repr(code)
    inside = [_compiled(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts]
    return repr((code.co_code, code.co_names, inside))


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  reading it is the question
    except ValueError:
        return False
    return True


def _is_name(text: object) -> bool:
    return (
        isinstance(text, str)
        and 0 < len(text) <= 64
        and all(c.isascii() and (c.isalnum() or c in "_-") for c in text)
    )


def _summary(function: ToolFunction) -> str:
    from docstring_parser import parse

    doc = _doc(function)
    if not doc or isinstance(function, type):
        return ""
    told = parse(doc)
    text = "\n\n".join(part for part in (told.short_description, told.long_description) if part)
    if told.returns and told.returns.description:
        text += f"\n\nReturns: {told.returns.description}"
    return text.strip()


def _doc(function: ToolFunction) -> str:
    """The docstring; of a partial, that of its function, unless it was given one of its own."""
    own = vars(function).get("__doc__") if isinstance(function, functools.partial) else None
    if isinstance(own, str):
        return own
    inner = innermost(function)
    called = None if inspect.isroutine(inner) or isinstance(inner, type) else type(inner).__call__
    return inspect.getdoc(inner) or inspect.getdoc(called) or ""


def _arguments_model(function: ToolFunction, name: str) -> "type[BaseModel]":
    """A pydantic model of a function's parameters; anything else than those is refused."""
    from docstring_parser import parse
    from pydantic import ConfigDict, Field, create_model
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    told = _parameter_docs(parse(_doc(function)))
    hints = _hints(innermost(function), name)
    _, bound = _bindings(function)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in bound:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise SetupError(
                    f"tool {name}: parameter '{parameter.name}' can only be passed by position",
                    fixes=["remove the '/' from the signature"],
                )
            raise SetupError(
                f"tool {name}: '*{parameter.name}' cannot be described to a model",
                fixes=["name each parameter, or take one list or dict"],
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[_attribute(parameter.name)] = (
            hints.get(parameter.name, Any),
            Field(default, alias=parameter.name, description=told.get(parameter.name)),
        )
    try:
        return create_model(
            f"{name}_arguments",
            __config__=ConfigDict(
                extra="forbid", arbitrary_types_allowed=False, validate_default=False, populate_by_name=False
            ),
            **fields,
        )
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise SetupError(
            f"tool {name}: a parameter has a type that JSON cannot carry",
            cause=str(error).splitlines()[0],
            fixes=schema_fixes(error),
        ) from None


JSON_TYPES = "use str, int, float, bool, list, dict, Literal, an enum, a dataclass or a pydantic model"


def schema_fixes(error: Exception, otherwise: str = JSON_TYPES) -> list[str]:
    """What to type where pydantic makes no schema of a type."""
    if getattr(error, "code", None) == "typed-dict-version":  # before Python 3.12
        return ["from typing_extensions import TypedDict"]
    return [otherwise]


def _attribute(parameter: str) -> str:
    """What the arguments model calls a parameter: an alias, where the name means something to pydantic."""
    from pydantic import BaseModel

    taken = parameter.startswith(("_", "a_", "model_")) or hasattr(BaseModel, parameter)
    return f"a_{parameter}" if taken else parameter


def _hints(function: ToolFunction, name: str) -> dict[str, Any]:
    """Annotations with strings resolved: also postponed ones, and those that name locals."""
    target = function if inspect.isroutine(function) else type(function).__call__
    names: dict[str, Any] = {}
    closure = inspect.getclosurevars(target).nonlocals if inspect.isfunction(target) else {}
    names.update(closure)
    try:
        return typing.get_type_hints(inspect.unwrap(target), localns=names, include_extras=True)
    except NameError as error:
        raise SetupError(
            f"tool {name}: the annotation {error.name!r} is not defined",
            fixes=[f"define {error.name} before the tool, at the top level of the notebook or module"],
        ) from None


def _parameter_docs(told: Any) -> dict[str, str]:
    docs: dict[str, str] = {}
    for parameter in told.params:
        for single in parameter.arg_name.split(","):  # NumPy style: "a, b : int"
            if parameter.description:
                docs[single.strip()] = " ".join(parameter.description.split())
    return docs


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that pydantic adds and no model needs."""

    def walk(node: Any, *, names: bool = False) -> Any:
        if isinstance(node, dict):
            return {
                key: walk(value, names=key in ("properties", "$defs") and not names)
                for key, value in node.items()
                if names or key != "title" or not isinstance(value, str)
            }
        if isinstance(node, list):
            return [walk(value) for value in node]
        return node

    tidied: dict[str, Any] = walk(schema)
    tidied.setdefault("properties", {})
    return tidied


def _what_is_wrong(error: Any, name: str) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=True):
        where = ".".join(
            str(step).removeprefix("a_") if n == 0 else str(step) for n, step in enumerate(problem["loc"])
        )
        got = "" if problem["type"] == "missing" else f" (got {_short(problem['input'])})"
        lines.append(f"{where or 'arguments'}: {problem['msg']}{got}")
    return f"{name} was not called, its arguments are wrong: " + "; ".join(lines)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _check_against_schema(schema: Mapping[str, Any], arguments: dict[str, Any], name: str) -> dict[str, Any]:
    """The check for tools that bring a schema of their own."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    try:
        problems = list(validator_for(schema)(schema).iter_errors(arguments))
    except SchemaError as error:
        raise SetupError(f"tool {name}: its schema is not valid", cause=error.message) from None
    if problems:
        told = [
            f"{'.'.join(str(s) for s in p.absolute_path) or 'arguments'}: {_short_text(p.message)}"
            for p in problems
        ]
        raise ToolError(f"{name} was not called, its arguments are wrong: " + "; ".join(told))
    return arguments


def _short_text(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."
