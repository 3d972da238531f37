"""Lists over more than one page, on a whole stack: nothing is left out or doubled, whatever is added between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentflow_sdk import AsyncClient, Client, InvalidArgumentError, each, each_async
from tests.support.waiting import PATIENCE_S, until_now

pytestmark = pytest.mark.e2e

COUNT = 7
FLOW = """
name: listed
version: {version}
inputs: {{n: {{type: integer}}}}
dag:
  nodes:
    - id: ask
      type: approval
      config: {{message: go on?}}
    - id: work
      type: function
      lane: "listed-{{{{n}}}}"
      config: {{function_name: text_splitter, function_args: {{text: "a b", chunk_size: 10}}}}
      depends_on: [ask]
"""


@pytest.fixture(scope="module")
def org(platform: Any) -> str:
    key: str = platform.make_key("admin", org="lists")
    return key


@pytest.fixture(scope="module")
def lists(platform: Any, org: str) -> Iterator[Client]:
    """A client of an org that has COUNT of everything that can be listed."""
    with platform.client(org) as client:
        for version in range(1, COUNT + 1):
            client.workflows.register(FLOW.format(version=version))
        runs = [client.workflows.submit("listed", {"n": number}) for number in range(COUNT)]
        for number in range(COUNT):
            client.budgets.create("1", name=f"budget-{number}")
            client.prompts.create(f"listed-{number}", "Say {{x}}")
            client.schedules.set_calendar(f"calendar-{number}", ["2030-12-25"])
            cron = ["@at 2099-01-01T00:00:00"]
            client.schedules.create(
                {"name": f"s-{number}", "workflow": "listed", "cron": cron, "inputs": {"n": number}}
            )
        for run in runs:
            for event in client.workflows.watch(run, timeout=PATIENCE_S):
                if getattr(event, "type", "") == "step.waiting":
                    break
            client.workflows.approve(run, "ask")
            client.workflows.wait(run, timeout=120)
            client.workflows.submit("listed", {"n": 99})  # one more, whose approval stays open
        until_now(lambda: len(client.workflows.approvals()) == COUNT)
        until_now(lambda: len(client.traces.query()) == 2 * COUNT)
        yield client


def kinds(client: Any) -> dict[str, tuple[Callable[..., Any], dict[str, Any], Callable[[Any], Any]]]:
    """By list: the method, what to ask for, and what tells its items apart."""
    return {
        "runs": (client.workflows.list, {}, lambda run: run.run_id),
        "approvals": (client.workflows.approvals, {}, lambda item: (item.run_id, item.step)),
        "versions": (client.workflows.versions, {"workflow": "listed"}, lambda item: item.version),
        "prompts": (client.prompts.list, {}, lambda item: item.name),
        "budgets": (client.budgets.list, {}, lambda item: item.name),
        "traces": (client.traces.query, {}, lambda item: item.run_id),
        "schedules": (client.schedules.list, {}, lambda item: item.name),
        "calendars": (client.schedules.calendars, {}, lambda item: item.name),
        "lanes": (client.lanes.list, {}, lambda item: item.name),
        "tools": (client.tools.list, {}, lambda item: (item.kind, item.name)),
    }


NAMES = ("runs", "approvals", "versions", "prompts", "budgets", "traces", "schedules", "calendars", "lanes", "tools")


@pytest.mark.parametrize("name", NAMES)
def test_engine_17_pages_together_are_the_whole_list(lists: Client, name: str) -> None:
    method, asked, key = kinds(lists)[name]
    whole = [key(item) for item in method(**asked, limit=1000)]
    assert len(whole) >= COUNT and not method(**asked, limit=1000).next_page_token
    for size in (1, 3, len(whole) - 1, len(whole)):
        pages = [list(page) for page in _pages(method, asked, size)]
        found = [key(item) for page in pages for item in page]
        assert len(found) == len(set(found)) and set(found) == set(whole), (name, size)
        assert all(len(page) <= size for page in pages)
        if name != "lanes":  # by name within a page: pools, then keyed lanes
            assert found == whole
    assert [key(item) for item in each(method, **asked, limit=2)] == [
        key(item) for page in _pages(method, asked, 2) for item in page
    ]


def _pages(method: Callable[..., Any], asked: dict[str, Any], size: int) -> Iterator[Any]:
    token = ""
    while True:
        page = method(**asked, limit=size, page_token=token)
        yield page
        token = page.next_page_token
        if not token:
            return


@pytest.mark.parametrize("name", NAMES)
def test_engine_17_a_token_is_opaque_and_of_one_list(lists: Client, name: str) -> None:
    method, asked, _ = kinds(lists)[name]
    other = "budgets" if name != "budgets" else "calendars"
    foreign, _, _ = kinds(lists)[other]
    for token in ("x", "!", "WzFd", foreign(limit=2).next_page_token):
        with pytest.raises(InvalidArgumentError, match="page token"):
            method(**asked, limit=2, page_token=token)
    for size in (-1, 1001):
        with pytest.raises(InvalidArgumentError, match="page_size"):
            method(**asked, limit=size)


def test_engine_17_a_token_belongs_to_its_filters(lists: Client) -> None:
    for method, one, two in (
        (lists.prompts.list, {}, {"prefix": "listed"}),
        (lists.traces.query, {}, {"workflow": "listed"}),
        (lists.tools.list, {}, {"kind": "tool"}),
    ):
        call: Any = method
        token = call(limit=2, **one).next_page_token
        with pytest.raises(InvalidArgumentError, match="other filters"):
            call(limit=2, page_token=token, **two)


def test_engine_17_what_is_added_between_two_pages_moves_nothing(lists: Client) -> None:
    first = lists.budgets.list(limit=3)
    assert [item.name for item in first] == ["budget-0", "budget-1", "budget-2"]
    lists.budgets.create("1", name="a-new-one")
    lists.budgets.delete("budget-2")
    rest = lists.budgets.list(limit=1000, page_token=first.next_page_token)
    assert [item.name for item in rest] == [f"budget-{number}" for number in range(3, COUNT)]
    newest = lists.traces.query(limit=2)
    known = len(list(each(lists.traces.query)))
    lists.workflows.submit("listed", {"n": 100})
    until_now(lambda: len(list(each(lists.traces.query))) == known + 1)
    older = lists.traces.query(limit=1000, page_token=newest.next_page_token)
    assert not {item.run_id for item in newest} & {item.run_id for item in older}


def test_engine_17_the_async_client_and_the_command_line_go_on_too(platform: Any, org: str, lists: Client) -> None:
    async def names() -> list[str]:
        async with AsyncClient(platform.stack.grpc, org) as client:
            return [item.name async for item in each_async(client.prompts.list, "listed-", limit=2)]

    assert asyncio.run(names()) == [f"listed-{number}" for number in range(COUNT)]
    cut = platform.cli("prompt", "list", "--prefix", "listed-", "--limit", "3", "-o", "json", token=org)
    assert "listed-2" in cut.stdout and "listed-3" not in cut.stdout
    assert "more: --page-token " in cut.stderr, cut.stderr
    token = cut.stderr.split("--page-token ")[1].split()[0]
    rest = platform.cli("prompt", "list", "--prefix", "listed-", "--page-token", token, "-o", "json", token=org)
    assert "listed-2" not in rest.stdout and f"listed-{COUNT - 1}" in rest.stdout and "more:" not in rest.stderr
    whole = platform.cli("trace", "query", "--limit", "1", "--all", "-o", "json", token=org)
    assert (
        whole.stdout.count('"run_id"') == len(list(each(lists.traces.query, limit=3))) and "more:" not in whole.stderr
    )


def test_usage_08_a_budget_on_a_workflow_that_is_not_there_is_refused(platform: Any, org: str, lists: Client) -> None:
    for scope, hint in (("workflow:lisetd", "did you mean 'listed'"), ("workflow:zzz", "--allow-unknown")):
        with pytest.raises(InvalidArgumentError, match="was registered or submitted") as caught:
            lists.budgets.create("1", name="typo", scope=scope)
        assert hint in caught.value.problems[0].fix
    assert lists.budgets.create("1", name="known", scope="workflow:listed").scope == "workflow:listed"
    made = platform.cli(
        "budget", "create", "--limit", "1", "--name", "later", "--scope", "workflow:zzz", "--allow-unknown", token=org
    )
    assert made.returncode == 0 and "takes effect once there is a workflow zzz" in made.stderr, made.stderr


def test_usage_08_a_setting_for_a_lane_that_nothing_uses_says_so(platform: Any) -> None:
    key = platform.make_key("admin,operator", org="lanes")
    made = platform.cli("lane", "set", "misspelt-lane", "--limit", "3", token=key)
    assert made.returncode == 0 and "nothing uses misspelt-lane yet" in made.stderr, made
    made = platform.cli("lane", "set", "misspelt-lane", "--limit", "0", token=key)
    assert made.returncode == 0, made
