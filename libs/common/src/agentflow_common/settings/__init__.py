"""Settings of the services: environment first, then the file that `AGENTFLOW_CONFIG` names, then defaults."""

from agentflow_common.settings.base import (
    LOG_LEVELS,
    ClickHouseSettings,
    DatabaseSettings,
    Settings,
    file_names,
    load,
)

__all__ = ["LOG_LEVELS", "ClickHouseSettings", "DatabaseSettings", "Settings", "file_names", "load"]
