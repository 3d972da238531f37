"""Settings of the security service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from agentflow_common.settings import DatabaseSettings


class SecuritySettings(DatabaseSettings):
    """The database, and the vault's master key: from the environment, or from a file.

    The first start creates the file (mode 0600).
    """

    vault_key: SecretStr = Field(SecretStr(""), alias="AGENTFLOW_VAULT_KEY")
    """master key of the vault: 32 bytes in base64"""

    vault_key_file: Path = Field(Path("~/.agentflow/vault.key"), alias="AGENTFLOW_VAULT_KEY_FILE")
    """file of the master key; the first start makes it (0600) if there is no key"""
