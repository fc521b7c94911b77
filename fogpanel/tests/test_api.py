"""The API as a program meets it: tokens, roles, problems, and doing a POST once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from conftest import MakeNode
from fogpanel import idempotency, tokens
from fogpanel.models import ApiToken, Event, IdempotencyKey
from fogpanel.tokens import Scope
from nodes.relay_directory.publishing import publish
from nodes.tests.relays import listen, say
from services.vpn_coordinator.models import Tunnel
from tasks.models import Attempt, LogChunk, Task, TaskBatch
from tasks.specification import validate
from tasks.submission import submit

pytestmark = pytest.mark.django_db

Body = dict[str, Any]
JSON = "application/json"
PROBLEM = "application/problem+json"
SCRIPT = {"source": "print(1)", "name": "one"}


class Api:
    """A program that sends a token."""

    def __init__(self, user: User | None, *scopes: Scope) -> None:
        self.client = Client()
        self.headers: dict[str, str] = {}
        if user is not None:
            _, text = tokens.create_token(
                user, name="test", scopes=scopes or [Scope.READ], lifetime_s=60, now=timezone.now()
            )
            self.headers = {"Authorization": f"Bearer {text}"}

    def get(self, path: str) -> Any:
        return self.client.get(f"/api/v1{path}", headers=self.headers)

    def post(self, path: str, body: object = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, str) else json.dumps(body or {})
        return self.client.post(f"/api/v1{path}", content, content_type=JSON, headers=self.headers | named)

    def put(self, path: str, body: object) -> Any:
        return self.client.put(f"/api/v1{path}", json.dumps(body), content_type=JSON, headers=self.headers)

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/api/v1{path}", headers=self.headers)


def as_role(role: str) -> Api:
    if role == "nobody":
        return Api(None)
    user = User.objects.create_user(f"the-{role}")
    if role != "newcomer":
        user.groups.add(Group.objects.get(name=role))
        scopes = list(Scope)[: ["viewer", "submitter", "operator", "admin"].index(role) + 1]
        return Api(user, *scopes)
    ApiToken.objects.create(
        user=user,
        name="t",
        prefix="fpt_",
        digest=tokens._digest("x"),
        scopes=["admin"],
        created_at=timezone.now(),
    )
    api = Api(None)
    api.headers = {"Authorization": "Bearer x"}
    return api


def problem(answer: Any, status: int, code: str) -> Body:
    """The problem that ``answer`` is; checks what all have in common."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == PROBLEM
    body: Body = answer.json()
    assert {"type", "title", "status", "detail", "code"} <= set(body)
    assert (body["status"], body["code"]) == (status, code)
    return body


@pytest.fixture
def wheel() -> None:
    """The agent that set-up builds; join lines name it."""
    folder = settings.DATA_DIR / "agent"
    folder.mkdir(exist_ok=True)
    (folder / "fogagent-0.1.0-py3-none-any.whl").write_bytes(b"a wheel")


# --- Who may what --------------------------------------------------------------------------------

ROLES = ["nobody", "newcomer", "viewer", "submitter", "operator", "admin"]

