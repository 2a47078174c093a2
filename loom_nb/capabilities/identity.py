"""Who the agent is and what it knows of the person: SOUL.md, IDENTITY.md and USER.md in a folder of the user.

What the person wrote or confirmed stands in the head of each request, as theirs. What the agent changed by
itself travels as data until the person confirms it: see `identity_files`.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from loom_nb.capabilities.files.differences import difference
from loom_nb.capabilities.files.home_rule import meets
from loom_nb.capabilities.identity_files import (
    ABOUT,
    FILES,
    MOST_CHARS,
    TOLD,
    File,
    Files,
    Profile,
    digest,
    read,
)
from loom_nb.errors import LoomUsageError, ToolError
from loom_nb.events import Noticed
from loom_nb.messages import DataPart, Origin
from loom_nb.protocols import (
    Call,
    Enquiry,
    Enrichment,
    Layer,
    PartitionItem,
    Rule,
    Toolset,
    Verdict,
    current_call,
)
from loom_nb.redaction.key_forms import key_forms, without_key_forms
from loom_nb.runtime.reach import touched_paths
from loom_nb.settings import load
from loom_nb.tools import Assessment, Effect, tool

EditLeave = Literal["ask", "never", "allow"]
LEAVES: tuple[EditLeave, ...] = ("ask", "never", "allow")
TOOL = "edit_profile"
_WRITES: frozenset[Effect] = frozenset({"writes"})


@dataclass(frozen=True)
class IdentityCapability:
    """The identity files as a part of each request, and the tool `edit_profile`.

    Args:
        folder: where the files are; `identity` in the user's home of loom_nb by default.
        edits: for all files, or by file: ask has a person asked about each edit, with the difference, in
            every mode; never refuses it; allow lets it run unasked, unless the run is read-only or has read
            what nobody vouches for. What was not seen by a person is data until it is confirmed.
        home: where the record of edits is kept; the user's home of loom_nb by default.

    Raises LoomUsageError for a file or a word that is not known.
    """

    folder: str | Path | None = None
    edits: EditLeave | Mapping[str, EditLeave] = "ask"
    home: Path | None = None
    name: str = field(default="identity", init=False)

    def __post_init__(self) -> None:
        given = self.edits
        by_file: dict[str, EditLeave] = dict.fromkeys(FILES, given if isinstance(given, str) else "ask")
        if not isinstance(given, str | Mapping):
            raise LoomUsageError(
                f"Capability.identity: edits is a word or one for each file, not {given!r:.80}",
                fixes=['edits="ask"', 'edits={"USER.md": "allow"}'],
            )
        if not isinstance(given, str):
            if unknown := sorted(set(given) - set(FILES)):
                raise LoomUsageError(
                    f"Capability.identity: there is no file '{unknown[0]}'",
                    cause=f"there are {', '.join(FILES)}",
                )
            by_file |= given
        for file, leave in by_file.items():
            if leave not in LEAVES:
                raise LoomUsageError(
                    f"Capability.identity: edits of {file} cannot be {leave!r}",
                    fixes=[f"one of {', '.join(LEAVES)}"],
                )
        object.__setattr__(self, "edits", by_file)
        if self.folder is not None and not isinstance(self.folder, str | Path):
            raise LoomUsageError(f"Capability.identity: folder is a path, not {self.folder!r:.80}")

    @property
    def leaves(self) -> Mapping[str, EditLeave]:
        """What an edit of each file needs."""
        return self.edits if not isinstance(self.edits, str) else {}

    def files(self) -> Files:
        """The files, with the record of who wrote them."""
        home = self.home or load().home
        folder = Path(self.folder).expanduser() if self.folder is not None else home / "identity"
        return Files(folder.absolute(), home / "identity.db")

    async def open(self) -> Toolset:
        """The partition, the tool where any file may be edited, and the rules that hold for both."""
        files = self.files()

        async def close() -> None:
            files.close()

        async def enrich(enquiry: Enquiry) -> Enrichment | None:
            return await asyncio.to_thread(unconfirmed, files, enquiry)

        tools = []
        if any(leave != "never" for leave in self.leaves.values()):
            editing = _Editing(files, self.leaves)
            made = tool(name=TOOL, effects=_WRITES, timeout=60.0)(editing.edit_profile)
            tools = [replace(made, undoable=True, assess=editing.assess)]
        rules: list[Rule] = [_Leave(self.leaves), _OnlyByTool(files)]
        return Toolset(tools, lambda: partition(files), enrich, rules, close)


def partition(files: Files) -> list[PartitionItem]:
    """The person's words of the files, in the order in which they are read; the same bytes each time."""
    items = []
    for profile in files.profiles():
        text = bounded(profile.words, profile.file)
        if not text:
            continue
        head = f"# {profile.file}: {ABOUT[profile.file]}\n(The person wrote this, or confirmed it.)"
        origin = f"user:{profile.path.parent.name}/{profile.file}"
        items.append(PartitionItem(f"identity:{profile.file}", f"{head}\n\n{text}", "system", origin))
    return items


def bounded(text: str, file: str) -> str:
    """A text of at most `MOST_CHARS`, without what looks like a secret."""
    text = without_key_forms(text.strip())[0]
    if len(text) <= MOST_CHARS:
        return text
    return f"{text[:MOST_CHARS]}\n(cut here: {len(text) - MOST_CHARS:,} more characters stand in {file})"


