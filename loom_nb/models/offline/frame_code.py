"""Readable pandas code for what words want done to a DataFrame, made from the columns that were seen."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from loom_nb.models.offline.arithmetic import number
from loom_nb.models.offline.facts import Column, Facts
from loom_nb.models.offline.wishes import QUOTED, listed_words, unquoted

_ROWS = r"(?:rows?|records?|lines?|observations?|entries)"
_GAPS = r"(?:missing|nulls?|nans?|na|n/a|empty|blanks?|gaps?)(?:\s+(?:values?|cells?|data|entries))?"
_DROP = r"(?:drop|remove|delete|discard|eliminate|get rid of|take out)"
_ALL = r"(?:(?:all|any|every|the|its|of|exact|full|complete|wholly|fully|entirely|completely|those)\s+)*"
_COLUMN = r"(?:(?:the|a|all)\s+)?(?:columns?\s+|fields?\s+)?"
_NOT_TO = r"((?:(?!\b(?:to|into|as)\b).)+?)"
_KIND = (
    r"(?:numbers?|numeric|num|ints?|integers?|whole numbers?|floats?|dates?|datetimes?|timestamps?|text"
    r"|strings?)"
)
_LOOSE = re.compile(
    rf"(?:clean|tidy)\b(?:\s+up)?(?:\s+\S+){{0,5}}$|dedup\w*\b|{_DROP}\b.*\b"
    rf"(?:duplicat\w+|{_ROWS}|columns?|{_GAPS})\b"
    rf"|(?:fill|impute|replace)\b.*\b{_GAPS}\b.*\b(?:with|by)\b|rename\b.*\b(?:to|into|as)\b"
    r"|(?:strip|trim)\b|(?:convert|parse|cast|change|turn)\b.*\b(?:to|into|as)\b\s+(?:\w+\s+)?"
    rf"{_KIND}$"
    r"|(?:add|create|make|insert|compute|calculate)\b.*\bcolumns?\b.*"
    r"(?:=|\bas\b|\bequals?\b|\bwith\b|\bis\b|\bfrom\b|:)"
    rf"|(?:sort|order)\b.*\bby\b|(?:lowercase|uppercase)\b|keep\b(?:\s+only)?.*\b{_ROWS}\b",
    re.I | re.S,
)
_PATHLIKE = re.compile(r"[\w-]+\.[A-Za-z]\w{0,4}\b|\w/")
_CONDITION = re.compile(
    rf"{_COLUMN}(?P<column>.+?)\s*(?P<sign>==|=|!=|>=|<=|>|<|\bis not\b|\bis\b|\bequals?\b)\s*"
    rf"(?P<value>.+)",
    re.I,
)
_ONLY_FIGURES = r'.str.replace(r"[^\d.eE+-]", "", regex=True)'
_SIGNS = {"=": "==", "is": "==", "equal": "==", "equals": "==", "is not": "!="}
_WORDED = (
    (r"\btimes\b|\bmultiplied by\b|×", "*"),
    (r"\bplus\b", "+"),
    (r"\bminus\b", "-"),
    (r"\bdivided by\b|\bover\b|\bper\b|÷", "/"),
)


class Unclear(Exception):
    """A wish that cannot be put into code: what is said of it; `named` is the column that there is not."""

    def __init__(self, text: str, *, named: str = "") -> None:
        super().__init__(text)
        self.named = named


@dataclass(frozen=True, slots=True)
class Change:
    """A few lines of code and what they do."""

    lines: tuple[str, ...]
    label: str
    """In words; where the code counts, what it prints before the figure."""


def wants_frame(text: str) -> bool:
    """Whether a piece of a request wants a DataFrame changed."""
    rename = re.match(r"rename\b", text, re.I) and "column" not in text.lower()
    if rename and _PATHLIKE.search(text):
        return False
    if re.search(r"\b(?:files?|folders?|director(?:y|ies))\b", text, re.I):
        return False
    return _LOOSE.match(text) is not None


def whole_code(changes: list[Change], frame: str) -> str:
    """The code of several changes to one frame, with its rows counted before and after."""
    lines = [f'print("rows before:", len({frame}))', f"{frame} = {frame}.copy()"]
    lines = ["import pandas as pd", *lines] if any("pd." in x for c in changes for x in c.lines) else lines
    for change in changes:
        lines += change.lines
    return "\n".join([*lines, f'print("rows after:", len({frame}))'])


def changes_for(text: str, frame: str, facts: Facts) -> list[Change]:
    """What a piece of a request wants. Raises Unclear."""
    plain = _without_frame(text, frame)
    found = _parsed(plain, frame, facts)
    if found is not None:
        return found
    verb = re.match(r"\w+", plain)
    parts = re.split(r"\s*(?:,\s*and\s+|,|\s+and\s+)\s*", plain)
    if verb and len(parts) > 1:  # "drop duplicates and empty rows"
        each = [_parsed(one if n == 0 else f"{verb[0]} {one}", frame, facts) for n, one in enumerate(parts)]
        if all(one is not None for one in each):
            return [change for one in each for change in one or ()]
    raise Unclear(f"I have no rule for “{text.strip()}”")


def _without_frame(text: str, frame: str) -> str:
    """The words without those that say which frame is meant."""
    kind = r"(?:(?:the|my|this|our)\s+)?(?:data ?frame\s+|table\s+|variable\s+)?"
    own = rf"{kind}{re.escape(frame)}(?!\w|\s*\[)(?:['\u2019]s)?"
    data = r"(?:the|my|this|our)\s+(?:data ?frame|data ?set|data|table|frame)|it|them|its"
    name = rf"(?:[`{{]?{own}[`}}]?|{data})"
    text = re.sub(rf"\s+(?:in|of|from|on|to|within|for)\s+{name}(?=\s|[.,:!?]|$)", " ", text, flags=re.I)
    text = re.sub(rf"(?<![\w.]){name}(?=\s|[.,:!?]|$)", " ", text, flags=re.I)
    return re.sub(r"[ \t]+", " ", text).strip(" .,!?:")


def _parsed(text: str, frame: str, facts: Facts) -> list[Change] | None:
    """The changes of one plain wish, or None where no rule fits. Raises Unclear where a column is missing."""
    for pattern, make in _RULES:
        match = re.fullmatch(pattern, text.strip(), re.I | re.S)
        if match:
            return make(match, frame, facts)
    return None


def _clean(_: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    texts = [column for column in facts.columns if _is_text(column)]
    return [*([_trimmed(texts, frame)] if texts else []), _drop_empty(frame), _drop_same(frame)]


def _drop_same(frame: str, columns: list[str] | None = None) -> Change:
    within = f"subset={columns!r}" if columns else ""
    what = f"rows with the same {', '.join(columns)} dropped" if columns else "exact duplicates dropped"
    return Change(
        (
            f'print("{_plain(what)}:", int({frame}.duplicated({within}).sum()))',
            f"{frame} = {frame}.drop_duplicates({within})",
        ),
        what,
    )


def _drop_empty(frame: str) -> Change:
    what = "wholly empty rows dropped"
    return Change(
        (
            f'print("{what}:", int({frame}.isna().all(axis=1).sum()))',
            f'{frame} = {frame}.dropna(how="all")',
        ),
        what,
    )


def _trimmed(columns: list[Column], frame: str) -> Change:
    lines = [
        f"{_cell(frame, column.name)} = {_cell(frame, column.name)}.str.strip()"
        if column.dtype.lower().startswith("str")
        else f"{_cell(frame, column.name)} = {_cell(frame, column.name)}.map("
        "lambda value: value.strip() if isinstance(value, str) else value)"
        for column in columns
    ]
    return Change(tuple(lines), f"blanks around the text of {_spoken([c.name for c in columns])} trimmed")


def _duplicates(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    named = match["columns"]
    return [_drop_same(frame, [column.name for column in columns_of(named, facts)] if named else None)]


def _empty(_: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    return [_drop_empty(frame)]


def _incomplete(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    named = match["columns"]
    columns = [column.name for column in columns_of(named, facts)] if named else []
    within = f"subset={columns!r}" if columns else ""
    cells = f"{frame}[{columns!r}]" if columns else frame
    what = f"rows without {', '.join(columns)} dropped" if columns else "rows with missing values dropped"
    return [
        Change(
            (
                f'print("{_plain(what)}:", int({cells}.isna().any(axis=1).sum()))',
                f"{frame} = {frame}.dropna({within})",
            ),
            what,
        )
    ]


def _drop_columns(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    names = [column.name for column in columns_of(match["columns"], facts)]
    return [Change((f"{frame} = {frame}.drop(columns={names!r})",), f"column {_spoken(names)} dropped")]


def _fill(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    value = match["value"].strip()
    figure = re.fullmatch(
        r"(?:(?:the|its|their)\s+)?(?:column(?:'s)?\s+)?(mean|average|median|mode)(?:\s+"
        r"value)?",
        value,
        re.I,
    )
    of = match["before"] or match["column"]
    columns = columns_of(of, facts) if of else _to_fill(facts, value, figure=figure is not None)
    if not columns:
        raise Unclear(f"`{frame}` has no column with missing values that {value} would fit")
    found = []
    for column in columns:
        cell = _cell(frame, column.name)
        method = {"average": "mean"}.get(figure[1].lower(), figure[1].lower()) if figure else ""
        filling = f"{cell}.{method}()" if method else literal(value)
        filling += ".iloc[0]" if method == "mode" else ""
        what = f"missing values filled in {column.name}"
        lines = (f'print("{_plain(what)}:", int({cell}.isna().sum()))', f"{cell} = {cell}.fillna({filling})")
        found.append(Change(lines, what))
    return found


def _to_fill(facts: Facts, value: str, *, figure: bool) -> list[Column]:
    """The columns with gaps that a value fits: figures for numbers, words for text."""
    numeric = figure or number(value) is not None
    return [
        column
        for column in facts.columns
        if column.missing != 0 and (_is_number(column) if numeric else _is_text(column))
    ]


def _rename(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    (column,) = columns_of(match[1], facts)[:1]
    new = unquoted(match[2])
    what = f"column {_spoken([column.name])} renamed to `{new}`"
    return [Change((f"{frame} = {frame}.rename(columns={{{column.name!r}: {new!r}}})",), what)]


def _trim(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    named = match["columns"]
    every = not named or re.fullmatch(
        r"(?:all\s+|the\s+|every\s+)*(?:text\s+|string\s+)?(?:columns?|text|values?|cells?|strings?)",
        named,
        re.I,
    )
    columns = [c for c in facts.columns if _is_text(c)] if every else columns_of(named, facts)
    if not columns:
        raise Unclear(f"`{frame}` has no column with text")
    return [_trimmed(columns, frame)]


def _convert(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    found = []
    kind = match["kind"].lower()
    for column in columns_of(match["columns"], facts):
        cell = _cell(frame, column.name)
        if re.match(r"text|string", kind):
            found.append(Change((f'{cell} = {cell}.astype("string")',), f"`{column.name}` turned into text"))
            continue
        if re.match(r"date|timestamp", kind):
            read = f'pd.to_datetime({cell}, format="mixed", errors="coerce")'
            what = "dates"
        else:
            bare = f'{cell}.astype("string")' + _ONLY_FIGURES
            read = f'pd.to_numeric({bare if _marked(column, facts) else cell}, errors="coerce")'
            read += '.round().astype("Int64")' if re.match(r"int|whole", kind) else ""
            what = "numbers"
        told = f"values of {column.name} that are no {what}, now missing"
        count = f'print("{_plain(told)}:", int(({read}.isna() & {cell}.notna()).sum()))'
        found.append(Change((count, f"{cell} = {read}"), told))
    return found


def _marked(column: Column, facts: Facts) -> bool:
    """Whether the figures of a column that were seen carry signs, such as $1,200 or 12 kg."""
    if facts.head is None or column.name not in facts.head.header:
        return False
    place = facts.head.header.index(column.name)
    cells = [row[place].strip() for row in facts.head.rows]
    return any(re.search(r"\d", cell) and not re.fullmatch(r"[-+\d.eE]+", cell) for cell in cells)


def _new_column(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    name = unquoted(match["name"])
    code = expression_code(unquoted(match["expression"]), frame, facts)
    return [Change((f"{_cell(frame, name)} = {code}",), f"column `{name}` added")]


def _sort(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    names = [column.name for column in columns_of(match["columns"], facts)]
    down = match["down"] is not None
    code = f"{frame} = {frame}.sort_values({names!r}{', ascending=False' if down else ''})"
    return [Change((code,), f"rows sorted by {_spoken(names)}{', largest first' if down else ''}")]


def _case(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    which = match["case"].lower()[:5]
    columns = columns_of(match["columns"], facts)
    lines = [f"{_cell(frame, c.name)} = {_cell(frame, c.name)}.str.{which}()" for c in columns]
    return [Change(tuple(lines), f"{_spoken([c.name for c in columns])} put into {which} case")]


def _where(match: re.Match[str], frame: str, facts: Facts) -> list[Change]:
    keep = match["verb"].lower().startswith("keep")
    told = _CONDITION.fullmatch(match["condition"].strip())
    if told is None:
        raise Unclear(f"I have no rule for the condition “{match['condition'].strip()}”")
    (column,) = columns_of(told["column"], facts)[:1]
    sign = _SIGNS.get(told["sign"].lower(), told["sign"])
    value = told["value"].strip()
    cell = _cell(frame, column.name)
    gone = re.fullmatch(_GAPS, value, re.I)
    test = f"{cell}.{'isna' if sign == '==' else 'notna'}()" if gone else f"{cell} {sign} {literal(value)}"
    code = f"{frame} = {frame}[{test}]" if keep else f"{frame} = {frame}[~({test})]"
    what = f"rows with {column.name} {told['sign']} {unquoted(value)} {'kept' if keep else 'dropped'}"
    return [Change((code,), what)]


_RULES: tuple[tuple[str, Callable[[re.Match[str], str, Facts], list[Change]]], ...] = (
    (r"(?:clean|tidy)(?:\s+up)?(?:\s+(?:the|my|all)?\s*(?:data|values?|rows?))?", _clean),
    (
        rf"(?:dedup\w*|{_DROP}\s+{_ALL}duplicat\w*(?:\s+(?:{_ROWS}|values|entries))?)"
        rf"(?:\s+(?:by|on|in|of|for|based on|with the same)\s+{_COLUMN}(?P<columns>.+))?",
        _duplicates,
    ),
    (rf"{_DROP}\s+{_ALL}(?:empty|blank)\s+{_ROWS}", _empty),
    (rf"{_DROP}\s+{_ALL}{_ROWS}\s+that\s+are\s+{_ALL}(?:empty|blank)", _empty),
    (
        rf"{_DROP}\s+{_ALL}(?:{_ROWS}\s+(?:with|that have|which have|having|containing|that contain)\s+"
        rf"{_ALL})?{_GAPS}"
        rf"(?:\s+(?:in|for|of)\s+{_COLUMN}(?P<columns>.+))?",
        _incomplete,
    ),
    (rf"{_DROP}\s+{_ALL}{_ROWS}\s+(?:where|whose|in which)\s+{_COLUMN}(?P<columns>.+?)\s+(?:is|are)\s+"
     rf"{_GAPS}", _incomplete),
    (rf"{_DROP}\s+{_ALL}{_ROWS}\s+(?:without|with no|with missing)\s+(?:an?\s+)?{_COLUMN}"
     rf"(?P<columns>.+)", _incomplete),
    (rf"{_DROP}\s+(?:the\s+)?(?:columns?|fields?)\s+(?P<columns>.+)", _drop_columns),
    (rf"{_DROP}\s+(?:the\s+)?(?P<columns>\S+)\s+columns?", _drop_columns),
    (rf"(?P<verb>{_DROP}|keep)\s+(?:only\s+)?{_ALL}{_ROWS}\s+(?:where|whose|with|in which)\s+"
     rf"(?P<condition>.+)", _where),
    (
        rf"(?:fill|impute|replace)(?:\s+in)?\s+{_ALL}(?:{_GAPS}(?:\s+(?:in|of|for)\s+{_COLUMN}"
        rf"(?P<column>.+?)"
        rf"|\s+(?P<before>(?!values?\b|cells?\b|in\b|of\b|for\b|with\b|by\b).+?))?)"
        r"\s+(?:with|by|using)\s+(?P<value>.+)",
        _fill,
    ),
    (rf"rename\s+{_COLUMN}{_NOT_TO}\s+(?:to|into|as)\s+{_NOT_TO}", _rename),
    (
        rf"(?:strip|trim)(?:\s+(?:off|away))?(?:\s+{_ALL}(?:leading\s+and\s+trailing\s+|surrounding\s+"
        rf"|extra\s+)?"
        r"(?:white ?space|spaces|blanks)(?:\s+(?:around|from|in|of|off))?)?"
        rf"(?:\s*{_COLUMN}(?P<columns>.+))?",
        _trim,
    ),
    (
        rf"(?:convert|parse|cast|change|turn|make)\s+{_COLUMN}(?P<columns>(?:(?!\b"
        rf"(?:to|into|as)\b).)+?)\s+(?:to|into|as)\s+"
        rf"(?:a\s+|real\s+)?(?P<kind>{_KIND})",
        _convert,
    ),
    (
        rf"(?:add|create|make|insert|compute|calculate)\s+(?:an?\s+|the\s+)?(?:new\s+)?columns?\s+"
        rf"(?:called\s+|named\s+)?"
        rf"(?P<name>{QUOTED}|[^\s=:]+)\s*(?:=|:|\bas\b|\bequals?(?:\s+to)?\b|\bwith\b|\b"
        rf"(?:that|which)\s+is\b|\bis\b|\bfrom\b)"
        r"\s*(?P<expression>.+)",
        _new_column,
    ),
    (
        r"(?:sort|order)(?:\s+(?:the\s+)?rows)?\s+by\s+(?P<columns>.+?)"
        r"(?P<down>,?\s+(?:descending|in descending order|largest first|highest first|newest first))?"
        r"(?:,?\s+(?:ascending|in ascending order|smallest first))?",
        _sort,
    ),
    (rf"(?P<case>lowercase|uppercase)\s+{_COLUMN}(?P<columns>.+)", _case),
)  # fmt: skip


def columns_of(text: str, facts: Facts) -> list[Column]:
    """The columns that words name. Raises Unclear where there is none of that name."""
    text = re.sub(
        r"^(?:the\s+)?(?:columns?|fields?)\s+|\s+(?:columns?|fields?)$", "", text.strip(), flags=re.I
    )
    whole = _one_column(text, facts)
    if whole is not None:
        return [whole]
    found = []
    for name in listed_words(text):
        column = _one_column(name, facts)
        if column is None:
            raise Unclear(
                f"`{facts.name}` has no column `{name}`; it has {_spoken([c.name for c in facts.columns])}",
                named=name,
            )
        found.append(column)
    return found


def _one_column(name: str, facts: Facts) -> Column | None:
    name = re.sub(r"^the\s+", "", unquoted(name.strip()), flags=re.I)
    keys = {_key(column.name): column for column in facts.columns}
    exact = next((column for column in facts.columns if column.name == name), None) or keys.get(_key(name))
    if exact is not None:
        return exact
    near = difflib.get_close_matches(_key(name), keys, 1, cutoff=0.85) if len(name) > 3 else []
    return keys[near[0]] if near else None


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().lower()


def expression_code(text: str, frame: str, facts: Facts) -> str:
    """Arithmetic over columns as code. Raises Unclear for any other word."""
    if re.fullmatch(QUOTED, text.strip()):
        return repr(unquoted(text))
    for pattern, sign in _WORDED:
        text = re.sub(pattern, sign, text, flags=re.I)
    names = sorted((column.name for column in facts.columns), key=len, reverse=True)
    known = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names) or r"(?!)"
    own = rf"{re.escape(frame)}\s*(?:\.|\[\s*)"
    token = re.compile(
        rf"\s*(?:(?:{own})?[\"'`]?(?P<column>{known})[\"'`]?(?:\s*\])?|(?P<plain>\d+"
        rf"(?:\.\d+)?|[-+*/()]|\*\*)|(?P<word>[^\s()+*/-]+))",
        re.I,
    )
    parts, depth = [], 0
    for match in token.finditer(text.strip(" .;")):
        if match["word"]:
            columns = columns_of(match["word"], facts)  # says which there are
            parts.append(_cell(frame, columns[0].name))
        elif match["column"]:
            (column,) = columns_of(match["column"], facts)[:1]
            parts.append(_cell(frame, column.name))
        else:
            depth += {"(": 1, ")": -1}.get(match["plain"], 0)
            parts.append(match["plain"])
    code = re.sub(r"(?<=[(]) | (?=[)])", "", " ".join(parts))
    try:
        compile(code, "<expression>", "eval")
    except SyntaxError:
        raise Unclear(f"“{text.strip()}” is no formula that I can read") from None
    return code


def literal(text: str) -> str:
    """A value in words as Python: a number, true or false, else text."""
    plain = text.strip()
    value = None if re.fullmatch(QUOTED, plain) else number(plain)
    if value is not None:
        return repr(value)
    words = {"true": "True", "false": "False", "zero": "0", "an empty text": "''"}
    return words.get(plain.lower(), repr(unquoted(re.sub(r"^the (?:text|value|word)\s+", "", plain))))


def _cell(frame: str, column: str) -> str:
    return f"{frame}[{json_like(column)}]"


def json_like(text: str) -> str:
    """A text as Python, between double quotation marks where that is plain."""
    return f'"{text}"' if text.isprintable() and not set(text) & {'"', "\\"} else repr(text)


def _plain(text: str) -> str:
    return re.sub(r"[\"\\\n\r{}]", " ", text)


def _spoken(names: list[str]) -> str:
    shown = ["`" + re.sub(r"[`\s]+", " ", name) + "`" for name in names[:12]]
    return ", ".join(shown) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _is_text(column: Column) -> bool:
    return re.match(r"obj|str|text|mixed", column.dtype, re.I) is not None


def _is_number(column: Column) -> bool:
    return re.match(r"u?int|float|number|numeric", column.dtype, re.I) is not None
