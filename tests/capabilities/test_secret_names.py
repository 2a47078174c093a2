"""Names tell which files hold secrets, without a false alarm for ordinary ones."""

import asyncio
import json
from pathlib import Path

import pytest

from loom_nb.capabilities.files import FilesCapability
from loom_nb.capabilities.files.secret_rule import AskAboutSecrets
from loom_nb.capabilities.secret_names import looks_secret
from loom_nb.protocols import Call

SECRET = [
    ".env",
    ".env.local",
    ".env.production",
    "prod.env",
    "config/.env",
    ".ENV",
    "id_rsa",
    ".ssh/id_ed25519",
    ".ssh/config",
    "id_rsa.bak",
    "server.pem",
    "private.key",
    "cert.p12",
    "x.pfx",
    "store.jks",
    "vault.kdbx",
    "putty.ppk",
    "credentials",
    "credentials.json",
    ".aws/credentials",
    ".aws/config",
    "aws_credentials",
    "google-credentials.json",
    "service_account.json",
    "service-account-prod.json",
    "client_secret.json",
    "client_secret_123.json",
    "secrets.yaml",
    "secrets.toml",
    ".streamlit/secrets.toml",
    "my-secrets.env",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".pypirc",
    ".npmrc",
    ".git-credentials",
    ".htpasswd",
    ".dockercfg",
    ".docker/config.json",
    ".kube/config",
    "kubeconfig",
    "terraform.tfstate",
    "prod.tfvars",
    "token.json",
    "api_keys.txt",
    "api-key.json",
    "passwords.csv",
    "password.txt",
    "wallet.dat",
    "etc/shadow",
    ".vault-token",
    ".gnupg/secring.gpg",
    ".config/gcloud/application_default_credentials.json",
    ".config/gh/hosts.yml",
    "private_key.json",
    "access_token.txt",
    "runtime/kernel-1234.json",
    "cookies.sqlite",
    ".bash_history",
]

ORDINARY = [
    ".env.example",
    ".env.sample",
    ".env.template",
    "id_rsa.pub",
    "known_hosts",
    "cacert.pem",
    "keys.py",
    "keyboard.csv",
    "monkey.json",
    "tokens.py",
    "tokenizer.json",
    "token_counts.csv",
    "passwords.md",
    "credentials.md",
    "secrets.py",
    "secret_santa.csv",
    "environment.yml",
    "env.py",
    "venv/pyvenv.cfg",
    "key_figures.csv",
    "keynote.md",
    "public_keys.md",
    "config.json",
    "settings.yaml",
    "hosts.txt",
    "turkey.json",
    "tokenizer_config.json",
    "keywords.txt",
    "password_policy.md",
    "credential_form.html",
    "secretary.csv",
    "docker/config.yml",
    "kernel.json",
    "shadow.css",
    "history.txt",
    "aws.md",
]


@pytest.mark.parametrize("path", SECRET)
def test_a_name_of_secrets_is_known(path):
    assert looks_secret(path)
    assert looks_secret(f"/home/somebody/{path}")
    assert looks_secret(path.replace("/", "\\"))


@pytest.mark.parametrize("path", ORDINARY)
def test_an_ordinary_name_is_let_be(path):
    assert not looks_secret(path)


def test_no_ordinary_path_of_the_table_looks_secret():
    table = Path(__file__).parents[1] / "security" / "cases" / "ordinary_paths.jsonl"
    paths = [json.loads(line)["path"] for line in table.read_text().splitlines()]

    assert [path for path in paths if looks_secret(path)] == []


@pytest.mark.parametrize(
    ("path", "asks"),
    [
        (".env", True),
        ("harmless", True),
        ("notes.txt", False),
        ("missing.pem", True),
        (".env.example", False),
    ],
)
def test_reading_a_file_of_secrets_is_asked_about_also_through_a_link(tmp_path, path, asks):
    (tmp_path / ".env").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "harmless").symlink_to(".env")
    toolset = asyncio.run(FilesCapability(str(tmp_path)).open())
    tool = toolset.tools[0]
    call = Call("c1", tool.name, {"path": path}, tool, assessment=tool.assess(path=path), provided_by="files")

    (rule,) = (one for one in toolset.rules if isinstance(one, AskAboutSecrets))
    verdict = rule.judge(call)

    assert (verdict is not None) is asks
    if asks:
        assert verdict.decision == "ask"
        assert "holds secrets" in verdict.reason
    asyncio.run(toolset.close())
