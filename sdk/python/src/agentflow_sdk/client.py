"""The two clients. They have the same namespaces with the same methods; those of `AsyncClient` are awaited."""

from __future__ import annotations

from typing import Generic, Self

from agentflow_sdk.methods import TransportT
from agentflow_sdk.namespaces import Admin, Audit, Budgets, Lanes, Prompts, Schedules, Tools, Traces, Workflows
from agentflow_sdk.transport.aio import AsyncTransport
from agentflow_sdk.transport.connection import locate
from agentflow_sdk.transport.retry import RetryPolicy
from agentflow_sdk.transport.sync import Transport


class _Connection(Generic[TransportT]):
    _kind: type[TransportT]

    def __init__(
        self,
        base_url: str = "",
        token: str = "",
        org_id: str = "",
        *,
        timeout: float = 30.0,
        retry: RetryPolicy | None = None,
        root_certificates: bytes | None = None,
    ) -> None:
        transport = self._kind(locate(base_url, token, org_id), timeout, retry, root_certificates)
        self._transport = transport
        self.workflows = Workflows(transport)
        self.lanes = Lanes(transport)
        self.prompts = Prompts(transport)
        self.budgets = Budgets(transport)
        self.traces = Traces(transport)
        self.schedules = Schedules(transport)
        self.admin = Admin(transport)
        self.audit = Audit(transport)
        self.tools = Tools(transport)


class Client(_Connection[Transport]):
    """A connection to AgentFlow for threads and scripts. Use it in a `with` block, or call `close()`.

    An argument that is left out is looked up where agentctl looks: in the environment, in the file that
    `agentctl config set` writes, and then in the embedded stack in ./.agentflow (AGENTFLOW_DATA_DIR).

    Every method raises an `AgentFlowError`. Beside those that a method documents, each can raise UnauthenticatedError
    (the API key is missing or not known), InvalidArgumentError (an argument is not valid), ResourceExhaustedError (the
    server is busy), UnavailableError (the server can't be reached) and DeadlineExceededError (no answer in time).

    Args:
        base_url: `host:port` or `http://host:port` without TLS, `https://host[:port]` with TLS. Empty for the value of
            AGENTFLOW_ENDPOINT.
        token: The API key; empty for the value of AGENTFLOW_TOKEN.
        org_id: Refuses every call if the key belongs to another org; empty for the value of AGENTFLOW_ORG.
        timeout: Seconds for a call that names no timeout, retries included (default 30).
        retry: When a failed call is repeated; None for `RetryPolicy()`. `NO_RETRY` never repeats one.
        root_certificates: Certificates in PEM that the server's is checked against; None for those of the system.

    Raises:
        ConfigurationError: No endpoint or no API key was found, or the configuration file can't be read.
        ValueError: The address or the API key has a form that can't be used.
    """

    _kind = Transport

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Connection[AsyncTransport]):
    """A connection to AgentFlow for asyncio. Use it in an `async with` block, or await `close()`.

    It has the same methods as `Client`. Each is awaited, except for those that return an iterator for `async for`. An
    argument that is left out is looked up as for `Client`, and the methods raise the same errors.

    Args:
        base_url: `host:port` or `http://host:port` without TLS, `https://host[:port]` with TLS. Empty for the value of
            AGENTFLOW_ENDPOINT.
        token: The API key; empty for the value of AGENTFLOW_TOKEN.
        org_id: Refuses every call if the key belongs to another org; empty for the value of AGENTFLOW_ORG.
        timeout: Seconds for a call that names no timeout, retries included (default 30).
        retry: When a failed call is repeated; None for `RetryPolicy()`. `NO_RETRY` never repeats one.
        root_certificates: Certificates in PEM that the server's is checked against; None for those of the system.

    Raises:
        ConfigurationError: No endpoint or no API key was found, or the configuration file can't be read.
        ValueError: The address or the API key has a form that can't be used.
    """

    _kind = AsyncTransport

    async def close(self) -> None:
        """Closes the connection."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
