"""The submission form. It only maps its fields to a specification: the rules are in `tasks.specification`."""

from __future__ import annotations

import shlex
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile

from coordinator.values import RoutingStrategy
from fogagent.messages import MAX_ARGS_BYTES
from fogpanel.forms import search_field
from tasks.blobs import read_blob
from tasks.directory import Tab
from tasks.fields import FieldError
from tasks.models import Task
from tasks.privacy import Privacy
from tasks.specification import (
    DEFAULT_CORES,
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_MEMORY_MB,
    DEFAULT_PRIORITY,
    DEFAULT_TIMEOUT_S,
    TAKES_ARGV,
    Driver,
)

DRIVERS = [
    (Driver.PYTHON.value, "Python script, sandboxed"),
    (Driver.WASM.value, "WebAssembly module (WASI)"),
    (Driver.COMMAND.value, "Command on the machine"),
    (Driver.CONTAINER.value, "Container image"),
]
STRATEGIES = [(s.value, s.value.replace("_", " ").capitalize()) for s in RoutingStrategy]


class FilterForm(forms.Form):
    """The filters of /tasks, from its query string. ``after`` and ``before`` are task ids."""

    tab = forms.ChoiceField(
        required=False, choices=[(t.value, t.value) for t in Tab], widget=forms.HiddenInput
    )
    q = search_field("Search by name", "Search by name")
    mine = forms.BooleanField(
        label="Mine", required=False, widget=forms.CheckboxInput(attrs={"class": "form-check-input"})
    )
    after = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1, widget=forms.HiddenInput)
    before = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1, widget=forms.HiddenInput)


def text(**attrs: str) -> forms.TextInput:
    return forms.TextInput(attrs={"class": "form-control", **attrs})


def area(rows: int, **attrs: str) -> forms.Textarea:
    return forms.Textarea(
        attrs={"class": "form-control", "rows": rows, "spellcheck": "false", "autocapitalize": "off", **attrs}
    )


def amount(label: str, step: str, initial: float) -> forms.CharField:
    """A number as text: whether it is one, and its limits, are the specification's to judge."""
    return forms.CharField(
        label=label,
        required=False,
        initial=f"{initial:g}",
        widget=forms.NumberInput(
            attrs={
                "class": "form-control",
                "step": step,
                "inputmode": "decimal",
                "data-default": f"{initial:g}",  # what an empty field means; scripts that seal must know
            }
        ),
    )


class NodeSearchForm(forms.Form):
    """Which nodes to explain: a part of their name, and from the how-manyth on."""

    q = search_field("Find a node by name", "Find a node by name", most=100, test_id="explain-search")
    start = forms.IntegerField(required=False, min_value=0, max_value=10_000_000, widget=forms.HiddenInput)


