"""The kinds of causes: a stable name, the meaning, the rule of the confidence, and what to do. Pure.

docs/explain.md has the table. A kind never changes its meaning. A sentence of a cause says what is particular; the
advice here holds for each cause of the kind.
"""

from __future__ import annotations

from typing import Final, NamedTuple

STATED: Final = "The log states it."
SHARE: Final = "The part of the time limit that it took."


class Kind(NamedTuple):
    meaning: str
    rule: str  # how sure it is
    fix: str


KINDS: Final[dict[str, Kind]] = {
    # --- the work of a step ---
    "tool_error": Kind(
        "A tool or a function raised an error of its own.", STATED, "Correct the tool, or the input that it got."
    ),
    "http_error": Kind(
        "A host that a tool asked refused, failed or did not answer.",
        STATED,
        "Look at the host; for passing errors allow more attempts or a longer backoff.",
    ),
    "bad_arguments": Kind(
        "The arguments do not fit the tool.", STATED, "Correct the node's arguments, or the step that they come from."
    ),
    "bad_output": Kind(
        "A tool returned something that the log can't keep, or that is too large.",
        STATED,
        "Return JSON below the limit of a step's output.",
    ),
    "missing_tool": Kind(
        "No worker that took the step has the tool or function.",
        STATED,
        "Register it in the workers of this pool, or correct its name.",
    ),
    "not_configured": Kind(
        "A part that the step needs is switched off or has no credentials.", STATED, "Set what the message names."
    ),
    "undecidable": Kind(
        "A condition, a template or a reference can't be computed from the values that are there.",
        STATED,
        "Correct the expression; `or`, `default(...)` and `has(...)` help with missing values.",
    ),
    "invalid_state": Kind(
        "A value does not fit the schema or the reducer of a graph's state.",
        STATED,
        "Correct the step that the message names, or the schema.",
    ),
    "step_too_slow": Kind(
        "A worker ran the step, and the time limit came first.",
        "The part of the time limit for which the log shows the step at work.",
        "Make the step quicker, or raise the limit.",
    ),
    # --- models ---
    "provider_outage": Kind(
        "The providers of models that were asked were overloaded, limited, slow or away.",
        "The log states it; lower if other errors came in earlier attempts.",
        "Wait and retry the run; add a provider to fall back to, or more attempts with a longer backoff.",
    ),
    "provider_refused": Kind(
        "A provider refused the key, the account, the model or the request.",
        STATED,
        "Correct the provider's key, the account's credit or the model's name.",
    ),
    "content_refused": Kind(
        "A provider refused the content of the prompt.", STATED, "Change the prompt, the inputs or the model."
    ),
    "bad_answer": Kind(
        "A model's answer was empty, cut off, or not the JSON that was asked for.",
        STATED,
        "Change the prompt or the model; for an answer that was cut off raise `max_output_tokens`.",
    ),
    "prompt_too_long": Kind(
        "The prompt is longer than the model reads.", STATED, "Shorten the inputs, split them, or take another model."
    ),
    "prompt_error": Kind(
        "The prompt can't be rendered from the inputs.", STATED, "Correct the prompt's template or the node's inputs."
    ),
    "no_model": Kind(
        "No model was offered: none has a price, a key or the wanted quality.",
        STATED,
        "Set a provider's key, give the model a price, or choose another quality.",
    ),
    "budget_exhausted": Kind(
        "A model call did not fit into what was left of a budget.",
        STATED,
        "Raise the budget, or make the steps that spent it cheaper: `agentctl trace explain RUN --cost`.",
    ),
    "policy_block": Kind(
        "The security service did not let a text pass.",
        "The log states it, and the audit log names the same step.",
        "Change the text, or the policy: `agentctl audit list --run RUN`.",
    ),
    # --- workers ---
    "worker_lost": Kind(
        "Every worker that took the attempt ended while it ran.",
        STATED,
        "Look for crashes and memory limits in the workers' logs.",
    ),
    "outcome_unknown": Kind(
        "A worker vanished in the middle of a step that must not silently run twice.",
        STATED,
        "Find out whether it took effect, then resolve or fork the run. `on_unknown: ask` lets a person decide.",
    ),
    "worker_silent": Kind(
        "A worker that ran the step sent no heartbeat any more.",
        STATED,
        "Look whether the worker was alive; call `context.heartbeat()` more often, or raise `heartbeat_ms`.",
    ),
    "no_worker": Kind(
        "No worker began the step in time.",
        "The part of the time limit for which the log shows no start.",
        "Start more workers of the pool (WORKER_LANES), or resume the pool if it is paused.",
    ),
    # --- lanes and locks ---
    "lane_full": Kind(
        "More attempts wait for a keyed lane than it may hold.",
        STATED,
        "Raise the lane's limit, or submit fewer runs at a time.",
    ),
    "lane_wait": Kind(
        "The step, or the run, waited for a slot of a lane.",
        SHARE,
        "Raise the lane's limit, or look who has its slots: `agentctl lane get LANE`.",
    ),
    "lock_wait": Kind(
        "The run waited for a lock that another run had.",
        SHARE,
        "Put fewer nodes under the lock, or use a finer key.",
    ),
    "run_lane_policy": Kind(
        "The policy of a full run lane ended the run.", STATED, "Submit it later, or choose the policy `queue`."
    ),
    # --- people and time ---
    "approval_rejected": Kind("A person rejected an approval.", STATED, "Look at the comment of the person."),
    "approval_missing": Kind(
        "An approval was not given in time, or is not given yet.",
        "The log states it; of a deadline, " + SHARE[0].lower() + SHARE[1:],
        "Ask the approvers, wait longer, or escalate earlier.",
    ),
    "signal_missing": Kind(
        "A signal did not come in time, or has not come yet.",
        "The log states it; of a deadline, " + SHARE[0].lower() + SHARE[1:],
        "Look at the sender; send the signal earlier, or wait longer.",
    ),
    "timer_wait": Kind("A `wait` node, or a pause between iterations, took the time.", SHARE, "Wait shorter."),
    "pause": Kind(
        "The run, its workflow or its lane was paused.",
        SHARE,
        "Resume it; a deadline goes on during a pause, so give the run a longer one.",
    ),
    "breakpoint": Kind("The run is stopped before a breakpoint.", STATED, "`agentctl workflow continue RUN`."),
    "deadline_too_short": Kind(
        "The run did not end within its deadline, and no single wait or step took the time.",
        "Low: the time is spread over many steps.",
        "Give the run a longer deadline, or make its steps quicker: `agentctl trace explain RUN --slow`.",
    ),
    "finally_too_slow": Kind(
        "The nodes with `finally: true` took longer than `finally_ms`.",
        STATED,
        "Raise `finally_ms`, or give the slow node a `timeout_ms` and `on_failure: continue`.",
    ),
    "cancelled_by_person": Kind(
        "A person or a program cancelled the run.", STATED, "Ask who cancelled it; retry the run if it was a mistake."
    ),
    # --- loops and ends ---
    "loop_exhausted": Kind(
        "A loop or a graph reached its bound of iterations.",
        STATED,
        "Raise the bound, or correct the condition that ends it.",
    ),
    "idle_chain": Kind(
        "Many runs in a row continued as new ones and did nothing.",
        STATED,
        "Correct the condition of the `continue_as_new` node.",
    ),
    "ended_by_author": Kind(
        "The run came to an `end` node that ends it so.", STATED, "Look at the message of the workflow's author."
    ),
    # --- trees of runs ---
    "parent_ended": Kind("The run was cancelled because its parent ended.", STATED, "Look at the parent's run."),
    "child_lost": Kind("The log no longer holds a subworkflow's run.", STATED, "Run the parent again."),
    "child_failed": Kind("A subworkflow did not complete.", STATED, "Look at the subworkflow's run."),
    # --- the platform ---
    "compensation_failed": Kind(
        "What a step did could not be undone.",
        "0.3: it follows a failure and is not its cause.",
        "Undo it by hand, and correct the compensation.",
    ),
    "tolerated": Kind(
        "A step failed or a model fell back, and the run went on.",
        "0.3: the run went on.",
        "Nothing, unless it happens often.",
    ),
    "engine_error": Kind("The engine itself failed at this step.", STATED, "Search the scheduler's log and report it."),
    "platform_away": Kind(
        "A part of the platform could not be reached.", STATED, "Look at its health; then retry the run."
    ),
    "scheduler_away": Kind("No scheduler decides anything for the run.", STATED, "Start a scheduler."),
    "running": Kind("A step is at work.", STATED, "Wait, or look at the step's log."),
    "unknown": Kind("The log has no error for it.", "Low.", "Search the worker's log."),
}
# Links that lead to a cause and are not one themselves.
LINKS: Final[dict[str, str]] = {
    "run_failed": "The run failed.",
    "run_cancelled": "The run was cancelled.",
    "run_open": "The run has not ended.",
    "run_completed": "The run completed.",
    "step_failed": "A step failed for good.",
    "item_failed": "An item of a map or of a parallel step failed.",
    "iteration_failed": "An iteration of a loop failed.",
    "total_timeout": "A step's `total_timeout_ms` was over.",
    "timeout": "An attempt's `timeout_ms` was over.",
    "deadline": "The run's deadline was over.",
    "retrying": "A failed step waits for its next attempt.",
    "undecidable_input": "An expression read the output of a step that has none.",
}

