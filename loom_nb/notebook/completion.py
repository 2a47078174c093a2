"""What Tab offers in a `%%loom` cell and after `%loom`: flags, models, tools, variables; no Python."""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion

from loom_nb.notebook import cell as cells
from loom_nb.notebook.context_spec import WORDS
from loom_nb.notebook.tool_groups import GROUPS
from loom_nb.settings import MODES, REPLAYS

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

_CELL = re.compile(r"[ \t]*%%loom(?=\s|$)")
_LINE = re.compile(r"[ \t]*%loom[ \t]")
_LAST_WORD = re.compile(r"\S*$")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|_PWD|_PAT$")
_OPEN_STEP = re.compile(
    rf"\{{(?P<path>{cells.PATH})"
    r"(?:(?P<dot>\.)(?P<name>[^\W\d]\w*)?"
    r"|\[(?P<quote>[\"'])?(?P<key>(?(quote)[^\n\]]*|-?\d*)))$"
)
"""A brace with a path whose next step is being typed."""
_OPEN_BRACE = re.compile(r"\{([^\W\d]\w*)?$")


def _nothing() -> dict[str, Any]:
    """No completions. A new value each time: IPython writes into what it is given."""
    return {"completions": [], "suppress": False}


def complete(context: CompletionContext, bench: "Workbench") -> dict[str, Any]:
    """The completions at the cursor, in the form of an IPython matcher."""
    lines = context.full_text.split("\n")
    line = lines[context.cursor_line] if context.cursor_line < len(lines) else ""
    before = line[: context.cursor_position]
    first = next((n for n, text in enumerate(lines) if text.strip() and not text.lstrip().startswith("#")), 0)
    if _CELL.match(lines[first]):
        if context.cursor_line < first:
            return _nothing()
        if context.cursor_line == first:
            return _after_cell(before, bench) if _CELL.match(before + " ") else _nothing()
        return _in_prompt(before, line[context.cursor_position :], bench)
    if _LINE.match(before):
        return _after_line(before, bench)
    return _nothing()


def _offer(fragment: str, names: list[str], kind: str) -> dict[str, Any]:
    """Those that begin with the fragment; other matchers keep quiet.

    IPython heeds `suppress` only from a matcher that has something: where there is nothing to offer,
    that is the text which stands there already.
    """
    hits = [SimpleCompletion(text=name, type=kind) for name in names if name.startswith(fragment)]
    hits = hits or [SimpleCompletion(text=fragment, type=kind)]
    return {"completions": hits, "matched_fragment": fragment, "suppress": True, "ordered": True}


def _in_prompt(before: str, after: str, bench: "Workbench") -> dict[str, Any]:
    if step := _OPEN_STEP.search(before):
        names, keys = cells.steps_from(step["path"], bench.names())
        if step["dot"]:
            return _offer(step["name"] or "", names, "attribute")
        return _offer(step["key"] or "", _typed_keys(keys, step["quote"] or "", after), "key")
    brace = _OPEN_BRACE.search(before)
    if brace is None:
        return _offer(_LAST_WORD.search(before)[0], [], "text")  # type: ignore[index]  # it matches any text
    return _offer(brace[1] or "", sorted(bench.names()), "variable")


def _typed_keys(keys: Sequence[str | int], quote: str, after: str) -> list[str]:
    """Keys as they are typed behind `{name[` and a quotation mark, up to what stands behind the cursor."""
    if quote:
        end = "" if after.startswith(quote) else quote if after.startswith("]") else f"{quote}]"
        return [f"{key}{end}" for key in keys if type(key) is str and _can_be_quoted(key, quote)]
    end = "" if after.startswith("]") else "]"
    marks = [
        next((mark for mark in "'\"" if type(key) is int or _can_be_quoted(key, mark)), "") for key in keys
    ]
    return [
        f"{key}{end}" if type(key) is int else f"{mark}{key}{mark}{end}"
        for key, mark in zip(keys, marks, strict=True)
        if mark
    ]


def _can_be_quoted(key: str | int, mark: str) -> bool:
    return not any(sign in str(key) for sign in (mark, "]", "\n"))


