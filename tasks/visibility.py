"""Who sees what of a task. Everybody with a role sees that it exists; its content is its owner's."""

from __future__ import annotations

from django.db.models import QuerySet

from fogpanel.access import AnyUser, Refusal, Role, allows, require, role_of
from tasks.models import Task, TaskBatch


def visible_tasks(user: AnyUser) -> QuerySet[Task]:
    """The tasks whose metadata this user may see. Those of probes are never listed."""
    tasks = Task.objects.filter(canary=False)
    return tasks if role_of(user) else tasks.none()


def may_see_content(user: AnyUser, task: Task) -> bool:
    """Source, arguments, environment, input, logs and results: for its owner and for operators."""
    return allows(user, Role.OPERATOR) or (role_of(user) is not None and task.owner_id == user.pk)


def may_cancel(user: AnyUser, task: Task) -> bool:
    """Its owner, while still a submitter, and operators. The same may run it again."""
    return allows(user, Role.OPERATOR) or (allows(user, Role.SUBMITTER) and task.owner_id == user.pk)


CONTENT_REFUSAL = (
    "Only the person who handed this task in and operators see its content: "
    "the source, arguments, input, log and result. An admin can give you the role operator."
)


def require_content(user: AnyUser, task: Task) -> None:
    """Raises Refusal unless the user may see the content of ``task``."""
    if not may_see_content(user, task):
        raise Refusal(CONTENT_REFUSAL)


def require_batch_content(user: AnyUser, batch: TaskBatch) -> None:
    """Raises Refusal unless the user may see what the tasks of ``batch`` printed."""
    if not (allows(user, Role.OPERATOR) or batch.owner_id == user.pk):
        raise Refusal(CONTENT_REFUSAL)


def require_control(user: AnyUser, task: Task) -> None:
    """Raises Refusal unless the user may cancel ``task`` and run it again."""
    require(user, Role.SUBMITTER)
    if not may_cancel(user, task):
        raise Refusal(
            "Only the person who handed this task in and operators may do this. "
            "An admin can give you the role operator."
        )
