"""Appliers, against the published examples of each scheme."""

import base64
import json

import pytest

from loom_nb.credentials.appliers import Material, Outgoing, applied, signed, signed_token
from loom_nb.credentials.policies import Binding, SecretFacts
from loom_nb.credentials.secrets import secret
from loom_nb.errors import CredentialError, LoomUsageError

KEY = "loomcanary/+=%0&q7"
NOW = 1_440_938_160.0  # 2015-08-30T12:36:00Z, as in the examples of AWS


def facts_of(one, apply=""):
    binding = Binding(hosts=("api.example.com",), apply=apply)
    return SecretFacts(scope="s", type=one.type, version=1, created=0.0, updated=0.0, binding=binding)


def material(one, request=None, apply="", now=NOW):
    return applied(one, facts_of(one, apply), request or Outgoing("GET", "https://api.example.com/a"), now)


def header(one, name="authorization", **given):
    return material(one, **given).headers[name]


def test_basic_as_in_rfc_7617():
    one = secret("basic_auth", {"username": "Aladdin", "password": "open sesame"})
    assert header(one) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert (
        header(secret("basic_auth", {"username": "test", "password": "123\u00a3"}))
        == "Basic dGVzdDoxMjPCow=="
    )
    assert material(one).hidden == ("QWxhZGRpbjpvcGVuIHNlc2FtZQ==",)


def test_bearer_as_in_rfc_6750_until_it_ends():
    one = secret("bearer_token", {"token": "mF_9.B5f-4.1JqM", "expires_at": NOW})
    assert header(one, now=NOW - 1) == "Bearer mF_9.B5f-4.1JqM"
    with pytest.raises(CredentialError, match="has expired") as refused:
        material(one)
    assert "mF_9" not in str(refused.value)


API_KEYS = [
    ("", "https://h/a?b=1#c", {"authorization": f"Bearer {KEY}"}, "https://h/a?b=1#c"),
    ("header:X-API-Key", "https://h/a", {"x-api-key": KEY}, "https://h/a"),
    ("header:Authorization=Token {value}", "https://h/a", {"authorization": f"Token {KEY}"}, "https://h/a"),
    ("query:key", "https://h/a?b=%20+1&key=mine&%6Bey=2&c#d", {}, "https://h/a?b=%20+1&c&key=loomcanary%2F%2B%3D%250%26q7#d"),
    ("query:api key", "https://h", {}, None),
    ("query:key", "https://h", {}, "https://h?key=loomcanary%2F%2B%3D%250%26q7"),
    ("path:/bot{value}", "https://h/getMe?x=1", {}, "https://h/botloomcanary%2F%2B%3D%250%26q7/getMe?x=1"),
    ("path:/bot{value}/", "https://h?x=1", {}, "https://h/botloomcanary%2F%2B%3D%250%26q7/?x=1"),
]  # fmt: skip


@pytest.mark.parametrize(("apply", "url", "headers", "sent"), API_KEYS)
def test_an_api_key_goes_where_its_binding_says_and_replaces_what_was_there(apply, url, headers, sent):
    if sent is None:
        with pytest.raises(LoomUsageError, match="no place for a key"):
            Binding(apply=apply)
        return
    request = Outgoing("GET", url, {"X-Api-Key": "mine", "Authorization": "mine", "accept": "x"})
    got = material(secret("api_key", {"value": KEY}), request, apply).put_into(request)
    assert got.url == sent
    low = {name.lower(): value for name, value in got.headers.items()}
    assert low == {"x-api-key": "mine", "authorization": "mine", "accept": "x", **headers}
    assert len(got.headers) == 3


BODIES = [
    ("application/x-www-form-urlencoded", b"a=1&key=mine", b"a=1&key=loomcanary%2F%2B%3D%250%26q7"),
    ("Application/JSON; charset=utf-8", b'{"a":"\xc3\xa5","key":1}', '{"a":"å","key":"loomcanary/+=%0&q7"}'.encode()),
    ("application/json", b"", b'{"key":"loomcanary/+=%0&q7"}'),
    ("application/json", b"[1]", None),
    ("application/json", b"{", None),
    ("application/json", b"[" * 100_000, None),
    ("text/plain", b"a", None),
    ("application/x-www-form-urlencoded", b"\xff", None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "sent"), BODIES)
