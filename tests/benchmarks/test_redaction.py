"""What looking for secrets costs, against the least that anybody would do in the same run.

The floor of known secrets is one `bytes.replace` for each secret in its plain form alone: no other form,
and no cut between two pieces. The floor of rules is one search for one word.
"""

import base64
import json
import random
import string
from collections.abc import Callable

import pytest
from measure import interleaved

from loom_nb.redaction.key_forms import key_forms
from loom_nb.redaction.redactor import Redactor

pytestmark = [pytest.mark.slow, pytest.mark.benchmark, pytest.mark.timeout(600)]

SIZE = 4_000_000
SECRETS = 100
DICE = random.Random(3)


def texts() -> dict[str, bytes]:
    words = " ".join(
        "".join(DICE.choices(string.ascii_lowercase, k=DICE.randint(2, 9))) for _ in range(800_000)
    )
    rows = [
        {"name": 'a "b" é\n', "value": DICE.random(), "id": DICE.randbytes(8).hex()} for _ in range(70_000)
    ]
    page = "".join(f'<a href="/a?x=%20{n}&amp;y=2">row &lt;{n}&gt;</a>\n' for n in range(90_000))
    return {
        "words": words.encode()[:SIZE],
        "JSON": json.dumps(rows).encode()[:SIZE],
        "HTML, an escape each 13 bytes": page.encode()[:SIZE],
        "base64": base64.b64encode(DICE.randbytes(SIZE * 3 // 4)),
        "nothing but escapes": b"%41" * (SIZE // 3),
    }


def streamed(redactor: Redactor, data: bytes, size: int) -> Callable[[], object]:
    def work() -> bytes:
        stream = redactor.stream()
        pieces = [stream.feed(data[place : place + size]) for place in range(0, len(data), size)]
        return b"".join([*pieces, stream.end()])

    return work


def test_known_secrets_in_a_stream(table):
    values = [
        "".join(DICE.choices(string.ascii_letters + string.digits + "+/=-_%&", k=40)) for _ in range(SECRETS)
    ]
    redactor = Redactor({f"k{n}": [value] for n, value in enumerate(values)})
    plain = [value.encode() for value in values]

    def floor(data: bytes) -> Callable[[], object]:
        def work() -> bytes:
            left = data
            for one in plain:
                left = left.replace(one, b"[secret]")
            return left

        return work

    for name, data in texts().items():
        for size in (65_536, 4_096, 1_024):
            ours, least = interleaved(streamed(redactor, data, size), floor(data), rounds=3)
            fast, slow = len(data) / ours / 1e6, len(data) / least / 1e6
            table(
                f"{name}, pieces of {size:,}",
                f"{fast:.0f} MB/s",
                f"{slow:.0f} MB/s",
                f"{ours / least:.2f}× · 20 MB/s",
            )


def test_what_looks_like_a_secret(table):
    for name, data in texts().items():
        text = data.decode()
        ours, least = interleaved(
            lambda text=text: key_forms(text), lambda data=data: data.lower().find(b"ghp_"), rounds=3
        )
        table(
            name,
            f"{len(data) / ours / 1e6:.0f} MB/s",
            f"{len(data) / least / 1e6:.0f} MB/s",
            f"{ours / least:.1f}×",
        )


def test_making_a_redactor(table):
    values = {f"k{n}": ["".join(DICE.choices(string.ascii_letters, k=40))] for n in range(SECRETS)}
    one = {"k": values["k0"]}
    ours, least = interleaved(lambda: Redactor(values), lambda: Redactor(one), rounds=3)
    table(
        f"of {SECRETS} secrets, against one",
        f"{ours * 1e3:.1f} ms",
        f"{least * 1e3:.2f} ms",
        f"{ours / least:.0f}×",
    )
