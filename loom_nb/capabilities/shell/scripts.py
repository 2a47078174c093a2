"""Programs whose arguments are a small language of their own: find, test, sed, awk, tar and git's neighbours.

Of each language only what reads is known here; every other word of it raises `Unsure`.
"""

import re
from collections.abc import Callable, Sequence

from loom_nb.capabilities.shell.ground import Ground
from loom_nb.capabilities.shell.options import Grammar, understand
from loom_nb.capabilities.shell.words import Unsure, Word, names

Judge = Callable[[Sequence[Word], Ground], None]
"""Looks at a program's arguments and raises `Unsure` if they might do more than read."""

# --- find -----------------------------------------------------------------------------------------

_FIND_TEXT = names(
    "name iname path ipath wholename iwholename regex iregex lname ilname regextype type xtype size perm user"
    " group uid gid links inum used fstype mtime mmin ctime cmin atime amin maxdepth mindepth printf"
    " newermt newerat newerct"
)
_FIND_PATH = names("newer anewer cnewer samefile newermm newerma newermc newerBm")
_FIND_ALONE = names(
    "print print0 ls prune quit empty executable readable writable depth d mount xdev daystart true false not"
    " a and o or nouser nogroup ignore_readdir_race noignore_readdir_race noleaf help version"
)
_FIND_ACTS = names("delete exec execdir ok okdir fprint fprint0 fprintf fls")
_FIND_GLOBS = names("name iname path ipath wholename iwholename")


def judge_find(words: Sequence[Word], ground: Ground) -> None:
    """Tests and printing; no -exec, -delete or -fprint, and no following of links."""
    rest = list(words)
    if rest and rest[0].text == "-P":
        rest.pop(0)
    while rest and rest[0].text[:1] not in ("-", "(", "!", ","):
        ground.check_word(rest.pop(0), content=False)
    while rest:
        word = rest.pop(0)
        name = word.text[1:] if word.text.startswith("-") else ""
        if word.is_glob:
            raise Unsure(f"gives find a word that depends on the names of files: {word.raw}")
        if word.text in ("(", ")", "!", ",") or name in _FIND_ALONE:
            continue
        if name in _FIND_ACTS:
            raise Unsure(f"acts on what it finds (find -{name})", unknown=True)
        if name not in _FIND_TEXT and name not in _FIND_PATH:
            raise Unsure(f"uses a word of find that is not known to only read: {word.text}", unknown=True)
        if not rest:
            raise Unsure(f"gives find no value for {word.text}")
        _check_find_value(name, rest.pop(0), ground)


def _check_find_value(name: str, value: Word, ground: Ground) -> None:
    if name in _FIND_PATH:
        ground.check(value.text, content=False)
    if value.is_glob and name not in _FIND_GLOBS:
        raise Unsure(f"gives find a value that depends on the names of files: {value.raw}")
    if value.is_glob:
        # More than one match is an error of find's; none of them can become an action.
        ground.check_word(value, content=False)


# --- test -----------------------------------------------------------------------------------------

_TEST_PATH = names("-e -f -d -r -w -x -s -L -h -b -c -p -S -g -u -k -G -O -N")
_TEST_COMPARES = names("= == != -eq -ne -gt -ge -lt -le")
_TEST_FILES = names("-nt -ot -ef")


def judge_test(words: Sequence[Word], ground: Ground) -> None:
    """Questions on files, texts and numbers. Not -v, whose operand bash computes like an expression."""
    rest = list(words)
    if any(word.is_glob for word in rest):
        raise Unsure("tests what depends on the names of files")
    while rest:
        if rest[0].text == "!":
            rest.pop(0)
        if len(rest) >= 3 and rest[1].text in _TEST_COMPARES | _TEST_FILES:
            if rest[1].text in _TEST_FILES:
                ground.check(rest[0].text, content=False)
                ground.check(rest[2].text, content=False)
            del rest[:3]
        elif len(rest) >= 2 and rest[0].text in _TEST_PATH:
            ground.check(rest[1].text, content=False)
            del rest[:2]
        elif len(rest) >= 2 and rest[0].text in ("-z", "-n"):
            del rest[:2]
        elif len(rest) == 1 and not rest[0].text.startswith("-"):
            rest.clear()
        else:
            raise Unsure("tests something in a way that is not known")
        if rest and (rest.pop(0).text not in ("-a", "-o") or not rest):
            raise Unsure("tests something in a way that is not known")


def judge_bracket(words: Sequence[Word], ground: Ground) -> None:
    """Like `test`, with a closing bracket."""
    if not words or words[-1].raw != "]":
        raise Unsure("opens a bracket that it does not close")
    judge_test(words[:-1], ground)


# --- sed --------------------------------------------------------------------------------------------------

_MAX_SCRIPT = 400
# A regular expression without the delimiter; a bracket holds no slash, on which the versions of sed differ.
# Without possessive quantifiers: Python 3.11.2 gets them wrong.
_REGEX = r"(?:\\[^\n]|\[\^?\]?[^\]/\\\n]*\]|[^/\\\[\n])*"
_ADDRESS = rf"(?:[0-9]+|\$|/{_REGEX}/)"
_SED_STEP = re.compile(
    rf" *(?:{_ADDRESS}(?:,\+?{_ADDRESS})?!?)? *"
    rf"(?:[pdq=]|s/{_REGEX}/(?:\\[^\n]|[^/\\\n])*/[gpiI0-9]*) *(?:;|$)"
)
_SED_GRAMMAR = Grammar(
    "nErsuze=",
    "quiet silent regexp-extended expression= separate null-data posix",
    first_is_text=("e", "expression"),
)


