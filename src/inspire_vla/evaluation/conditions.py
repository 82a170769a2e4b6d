"""Under which conditions a run was played: only under equal ones is an equal (suite, task, seed) the same episode."""

from typing import Any

from inspire_vla.evaluation.records import Run


def conditions_of(run: Run) -> dict[str, Any]:
    """Name → value, as far as run.json tells: what the benchmark says of itself, and the plan's step limit.

    Runs of before `conditions` was written have `layout_randomness` with the policy.
    """
    plan = run.info.get("plan", {})
    places = (("max_steps", plan), ("layout_randomness", plan.get("policy", {})))
    return {name: place[name] for name, place in places if name in place} | plan.get("conditions", {})


def differing(first: Run, other: Run) -> dict[str, tuple[Any, Any]]:
    """Condition → (first's, other's), where both are known and differ: their pairs are no pairs."""
    there, here = conditions_of(first), conditions_of(other)
    return {name: (there[name], here[name]) for name in there if name in here and there[name] != here[name]}
