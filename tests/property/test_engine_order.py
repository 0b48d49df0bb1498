"""Any plan, any faults: what a run promises."""

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from engine_parts import STACK, Bench, create, requires

from stacksmith.model.report import Outcome
from stacksmith.planner.plan import Step
from stacksmith.providers.memory.fault import Call, Effect, Fault

FAULTS = (Effect.REFUSED, Effect.STALE, Effect.TIMED_OUT, Effect.GONE)


@st.composite
def plans(draw: st.DrawFn) -> list[Step]:
    """Steps in any order, each requiring some of those made before it."""
    steps: list[Step] = []
    for number in range(draw(st.integers(0, 14))):
        needs = draw(st.lists(st.sampled_from(steps), max_size=3, unique_by=lambda one: one.id)) if steps else []
        steps.append(requires(create(f"volume.v[{number}]", host=draw(st.sampled_from(("hv1", "hv2")))), *needs))
    return draw(st.permutations(steps))


@settings(max_examples=60, deadline=None)
@given(plans(), st.lists(st.tuples(st.integers(0, 13), st.sampled_from(FAULTS)), max_size=4), st.integers(1, 6))
def test_run_of_any_plan_with_any_faults_keeps_its_promises(
    steps: list[Step], faults: list[tuple[int, Effect]], parallel: int
) -> None:
    bench = Bench()
    bench.world.faults += [Fault(effect, "create", address=f"volume.v[{n}]", times=-1) for n, effect in faults]
    by_address = {str(step.address): step for step in steps}

    def meet(call: Call, point: str) -> None:
        if call.operation == "create" and point == "begin":
            done = {entry.step for entry in bench.store.journal(STACK) if entry.outcome == "done"}
            assert set(by_address[call.address].requires) <= done

    bench.world.hooks.append(meet)
    report = bench.run(*steps, parallel=parallel, parallel_per_host=2)
    assert [result.step for result in report.results] == [step.id for step in steps]
    outcome = {result.step: result.outcome for result in report.results}
    struck = {f"create volume.v[{n}]" for n, _ in faults}
    for step in steps:
        well = all(outcome[required] is Outcome.DONE for required in step.requires)
        assert (outcome[step.id] is not Outcome.SKIPPED) == well
        if well:
            assert (outcome[step.id] is Outcome.FAILED) == (step.id in struck)
    assert not any(result.kind == "internal" for result in report.results)
    assert bench.store.open_steps(STACK) == ()
    bench.world.faults.clear()
    assert bench.run(*steps).exit_status == 0
    assert len(bench.world.objects("hv1")) + len(bench.world.objects("hv2")) == len(steps)
    assert all(bench.recorded().values())
