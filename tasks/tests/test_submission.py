"""What is stored of a task that is handed in, and who is told."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from fogpanel.access import Refusal
from fogpanel.models import Event
from tasks import models
from tasks.blobs import read_blob
from tasks.specification import validate
from tasks.submission import submit, submit_many

PYTHON = {"source": "print(1)"}


def test_submitting_stores_the_task_and_says_so(submitter: User) -> None:
    task = submit(submitter, validate({**PYTHON, "stdin": "in", "args": ["a"], "name": "one"}))
    stored = models.Task.objects.get()
    assert stored == task
    assert (stored.owner, stored.state, stored.args) == (submitter, "queued", ["a"])
    assert stored.payload_id is not None and read_blob(stored.payload_id) == b"print(1)"
    assert stored.stdin_id is not None and read_blob(stored.stdin_id) == b"in"
    event = Event.objects.get()
    assert (event.kind, event.subject_id, event.actor) == ("task.submitted", task.id, submitter)


def test_the_same_bytes_are_stored_once(submitter: User) -> None:
    specs = [validate({**PYTHON, "stdin": text}) for text in ("a", "b", "a", "print(1)")]
    tasks = submit_many(submitter, specs)
    assert [task.id for task in tasks] == sorted(models.Task.objects.values_list("id", flat=True))
    assert models.Blob.objects.count() == 3
    submit(submitter, specs[0])
    assert models.Blob.objects.count() == models.BlobChunk.objects.count() == 3


def test_a_viewer_may_not_hand_in(viewer: User) -> None:
    with pytest.raises(Refusal, match="needs the role submitter"):
        submit(viewer, validate(PYTHON))
    assert not models.Task.objects.exists()
    assert not models.Blob.objects.exists()


def test_the_placer_is_woken_after_the_commit(
    submitter: User, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        submit(submitter, validate(PYTHON))
    assert callbacks
