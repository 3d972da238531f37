"""Keys and seals: a master key, org keys by HKDF, AES-256-GCM for values, HMAC for token names.

This module uses no database. The associated data binds a ciphertext to its org, run and vault
token: a row that is moved elsewhere can't be opened.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agentflow_common.errors import InvalidError, TerminalError
from agentflow_security.settings import SecuritySettings

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_SALT: Final = b"agentflow.vault.v1"
_ORGS_CACHED_MAX: Final = 1024


def load_master(settings: SecuritySettings) -> bytes:
    """Returns the master key from the environment, or else from the key file, which it creates if
    missing.

    Raises InvalidError if the value is not a key.
    """
    text = settings.vault_key.get_secret_value()
    if text:
        return _decode(text, "AGENTFLOW_VAULT_KEY")
    path = settings.vault_key_file.expanduser()
    if not path.exists():
        _create(path)
    return _decode(path.read_text(), f"the key file {path}")


def _create(path: Path) -> None:
    """Writes a new key to a temporary file and links it to its place.

    Two services that start at once therefore agree on one key, and neither reads half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink()


def _decode(text: str, what: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise InvalidError(f"{what} must be {_KEY_BYTES} bytes in base64; make one with: openssl rand -base64 32")
    return key


class Vault:
    """Seals, opens and names values. All of this depends on the master key alone."""

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._sealing = lru_cache(maxsize=_ORGS_CACHED_MAX)(lambda org: AESGCM(self._derive(b"seal\0" + org.encode())))
        self._naming = lru_cache(maxsize=_ORGS_CACHED_MAX)(lambda org: self._derive(b"name\0" + org.encode()))

    def _derive(self, info: bytes) -> bytes:
        return HKDF(SHA256(), _KEY_BYTES, _SALT, info).derive(self._master)

    @property
    def fingerprint(self) -> bytes:
        """Returns a value that differs for each master key and reveals nothing else about it."""
        return self._derive(b"fingerprint")

    def digest(self, org: str, run: str, category: str, value: str) -> bytes:
        """Returns the keyed digest from which a vault token's id is cut.

        The same org, run, category and value always have the same digest.
        """
        message = b"".join(len(part).to_bytes(4, "big") + part for part in map(_utf8, (run, category, value)))
        return hmac.digest(self._naming(org), message, "sha256")

    def seal(self, org: str, run: str, token: str, value: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._sealing(org).encrypt(nonce, _utf8(value), _bound(org, run, token))

    def open(self, org: str, run: str, token: str, sealed: bytes) -> str:
        """Returns the original.

        Raises TerminalError `vault_unreadable` if the key, the place or the bytes have changed
        since the value was sealed.
        """
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            plain = self._sealing(org).decrypt(nonce, body, _bound(org, run, token))
        except InvalidTag as error:
            raise TerminalError(
                f"the vault's value of {token} does not open: it was sealed under another key or has been changed; "
                "restore the vault key that this database was filled with",
                kind="vault_unreadable",
            ) from error
        return plain.decode("utf-8", "surrogatepass")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _bound(org: str, run: str, token: str) -> bytes:
    return "\0".join((org, run, token)).encode()
