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

# --- Nodes that go ---------------------------------------------------------------------------------

REPLACE_AFTER_S = Parameter(
    name="replace_after_s",
    title="Wait before replacing",
    about="How long a node that is offline is waited for before its tasks are placed elsewhere as well.",
    readers="the sweep for silent nodes",
    unit="s",
    least=0,
    most=86_400,
    setting="REPLACE_AFTER_S",
    variable="FOGPANEL_REPLACE_AFTER_S",
)
GIVE_UP_S = Parameter(
    name="give_up_s",
    title="Give up after",
    about="When what an offline node was working on is given up, so that its room is free again. Until then "
    "the node may come back with the result.",
    readers="the job tasks.jobs.give_up_doubted",
    unit="s",
    least=1,
    most=604_800,
    setting="GIVE_UP_S",
    variable="FOGPANEL_GIVE_UP_S",
    danger="A shorter time throws away what nodes that are cut off for longer would still bring.",
)
RESEAL_S = Parameter(
    name="reseal_s",
    title="Time to reseal",
    about="How long a sealed task waits for its submitter to seal it for other nodes, when those that it is "
    "sealed for are gone. Then it expires.",
    readers="the job tasks.jobs.ask_for_resealing",
    unit="s",
    least=10,
    most=604_800,
    setting="RESEAL_S",
    variable="FOGPANEL_RESEAL_S",
)
DRAIN_S = Parameter(
    name="drain_s",
    title="Time to drain",
    about="How long a drained node may finish what it has, where nothing else is said.",
    readers="the panel when a node is drained",
    unit="s",
    least=0,
    most=604_800,
    setting="DRAIN_S",
    variable="FOGPANEL_DRAIN_S",
)
ARCHIVE_DAYS = Parameter(
    name="archive_days",
    title="Archive after",
    about="How long a node is offline before it leaves the lists. When its agent connects, it is back.",
    readers="the job nodes.jobs.archive_nodes",
    unit="days",
    least=0.01,
    most=36_500,
    setting="ARCHIVE_DAYS",
    variable="FOGPANEL_ARCHIVE_DAYS",
)

# --- Nodes that misbehave --------------------------------------------------------------------------

FLAPS_MAX = Parameter(
    name="flaps_max",
    title="Breaks allowed",
    about="How often a node's connection may break within the window below before it counts as unstable.",
    readers="the panel when a connection breaks, and the sweep for silent nodes",
    least=1,
    most=1000,
    whole=True,
    setting="FLAPS_MAX",
    variable="FOGPANEL_FLAPS_MAX",
)
FLAPS_WINDOW_S = Parameter(
    name="flaps_window_s",
    title="Window of breaks",
    about="Breaks that lie further back are forgotten.",
    readers="the panel when a connection breaks, and the sweep for silent nodes",
    unit="s",
    least=1,
    most=86_400,
    setting="FLAPS_WINDOW_S",
    variable="FOGPANEL_FLAPS_WINDOW_S",
)
STEADY_S = Parameter(
    name="steady_s",
    title="Steady for",
    about="How long an unstable node must stay connected before it gets work again; doubles each time.",
    readers="the panel when a connection breaks, and the sweep for silent nodes",
    unit="s",
    least=0.1,
    most=86_400,
    setting="STEADY_S",
    variable="FOGPANEL_STEADY_S",
)
COOL_S = Parameter(
    name="cool_s",
    title="Cool down for",
    about="How long a node gets no new work after attempts failed by its own fault; doubles each time.",
    readers="the panel when attempts end",
    unit="s",
    least=0.1,
    most=86_400,
    setting="COOL_S",
    variable="FOGPANEL_COOL_S",
)

# --- Sweeps, probes and the queue ------------------------------------------------------------------

