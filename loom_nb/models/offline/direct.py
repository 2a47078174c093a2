"""Wishes that one call of a tool carries out: files, commands, code, requests, undo."""

import ast
import re
import shlex
from dataclasses import dataclass
from typing import Any

from loom_nb.models.offline.slots import schema_of
from loom_nb.models.offline.task import Task
from loom_nb.models.offline.wishes import QUOTED, unquoted
from loom_nb.models.offline.words import spelled

RUN = "run_python"
COMMAND = "run_command"
ASK = "ask_user"
PLAN = "write_plan"
REMEMBER, SEARCH_NOTES, LIST_NOTES, FORGET = "remember", "search_memory", "list_memory", "forget"
SEARCH_DOCUMENTS = "search_knowledge"
ACTIVATE, LIST_SKILLS = "activate_skill", "list_skills"
KNOWING = frozenset(
    {REMEMBER, SEARCH_NOTES, LIST_NOTES, FORGET, SEARCH_DOCUMENTS, ACTIVATE, LIST_SKILLS}
) | spelled("read_memory update_memory deactivate_skill read_skill_file skill_manage")
"""Tools of notes, documents and skills: they have rules of their own."""
BY_RULE = KNOWING | spelled(
    "run_python run_command start_command ask_user write_plan write_file edit_file move_file delete_file "
    "make_folder undo_change http_request"
)
"""Tools that are taken only where the words order it, never for what their descriptions have in common."""
ALWAYS = frozenset({RUN, ASK, PLAN})
"""Tools that every notebook has; the user did not hand them over."""
WHERE = {
    "write_file": "files", "edit_file": "files", "move_file": "files", "delete_file": "files",
    "make_folder": "files", "undo_change": "files", "read_file": "files",
    COMMAND: "shell", "start_command": "shell", "http_request": "http", "web_fetch": "web",
}  # fmt: skip
"""The capability that brings a tool."""

