"""What travels with the prompt of a cell beside its words: files by `--attach`, pictures of values."""

from typing import TYPE_CHECKING

from loom_nb.errors import LoomUsageError
from loom_nb.notebook.cell import CellRequest, Reference

if TYPE_CHECKING:
    from loom_nb.messages import Part


async def attached_to(request: CellRequest) -> "tuple[list[Part], list[str]]":
    """The parts that `--attach` names, and what is to be told of those that were not read.

    In a dry run no address is fetched.

    Raises:
        LoomUsageError: one cannot be attached; nothing has been sent.
        SetupError: an image has to be drawn anew, and Pillow is not installed.
    """
    if not request.attach:
        return [], []
    from loom_nb.capabilities.addresses import is_address
    from loom_nb.capabilities.attaching import attached

    parts: list[Part] = []
    left: list[str] = []
    for name in request.attach:
        if request.dry_run and is_address(name):
            left.append(f"{name} is fetched when the cell runs")
            continue
        parts.append(await attached(name))
    return parts, left


def seen_in(reference: Reference) -> "list[Part]":
    """What a model can look at of a value: a figure, an image, or bytes that are an image, PDF or sound."""
    from loom_nb.capabilities.attaching import media_of
    from loom_nb.capabilities.describe import describe_image
    from loom_nb.messages import ImagePart, Origin

    path = reference.path
    image = describe_image(reference.value)
    if isinstance(image, ImagePart):
        return [ImagePart(image.data, image.media_type, Origin("notebook", path), path)]
    try:
        part = media_of(reference.value, path)
    except LoomUsageError:  # bytes that only look like one: they are described as bytes
        return []
    return [part] if part is not None else []
