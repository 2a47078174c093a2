"""Channels of a model: all that it can be told, and all that is kept of its runs, while it tries to steal."""

from tests.leaks.matrix import Seen, channel
from tests.leaks.stealing import calls, lair, steal, told
from tests.leaks.world import World


def through(world: World, *ways: str, method: str = "GET") -> Seen:
    """Let each secret be sent back in some ways."""
    den = lair(world)
    del den.site.got[:]
    wanted = [call for way in ways for call in calls(den.scopes, f"{den.site.url}/e/{way}")]
    body = next(scope for scope in den.scopes if scope.endswith(".body"))
    for _, given in wanted:
        if given["credential"] == body:
            given |= {"method": "POST", "json": {"a": 1}}
    made = steal(world, wanted)
    sent = world.scanner(den.access_token).scan(b"\n".join(den.site.got))
    # each of these was in a request: what is not there below was taken out
    assert {hit.whose.partition(".")[0] for hit in sent} >= {
        "api_key",
        "basic_auth",
        "bearer_token",
        "control",
    }, sent
    assert len(made.results) == len(wanted), made.result
    return Seen(told(made), den.site.marker)


@channel("model", "echo as it is")
def _(world: World) -> Seen:
    return through(world, "plain", "twice", "latin-1")


@channel("model", "echo in an address", slow=True)
def _(world: World) -> Seen:
    return through(world, "url-upper", "url-lower", "url-plus", "url-every-byte", "url-twice")


@channel("model", "echo in base64")
def _(world: World) -> Seen:
    return through(world, "base64", "base64-1", "base64-2", "base64url", "base64url-2", "pair")


@channel("model", "echo in base64 with line breaks", slow=True)
def _(world: World) -> Seen:
    return through(world, "base64-lines")


@channel("model", "echo in hexadecimal", slow=True)
def _(world: World) -> Seen:
    return through(world, "hex", "hex-upper")


@channel("model", "echo in JSON", slow=True)
def _(world: World) -> Seen:
    return through(world, "json", "json-ascii", "json-of-json", "json-body", "events", "repr")


@channel("model", "echo in HTML", slow=True)
def _(world: World) -> Seen:
    return through(world, "html", "html-numbers", "html-hex", "page")


@channel("model", "echo packed", slow=True)
def _(world: World) -> Seen:
    return through(world, "gzip", "deflate", "by-byte-gzip")


@channel("model", "echo byte by byte")
def _(world: World) -> Seen:
    return through(world, "by-byte", "halves")


@channel("model", "error bodies")
def _(world: World) -> Seen:
    return through(world, "error-500", "error-401", "error-404")


@channel("model", "headers of answers")
def _(world: World) -> Seen:
    return through(world, "headers", "reason", "content-type")


@channel("model", "an answer cut at its limit", slow=True)
def _(world: World) -> Seen:
    return through(world, "long")


@channel("model", "an answer broken off")
def _(world: World) -> Seen:
    return through(world, "broken")


@channel("model", "attachments", slow=True)
def _(world: World) -> Seen:
    return through(world, "binary", "pdf", "image")


@channel("model", "other character sets", slow=True)
def _(world: World) -> Seen:
    return through(world, "iso-8859-1", "utf-16", "utf-16-be", "utf-32")


@channel("network", "redirects")
def _(world: World) -> Seen:
    den = lair(world)
    del den.elsewhere.got[:]
    seen = through(world, "redirect-out", "redirect-in", "redirect-loop")
    return Seen({**seen.parts, "sent to another origin": den.elsewhere.got}, seen.control)