_OUTAGE: Final = ("rate_limited", "overloaded", "server_error", "timeout", "connection", "stream_broken")
# By the type of a step's error. `http_*` and others see `of_error`.
_TYPES: Final[dict[str, str]] = {
    **dict.fromkeys(("rate_limited", "overloaded", "server_error", "connection", "stream_broken"), "provider_outage"),
    **dict.fromkeys(("auth", "quota", "not_found", "bad_request"), "provider_refused"),
    "content_filter": "content_refused",
    **dict.fromkeys(("malformed_answer", "empty_answer", "truncated"), "bad_answer"),
    "context_length": "prompt_too_long",
    **dict.fromkeys(("missing_prompt", "prompt_inputs", "prompt_render"), "prompt_error"),
    **dict.fromkeys(("no_candidate", "unknown_price_error", "provider_unavailable"), "no_model"),
    "budget_exceeded_error": "budget_exhausted",
    "blocked_error": "policy_block",
    "worker_lost": "worker_lost",
    "outcome_unknown": "outcome_unknown",
    "heartbeat_timeout": "worker_silent",
    "undecidable": "undecidable",
    "invalid_state": "invalid_state",
    "rejected": "approval_rejected",
    "approval_expired": "approval_missing",
    "signal_timeout": "signal_missing",
    **dict.fromkeys(("max_iterations", "max_supersteps"), "loop_exhausted"),
    "lane_full": "lane_full",
    **dict.fromkeys(("skipped", "newest_cancelled", "superseded"), "run_lane_policy"),
    "idle_chain": "idle_chain",
    "finally_timeout": "finally_too_slow",
    "engine_error": "engine_error",
    "child_lost": "child_lost",
    **dict.fromkeys(("child_failed", "child_cancelled"), "child_failed"),
    **dict.fromkeys(("invalid_arguments", "invalid_argument"), "bad_arguments"),
    **dict.fromkeys(
        ("result_not_json", "reserved_key", "payload_too_large", "too_large", "too_deep", "too_many_findings"),
        "bad_output",
    ),
    **dict.fromkeys(("unknown_function", "unknown_tool", "load_failed"), "missing_tool"),
    **dict.fromkeys(
        (
            "files_not_configured",
            "bucket_not_configured",
            "s3_not_configured",
            "ledger_not_configured",
            "database_not_configured",
            "s3_unauthenticated",
        ),
        "not_configured",
    ),
    **dict.fromkeys(
        (
            "service_unavailable",
            "rpc_timeout",
            "log_unavailable",
            "log_full",
            "database_unavailable",
            "backend_timeout",
            "vault_unavailable",
            "audit_unavailable",
            "blobs_unavailable",
            "blob_missing",
            "blob_corrupt",
        ),
        "platform_away",
    ),
    "unknown": "unknown",
}
_HTTP: Final = ("http_", "too_many_redirects", "url_invalid", "address_refused")
_OF_MODELS: Final = frozenset({*_OUTAGE, "auth", "quota", "not_found", "bad_request"})


def of_error(error_type: str, *, by_model: bool) -> str:
    """Returns the kind of cause for the type of an error. by_model: a model was asked in the attempt.

    A tool may raise any type of its own, so the providers' types count only if a model was asked.
    """
    if error_type.startswith(_HTTP):
        return "http_error"
    if error_type in _OF_MODELS and not by_model:
        return "step_too_slow" if error_type == "timeout" else "tool_error"
    if error_type in _OUTAGE:
        return "provider_outage"
    return _TYPES.get(error_type, "tool_error")