def _after_cell(before: str, bench: "Workbench") -> dict[str, Any]:
    words = before.split()
    fragment = "" if before[-1:].isspace() else words[-1]
    done = words if not fragment else words[:-1]
    if before.rstrip() == before and len(words) == 1:
        return _nothing()  # the name of the magic itself is still being typed
    last_flag = next((word for word in reversed(done) if word.startswith("-")), "")
    directly = bool(done) and done[-1] == last_flag
    if fragment.startswith("-"):
        return _offer(fragment, [flag for flag in cells.flags() if flag.startswith(fragment)], "flag")
    if last_flag in ("-t", "--tools"):
        return _offer(fragment, [*sorted(bench.function_names()), *_groups(bench)], "function")
    if last_flag == "--attach":
        return _offer(fragment, _files_at(fragment), "path")
    known, kind = _values_of(last_flag, bench) if directly else ([], "")
    if kind:
        return _offer(fragment, known, kind)
    return _offer(fragment, list(cells.flags()) if not fragment else [], "flag")


def _groups(bench: "Workbench") -> list[str]:
    """The words of `-t` that no variable has taken."""
    return [name for name in GROUPS if name not in bench.names()]


def _files_at(fragment: str) -> list[str]:
    """Folders and files that can be attached."""
    return _paths_at(fragment, _can_be_attached)


def _paths_at(fragment: str, is_wanted: Callable[[str], bool]) -> list[str]:
    """Folders and files whose paths begin so; those with spaces cannot be typed bare."""
    import os

    folder, _, begun = fragment.rpartition("/")
    top = os.path.expanduser(f"{folder}/") if "/" in fragment else "."  # noqa: PTH111  what is typed stays so
    try:
        with os.scandir(top) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError:
        return []
    shown = [one for one in found if begun[:1] == "." or not one[0].startswith(".")]
    before = f"{folder}/" if "/" in fragment else ""
    return [
        f"{before}{name}{'/' if is_folder else ''}"
        for name, is_folder in shown
        if " " not in name and name.startswith(begun) and (is_folder or is_wanted(name))
    ][:MOST_FILES]


def _can_be_attached(name: str) -> bool:
    """By its ending; what it is in truth is seen when it is attached."""
    return name.lower().endswith(ATTACHED)


MOST_FILES = 100
ATTACHED = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".pdf", ".wav", ".mp3", ".txt",
            ".md", ".csv", ".json")  # fmt: skip


def _values_of(flag: str, bench: "Workbench") -> tuple[list[str], str]:
    """What may stand behind a flag, and what kind of thing that is; no kind where it is not known."""
    match flag:
        case "-m" | "--model":
            return bench.known_models(), "model"
        case "--continue" | "--fork":
            return [result.id for result in reversed(bench.results)], "run"
        case "--replay":
            return list(REPLAYS), "value"
        case "--approve":
            return list(MODES), "value"
        case "--ctx":
            return [*WORDS, *(f"+{name}" for name in sorted(bench.names()))], "value"
        case "-o" | "--out":
            return sorted(bench.names()), "variable"
        case "--schema":
            return sorted(name for name, value in bench.names().items() if isinstance(value, type)), "class"
        case _:
            return [], ""


def _after_line(before: str, bench: "Workbench") -> dict[str, Any]:
    from loom_nb.notebook.line_magics import COMMANDS

    words = before.split()
    fragment = "" if before[-1:].isspace() else words[-1]
    done = words[1:] if not fragment else words[1:-1]
    if not done:
        return _offer(fragment, list(COMMANDS), "command")
    match done[0]:
        case "model" | "models":
            return _offer(fragment, bench.known_models(), "model")
        case "context":
            return _after_context(done[1:], fragment, bench)
        case "compact":
            return _after_compact(done[1:], fragment, bench)
        case "show" | "why" | "resume" | "fork" | "diff" | "export" | "artifacts":
            return _after_run(done, fragment, bench)
        case "replay" if len(done) == 2:
            return _offer(fragment, _paths_at(fragment, lambda name: name.endswith(".json")), "path")
        case "sessions" | "replay" | "approvals" if done[1:] in ([], ["--all"]):
            return _offer(fragment, _words_of(done[0]), "command")
        case _:
            follows = _FOLLOWS.get(done[0])
            return follows(done[1:], fragment, bench) if follows is not None else _offer(fragment, [], "text")


