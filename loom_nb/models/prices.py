"""What tokens cost, where it is known: the bundled table of the genai-prices package, no network."""

from loom_nb.messages import Usage

_PROVIDERS = {"gemini": "google"}
"""Vendors that the table knows by another name."""


def cost(vendor: str, model: str, usage: Usage) -> float | None:
    """US dollars at the vendor's list price, or None for a model whose price is not known."""
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    priced = PricedUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens or None,
        cache_write_tokens=usage.cache_write_tokens or None,
        output_tokens=usage.output_tokens,
    )
    try:
        return float(calc_price(priced, model, provider_id=_PROVIDERS.get(vendor, vendor)).total_price)
    except (LookupError, ValueError):
        return None


def window(vendor: str, model: str) -> int | None:
    """Tokens that a model can take, request and answer together, or None where the table does not say."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, found = get_snapshot().find_provider_model(model, None, _PROVIDERS.get(vendor, vendor), None)
    except (LookupError, ValueError):
        return None
    return found.context_window


def load() -> None:
    """Read the table, which takes a quarter of a second: call it where nobody waits."""
    cost("", "", Usage())
