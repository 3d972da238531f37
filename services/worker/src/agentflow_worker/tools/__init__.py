"""The built-in tools. Each module says what it may reach; the worker's settings say where."""

from agentflow_worker.tools.buckets import s3_fetch, s3_put
from agentflow_worker.tools.files import file_read, file_write
from agentflow_worker.tools.folders import file_list
from agentflow_worker.tools.ledger import ledger_balance, ledger_deposit, ledger_reverse, ledger_transfer
from agentflow_worker.tools.web import http_get

__all__ = [
    "file_list",
    "file_read",
    "file_write",
    "http_get",
    "ledger_balance",
    "ledger_deposit",
    "ledger_reverse",
    "ledger_transfer",
    "s3_fetch",
    "s3_put",
]
