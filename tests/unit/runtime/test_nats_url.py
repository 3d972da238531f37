"""What NATS_URL may be: an error names the variable and what is wrong, and never repeats the value."""

from __future__ import annotations

import pytest

from agentflow_common.connections import nats_client
from agentflow_common.errors import InvalidError

HIDDEN = "Sup3r" + "S3cret"


@pytest.mark.parametrize(
    "url",
    ["", " ", "://", f"://{HIDDEN}@@@", f"nats://{HIDDEN}@", f"http://u:{HIDDEN}@127.0.0.1:4222",
     f"nats://u:{HIDDEN}@host:port", f"nats://u:{HIDDEN}@host:70000", f"nats://u:{HIDDEN}@[::1", "nats://a,,nats://b",
     f"u:{HIDDEN}"],
)  # fmt: skip
def test_what_is_no_address_names_the_variable_and_hides_the_value(url: str) -> None:
    with pytest.raises(InvalidError) as refused:
        nats_client.read(url)
    assert "NATS_URL" in str(refused.value)
    assert HIDDEN not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("127.0.0.1", ["nats://127.0.0.1:4222"]),
        ("host:5222", ["nats://host:5222"]),
        (f"nats://u:{HIDDEN}@host", ["nats://host:4222"]),
        (f"tls://{HIDDEN}@[::1]:5222, nats://b", ["tls://[::1]:5222", "nats://b:4222"]),
        ("wss://host", ["wss://host:4222"]),
    ],
)
def test_addresses_are_read_without_their_credentials(url: str, servers: list[str]) -> None:
    assert nats_client.read(url)[0] == servers
