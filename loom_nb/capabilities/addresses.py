"""Whether what somebody names is an address of the web or a path, judged alike wherever it is named."""


def is_address(place: object) -> bool:
    """Whether it is one of the web; else it is a path, or no text at all."""
    return isinstance(place, str) and place.strip().lower().startswith(("http://", "https://"))
