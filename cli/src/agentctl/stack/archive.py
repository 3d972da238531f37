"""The form of a backup: a tar.gz whose last member lists a checksum of every other one."""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final, Literal

import msgspec

from agentflow_common import __version__
from agentflow_common.embedded.servers import StackError

MANIFEST: Final = "MANIFEST.json"
_MANIFEST_BYTES_MAX: Final = 256 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_SAY_EVERY_BYTES: Final = 256 * 1024 * 1024
# errors of the disk or the permissions, not of the archive
_NO_DAMAGE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
_FOLDER, _FILE, _LINK = "folder", "file", "link"

Say = Callable[[str], None]
Key = Literal["separate", "inside", "none"]


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """A member of an archive, as the manifest lists it."""

    kind: str  # folder, file or link
    sha256: str = ""  # of a file's content, or of a link's target
    size: int = 0


class Manifest(msgspec.Struct, kw_only=True, frozen=True):
    """The last member of an archive."""

    version: str
    created_at: str
    key: Key  # where the vault's key is; `none`: the data dir had no key
    key_sha256: str = ""  # its `fingerprint`
    items: dict[str, Item]


def write(root: Path, left_out: frozenset[str], output: IO[bytes], where: Key, key: bytes, say: Say) -> int:
    """Writes everything below `root` except `left_out`, and then the manifest. Returns the number of members."""
    items: dict[str, Item] = {}
    said = written = 0
    with tarfile.open(fileobj=output, mode="w:gz", compresslevel=1) as tar:
        for path in _paths(root, left_out):
            name = path.relative_to(root).as_posix()
            # a folder of the data dir may be a link to another disk: what is there belongs to the stack
            place = path.resolve(strict=True) if path.parent == root else path
            member = tar.gettarinfo(place, f"{root.name}/{name}")
            if member is None or not (member.isfile() or member.isdir() or member.issym()):
                continue  # sockets
            if member.isfile():
                member.type = tarfile.REGTYPE  # a second name of a file is a file of its own here
                member.size = path.stat().st_size
                with path.open("rb") as file:
                    digest = _Digest(file)
                    tar.addfile(member, digest)
                items[name] = Item(_FILE, digest.sha256.hexdigest(), member.size)
                written += member.size
            else:
                tar.addfile(member)
                items[name] = _bare(member)
            if written - said > _SAY_EVERY_BYTES:
                said = written
                say(f"{written / 1e6:,.0f} MB copied")
        manifest = Manifest(
            version=__version__,
            created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            key=where,
            key_sha256=fingerprint(key) if key else "",
            items=items,
        )
        data = msgspec.json.encode(manifest)
        member = tarfile.TarInfo(f"{root.name}/{MANIFEST}")
        member.size, member.mode = len(data), 0o600
        tar.addfile(member, io.BytesIO(data))
    return len(items)


def _paths(root: Path, left_out: frozenset[str]) -> Iterator[Path]:
    """Yields everything below the data dir in order, each folder before its content."""
    for entry in sorted(root.iterdir()):
        if entry.name in left_out:
            continue
        yield entry
        if entry.is_dir():
            yield from sorted(entry.rglob("*"))