def test_a_field_of_a_body_is_set_in_forms_and_objects_alone(kind, body, sent):
    request = Outgoing("POST", "https://h/", {"Content-Type": kind}, body)
    ready = material(secret("api_key", {"value": KEY}), request, "body:key")
    if sent is None:
        with pytest.raises(CredentialError, match="neither a form nor a JSON object"):
            ready.put_into(request)
    else:
        assert ready.put_into(request).body == sent


@pytest.mark.parametrize(
    "apply",
    ["header:", "header:Host", "header:content-length", "header:a b", "header:X-A\r\nB", "header:X=key", "header:X={value}{value}",
     "path:/bot", "path:bot{value}", "query:", "query:a&b", "cookie:x", "x", "header:X={value}\r\nY: 1"],
)  # fmt: skip
def test_a_place_that_is_none_is_refused_when_it_is_set(apply):
    with pytest.raises(LoomUsageError, match="no place for a key"):
        Binding(apply=apply)


def test_what_is_not_for_http_and_a_place_for_what_is_no_api_key_are_refused():
    with pytest.raises(CredentialError, match="does not go over HTTP"):
        material(secret("password", {"value": KEY}))
    with pytest.raises(CredentialError, match="does not go over HTTP as query:key"):
        material(secret("bearer_token", {"token": KEY}), apply="query:key")


def test_material_and_requests_show_no_value():
    got = material(secret("api_key", {"value": KEY}), apply="header:X-API-Key")
    shown = repr(got) + repr(got.put_into(Outgoing("GET", f"https://h/{KEY}", {"a": KEY}, KEY.encode())))
    shown += repr(Material({}, {"q": KEY}, f"/{KEY}", {"f": KEY}, (KEY,)))
    assert "canary" not in shown
    assert "x-api-key" in shown


