"""A part of the entity graph as an SVG picture: labels escaped, lines in the colour of the page's text."""

import math

from loom_nb.capabilities.knowledge.graph_search import Subgraph
from loom_nb.notebook.render.facts import clipped
from loom_nb.notebook.render.strict_markdown import escape
from loom_nb.wording import counted

RING = 150
"""Pixels between what is a hop apart."""
LABEL = 24
"""Characters of a name."""
RELATION = 20


def svg(shown: Subgraph) -> str:
    """The picture; what was asked for in the middle, each hop a ring further out.

    It takes the colour of the text around it, so that it is read on light and on dark; its title and its
    description tell it in words.
    """
    if not shown.nodes:
        return ""
    places = _places(shown)
    left, top = min(x for x, _ in places) - 90, min(y for _, y in places) - 20
    wide, high = max(x for x, _ in places) + 90 - left, max(y for _, y in places) + 40 - top
    edges = "".join(_edge(shown, number, places) for number in range(len(shown.edges)))
    nodes = "".join(_node(shown, number, places) for number in range(len(shown.nodes)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="{left:.0f} {top:.0f} '
        f'{wide:.0f} {high:.0f}" width="{wide:.0f}" style="max-width:100%;height:auto" '
        f'font-family="sans-serif" font-size="12" fill="currentColor" stroke="none">'
        f"<title>{escape(_title(shown))}</title><desc>{escape(words(shown))}</desc>{edges}{nodes}</svg>"
    )


def words(shown: Subgraph) -> str:
    """The same in words: each relation, then what has none."""
    told = [
        f"{clipped(shown.nodes[one.subject].name, 80)} {clipped(one.relation, 60)} "
        f"{clipped(shown.nodes[one.object].name, 80)}"
        for one in shown.edges
    ]
    related = {place for one in shown.edges for place in (one.subject, one.object)}
    told += [clipped(one.name, 80) for place, one in enumerate(shown.nodes) if place not in related]
    return "; ".join(told) + (f"; and {shown.more:,} more" if shown.more else "")


def _title(shown: Subgraph) -> str:
    return f"{len(shown.nodes)} entities, {counted(len(shown.edges), 'relation')}"


def _places(shown: Subgraph) -> list[tuple[float, float]]:
    """Where each node stands: on the ring of its hops, evenly."""
    rings: dict[int, list[int]] = {}
    for number, node in enumerate(shown.nodes):
        rings.setdefault(node.depth, []).append(number)
    places = [(0.0, 0.0)] * len(shown.nodes)
    outer = 0.0
    for depth, members in sorted(rings.items()):
        needed = len(members) * 70 / (2 * math.pi)  # so that labels of a ring have room
        radius = 0.0 if depth == 0 and len(members) == 1 else max(outer + RING * (depth > 0), needed, 60.0)
        outer = radius
        turn = math.pi / 7 * depth
        for place, number in enumerate(members):
            angle = 2 * math.pi * place / len(members) + turn
            places[number] = (1.35 * radius * math.cos(angle), radius * math.sin(angle))
    return places


def _edge(shown: Subgraph, number: int, places: list[tuple[float, float]]) -> str:
    edge = shown.edges[number]
    (x1, y1), (x2, y2) = places[edge.subject], places[edge.object]
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    x1, y1, x2, y2 = x1 + ux * 9, y1 + uy * 9, x2 - ux * 12, y2 - uy * 12
    tip = f"M{x2 - ux * 8 - uy * 4:.1f} {y2 - uy * 8 + ux * 4:.1f}L{x2:.1f} {y2:.1f}"
    tip += f"L{x2 - ux * 8 + uy * 4:.1f} {y2 - uy * 8 - ux * 4:.1f}"
    middle = (x1 + x2) / 2, (y1 + y2) / 2 - 3
    return (
        f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}{tip}" fill="none" stroke="currentColor" '
        f'stroke-opacity="0.55"/><text x="{middle[0]:.1f}" y="{middle[1]:.1f}" text-anchor="middle" '
        f'font-size="10" fill-opacity="0.8">{escape(clipped(edge.relation, RELATION))}</text>'
    )


def _node(shown: Subgraph, number: int, places: list[tuple[float, float]]) -> str:
    node, (x, y) = shown.nodes[number], places[number]
    size = 9 if node.depth == 0 else 6
    kind = f" ({clipped(node.kind, 40)})" if node.kind else ""
    return (
        f"<g><title>{escape(clipped(node.name, 200) + kind)}</title>"
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" '
        f'fill-opacity="{0.85 if node.depth == 0 else 0.45}"/><text x="{x:.1f}" y="{y + size + 13:.1f}" '
        f'text-anchor="middle"{" font-weight=" + chr(34) + "bold" + chr(34) if node.depth == 0 else ""}>'
        f"{escape(clipped(node.name, LABEL))}</text></g>"
    )
