"""The programs that may run unasked, each with the options and operands under which it only reads.

Left out on purpose: awk's and sed's full languages (see scripts.py), whatever starts other programs (xargs,
env, find -exec), whatever never ends or waits for keys (tail -f, less, top, man), whatever shows the
environment or other processes (env, ps), and whatever runs code that lies in the root (pytest, make, npm,
cargo, pip list), however harmless its options look.
"""

import os
import re
import stat

from loom_nb.capabilities.shell.options import Call, Grammar
from loom_nb.capabilities.shell.words import Unsure, names

_PRINTF = re.compile(r"%[-+ #0]*[0-9]{0,3}(\.[0-9]{1,3})?[sdiuxXofeEgGcbq%]")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def _are_names(call: Call) -> None:
    for operand in call.operands:
        if not _NAME.fullmatch(operand.text):
            raise Unsure(f"looks for something that is not a plain name: {operand.raw}")


def _is_date_format(call: Call) -> None:
    for operand in call.operands:
        if not operand.text.startswith("+") or operand.is_glob:
            raise Unsure(f"may set the clock: {operand.raw}", unknown=True)


def _is_short_number(call: Call) -> None:
    for operand in call.operands:
        if not re.fullmatch(r"-?[0-9]{0,6}(\.[0-9]{1,6})?", operand.text):
            raise Unsure(f"gives {call.program} something other than a small number: {operand.raw}")


def _is_printf_format(call: Call) -> None:
    # Bash's %n assigns to the variable that the argument names, so only known conversions pass.
    if (
        not call.operands
        or call.operands[0].text.startswith("-")
        or "%" in _PRINTF.sub("", call.operands[0].text)
    ):
        raise Unsure("uses a conversion of printf that is not known to only print")


def _compares(call: Call) -> None:
    """A folder given to diff stands for files in it: all of them, or the one named like the other operand."""
    folders = [path for path in call.places if _is_folder(path)]
    call.ground.check_tree(folders, follows=True, hidden=True)


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - a string is at hand
    except OSError:
        return False


def _greps(call: Call) -> None:
    if call.has("r", "recursive"):
        call.ground.check_tree(
            call.places or sorted(call.ground.folders),
            hidden=True,
            only=call.values("include"),
            without=call.values("exclude-dir"),
        )


def _searches(call: Call) -> None:
    """Folders are searched without a word; hidden files when told to, or when a glob names them."""
    if call.has("files", "type-list"):
        return
    globs = [glob for glob in call.values("g", "glob", "iglob") if not glob.startswith("!")]
    hidden = bool(globs) or call.has(".", "hidden", "u", "unrestricted")
    places = call.places or sorted(call.ground.folders)
    call.ground.check_tree(places, hidden=hidden, only=globs)


def _has_no_argument_files(call: Call) -> None:
    # The GNU binary tools take @file for a list of further arguments.
    if any(word.text.startswith("@") for word in call.operands):
        raise Unsure(f"reads arguments of {call.program} from a file")


def _is_plain_filter(call: Call) -> None:
    """Reading the environment and loading modules, as jq can, are left out."""
    if not call.operands:
        return
    script, *files = call.operands
    if script.is_glob or re.search(r"env|ENV|import|include|modulemeta|get_search_list", script.text):
        raise Unsure("uses a part of jq that reads more than its files")
    for word in files:
        call.ground.check_word(word)


_CONTEXT = "A#B#C#m#"
_CHECKSUM = Grammar("btz", "binary text zero tag")