def unconfirmed(files: Files, enquiry: Enquiry) -> Enrichment | None:
    """What the agent made of the files and nobody has confirmed, as data: once for each content."""
    parts, facts = [], []
    for profile in files.profiles():
        name = f"identity:{profile.file}:{profile.sha256[:8]}"
        if not profile.waits or name in enquiry.seen:
            continue
        why = profile.trouble or "changed by the agent, and not confirmed by the person"
        origin = Origin("memory", f"identity/{profile.file}")
        parts.append(DataPart(name, bounded(profile.data, profile.file), origin, f"{profile.file}, {why}"))
        told = f"{profile.file} travels as data: {why}. %loom identity diff {profile.file} shows it"
        facts.append(Noticed(told))
    return Enrichment(tuple(parts), tuple(facts)) if parts else None


class _Editing:
    """The tool, and what it tells before it acts: both plan the edit by the same code."""

    def __init__(self, files: Files, leaves: Mapping[str, EditLeave]) -> None:
        self._files = files
        self._leaves = leaves

    def edit_profile(self, file: File, new: str, old: str = "") -> str:
        """Change one of your own files: SOUL.md (how you behave), IDENTITY.md (who you are), USER.md (what
        you know of the person). Short lines that stay true; no secrets.

        Args:
            file: which one.
            new: what takes the place of `old`; all of the new text where `old` is empty.
            old: a piece that stands in the file exactly once; empty replaces the whole file.
        """
        _, after = self._planned(file, new, old)
        call = current_call.get()
        run, approved = (call.run, bool(call.approved)) if call is not None else ("", False)
        self._files.edit(file, after, run=run, approved=approved, now=time.time())
        told = "" if not self._files.profile(file).waits else "; it is data until the person confirms it"
        return f"done: {file} was changed{told}"

    def assess(self, file: File, new: str, old: str = "") -> Assessment:
        """What an edit would do."""
        if self._leaves.get(file) == "never":
            return Assessment(_WRITES, refusal=f"{file} may not be changed by you: its edits are 'never'")
        path = self._files.path(file)
        try:
            before, after = self._planned(file, new, old)
        except ToolError as error:
            return Assessment(_WRITES, failure=error.title, reasons=(f"would fail: {error.title}",))
        words = "creates" if before is None else "changes"
        profile: Profile = self._files.profile(file)
        notes = ("an earlier edit of it was never confirmed",) if profile.waits else ()
        return Assessment(
            _WRITES,
            reasons=(f"{words} {file} ({TOLD[file]})", *notes),
            preview=difference(before or "", after, file, new=before is None),
            preview_kind="diff",
            paths=(str(path),),
            seal=digest((before or "").encode()) if before is not None else "none",
        )

    def _planned(self, file: File, new: str, old: str) -> tuple[str | None, str]:
        """(what stands there, what will). Raises ToolError."""
        found = read(self._files.path(file))
        try:
            before = found[0].decode() if found is not None else None
            new.encode()
        except (UnicodeDecodeError, UnicodeEncodeError):
            raise ToolError(f"{file} is not UTF-8, or its new text is not valid Unicode") from None
        after = _exchanged(file, before, new, old) if old else new
        if not after.endswith("\n"):
            after += "\n"
        if after == before:
            raise ToolError(f"{file} has this very content already")
        if len(after) > MOST_CHARS:
            raise ToolError(
                f"{file} would have {len(after):,} characters, at most {MOST_CHARS:,}: it is in every request"
            )
        if "\0" in after or key_forms(new):
            raise ToolError(f"{file} takes no secrets: leave out what looks like a key, password or token")
        return before, after


def _exchanged(file: str, before: str | None, new: str, old: str) -> str:
    count = before.count(old) if before is not None else 0
    if before is None or count != 1:
        told = "does not stand" if not count else f"stands {count} times"
        raise ToolError(f"old {told} in {file}; leave it empty to write the whole file")
    return before.replace(old, new)


@dataclass(frozen=True, slots=True)
class _Leave:
    """What the user said of edits of each file."""

    leaves: Mapping[str, EditLeave]
    name: str = "identity"
    layer: Layer = "permission"
    decision: Literal["ask"] = "ask"

    def judge(self, call: Call) -> Verdict | None:
        """Ask, whatever the mode, or allow; what is never allowed is refused by its assessment."""
        if call.name != TOOL or call.provided_by != "identity":
            return None
        file = str(call.arguments.get("file", ""))
        if self.leaves.get(file) == "allow":
            return Verdict("allow", f"you allowed edits of {file}")
        return Verdict("ask", f"an edit of {file}", each=True)

    def __str__(self) -> str:
        told = ", ".join(f"{file} {leave}" for file, leave in self.leaves.items())
        return f"edits of the identity files: {told}"


@dataclass(frozen=True, slots=True)
class _OnlyByTool:
    """No other tool changes the files, or the record of who wrote them."""

    files: Files
    name: str = "identity"
    layer: Layer = "veto"
    decision: Literal["deny"] = "deny"

    def judge(self, call: Call) -> Verdict | None:
        """Deny a call that acts and names one of them; tools for files also a folder that one lies in."""
        if call.read_only or (call.name == TOOL and call.provided_by == "identity"):
            return None
        folder = self.files.folder
        guarded = {str(one) for file in FILES for one in (self.files.path(file), folder / file)}
        if folder.parent == self.files.record.parent:  # a folder that the user chose may hold other things
            guarded.add(str(folder))
        record = str(self.files.record)
        for path in touched_paths(call, lines=True):
            if path in guarded or path.startswith(record):
                return Verdict("deny", f"{Path(path).name} is changed by {TOOL} only")
        for path in call.assessment.paths if call.provided_by == "files" and call.assessment else ():
            if meets(path, (*guarded, record)):
                return Verdict("deny", f"{Path(path).name} holds what is changed by {TOOL} only")
        return None

    def __str__(self) -> str:
        return f"changes of {', '.join(FILES)} by other tools than {TOOL} are denied"
