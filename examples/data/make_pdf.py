"""Writes vendor_review.pdf from vendor_review.md: `pip install fpdf2 && python examples/data/make_pdf.py`.

The PDF is committed, so nobody needs fpdf2 (pure Python, LGPL) to run the examples.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF

HERE = Path(__file__).parent
LINE_MM = 5.2


def blocks(text: str) -> list[list[str]]:
    """Paragraphs, lists, tables and code blocks: the parts between blank lines, code kept whole."""
    out: list[list[str]] = [[]]
    code = False
    for line in text.splitlines():
        code ^= line.startswith("```")
        if not line.strip() and not code:
            out.append([])
        else:
            out[-1].append(line)
    return [block for block in out if block]


def items(block: list[str]) -> list[str]:
    """A list's entries, each on one line."""
    out: list[str] = []
    for line in block:
        if re.match(r"- |\d+\. ", line):
            out.append(line)
        else:
            out[-1] += " " + line.strip()
    return out


class Document(FPDF):
    def footer(self) -> None:
        self.set_y(-15)
        self.set_font("Helvetica", size=8)
        self.cell(0, 5, str(self.page_no()), align="C")

    def paragraph(self, text: str, indent_mm: float = 0) -> None:
        self.set_font("Helvetica", size=10)
        self.set_x(self.l_margin + indent_mm)
        self.multi_cell(0, LINE_MM, text, markdown=True, new_x="LMARGIN", new_y="NEXT")

    def block(self, block: list[str]) -> None:
        first = block[0]
        if first.startswith("#"):
            level = len(first) - len(first.lstrip("#"))
            self.ln(2)
            self.set_font("Helvetica", "B", 16 if level == 1 else 12)
            self.multi_cell(0, 7, first.lstrip("# "), new_x="LMARGIN", new_y="NEXT")
        elif first.startswith("```"):
            self.set_font("Courier", size=9)
            for line in block[1:-1]:
                self.cell(0, LINE_MM, line, new_x="LMARGIN", new_y="NEXT")
        elif first.startswith("|"):
            for row in block:
                cells = [cell.strip() for cell in row.strip("|").split("|")]
                if any(cells) and not set(row) <= set("|- "):
                    self.paragraph(f"**{cells[0]}**: {cells[1]}.")
        elif re.match(r"- |\d+\. ", first):
            for item in items(block):
                self.paragraph(item, indent_mm=4)
        else:
            self.paragraph(" ".join(block))
        self.ln(2)


def main() -> None:
    pdf = Document()
    pdf.set_creation_date(datetime(2026, 4, 2, tzinfo=UTC))  # the same input gives the same file
    pdf.set_title("Incident INC-2026-0417 and the Halden Cloud contract: a review")
    pdf.set_margin(20)
    pdf.set_auto_page_break(True, margin=20)
    pdf.add_page()
    for block in blocks((HERE / "vendor_review.md").read_text()):
        pdf.block(block)
    pdf.output(str(HERE / "vendor_review.pdf"))


if __name__ == "__main__":
    main()
