"""Channels of logs: every logger of every library at DEBUG, and what telemetry there is."""

from tests.leaks.matrix import Seen, channel
from tests.leaks.notebook_channels import of
from tests.leaks.traceback_channels import in_tests
from tests.leaks.world import World

DEBUG = """
import asyncio, logging, os, sys, warnings
from pathlib import Path
os.environ["PYTHONASYNCIODEBUG"] = "1"
logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="%(name)s %(levelname)s %(message)s %(args)s")
logging.captureWarnings(True)
warnings.simplefilter("always")
import http.client
http.client.HTTPConnection.debuglevel = 2
import httpx2, httpcore2, openai, anthropic, asyncssh, botocore.session
asyncssh.set_debug_level(3)
botocore.session.get_session().set_debug_logger()
for name in ("httpx2", "httpcore2", "asyncio", "asyncssh", "openai", "anthropic", "botocore", "loom_nb", "concurrent.futures"):
    logging.getLogger(name).setLevel(logging.DEBUG)
from loom_nb.credentials.broker import Broker
from loom_nb.credentials.uses import Use
from tests.leaks.canaries import canaries
from tests.leaks.disk_channels import used_up
from tests.leaks.world import keep
broker = Broker(Path(sys.argv[2]), master="file")
used_up(broker, canaries(), sys.argv[1])
keep(broker, canaries())
async def use():
    asyncio.get_running_loop().set_debug(True)
    for one in canaries():
        await broker.ruling(Use(scope=one.scope, who="tool:" + sys.argv[1]))
        await broker.redact("nothing")
asyncio.run(use(), debug=True)
logging.getLogger("mine").debug("%s", sys.argv[1])
broker.stop()
print(sorted(sys.modules))
"""


@channel("logs", "all logs at DEBUG", slow=True)
def _(world: World) -> Seen:
    marker, folder = world.marker(), world.tmp
    done = in_tests("-X", "dev", "-c", DEBUG, marker, str(folder / "kept"), cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return Seen({"logged": done.stdout, "errors": done.stderr, "files": folder}, f"mine DEBUG {marker}")


@channel("logs", "no telemetry", slow=True)
def _(world: World) -> Seen:
    """Nothing is exported: no module that could is loaded by all that the broker's face and models load."""
    folder = world.tmp
    done = in_tests(
        "-c", DEBUG, world.marker(), str(folder / "kept"), cwd=folder, OTEL_TRACES_EXPORTER="console"
    )
    assert done.returncode == 0, done.stderr.decode()
    modules = done.stdout.decode().splitlines()[-1]
    for name in (
        "opentelemetry.exporter",
        "opentelemetry.sdk",
        "sentry_sdk",
        "logfire",
        "ddtrace",
        "datadog",
    ):
        assert name not in modules
    return Seen({"said": done.stdout + done.stderr}, "loom_nb.credentials.broker.client")


@channel("logs", "asyncio in a kernel that tells of every callback", slow=True)
def _(world: World) -> Seen:
    return Seen({"log": of(world).log}, "Executing <Handle")
