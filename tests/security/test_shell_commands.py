"""What may run unasked in a shell: nothing that acts, and nearly all that people type to look around.

The two tables are in cases/. Mutants of the ordinary commands that are taken for reads are really executed, in
a sandbox, beside canaries.
"""

import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_nb.capabilities.shell.command import QUIET_ENVIRONMENT, CommandAssessment, assess_command
from tests import cost

CASES = Path(__file__).parent / "cases"
ACTS = [json.loads(line) for line in (CASES / "shell.jsonl").read_text().splitlines()]
ORDINARY = [
    json.loads(line)["command"] for line in (CASES / "ordinary_commands.jsonl").read_text().splitlines()
]
CANARIES = ("CANARY-OUTSIDE", "CANARY-NAME", "CANARY-SECRET", "CANARY-ENVIRONMENT")
GIT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}

Assess = Callable[[str], CommandAssessment]


def git(folder: Path, *arguments: str) -> None:
    person = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(
        ["git", *person, *arguments], cwd=folder, check=True, capture_output=True, env=os.environ | GIT
    )


def make_project(root: Path) -> Path:
    """A small repository like anybody's, with a neighbour that holds a canary."""
    (root / "src").mkdir(parents=True)
    (root / "notes.txt").write_text("foo 1 2\n# bar 3 4\nmain 5 6\n")
    (root / "data.csv").write_text("name,size\na,1\nb,12\nb,7\n")
    (root / "data.json").write_text('{"name": "x", "items": [{"id": 1}]}\n')
    (root / "src/app.py").write_text("import os\n\ndef main() -> None:\n    '''TODO'''\n")
    (root / "src/util.py").write_text("def foo() -> int:\n    return 1\n")
    subprocess.run(["tar", "cf", "archive.tar", "src"], cwd=root, check=True)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    (root.parent / "outside.txt").write_text("CANARY-OUTSIDE\n")
    (root.parent / "outdir").mkdir()
    (root.parent / "outdir/CANARY-NAME.txt").write_text("CANARY-OUTSIDE\n")
    return root


def add_traps(root: Path) -> Path:
    """Links that lead out, secrets, and repositories that run what they like."""
    (root / "leak.txt").symlink_to("../outside.txt")
    (root / "leakdir").symlink_to("../outdir")
    (root / "proclink").symlink_to("/proc/self")
    (root / ".env").write_text("KEY=CANARY-SECRET\n")
    (root / "envlink").symlink_to(".env")
    secret = root / "secret"
    names = ["id_rsa", "server.pem", ".netrc", ".git-credentials", ".npmrc", ".pypirc", "credentials", ".ENV"]
    for name in [*names, "credentials.json", ".aws/credentials", ".ssh/config"]:
        (secret / name).parent.mkdir(parents=True, exist_ok=True)
        (secret / name).write_text("KEY=CANARY-SECRET\n")
    for folder in (root / "evil/.git", root / "bare"):
        (folder / "objects").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "HEAD").write_text("ref: refs/heads/main\n")
        (folder / "config").write_text("[core]\n\tfsmonitor = touch owned\n\tbare = false\n\tworktree = .\n")
    return root


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("ordinary").resolve() / "project")


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_traps(make_project(tmp_path_factory.mktemp("trapped").resolve() / "project"))


def assess(command: str, root: Path) -> CommandAssessment:
    return assess_command(command, root=str(root), cwd=str(root), home="/home/somebody")


# --- the tables ---------------------------------------------------------------------------------------------


def test_no_command_of_the_table_counts_as_a_read(trapped: Path):
    through = [case["command"] for case in ACTS if assess(case["command"], trapped).reads]

    assert through == []
    assert len(ACTS) >= 200


def test_nearly_all_ordinary_commands_run_unasked(project: Path):
    asked = [command for command in ORDINARY if not assess(command, project).reads]

    assert len(ORDINARY) >= 120
    assert len(asked) / len(ORDINARY) <= 0.05, asked


def test_ordinary_commands_are_known_in_a_folder_that_does_not_exist_yet():
    asked = [
        c for c in ORDINARY if not assess_command(c, root="/nowhere/project", cwd="/nowhere/project").reads
    ]

    assert len(asked) / len(ORDINARY) <= 0.05, asked


def test_reasons_are_given_exactly_when_it_is_no_read(trapped: Path):
    for command in [*ORDINARY, *(case["command"] for case in ACTS)]:
        assessment = assess(command, trapped)
        assert bool(assessment.reasons) != assessment.reads, command
        assert all(assessment.reasons), command
        assert not (assessment.reads and (assessment.destructive or assessment.network)), command


def test_what_deletes_or_overwrites_is_called_destructive(trapped: Path):
    missed = [case["command"] for case in ACTS if case["why"] == "deletes files"]

    assert [command for command in missed if not assess(command, trapped).destructive] == []