def _after_identity(done: list[str], fragment: str, bench: "Workbench") -> dict[str, Any]:
    from loom_nb.capabilities.identity_files import FILES
    from loom_nb.notebook.identities import DIGITS, VERBS

    match done:
        case []:
            return _offer(fragment, [verb for verb in VERBS if verb], "command")
        case [_]:
            return _offer(fragment, list(FILES), "file")
        case ["confirm", name]:
            waiting = [one for one in bench.equipment.identity_files().profiles() if one.waits]
            return _offer(fragment, [one.sha256[:DIGITS] for one in waiting if one.file == name], "value")
        case _:
            return _offer(fragment, [], "text")


def _after_run(done: list[str], fragment: str, bench: "Workbench") -> dict[str, Any]:
    """What follows a command that takes runs."""
    runs = [*(result.id for result in reversed(bench.results)), "last"]
    match done:
        case ["artifacts"]:
            return _offer(fragment, [*runs, "save"], "run")
        case ["export", _]:
            return _offer(fragment, ["--to"], "flag")
        case [_] | ["diff", _]:
            return _offer(fragment, runs, "run")
        case _:
            return _offer(fragment, [], "text")


def _words_of(command: str) -> list[str]:
    """What stands first behind a command that knows a few words."""
    from loom_nb.notebook.sessions import VERBS

    if command == "sessions":
        return [*(verb for verb in VERBS if verb), "--all"]
    return list(REPLAYS) if command == "replay" else [*MODES, "forget"]


def _after_key(done: list[str], fragment: str, bench: "Workbench") -> dict[str, Any]:
    """Words, names of secrets, flags and what they take; never a value, and no file is looked into."""
    from loom_nb.notebook import key_line as lines

    verb, *rest = done or [""]
    if not done:
        return _offer(fragment, [one for one in lines.FLAGS if one], "command")
    flags = lines.FLAGS.get(verb, {})
    last = rest[-1] if rest else ""
    if flags.get(last, "none") != "none":
        return _offer(fragment, _key_values(last, bench), "value")
    if fragment.startswith("-") or (rest and verb != "policy"):
        return _offer(fragment, [one for one in flags if one not in rest or flags[one] == "many"], "flag")
    if verb == "policy" and rest:
        return _offer(fragment, list(lines.MODES) if len(rest) == 1 else [], "value")
    if verb == "set":
        from loom_nb.models.registry import VENDORS

        return _offer(fragment, [one.name for one in VENDORS.values() if one.key_env], "vendor")
    takes_name = verb in ("rotate", "show", "rm", "grant", "policy", "bind", "log")
    return _offer(fragment, _secret_names(bench) if takes_name else [], "secret")


def _secret_names(bench: "Workbench") -> list[str]:
    """Of what is kept; nothing is started for it."""
    from loom_nb.notebook.key_states import kept_by

    return list(kept_by(bench).facts)


def _key_values(flag: str, bench: "Workbench") -> list[str]:
    """What may stand behind a flag of `%loom key`."""
    from loom_nb.credentials.secrets import SECRET_TYPES
    from loom_nb.models.registry import VENDORS
    from loom_nb.notebook import key_line as lines

    known: dict[str, Callable[[], list[str]]] = {
        "--type": lambda: list(SECRET_TYPES),
        "--policy": lambda: [*lines.MODES, "one_shot:3", "time_boxed:now..+2h"],
        "--method": lambda: ["GET", "POST", "PUT", "PATCH", "DELETE"],
        "--tool": lambda: [*(tool.name for tool in bench.built_in_tools()), "http_request"],
        "--model": lambda: [one.name for one in VENDORS.values() if one.key_env],
        "--any": lambda: list(lines.KINDS),
        "--from-env": _variables,
        "--apply": lambda: ["header:X-API-Key", "query:key"],
    }
    return known[flag]() if flag in known else []


def _variables() -> list[str]:
    """Names in the environment that tell of a secret."""
    import os

    return sorted(name for name, text in os.environ.items() if text and _SECRET.search(name))


def _after_skills(done: list[str], fragment: str, bench: "Workbench") -> dict[str, Any]:
    from loom_nb.notebook.skills import VERBS, shelf_of

    if not done:
        return _offer(fragment, [verb for verb in VERBS if verb], "command")
    names = [one.name for one in shelf_of(bench).usable()] if done == ["show"] else []
    return _offer(fragment, names, "skill")


def _after_budget(done: list[str], fragment: str, _: "Workbench") -> dict[str, Any]:
    match done:
        case []:
            return _offer(fragment, ["cell", "notebook", "day", "ask", "off"], "command")
        case ["ask"]:
            return _offer(fragment, ["20k", "50k", "100k", "off"], "value")
        case ["cell" | "notebook" | "day"]:
            return _offer(fragment, ["0.05", "1.00", "5.00", "20k", "200k", "off"], "value")
        case _:
            return _offer(fragment, [], "text")