# Method, address, body, the weakest role that is let in. ``{node}`` (node-1), ``{task}``, ``{tunnel}`` and
# ``{key}`` exist; task and tunnel are somebody else's.
ENDPOINTS: list[tuple[str, str, object, str]] = [
    ("get", "/nodes", None, "viewer"),
    ("get", "/nodes/{node}", None, "viewer"),
    ("post", "/nodes/{node}/availability", {"availability": "cordoned"}, "operator"),
    ("post", "/nodes/{node}/availability", {"availability": "draining", "drain_s": 60}, "operator"),
    ("post", "/nodes/{node}/approve", None, "operator"),
    ("delete", "/nodes/{node}", None, "operator"),
    ("get", "/join-keys", None, "operator"),
    ("post", "/join-keys", {}, "operator"),
    ("post", "/join-keys/{key}/revoke", None, "operator"),
    ("get", "/tasks", None, "viewer"),
    ("post", "/tasks", SCRIPT, "submitter"),
    ("post", "/tasks/preview", SCRIPT, "submitter"),
    ("post", "/tasks/batch", {"tasks": [SCRIPT]}, "submitter"),
    ("get", "/tasks/batches/{batch}", None, "viewer"),
    ("get", "/tasks/batches/{batch}/results", None, "operator"),
    ("get", "/tasks/{task}", None, "viewer"),
    ("get", "/tasks/{task}/decisions", None, "viewer"),
    ("get", "/tasks/{task}/explain", None, "viewer"),
    ("get", "/nodes/{node}/why", None, "viewer"),
    ("get", "/tasks/{task}/logs", None, "operator"),
    ("get", "/tasks/{task}/result", None, "operator"),
    ("post", "/tasks/{task}/cancel", None, "operator"),
    ("post", "/tasks/{task}/retry", None, "operator"),
    ("get", "/privacy", None, "viewer"),
    ("get", "/relay-directory", None, "viewer"),
    ("post", "/reservations", {"privacy": "private", "cores": 0.1}, "submitter"),
    ("get", "/tokens", None, "viewer"),
    ("get", "/events", None, "viewer"),
    ("get", "/services", None, "viewer"),
    ("post", "/services/fog_coordinator/restart", None, "operator"),
    ("get", "/topology", None, "viewer"),
    ("get", "/relays", None, "viewer"),
    ("get", "/circuits", None, "viewer"),
    ("get", "/carriages", None, "viewer"),
    ("get", "/tunnels", None, "viewer"),
    ("post", "/tunnels", {"name": "t", "entry": "node-1"}, "submitter"),
    ("get", "/tunnels/{tunnel}", None, "viewer"),
    ("put", "/tunnels/{tunnel}/allowed", {"allowed": []}, "operator"),
    ("put", "/tunnels/{tunnel}/require-password", {"require_password": False}, "operator"),
    ("delete", "/tunnels/{tunnel}", None, "operator"),
    ("get", "/parameters", None, "viewer"),
    ("put", "/parameters", {"values": {"sweep_s": 10}}, "admin"),
]


@pytest.fixture
def things(make_node: MakeNode, submitter: User, wheel: None) -> dict[str, int]:
    from nodes.joining import create_join_key

    node = make_node(open_attempts=1, free_cpu_millis=750, free_memory_mb=896)
    now = timezone.now()
    listen(now)
    assert say(node, now) == []
    publish(now)
    key, _ = create_join_key(actor=submitter, note="", group=None, labels={}, uses=1, lifetime_s=60)
    task = submit(submitter, validate(SCRIPT))
    attempt = Attempt.objects.create(task=task, node=node, number=1)
    Task.objects.filter(id=task.id).update(state="running", node=node, accepted_attempt=attempt)
    batch = TaskBatch.objects.create(owner=submitter, name="none", size=0)
    tunnel = Tunnel.objects.create(name="t", entry=node, created_by=submitter, created_at=timezone.now())
    return {"node": node.id, "key": key.pk, "task": task.id, "batch": batch.pk, "tunnel": tunnel.id}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "path", "body", "needed"), ENDPOINTS)
def test_each_role_gets_what_is_its_own(
    role: str, method: str, path: str, body: object, needed: str, things: dict[str, int]
) -> None:
    api = as_role(role)
    call: Callable[..., Any] = getattr(api, method)
    address = path.format(**things)
    answer = call(address, body) if method in ("post", "put") else call(address)
    if role == "nobody":
        problem(answer, 401, "not-signed-in")
        assert answer["WWW-Authenticate"].startswith("Bearer")
    elif ROLES.index(role) < ROLES.index(needed):
        detail = problem(answer, 403, "role-missing")["detail"]
        assert "role" in detail
    else:
        assert answer.status_code in (200, 201, 204), answer.content


def test_the_table_names_every_address() -> None:
    from fogpanel.api import api

    public = {("post", "/tokens"), ("get", "/agents/panel"), ("post", "/agents/enrol")}
    own = {
        ("post", "/tokens/{token_id}/revoke"),
        ("post", "/reservations/{reservation_id}/task"),
        ("post", "/tasks/{task_id}/reservation"),
        ("post", "/tasks/{task_id}/reseal"),
        ("get", "/tasks/{task_id}/sealed-result"),
        ("post", "/tunnels/{tunnel_id}/password"),
    }
    schema = api.get_openapi_schema()["paths"]
    there = {(method, path.removeprefix("/api/v1")) for path, methods in schema.items() for method in methods}
    names = {
        "{node}": "{node_id}",
        "{task}": "{task_id}",
        "{key}": "{key_id}",
        "{batch}": "{batch_id}",
        "{tunnel}": "{tunnel_id}",
        "/fog_coordinator/restart": "/{slug}/{action}",
    }
    tabled = set()
    for method, path, _, _ in ENDPOINTS:
        for short, long in names.items():
            path = path.replace(short, long)
        tabled.add((method, path))
    assert there == tabled | public | own


