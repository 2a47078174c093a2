"""Channels of objects: whatever Python can make of an object without asking for its value."""

import contextlib
import copy
import gc
import inspect
import io
import json
import marshal
import pickle
import pprint
import shelve
import types
from collections.abc import Callable, Iterator

import msgspec
from rich.console import Console
from rich.pretty import pretty_repr

from loom_nb.credentials import secrets
from loom_nb.credentials.broker import operations
from loom_nb.credentials.master_key import Passphrase
from loom_nb.credentials.policies import Binding
from loom_nb.credentials.sealing import SealingKey
from loom_nb.credentials.uses import Use
from loom_nb.redaction.redactor import Redactor
from tests.leaks.matrix import Seen, channel
from tests.leaks.world import World


def objects(world: World, marker: str) -> list[object]:
    """One of each kind of object that has to do with a secret; the control is in some of them."""
    made: list[object] = [secrets.secret(one.type, one.fields) for one in world.canaries]
    made += [world.broker, *world.broker.list(), *world.broker.log(limit=5)]
    made += [Redactor({one.scope: one.value for one in world.canaries})]
    made += [Passphrase(lambda: world.canary("password").value), SealingKey.fresh()]
    made += [Use(scope=marker, who="tool:http_request"), Binding(paths=(f"/{marker}",))]
    return made


def messages(world: World) -> list[object]:
    """What crosses to the broker with a value in it."""
    made: list[object] = []
    for one in world.canaries:
        raw = msgspec.Raw(secrets.secret(one.type, one.fields).to_json())
        made += [operations.Put(one.scope, raw), operations.Rotate(one.scope, raw)]
        made += [operations.Unlock(one.value), operations.Redact(one.value), operations.Find((one.value,))]
        made += [operations.Hello("home", "environment", one.value)]
    return made


def said(act: Callable[[], object]) -> str:
    """What an act gives, or what it raises, in words."""
    try:
        return str(act())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@channel("objects", "repr, str and format of every object")
def _(world: World) -> Seen:
    marker = world.marker()
    lines = []
    for one in [*objects(world, marker), *messages(world), objects(world, marker)]:
        lines += [
            repr(one),
            str(one),
            f"{one}",
            ascii(one),
            f"{one} {one!r}",
            said(lambda one=one: f"{one:>40}"),
        ]
        if hasattr(type(one), "_repr_html_"):
            lines.append(str(one._repr_html_()))
    return Seen({"said": "\n".join(lines)}, marker)


@channel("objects", "vars, slots and attributes")
def _(world: World) -> Seen:
    marker = world.marker()
    lines = []
    for one in objects(world, marker):
        lines.append(said(lambda one=one: vars(one)))
        lines.append(repr(dir(one)))
        with contextlib.suppress(Exception):
            lines += [
                f"{name} {value!r}" for name, value in inspect.getmembers(one) if not name.startswith("_")
            ]
    return Seen({"said": "\n".join(lines)}, marker)


@channel("objects", "pickle, copy and marshal")
def _(world: World) -> Seen:
    marker, parts = world.marker(), []
    for one in objects(world, marker):
        for number in range(pickle.HIGHEST_PROTOCOL + 1):
            try:
                parts.append(pickle.dumps((one, marker), number))
            except Exception as error:
                parts.append(f"{type(error).__name__}: {error}".encode())
        parts.append(said(lambda one=one: marshal.dumps(one)).encode())
        parts.append(said(lambda one=one: repr(copy.copy(one))).encode())
        parts.append(said(lambda one=one: repr(copy.deepcopy(one))).encode())
        parts.append(said(lambda one=one: one.__reduce_ex__(2)).encode())
        parts.append(
            said(lambda one=one: one.__getstate__()).encode() if hasattr(one, "__setstate__") else b""
        )
    folder = world.tmp
    with shelve.open(str(folder / "shelf")) as shelf:
        shelf["marker"] = marker
        for number, one in enumerate(objects(world, marker)):
            said(lambda one=one, number=number: shelf.__setitem__(str(number), one))
    return Seen({"pickled": parts, "shelf": folder}, marker)


@channel("objects", "json, msgspec, pprint and rich")
def _(world: World) -> Seen:
    marker, lines = world.marker(), []
    for one in objects(world, marker):
        lines += [
            said(lambda one=one: json.dumps({"it": one})),
            said(lambda one=one: json.dumps(one, default=str)),
        ]
        lines += [
            said(lambda one=one: msgspec.json.encode(one)),
            said(lambda one=one: msgspec.to_builtins(one)),
        ]
    screen = io.StringIO()
    console = Console(file=screen, width=200)
    for one in [*objects(world, marker), *messages(world)]:
        lines += [pprint.pformat(one), pretty_repr(one), pretty_repr({"in": [one]}, expand_all=True)]
        console.print(one, {"in": [one]})
    return Seen({"said": "\n".join(lines), "screen": screen.getvalue()}, marker)


@channel("objects", "equality and ordering errors")
def _(world: World) -> Seen:
    marker, lines = world.marker(), [said(lambda: {}[f"{world.marker()}"])]
    made = [secrets.secret(one.type, one.fields) for one in world.canaries]
    for one, other in zip(made, made[1:] + made[:1], strict=True):
        lines += [
            said(lambda one=one, other=other: one < other),
            said(lambda one=one, other=other: one + other),
            said(lambda one=one, other=other: {}[one, other]),
            said(lambda one=one: "".join([one, marker])),
            said(lambda one=one: int(one)),
            said(lambda one=one: bytes(one)),
            said(lambda one=one: one.nothing),
            said(lambda one=one: setattr(one, "type", marker)),
            said(lambda one=one: one.reveal(marker)),
            said(lambda one=one: delattr(one, "_values")),
            repr((one == other, one == one.type, one != other, hash(one) != hash(other))),
        ]
    return Seen({"said": "\n".join(lines)}, marker)


def reached(start: object, most: int = 200_000) -> Iterator[object]:
    """All objects that the collector knows to hang on one, without modules, classes, functions and frames."""
    passed = (types.ModuleType, type, types.FunctionType, types.FrameType, types.BuiltinFunctionType)
    seen: set[int] = set()
    queue = [start]
    while queue and len(seen) < most:
        one = queue.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            queue += [other for other in gc.get_referents(one) if not isinstance(other, passed)]


@channel("objects", "everything the collector reaches from a broker")
def _(world: World) -> Seen:
    world.broker.list()
    texts = [one for one in reached(world.broker) if isinstance(one, str | bytes)]
    return Seen({"texts": [repr(one) for one in texts], "raw": texts}, str(world.broker.home))