_PATH = rf"(?:{QUOTED}|[^\s`\"',;:]*[./][^\s`\"',;:]*[^\s`\"',;:.?!]|[\w.~-]+/)"
_FILE = (
    rf"(?:(?:the|a|an|my|this)\s+)?(?:new\s+)?(?:text\s+)?(?:(?:file|folder|directory)\s+(?:called\s+"
    rf"|named\s+)?"
    rf"(?:{QUOTED}|[^\s,;:]*[^\s,;:.?!])|{_PATH})"
)
_TEXT = rf"(?:{QUOTED})"
_URL = r"https?://[^\s<>\"'`]+[^\s<>\"'`.,;!?]"
_SECRET = (
    rf"(?:\s+with\s+(?:the\s+|my\s+)?(?:secret|credential)\s+(?P<secret>{_TEXT}|[\w.@/-]*\w)"
    r"(?P<why>,?\s+(?:to|for|because)\s+[^\n]*?)?)?"
)
_RULES: tuple[tuple[str, str], ...] = (
    (
        "write_file",
        rf"(?:write|save|put|store)\s+(?:the\s+)?(?:text|words?|line|following)?\s*"
        rf"(?P<content>{_TEXT})\s+(?:in|into|to|as)\s+(?P<path>{_FILE})",
    ),
    (
        "write_file",
        rf"(?:create|make|write|save)\s+(?P<path>{_FILE})\s*(?:with|containing|saying|that says|:)\s*"
        rf"(?:the\s+)?"
        rf"(?:text|contents?|words?|line)?:?\s*(?P<content>{_TEXT})",
    ),
    (
        "write_file",
        rf"(?:write|save|put)\s+(?:this\s+|the following\s+)?(?:to|into|in)\s+(?P<path>{_FILE})\s*:?\s*"
        rf"(?P<content>{_TEXT})",
    ),
    ("write_file", rf"(?:create|write)\s+(?:(?:a|an|the)\s+)?(?:new\s+)?(?:empty\s+)?(?:text\s+)?"
                   rf"(?:file|(?P<path>{_FILE}))"),
    (
        "edit_file",
        rf"(?:replace|change|exchange|swap|substitute)\s+(?P<all>all\s+|every\s+|each\s+)?"
        rf"(?P<old_text>{_TEXT}|\S+(?:\s\S+)?)\s+"
        rf"(?:with|by|to|for|into)\s+(?P<new_text>{_TEXT}|\S+(?:\s\S+)?)\s+(?P<everywhere>everywhere\s+"
        rf")?(?:in|inside|within|of)\s+"
        rf"(?P<path>{_FILE})(?P<all_over>\s+everywhere)?",
    ),
    ("move_file", rf"(?:rename|move)\s+(?P<source>{_FILE})\s+(?:to|into|as)\s+(?P<target>{_FILE})"),
    ("move_file", rf"(?:rename|move)\s+(?P<source>{_FILE})"),
    ("delete_file", rf"(?:delete|remove|trash|erase)\s+(?P<path>{_FILE})"),
    (
        "delete_file",
        r"(?:delete|remove|trash|erase)\s+(?:(?:the|a|my|all|every|some|of|these|those)\s+)*"
        r"(?:files?|folders?|director(?:y|ies))",
    ),
    (
        "glob",
        rf"(?:find|list|show|search for)\s+(?:me\s+)?(?:all\s+)?(?:the\s+)?files?\s+(?:(?:that\s+are\s+"
        rf")?(?:named|called|matching|like)\s+)?"
        rf"(?P<glob>{QUOTED}|\S*[*?]\S*)",
    ),
    (
        "grep",
        rf"(?:find|search(?:\s+for)?|grep(?:\s+for)?|look\s+for)\s+(?P<pattern>{_TEXT})\s+"
        rf"(?:in|within)\s+(?:all\s+)?(?:(?:the|my)\s+)?files?",
    ),
    (
        "read_file",
        rf"(?:what\s+does|what(?:['\u2019]s|\s+is)\s+in|show(?:\s+me)?|print)\s+(?:the\s+contents?\s+"
        rf"of\s+)?(?P<path>(?:the\s+)?(?:file\s+)?{_PATH})(?:\s+(?:say|contain|hold))?",
    ),
    ("list_tasks", r"(?:which|what|list|show)\s+(?:me\s+)?(?:the\s+)?(?:background\s+)?tasks?(?:\s+"
                   r".{0,40})?"),
    ("stop_task", r"(?:stop|end|kill)\s+(?:the\s+)?(?:background\s+)?(?:task\s+)?(?P<task>t\d+)"),
    ("task_output", r"(?:show|print|read)\s+(?:me\s+)?(?:the\s+)?output\s+of\s+(?:task\s+)?(?P<task>t\d+)"),
    ("task_output", r"is\s+(?:task\s+)?(?P<task>t\d+)\s+(?:still\s+running|done|finished|ready)"),
    (
        "make_folder",
        rf"(?:make|create|add)\s+(?:(?:a|the)\s+)?(?:new\s+)?(?:folder|directory)(?:\s+"
        rf"(?:called|named))?(?:\s+(?P<path>{QUOTED}|\S+))?",
    ),
    (
        "undo_change",
        r"(?:undo|revert|take back)(?:\s+(?:that|it|this|(?:(?:the|my|your)\s+)?(?:last\s+|latest\s+)?"
        r"(?:change|edit|deletion|move)))?",
    ),
    (
        "http_request",
        rf"(?:(?:send|make|do)\s+)?(?:an?\s+)?(?P<method>"
        rf"(?-i:GET|HEAD|OPTIONS)|post|put|patch|delete)\s+(?:request\s+)?"
        rf"(?:(?P<body>{_TEXT}|\{{[^\n]*\}})\s+)?(?:to\s+|from\s+)?(?P<url>{_URL})(?:\s+with\s+(?:the\s+"
        rf")?(?:body\s+|json\s+)?(?P<after>{_TEXT}|\{{[^\n]*\}}))?{_SECRET}",
    ),
    ("web_fetch", rf"(?:fetch|open|read|get|visit|look at)\s+(?:the\s+)?(?:page|site|address|url)?\s*"
                  rf"(?P<url>{_URL})"),
    ("http_request", rf"(?:fetch|open|read|get)\s+(?:the\s+)?(?:page|site|address|url)?\s*(?P<url>{_URL})"
                     rf"{_SECRET}"),
)  # fmt: skip
_CODE = re.compile(
    rf"(?:run|execute|evaluate|start)\s+(?P<words>(?:(?!{QUOTED}).)*?):?\s*(?P<code>{QUOTED})"
    rf"(?P<more>[^`\n]*)",
    re.I | re.S,
)
_BARE = re.compile(r"(?:run|execute)\s+(?:the\s+)?(?P<say>(?:shell\s+)?command\s+)?(?P<code>[^`\n]+)", re.I)
_LOAD = re.compile(
    rf"(?:load|read|import)\s+(?P<path>{_FILE})\s+(?:into|as)\s+(?:the\s+)?(?:(?:a\s+)?data ?frame\s+"
    rf"|variable\s+)*"
    r"(?:called\s+|named\s+)?[`{]?(?P<name>[A-Za-z_]\w*)[`}]?",
    re.I,
)
_SAVE = re.compile(
    rf"(?:save|write|export|store)\s+(?:the\s+)?(?:data ?frame\s+|variable\s+"
    rf")?[`{{]?(?P<name>[A-Za-z_]\w*)[`}}]?\s+(?:in|into|to|as)\s+(?P<path>{_FILE})",
    re.I,
)
_LINES = re.compile(
    rf"how many lines\s+(?:has|have|does|are(?:\s+there)?\s+in|is|in)\s+(?:the\s+)?(?P<path>{_FILE})"
    r"(?:\s+(?:have|has|long))?\s*\??",
    re.I,
)
_PROGRAMS = spelled(
    "ls pwd cat echo git pip head tail wc grep find date whoami mkdir cp mv rm touch python python3 pytest "
    "make uname env which sort uniq cut sed awk tree du tar zip unzip curl wget bash sh node npm cargo go uv "
    "seq sleep true"
)
_FORMATS = {"csv": "csv", "tsv": "csv", "json": "json", "parquet": "parquet", "xlsx": "excel"}