def _after_memory(done: list[str], fragment: str, bench: "Workbench") -> dict[str, Any]:
    from loom_nb.capabilities.memory.notes import FIELDS, SCOPES
    from loom_nb.notebook import memories

    runs = [*(result.id for result in reversed(bench.results)), "last"]
    match done:
        case []:
            return _offer(fragment, [*memories.VERBS, "--as-of"], "command")
        case [*_, "--as-of"] | ["why", _]:
            return _offer(fragment, runs, "run")
        case ["edit" | "forget" | "undo" | "why"] | ["pin" | "unpin", *_]:
            return _offer(fragment, memories.ids(bench), "note")
        case ["edit", _]:
            return _offer(fragment, list(FIELDS), "field")
        case ["edit", _, "scope"] | ["add", *_, "--scope"]:
            return _offer(fragment, list(SCOPES), "value")
        case ["add", *_]:
            return _offer(fragment, [flag for flag in memories.ADDS if flag not in done], "flag")
        case ["forget", _]:
            return _offer(fragment, ["--preview"], "flag")
        case _:
            return _offer(fragment, ["--as-of"] if fragment.startswith("-") else [], "flag")


def _after_knowledge(done: list[str], fragment: str, bench: "Workbench") -> dict[str, Any]:
    from loom_nb.notebook import knowledge

    variable = next((name for flag, name in itertools.pairwise(done) if flag == knowledge.OF), "")
    match done:
        case []:
            return _offer(fragment, [*knowledge.VERBS, knowledge.OF], "command")
        case [*_, knowledge.OF]:
            return _offer(fragment, knowledge.bases_in(bench), "variable")
        case ["add"]:
            return _offer(fragment, _folders_and_documents(fragment), "path")
        case ["add", _]:
            return _offer(fragment, ["--name"], "flag")
        case ["rm" | "graph" | "show" | "uses" as verb, *_]:
            return _offer(fragment, knowledge.names(bench, verb, variable), "document")
        case _:
            return _offer(fragment, [knowledge.OF] if fragment.startswith("-") else [], "flag")


def _folders_and_documents(fragment: str) -> list[str]:
    from loom_nb.capabilities.knowledge.converting import kind_of

    return _paths_at(fragment, lambda name: kind_of(name) is not None)


def _after_context(done: list[str], fragment: str, bench: "Workbench") -> dict[str, Any]:
    from loom_nb.notebook.contexts import VERBS

    match done:
        case []:
            return _offer(fragment, [verb for verb in VERBS if verb], "command")
        case ["diff", *_]:
            return _offer(fragment, [result.id for result in reversed(bench.results)], "run")
        case ["default"]:
            return _offer(fragment, list(WORDS), "value")
        case ["budget"]:
            return _offer(fragment, ["20k", "40k", "100k", "200k", "off"], "value")
        case ["show" | "pin" | "hide" | "drop" | "unpin" | "unhide" | "free", *_]:
            return _offer(fragment, _items(bench), "item")
        case _:
            return _offer(fragment, [], "text")


def _after_compact(done: list[str], fragment: str, bench: "Workbench") -> dict[str, Any]:
    in_force = [*bench.session.view.compactions][::-1] if bench.session is not None else []
    match done:
        case ["undo"]:
            return _offer(fragment, in_force, "compaction")
        case ["undo", *_]:
            return _offer(fragment, _items(bench), "item")
        case _:
            names = [step.compaction.name for step in bench.runtime().context.ladder]
            left = [name for name in (*names, "undo") if not done] + ["--preview"]
            return _offer(fragment, [name for name in left if name not in done], "strategy")


def _items(bench: "Workbench") -> list[str]:
    """The messages of the conversation, the newest first."""
    count = len(bench.session.conversation) if bench.session is not None else 0
    return [f"m{number}" for number in range(count, 0, -1)]


_FOLLOWS: dict[str, Callable[[list[str], str, "Workbench"], dict[str, Any]]] = {
    "budget": _after_budget,
    "identity": _after_identity,
    "key": _after_key,
    "knowledge": _after_knowledge,
    "memory": _after_memory,
    "skills": _after_skills,
}
"""What is offered behind commands that have words of their own."""
