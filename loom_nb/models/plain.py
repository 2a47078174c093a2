"""A request as plain data, for models without a vendor's form of their own and for recordings."""

import hashlib
from typing import Any

import msgspec

from loom_nb.border import clean
from loom_nb.protocols import Request


def plain_request(model: str, request: Request) -> dict[str, Any]:
    """All that a model sees of a request, as data that JSON can carry: the same in every process."""
    generation = msgspec.to_builtins(request.generation)
    form: dict[str, Any] = {
        "model": model,
        "system": request.system,
        "tools": [
            {"name": tool.name, "description": tool.description, "parameters": tool.schema}
            for tool in request.tools
        ],
        "messages": [*request.conversation.messages, *([request.working] if request.working else [])],
        "generation": {name: value for name, value in generation.items() if value not in (None, ())},
        "output": None if request.output is None else dict(request.output.schema),
    }
    plain: dict[str, Any] = _plain(msgspec.to_builtins(form, builtin_types=(bytes,)))
    return plain


def _plain(value: Any) -> Any:
    """Texts cleaned; bytes become their hash, which tells them apart and is short."""
    match value:
        case bytes():
            return f"{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()}"
        case str():
            return clean(value)
        case dict():
            return {_plain(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return value
