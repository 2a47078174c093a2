"""An artifact as the MIME bundle of a display: what is foreign in it is escaped or strict Markdown.

A DataFrame's own HTML is never asked for: cells, labels and names are text, whoever wrote them.
"""

from typing import TYPE_CHECKING, Any

from loom_nb.notebook.render import html_blocks, products
from loom_nb.notebook.render.markdown import escaped, fenced, table
from loom_nb.notebook.render.strict_markdown import PRE, escape
from loom_nb.runtime.artifact_tables import head_of
from loom_nb.runtime.artifacts import SHOWN

if TYPE_CHECKING:
    from loom_nb.runtime.artifacts import Artifact


def bundle(artifact: "Artifact") -> dict[str, Any]:
    """Plain text, Markdown and HTML; of an image, the image.

    Raises:
        StoreError: its content is damaged or gone.
    """
    data = artifact._repr_mimebundle_()
    if artifact.kind == "image" and artifact.media_type in data:
        return data
    title = f"artifact {artifact.line}"
    markup, markdown = f"<p>{escape(title)}</p>\n", f"{escaped(title, line_start=False)}\n"
    if artifact.kind == "table":
        told = head_of(artifact.value())
        (head, rows), left = products.rows(told), products.left(told)
        markup = html_blocks.table(title, head, rows) + (f"<p>{left}</p>\n" if left else "")
        markdown += "\n" + table(head, rows) + (f"\n\n{left}\n" if left else "\n")
    elif artifact.kind in ("text", "json"):
        text = artifact.content().decode()
        shown = text[:SHOWN] + (f"\n… {len(text) - SHOWN:,} more characters" if len(text) > SHOWN else "")
        markup += f'<pre style="{PRE}">{escape(shown)}</pre>\n'
        markdown += f"\n{fenced(shown)}\n"
    page = f'<section class="jp-RenderedHTMLCommon mathjax_ignore tex2jax_ignore">\n{markup}</section>\n'
    return {**data, "text/markdown": markdown, "text/html": page}
