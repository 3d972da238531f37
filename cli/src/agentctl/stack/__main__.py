"""The detached supervisor: `python -m agentctl.stack '<options as JSON>'`."""

from __future__ import annotations

import json
import logging
import sys
import time

from agentctl.stack.control import serve
from agentctl.stack.layout import StackInfo, options_of
from agentflow_common.embedded.servers import StackError

log = logging.getLogger("agentctl.stack")


class _JsonLine(logging.Formatter):
    """The line of the services' logs, without what their formatter imports: everything waits for the supervisor."""

    def format(self, record: logging.LogRecord) -> str:
        ts = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        body = {"ts": ts, "level": record.levelname.lower(), "service": "supervisor", "logger": record.name}
        return json.dumps(body | {"message": record.getMessage()})


def main() -> int:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLine())  # one format for all the log files of a stack
    logging.basicConfig(level=logging.INFO, handlers=[handler])
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
