"""What no event can hold is refused in words, before it is written."""

from __future__ import annotations

import pytest

from agentflow_common.errors import InvalidError
from agentflow_common.log.blobs import in_line


def test_a_text_that_is_no_unicode_is_an_error_of_its_step() -> None:
    with pytest.raises(InvalidError, match="lone surrogates") as caught:
        in_line({"name": "a\ud800b"})
    assert caught.value.kind == "result_not_json"
    assert in_line({"name": "\U0001f600"}) is not None
