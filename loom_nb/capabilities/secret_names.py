"""Whether a file holds secrets, by its name alone."""

import re

_NAMES = (
    "id_rsa id_dsa id_ecdsa id_ecdsa_sk id_ed25519 id_ed25519_sk .netrc _netrc .pgpass pgpass.conf"
    " .my.cnf .mylogin.cnf .pypirc .npmrc .yarnrc.yml .git-credentials .htpasswd .dockercfg .vault-token"
    " .s3cfg .boto .renviron kubeconfig rclone.conf wallet.dat shadow gshadow master.passwd .env .envrc"
    " terraform.tfstate terraform.tfstate.backup token.json tokens.json cookies.sqlite cookies.txt"
    " login.keychain logins.json key3.db key4.db .terraformrc .bash_history .zsh_history"
    " .python_history .psql_history .mysql_history"
)
_KNOWN = frozenset(_NAMES.split())
_ENDINGS = (
    *(".pem", ".key", ".p12", ".pfx", ".pkcs12", ".jks", ".keystore", ".kdbx", ".kdb", ".ppk", ".ovpn"),
    *(".tfvars", ".gpg", ".pgp", ".age", ".agekey", ".keytab", ".jwk", ".p8"),
)
_NOUN = (
    r"(.*[._-])?(credentials?|secrets?|service[-_]?account|client[-_]?secret|api[-_]?keys?|passwords?|passwd"
    r"|private[-_]?key|access[-_]?tokens?)"
)
_STEMS = re.compile(
    rf"{_NOUN}(([._-].*)?\.(json|ya?ml|toml|ini|cfg|conf|env|properties)|\.(txt|csv|xml|xlsx?))"
)
_BARE = re.compile(r"(aws_)?credentials?|secrets?|passwords?|api[-_]?keys?")
_ENV = re.compile(r"(.*[._-])?\.?env(\.[a-z0-9_.-]+)?")
_HARMLESS = re.compile(
    r".*\.pub|known_hosts|ca-?cert(ificate)?s?\.pem|ca-bundle.*|fullchain\.pem"
    r"|.*[._-](example|sample|template|tmpl|dist|defaults|schema)(\.[a-z0-9]+)?"
)
_FOLDERS = (
    (".ssh",),
    (".gnupg",),
    (".aws",),
    (".azure",),
    (".password-store",),
    (".kube",),
    (".docker", "config.json"),
    (".config", "gcloud"),
    (".config", "gh"),
    (".local", "share", "keyrings"),
    ("etc", "ssl", "private"),
)


def looks_secret(path: str) -> bool:
    """Whether the name says that the file holds keys, passwords or tokens; it is not opened.

    Args:
        path: with '/' between the names; relative or absolute.
    """
    parts = [part.casefold() for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts:
        return False
    name = parts[-1].rstrip(" .~")
    if name.endswith((".bak", ".old", ".orig", ".save", ".swp")):
        name = name.rpartition(".")[0]
    if _HARMLESS.fullmatch(name):
        return False
    if name in _KNOWN or name.endswith(_ENDINGS):
        return True
    if _STEMS.fullmatch(name) or _BARE.fullmatch(name):
        return True
    if name.startswith(".env") and _ENV.fullmatch(name):
        return True
    if name.endswith(".env") or (name.startswith("kernel-") and name.endswith(".json")):
        return True
    return any(tuple(parts[n : n + len(folder)]) == folder for folder in _FOLDERS for n in range(len(parts)))
