"""Model providers.

Each that this worker can call is built, and its SDK imported, at its first use.
"""

from __future__ import annotations

import asyncio
import importlib
import logging

from agentflow_common.errors import NotFoundError
from agentflow_worker.providers.port import (
    Completion,
    CompletionRequest,
    OnToken,
    Provider,
    ProviderError,
)
from agentflow_worker.settings import WorkerSettings

__all__ = ["Completion", "CompletionRequest", "OnToken", "Provider", "ProviderError", "Providers"]

log = logging.getLogger(__name__)


class Providers:
    """The providers that the settings allow: `local` always, the others with a key (openai also
    with a base URL).
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._made: dict[str, Provider] = {}

    def available(self) -> tuple[str, ...]:
        """Returns the names of providers, the offline one first."""
        s = self._settings
        keyed = (
            ("openai", bool(s.openai_api_key.get_secret_value() or s.openai_base_url)),
            ("anthropic", bool(s.anthropic_api_key.get_secret_value())),
            ("google", bool(s.google_api_key.get_secret_value())),
            ("cohere", bool(s.cohere_api_key.get_secret_value())),
            ("sim", bool(s.sim_models)),
        )
        return ("local", *(name for name, on in keyed if on))

    def get(self, name: str) -> Provider:
        """Returns a provider. Raises NotFoundError if it is not available here."""
        if name not in self._made:
            if name not in self.available():
                raise NotFoundError(
                    f"provider {name!r} is not available on this worker; available: {', '.join(self.available())}. "
                    f"Set {name.upper()}_API_KEY in the worker's environment",
                    kind="provider_unavailable",
                )
            self._made[name] = _make(name, self._settings)
        return self._made[name]

    async def ready(self, name: str) -> Provider:
        """Returns a provider like `get`.

        Its SDK is imported in a thread, because that takes a second or two.
        """
        if name not in self._made and name in self.available():
            await asyncio.to_thread(importlib.import_module, f"{__name__}.{name}")
        return self.get(name)

    async def close(self) -> None:
        made, self._made = list(self._made.values()), {}
        for provider in made:
            try:
                await provider.close()
            except Exception:
                log.exception("closing provider %s failed", provider.name)


def _make(name: str, s: WorkerSettings) -> Provider:
    if name == "openai":
        from agentflow_worker.providers.openai import OpenAIProvider

        return OpenAIProvider(s.openai_api_key.get_secret_value(), s.openai_base_url)
    if name == "anthropic":
        from agentflow_worker.providers.anthropic import AnthropicProvider

        return AnthropicProvider(s.anthropic_api_key.get_secret_value(), s.anthropic_base_url)
    if name == "google":
        from agentflow_worker.providers.google import GoogleProvider

        return GoogleProvider(s.google_api_key.get_secret_value(), s.google_base_url)
    if name == "cohere":
        from agentflow_worker.providers.cohere import CohereProvider

        return CohereProvider(s.cohere_api_key.get_secret_value(), s.cohere_base_url)
    if name == "sim":
        from agentflow_worker.providers.sim import SimProvider

        return SimProvider(s.sim_models)
    from agentflow_worker.providers.local import LocalProvider

    return LocalProvider()
