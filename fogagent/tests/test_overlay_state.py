"""What is told of the overlay, and what is ordered there."""

from __future__ import annotations

from fogagent.events import (
    CircuitTrialEnded,
    Connected,
    Disconnected,
    OverlayChanged,
    OverlayStarted,
)
from fogagent.instructions import (
    OpenTunnels,
    RunTrial,
    Send,
    TellOverlay,
)
from fogagent.messages import (
    Acknowledge,
    CircuitTried,
    GuardedTunnel,
    OverlayFacts,
    SetTunnels,
    TryCircuit,
    TunnelSpec,
)
from fogagent.tests.driven import (
    WELCOME,
    Driven,
)

OVERLAY = OverlayFacts(onion_key=bytes(32), certificate=b"certificate", address="192.0.2.7:9171")


def test_the_panel_hears_of_the_overlay_when_there_is_one_and_on_each_connect(agent: Driven) -> None:
    assert agent(OverlayChanged()) == [TellOverlay()]
    assert agent(OverlayStarted(OVERLAY)) == [Send(OVERLAY), TellOverlay()]
    agent(Disconnected("gone"))
    assert agent(OverlayStarted(OVERLAY)) == agent(OverlayChanged()) == []
    again = agent(Connected(WELCOME))
    assert again.index(Send(OVERLAY)) + 1 == again.index(TellOverlay())


def test_tunnels_and_trials_are_ordered(agent: Driven) -> None:
    spec = TunnelSpec(tunnel=1)
    guarded = GuardedTunnel(tunnel=2, passwords=[])
    assert agent.hears(SetTunnels(order=7, tunnels=[spec], guarded=[guarded])) == [
        OpenTunnels([spec, guarded]),
        Send(Acknowledge(orders=[7])),
    ]
    trial = TryCircuit(order=8, trial=3)
    assert agent.hears(trial) == [RunTrial(trial), Send(Acknowledge(orders=[8]))]
    tried = CircuitTried(trial=3, ok=True)
    assert agent(CircuitTrialEnded(tried)) == [Send(tried)]
    agent(Disconnected("gone"))
    assert agent(CircuitTrialEnded(tried)) == []
