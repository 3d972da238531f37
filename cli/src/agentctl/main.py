"""The command line: the groups of commands, the flags that all share, and how errors end."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from agentctl import failures, session
from agentctl.commands import audit, budget, dead, lane, prompt, retention, tools
from agentctl.commands.local import backup, completion, config, init, keys, logs, stack
from agentctl.commands.schedule import schedules as schedule
from agentctl.commands.trace import group as trace
from agentctl.commands.workflow import run as workflow
from agentctl.display import output
from agentctl.hints import COMMAND, Group


class _Root(Group):
    """Turns what a command raises into one clear message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(failures.INTERRUPTED) from None
        except BrokenPipeError:
            # the reader of a pipe has gone, so no message would be read
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
            raise typer.Exit(failures.FAILED) from None
        except Exception as error:
            if _is_control_flow(error):
                _plainly(error)
                raise
            if session.state.debug:
                raise
            output.report(error, session.state.source, failures.options_of(ctx.meta.get(COMMAND)))
            raise typer.Exit(failures.exit_code_of(error)) from None


def _is_control_flow(error: Exception) -> bool:
    """True for Typer's own exceptions (usage errors, Exit, Abort), which set the exit code themselves."""
    return any(cls.__module__.split(".")[0] in {"typer", "click"} for cls in type(error).__mro__)


def _plainly(error: Any) -> None:
    """Gives a usage error that pydantic found the words that every other wrong value gets."""
    found = getattr(error.__cause__, "errors", None)
    if found is not None:
        from agentflow_common.hints import plain

        error.message = plain(found()[0])


app = typer.Typer(
    name="agentctl",
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="AgentFlow on the command line: run multi-agent workflows, follow them, and look after the embedded stack.",
    epilog="Exit codes: 0 done, 1 the run failed or was cancelled, 2 bad input, 3 not reachable, 4 no access, "
    "130 interrupted.",
)


def _add_groups(*modules: Any) -> None:
    for module in modules:
        app.add_typer(module.app)


_add_groups(
    workflow, prompt, tools, trace, schedule, budget, audit, dead, keys, lane, retention, backup, config, completion
)
stack.add_to(app)
app.command()(logs.logs)
app.command()(init.init)


def _version(asked: bool) -> None:
    if asked:
        from agentctl import __version__

        sys.stdout.write(f"agentctl {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    endpoint: session.Endpoint = "",
    token: session.Token = "",
    org_id: session.OrgId = "",
    debug: session.Debug = False,
    version: Annotated[  # noqa: ARG001  (handled by its callback)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    session.reset(debug, endpoint=endpoint, token=token, org_id=org_id)


def main() -> None:
    app(prog_name="agentctl")


if __name__ == "__main__":
    main()
