"""The keys of models: where each vendor's may go, and whether there is one, in words."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from loom_nb.credentials.policies import Binding
from loom_nb.models.registry import VENDORS, Vendor

HOSTS: Mapping[str, str] = {"anthropic": "api.anthropic.com", "openai": "api.openai.com"}
"""Of vendors whose SDK knows the address."""


def vendor_named(name: str) -> Vendor | None:
    """The vendor whose key is kept under this name; None where it is none, or needs no key."""
    vendor = VENDORS.get(name)
    return vendor if vendor is not None and vendor.key_env else None


def binding_of_vendor(vendor: Vendor, environ: Mapping[str, str]) -> Binding:
    """Where a vendor's key may go: its own host, or the one that the environment names in its place."""
    ambient = next((url for name in vendor.url_env if (url := environ.get(name, "").strip())), "")
    parts = urlsplit(ambient or vendor.base_url or f"https://{HOSTS[vendor.name]}")
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    apply = "header:x-api-key" if vendor.api == "messages" else ""
    return Binding(hosts=(f"{host}{port}",), plain=parts.scheme == "http", apply=apply)
