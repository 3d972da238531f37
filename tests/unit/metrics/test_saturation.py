"""What a process tells of its threads, its network and its disk."""

from __future__ import annotations

import threading

from prometheus_client import REGISTRY

from agentflow_common.metrics.threads import MeasuredThreads
from agentflow_common.runtime.saturation import Growth, disk_bytes, interfaces

NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
    lo: 1000       10    0    0    0     0          0         0     2000      10    0    0    0     0       0          0
  eth0: 3000000000 20    0    0    0     0          0         0       17      10    0    0    0     0       0          0
"""


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None
    return found


def test_threads_count_the_calls_that_run_and_those_that_wait() -> None:
    gate = threading.Event()
    with MeasuredThreads("counted", 2) as pool:
        calls = [pool.submit(gate.wait, 20) for _ in range(5)]
        assert value("thread_pool_calls", pool="counted", state="busy") == 2
        assert value("thread_pool_calls", pool="counted", state="waiting") == 3
        assert value("thread_pool_threads_max", pool="counted") == 2
        gate.set()
        assert all(call.result() for call in calls)
    assert value("thread_pool_calls", pool="counted", state="busy") == 0
    assert value("thread_pool_calls", pool="counted", state="waiting") == 0


def test_a_call_that_fails_or_is_cancelled_is_over() -> None:
    gate = threading.Event()
    with MeasuredThreads("broken", 1) as pool:
        failing = pool.submit(gate.wait, "not a number")
        assert isinstance(failing.exception(), TypeError)
        blocking, waiting = pool.submit(gate.wait, 20), pool.submit(gate.wait, 20)
        assert waiting.cancel()
        gate.set()
        assert blocking.result()
    assert value("thread_pool_calls", pool="broken", state="busy") == 0


def test_bytes_of_interfaces_and_disks_are_read() -> None:
    assert interfaces(NET) == {"lo": (1000, 2000), "eth0": (3_000_000_000, 17)}
    text = "rchar: 5\nwchar: 6\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n"
    assert disk_bytes(text) == {"read": 4096, "written": 8192}
    assert disk_bytes("") == {"read": 0, "written": 0}


def test_growth_counts_a_total_that_began_again_from_zero() -> None:
    growth = Growth()
    assert [growth.of(("a",), total) for total in (5, 9, 9, 2)] == [5, 4, 0, 2]
    assert growth.of(("b",), 7) == 7