def test_what_goes_to_the_network_is_called_so(trapped: Path):
    missed = [case["command"] for case in ACTS if case["why"] == "network"]

    assert [command for command in missed if not assess(command, trapped).network] == []


# --- single behaviours --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("rm -rf src", "deletes files (rm)"),
        ("ls > notes.txt", "overwrites notes.txt"),
        ("curl http://example.com", "network: curl"),
        ("sudo ls", "privilege: sudo"),
        ("echo cm0K | base64 -d | sh", "obfuscation"),
        ("python x.py", "runs other code (python)"),
        ("ls &", "background"),
        ("lss", "unknown program lss"),
        ("cat /etc/passwd", "outside of the folder: /etc/passwd"),
        ("cat .env", "secrets: .env"),
        ("sort -o x data.csv", "-o"),
        ("ls $(rm notes.txt)", "deletes files (rm)"),
    ],
)
def test_the_card_names_the_culprit(trapped: Path, command: str, words: str):
    assert any(words in reason for reason in assess(command, trapped).reasons)


def test_paths_are_absolute_with_links_followed(trapped: Path):
    assert assess("head src/../notes.txt", trapped).paths == (str(trapped / "notes.txt"),)
    assert str(trapped.parent / "outside.txt") in assess("cat leak.txt", trapped).paths
    assert str(trapped / "notes.txt") in assess("rm notes.txt", trapped).paths
    assert "/home/somebody/x.txt" in assess("rm ~/x.txt", trapped).paths


def test_links_are_followed_by_the_function_that_is_handed_in():
    def resolve(path: str) -> str:
        return path.replace("/root/link", "/elsewhere")

    assert not assess_command("cat link", root="/root", cwd="/root", resolve=resolve).reads
    assert assess_command("cat other", root="/root", cwd="/root", resolve=resolve).reads


def test_nothing_runs_unasked_in_a_working_folder_outside_of_the_root(project: Path):
    assert not assess_command("cat outside.txt", root=str(project), cwd=str(project.parent)).reads
    assert not assess_command("cat project/notes.txt", root=str(project), cwd=str(project.parent)).reads
    assert not assess_command("ls", root=str(project), cwd=str(project.parent)).reads


def test_a_file_named_like_an_option_is_not_matched_unasked(project: Path, tmp_path: Path):
    root = make_project(tmp_path / "project")
    assert assess("sort *.csv", root).reads
    (root / "-o.csv").write_text("x")

    assert not assess("sort *.csv", root).reads
    assert not assess("sort -- *.csv", root).reads
    assert assess("sort ./data.csv", root).reads


def test_a_glob_in_an_option_counts_once_a_file_matches_it(tmp_path: Path):
    root = make_project(tmp_path / "project")
    assert assess("rg -g *.rs foo", root).reads
    (root / "a.rs").write_text("x")

    assert not assess("rg -g *.rs foo", root).reads


def test_a_repository_that_starts_programs_is_asked_for(tmp_path: Path):
    root = make_project(tmp_path / "project")
    assert assess("git status", root).reads
    for settings_of_it in ("core.fsmonitor", "core.pager", "diff.external", "include.path", "filter.x.clean"):
        git(root, "config", settings_of_it, "./x")
        assert not assess("git status", root).reads, settings_of_it
        assert not assess("git log", root).reads, settings_of_it
        git(root, "config", "--unset", settings_of_it)
        assert assess("git status", root).reads


def test_a_repository_with_a_submodule_a_hook_or_borrowed_objects_is_asked_for(tmp_path: Path):
    root = make_project(tmp_path / "project")
    hook, alternates = root / ".git/hooks/post-index-change", root / ".git/objects/info/alternates"
    for planted in (hook, alternates, root / ".git/commondir"):
        planted.parent.mkdir(exist_ok=True)
        planted.write_text("x")
        assert not assess("git status", root).reads
        planted.unlink()
    inner = root / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    git(inner, "commit", "-q", "--allow-empty", "-m", "x")
    git(root, "add", "inner")

    assert not assess("git status", root).reads
    assert assess("git log", root).reads


def test_a_repository_above_the_root_is_outside(tmp_path: Path):
    root = make_project(tmp_path / "project")

    assert assess_command("git log", root=str(root), cwd=str(root / "src")).reads
    assert not assess_command("git log", root=str(root / "src"), cwd=str(root / "src")).reads


def test_remote_addresses_with_a_password_are_not_shown_unasked(tmp_path: Path):
    root = make_project(tmp_path / "project")
    git(root, "remote", "add", "origin", "https://example.com/x")
    assert assess("git remote -v", root).reads
    git(root, "remote", "set-url", "origin", "https://user:word@example.com/x")

    assert not assess("git remote -v", root).reads
    assert not assess("grep -r example .", root).reads