def test_an_owner_sees_and_ends_what_is_theirs(submitter: User) -> None:
    task = submit(submitter, validate(SCRIPT))
    api = Api(submitter, Scope.SUBMIT)
    assert api.get(f"/tasks/{task.id}").json()["content"]["payload_sha256"] == task.payload_id
    assert api.get(f"/tasks/{task.id}/logs").json() == {"chunks": [], "next": 0, "done": False}
    assert api.post(f"/tasks/{task.id}/cancel").status_code == 200


def test_others_see_that_it_exists_but_not_what_it_runs(submitter: User, viewer: User) -> None:
    task = submit(submitter, validate({**SCRIPT, "args": ["secret"]}))
    answer = Api(viewer).get(f"/tasks/{task.id}")
    assert answer.json()["content"] is None
    assert "secret" not in answer.content.decode()


def test_a_token_for_reading_only_reads(submitter: User) -> None:
    api = Api(submitter, Scope.READ)
    assert api.get("/tasks").status_code == 200
    problem(api.post("/tasks", SCRIPT), 403, "role-missing")


# --- Signing in ----------------------------------------------------------------------------------


@pytest.fixture
def sign_in(submitter: User) -> Body:
    submitter.set_password("correct horse")
    submitter.save()
    return {"username": submitter.username, "password": "correct horse", "name": "laptop"}


def test_a_password_buys_a_token(sign_in: Body) -> None:
    answer = Api(None).post("/tokens", sign_in)
    assert answer.status_code == 201
    given = answer.json()
    assert (given["scopes"], given["name"]) == (["read", "submit"], "laptop")
    headers = {"Authorization": f"Bearer {given['token']}"}
    assert Client().get("/api/v1/nodes", headers=headers).status_code == 200
    assert "token" not in Client().get("/api/v1/tokens", headers=headers).json()["items"][0]


def test_a_token_ends_when_revoked(sign_in: Body) -> None:
    given = Api(None).post("/tokens", sign_in).json()
    api = Api(None)
    api.headers = {"Authorization": f"Bearer {given['token']}"}
    assert api.post(f"/tokens/{given['id']}/revoke").json()["revoked_at"]
    problem(api.get("/nodes"), 401, "not-signed-in")


def test_a_token_for_reading_ends_itself_and_no_other(submitter: User) -> None:
    other, reader = Api(submitter, Scope.SUBMIT), Api(submitter, Scope.READ)
    others_id, readers_id = ApiToken.objects.order_by("id").values_list("id", flat=True)
    problem(reader.post(f"/tokens/{others_id}/revoke"), 403, "role-missing")
    assert reader.post(f"/tokens/{readers_id}/revoke").status_code == 200
    assert other.get("/tokens").status_code == 200
    assert other.post(f"/tokens/{others_id}/revoke").status_code == 200


def test_a_viewer_who_is_signed_in_revokes_any_token_of_theirs(viewer: User) -> None:
    Api(viewer)
    token = ApiToken.objects.get()
    client = Client()
    client.force_login(viewer)
    answer = client.post(f"/api/v1/tokens/{token.id}/revoke", content_type=JSON)
    assert answer.json()["revoked_at"]


def test_somebody_elses_token_cannot_be_revoked(sign_in: Body, operator: User) -> None:
    given = Api(None).post("/tokens", sign_in).json()
    problem(Api(operator, Scope.OPERATE).post(f"/tokens/{given['id']}/revoke"), 404, "not-found")


def test_scopes_beyond_the_role_are_refused(sign_in: Body) -> None:
    answer = Api(None).post("/tokens", {**sign_in, "scopes": ["operate"]})
    assert "operator" in problem(answer, 403, "role-missing")["detail"]


