"""The shared TLS context."""

import ssl
from pathlib import Path

import pytest

from loom_nb.models import tls


def test_clients_share_one_context_that_verifies():
    context = tls.context()

    assert context is tls.context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_other_certificates_in_the_environment_make_another_context(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    before = tls.context()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

    assert tls.context() is not before
