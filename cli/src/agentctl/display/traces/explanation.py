"""How an explanation of a run looks: the chain of causes with the evidence, what to do, the time and the money."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from agentctl.display.output import clean, duration, money, table

if TYPE_CHECKING:
    from agentflow_sdk import Cause, CauseLink, CostReport, Evidence, TimeReport, TraceExplanation, Usual

PARTS_MAX: Final = 15  # of the time, and of the cost, that are listed
OTHERS_MAX: Final = 4  # further causes that are listed
BAR_COLUMNS: Final = 20
TEXT_COLUMNS: Final = 120  # of an event's text; the link above it mostly says the same


def parts(item: TraceExplanation) -> Iterable[Any]:
    """Yields what is printed, one after the other."""
    from rich.text import Text

    yield Text(clean(item.summary), style="bold")
    if item.causes:
        yield ""
        yield _chain(item.causes[0], item.run_id)
        others = item.causes[1 : OTHERS_MAX + 1]
        if others:
            yield ""
            yield _others(others)
    if item.slow is not None:
        yield ""
        yield from _time(item.slow)
    if item.cost is not None:
        yield ""
        yield from _cost(item.cost)


def cause_line(item: TraceExplanation) -> str:
    """Returns the first cause in one line; empty if there is none."""
    return f"{item.causes[0].text} ({item.causes[0].kind})" if item.causes else ""


def _chain(cause: Cause, run_id: str) -> Any:
    from rich.text import Text
    from rich.tree import Tree

    tree = here = None
    for link in cause.chain:
        label = Text(clean(_label(link, run_id)), style="red" if link is cause.chain[-1] else "")
        here = Tree(label) if here is None else here.add(label)
        tree = tree or here
        for item in link.evidence:
            here.add(Text(clean(_evidence(item)), style="dim"))
    assert here is not None  # noqa: S101 - a chain has at least its own cause
    here.add(Text(f"what to do: {clean(cause.fix)}", style="green"))
    here.add(Text(f"kind: {cause.kind}, confidence: {cause.confidence:.0%}", style="dim"))
    return tree


def _label(link: CauseLink, run_id: str) -> str:
    return f"{link.text} [{link.run_id}]" if link.run_id not in ("", run_id) else link.text


def _evidence(item: Evidence) -> str:
    place = f"{item.step} " if item.step else ""
    attempt = f"attempt {item.attempt} " if item.attempt > 1 else ""
    stream = f"{item.stream} " if item.stream != "AF_EVENTS" else ""
    text = item.text if len(item.text) <= TEXT_COLUMNS else item.text[: TEXT_COLUMNS - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return f"{stream}#{item.sequence} {item.type} {place}{attempt}{text}".rstrip()


def _others(causes: Iterable[Cause]) -> Any:
    rows = [(cause.kind, f"{cause.confidence:.0%}", cause.text, cause.fix) for cause in causes]
    return table(("ALSO", "SURE", "WHAT", "WHAT TO DO"), rows, right=("SURE",))


def _against(usual: Usual, show: Any) -> str:
    """Returns how a measure stands against earlier runs."""
    if not usual.samples or not (usual.median or usual.p95):
        return ""
    mark = "unusual, " if usual.unusual else ""
    return f"{mark}median {show(usual.median)}, p95 {show(usual.p95)} of {usual.samples}"


def _bar(share: float) -> str:
    return "\N{FULL BLOCK}" * max(1 if share > 0 else 0, round(share * BAR_COLUMNS))


def _time(report: TimeReport) -> Iterable[Any]:
    from rich.text import Text

    yield Text(clean(report.text))
    rows = [
        (part.kind, part.step or "(the run)", duration(part.ms), f"{part.share:.0%}", _bar(part.share),
         _against(part.usual, duration))
        for part in report.parts[:PARTS_MAX]
    ]  # fmt: skip
    yield table(("TIME FOR", "STEP", "TIME", "SHARE", "", "USUAL"), rows, right=("TIME", "SHARE"))


def _cost(report: CostReport) -> Iterable[Any]:
    from rich.text import Text

    yield Text(clean(report.text))
    rows = [
        (step.step, money(step.cost_nano_usd), f"{step.share:.0%}", _bar(step.share), ", ".join(step.models), step.text,
         _against(step.usual, lambda nano: money(round(nano))))
        for step in report.steps[:PARTS_MAX]
    ]  # fmt: skip
    if not rows:
        return
    yield table(
        ("STEP", "COST", "SHARE", "", "MODELS", "WHY", "USUAL"), rows, right=("COST", "SHARE"), less=("MODELS",)
    )
    if len(report.models) > 1:
        models = [(model.model, money(model.cost_nano_usd), f"{model.share:.0%}", model.calls, model.failed)
                  for model in report.models]  # fmt: skip
        yield table(("MODEL", "COST", "SHARE", "CALLS", "FAILED"), models, right=("COST", "SHARE", "CALLS", "FAILED"))
