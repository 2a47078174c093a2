"""What looks like a secret, what only resembles one, and how the work grows.

Nothing here is a key: the tables are made of random letters, as keys are.
"""

import base64
import random
import string
import time
import uuid
from collections.abc import Callable

import pytest

from loom_nb.redaction.key_forms import key_forms, without_key_forms

DICE = random.Random(2)
ALNUM = string.ascii_letters + string.digits


def letters(count: int, alphabet: str = ALNUM) -> str:
    """Random letters, a digit among them."""
    return "".join(DICE.choices(alphabet, k=count - 1)) + DICE.choice("23456789")


def hexa(count: int) -> str:
    return "".join(DICE.choices("0123456789abcdef", k=count))


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


UPPER = string.ascii_uppercase + string.digits
SAFE = ALNUM + "-_"
PEM_BODY = "\n".join(letters(64, ALNUM + "+/") for _ in range(6))
JWT = f"eyJ{letters(30)}.eyJ{letters(60)}.{letters(43, SAFE)}"

TRUE = {
    # text with the secret between « and »
    "AWS access key": f"aws_access_key_id = «AKIA{letters(16, UPPER)}»",
    "AWS temporary key": f'{{"AccessKeyId": "«ASIA{letters(16, UPPER)}»"}}',
    "AWS secret key": f"aws_secret_access_key = «{letters(40, ALNUM + '/+')}»",
    "AWS secret key in JSON": f'"SecretAccessKey": "«{letters(40, ALNUM + "+")}»",',
    "AWS session token": f"export AWS_SESSION_TOKEN=«{letters(300, ALNUM + '+')}»",
    "GitHub personal": f"remote: «ghp_{letters(36)}»",
    "GitHub app": f"token «ghs_{letters(36)}» used",
    "GitHub refresh": f"«ghr_{letters(76)}»",
    "GitHub fine-grained": f"GH=«github_pat_{letters(22)}_{letters(59)}»",
    "GitHub in an address": f"git clone https://x-access-token:«ghp_{letters(36)}»@github.com/a/b",
    "GitLab personal": f"PRIVATE-TOKEN: «glpat-{letters(20, SAFE)}»",
    "GitLab runner": f"register --token «glrt-{letters(20, SAFE)}» now",
    "Slack bot": f"SLACK=«xoxb-{letters(12, '0123456789')}-{letters(24)}»",
    "Slack app": f"«xapp-1-A{letters(10, UPPER)}-{letters(13, string.digits)}-{hexa(64)}»",
    "Slack webhook": f"https://«hooks.slack.com/services/T{letters(8, UPPER)}/B{letters(8, UPPER)}/{letters(24)}»",
    "Discord webhook": f"https://discord.com«/api/webhooks/{letters(18, string.digits)}/{letters(68, SAFE)}»",
    "Stripe live": f'stripe.api_key = "«sk_live_{letters(24)}»"',
    "Stripe restricted": f"«rk_test_{letters(99)}»",
    "Stripe webhook": f"endpoint «whsec_{letters(32)}»",
    "Google API": f"https://maps.example/api?v=3&key=«AIza{letters(35, SAFE)}»",
    "Google OAuth client": f'"client_secret":"«GOCSPX-{letters(28, SAFE)}»"',
    "Google OAuth token": f"«ya29.{letters(120, SAFE)}»",
    "Google refresh": f"refresh «1//0{letters(60, SAFE)}»",
    "OpenAI project": f"OPENAI_API_KEY=«sk-proj-{letters(80, SAFE)}x»",
    "OpenAI classic": f"using «sk-{letters(48)}» for it",
    "Anthropic": f"x-api-key: «sk-ant-api03-{letters(90, SAFE)}A»",
    "OpenRouter": f"«sk-or-v1-{hexa(64)}»",
    "Groq": f"«gsk_{letters(52)}»",
    "xAI": f"«xai-{letters(80)}»",
    "Perplexity": f"«pplx-{letters(48)}»",
    "Replicate": f"«r8_{letters(37)}»",
    "Hugging Face": f"login(«hf_{letters(34, string.ascii_letters)}»)",
    "NVIDIA": f"«nvapi-{letters(64, SAFE)}z»",
    "LangSmith": f"«lsv2_pt_{hexa(32)}_{hexa(10)}»",
    "Databricks": f"«dapi{hexa(32)}»",
    "Grafana": f"«glsa_{letters(32)}_{hexa(8)}»",
    "Pulumi": f"«pul-{hexa(40)}»",
    "DigitalOcean": f"«dop_v1_{hexa(64)}»",
    "npm": f"//registry.example/:_authToken=«npm_{letters(36)}»",
    "PyPI": f"password = «pypi-AgEIcHlwaS5vcmc{letters(100, SAFE)}»",
    "Docker": f"docker login -p «dckr_pat_{letters(27, SAFE)}»",
    "SendGrid": f"«SG.{letters(22, SAFE)}.{letters(43, SAFE)}»",
    "Mailgun": f"api:«key-{hexa(32)}»",
    "Twilio": f"sid «SK{hexa(32)}»",
    "Square": f"«sq0atp-{letters(22, SAFE)}»",
    "Shopify": f"«shpat_{hexa(32)}»",
    "Vault": f"«hvs.{letters(90, SAFE)}»",
    "age": f"«AGE-SECRET-KEY-1{letters(58, UPPER)}»",
    "Postman": f"«PMAK-{hexa(24)}-{hexa(34)}»",
    "Linear": f"«lin_api_{letters(40)}»",
    "Notion": f"«ntn_{letters(46)}»",
    "Figma": f"«figd_{letters(40, SAFE)}»",
    "Atlassian": f"«ATATT3xFfGF0{letters(170, SAFE)}»",
    "New Relic": f"«NRAK-{letters(27, UPPER)}»",
    "Supabase": f"«sbp_{hexa(40)}»",
    "Telegram": f"https://api.telegram.example/bot«{letters(10, string.digits)}:AA{letters(33, SAFE)}»/getMe",
    "JSON web token": f"cookie={JWT!s}".replace(JWT, f"«{JWT}»"),
    "private key": f"«-----BEGIN RSA PRIVATE KEY-----\n{PEM_BODY}\n-----END RSA PRIVATE KEY-----»\nmore",
    "OpenSSH key": f"«-----BEGIN OPENSSH PRIVATE KEY-----\n{PEM_BODY}\n-----END OPENSSH PRIVATE KEY-----»",
    "private key in JSON": '"private_key": "«-----BEGIN PRIVATE KEY-----\\n'
    + PEM_BODY.replace("\n", "\\n")
    + '\\n-----END PRIVATE KEY-----»\\n"',
    "private key, cut": f"«-----BEGIN EC PRIVATE KEY-----\n{PEM_BODY[:150]}»",
    "bearer": f"Authorization: Bearer «{letters(40, SAFE)}»",
    "bearer in curl": f'curl -H "authorization: bearer «{letters(32)}»" https://x.example',
    "basic": f"Authorization: Basic «{coded('someone:hunter2!')}»",
    "token header": f"Authorization: token «{hexa(40)}»",
    "header of a key": f"X-Api-Key: «{letters(32)}»",
    "postgres": "postgresql://app:«s3cr3t-pw»@db.internal:5432/app",
    "mongo": "mongodb+srv://root:«Tr0ub4dor&3»@cluster0.example.net/?retryWrites=true",
    "redis without user": "redis://:«p4ssw0rd9»@cache:6379/0",
    "amqp, encoded": "amqps://svc:«pa%24%24w0rd»@mq.example//",
    "ADO": "Server=db;User Id=sa;Password=«Sup3rS3cret!»;Encrypt=yes",
    "Azure storage": f"AccountName=x;AccountKey=«{letters(86, ALNUM + '+/')}==»;EndpointSuffix=core",
    "Azure SAS": f"https://x.blob.example/c?sv=2022-11-02&«sig={letters(43)}%3D»",
    "AWS presigned": f"https://b.s3.example/k?X-Amz-Date=20240101T000000Z&«X-Amz-Signature={hexa(64)}»",
    "env line": "DB_PASSWORD=«hunter2hunter2»",
    "dotenv quoted": f"SECRET_KEY='«{letters(50, ALNUM + '!@#%^&*')}»'",
    "YAML": "  password: «hunter22»",
    "python": 'password = "«Passw0rt99»"',
    "python dict": f'config["client_secret"] = "«{letters(40)}»"',
    "keyword argument": f"connect(host, user='me', password='«{letters(12)}»')",
    "JSON": f'{{"refresh_token": "«{letters(64, SAFE)}»"}}',
    "query": f"https://x.example/cb?access_token=«{letters(40)}»&state=1",
    "apikey query": f"GET /v1/q?apikey=«{hexa(32)}»&q=rain",
    "ini": f"api_key : «{letters(32)}»",
    "toml": f'auth_token = "«{letters(32)}»"',
    "java": f'private static final String API_KEY = "«{letters(32)}»";',
    "go": f'apiKey := "«{letters(32)}»"',
    "ruby": f':secret => "«{letters(32)}»"',
    "passphrase": "passphrase: «Korrekt7Pferd»",
    "UUID as an API key": f"HEROKU_API_KEY=«{uuid.UUID(hexa(32))}»",
    "MFA secret": "otp_secret = «JBSWY3DPEHPK3PXP23456»",
}
BENIGN = [
    # dates, numbers, ids
    "2024-01-31T12:34:56Z", "20240131123456", "+49 30 901820", "4111 1111 1111 1111", "192.168.100.200:8080",
    "order 1000023948570", "1,204,557.25", "ISBN 978-3-16-148410-0", "v1.2.3-rc.1+build.5114f85", "0x7f3a9c2b",
    "550e8400-e29b-41d4-a716-446655440000", "urn:uuid:550e8400-e29b-41d4-a716-446655440000",
    "id=550e8400-e29b-41d4-a716-446655440000&x=1", "request_id: 7f3a9c2b-55aa-4f1e-9c8d-0242ac120002",
    "commit 5c9f1a2b3d4e5f60718293a4b5c6d7e8f9012345", "index 83db48f..bf2a1c4 100644", "HEAD is now at 5c9f1a2 fix",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "md5 d41d8cd98f00b204e9800998ecf8427e", "ETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
    "integrity sha512-" + coded("x" * 64), "arn:aws:iam::123456789012:role/Admin", "i-0abcd1234efgh5678",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "AC" + "d41d8cd98f00b204e9800998ecf8427e",
    # data
    "data:image/png;base64," + coded("\x89PNG" + "pixel" * 60), coded("lorem ipsum " * 30),
    "ACGTACGTTAGCTAGCTAGGATCGATCGA" * 4, "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ",
    "df.shape (1204, 8)", "mean 0.123456789012 std 4.567e-08", "[0.12, 3.45, 6.78]", "<svg d='M10 10h80v80H10z'/>",
    "9f86d081884c7d659a2feaa0c55ad015  file.txt", "\\x89PNG\\r\\n\\x1a\\n", "#ff00aa #1a2b3c",
    # words near secrets
    "Enter your password:", "password: ", "Password must have at least 8 characters", "password=********",
    "password: <your-password>", "password = ${DB_PASSWORD}", "password: {{ vault_password }}", "--password=$PASS",
    "password=xxxxxxxxxxxx", "PASSWORD=changeme", 'password = "password"', "password: string",
    "password: null", "password_file=/run/secrets/db1", "PGPASSFILE=/home/me/.pgpass1",
    "password = getpass.getpass()", "password=os.environ['PW1']", "password = config.password1",
    "passwords differ in line 12345678", "passwd:x:1000:1000", 'input type="password" name="password2"',
    "secret: kubernetes.io/service-account-token", "secretName: my-tls-secret-2", "secret_version=3",
    "client_secret=YOUR_CLIENT_SECRET_1", "the secret of good coffee is 93C water", "secrets: inherit",
    "secret_name: prod/db/password1", "secretsmanager:us-east-1", "SECRET_KEY = os.environ['SECRET_KEY_1']",
    "from secrets import token_hex", "secrets.token_urlsafe(32)", "secret = get_secret(name1)",
    "token: str", "max_tokens=4096", "max_tokens: 100000", "total_tokens=1234567890", "tokens_used: 12345678",
    "token_type: bearer", "token_count = 128000", "tokenizer: cl100k_base", "tokenizer=cl100k_base",
    "token = tokens[12345]", "next_token: eyJsYXN0IjoiMTIzIn0abc123", "nextPageToken=CAEQAA123456",
    "continuation_token: AbCd1234efgh", "pad_token = '<|endoftext|>1'", "cancellation_token=ct12345678",
    "csrf_token=abc123def456", "token_endpoint=https://idp.example/oauth2/v1/token", "TokenExpired2024Error",
    "token: 550e8400-e29b-41d4-a716-446655440000", "unexpected token '}' at line 12345678", "token_id=12345678ab",
    "Authorization: Bearer <token>", "Authorization: Bearer $TOKEN", "bearer authentication_is_required",
    "the bearer of bad news2day", "Basic authentication", "basic understanding of", "Basic c29tZXRoaW5n",
    "WWW-Authenticate: Bearer realm=\"example1\"", "authorization: required", "Authorization: None",
    "api_key: None", "api_key=YOUR_API_KEY", "api_key = os.getenv('API_KEY1')", "api_key_id=12345678ab",
    "apiKey: process.env.API_KEY_1", "set the API key first", "api_key_path=/etc/keys/api1.txt",
    "access_key: ACCESS_KEY", "private_key_path: ~/.ssh/id_ed25519", "credentials: include", "credential_id=ab12345678",
    "credentials=/home/me/gcp1.json", "GOOGLE_APPLICATION_CREDENTIALS=/home/me/key1.json",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx0v me@host", "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYI",
    "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIE\n-----END CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----",
    "PRIVATE KEY", "known_hosts |1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=",
    # addresses
    "https://example.com:8080/path", "http://localhost:8888/lab?file=a1", "git@github.com:a/b.git",
    "postgres://user:password@localhost/db", "postgres://user:${PW}@host/db", "redis://:<password>@host",
    "https://user@example.com", "mailto:a@b.example", "https://x.example/a:b@c", "ws://127.0.0.1:5000",
    # what begins like a key
    "sk-learn", "sk-toggleable__content-pneumonia", "risk-0123456789abcdef0123", "task-12345678901234567890",
    "disk-20240131-backup-1234567", "sk-xxxxxxxxxxxxxxxxxxxxxxxx1", "sk-...", "sk-ant-...", "sk-<your key>", "ghp_xxx",
    "ghp_", "AKIA", "AKIAIOSFODNN7", "xoxb-", "hf_hub_download", "hf_transfer", "npm_config_registry",
    "pk_live_" + "a1b2c3d4e5f6a7b8c9d0e1f2", "key-value-store-1234567890", "dapi", "SKU0123456789", "SG.2024.05",
    "figd_", "pattern.1234", "dp.pt", "eyJ", "eyJhbGciOiJIUzI1NiJ9", "pul-request", "glpat", "sigma=0.25", "design=1234",
    "lib.npm_1234567890", "basic_auth_enabled_2024", "whsec", "secret_santa_2024_list", "ntn_", "AIzawa",
]  # fmt: skip
SECRETS = {name: text.split("«")[1].split("»")[0] for name, text in TRUE.items()}
"""What must go."""


