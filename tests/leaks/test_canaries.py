"""The canaries and their scanner: what is not found here would not be found anywhere."""

import base64
import html
import json
import sqlite3
from urllib.parse import quote, quote_plus

import pytest

from loom_nb.credentials.secrets import FIELDS, SECRET_TYPES, secret
from tests.leaks.canaries import PIECE, Scanner, canaries, files, forms, packed, text

VALUES = [text("é '", length=30) for _ in range(20)]


def plain(value):
    return Scanner({"it": value})


def test_there_is_one_canary_of_each_type_which_the_store_takes():
    made = canaries()
    assert sorted(one.type for one in made) == sorted(SECRET_TYPES)
    for one in made:
        kept = secret(one.type, dict(one.fields))
        assert {kept.reveal(name) for name in FIELDS[one.type].required} <= set(one.fields.values())
        for name in FIELDS[one.type].hidden:
            if name in one.fields:
                assert any(value in one.fields[name] for value in one.hidden.values())


def test_the_same_seed_gives_the_same_values_and_another_one_others():
    def values(seed):
        return [one.value for one in canaries(seed) if one.type != "ssh_private_key"]

    assert values("a") == values("a")
    assert not set(values("a")) & set(values("b"))


def test_values_hold_the_signs_that_encodings_change():
    assert set('/+=%"\\<>&é') <= set(next(one for one in canaries() if one.type == "password").value)
    assert set('/+=%"\\<>&') <= set(next(one for one in canaries() if one.type == "api_key").value)


def test_there_are_eleven_forms_and_more():
    assert len(forms(VALUES[0])) >= 11
    assert all(forms(VALUES[0]).values())


@pytest.mark.parametrize(
    "written",
    [
        str.encode,
        lambda v: v.encode("latin-1"),
        lambda v: v.encode("utf-16"),
        lambda v: v.encode("utf-32"),
        lambda v: quote(v, safe="").encode(),
        lambda v: quote(quote(v, safe=""), safe="").encode(),
        lambda v: quote_plus(v).encode(),
        lambda v: "".join(f"%{b:02x}" for b in v.encode()).encode(),
        lambda v: base64.b64encode(v.encode()),
        lambda v: base64.b64encode(b"x" + v.encode() + b"yz"),
        lambda v: base64.b64encode(b"xy" + v.encode() + b"z"),
        lambda v: base64.urlsafe_b64encode(b"xy" + v.encode() + b"z"),
        lambda v: base64.encodebytes(b"ada:" + v.encode() * 3),
        lambda v: v.encode().hex().encode(),
        lambda v: v.encode().hex().upper().encode(),
        lambda v: json.dumps({"a": v}).encode(),
        lambda v: json.dumps(v, ensure_ascii=False).encode(),
        lambda v: json.dumps(json.dumps(v)).encode(),
        lambda v: json.dumps(json.dumps(json.dumps(v))).encode(),
        lambda v: json.dumps(v).replace("/", "\\/").encode(),
        lambda v: repr(v).encode(),
        lambda v: ascii(v).encode(),
        lambda v: repr(v.encode()).encode(),
        lambda v: html.escape(v).encode(),
        lambda v: "".join(f"&#{ord(c)};" for c in v).encode(),
        lambda v: f"first {v[: len(v) // 2]}".encode(),
        lambda v: f"{v[len(v) // 2 :]} second".encode(),
        lambda v: f"... {v[5 : 5 + PIECE]} ...".encode(),
        lambda v: packed(f"in a body: {v}".encode()),
        lambda v: b"of another part" + packed(v.encode()),
    ],
)
@pytest.mark.parametrize("value", VALUES[:3], ids=range(3))
def test_a_value_is_found_however_it_is_written(value, written):
    assert plain(value).scan(b"before " + written(value) + b" after")


def test_what_is_found_is_what_plain_search_finds():
    value = VALUES[0]
    data = b"--".join(sorted({one for some in forms(value).values() for one in some}))
    assert {hit.form for hit in plain(value).scan(data, deep=False)} >= {
        "plain", "base64 at 1", "hex lower", "json ascii", "url upper", "url lower", "html",
    }  # fmt: skip


def test_what_is_no_secret_is_not_found():
    scanner = Scanner.of(canaries())
    other = b"".join(str(form).encode() for value in VALUES for form in forms(value).values())
    assert scanner.scan(other) == []
    assert (
        scanner.scan(b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n-----END PRIVATE KEY-----") == []
    )


def test_a_value_of_the_past_is_found_in_a_file(tmp_path):
    with sqlite3.connect(tmp_path / "kept.db") as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (?)", (VALUES[0],))
        db.commit()
        db.execute("DELETE FROM t")
        db.commit()
    db.close()
    assert plain(VALUES[0]).scan_files(tmp_path)
    assert [path.name for path, _ in files(tmp_path)] == ["kept.db"]


def test_a_hit_does_not_show_the_value():
    (hit, *_) = plain(VALUES[0]).scan(f"x {VALUES[0]} y".encode())
    assert VALUES[0] not in str(hit)
