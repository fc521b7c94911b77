"""What routing refuses, each with a sentence that a user can act on."""

from __future__ import annotations

from coordinator.values import NodeId, NodeStatus, Resources, TaskId


class CoordinatorError(Exception):
    """Base of all refusals. ``retry_helps`` says whether the same call may succeed later."""

    retry_helps = False


class DuplicateNode(CoordinatorError):
    def __init__(self, node_id: NodeId) -> None:
        super().__init__(f"node_id: {node_id} is registered already; unregister it first.")


class UnknownNode(CoordinatorError):
    def __init__(self, node_id: NodeId) -> None:
        super().__init__(f"node_id: no node {node_id} is registered.")


class DuplicateTask(CoordinatorError):
    def __init__(self, task_id: TaskId) -> None:
        super().__init__(f"task_id: {task_id} is waiting or running already; give each task its own id.")


class UnknownTask(CoordinatorError):
    def __init__(self, task_id: TaskId) -> None:
        super().__init__(f"task_id: no task {task_id} is waiting or running.")


class DerivedStatus(CoordinatorError):
    def __init__(self, status: NodeStatus) -> None:
        super().__init__(
            f"status: {status} follows from the node's work and cannot be set; "
            "use active (resume), maintenance or offline (goodbye)."
        )


class NotEnoughRoom(CoordinatorError):
    retry_helps = True

    def __init__(self, node_id: NodeId, needs: Resources, free: Resources) -> None:
        super().__init__(f"needs: {needs} do not fit in what node {node_id} has free, {free}.")


class BadField(CoordinatorError):
    """A request's field breaks a rule. ``field`` names it."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