class TaskForm(forms.Form):
    """What to run, what it needs, who may see it and where it should go."""

    name = forms.CharField(required=False, widget=text(placeholder="Optional"))
    driver = forms.CharField(
        required=False,
        initial=Driver.PYTHON.value,
        widget=forms.Select(choices=DRIVERS, attrs={"class": "form-select", "data-testid": "task-driver"}),
    )
    source = forms.CharField(
        label="Source",
        required=False,
        strip=False,
        widget=area(12, placeholder='print("Hello from the fog")'),
    )
    upload = forms.FileField(
        label="Or a file",
        required=False,
        widget=forms.FileInput(attrs={"class": "form-control", "accept": ".py,.wasm"}),
        error_messages={"empty": "upload: the file is empty; choose another."},
    )
    command = forms.CharField(
        label="Command line",
        required=False,
        help_text="As in a shell: quotes keep words together. No shell runs, so no pipes.",
        widget=text(placeholder='tar --list --file "archive one.tar"'),
    )
    image = forms.CharField(required=False, widget=text(placeholder="docker.io/library/alpine:3.20"))
    args = forms.CharField(
        label="Arguments",
        required=False,
        help_text="As in a shell: quotes keep words together.",
        widget=text(placeholder="--frames 10"),
    )
    stdin = forms.CharField(label="Standard input", required=False, strip=False, widget=area(3))
    env = forms.CharField(
        label="Environment", required=False, help_text="One NAME=value a line.", widget=area(3)
    )
    cores = amount("Cores", "0.05", DEFAULT_CORES)
    memory_mb = amount("Memory in MB", "16", DEFAULT_MEMORY_MB)
    timeout_s = amount("Time limit in seconds", "1", DEFAULT_TIMEOUT_S)
    strategy = forms.CharField(
        required=False,
        initial=RoutingStrategy.LEAST_LOADED.value,
        widget=forms.Select(
            choices=STRATEGIES, attrs={"class": "form-select", "data-testid": "task-strategy"}
        ),
    )
    region = forms.CharField(required=False, widget=text(placeholder="eu-west", list="regions"))
    region_required = forms.BooleanField(
        label="Only there: it waits rather than run elsewhere",
        required=False,
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )
    labels = forms.CharField(
        required=False, help_text="name=value, with commas between. The node must have all.", widget=text()
    )
    priority = amount("Priority, 10 first", "1", DEFAULT_PRIORITY)
    gpus = amount("GPUs", "1", 0)
    disk_mb = amount("Disk in MB", "64", 0)
    max_attempts = amount("Attempts at most", "1", DEFAULT_MAX_ATTEMPTS)
    onion_required = forms.BooleanField(
        label="Only on nodes that can take onion traffic",
        required=False,
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )
    network = forms.BooleanField(
        label="It needs the network (where the node's owner allows it)",
        required=False,
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )

    privacy = forms.CharField(required=False, initial=Privacy.PUBLIC.value)

    PLAIN = (
        "driver", "timeout_s", "cores", "memory_mb", "disk_mb", "gpus", "strategy", "region",
        "region_required", "labels", "onion_required", "priority", "max_attempts", "env",
        "privacy",
    )  # fmt: skip

    def clean_driver(self) -> str:
        return self.cleaned_data["driver"] or Driver.PYTHON.value

    def clean_args(self) -> list[str]:
        return _words("args", self.cleaned_data["args"])

    def clean_command(self) -> list[str]:
        return _words("command", self.cleaned_data["command"])

    def clean_env(self) -> dict[str, str]:
        return _pairs("env", self.cleaned_data["env"].splitlines(), "one NAME=value a line")

    def clean_labels(self) -> dict[str, str]:
        return _pairs("labels", self.cleaned_data["labels"].split(","), "name=value, with commas between")

    def specification(self) -> dict[str, Any]:
        """The fields as `tasks.specification` names them; what is empty is left to its defaults."""
        given = self.cleaned_data
        fields = {name: given[name] for name in self.PLAIN}
        fields |= self._content(given["driver"])
        fields |= {
            "name": given["name"].strip() or self._own_name(),
            "stdin": _unix(given["stdin"]),
            # Scripts and modules have no sockets; their form does not show the box.
            "network": given["network"] and given["driver"] in TAKES_ARGV,
        }
        return {name: value for name, value in fields.items() if value not in (None, "", [], {})}

    def _content(self, driver: str) -> dict[str, Any]:
        given = self.cleaned_data
        if driver == Driver.COMMAND:
            return {"argv": given["command"]}
        if driver == Driver.CONTAINER:
            return {"image": given["image"], "argv": given["args"]}
        upload: UploadedFile[bytes] | None = given["upload"]
        content = upload.read() if upload else None
        if driver == Driver.WASM:
            return {"module": content, "args": given["args"]}
        return {"source": _unix(given["source"]) if content is None else content, "args": given["args"]}

    def _own_name(self) -> str:
        given = self.cleaned_data
        if given["upload"]:
            return str(given["upload"].name).rpartition(".")[0] or str(given["upload"].name)
        if given["driver"] == Driver.COMMAND and given["command"]:
            return str(given["command"][0]).rpartition("/")[2]
        if given["driver"] == Driver.CONTAINER and given["image"]:
            return str(given["image"]).rpartition("/")[2]
        return ""

    def add_errors(self, errors: list[FieldError]) -> None:
        """Show the specification's errors next to the fields they name."""
        for error in errors:
            base = error.field.partition(".")[0].partition("[")[0]
            name = self._field_of(base)
            self.add_error(name if name in self.fields else None, error.message)

    def _field_of(self, name: str) -> str:
        """The form's field for one of the specification."""
        if name == "argv":
            return "command" if self.cleaned_data.get("driver") == Driver.COMMAND else "args"
        return "upload" if name == "module" or (name == "source" and self.files) else name

    @property
    def lost_upload(self) -> str:
        """The name of a file that was sent with a form that comes back: browsers do not keep it."""
        upload = self.files.get("upload") if self.is_bound else None
        return str(upload.name) if upload else ""


def _words(name: str, line: str) -> list[str]:
    # Checked before it is taken apart, which takes four times as long for a line twice as long.
    if len(line) > MAX_ARGS_BYTES:
        raise forms.ValidationError(
            f"{name}: must be at most {MAX_ARGS_BYTES:,} characters, was {len(line):,}."
        )
    try:
        return shlex.split(line)
    except ValueError:
        raise forms.ValidationError(
            f"{name}: a quote is not closed; close it or escape it with \\."
        ) from None


def _pairs(name: str, parts: list[str], rule: str) -> dict[str, str]:
    pairs = {}
    for part in parts:
        key, separator, value = part.strip().partition("=")
        if not part.strip():
            continue
        if not separator or not key.strip():
            raise forms.ValidationError(f"{name}: write {rule}; “{part.strip()[:40]}” is not such a pair.")
        pairs[key.strip()] = value
    return pairs


def _unix(text: str) -> str:
    """Browsers send lines that end in CR LF."""
    return text.replace("\r\n", "\n")


def initial_from(task: Task) -> dict[str, Any]:
    """The form of an earlier task, to run it again with edits. A module has to be chosen again."""
    initial = {
        "name": task.name,
        "driver": task.driver,
        "image": task.image,
        "env": "\n".join(f"{name}={value}" for name, value in task.env.items()),
        "cores": task.cpu_millis / 1000,
        "memory_mb": task.memory_mb,
        "disk_mb": task.disk_mb,
        "gpus": task.gpu_count,
        "timeout_s": task.timeout_s,
        "strategy": task.strategy,
        "region": task.region,
        "region_required": task.region_required,
        "labels": ", ".join(f"{name}={value}" for name, value in task.labels.items()),
        "priority": task.priority,
        "max_attempts": task.max_attempts,
        "onion_required": task.onion_required,
        "network": task.network,
        "stdin": read_blob(task.stdin_id).decode(errors="replace") if task.stdin_id else "",
        "privacy": task.privacy,
    }
    initial["command" if task.driver == Driver.COMMAND else "args"] = shlex.join(task.args)
    if task.driver == Driver.PYTHON and task.payload_id and not task.is_sealed:
        initial["source"] = read_blob(task.payload_id).decode(errors="replace")
    return initial
