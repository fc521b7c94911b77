"""What is old goes, in its own time, and nothing goes that something still refers to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from conftest import MakeNode
from fogpanel import audit, retention
from fogpanel.models import Event
from fogpanel.parameters import changing, store
from tasks import batches, presenting
from tasks import retention as forgetting
from tasks.blobs import store_blob
from tasks.models import Attempt, Blob, BlobChunk, Decision, Explanation, LogChunk, Task
from tasks.specification import validate
from tasks.states import TaskState
from tasks.tests.conftest import MakeTask

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
MakeEnded = Callable[..., Task]


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def make_ended(make_task: MakeTask, make_node: MakeNode, now: datetime) -> MakeEnded:
    """``make_ended(days_ago, state, **fields)``: a task that ran, was explained and printed a line."""
    node = make_node()

    def make(days_ago: float, state: str = "succeeded", **fields: object) -> Task:
        at = now - days_ago * DAY
        task = make_task(**fields)
        attempt = Attempt.objects.create(
            task=task, node=node, number=1, ended_at=at, outcome=state, usage={"stdout_bytes": 6}
        )
        why = Explanation.objects.create(rows=[], shape="s", fleet_version=1, created_at=at)
        Decision.objects.create(
            task=task, attempt=attempt, strategy=task.strategy, chosen=node, considered=1, eligible=1,
            explanation=why, decided_at=at, took_us=1,
        )  # fmt: skip
        LogChunk.objects.create(attempt=attempt, stream="stdout", offset=0, content=b"hello\n")
        Task.objects.filter(id=task.id).update(state=state, finished_at=at, accepted_attempt=attempt)
        task.refresh_from_db()
        return task

    return make


class TestTasks:
    def test_old_ones_go_with_all_that_hangs_on_them(self, make_ended: MakeEnded, now: datetime) -> None:
        make_ended(settings.KEEP_TASKS_DAYS + 1)
        young = make_ended(settings.KEEP_TASKS_DAYS - 1)
        assert forgetting.forget_tasks(now) == 1
        assert [task.id for task in Task.objects.all()] == [young.id]
        for model in (Attempt, Decision):
            assert set(model.objects.values_list("task_id", flat=True)) == {young.id}
        assert LogChunk.objects.count() == 1
        assert forgetting.forget_tasks(now) == 0

    def test_what_is_not_over_stays_however_old(self, make_task: MakeTask, now: datetime) -> None:
        task = make_task()
        Task.objects.filter(id=task.id).update(created_at=now - 1000 * DAY)
        assert forgetting.forget_tasks(now) == 0

    def test_canaries_are_left_to_their_probe(self, make_ended: MakeEnded, now: datetime) -> None:
        Task.objects.filter(id=make_ended(1000).id).update(canary=True)
        assert forgetting.forget_tasks(now) == 0

    def test_more_than_a_batch(
        self, make_ended: MakeEnded, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(forgetting, "BATCH", 2)
        for _ in range(5):
            make_ended(1000)
        assert forgetting.forget_tasks(now) == 5
        assert not Task.objects.exists()

    def test_routine_events_go_with_their_task_and_what_people_did_stays(
        self, make_ended: MakeEnded, now: datetime
    ) -> None:
        task = make_ended(1000)
        audit.record("task.cancelled", "ada cancelled it", subject=task)
        assert set(Event.objects.values_list("kind", flat=True)) == {"task.submitted", "task.cancelled"}
        forgetting.forget_tasks(now)
        assert list(Event.objects.values_list("kind", flat=True)) == ["task.cancelled"]


class TestBlobs:
    def test_a_blob_goes_with_the_last_task_that_refers_to_it(
        self, make_ended: MakeEnded, now: datetime
    ) -> None:
        old = make_ended(1000, source="print(1)", stdin="only here")
        make_ended(0, source="print(1)")
        assert old.stdin_id
        forgetting.forget_tasks(now)
        assert list(Blob.objects.values_list("sha256", flat=True)) == [old.payload_id]
        assert not BlobChunk.objects.exclude(blob_id=old.payload_id).exists()

    def test_what_a_batch_names_whose_tasks_are_no_rows_yet_stays(
        self, make_ended: MakeEnded, submitter: User, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "STRETCH", 1)
        old = make_ended(1000, source="print(1)", stdin="of a later task as well")
        specs = [
            validate({"driver": "python", "source": f"print({n})", "stdin": stdin})
            for n, stdin in enumerate(("first", "of a later task as well"))
        ]
        batch, rest = batches.store_batch(submitter, "two", specs)
        forgetting.forget_tasks(now)
        batches.unpack(batch.id, rest)
        second = Task.objects.get(batch=batch, batch_index=1)
        assert (second.payload_id, second.stdin_id) == (old.payload_id, old.stdin_id)
        connection.check_constraints()

    def test_every_model_that_points_to_blobs_is_asked(self, make_task: MakeTask) -> None:
        task = make_task(source="print(2)", stdin="input")
        alone = store_blob(b"nobody refers to this")
        assert list(forgetting.unreferenced(Blob.objects.all())) == [alone]
        Task.objects.filter(id=task.id).update(stdin=None)
        assert len(forgetting.unreferenced(Blob.objects.all())) == 2


class TestDetails:
    def test_output_of_what_succeeded_goes_first(self, make_ended: MakeEnded, now: datetime) -> None:
        after = settings.KEEP_OUTPUT_DAYS + 1
        succeeded, failed = make_ended(after), make_ended(after, TaskState.FAILED)
        young = make_ended(settings.KEEP_OUTPUT_DAYS - 1)
        assert forgetting.forget_output(now, None) == 1
        kept = set(LogChunk.objects.values_list("attempt__task_id", flat=True))
        assert kept == {failed.id, young.id}
        assert presenting.result_of(succeeded)["output_gone"]
        assert not presenting.result_of(young)["output_gone"]

    def test_a_run_looks_at_what_came_of_age_since_the_one_before(
        self, make_ended: MakeEnded, now: datetime
    ) -> None:
        make_ended(settings.KEEP_OUTPUT_DAYS + 1)
        assert forgetting.forget_output(now, now - DAY / 2) == 0
        assert forgetting.forget_output(now, now - 2 * DAY) == 1

    def test_a_run_after_the_time_was_shortened_looks_at_all(
        self, make_ended: MakeEnded, now: datetime
    ) -> None:
        make_ended(settings.KEEP_OUTPUT_DAYS - 2)
        assert forgetting.forget_output(now, now - DAY / 2) == 0
        changing.change({"keep_output_days": 1}, None, now)
        store.copy.forget()
        assert forgetting.forget_output(now, now - DAY / 2) == 1

    def test_tasks_that_ended_in_one_moment_are_all_seen(
        self, make_ended: MakeEnded, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(forgetting, "BATCH", 2)
        for _ in range(5):
            make_ended(100)
        make_ended(50)
        assert forgetting.forget_output(now, None) == 6

    def test_explanations_go_and_the_decision_keeps_its_counts(
        self, make_ended: MakeEnded, now: datetime
    ) -> None:
        old = make_ended(settings.KEEP_EXPLANATIONS_DAYS + 1)
        young = make_ended(settings.KEEP_EXPLANATIONS_DAYS - 1)
        assert forgetting.forget_explanations(now) == 1
        assert old.decisions.get().explanation is None
        assert old.decisions.get().considered == 1
        assert young.decisions.get().explanation is not None


def test_events_have_a_time_of_their_own(now: datetime) -> None:
    audit.record("node.joined", "long ago")
    Event.objects.update(at=now - (settings.KEEP_EVENTS_DAYS + 1) * DAY)
    audit.record("node.joined", "today")
    assert retention.forget_events(now) == 1
    assert [event.sentence for event in Event.objects.all()] == ["today"]