class _Digest:
    """A file that is read once: for the archive, and for its checksum."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def fingerprint(key: bytes) -> str:
    """Returns a digest by which a key is recognised. It reveals nothing about the key, because keys are random."""
    return hashlib.sha256(b"agentflow vault key\n" + key.strip()).hexdigest()


# --- reading ---


def check(archive: Path) -> Manifest:
    """Reads an archive to its end. Raises StackError if a file is missing, changed or added."""
    return _read(archive, lambda tar, member, _: _item(tar, member, None))


def unpack(archive: Path, building: Path, say: Say) -> Manifest:
    """Writes every member below `building`, and compares what was written with the manifest.

    As root, it keeps the owners, because PostgreSQL's folder belongs to another user. It raises what `check` raises.
    """
    said = written = 0
    folders: list[tuple[Path, tarfile.TarInfo]] = []

    def take(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Item:
        nonlocal said, written
        path = building / name
        if any(parent.is_symlink() for parent in path.parents if parent != building):
            raise StackError(f"{member.name!r} lies behind a link; this is not a backup")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if member.isdir():
            path.mkdir(mode=0o700, exist_ok=True)
            folders.append((path, member))
        elif member.issym():
            path.symlink_to(member.linkname)
        item = _item(tar, member, path if member.isfile() else None)
        if member.isfile():
            _own(path, member)
            written += member.size
        if written - said > _SAY_EVERY_BYTES:
            said = written
            say(f"{written / 1e6:,.0f} MB restored")
        return item

    manifest = _read(archive, take)
    for path, member in reversed(folders):
        _own(path, member)
    return manifest


def _own(path: Path, member: tarfile.TarInfo) -> None:
    if os.geteuid() == 0:
        os.chown(path, member.uid, member.gid)
    path.chmod(member.mode & 0o755)


def _read(archive: Path, take: Callable[[tarfile.TarFile, tarfile.TarInfo, str], Item]) -> Manifest:
    """Reads every member and compares them with the manifest. take: reads one, by its name in the data dir."""
    found: dict[str, Item] = {}
    manifest: Manifest | None = None
    with _reading(archive) as tar:
        for member in tar:
            name = _inner(member)
            _check_order(member, name, found, manifest)
            if name == MANIFEST:
                manifest = _manifest(tar, member)
            elif name:
                found[name] = take(tar, member, name)
    if manifest is None:
        raise StackError(f"{archive} has no {MANIFEST}: it is cut off, or was made by an earlier version")
    _compare(archive, manifest, found)
    return manifest


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, "r|gz") as tar:
            yield tar
    except FileNotFoundError:
        raise StackError(f"there is no file {archive}") from None
    except (tarfile.TarError, EOFError, OSError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in _NO_DAMAGE:
            raise StackError(f"{archive} cannot be read or unpacked: {error}") from error
        raise StackError(f"{archive} is damaged or not a backup: {error}") from error


def _inner(member: tarfile.TarInfo) -> str:
    """Returns the path of a member below the data dir. Raises StackError for a path that leads elsewhere.

    A member directly in the data dir is never a link, because the stack would use another folder as its own.
    """
    path = PurePosixPath(member.name)
    known = member.isfile() or member.isdir() or (member.issym() and len(path.parts) > 2)
    if path.is_absolute() or ".." in path.parts or not known:
        raise StackError(f"the archive contains {member.name!r}, which is not part of a backup")
    return PurePosixPath(*path.parts[1:]).as_posix() if len(path.parts) > 1 else ""


def _check_order(member: tarfile.TarInfo, name: str, found: dict[str, Item], manifest: Manifest | None) -> None:
    """Raises StackError for a member behind the manifest, and for a second member of one name.

    The second one could be written through a link that the first one made.
    """
    if name in found or manifest is not None:
        why = "twice" if name in found else "behind its manifest"
        raise StackError(f"the archive contains {member.name!r} {why}; this is not a backup")


def _bare(member: tarfile.TarInfo) -> Item:
    if member.issym():
        return Item(_LINK, hashlib.sha256(member.linkname.encode()).hexdigest())
    return Item(_FOLDER)


def _item(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path | None) -> Item:
    """Returns a member of the archive as the manifest lists it, and writes it to `target` if there is one."""
    if not member.isfile():
        return _bare(member)
    source = tar.extractfile(member)
    if source is None:
        raise StackError(f"{member.name} cannot be read")
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(target.open("wb")) if target is not None else None
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            if out is not None:
                out.write(chunk)
    return Item(_FILE, digest.hexdigest(), member.size)


def _manifest(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Manifest:
    source = tar.extractfile(member)
    if source is None or member.size > _MANIFEST_BYTES_MAX:
        raise StackError(f"{MANIFEST} cannot be read")
    try:
        return msgspec.json.decode(source.read(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise StackError(f"{MANIFEST} is damaged: {error}") from error


def _compare(archive: Path, manifest: Manifest, found: dict[str, Item]) -> None:
    for problem, names in (
        ("is missing", manifest.items.keys() - found.keys()),
        ("does not belong to it", found.keys() - manifest.items.keys()),
        ("was changed", {name for name, item in found.items() if manifest.items.get(name, item) != item}),
    ):
        if names:
            more = f" (and {len(names) - 1:,} more)" if len(names) > 1 else ""
            raise StackError(f"{archive} is not whole: {min(names)} {problem}{more}; use another backup")