@dataclass(frozen=True, slots=True)
class Wish:
    """A call that the words order; what it lacks has still to be asked for."""

    tool: str
    arguments: dict[str, Any]
    counts: bool = False
    """Whether only the number of lines is asked for."""


def direct(text: str, task: Task) -> Wish | None:
    """The one call that a piece of a request orders, whether there is such a tool or not."""
    text = text.strip()
    found = _running(text, task) or _tables(text, task) or _counting(text, task)
    if found is not None:
        return found
    first: Wish | None = None
    for name, pattern in _RULES:
        match = re.fullmatch(rf"{pattern}\s*[.!?]*", text, re.I | re.S)
        if match is None:
            continue
        wish = Wish(name, _arguments(name, match))
        if usable(wish, task):
            return wish
        first = first or wish
    return first


def usable(wish: Wish, task: Task) -> bool:
    """Whether there is such a tool, and its schema takes these arguments."""
    tool = task.tool(wish.tool)
    return tool is not None and wish.arguments.keys() <= dict(schema_of(tool).get("properties", {})).keys()


def _arguments(name: str, match: re.Match[str]) -> dict[str, Any]:
    said = {key: value for key, value in match.groupdict().items() if value is not None}
    found: dict[str, Any] = {}
    for key in ("path", "source", "target"):
        if key in said:
            found[key] = _path(said[key])
    for key in ("content", "old_text", "new_text", "task"):
        if key in said:
            found[key] = unquoted(said[key])
    if name == "grep":
        found["pattern"] = re.escape(unquoted(said["pattern"]))
    if name == "glob":
        found["pattern"] = unquoted(said["glob"])
    if name == "edit_file" and said.keys() & {"all", "everywhere", "all_over"}:
        found["replace_all"] = True
    if name == "move_file" and str(found.get("target", "")).endswith("/"):
        found["target"] += found["source"].rstrip("/").rpartition("/")[2]
    if name == "http_request":
        found |= _request(said)
    return found | ({"url": said["url"]} if "url" in said else {})


