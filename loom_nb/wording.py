"""How numbers are told to people and to models: with their noun, as a share."""


def counted(count: int, noun: str) -> str:
    """A number of things whose plural takes an s: "1 column", "1,204 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """A share of 1: "62 %"."""
    return f"{share:.0%}".replace("%", " %")
