"""The signed directory for clients, who take from it the keys that they seal tasks for."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from fogagent.overlay.directory import encode_changes
from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.problems import Problem
from nodes.relay_directory.changes import changes_since
from nodes.relay_directory.publishing import newest_number

router = Router(tags=["nodes"])

MEDIA_TYPE = "application/vnd.msgpack"


@router.get("/relay-directory", response={200: bytes})
def get_directory(request: SignedInRequest) -> HttpResponse:
    """All of the newest version, as MessagePack (`fogagent.overlay.directory.Changes`), signed by the panel.

    With the ``ETag`` of an earlier answer as ``If-None-Match`` it is sent only where there is a newer one.
    """
    require(request.user, Role.VIEWER)
    version = newest_number()
    if not version:
        raise Problem(404, "no-directory", "No node has joined the overlay yet, so there is no directory.")
    if request.headers.get("If-None-Match") == _tag(version):
        return HttpResponse(status=304, headers={"ETag": _tag(version)})
    changes = changes_since(0)
    response = HttpResponse(encode_changes(changes), content_type=MEDIA_TYPE)
    response["ETag"] = _tag(changes.version)
    return response


def _tag(version: int) -> str:
    return f'"{version}"'
