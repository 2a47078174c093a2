"""Where documents come from: folders, files, addresses, tables, functions, texts; frozen descriptions."""

import hashlib
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loom_nb.border import clean
from loom_nb.capabilities.addresses import is_address
from loom_nb.capabilities.knowledge.converting import of_row, of_text
from loom_nb.capabilities.knowledge.documents import Document
from loom_nb.capabilities.knowledge.folder_files import in_folder, of_files
from loom_nb.capabilities.knowledge.found import Found, Listing, Look, Raw
from loom_nb.checks import checked, path_of
from loom_nb.errors import LoomUsageError, ToolError, Unreadable
from loom_nb.redaction.hiding import Hiding

if TYPE_CHECKING:
    from loom_nb.protocols import Enquiry, Enrichment

SourceKind = Literal["folder", "files", "urls", "dataframe", "callable", "texts"]

MAX_PAGE = 8_000_000
"""Bytes of what is fetched."""
FETCH_SECONDS = 30.0
MAX_ROWS = 200_000


@dataclass(frozen=True)
class KnowledgeSource:
    """Documents of one kind of place. Made by its class methods; nothing is read before it is indexed.

    Args:
        kind: of the place.
        name: what it is called in listings and in `KnowledgeQuery.sources`; unique within a base.
        options: what the kind takes.
    """

    kind: SourceKind
    name: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    @classmethod
    def folder(
        cls, path: str | Path, pattern: str = "*", exclude: Sequence[str] = (), name: str = ""
    ) -> "KnowledgeSource":
        """All documents under a folder, of the kinds that are read (see `converting`), by their endings.

        Passed over are links, hidden files and folders, files whose names say that they hold secrets, and
        folders in which nobody writes documents: build, dist, target, venv, site-packages, node_modules and
        __pycache__. What an index leaves out but for links and what is hidden stands in
        `IndexReport.notes`.

        Args:
            path: the folder.
            pattern: of file names, such as "*.md"; several with commas between them.
            exclude: patterns of paths under the folder.
            name: by default that of the folder.
        """
        path = checked("KnowledgeSource.folder", "path", path, path_of(such_as='"papers"'))
        root = Path(path).expanduser().absolute()
        options = {"root": str(root), "pattern": pattern, "exclude": _texts("exclude", exclude)}
        return cls("folder", name or root.name or "folder", options)

    @classmethod
    def files(cls, *paths: str | Path, name: str = "files") -> "KnowledgeSource":
        """These files."""
        return cls("files", name, {"paths": tuple(str(Path(one).expanduser().absolute()) for one in paths)})

    @classmethod
    def urls(
        cls,
        *urls: str,
        allow: Iterable[tuple[str, int]] = (),
        hosts: Iterable[str] = (),
        name: str = "pages",
    ) -> "KnowledgeSource":
        """Public pages and documents by their addresses; `allow` and `hosts` as for `Capability.web`."""
        from loom_nb.network.fetch import checked_allow, checked_hosts

        options = {
            "urls": _texts("urls", urls),
            "allow": checked_allow("knowledge", allow),
            "hosts": checked_hosts("knowledge", hosts),
        }
        return cls("urls", name, options)

    @classmethod
    def dataframe(
        cls, frame: Any, columns: Sequence[str], title: str = "", name: str = "table"
    ) -> "KnowledgeSource":
        """The rows of a DataFrame, each a document made of some columns.

        Args:
            frame: as it is when it is indexed; of more than 200,000 rows the first.
            columns: whose words are looked for.
            title: the column that a row is called by; its label by default.
            name: of the source.
        """
        columns = _texts("columns", columns)
        missing = [one for one in (*columns, *([title] if title else [])) if one not in frame.columns]
        if missing or not columns:
            known = ", ".join(map(str, list(frame.columns)[:20]))
            raise LoomUsageError(
                f"the table has no column {missing[0]!r}" if missing else "which columns?",
                cause=f"it has {known}",
            )
        return cls("dataframe", name, {"frame": frame, "columns": columns, "title": title})

    @classmethod
    def callable(cls, function: Callable[[], Iterable[Any]], name: str = "") -> "KnowledgeSource":
        """What a function gives when it is indexed: texts, or pairs of a name and a text."""
        if not callable(function):
            raise LoomUsageError("KnowledgeSource.callable takes a function without arguments")
        return cls("callable", name or str(getattr(function, "__name__", "callable")), {"function": function})

    @classmethod
    def texts(cls, texts: Mapping[str, str] | Iterable[str], name: str = "texts") -> "KnowledgeSource":
        """Texts by their names; without names they are numbered."""
        given = {} if isinstance(texts, str) else _named(texts)
        if isinstance(texts, str) or not all(isinstance(one, str) for one in given.values()):
            raise LoomUsageError(
                "KnowledgeSource.texts takes texts, or texts by their names",
                fixes=['KnowledgeSource.texts({"name": "…"})', 'KnowledgeSource.texts(["…"])'],
            )
        return cls("texts", name, {"texts": given})

    @classmethod
    def of(cls, value: Any) -> "KnowledgeSource":
        """A source itself; a path, an address or a function as one.

        Raises:
            LoomUsageError: it is none of them.
        """
        match value:
            case KnowledgeSource():
                return value
            case str() if is_address(value):
                address = value.strip()
                return cls.urls(address, name=Hiding()(address))
            case str() | Path():
                path = Path(value).expanduser()
                return cls.folder(path) if path.is_dir() else cls.files(path, name=path.name)
            case _ if callable(value):
                return cls.callable(value)
            case _:
                raise LoomUsageError(
                    f"a source of knowledge is a folder, a file, an address or a KnowledgeSource, "
                    f"not {type(value).__name__}",
                    fixes=['KnowledgeSource.folder("papers")', 'KnowledgeSource.texts({"name": "…"})'],
                )

    @property
    def where(self) -> str:
        """For a reader."""
        match self.kind:
            case "folder":
                return str(self.options["root"])
            case "files":
                paths = self.options["paths"]
                return paths[0] if len(paths) == 1 else f"{len(paths):,} files"
            case "urls":
                urls = self.options["urls"]
                return urls[0] if len(urls) == 1 else f"{len(urls):,} addresses"
            case "dataframe":
                return f"{len(self.options['frame']):,} rows: {', '.join(self.options['columns'])}"
            case "texts":
                return f"{len(self.options['texts']):,} texts"
            case _:
                return "a function"

    def listing(self) -> Listing:
        """Its documents, in an order that stays, and where it could not look. May take a while.

        Raises:
            SetupError: the folder is not there.
            Unreadable: the folder cannot be looked at.
        """
        look = Look()
        found = tuple(_FINDERS[self.kind](self.options, look))
        return Listing(found, look.closed, tuple(look.notes))

    async def fetched(self, one: Found) -> Raw:
        """A document of an address. Raises Unreadable."""
        return await _fetched(self.options, one)

    async def enrich(self, enquiry: "Enquiry") -> "Enrichment | None":
        """What it knows of the task of a run, for `RunContext(knowledge=[…])`."""
        from loom_nb.capabilities.knowledge.capability import enrichment_of

        return await enrichment_of(self, enquiry)


