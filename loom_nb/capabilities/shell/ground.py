"""Where the paths of a command lead: inside of the root or not, and whether a secret lies there.

Names are listed and links are read; of files, only a repository's configuration is opened.
"""

import dataclasses
import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence

from loom_nb.capabilities.shell.words import Unsure, Word

MAX_MATCHES = 2_000
MAX_WALK = 20_000
MAX_CONFIG = 64 * 1024
_MAX_LINKS = 40
_KERNEL_FOLDERS = ("/proc", "/sys", "/dev")

_SECRET_NAMES = (
    *(".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*.kdbx", "*.jks"),
    *("*.keystore", "*.gpg", "*.asc", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*_rsa", "*_ed25519"),
    *(
        ".netrc",
        "_netrc",
        ".git-credentials",
        ".npmrc",
        ".yarnrc*",
        ".pypirc",
        ".pgpass",
        ".my.cnf",
        ".s3cfg",
    ),
    *(
        ".htpasswd",
        ".dockercfg",
        ".dockerconfigjson",
        ".vault-token",
        ".boto",
        "credentials",
        "credentials.*",
    ),
    *("*credentials.json", "*-credentials.*", "*_credentials.*", "client_secret*", "secret", "secrets"),
    *(".secret*", "*.secret", "*.secrets", "secrets.y*ml", "secrets.json", "secrets.toml", "secrets.ini"),
    *("secrets.env", "secrets.txt", "secret.y*ml", "secret.json", "secret.toml", "secret.txt", "secret.key"),
    *("service-account*.json", "service_account*.json", "token", "token.json", "token.txt", "tokens.json"),
    *(".token*", "*.token", "passwd", "shadow", "password", "password.txt", "passwords*", "htpasswd"),
    *("*.tfstate", "*.tfstate.*", "*.tfvars", "wallet.dat", "*_history", "kubeconfig", "*.kubeconfig"),
    *(
        "kernel-*.json",
        "nbserver-*.json",
        "jpserver-*.json",
        "jupyter_cookie_secret",
        "*.ovpn",
        ".terraformrc",
    ),
    *("api_key*", "apikey*", "api-key*", "*.apikey", "private_key*", "privatekey*", "*.sqlite-key"),
)
_SECRET_FOLDERS = frozenset(
    (
        ".ssh",
        ".aws",
        ".gnupg",
        ".kube",
        ".azure",
        ".docker",
        ".gcloud",
        ".password-store",
        ".secrets",
        "secrets",
    )
)
_HARMLESS = re.compile(
    r".*\.(pub|example|sample|template|dist|pyi?|md|rst|ipynb|jsx?|tsx?|go|rs|java|rb|c|h|cpp)"
)
_LIBRARY_FOLDERS = frozenset(("site-packages", "dist-packages", "node_modules", "__pycache__"))
_CREDENTIAL = re.compile(r"(?i)://[^/\s]*@|extraheader|passw|token|helper|secret")
_SECRET = re.compile("|".join(fnmatch.translate(name) for name in _SECRET_NAMES))


def looks_secret(path: str) -> bool:
    """Whether a file of this name usually holds keys, passwords or tokens."""
    parts = [part.casefold() for part in path.split("/") if part]
    if not parts:
        return False
    if any(part in _SECRET_FOLDERS for part in parts) or parts[-2:] == [".git", "config"]:
        return True
    return bool(_SECRET.match(parts[-1]) and not _HARMLESS.fullmatch(parts[-1]))


@dataclasses.dataclass(frozen=True)
class Ground:
    """The root, and the folders in which the command at hand may find itself."""

    root: str
    """Absolute, links resolved."""
    folders: frozenset[str]
    """Working folders, absolute, links resolved; several when a `cd` may have failed."""
    resolve: Callable[[str], str]
    seen: list[str] = dataclasses.field(default_factory=list)
    """Every path that was looked at, resolved."""

    def at(self, folders: frozenset[str]) -> "Ground":
        """The same ground from other working folders."""
        return dataclasses.replace(self, folders=folders)

    def holds(self, path: str) -> bool:
        """Whether a resolved path lies in the root."""
        if any(_lies_in(path, folder) and not _lies_in(self.root, folder) for folder in _KERNEL_FOLDERS):
            return False
        return _lies_in(path, self.root)

    def check(self, text: str, *, content: bool = True) -> list[str]:
        """Resolve a path from every working folder; raises `Unsure` if it leads out or to a secret."""
        if text == "/dev/null":
            return []
        found = []
        for folder in sorted(self.folders):
            written = os.path.join(folder, text)  # noqa: PTH118 - pathlib would drop the dots that matter
            resolved = self.resolve(written)
            if resolved not in self.seen:
                self.seen.append(resolved)
            if not self.holds(resolved) or _leads_through_the_kernel(written, self.root):
                raise Unsure(f"reads outside of the folder: {text}")
            if content and (looks_secret(text) or looks_secret(resolved[len(self.root) :])):
                raise Unsure(f"reads a file that may hold secrets: {text}")
            found.append(resolved)
        return found

    def check_word(self, word: Word, *, content: bool = True) -> list[str]:
        """Like `check`, for all that the shell may put in the place of a word with globs."""
        if not word.is_glob:
            return self.check(word.text, content=content)
        found = self.check(word.text, content=False)
        for match in self.matches(word):
            if match.startswith("-"):
                raise Unsure(f"may take the file {match} for an option (from {word.raw})")
            found += self.check(match, content=content)
        return found

    def matches(self, word: Word) -> list[str]:
        """Every path that a glob may stand for, and perhaps some that it does not."""
        if "**" in word.text:
            raise Unsure(f"matches files in a way that shells do differently: {word.raw}")
        found: dict[str, None] = {}
        for folder in self.folders:
            self._match(folder, "", _components(word), found, [MAX_MATCHES])
        return list(found)

    def _match(
        self,
        folder: str,
        prefix: str,
        components: list[tuple[str, str]],
        found: dict[str, None],
        budget: list[int],
    ) -> None:
        (literal, pattern), rest = components[0], components[1:]
        if not pattern:
            candidates = [literal]
        elif literal.startswith("."):
            raise Unsure(f"matches hidden files or folders: {literal}")
        else:
            self.check(prefix or ".", content=False)
            names = _names(os.path.join(folder, prefix))  # noqa: PTH118 - as above
            candidates = [name for name in names if name[0] != "." and re.fullmatch(pattern, name)]
        for name in candidates:
            if not rest:
                found[prefix + name] = None
            else:
                self._match(folder, f"{prefix}{name}/", rest, found, budget)
            budget[0] -= 1
            if not budget[0]:
                raise Unsure(f"matches more than {MAX_MATCHES:,} files")

    def check_tree(
        self,
        folders: Sequence[str],
        *,
        hidden: bool,
        follows: bool = False,
        only: Sequence[str] = (),
        without: Sequence[str] = (),
    ) -> None:
        """Raise `Unsure` if a search through folders would meet a secret, or a link that leads out.

        `only` and `without` are the globs of files and folders to which the search is bound.
        """
        looked_at = 0
        left_out = set(without) if follows else {*without, *_LIBRARY_FOLDERS}
        for entry in (entry for folder in folders for entry in _walk(folder, hidden, left_out)):
            looked_at += 1
            if looked_at > MAX_WALK:
                raise Unsure(f"reads more than {MAX_WALK:,} files, too many to look for secrets among them")
            if follows and entry.is_symlink() and not self.holds(self.resolve(entry.path)):
                raise Unsure(f"follows a link that leads outside of the folder: {entry.path}")
            if only and not any(_may_match(glob, entry.name) for glob in only):
                continue
            if looks_secret(entry.path[len(self.root) :]) and not _is_plain_git_config(entry.path):
                raise Unsure(f"reads a file that may hold secrets: {entry.path}")


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _components(word: Word) -> list[tuple[str, str]]:
    """Each name of the path with the loosest pattern that the shell may mean, empty for a plain name."""
    components: list[tuple[str, str]] = []
    start = 0
    for name in word.text.split("/"):
        active = {index - start for index in word.active if start <= index < start + len(name)}
        components.append((name, _loose(name, active) if active else ""))
        start += len(name) + 1
    return components


def _loose(name: str, active: set[int]) -> str:
    """A bracket may match any one character, or stand for itself when it is never closed."""
    if any(name[index] in "[]" for index in active):
        first = min(index for index in active if name[index] in "[]")
        return _loose(name[:first], {index for index in active if index < first}) + "(?s:.)*"
    parts = []
    for index, character in enumerate(name):
        wild = {"*": "(?s:.)*", "?": "(?s:.)"}.get(character, "") if index in active else ""
        parts.append(wild or re.escape(character))
    return "".join(parts)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names, not paths
    except OSError:
        return []


def _walk(folder: str, hidden: bool, without: set[str]) -> Iterator["os.DirEntry[str]"]:
    """Files below a folder that may be somebody's: of git's own files only its configuration."""
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") and not hidden:
                        continue
                    if folder.endswith("/.git") and entry.name != "config":
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in without:
                            waiting.append(entry.path)
                    else:
                        yield entry
        except OSError:
            continue


def _may_match(glob: str, name: str) -> bool:
    last = glob.rpartition("/")[2]
    return not last or "{" in last or fnmatch.fnmatchcase(name.casefold(), last.casefold())


def _is_plain_git_config(path: str) -> bool:
    """Whether a repository's configuration is there and holds no password or token."""
    if not path.endswith("/.git/config"):
        return False
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - a string is at hand
            text = file.read(MAX_CONFIG + 1)
    except OSError:
        return False
    return len(text) <= MAX_CONFIG and not _CREDENTIAL.search(text)


def _leads_through_the_kernel(path: str, root: str) -> bool:
    """Whether a link on the way goes through /proc and the like, which is another place for each process."""
    waiting = path.split("/")[::-1]
    at, links = "", 0
    while waiting:
        name = waiting.pop()
        if name in ("", "."):
            continue
        if name == "..":
            at = at.rpartition("/")[0]
            continue
        at = f"{at}/{name}"
        if at in _KERNEL_FOLDERS and not _lies_in(root, at):
            return True
        try:
            target = os.readlink(at)  # noqa: PTH115 - a string is wanted, as it is written
        except OSError:
            continue
        links += 1
        if links > _MAX_LINKS:
            return True
        at = "" if target.startswith("/") else at.rpartition("/")[0]
        waiting.extend(target.split("/")[::-1])
    return False
