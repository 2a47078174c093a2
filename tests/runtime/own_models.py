"""What a model of a test's own is beside its replies: it needs no client, and has neither window nor price."""


class OwnModel:
    """An opened model, its own reference; a subclass has a name and `reply`."""

    def open(self):
        return self

    def window(self):
        return None

    def cost(self, usage, answered=""):
        return None

    async def close(self): ...