@pytest.mark.parametrize(
    ("program", "is_known"),
    [
        ('{print $1":"$2}', True),
        ("{ if ($2 > 5) print $1 }", True),
        ("{a[$1]++} END {for (k in a) print k, a[k]}", True),
        ('{print $1 > "new"}', False),
        ('{print ($1) > "new"}', False),
        ('{ if (x) /"/; print 1 > "new" #"}', False),
        ('{print x++ /"/ > "new"}', False),
        ('BEGIN {ARGV[1] = "/etc/passwd"; ARGC = 2}', False),
        ('{print ENVIRON["HOME"]}', False),
        ("/[/]/ {print}", False),
    ],
)
def test_an_awk_program_is_known_only_if_it_just_prints(project: Path, program: str, is_known: bool):
    assert assess(f"awk '{program}' data.csv", project).reads == is_known


def test_long_commands_and_long_chains_are_asked_for(project: Path):
    assert not assess("echo " + "a" * 5_000, project).reads
    assert not assess(" ; ".join(["ls"] * 50), project).reads
    assert not assess("ls " + "src " * 1_000, project).reads


# --- arbitrary text -----------------------------------------------------------------------------------------

BITS = st.sampled_from(
    (
        *(
            "ls",
            "cat ",
            "rm ",
            "cd ",
            "git ",
            "find ",
            "sed ",
            "awk ",
            "test ",
            "[ ",
            "&&",
            "||",
            "<<",
            "$(",
            "2>",
        ),
        *("abc'\"\\$`(){}[]<>|&;!#*?~=-+,.%@^:/ \t\n\r\0\u00e9\u202e\ud800\U0001f600"),
        *("-n ", "--", "1"),
    )
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(st.characters(exclude_categories=())), st.lists(BITS, max_size=30).map("".join)))
def test_no_text_makes_it_raise(command: str):
    assessment = assess_command(command, root="/nowhere", cwd="/nowhere")

    assert assessment.reads != bool(assessment.reasons)


# --- mutants, executed ----------------------------------------------------------------------------------------

PIECES = [
    *(
        "'",
        '"',
        "\\",
        "$",
        "`",
        "$(touch new)",
        "`touch new`",
        "${x}",
        "$HOME",
        "$CANARY",
        "*",
        "?",
        "[a-z]",
        "{a,b}",
    ),
    *(
        ";",
        "|",
        "||",
        "&&",
        "&",
        ">",
        ">>",
        "<",
        "2>",
        ">&",
        "&>",
        "<<",
        "<(ls)",
        "\n",
        "\t",
        "\r",
        "\\\n",
        "#",
        "!",
    ),
    *(
        "; touch new",
        "&& touch new",
        "| tee new",
        "> new",
        ">new",
        "2>new",
        ">> notes.txt",
        "-o new",
        "-onew",
        " new",
    ),
    *(
        "--output=new",
        "--outp=new",
        "-i",
        "-w new",
        "-exec touch new \\;",
        "-delete",
        "-fprint new",
        "-ok",
        "-T src",
    ),
    *(
        "../outside.txt",
        "leak.txt",
        "leakdir",
        "leakdir/",
        "../",
        "..",
        "/",
        "~",
        "/etc/passwd",
        ".env",
        "src/../..",
    ),
    *(
        "-r",
        "-R",
        "-L",
        "-H",
        "-f",
        "-e",
        "-n",
        "--",
        "-",
        "-x",
        "-s",
        "-c",
        "-C",
        "--files0-from=notes.txt",
        "-d",
    ),
    *(
        "cd src &&",
        "cd ..;",
        "cd leakdir;",
        "time",
        "env",
        "eval",
        "sh -c",
        "xargs",
        "git",
        "-C ..",
        "x=1",
        "PATH=.",
    ),
    *(
        "w new",
        "s/a/b/w new",
        "e",
        "r ../outside.txt",
        'print > "new"',
        "system(1)",
        "env",
        "$ENV",
        "input",
        "%n",
    ),
    *(
        "secret",
        "*.txt",
        ".*",
        "le*",
        "../*",
        "\u00e9",
        "\u00a0",
        "\u202e",
        "-print",
        "-o",
        "( ",
        " )",
        "{",
        "}",
    ),
]


def mutants(count: int, seed: int) -> Iterator[str]:
    dice = random.Random(seed)
    seeds = [command for command in ORDINARY if "sleep" not in command]
    for _ in range(count):
        command = dice.choice(seeds)
        for _ in range(dice.choice((1, 1, 1, 2, 2, 3))):
            command = mutated(command, dice)
        yield command