@pytest.mark.parametrize("name", TRUE)
def test_what_looks_like_a_secret_is_taken_out(name: str):
    text = TRUE[name].replace("«", "").replace("»", "")

    made, found = without_key_forms(text)

    assert SECRETS[name] not in made
    assert found >= 1
    assert "[secret? " in made


@pytest.mark.parametrize("text", BENIGN)
def test_what_only_resembles_a_secret_stays(text: str):
    assert without_key_forms(text) == (text, 0)


def test_the_tables_are_as_large_as_they_are_said_to_be():
    assert len(TRUE) >= 60
    assert len(BENIGN) >= 120


def test_places_are_counted_in_characters():
    (found,) = key_forms(f"schlüssel 🔑: ghp_{'a1B2' * 9}.")

    assert (found.start, found.end, found.kind) == (13, 53, "GitHub token")


def test_of_a_named_secret_only_the_value_goes():
    assert without_key_forms("DB_PASSWORD=hunter2hunter2 # prod") == (
        "DB_PASSWORD=[secret? password] # prod",
        1,
    )


def test_several_in_one_text_are_all_taken_out_and_the_rest_stays():
    text = f"a {SECRETS['OpenAI classic']} b {SECRETS['GitHub personal']}\npassword: hunter22, done"

    made, found = without_key_forms(text)

    assert made == "a [secret? API key] b [secret? GitHub token]\npassword: [secret? password], done"
    assert found == 3


