"""file.read, file.write and file:// buckets: what they understand and where they refuse to go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentflow_common.errors import InvalidError, NotFoundError, PermissionDeniedError, TerminalError
from agentflow_worker.context import StepContext
from agentflow_worker.invoke import invoke
from agentflow_worker.registry import default_registry
from agentflow_worker.settings import WorkerSettings

REGISTRY = default_registry()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("not for you")
    return folder


async def call(name: str, root: Path | None, settings: dict[str, Any] | None = None, **args: Any) -> Any:
    roots = (root,) if root else ()
    made = WorkerSettings(file_roots=roots, bucket_root=root, **(settings or {}))
    return await invoke(REGISTRY.get("tool", name), args, StepContext("o", "r", "s", 1, made))


async def test_text_in_several_encodings(root: Path) -> None:
    text = "Grüße aus Köln, naïve café, übermäßig schön und größtenteils harmlos."
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        (root / "a.txt").write_bytes(text.encode(encoding))
        made = await call("file.read", root, path="a.txt")
        assert made["text"] == text, encoding
        assert (made["name"], made["content_type"], made["pages"]) == ("a.txt", "text/plain", 1)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        # one accent in much English: DOS pages know a word there too
        (
            "cp1252",
            "The board met to discuss the delays in Düsseldorf and the cold chain.\nRefunds go to the driver. " * 3,
        ),
        ("cp1252", "Le café était fermé à l'été, où êtes-vous allé ? L'œuvre coûte 5 €."),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy. Řeka teče pod mostem a děti si hrají v parku."),
        ("cp1251", "Съешь же ещё этих мягких французских булок да выпей чаю. Река течёт под мостом."),
    ],
)
async def test_the_page_of_old_files_is_found(root: Path, encoding: str, text: str) -> None:
    (root / "a.txt").write_bytes(text.encode(encoding))
    assert (await call("file.read", root, path="a.txt"))["text"] == text


async def test_html_becomes_readable_text_with_its_title(root: Path) -> None:
    (root / "a.html").write_text(
        "<html><head><title>The page</title><style>p{}</style></head><body><script>evil()</script><h2>Part</h2>"
        "<p>One <b>bold</b>\n word.</p><ul><li>first</li><li>second</li></ul>"
        "<table><tr><td>a</td><td>b</td></tr></table></body></html>"
    )
    made = await call("file.read", root, path="a.html")
    assert (made["title"], made["content_type"]) == ("The page", "text/html")
    lines = [line for line in made["text"].splitlines() if line]
    assert lines == ["## Part", "One bold word.", "- first", "- second", "a  b"]


async def test_pdf_pages_are_read_and_a_scan_is_told(root: Path) -> None:
    (root / "a.pdf").write_bytes(pdf(["Hello from page one", "And page two"]))
    made = await call("file.read", root, path="a.pdf")
    assert (made["pages"], made["content_type"]) == (2, "application/pdf")
    assert made["text"] == "Hello from page one\n\nAnd page two"
    (root / "scan.pdf").write_bytes(pdf([""]))
    with pytest.raises(InvalidError, match="run OCR"):
        await call("file.read", root, path="scan.pdf")
    (root / "bad.pdf").write_bytes(b"%PDF-1.4 nothing here")
    with pytest.raises(InvalidError, match="can't be read as PDF"):
        await call("file.read", root, path="bad.pdf")


async def test_bounds_and_binaries(root: Path) -> None:
    (root / "a.txt").write_text("x" * 100)
    with pytest.raises(InvalidError, match="over 50 bytes"):
        await call("file.read", root, {"file_bytes_max": 50}, path="a.txt")
    with pytest.raises(InvalidError, match="pass max_chars"):
        await call("file.read", root, {"text_chars_max": 50}, path="a.txt")
    made = await call("file.read", root, path="a.txt", max_chars=10)
    assert (made["text"], made["truncated"]) == ("x" * 10, True)
    (root / "a.bin").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(InvalidError, match="binary"):
        await call("file.read", root, path="a.bin")


@pytest.mark.parametrize(
    "path", ["../secret.txt", "sub/../../secret.txt", "/etc/passwd", "link.txt", "linked/secret.txt"]
)
async def test_nothing_outside_the_roots_is_reached(root: Path, path: str) -> None:
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    (root / "linked").symlink_to(root.parent)
    cases: list[tuple[str, dict[str, Any]]] = [("file.read", {}), ("file.write", {"content": "x"})]
    for name, args in cases:
        with pytest.raises(PermissionDeniedError, match="outside the allowed folders") as caught:
            await call(name, root, path=path, **args)
        assert str(root) in str(caught.value)
    assert (root.parent / "secret.txt").read_text() == "not for you"


async def test_clear_words_when_a_file_is_missing_or_access_is_off(root: Path) -> None:
    with pytest.raises(NotFoundError, match="check the name"):
        await call("file.read", root, path="none.txt")
    with pytest.raises(TerminalError, match="AGENTFLOW_FILE_ROOTS"):
        await call("file.read", None, path="none.txt")


async def test_writing_is_idempotent_and_leaves_no_scraps(root: Path) -> None:
    made = await call("file.write", root, path="out/r.json", content={"a": [1, 2]})
    assert made["written"] is True
    assert (root / "out" / "r.json").read_text() == '{\n  "a": [\n    1,\n    2\n  ]\n}'
    assert (await call("file.write", root, path="out/r.json", content={"a": [1, 2]}))["written"] is False
    with pytest.raises(InvalidError, match="exists with other content"):
        await call("file.write", root, path="out/r.json", content="other", overwrite=False)
    assert [p.name for p in (root / "out").iterdir()] == ["r.json"]


async def test_file_buckets_work_offline_and_stay_inside(root: Path) -> None:
    made = await call("s3.put", root, bucket="file://reports", key="2026/a.md", content="# Title\n\nBody.")
    assert made["bytes"] == 14
    read = await call("s3.fetch", root, bucket="file://reports", key="2026/a.md")
    assert (read["text"], read["title"]) == ("# Title\n\nBody.", "Title")
    with pytest.raises(NotFoundError, match="no object"):
        await call("s3.fetch", root, bucket="file://reports", key="none")
    with pytest.raises(NotFoundError, match="no bucket"):
        await call("s3.fetch", root, bucket="file://other", key="none")
    (root / "reports" / "up").symlink_to(root.parent)
    for key in ("../../secret.txt", "/etc/passwd", "up/secret.txt"):
        with pytest.raises((InvalidError, PermissionDeniedError)):
            await call("s3.fetch", root, bucket="file://reports", key=key)
    with pytest.raises(PermissionDeniedError):
        await call("s3.fetch", root, bucket="file://../", key="secret.txt")


def pdf(pages: list[str]) -> bytes:
    """A minimal PDF with one line of text a page."""
    count = len(pages)
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{' '.join(f'{4 + 2 * i} 0 R' for i in range(count))}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        stream = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    tail = f"xref\n0 {size}\n0000000000 65535 f \n{table}"
    tail += f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + tail.encode()


def test_only_words_are_joined_over_a_line_break() -> None:
    from agentflow_worker.tools.documents import _tidy

    assert _tidy("recom-\nmend it") == "recommend it"
    assert _tidy("202-555-\n0123") == "202-555-\n0123"
    assert _tidy("sk-proj-\nabc") == "sk-proj-\nabc"


# --- file.list ---


def paths(made: dict[str, Any]) -> list[str]:
    return [item["path"] for item in made["files"]]


@pytest.fixture
def tree(root: Path) -> Path:
    for name in ("b.md", "a.md", "a.txt", ".hidden.md", "sub/c.md", "sub/deep/d.md", ".git/e.md", "sub-2/f.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.md", ["a.md", "b.md"]),
        ("*", ["a.md", "a.txt", "b.md"]),
        ("**/*.md", ["a.md", "b.md", "sub/c.md", "sub/deep/d.md", "sub-2/f.md"]),
        ("**", ["a.md", "a.txt", "b.md", "sub/c.md", "sub/deep/d.md", "sub-2/f.md"]),
        ("sub/*", ["sub/c.md"]),
        ("*/*.md", ["sub/c.md", "sub-2/f.md"]),
        ("sub/**/d.md", ["sub/deep/d.md"]),
        (".*", [".hidden.md"]),
        ("none-*", []),
    ],
)
async def test_usage_13_file_list_gives_what_the_pattern_names_sorted(
    tree: Path, pattern: str, found: list[str]
) -> None:
    made = await call("file.list", tree, path=".", pattern=pattern)
    assert sorted(paths(made)) == sorted(found)
    assert paths(made) == sorted(paths(made), key=lambda path: path.split("/"))
    assert (made["count"], made["truncated"], made["unreadable"]) == (len(found), False, 0)
    for path in paths(made):  # what it gives is what file.read takes
        if path.endswith(".md"):
            assert (await call("file.read", tree, path=path))["text"] == path


async def test_usage_13_file_list_says_when_there_are_more(tree: Path) -> None:
    made = await call("file.list", tree, path="sub", pattern="**/*.md", max_files=1)
    assert (paths(made), made["truncated"]) == (["sub/c.md"], True)
    absolute = await call("file.list", tree, path=str(tree / "sub"))
    assert paths(absolute) == [str(tree / "sub" / "c.md")]


async def test_usage_13_file_list_stays_in_the_allowed_folders(tree: Path) -> None:
    (tree / "out.md").symlink_to(tree.parent / "secret.txt")
    (tree / "outside").symlink_to(tree.parent)
    (tree / "loop").symlink_to(tree)
    assert "out.md" not in paths(await call("file.list", tree, path=".", pattern="**/*"))
    assert all("secret" not in path for path in paths(await call("file.list", tree, path=".", pattern="**/*.txt")))
    for path in ("..", "/etc", "outside", "sub/../.."):
        with pytest.raises(PermissionDeniedError):
            await call("file.list", tree, path=path)
    with pytest.raises(NotFoundError, match="no folder"):
        await call("file.list", tree, path="a.md")
    with pytest.raises(TerminalError):
        await call("file.list", None, path=".")


@pytest.mark.parametrize("pattern", ["", "/etc/*", "../*", "a//b", "**/a/**/b/**", "x" * 300])
async def test_usage_13_a_pattern_that_leads_elsewhere_is_refused(tree: Path, pattern: str) -> None:
    with pytest.raises(InvalidError, match="pattern"):
        await call("file.list", tree, path=".", pattern=pattern)


async def test_a_root_above_the_stack_s_own_folder_does_not_open_it(tmp_path: Path) -> None:
    """A stack is started in a project, and its keys and databases lie there in `.agentflow`."""
    data = tmp_path / ".agentflow"
    (data / "files").mkdir(parents=True)
    (data / "dev.key").write_text("the key to everything")
    (data / "files" / "note.txt").write_text("a note")
    (tmp_path / "report.txt").write_text("a report")
    (tmp_path / "link.txt").symlink_to(data / "dev.key")
    roots = (tmp_path, data / "files")
    settings = {"data_dir": data, "file_roots": roots}

    async def tool(name: str, **args: Any) -> Any:
        made = WorkerSettings(**settings)
        return await invoke(REGISTRY.get("tool", name), args, StepContext("o", "r", "s", 1, made))

    assert (await tool("file.read", path="report.txt"))["text"] == "a report"
    assert (await tool("file.read", path="note.txt"))["text"] == "a note"
    assert (await tool("file.read", path=str(data / "files" / "note.txt")))["text"] == "a note"
    with pytest.raises(PermissionDeniedError, match="outside the allowed folders"):
        await tool("file.read", path=str(data / "dev.key"))
    for path in (".agentflow/dev.key", "link.txt"):  # the other root has no such file
        with pytest.raises((PermissionDeniedError, NotFoundError)):
            await tool("file.read", path=path)
    with pytest.raises(PermissionDeniedError):
        await tool("file.write", path=".agentflow/dev.key", content="mine")
    with pytest.raises((PermissionDeniedError, NotFoundError)):
        await tool("file.list", path=".agentflow")
    listed = await tool("file.list", path=str(tmp_path), pattern="**/.*/*")
    assert "dev.key" not in str(listed)
    assert (await tool("file.list", path=str(data / "files")))["count"] == 1
    assert (data / "dev.key").read_text() == "the key to everything"
