"""Every parameter there is, by group, and the rules across them. Nothing is discovered."""

from __future__ import annotations

from collections.abc import Callable

from coordinator.weights import NAMES, TOGETHER, Weights, all_zero
from fogpanel.parameters.parameter import Group, Parameter, Rule, Values

# --- Heartbeats ------------------------------------------------------------------------------------

HEARTBEAT_S = Parameter(
    name="heartbeat_s",
    title="Heartbeat interval",
    about="How often a node says that it lives. A large fleet beats more slowly, see the limit below.",
    readers="the panel when an agent connects, and the job that tells agents a new interval",
    unit="s",
    least=0.2,
    most=3600,
    setting="HEARTBEAT_S",
    variable="FOGPANEL_HEARTBEAT_S",
)
TIMEOUT_S = Parameter(
    name="timeout_s",
    title="Heartbeat timeout",
    about="Silence after which a node is offline and its work moves; never less than three intervals "
    "as its node was told.",
    readers="the panel when an agent connects, the sweep for silent nodes, the agent's keep-alive",
    unit="s",
    least=0.5,
    most=86_400,
    setting="HEARTBEAT_TIMEOUT_S",
    variable="FOGPANEL_TIMEOUT_S",
    danger="A shorter timeout takes slow nodes for lost and starts their work again elsewhere.",
)
HEARTBEATS_PER_S_MAX = Parameter(
    name="heartbeats_per_s_max",
    title="Most heartbeats a second",
    about="The interval stretches with the fleet so that all nodes together stay below this rate.",
    readers="the panel when an agent connects, and the job that tells agents a new interval",
    unit="/s",
    least=1,
    most=100_000,
    setting="HEARTBEATS_PER_S_MAX",
    variable="FOGPANEL_HEARTBEATS_PER_S_MAX",
)

# --- Sweeps and probes -----------------------------------------------------------------------------

SWEEP_S = Parameter(
    name="sweep_s",
    title="Sweep interval",
    about="How often the panel looks for nodes that have fallen silent.",
    readers="the job nodes.jobs.sweep_heartbeats",
    unit="s",
    least=1,
    most=600,
    setting="SWEEP_S",
    variable="FOGPANEL_SWEEP_S",
    danger="Work of a node that went waits for the next sweep: with long pauses, for that long.",
)
PROBE_S = Parameter(
    name="probe_s",
    title="Probe interval",
    about="How often each service that is well is measured; one that is not, every 5 s at least.",
    readers="the job services.jobs.probe_services, and the cards, which call old results old",
    unit="s",
    least=1,
    most=3600,
    setting="PROBE_S",
    variable="FOGPANEL_PROBE_S",
)

# --- How strategies weigh --------------------------------------------------------------------------

STANDARD = Weights()
WEIGHT_MOST = 100.0


def _weight(name: str, title: str, about: str) -> Parameter:
    return Parameter(
        name=name,
        title=title,
        about=about,
        readers="the placer of each process, before each plan and preview",
        least=0,
        most=WEIGHT_MOST,
        standard=getattr(STANDARD, name),
    )


AFFINITY = (
    _weight("affinity_fit", "Fit", "How little would be left unused on the node."),
    _weight("affinity_match", "Match", "Preferred labels, and inputs that the node has already."),
)
AFFINITY_FIT = (
    _weight("affinity_fit_cpu", "Cores in the fit", "Among the resources that the node has."),
    _weight("affinity_fit_memory", "Memory in the fit", "Among the resources that the node has."),
    _weight("affinity_fit_disk", "Storage in the fit", "Among the resources that the node has."),
    _weight("affinity_fit_gpu", "GPUs in the fit", "Among the resources that the node has."),
)
PROXIMITY = (
    _weight("proximity_region", "Region", "Whether the node is in the region asked for."),
    _weight("proximity_nearness", "Nearness", "Distance, or the round trip where a task names no place."),
    _weight("proximity_load", "Load", "Decides between equally near nodes, and more the more it weighs."),
)
PRIVACY = (
    _weight("privacy_reputation", "Reputation", "How well the node kept its word so far."),
    _weight("privacy_apart", "Apart", "Whether its network is another than the submitter's."),
    _weight("privacy_fresh", "Spread", "How long its network was not used for private work."),
    _weight("privacy_load", "Load", "How little of the node is in use."),
)

# --- All of them -----------------------------------------------------------------------------------

PROPORTIONS = "Only proportions matter: they are shared out to add up to 100 %."

GROUPS: tuple[Group, ...] = (
    Group(
        "heartbeats",
        "Heartbeats",
        "When a node counts as gone. Agents hear of a change within half a minute.",
        (HEARTBEAT_S, TIMEOUT_S, HEARTBEATS_PER_S_MAX),
    ),
    Group("sweeps", "Sweeps and probes", "How often the panel looks after itself.", (SWEEP_S, PROBE_S)),
    Group("affinity", "Affinity: weights", PROPORTIONS, AFFINITY),
    Group("affinity-fit", "Affinity: weights within the fit", PROPORTIONS, AFFINITY_FIT),
    Group("proximity", "Proximity: weights", PROPORTIONS, PROXIMITY),
    Group("privacy", "Privacy: weights", PROPORTIONS, PRIVACY),
)
BY_NAME = {parameter.name: parameter for group in GROUPS for parameter in group.parameters}
WEIGHTS = tuple(BY_NAME[name] for name in NAMES)


def _timeout_is_long_enough(values: Values) -> str:
    """A node must be able to miss one beat without being taken for dead."""
    timeout_s, heartbeat_s = values[TIMEOUT_S.name], values[HEARTBEAT_S.name]
    if timeout_s >= 2 * heartbeat_s:
        return ""
    return (
        f"{TIMEOUT_S.name}: must be at least twice {HEARTBEAT_S.name} ({heartbeat_s:g} s), was "
        f"{timeout_s:g} s. Change both together, or the other one first."
    )


def _something_weighs(names: tuple[str, ...]) -> Callable[[Values], str]:
    def broken(values: Values) -> str:
        return "" if sum(values[name] for name in names) > 0 else f"{names[0]}: {all_zero(names)}"

    return broken


RULES: tuple[Rule, ...] = (
    Rule((TIMEOUT_S.name, HEARTBEAT_S.name), _timeout_is_long_enough),
    *(Rule(tuple(names), _something_weighs(tuple(names))) for names in TOGETHER.values()),
)
