"""Channels of the disk: what is left in files, also after it was replaced or removed."""

import sqlite3

from loom_nb.credentials.broker import Broker
from loom_nb.credentials.master_key import KeyFile
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.credentials.secrets import secret
from loom_nb.credentials.store import SqliteSecretStore
from tests.leaks.canaries import Canary, Fields, canaries
from tests.leaks.matrix import Seen, channel
from tests.leaks.traceback_channels import in_tests
from tests.leaks.world import LEAVE, World


def used_up(broker: Broker, some: tuple[Canary, ...], marker: str) -> None:
    """Put, replace, change, remove and seal anew."""
    for one in some:
        broker.put(f"{one.scope}.old", one.type, one.fields, note=marker)
        broker.put(f"{one.scope}.gone", one.type, one.fields, policy=LEAVE)
    for one in some:
        others = canaries("others")
        other = next(another for another in others if another.type == one.type)
        broker.rotate(f"{one.scope}.old", other.fields)
        broker.change(f"{one.scope}.old", binding=Binding(hosts=("example.org",)), policy=CredentialPolicy())
        broker.revoke(f"{one.scope}.gone")
    broker.rekey()


@channel("disk", "home of loom_nb")
def _(world: World) -> Seen:
    marker = world.marker()
    world.broker.change(world.canaries[0].scope, note=marker)
    return Seen({"home": world.home}, marker)


@channel("disk", "store after rotate, change, revoke and rekey")
def _(world: World) -> Seen:
    marker, folder = world.marker(), world.tmp
    broker = Broker(folder / "secrets", master="file", apart=True)
    used_up(broker, world.canaries, marker)
    while_open = [path.read_bytes() for path in sorted((folder / "secrets").iterdir())]
    broker.stop()
    return Seen({"while open": while_open, "closed": folder}, marker)


@channel("disk", "write-ahead log and free pages", slow=True)
def _(world: World) -> Seen:
    marker, folder = world.marker(), world.tmp
    store = SqliteSecretStore(folder / "secrets.db", KeyFile(folder / "master.key"))
    store.unlock()
    with sqlite3.connect(store.path) as reader:  # somebody who reads keeps the log from being emptied
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        parts = []
        for one in world.canaries:
            store.put(one.scope, secret(one.type, one.fields), note=marker)
        parts += [path.read_bytes() for path in sorted(folder.glob("secrets.db*"))]
        store.revoke(world.canaries[0].scope)  # waits for the reader, in vain
        parts += [path.read_bytes() for path in sorted(folder.glob("secrets.db*"))]
        assert any(path.name.endswith("-wal") for path in folder.iterdir())
        reader.rollback()
    reader.close()
    store.close()
    return Seen({"as it went": parts, "left": folder}, marker)


TEMPORARY = """
import os, sys, tempfile
from pathlib import Path
from loom_nb.credentials.broker import Broker
from tests.leaks.canaries import canaries
from tests.leaks.disk_channels import used_up
(Path(tempfile.gettempdir()) / "mine").write_text(sys.argv[1])
broker = Broker(Path(sys.argv[2]), master="file")
used_up(broker, canaries(), sys.argv[1])
os.write(1, str(sorted(Path(tempfile.gettempdir()).rglob("*"))).encode())
broker.stop()
"""


@channel("disk", "temporary files", slow=True)
def _(world: World) -> Seen:
    marker, folder = world.marker(), world.tmp
    for name in ("tmp", "cwd", "home"):
        (folder / name).mkdir()
    places = {
        "TMPDIR": "tmp",
        "HOME": "home",
        "XDG_DATA_HOME": "home",
        "XDG_CACHE_HOME": "home",
        "XDG_RUNTIME_DIR": "home",
    }
    env = {name: str(folder / place) for name, place in places.items()}
    done = in_tests("-c", TEMPORARY, marker, str(folder / "kept"), cwd=folder / "cwd", **env)
    assert done.returncode == 0, done.stderr.decode()
    return Seen({"files": folder, "said": done.stdout + done.stderr}, marker)


@channel("disk", "log of the broker")
def _(world: World) -> Seen:
    folder = world.tmp
    broker = Broker(folder / "kept", master="file", apart=True)
    used_up(broker, world.canaries, "")
    for one in world.canaries:
        for fields in (one.fields, Fields({"value": one.value})):
            try:
                broker.put(f"{one.scope}.old", one.type, fields)
            except Exception:
                continue
    broker.stop()
    return Seen({"log": folder / "kept" / "broker.log"}, "started; no core dumps")


@channel("disk", "audit")
def _(world: World) -> Seen:
    marker, folder = world.marker(), world.tmp
    broker = Broker(folder / "kept", master="file", apart=True)
    used_up(broker, world.canaries, "")
    broker.put(marker, "api_key", world.canary("api_key").fields)
    broker.stop()
    with sqlite3.connect(folder / "kept" / "secrets.db") as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        rows = [repr(row) for name in tables for row in db.execute(f"SELECT * FROM {name}")]
    db.close()
    return Seen({"rows": rows}, marker)


@channel("disk", "backup of the store", slow=True)
def _(world: World) -> Seen:
    marker, folder = world.marker(), world.tmp
    world.broker.change(world.canaries[0].scope, note=marker)
    with sqlite3.connect(world.broker.home / "secrets.db") as db, sqlite3.connect(folder / "copy.db") as copy:
        db.backup(copy)
        dump = "\n".join(db.iterdump())
        db.execute("VACUUM INTO ?", (str(folder / "vacuumed.db"),))
    db.close()
    copy.close()
    return Seen({"copies": folder, "dump": dump}, marker)