def _request(said: dict[str, str]) -> dict[str, Any]:
    """What was said of a request beside its address."""
    found: dict[str, Any] = {}
    if "method" in said:
        found["method"] = said["method"].upper()
        body = said.get("body") or said.get("after")
        found |= {"body": unquoted(body)} if body else {}
    if "secret" in said:
        found["credential"] = unquoted(said["secret"])
        found |= {"why": said["why"].lstrip(", ")} if "why" in said else {}
    return found


def path_in(text: str) -> str:
    """The last path that a text names between marks or by its form; empty where it names none."""
    found = re.findall(_PATH, text)
    return unquoted(found[-1]) if found else ""


def _path(text: str) -> str:
    plain = re.sub(r"^(?:(?:the|a|an|my|this)\s+)?(?:new\s+)?(?:text\s+)?", "", text.strip(), flags=re.I)
    plain = re.sub(r"^(?:file|folder|directory)\s+(?:called\s+|named\s+)?", "", plain, flags=re.I)
    return unquoted(plain)


def _running(text: str, task: Task) -> Wish | None:
    """Code or a command between marks behind "run"; a known program also without marks."""
    match = _CODE.fullmatch(text)
    if match is not None:
        code, words = unquoted(match["code"]).strip(), f"{match['words']} {match['more']}".lower()
        if not re.fullmatch(r"(?:[a-z]+\s*){0,8}[.!:,\s]*", words.strip()):
            return None
        behind = re.search(r"\bin the background\b", words) or text.lower().startswith("start")
        if _is_python(match["code"], code, words, task) and not behind:
            return Wish(RUN, {"code": code})
        return Wish("start_command" if behind else COMMAND, {"command": code})
    bare = _BARE.fullmatch(text)
    if bare is not None and (bare["say"] or bare["code"].split()[0] in _PROGRAMS):
        return Wish(COMMAND, {"command": bare["code"].strip()})
    return None


def _is_python(marked: str, code: str, words: str, task: Task) -> bool:
    fence = re.match(r"```([\w+-]*)", marked)
    tag = fence[1].lower() if fence else ""
    if tag or re.search(r"\b(?:python|shell|command|bash|terminal)\b", words):
        return tag in ("python", "py", "python3", "ipython") or (not tag and "python" in words)
    first = re.match(r"[\w./-]*", code)
    variables = task.known.variables
    if first and first[0] in _PROGRAMS and first[0] not in variables and not re.match(r"\w+\s*[=(.]", code):
        return False
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return task.tool(COMMAND) is None and "\n" in code
    return True


def _tables(text: str, task: Task) -> Wish | None:
    """A file as a DataFrame, and back."""
    load = _LOAD.fullmatch(text.rstrip(" .!"))
    if load is not None:
        path, name = _path(load["path"]), load["name"]
        kind = _FORMATS.get(path.rpartition(".")[2].lower())
        tab = ', sep="\\t"' if path.lower().endswith(".tsv") else ""
        lines = [
            "import pandas as pd",
            f"{name} = pd.read_{kind}({path!r}{tab})",
            f'print("rows:", len({name}))',
        ]
        return Wish(RUN, {"code": "\n".join(lines)}) if kind else None
    save = _SAVE.fullmatch(text.rstrip(" .!"))
    if save is not None:
        path, name = _path(save["path"]), save["name"]
        kind = _FORMATS.get(path.rpartition(".")[2].lower())
        index = "" if kind == "json" else ", index=False"
        tab = ', sep="\\t"' if path.lower().endswith(".tsv") else ""
        known = name in task.known.variables or re.search(rf"[`{{]{name}[`}}]|data ?frame", text)
        return Wish(RUN, {"code": f"{name}.to_{kind}({path!r}{index}{tab})"}) if kind and known else None
    return None


def _counting(text: str, task: Task) -> Wish | None:
    """How many lines a file has: by a command, or by reading it."""
    match = _LINES.fullmatch(text)
    if match is None:
        return None
    path = _path(match["path"])
    if task.tool(COMMAND) is not None:
        return Wish(COMMAND, {"command": f"wc -l -- {shlex.quote(path)}"})
    return Wish("read_file", {"path": path}, counts=True)
