"""Programs that many processes run at once over one store of secrets; not a test by itself.

python races.py PATH take|put|churn NAME COUNT
"""

import random
import sys
from pathlib import Path

from loom_nb.credentials.keychain import KeychainStore
from loom_nb.credentials.master_key import KeyFile
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.credentials.secrets import secret
from loom_nb.credentials.store import SqliteSecretStore
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialDenied

HERE = Binding(hosts=("api.example.com",))
FREE = CredentialPolicy(mode="autonomous")


def opened(path):
    """A file that is called facts.db is of a store that has its values in the keychain."""
    path = Path(path)
    if path.name == "facts.db":
        return KeychainStore(path, busy_seconds=120)
    return SqliteSecretStore(path, KeyFile(path.parent / "keys" / "master.key"), busy_seconds=120)


def use_of(scope, call=""):
    return Use(
        scope=scope, who="tool:http_request", method="GET", scheme="https", host="api.example.com", port=443, path="/", call=call,
    )  # fmt: skip


def key(value):
    return secret("api_key", {"value": f"loomcanary-{value}"})


def take(store, name, count):
    """For each line of standard input, a scope: try so often to use it; tell how often that went well."""
    for line in sys.stdin:
        won = 0
        for attempt in range(count):
            try:
                _, value = store.take(use_of(line.strip(), f"{name}.{attempt}"))
            except CredentialDenied:
                continue
            assert value == key(line.strip())
            won += 1
        print(won, flush=True)


def put(store, name, count):
    for number in range(count):
        store.put(f"{name}.{number}", key(f"{name}.{number}"), binding=HERE, policy=FREE)


def churn(store, name, count):
    """Put, rotate, use and seal anew at random; each is told as soon as it is done."""
    rng, kept = random.Random(name), {}
    for number in range(count):
        what = (
            rng.choice(("put", "put", "rotate", "take", "take", "take", "rekey", "change", "revoke"))
            if kept
            else "put"
        )
        scope = f"{name}.{number}" if what == "put" else rng.choice(sorted(kept))
        match what:
            case "put":
                store.put(
                    scope,
                    key(f"{scope}-1"),
                    binding=HERE,
                    policy=CredentialPolicy(mode="one_shot", uses=1_000),
                )
                kept[scope] = 1
            case "rotate":
                kept[scope] = store.rotate(scope, key(f"{scope}-{kept[scope] + 1}")).version
            case "take":
                store.take(use_of(scope, f"call-{number}"))
            case "change":
                store.change(scope, note=f"n{number}")
            case "revoke":
                store.revoke(scope)
                del kept[scope]
            case _:
                store.rekey()
        print(what, scope, kept.get(scope, 0), number, flush=True)


if __name__ == "__main__":
    path, what, name, count = sys.argv[1:]
    store = opened(path)
    {"take": take, "put": put, "churn": churn}[what](store, name, int(count))
    store.close()