def test_a_text_that_was_looked_through_once_holds_nothing_more():
    whole = "\n".join(TRUE.values()).replace("«", "").replace("»", "")
    made, _ = without_key_forms(whole)

    assert without_key_forms(made) == (made, 0)


# -- how the work grows ----------------------------------------------------------------------------------

HOSTILE = [
    "sk-", "sk-a", "sk-a1", "ghp_", "eyJ", "eyJa.", "eyJaaaaaaaaaaaa.", "eyJaaaaaaaaaaaa.eyJaaaaaaaaaaaa.",
    "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n" + "A" * 60, "-----BEGIN ", "password",
    "password=", "password: ", "password ", "password" + " " * 30, "token[", "secret.secret.", "secret_", "Bearer ",
    "bearer a1", "basic a1a1a1a1", "://", "://a:", "://a:b", "://:" + "b" * 30, ":AA", "1:AA", "11111111:AA",
    "sig=", "x-amz-signature=", "sg.a", "hvs.", "=", "a", " ", "pwd='", "pwd=\"a", "_authtoken=a1",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_the_work_grows_with_the_text_and_no_faster(piece: str):
    small, large = (piece * (size // len(piece) + 1) for size in (10_000, 80_000))
    few, many = (seconds_of(lambda text=text: key_forms(text)) for text in (small, large))  # type: ignore[misc]

    assert many / few < 24, f"eight times the text took {many / few:.1f} times the work"


def seconds_of(work: Callable[[], object]) -> float:
    """CPU of the best of some rounds: a ratio of two of these is asked for, never a time."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time_ns()
        work()
        best = min(best, time.process_time_ns() - start)
    return max(best, 1e5)