def _texts(what: str, values: Iterable[str]) -> tuple[str, ...]:
    made = (values,) if isinstance(values, str) or not isinstance(values, Iterable) else tuple(values)
    if not all(isinstance(one, str) for one in made):
        raise LoomUsageError(f"{what} are texts")
    return made


def _named(texts: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    if isinstance(texts, Mapping):
        return {clean(str(name)): text for name, text in texts.items()}
    return {f"text {number}": text for number, text in enumerate(texts, 1)}


# --- how documents are found


def _of_urls(options: Mapping[str, Any], _: Look) -> Iterator[Found]:
    for url in dict.fromkeys(options["urls"]):
        yield Found(url, "", None, url=url)


async def _fetched(options: Mapping[str, Any], one: Found) -> Raw:
    from loom_nb.network.fetch import Client, Guard, Request

    guard = Guard("knowledge", "knowledge", frozenset(options["allow"]), tuple(options["hosts"]))
    headers = (("User-Agent", "loom-nb"), ("Accept", "text/html,application/pdf,text/*;q=0.9,*/*;q=0.5"))
    try:
        reply = await Client(guard, FETCH_SECONDS, MAX_PAGE).send(
            Request("GET", guard.target(one.url), headers)
        )
    except ToolError as error:
        raise Unreadable(error.title.removeprefix("knowledge: ")) from None
    if not 200 <= reply.status < 300:
        raise Unreadable(f"the server says {reply.told}")
    if not reply.whole:
        raise Unreadable(f"it has more than {MAX_PAGE:,} bytes")
    return Raw(reply.body, reply.target.url.path or one.url, reply.kind, str(reply.target))


def _of_frame(options: Mapping[str, Any], look: Look) -> Iterator[Found]:
    frame, columns, title = options["frame"], options["columns"], options["title"]
    wanted = frame[[*columns, *([title] if title and title not in columns else [])]]
    for number, (label, row) in enumerate(
        zip(frame.index, wanted.itertuples(index=False, name=None), strict=True)
    ):
        if number >= MAX_ROWS:
            look.notes.append(f"{len(frame) - MAX_ROWS:,} rows beyond the first {MAX_ROWS:,} are left out")
            break
        values = dict(zip(wanted.columns, row, strict=True))
        words = [(one, _cell(values[one])) for one in columns]
        if len(columns) == 1:
            text = words[0][1]
        else:
            text = "\n\n".join(f"{one}: {word}" for one, word in words if word)
        called = clean(_cell(values[title]) if title else f"row {label}")
        yield _made(f"{number}", text, partial(of_row, text, called[:300], label))


def _cell(value: Any) -> str:
    return "" if _is_missing(value) else str(value)


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    try:
        differs = value != value  # noqa: PLR0124  NaN is not itself
        return differs is value or (not hasattr(differs, "__len__") and bool(differs))  # pd.NA, NaN
    except (TypeError, ValueError):
        return False


def _of_callable(options: Mapping[str, Any], _: Look) -> Iterator[Found]:
    yield from _of_pairs(_pairs(options["function"]()))


def _pairs(values: Any) -> Iterator[tuple[str, str]]:
    if isinstance(values, Coroutine):
        values.close()
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise LoomUsageError(
            f"a function that gives documents gave a {type(values).__name__}",
            cause="it is an `async def`" if isinstance(values, Coroutine) else "",
            fixes=['return {"name": "text"}', 'return ["text", …]'],
        )
    if isinstance(values, Mapping):
        yield from ((str(key), str(text)) for key, text in values.items())
        return
    for number, value in enumerate(values, 1):
        match value:
            case str():
                yield f"text {number}", value
            case (str(key), str(text)):
                yield key, text
            case _:
                raise LoomUsageError(
                    f"a function that gives documents gave a {type(value).__name__}",
                    fixes=['return {"name": "text"}', 'return ["text", …]'],
                )


def _of_texts(options: Mapping[str, Any], _: Look) -> Iterator[Found]:
    yield from _of_pairs(options["texts"].items())


def _of_pairs(pairs: Iterable[tuple[str, str]]) -> Iterator[Found]:
    for name, text in pairs:
        key = clean(name)
        yield _made(key, text, partial(of_text, text, key))


def _made(key: str, text: str, make: Callable[[], Document]) -> Found:
    data = text.encode("utf-8", "surrogatepass")
    return Found(key, hashlib.sha256(data).hexdigest(), lambda: Raw(data, key, make=make))


_FINDERS: dict[str, Callable[[Mapping[str, Any], Look], Iterator[Found]]] = {
    "folder": in_folder,
    "files": of_files,
    "urls": _of_urls,
    "dataframe": _of_frame,
    "callable": _of_callable,
    "texts": _of_texts,
}


def checked_sources(values: Any) -> tuple[KnowledgeSource, ...]:
    """Sources as they were given, each under a name of its own. Raises LoomUsageError."""
    alone = isinstance(values, str | Path | KnowledgeSource) or not isinstance(values, Iterable)
    given = [values] if alone else list(values)
    made: list[KnowledgeSource] = []
    names: set[str] = set()
    for one in map(KnowledgeSource.of, given):
        plain = clean(one.name)
        name, number = plain, 2
        while name in names:
            name, number = f"{plain} {number}", number + 1
        names.add(name)
        made.append(one if name == one.name else KnowledgeSource(one.kind, name, one.options))
    return tuple(made)
