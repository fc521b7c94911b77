"""Joining a panel: once, with a key that somebody there made for us."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import msgspec

from fogagent.address import PanelAddress
from fogagent.home import Membership
from fogagent.identity import ENROL, Identity, enrolment_text
from fogagent.messages import Facts, Key

TIMEOUT_S = 20.0


class EnrolmentError(Exception):
    """This machine was not let in. ``str`` says why and what to do."""


class _PanelInfo(msgspec.Struct):
    panel_key: Key


class _Enrolled(msgspec.Struct):
    node: int
    name: str
    panel_key: Key
    approved: bool


class _Problem(msgspec.Struct):
    """The part of problem+json that people read."""

    detail: str = ""
    title: str = ""


class Enrolment:
    """A conversation over HTTP with the panel we want to join."""

    def __init__(self, address: PanelAddress) -> None:
        self._address = address
        # A proxy from the environment cannot reach this machine's own loopback.
        self._http = httpx.Client(
            base_url=address.base,
            timeout=TIMEOUT_S,
            trust_env=not address.loopback,
            verify=ssl.create_default_context(),  # whom this machine trusts, as for the socket
        )

    def __enter__(self) -> Enrolment:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def panel_key(self) -> bytes:
        """The key that whoever answers there says is the panel's: trust on first use."""
        info: _PanelInfo = self._answer(self._request("GET", "/api/v1/agents/panel"), _PanelInfo)
        return info.panel_key

    def join(
        self, *, identity: Identity, join_key: str, panel_key: bytes, name: str, facts: Facts
    ) -> tuple[Membership, bool]:
        """Become a node; the second value says whether somebody has yet to approve it.

        Raises:
            EnrolmentError: refused, not reachable, or not the panel whose key was given.
        """
        text = enrolment_text(
            panel_key=panel_key,
            agent_key=identity.public_key,
            sealing_key=identity.sealing_key,
            join_key=join_key,
        )
        body = {
            "join_key": join_key,
            "public_key": identity.public_key,
            "sealing_key": identity.sealing_key,
            "signature": identity.sign(ENROL, text),
            "name": name,
            "facts": facts,
        }
        response = self._request("POST", "/api/v1/agents/enrol", msgspec.json.encode(body))
        enrolled: _Enrolled = self._answer(response, _Enrolled)
        if enrolled.panel_key != panel_key:
            raise EnrolmentError(
                f"{self._address.base} is not the panel that this machine was told to join: its key is "
                f"{enrolled.panel_key.hex()}, expected {panel_key.hex()}."
            )
        membership = Membership(
            url=self._address.base, panel_key=panel_key, node=enrolled.node, name=enrolled.name
        )
        return membership, not enrolled.approved

    def _request(self, method: str, path: str, content: bytes | None = None) -> httpx.Response:
        try:
            return self._http.request(
                method, path, content=content, headers={"Content-Type": "application/json"}
            )
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise EnrolmentError(f"The panel at {self._address.base} cannot be reached: {reason}.") from error

    def _answer(self, response: httpx.Response, shape: type[Any]) -> Any:
        if not response.is_success:
            raise EnrolmentError(self._refusal(response))
        try:
            return msgspec.json.decode(response.content, type=shape)
        except msgspec.DecodeError as error:
            raise EnrolmentError(
                f"{self._address.base} does not answer as a panel does ({error}). Is the address right?"
            ) from error

    def _refusal(self, response: httpx.Response) -> str:
        try:
            problem = msgspec.json.decode(response.content, type=_Problem)
        except msgspec.DecodeError:
            problem = _Problem()
        said = problem.detail or problem.title or "no reason given. Is the address right?"
        return f"The panel did not let this machine in ({response.status_code}): {said}"
