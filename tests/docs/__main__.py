"""`python -m tests.docs` writes the parts of docs/ that are made from the code; `make docs` calls it."""

from __future__ import annotations

from tests.docs.parts import PARTS, now, wanted
from tests.support.paths import ROOT


def main() -> None:
    for part in PARTS:
        text = wanted(part)
        if text == now(part):
            print(f"{part.name} is up to date")
            continue
        path = ROOT / part.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(f"{part.name} is written")


if __name__ == "__main__":
    main()