GRAMMARS: dict[str, Grammar] = {
    # names, sizes, kinds of files
    "ls": Grammar(
        "aAbBcCdfFgGhiklmnNopqQrRsStuUvxX1I=w#T#",
        "all almost-all author block-size= classify? color? directory file-type format= full-time"
        " group-directories-first no-group human-readable si hide= ignore= inode literal numeric-uid-gid"
        " quote-name reverse recursive size sort= time= time-style= width# zero",
        operands="names",
    ),
    "tree": Grammar(
        "adfipshDguqNrtFCnvUcJQL#I=P=",
        getopt=False,
        long="dirsfirst filesfirst noreport du prune gitignore filelimit# charset= sort= matchdirs metafirst",
        operands="names",
    ),
    "stat": Grammar("tc=f", "format= printf= terse file-system", operands="names"),
    "file": Grammar("bhi0kNrE", "brief mime mime-type mime-encoding no-pad", operands="names"),
    "du": Grammar(
        "abchkmsSx0d#t#",
        "all apparent-size bytes total max-depth# human-readable si summarize exclude= one-file-system"
        " separate-dirs time? null threshold#",
        operands="names",
    ),
    "df": Grammar("ahHiklPT", "all human-readable si inodes local portability print-type", operands="names"),
    "realpath": Grammar(
        "emqszLP", "canonicalize-existing canonicalize-missing relative-to% zero", operands="names"
    ),
    "readlink": Grammar("femnqsvz", "canonicalize canonicalize-existing no-newline zero", operands="names"),
    "basename": Grammar("as=z", "multiple suffix= zero", operands="text"),
    "dirname": Grammar("z", "zero", operands="text"),
    # the content of files, whole or in part
    "cat": Grammar(
        "AbeEnstTuv", "show-all number-nonblank show-ends number squeeze-blank show-tabs show-nonprinting"
    ),
    "tac": Grammar("brs=", "before regex separator="),
    "head": Grammar("n#c#qvz", "lines# bytes# quiet silent verbose zero-terminated", counts=True),
    "tail": Grammar("n#c#qvz", "lines# bytes# quiet silent verbose zero-terminated", counts=True),
    "wc": Grammar("clmwL", "bytes chars lines max-line-length words total="),
    "nl": Grammar("b=d=f=h=i#l#n=s=v#w#p", "body-numbering= number-format= number-width# number-separator="),
    "cut": Grammar(
        "b=c=d=f=nsz",
        "bytes= characters= delimiter= fields= complement only-delimited output-delimiter= zero-terminated",
    ),
    "paste": Grammar("d=sz", "delimiters= serial zero-terminated"),
    "column": Grammar("ts=o=n", "table separator= output-separator="),
    "fold": Grammar("bsw#", "bytes spaces width#"),
    "fmt": Grammar("cstuw#", "width# split-only"),
    "expand": Grammar("it#", "initial tabs#"),
    "unexpand": Grammar("at#", "all first-only tabs#"),
    "rev": Grammar(),
    "tr": Grammar("cCdst", "complement delete squeeze-repeats truncate-set1", operands="text"),
    "sort": Grammar(
        "bdfghiMnRrVuzcCmsk=t=",
        "ignore-leading-blanks dictionary-order ignore-case general-numeric-sort human-numeric-sort"
        " month-sort numeric-sort random-sort reverse version-sort unique zero-terminated check? merge"
        " stable key= field-separator=",
    ),
    "uniq": Grammar(
        "cdDiuzf#s#w#",
        "count repeated all-repeated? group? ignore-case unique skip-fields# skip-chars# check-chars#"
        " zero-terminated",
        most=1,
    ),
    "shuf": Grammar("n#zi=", "head-count# input-range= zero-terminated", most=1),
    "comm": Grammar("123z", "check-order nocheck-order total output-delimiter= zero-terminated", most=2),
    "join": Grammar("a=e=i1#2#j#o=t=v=z", "header ignore-case check-order nocheck-order", most=2),
    "cmp": Grammar("bln#s", "print-bytes verbose bytes# quiet silent", most=2),
    "diff": Grammar(
        "abBdeEiNpqrstuwyTZU#C#W#F=I=L=x=",
        "text ignore-space-change ignore-blank-lines brief unified? context? side-by-side width#"
        " ignore-all-space ignore-case ignore-matching-lines= ignore-trailing-space ignore-tab-expansion"
        " new-file recursive report-identical-files color? label= exclude= minimal suppress-common-lines"
        " show-c-function strip-trailing-cr no-dereference expand-tabs",
        most=2,
        check=_compares,
    ),
    "od": Grammar("A=j#N#t=vw?cxbdos", "address-radix= skip-bytes# read-bytes# format= width?"),
    "hexdump": Grammar("bcCdoxvn#s#", "canonical length# skip#"),
    "xxd": Grammar("abeipuc#g#l#s#", most=1, getopt=False),
    "strings": Grammar("an#t=e=", "all bytes# radix= encoding=", counts=True, check=_has_no_argument_files),
    "base64": Grammar("dw#i", "decode wrap# ignore-garbage", most=1),
    "cksum": Grammar(),
    "sum": Grammar("rs"),
    **{f"{name}sum": _CHECKSUM for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "b2")},
    "shasum": Grammar("a#btp"),
    # searches
    **{
        name: Grammar(
            "EFGPinvwxyclLoqsHhbTZzaIUre=f@" + _CONTEXT,
            "extended-regexp fixed-strings basic-regexp perl-regexp regexp= file@ ignore-case no-ignore-case"
            " invert-match word-regexp line-regexp count files-with-matches files-without-match"
            " max-count# only-matching quiet silent no-messages with-filename no-filename byte-offset"
            " line-number initial-tab null null-data text binary after-context# before-context# context#"
            " recursive include= exclude= exclude-dir= color? colour?",
            first_is_text=("e", "f", "regexp", "file"),
            counts=True,
            check=_greps,
        )
        for name in ("grep", "egrep", "fgrep")
    },
    "rg": Grammar(
        "niSsvwxclopFUNHIaPq0.ue=f@g=t=T=r=j#d#M#" + _CONTEXT,
        "line-number ignore-case smart-case case-sensitive invert-match word-regexp line-regexp count"
        " count-matches files-with-matches files-without-match only-matching pretty fixed-strings multiline"
        " multiline-dotall no-line-number with-filename no-filename text pcre2 quiet null hidden"
        " unrestricted no-ignore no-ignore-vcs regexp= file@ glob= iglob= type= type-not= replace="
        " threads# max-depth# max-columns# max-count# after-context# before-context# context# color="
        " colors= column no-column heading no-heading files type-list json stats sort= sortr= trim vimgrep"
        " passthru no-messages no-config crlf max-filesize# max-columns-preview one-file-system null-data"
        " context-separator= engine= glob-case-insensitive",
        first_is_text=("e", "f", "regexp", "file", "files", "type-list"),
        check=_searches,
    ),
    **{
        name: Grammar(
            "HIuagips0e=t=E=d#c=",
            "hidden no-ignore absolute-path glob fixed-strings ignore-case case-sensitive full-path print0"
            " extension= type= exclude= max-depth# min-depth# exact-depth# size= changed-within="
            " changed-before= color= max-results#",
            operands="names",
            first_is_text=(),
        )
        for name in ("fd", "fdfind")
    },
    "jq": Grammar(
        "rcnsSeCMajR",
        "raw-output compact-output null-input slurp sort-keys exit-status color-output monochrome-output"
        " ascii-output join-output tab raw-input",
        operands="text",
        getopt=False,
        check=_is_plain_filter,
    ),
    # what the shell and the machine know
    "pwd": Grammar("LP", operands="none"),
    "true": Grammar(operands="text", free=True),
    "false": Grammar(operands="text", free=True),
    ":": Grammar(operands="text", free=True),
    "echo": Grammar(operands="text", free=True),
    "printf": Grammar(operands="text", free=True, check=_is_printf_format),
    "seq": Grammar("s=w", "separator= equal-width", operands="text", check=_is_short_number, most=3),
    "sleep": Grammar(operands="text", check=_is_short_number, most=1),
    "expr": Grammar(operands="text", free=True),
    "bc": Grammar("lqs", "mathlib quiet", operands="none"),
    "type": Grammar("apt", operands="text", check=_are_names),
    "which": Grammar("a", "all", operands="text", check=_are_names),
    "whereis": Grammar("bms", operands="text", check=_are_names),
    "date": Grammar(
        "uRI?d=r%",
        "utc universal rfc-email iso-8601? rfc-3339= date= reference%",
        "text",
        check=_is_date_format,
    ),
    "cal": Grammar("13ymj", operands="text", check=_is_short_number),
    "uname": Grammar("asnrvmpio", "all kernel-name kernel-release machine operating-system", "none"),
    "hostname": Grammar("s", "short", operands="none"),
    "whoami": Grammar(operands="none"),
    "id": Grammar("ugnGr", "user group name groups real", operands="text", check=_are_names),
    "groups": Grammar(operands="text", check=_are_names),
    "logname": Grammar(operands="none"),
    "tty": Grammar("s", operands="none"),
    "arch": Grammar(operands="none"),
    "nproc": Grammar("", "all", operands="none"),
    "uptime": Grammar("ps", "pretty since", operands="none"),
    "free": Grammar("bkmghtw", "bytes kibi mebi gibi human total wide si", operands="none"),
    "lscpu": Grammar("e?J", "json", operands="none"),
    "locale": Grammar("am", "all-locales charmaps", operands="none"),
    "nvidia-smi": Grammar("L", "list-gpus query-gpu= format=", operands="none", getopt=False),
}

UNABLE_TO_WRITE = names(
    "ls cat head wc grep egrep fgrep echo printf pwd cd stat du df cut tr rev basename dirname realpath"
    " readlink test true false nl tac comm cmp seq sleep whoami uname sha256sum md5sum strings"
)
"""Programs that change no file whatever options they are given; a card on them need not warn of loss."""

VERSIONS = {
    **dict.fromkeys(("python", "python3", "node", "java", "ruff", "uv", "pip", "pip3"), ("--version", "-V")),
    **dict.fromkeys(("git", "gcc", "g++", "cc", "clang", "make", "cmake", "bash", "docker"), ("--version",)),
    "node": ("--version", "-v"),
    "java": ("--version", "-version"),
}
"""Programs that may say their version, and nothing else. Not those that choose what to run by files in the
root, like cargo, go and pytest."""
