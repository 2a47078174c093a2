"""A part of the entity graph as an SVG picture: labels escaped, lines in the colour of the page's text."""

import math

from loom_nb.capabilities.knowledge.graph_search import Subgraph
from loom_nb.notebook.render.facts import clipped
from loom_nb.notebook.render.strict_markdown import escape
from loom_nb.wording import counted

RING = 120
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
    left, right = min(x for x, _ in places) - 100, max(x for x, _ in places) + 100
    top, bottom = min(y for _, y in places) - 30, max(y for _, y in places) + 45
    edges = "".join(_edge(shown, number, places) for number in range(len(shown.edges)))
    nodes = "".join(_node(shown, number, places) for number in range(len(shown.nodes)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="{left:.0f} {top:.0f} '
        f'{right - left:.0f} {bottom - top:.0f}" width="{right - left:.0f}" '
        f'style="max-width:100%;height:auto" '
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
    """Where each node stands: each hop a ring, and what leads on from a node in the direction of it."""
    children = _children(shown)
    leaves = [1] * len(shown.nodes)
    for number in range(len(shown.nodes) - 1, -1, -1):  # those further out come later
        leaves[number] = max(1, sum(leaves[child] for child in children[number]))
    roots = [number for number, node in enumerate(shown.nodes) if node.depth == 0]
    roots += sorted({*range(len(shown.nodes))} - {*roots, *(one for some in children for one in some)})
    ring = max(RING, sum(leaves[one] for one in roots) * 60 / (2 * math.pi))
    places = [(0.0, 0.0)] * len(shown.nodes)
    share = 2 * math.pi / sum(leaves[one] for one in roots)
    todo, turn = [], 0.0
    for root in roots:
        todo.append((root, turn, 0.0 if len(roots) == 1 else 0.5))
        turn += leaves[root] * share
    while todo:
        number, turn, out = todo.pop()
        angle = turn + leaves[number] * share / 2
        places[number] = (1.3 * ring * out * math.cos(angle), ring * out * math.sin(angle))
        for child in children[number]:
            todo.append((child, turn, out + 1))
            turn += leaves[child] * share
    return places


def _children(shown: Subgraph) -> list[list[int]]:
    """Of each node those that are reached by way of it: each has one node that it is drawn behind."""
    children: list[list[int]] = [[] for _ in shown.nodes]
    behind: set[int] = set()
    for edge in shown.edges:
        for near, far in ((edge.subject, edge.object), (edge.object, edge.subject)):
            if shown.nodes[far].depth == shown.nodes[near].depth + 1 and far not in behind:
                behind.add(far)
                children[near].append(far)
    return children


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