SWEEP_S = Parameter(
    name="sweep_s",
    title="Sweep interval",
    about="How often the panel looks for nodes that have fallen silent, are drained or may get work again, "
    "and for work to give up.",
    readers="the jobs nodes.jobs.sweep_heartbeats, release_held_back and end_drains, and "
    "tasks.jobs.give_up_doubted",
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

AGEING_S = Parameter(
    name="ageing_s",
    title="Ageing",
    about="How long to wait is worth one step of priority. A task that fits nowhere gets a node kept free "
    "after that time.",
    readers="the placer of each process, when it looks at the queue",
    unit="s",
    least=1,
    most=86_400,
    setting="AGEING_S",
    variable="FOGPANEL_AGEING_S",
)

# --- The relay directory ---------------------------------------------------------------------------

DIRECTORY_DAYS = Parameter(
    name="directory_days",
    title="Directory is good for",
    about="How long agents may use one version of the relay directory; it is signed anew when half of that "
    "is over.",
    readers="the panel when it makes a version, and the job nodes.jobs.publish_directory",
    unit="days",
    least=0.05,
    most=30,
    standard=3,
)
GUARD_AFTER_DAYS = Parameter(
    name="guard_after_days",
    title="Guard after",
    about="How long a relay is seen without break before agents may begin circuits there for weeks. Where "
    "few have been, those seen longest serve.",
    readers="the panel when it makes a version of the relay directory",
    unit="days",
    least=0,
    most=365,
    standard=3,
)

# --- What is kept ----------------------------------------------------------------------------------


def _kept(name: str, title: str, about: str, job: str) -> Parameter:
    """A time after which rows are deleted."""
    return Parameter(
        name=name,
        title=title,
        about=about,
        readers=f"the job {job}",
        unit="days",
        least=0.01,
        most=36_500,
        setting=name.upper(),
        variable=f"FOGPANEL_{name.upper()}",
        danger=f"{title}: what is older than a shorter time is deleted within ten minutes, for good.",
    )


KEEP_TASKS_DAYS = _kept(
    "keep_tasks_days",
    "Tasks",
    "How long a task stays after its end, with its attempts, decisions and routine events.",
    "tasks.jobs.forget_old_tasks",
)
KEEP_OUTPUT_DAYS = _kept(
    "keep_output_days",
    "Output",
    "How long the output of tasks that succeeded stays; that of others stays as long as the task.",
    "tasks.jobs.forget_old_output",
)
KEEP_EXPLANATIONS_DAYS = _kept(
    "keep_explanations_days",
    "Explanations",
    "How long the node by node part of decisions stays; counts and choice stay as long as the task.",
    "tasks.jobs.forget_old_explanations",
)
KEEP_EVENTS_DAYS = _kept(
    "keep_events_days",
    "Events",
    "How long it is remembered who did what, and what happened to nodes.",
    "fogpanel.retention.forget_old_events",
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
    Group(
        "failover",
        "Nodes that go",
        "What becomes of the work of a node that is silent or drained.",
        (REPLACE_AFTER_S, GIVE_UP_S, RESEAL_S, DRAIN_S, ARCHIVE_DAYS),
    ),
    Group(
        "behaviour",
        "Nodes that misbehave",
        "They get no new work for a while; at most half of the fleet at once.",
        (FLAPS_MAX, FLAPS_WINDOW_S, STEADY_S, COOL_S),
    ),
    Group(
        "sweeps",
        "Sweeps, probes and the queue",
        "How often the panel looks after itself, and how waiting counts.",
        (SWEEP_S, PROBE_S, AGEING_S),
    ),
    Group(
        "relays",
        "Relay directory",
        "By which keys nodes of the overlay reach each other, as the panel signs it.",
        (DIRECTORY_DAYS, GUARD_AFTER_DAYS),
    ),
    Group(
        "kept",
        "What is kept",
        "How long rows stay; sweeps delete what is older.",
        (KEEP_TASKS_DAYS, KEEP_OUTPUT_DAYS, KEEP_EXPLANATIONS_DAYS, KEEP_EVENTS_DAYS),
    ),
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