SUITE = {
    "access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "region": "us-east-1", "service": "service",
}  # fmt: skip
S3 = {
    "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "region": "us-east-1", "service": "s3",
}  # fmt: skip
FORM = "application/x-www-form-urlencoded"
# the test suite that AWS publishes, and the examples of its guides
PUBLISHED = {
    "get-vanilla": (
        SUITE, NOW, Outgoing("GET", "https://example.amazonaws.com/"), "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-vanilla-query-order-key-case": (
        SUITE, NOW, Outgoing("GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1"), "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "post-vanilla": (
        SUITE, NOW, Outgoing("POST", "https://example.amazonaws.com/"), "host;x-amz-date",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-x-www-form-urlencoded": (
        SUITE, NOW, Outgoing("POST", "https://example.amazonaws.com/", {"Content-Type": FORM}, b"Param1=value1"),
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "iam ListUsers, of the guide to signing": (
        SUITE | {"service": "iam"}, NOW,
        Outgoing("GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", {"Content-Type": f"{FORM}; charset=utf-8"}),
        "content-type;host;x-amz-date",
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    ),
    "S3 GET Object, of the reference of S3": (
        S3, 1_369_353_600.0, Outgoing("GET", "https://examplebucket.s3.amazonaws.com/test.txt", {"Range": "bytes=0-9"}),
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_sigv4_gives_the_published_signatures(name):
    fields, now, request, names, signature = PUBLISHED[name]
    got = header(secret("aws_sigv4", fields), request=request, now=now)
    assert got.endswith(f"/aws4_request, SignedHeaders={names}, Signature={signature}")
    assert got.startswith(f"AWS4-HMAC-SHA256 Credential={fields['access_key_id']}/20")


def test_sigv4_computes_what_is_its_own_and_trusts_no_header_for_it():
    lies = {
        "X-Amz-Date": "20000101T000000Z",
        "authorization": "mine",
        "X-Amz-Security-Token": "mine",
        "accept": "x",
    }
    request = Outgoing("GET", "https://example.amazonaws.com/", lies)
    one = secret("aws_sigv4", SUITE | {"session_token": "SESSION"})
    got = material(one, request).put_into(request)
    assert got.headers["x-amz-date"] == "20150830T123600Z"
    assert got.headers["x-amz-security-token"] == "SESSION"
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token," in got.headers["authorization"]
    assert sorted(got.headers) == ["accept", "authorization", "x-amz-date", "x-amz-security-token"]


def test_sigv4_takes_service_and_region_from_the_host_where_it_is_not_told():
    one = secret("aws_sigv4", {name: SUITE[name] for name in ("access_key_id", "secret_access_key")})
    for host, scope in (
        ("sts.eu-north-1.amazonaws.com", "eu-north-1/sts"),
        ("id.execute-api.us-gov-west-1.amazonaws.com:443", "us-gov-west-1/execute-api"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1/sqs"),
    ):
        assert f"/{scope}/aws4_request" in header(one, request=Outgoing("GET", f"https://{host}/"))
    for host in ("sts.amazonaws.com", "x.sts.eu-north-1.amazonaws.com.evil.example"):
        with pytest.raises(CredentialError, match="which service and region"):
            material(one, Outgoing("GET", f"https://{host}/"))


RSA = {
    "kty": "RSA", "e": "AQAB",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "d": "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
    "p": "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
    "q": "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
    "dp": "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
    "dq": "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
    "qi": "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U",
}  # fmt: skip
EC = {
    "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
}  # fmt: skip
OKP = {
    "kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}  # fmt: skip
CLAIMS = b'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
A2 = (
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
A3 = (
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
A4 = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)


def key_of(document):
    """As an own reading of the numbers, and as PEM."""
    from joserfc import jwk

    one = {"RSA": jwk.RSAKey, "EC": jwk.ECKey, "OKP": jwk.OKPKey}[document["kty"]].import_key(document)
    return one, one.as_pem(private=True).decode()


def test_rs256_as_in_rfc_7515_a_2():
    assert signed({"alg": "RS256"}, CLAIMS, key_of(RSA)[1]) == A2


def test_eddsa_as_in_rfc_8037_a_4():
    assert signed({"alg": "EdDSA"}, b"Example of Ed25519 signing", key_of(OKP)[1]) == A4


def test_es256_is_verified_by_the_key_of_rfc_7515_a_3_as_its_own_example_is():
    from joserfc import jws

    key, pem = key_of(EC)
    for token in (A3, signed({"alg": "ES256"}, CLAIMS, pem)):
        assert token.rpartition(".")[0] == A3.rpartition(".")[0]
        assert jws.deserialize_compact(token, key, algorithms=["ES256"]).payload == CLAIMS


def test_hs256_is_what_hmac_by_hand_gives():
    import hashlib
    import hmac

    token = signed({"alg": "HS256"}, CLAIMS, "a key of more than 112 bits, in plain text")
    text, _, told = token.rpartition(".")
    mac = hmac.digest(b"a key of more than 112 bits, in plain text", text.encode(), hashlib.sha256)
    assert told == base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA), ("ES256", EC), ("EdDSA", OKP)])
def test_a_token_says_what_its_secret_says_and_each_is_another(algorithm, key):
    public, pem = key_of(key)
    one = secret("jwt_signing_key", {
        "private_key_pem": pem, "algorithm": algorithm, "key_id": "k1", "issuer": "me", "audience": "you",
        "subject": "åsa", "ttl_seconds": 60,
    })  # fmt: skip
    tokens = [signed_token(one, NOW) for _ in range(2)]
    claims = [read(token, public, algorithm) for token in tokens]
    assert len({c.pop("jti") for c in claims}) == 2
    assert claims[0] == {"iat": int(NOW), "exp": int(NOW) + 60, "iss": "me", "aud": "you", "sub": "åsa"}
    assert tokens[0] != tokens[1]
    assert json.loads(base64.urlsafe_b64decode(tokens[0].split(".")[0] + "==")) == {
        "alg": algorithm,
        "typ": "JWT",
        "kid": "k1",
    }
    assert header(one).startswith("Bearer ey")
    got = material(one)
    assert got.hidden == (got.headers["authorization"].removeprefix("Bearer "),)


def read(token, key, algorithm):
    import warnings

    from joserfc import jws

    with warnings.catch_warnings(action="ignore"):
        return json.loads(jws.deserialize_compact(token, key, algorithms=[algorithm]).payload)


@pytest.mark.parametrize(
    ("algorithm", "key"), [("RS256", EC), ("ES256", RSA), ("EdDSA", RSA), ("RS256", None)]
)
def test_a_key_that_does_not_fit_is_told_without_a_word_of_it(algorithm, key):
    text = key_of(key)[1] if key else "loomcanary"
    with pytest.raises(CredentialError, match=f"does not sign with {algorithm}") as refused:
        signed_token(secret("jwt_signing_key", {"private_key_pem": text, "algorithm": algorithm}), NOW)
    assert text.splitlines()[-1][:10] not in str(refused.value)