def test_wrong_passwords_are_counted_as_on_the_page(sign_in: Body, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    wrong = {**sign_in, "password": "wrong"}
    problem(Api(None).post("/tokens", wrong), 401, "wrong-password")
    Api(None).post("/tokens", wrong)
    detail = problem(Api(None).post("/tokens", sign_in), 429, "locked-out")["detail"]
    assert "try again in 15 minutes" in detail


def test_a_right_password_starts_the_count_anew(sign_in: Body, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    wrong = {**sign_in, "password": "wrong"}
    for _ in range(3):
        problem(Api(None).post("/tokens", wrong), 401, "wrong-password")
        assert Api(None).post("/tokens", sign_in).status_code == 201


def test_a_session_needs_a_csrf_token_to_change_things(submitter: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(submitter)
    assert client.get("/api/v1/tasks").status_code == 200
    problem(client.post("/api/v1/tasks", json.dumps(SCRIPT), content_type=JSON), 403, "csrf")
    secret = "a" * 32
    client.cookies["csrftoken"] = secret
    answer = client.post(
        "/api/v1/tasks", json.dumps(SCRIPT), content_type=JSON, headers={"X-CSRFToken": secret}
    )
    assert answer.status_code == 201


def test_a_wrong_token_does_not_fall_back_to_the_session(submitter: User) -> None:
    client = Client()
    client.force_login(submitter)
    problem(client.get("/api/v1/tasks", headers={"Authorization": "Bearer fpt_no"}), 401, "not-signed-in")


def test_reading_writes_nothing(submitter: User, django_assert_num_queries: Any) -> None:
    api = Api(submitter, Scope.READ)
    api.get("/tasks")
    assert ApiToken.objects.get().last_used_at is None
    Api(submitter, Scope.SUBMIT).post("/tasks", SCRIPT)
    assert ApiToken.objects.latest("id").last_used_at is not None


def test_the_documentation_is_for_whoever_is_signed_in(viewer: User, client: Client) -> None:
    assert client.get("/api/v1/docs").status_code == 302
    client.force_login(viewer)
    assert client.get("/api/v1/docs").status_code == 200
    schema = client.get("/api/v1/openapi.json").json()
    assert "/api/v1/tasks" in schema["paths"]


def test_the_documented_fields_are_the_known_ones() -> None:
    from tasks.specification import KNOWN_FIELDS
    from tasks.task_schemas import TaskIn

    assert set(TaskIn.model_fields) == set(KNOWN_FIELDS)
    assert validate({"source": "x"}) == validate(TaskIn(source="x").model_dump())


# --- Errors --------------------------------------------------------------------------------------


def test_every_broken_rule_is_named(submitter: User) -> None:
    answer = Api(submitter, Scope.SUBMIT).post("/tasks", {"timeout_s": 0, "strategy": "fastest"})
    errors = problem(answer, 422, "invalid")["errors"]
    assert {error["field"] for error in errors} == {"source", "timeout_s", "strategy"}
    assert not Task.objects.exists()


@pytest.mark.parametrize("body", ["{", "", "[1]", '"text"', "null"])
def test_what_is_not_an_object_is_refused(submitter: User, body: str) -> None:
    answer = Api(submitter, Scope.SUBMIT).post("/tasks", body)
    assert answer.status_code in (400, 422)
    assert answer["Content-Type"] == PROBLEM
    assert answer.json()["detail"].startswith("body: ")


def test_a_wrong_parameter_is_named(viewer: User) -> None:
    answer = Api(viewer).get("/tasks?state=done&limit=0")
    errors = problem(answer, 422, "invalid")["errors"]
    assert [error["field"] for error in errors] == ["state", "limit"]
    assert errors[0]["message"].startswith("state: input should be 'queued'")


@pytest.mark.parametrize("path", ["/tasks/999", "/nodes/999", "/tasks/99999999999999999999", "/nothing", "/"])
def test_what_is_not_there_is_a_problem_too(viewer: User, path: str) -> None:
    assert (
        "nothing at" in (detail := problem(Api(viewer).get(path), 404, "not-found")["detail"])
        or "no" in detail
    )


def test_a_wrong_method_says_which_are_right(viewer: User) -> None:
    answer = Api(viewer).delete("/tasks")
    problem(answer, 405, "method-not-allowed")
    assert set(answer["Allow"].split(", ")) == {"GET", "POST"}


def test_a_body_beyond_the_limit_is_not_read(submitter: User, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
    answer = Api(submitter, Scope.SUBMIT).post("/tasks", {"source": "x" * 3 * 1024 * 1024})
    assert (
        problem(answer, 413, "too-large")["detail"]
        == "body: a request holds at most 1 MiB, this one 3.0 MiB."
    )


def test_the_largest_module_fits_into_a_body() -> None:
    from fogagent.messages import MAX_MODULE_BYTES, MAX_STDIN_BYTES

    assert MAX_MODULE_BYTES * 4 / 3 + MAX_STDIN_BYTES + 64 * 1024 < settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def test_a_database_that_is_away_is_worth_another_try(viewer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr("services.api.cards.cards", away)
    answer = Api(viewer).get("/services")
    assert "again in a few seconds" in problem(answer, 503, "database-away")["detail"]
    assert answer["Retry-After"] == "2"


def test_what_breaks_is_logged_and_told(viewer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("services.api.cards.cards", broken)
    answer = Api(viewer).get("/services")
    problem(answer, 500, "broken")
    assert b"secret" not in answer.content


# --- Once ----------------------------------------------------------------------------------------


def test_sent_twice_done_once(submitter: User) -> None:
    api = Api(submitter, Scope.SUBMIT)
    first = api.post("/tasks", SCRIPT, Idempotency_Key="k1")
    again = api.post("/tasks", SCRIPT, Idempotency_Key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "Idempotency-Replayed" not in first
    assert again["Idempotency-Replayed"] == "true"
    assert Task.objects.count() == 1


def test_a_key_is_for_one_request(submitter: User) -> None:
    api = Api(submitter, Scope.SUBMIT)
    api.post("/tasks", SCRIPT, Idempotency_Key="k1")
    answer = api.post("/tasks", {**SCRIPT, "name": "two"}, Idempotency_Key="k1")
    assert "different request" in problem(answer, 422, "invalid")["detail"]
    assert Task.objects.count() == 1


def test_keys_are_everybodys_own(submitter: User, operator: User) -> None:
    for user in (submitter, operator):
        assert Api(user, Scope.SUBMIT).post("/tasks", SCRIPT, Idempotency_Key="k1").status_code == 201
    assert Task.objects.count() == 2


def test_what_was_refused_may_be_mended_and_sent_again(submitter: User) -> None:
    api = Api(submitter, Scope.SUBMIT)
    assert api.post("/tasks", {"timeout_s": 0}, Idempotency_Key="k1").status_code == 422
    assert api.post("/tasks", SCRIPT, Idempotency_Key="k1").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 201, "ü"])
def test_a_key_has_a_rule(submitter: User, key: str) -> None:
    answer = Api(submitter, Scope.SUBMIT).post("/tasks", SCRIPT, Idempotency_Key=key)
    assert "1 to 200 printable" in problem(answer, 422, "invalid")["detail"]


def test_answer_and_effect_are_stored_together(submitter: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails after the task was stored takes the task back with it."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("killed here")

    monkeypatch.setattr("tasks.api.task_schemas.task_out", broken)
    api = Api(submitter, Scope.SUBMIT)
    assert api.post("/tasks", SCRIPT, Idempotency_Key="k1").status_code == 500
    assert not Task.objects.exists()
    assert not IdempotencyKey.objects.exists()


def test_an_answer_with_a_secret_is_not_kept(operator: User, wheel: None) -> None:
    api = Api(operator, Scope.OPERATE)
    first = api.post("/join-keys", {"note": "lab"}, Idempotency_Key="k1")
    assert first.status_code == 201
    problem(api.post("/join-keys", {"note": "lab"}, Idempotency_Key="k1"), 409, "answer-not-kept")
    assert first.json()["key"] not in str(list(IdempotencyKey.objects.values()))


def test_old_answers_are_forgotten(submitter: User) -> None:
    api = Api(submitter, Scope.SUBMIT)
    api.post("/tasks", SCRIPT, Idempotency_Key="old")
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(days=2))
    api.post("/tasks", SCRIPT, Idempotency_Key="new")
    now = timezone.now()
    idempotency.forget(now)
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["new"]


# --- What it tells -------------------------------------------------------------------------------


def test_a_task_is_told_whole(submitter: User, make_node: MakeNode) -> None:
    api = Api(submitter, Scope.SUBMIT)
    task_id = api.post("/tasks", SCRIPT).json()["id"]
    task, node = Task.objects.get(id=task_id), make_node(name="alpha")
    attempt = Attempt.objects.create(task=task, node=node, number=1, outcome="succeeded", exit_code=0)
    LogChunk.objects.create(attempt=attempt, stream="stdout", offset=0, content=b"1\n")
    Task.objects.filter(id=task_id).update(
        state="succeeded", node=node, accepted_attempt=attempt, exit_code=0, wait_reasons={"no_room": 2}
    )
    told = api.get(f"/tasks/{task_id}").json()
    assert (told["state"], told["exit_code"], told["node"]) == (
        "succeeded",
        0,
        {"id": node.id, "name": "alpha"},
    )
    assert told["wait_reasons"] == [{"reason": "no_room", "nodes": 2}]
    assert told["attempts"][0]["accepted"] is True
    assert told["url"].endswith(f"/tasks/{task_id}")
    log = api.get(f"/tasks/{task_id}/logs?wait=20").json()
    assert [(chunk["stream"], chunk["attempt"], chunk["text"]) for chunk in log["chunks"]] == [
        ("stdout", 1, "1\n")
    ]
    assert log["done"] is True
    assert api.get(f"/tasks/{task_id}/result").content == b"1\n"
    problem(api.post(f"/tasks/{task_id}/cancel"), 409, "over")


def test_a_task_without_a_result_says_so(submitter: User) -> None:
    task = submit(submitter, validate(SCRIPT))
    answer = Api(submitter, Scope.READ).get(f"/tasks/{task.id}/result")
    assert problem(answer, 409, "no-result")["detail"] == "This task is queued; it has not given a result."


def test_lists_page_by_key(submitter: User, make_node: MakeNode) -> None:
    made = [submit(submitter, validate({**SCRIPT, "name": name})).id for name in "abc"]
    api = Api(submitter, Scope.READ)
    first = api.get("/tasks?limit=2").json()
    assert [task["id"] for task in first["items"]] == [made[2], made[1]]
    second = api.get(f"/tasks?limit=2&after={first['next']}").json()
    assert ([task["id"] for task in second["items"]], second["next"]) == ([made[0]], None)
    assert api.get("/tasks?state=running").json()["items"] == []
    for name in ("beta", "alpha"):
        make_node(name=name)
    nodes = api.get("/nodes?limit=1").json()
    assert [node["name"] for node in nodes["items"]] == ["alpha"]
    assert [node["name"] for node in api.get(f"/nodes?after={nodes['next']}").json()["items"]] == ["beta"]


def test_nodes_can_be_searched_and_filtered(viewer: User, make_node: MakeNode) -> None:
    make_node(name="alpha", region="eu-west", labels={"rack": "7"}, node_type="gateway")
    make_node(name="beta", region="us-east", free_cpu_millis=500)
    api = Api(viewer)

    def names(query: str) -> list[str]:
        return [node["name"] for node in api.get(f"/nodes?{query}").json()["items"]]

    assert names("search=rack") == ["alpha"]
    assert names("region=us-east") == ["beta"]
    assert names("type=gateway") == ["alpha"]
    assert names("status=active") == ["beta"]
    problem(api.get("/nodes?status=asleep"), 422, "invalid")


def test_a_removed_node_stays_removed(operator: User, make_node: MakeNode) -> None:
    node, api = make_node(), Api(operator, Scope.OPERATE)
    assert api.delete(f"/nodes/{node.id}").status_code == 204
    problem(api.delete(f"/nodes/{node.id}"), 409, "removed")
    assert api.get(f"/nodes/{node.id}").json()["removed"] is True
    assert api.get("/nodes").json()["items"] == []


def test_a_join_key_names_a_group_that_exists(operator: User) -> None:
    answer = Api(operator, Scope.OPERATE).post("/join-keys", {"group": "lab"})
    assert problem(answer, 422, "invalid")["detail"] == "group: there is no group “lab”; create it first."


def test_events_can_be_filtered(submitter: User) -> None:
    submit(submitter, validate(SCRIPT))
    api = Api(submitter, Scope.READ)
    items = api.get("/events?kind=task").json()["items"]
    assert [(event["kind"], event["actor"]) for event in items] == [("task.submitted", submitter.username)]
    assert api.get("/events?kind=task.cancelled").json()["items"] == []
    assert api.get(f"/events?actor={submitter.username}&subject_kind=task").json()["items"] == items
    assert Event.objects.count() == len(api.get("/events").json()["items"])


def test_the_topology_counts_and_adds_up(viewer: User, make_node: MakeNode) -> None:
    make_node(region="eu-west", cpu_millis=1000, free_cpu_millis=250, node_type="gateway")
    make_node(region="us-east", cpu_millis=500)
    told = Api(viewer).get("/topology").json()
    assert (told["nodes_total"], told["by_region"]) == (2, {"eu-west": 1, "us-east": 1})
    assert told["by_type"] == {"gateway": 1, "compute_node": 1}
    assert (told["total"]["cpu_millis"], told["free"]["cpu_millis"]) == (1500, 750)
