"""Whether a piece of text has the form of a key or token of a known vendor."""

import re

KEY_LIKE = re.compile(
    r"\b(?:sk|rk|gsk|xai)-(?=[A-Za-z_\-]*\d)[A-Za-z0-9_\-]{16,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{5,}"
    r"|(?i:(?<=bearer )[A-Za-z0-9._~+/\-]{8,}=*)"
)
"""Finds such pieces."""