def judge_sed(words: Sequence[Word], ground: Ground) -> None:
    """Printing, leaving out and replacing on the way to the screen: p, d, q, = and s///. No w, e, r or -i."""
    call = understand("sed", _SED_GRAMMAR, words, ground)
    scripts = call.values("e", "expression")
    if not scripts:
        if not call.operands or call.operands[0].is_glob:
            raise Unsure("gives sed no script that is known before", unknown=True)
        scripts = [call.operands[0].text]
    for script in scripts:
        if not _only_prints(script):
            raise Unsure(f"runs a sed script that is not known to only print: {script}", unknown=True)


def _only_prints(script: str) -> bool:
    place = 0
    while place < len(script) <= _MAX_SCRIPT:
        step = _SED_STEP.match(script, place)
        if not step:
            return False
        place = step.end()
    return 0 < len(script) <= _MAX_SCRIPT


# --- awk --------------------------------------------------------------------------------------------------

_AWK_TOKEN = re.compile(
    r"""(?P<blank>\ +)
    |(?P<value>[0-9]+(?:\.[0-9]+)?|\$(?:[0-9]+|NF|NR)|"(?:[^"\\\n]|\\[nt"\\])*")
    |(?P<name>[A-Za-z]+)
    |(?P<sign>\+\+|--|[-+*%=!<>]=|&&|\|\||!~|[-+*%=!<>~,;(){}\[\]$?:/])""",
    re.VERBOSE,
)
_AWK_REGEX = re.compile(r"/(?:\\[^\n]|[^/\\\[\n])*/|/(?:\\[^\n]|\[\^?\]?[^\]/\\\n]*\]|[^/\\\[\n])*/")
_AWK_VARIABLES = names(
    "NR NF FNR FILENAME FS OFS RS ORS sum count total max min avg mean seen line lines name"
)
_AWK_WORDS = names(
    "BEGIN END print printf if else for in next exit delete length substr index split sub gsub match sprintf"
    " tolower toupper int sqrt log exp"
)
_BEFORE_REGEX = frozenset(("", "{", "}", ";", "(", ",", "!", "~", "!~", "&&", "||"))
_AWK_GRAMMAR = Grammar("F=", first_is_text=())


def judge_awk(words: Sequence[Word], ground: Ground) -> None:
    """Picking columns and lines, counting and adding up. No output into files or pipes, no getline."""
    call = understand("awk", _AWK_GRAMMAR, words, ground)
    script = call.operands[0] if call.operands else None
    if script is None or script.is_glob or not _only_computes(script.text):
        raise Unsure("runs an awk program that is not known to only print", unknown=True)


def _only_computes(script: str) -> bool:
    """Whether all its words are known ones, and `>` stands where it compares: in () or outside of {}.

    Nothing else of awk reaches beyond its operands: `|`, getline, system(), ARGV, ENVIRON and @ are no words
    here. A program that makes no sense to awk ends with its error. A slash must be clearly a division or
    clearly a regular expression, or what stands behind it could be read in two ways.
    """
    if len(script) > _MAX_SCRIPT:
        return False
    place, braces, brackets, before, is_variable = 0, 0, 0, "", False
    while place < len(script):
        regex = _AWK_REGEX.match(script, place) if before in _BEFORE_REGEX else None
        token = regex or _AWK_TOKEN.match(script, place)
        if not token:
            return False
        place, text = token.end(), token.group()
        if token.lastgroup == "blank":
            continue
        is_word = token.lastgroup == "name"
        if is_word and not (text in _AWK_WORDS or text in _AWK_VARIABLES or len(text) == 1):
            return False
        if (text == "/" and not is_variable) or (text.startswith(">") and braces and not brackets):
            return False
        braces += (text == "{") - (text == "}")
        brackets += (text == "(") - (text == ")")
        before = "a regular expression" if regex else text
        is_variable = token.lastgroup == "value" or text == "]" or (is_word and text not in _AWK_WORDS)
    return braces == brackets == 0


# --- tar ------------------------------------------------------------------------------------------

_TAR = re.compile(r"-?[vzjJa]*t[vzjJa]*f")


def judge_tar(words: Sequence[Word], ground: Ground) -> None:
    """Listing one archive: `tar tf x.tar`, `tar -tzvf x.tgz`."""
    if len(words) != 2 or not _TAR.fullmatch(words[0].text):
        raise Unsure("uses tar for more than listing an archive", unknown=True)
    if ":" in words[1].text or words[1].is_glob or words[1].text.startswith("-"):
        raise Unsure("opens an archive that may lie on another machine", unknown=True)
    ground.check(words[1].text)


JUDGES: dict[str, Judge] = {
    "find": judge_find,
    "test": judge_test,
    "[": judge_bracket,
    "sed": judge_sed,
    "awk": judge_awk,
    "gawk": judge_awk,
    "mawk": judge_awk,
    "tar": judge_tar,
}