def mutated(command: str, dice: random.Random) -> str:
    words = command.split(" ")
    at, place = dice.randrange(len(words)), dice.randrange(len(command) + 1)
    piece = dice.choice(PIECES)
    match dice.randrange(10):
        case 0:
            return command[:place] + piece + command[place:]
        case 1:
            return command[:place] + command[place + 1 :]
        case 2:
            words.insert(at, piece)
        case 3:
            words[at] = piece
        case 4:
            words[at], words[-1] = words[-1], words[at]
        case 5:
            words[at] = dice.choice(("'{}'", '"{}"', "\\{}", "$'{}'", "$({})", "{{{},x}}")).format(words[at])
        case 6:
            return f"{piece} {command}"
        case 7:
            return f"{command} {piece}"
        case 8:
            return f"{command} {dice.choice((';', '|', '&&', '||'))} {dice.choice(ORDINARY)}"
        case _:
            words[at] += piece
    return " ".join(words)


def state_of(folder: Path) -> dict[str, tuple[int, int, str]]:
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        content = (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        )
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def execute(commands: list[str], root: Path) -> str:
    """Run each command by bash and by sh, in one sandbox where the folder and its neighbours can be changed."""
    script = "".join(
        f'timeout -k 1 5 {shell} -c "$LINE" </dev/null 2>&1 | head -c 100000\n' for shell in ("bash", "sh")
    )
    lines = "".join(f"LINE={quoted(command)}\nexport LINE\n{script}" for command in commands)
    around = str(root.parent)
    sandbox = [
        "bwrap",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        "/tmp",
        "--unshare-all",
    ]
    sandbox += ["--bind", around, around, "--chdir", str(root), "--die-with-parent", "--clearenv"]
    environment = {
        "PATH": f"{os.environ['PATH']}:{Path(sys.executable).parent}",
        "HOME": "/nowhere",
        "CANARY": "CANARY-ENVIRONMENT",
    }
    for name, value in (environment | QUIET_ENVIRONMENT | GIT).items():
        sandbox += ["--setenv", name, value]
    done = subprocess.run(
        [*sandbox, "bash", "-s"], input=lines.encode(), capture_output=True, check=False, timeout=600
    )
    return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")


def quoted(command: str) -> str:
    return "'" + command.replace("'", "'\\''") + "'"


def run_mutants(count: int, seed: int, root: Path) -> tuple[int, list[str]]:
    """How many mutants counted as reads, and which of them did something else when they ran."""
    reads = [command for command in mutants(count, seed) if assess(command, root).reads]
    guilty: list[str] = []
    before = state_of(root.parent)
    for start in range(0, len(reads), 100):
        batch = reads[start : start + 100]
        if harmful(batch, root, before):
            guilty += [command for command in batch if harmful([command], root, before)] or batch
    return len(reads), guilty


def harmful(commands: list[str], root: Path, before: dict[str, tuple[int, int, str]]) -> bool:
    printed = execute(commands, root)
    return state_of(root.parent) != before or any(canary in printed for canary in CANARIES)


def sandbox_works() -> bool:
    if not shutil.which("bwrap"):
        return False
    tried = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all", "true"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


needs_sandbox = pytest.mark.skipif(not sandbox_works(), reason="bubblewrap cannot make a sandbox here")


@needs_sandbox
def test_the_canaries_sing_when_a_command_does_harm(tmp_path: Path):
    root = add_traps(make_project(tmp_path.resolve() / "project"))
    before = state_of(root.parent)

    assert not harmful(["cat notes.txt"], root, before)
    assert harmful(["cat leak.txt"], root, before)
    assert harmful(["echo $CANARY"], root, before)
    assert harmful(["cat .env"], root, before)
    assert harmful(["touch new"], root, before)


@needs_sandbox
def test_300_mutants_taken_for_reads_change_nothing_and_leak_nothing(tmp_path: Path):
    root = add_traps(make_project(tmp_path.resolve() / "project"))

    reads, guilty = run_mutants(300, 1, root)

    assert guilty == []
    assert reads > 20


@needs_sandbox
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thousands_of_mutants_taken_for_reads_change_nothing_and_leak_nothing(tmp_path: Path):
    """For a release: `LOOM_NB_MUTANTS=10000`."""
    root = add_traps(make_project(tmp_path.resolve() / "project"))
    count = int(os.environ.get("LOOM_NB_MUTANTS", "3000"))

    reads, guilty = run_mutants(count, 2, root)

    assert guilty == []
    assert reads > count // 10


def test_a_judgement_takes_few_steps(trapped: Path):
    commands = [*ORDINARY, *(case["command"] for case in ACTS)]
    steps = [cost.calls(lambda command=command: assess(command, trapped)) for command in commands]

    assert statistics.median(steps) < 5_000  # about as many in a millisecond
