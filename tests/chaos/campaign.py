"""Runs chaos plans against a cluster and judges what is left. Owns the comparison with the undisturbed results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from holdfast.errors import HoldfastError, LostRace, NotPossible, Unavailable
from holdfast.sdk import Operation
from tests.chaos.faults import Faults
from tests.chaos.ground import ORPHAN_TIMEOUT, STALLED_AFTER, Ground
from tests.chaos.plan import WORKLOADS, Plan, draw
from tests.chaos.work import Work
from tests.support.cluster import Member
from tests.support.workloads import Outcome, outcome_of

STUCK = 120.0  # seconds without reaching COMPLETED


@dataclass
class Verdict:
    """What a campaign found."""

    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    restarts: int = 0
    commands: int = 0
    problems: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One paragraph for a person."""
        kinds = Counter(problem.partition(":")[0] for problem in self.problems)
        counts = ", ".join(f"{kinds.get(kind, 0)} {kind}" for kind in ("stuck", "lost", "duplicated", "different"))
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.runs} runs, {sum(self.faults.values())} faults ({faults}); {self.resumes} resumes, "
            f"{self.restarts} started over because nothing was saved yet, {self.commands} calls of the command line: "
            f"{counts}."
        )


class Campaign:
    """Runs plans one after the other on one cluster."""

    def __init__(self, ground: Ground, kinds: Sequence[str] = ()) -> None:
        self._kinds = kinds or ground.kinds
        self._cluster = ground.cluster
        self._store = ground.cluster.environment.get("HOLDFAST_STORE_URL") or str(ground.cluster.home / "store")
        self._faults = Faults(ground.cluster, ground.proxies, ground.disks, ORPHAN_TIMEOUT, STALLED_AFTER)
        self._work = Work(ground.cluster)
        self.references: dict[str, Outcome] = {}
        self.verdict = Verdict()

    def prepare(self) -> None:
        """Does every workload undisturbed, twice: the reference must itself be reproducible."""
        self._work.train_model()
        for workload in WORKLOADS:
            outcomes = []
            for by_command in (False, True):
                operation = self._work.start(workload, 1, by_command=by_command)
                self._cluster.await_status(operation, "COMPLETED", "FAILED")
                outcomes.append(outcome_of(operation, self._store))
            assert outcomes[0] == outcomes[1], f"{workload} is not reproducible even undisturbed"
            self.references[workload] = outcomes[0]

    def run(self, seed: int, runs: int) -> Verdict:
        """Runs the plans of a seed, printing one line per fault."""
        for plan in draw(seed, runs, self._kinds):
            self._run_one(plan)
        self._check_nothing_left()
        self.verdict.commands = self._work.commands
        return self.verdict

    def _start(self, plan: Plan) -> Operation:
        return self._work.start(plan.workload, plan.max_attempts, by_command=plan.by_command)

    def _run_one(self, plan: Plan) -> None:
        began = time.monotonic()
        operation = self._start(plan)
        label = f"run {plan.number:3d} {plan.workload:<8}"
        self.verdict.runs += 1
        for fault in plan.faults:
            operation = self._await_fraction(operation, fault.at, plan)
            if operation.done and operation.status == "COMPLETED":
                print(f"{label} {fault.kind}: came too late, it had completed", flush=True)
                continue
            where = f"{operation.progress.unit_name or 'unit'} {operation.progress.unit}"
            hit = self._faults.do(fault, operation)
            self.verdict.faults[fault.kind] += 1
            print(f"{label} {fault.kind} at {where} ({hit})", flush=True)
            self._check_everybody_lives(plan, fault.kind)
        operation = self._drive(operation, 2.0, plan)
        self._check_everybody_lives(plan, "after its faults")
        if operation.status != "COMPLETED":
            self._problem("stuck", plan, operation, f"{operation.status} after {STUCK:g} s")
            return
        self._judge(operation, plan)
        print(
            f"{label} completed in attempt {operation.attempt}, {time.monotonic() - began:.1f} s, digests equal"
            if not self._has_problem(plan)
            else f"{label} PROBLEM: {self.verdict.problems[-1]}",
            flush=True,
        )

    def _check_everybody_lives(self, plan: Plan, kind: str) -> None:
        """No fault may end a process that it did not end itself; what died is started again, for the runs to come."""
        for complaint in self._faults.complaints:
            self.verdict.problems.append(f"{complaint} (run {plan.number} {kind})")
        self._faults.complaints.clear()
        for member in self._cluster.members.values():
            if not member.alive:
                self.verdict.problems.append(
                    f"stuck: run {plan.number} ({kind}): {member.name} ended with exit code {member.wait()}: "
                    f"{_last_words(member)}"
                )
                member.start()

    def _await_fraction(self, operation: Operation, fraction: float, plan: Plan) -> Operation:
        return self._drive(operation, fraction, plan)

    def _drive(self, operation: Operation, fraction: float, plan: Plan) -> Operation:
        """Follows the operation until `fraction` of its progress or its completion, resuming it when it has ended."""
        deadline = time.monotonic() + STUCK
        while time.monotonic() < deadline:
            try:
                operation.refresh()
                if operation.status == "COMPLETED":
                    return operation
                progress = operation.progress
                if operation.status == "RUNNING" and progress.total_units:
                    if progress.unit / progress.total_units >= fraction:
                        return operation
                elif operation.done:
                    operation = self._resume(operation, plan)
            except Unavailable:
                # The coordinator or the database is unavailable: a fault's work, and over soon.
                self._check_everybody_lives(plan, "after its faults")
            time.sleep(0.02)
        return operation

    def _resume(self, operation: Operation, plan: Plan) -> Operation:
        if plan.max_attempts > 1 and operation.status == "FAILED" and operation.attempt < plan.max_attempts:
            automatic = operation.resumable and operation.message.failure.reason != "CRASH_LOOP"
            if automatic and time.time() - operation.message.end_time.ToSeconds() < 15:
                return operation  # the coordinator does it by itself, soon
        if not operation.resumable:
            if operation.checkpoint is not None:
                self._problem("lost", plan, operation, "it has a checkpoint and is not resumable")
            self.verdict.restarts += 1
            return self._start(plan)
        try:
            self._work.resume(operation, by_command=plan.by_command)
            self.verdict.resumes += 1
        except (LostRace, NotPossible):
            pass  # it was resumed automatically, or a worker that was believed dead took it up again, meanwhile
        return operation

    def _judge(self, operation: Operation, plan: Plan) -> None:
        try:
            outcome = outcome_of(operation, self._store)
        except HoldfastError as error:
            self._problem("lost", plan, operation, error.message)
            return
        if outcome != self.references[plan.workload]:
            files = [
                name
                for name, digest in self.references[plan.workload].digests.items()
                if outcome.digests.get(name) != digest
            ]
            self._problem("different", plan, operation, f"{', '.join(files)} differ from the undisturbed run's")
        events = self._cluster.client.events(operation.id)
        if [event.sequence for event in events] != list(range(1, len(events) + 1)):
            self._problem("lost", plan, operation, "the events have gaps")
        if [event.type for event in events].count("COMPLETED") != 1:
            self._problem("duplicated", plan, operation, "COMPLETED is not there exactly once")
        attempts = [event.attempt for event in events]
        if attempts != sorted(attempts):
            self._problem("duplicated", plan, operation, "an older attempt spoke after a newer one")

    def _check_nothing_left(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            left = {name: pids for name in self._cluster.worker_names if (pids := self._cluster.run_pids(name))}
            unfinished = [
                operation.id
                for operation in self._cluster.client.operations()
                if not operation.done and operation.status != "COMPLETED"
            ]
            if not left and not unfinished:
                return
            time.sleep(0.1)
        self.verdict.problems.append(f"stuck: runs {left} and operations {unfinished} are left at the end")

    def _problem(self, kind: str, plan: Plan, operation: Operation, what: str) -> None:
        self.verdict.problems.append(f"{kind}: run {plan.number} ({plan.workload}, {operation.id}): {what}")

    def _has_problem(self, plan: Plan) -> bool:
        return any(f"run {plan.number} " in problem for problem in self.verdict.problems)


def _last_words(member: Member) -> str:
    """The last line of its log that is more than a traceback's frame."""
    lines = [line.strip(" |+-") for line in member.tail().splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("HINT")), "it said nothing")
