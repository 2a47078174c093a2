"""Documents of every kind, made when a test needs them."""

import io
import json
import zlib
from pathlib import Path

QUOKKA = "Quokkas live on Rottnest island near Perth."
BEE = "Honey bees dance to tell each other where flowers are."


def pdf(*pages: str, title: str = "") -> bytes:
    """A PDF with one line of words on each page, compressed as real ones are."""
    from pypdf import PdfReader, PdfWriter

    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for text in pages:
        escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("latin-1")
        stream = zlib.compress(b"BT /F1 12 Tf 72 720 Td (" + escaped + b") Tj ET")
        objects.append(
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream)
        )
        font = b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] %s /Contents %d 0 R >>"
            % (font, len(objects))
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    body, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(body)
    body += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    body += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(body)))
    if title:
        writer.add_metadata({"/Title": title})
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def locked_pdf(text: str) -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(text))))
    writer.encrypt("a password", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def docx(*blocks: tuple[int, str] | list[list[str]], title: str = "") -> bytes:
    """Paragraphs with the level of their heading (0: none), and tables."""
    import docx as library

    made = library.Document()
    made.core_properties.title = title
    for block in blocks:
        if isinstance(block, list):
            table = made.add_table(len(block), len(block[0]))
            for row, cells in enumerate(block):
                for column, text in enumerate(cells):
                    table.cell(row, column).text = text
        elif block[0]:
            made.add_heading(block[1], block[0])
        else:
            made.add_paragraph(block[1])
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def notebook(*cells: tuple[str, str]) -> bytes:
    made = [
        {"cell_type": kind, "id": f"c{number}", "metadata": {}, "source": source}
        | ({"outputs": [], "execution_count": None} if kind == "code" else {})
        for number, (kind, source) in enumerate(cells)
    ]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def library_of(folder: Path) -> Path:
    """A folder with a document of every kind."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "quokkas.md").write_text(f"# Quokkas\n\n{QUOKKA}\n\n## Food\n\nThey eat grasses and leaves.\n")
    (folder / "bees.txt").write_text(f"{BEE}\n")
    (folder / "owls.html").write_text(
        "<html><head><title>Owls</title><script>alert(1)</script></head><body><h1>Owls</h1>"
        "<p>Owls turn their heads by 270 degrees.</p></body></html>"
    )
    (folder / "whales.pdf").write_bytes(
        pdf("Whales sing in deep water.", "Krill is what they eat.", title="On whales")
    )
    (folder / "ants.docx").write_bytes(
        docx((1, "Ants"), (0, "Ants follow trails of pheromones."), [["species", "legs"], ["Formica", "six"]])
    )
    (folder / "frogs.ipynb").write_bytes(
        notebook(("markdown", "# Frogs\n\nFrogs breathe through their skin."), ("code", "croak = 'ribbit'"))
    )
    (folder / "spiders.py").write_text(
        '"""Spiders."""\n\n\nclass Web:\n    """It is spun of silk."""\n\n    def spin(self):\n        return "thread"\n'
    )
    return folder
