"""The detached supervisor: `python -m agentctl.stack '<options as JSON>'`."""

from __future__ import annotations

import logging
import sys

from agentctl.stack.control import serve
from agentctl.stack.layout import StackInfo, options_of
from agentflow_common.embedded import StackError

log = logging.getLogger(__name__)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = options_of(sys.argv[1])

    def ready(_info: StackInfo, times: dict[str, float]) -> None:
        phases = " ".join(f"{name}={seconds:.2f}" for name, seconds in sorted(times.items(), key=lambda item: item[1]))
        log.info("ready: %s", phases)

    try:
        serve(options, ready)
    except StackError as error:
        log.error("%s", error)  # noqa: TRY400 (the message is the whole story)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
