from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_common.runtime import service
from agentflow_common.settings import load
from agentflow_trace.settings import TraceSettings


def main() -> None:
    settings = load(TraceSettings)
    clickhouse = ClickHouse(settings, session="agentflow-trace")
    clickhouse.preload()  # the engine loads while the rest of the service is imported and connects

    from agentflow_trace.app import app

    service.main("trace", settings, lambda context: app(context, clickhouse))


if __name__ == "__main__":
    main()
