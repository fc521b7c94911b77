"""What the browser seals, nodes open, and what nodes seal, the browser opens: the same formats to the byte.

The scripts run in a real browser, against the implementation in Python and the published vectors.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec.structs import replace
from playwright.sync_api import Browser, Page

from e2e.lab import open_lab, run
from fogagent.identity import Identity
from fogagent.messages import MAX_STDIN_BYTES, Outcome, Sealed, Usage
from fogagent.overlay.directory import Changes, Relay, encode_changes, sign
from fogagent.sealing.content import new_content_key, open_bytes, seal_bytes, seal_pieces
from fogagent.sealing.errors import SealingError
from fogagent.sealing.packing import BUCKETS, padded_size, room
from fogagent.sealing.result import Result, open_result, seal_result
from fogagent.sealing.task import SealedSpec, Terms, open_task
from fogagent.sealing.wrapping import RESULT, TASK, binding, unwrap_key, wrap_key
from fogagent.tests.directories import MADE, PANEL, PANEL_KEY, by_identity, relay, signed
from fogpanel.supervisor.places import ROOT

MODULES = (
    "bytes",
    "content",
    "directory",
    "errors",
    "hpke",
    "packing",
    "result",
    "task",
    "wrapping",
    "x25519",
)
VECTORS = json.loads((ROOT / "fogagent" / "tests" / "sealing_vectors.json").read_text())
NODE = Identity.generate()
OTHER = Identity.generate()
SUBMITTER = X25519PrivateKey.generate()
TERMS = Terms(driver="python", timeout_s=60, cpu_millis=250, memory_mb=128)
KEY = bytes(range(32))

SAFELY = """async (work) => {
  try {
    return ["", await work()];
  } catch (error) {
    if (!Object.values(lab.errors).includes(error.constructor)) throw error;
    return [error.constructor.name, error.message];
  }
}"""


@pytest.fixture(scope="module")
def lab(browser: Browser) -> Iterator[Page]:
    page = browser.new_context().new_page()
    open_lab(page, *(f"sealing/{name}" for name in MODULES))
    page.evaluate(
        f"() => {{ lab.safely = {SAFELY}; lab.hex = lab.bytes.fromHex; lab.toHex = lab.bytes.toHex; }}"
    )
    yield page
    page.context.close()


# --- The published suite ---------------------------------------------------------------------------


def test_hpke_is_that_of_the_rfc(lab: Page) -> None:
    facts = VECTORS["rfc9180"]
    sealed = run(
        lab,
        """async (v) => lab.toHex(await lab.hpke.seal(
          lab.hex(v.pkRm), lab.hex(v.info), lab.hex(v.pt), lab.hex(v.aad), lab.hex(v.skEm)))""",
        facts,
    )
    assert sealed == facts["enc"] + facts["ct"]
    opened = run(
        lab,
        """async (v) => lab.toHex(
          await lab.hpke.open(lab.hex(v.skRm), lab.hex(v.info), lab.hex(v.enc + v.ct), lab.hex(v.aad)))""",
        facts,
    )
    assert opened == facts["pt"]


@pytest.mark.parametrize("example", VECTORS["wrapped"]["examples"], ids=lambda example: example["purpose"])
def test_wraps_stay_what_was_published(lab: Page, example: dict[str, str]) -> None:
    key = run(
        lab,
        """async ([v, e]) => {
          const purpose = { task: lab.wrapping.TASK, result: lab.wrapping.RESULT }[e.purpose];
          const bound = lab.wrapping.binding(v.reservation, lab.hex(v.node), lab.hex(v.content_sha256));
          const info = lab.bytes.concat(purpose, bound);
          if (lab.toHex(info) !== e.info) throw new Error(lab.toHex(info));
          return lab.toHex(await lab.wrapping.unwrapKey(lab.hex(e.wrapped), lab.hex(v.private_key), info));
        }""",
        [VECTORS["wrapped"], example],
    )
    assert key == VECTORS["wrapped"]["key"]


@pytest.mark.parametrize("example", VECTORS["sealed"]["examples"], ids=lambda example: str(example["bytes"]))
def test_sealed_content_stays_what_was_published(lab: Page, example: dict[str, Any]) -> None:
    kind, content = opened(lab, bytes.fromhex(example["sealed"]), bytes.fromhex(VECTORS["sealed"]["key"]))
    assert (kind, content) == ("", bytes(n % 251 for n in range(example["bytes"])).hex())


# --- Content -----------------------------------------------------------------------------------------


def opened(lab: Page, sealed: bytes, key: bytes) -> tuple[str, str]:
    """What the browser makes of sealed content: the kind of error, and the content or the sentence."""
    script = """async ([sealed, key]) => lab.safely(
      async () => lab.toHex(await lab.content.openContent(lab.hex(sealed), lab.hex(key))))"""
    kind, told = run(lab, script, [sealed.hex(), key.hex()])
    return kind, told


def kind_in_python(sealed: bytes, key: bytes) -> str:
    try:
        open_bytes(sealed, key)
    except SealingError as error:
        return type(error).__name__
    return ""


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 4096, 70_000])
def test_content_that_the_browser_sealed_opens_here(lab: Page, size: int) -> None:
    content = bytes(n % 253 for n in range(size))
    for chunk_log2 in (10, 16):
        script = """async ([content, key, chunkLog2]) => lab.toHex(
          await lab.content.sealContent(lab.hex(content), lab.hex(key), chunkLog2))"""
        sealed = bytes.fromhex(run(lab, script, [content.hex(), KEY.hex(), chunk_log2]))
        assert open_bytes(sealed, KEY) == content
        assert opened(lab, sealed, KEY) == ("", content.hex())


def test_what_was_changed_or_cut_is_refused_by_the_same_name(lab: Page) -> None:
    whole = b"".join(seal_pieces([bytes(3000)], KEY, chunk_log2=10))
    chunk = 1024 + 16
    wrong = [
        whole[:size] for size in (0, 3, 63, 64, 64 + chunk, 64 + chunk + 5, 64 + 2 * chunk, len(whole) - 1)
    ]
    wrong += [flipped(whole, at) for at in (0, 6, 7, 8, 40, 64, 64 + chunk, len(whole) - 1)]
    wrong += [whole + b"\0", whole[: 64 + chunk] + whole[64:]]
    for sealed in wrong:
        assert (kind := kind_in_python(sealed, KEY))
        assert opened(lab, sealed, KEY)[0] == kind
    assert opened(lab, whole, new_content_key())[0] == "WrongKey"


def flipped(whole: bytes, at: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


def test_sizes_are_those_of_the_buckets(lab: Page) -> None:
    assert run(lab, "() => lab.packing.BUCKETS") == list(BUCKETS)
    assert run(lab, "() => lab.packing.BUCKETS.map(lab.packing.room)") == [room(bucket) for bucket in BUCKETS]
    assert run(lab, "() => lab.task.MAX_STDIN_BYTES") == MAX_STDIN_BYTES
    most = room(BUCKETS[0])
    asked = run(lab, "(most) => [most, most + 1].map(lab.packing.paddedSize)", most)
    assert asked == [BUCKETS[0], BUCKETS[1]]
    too_large = run(lab, "(size) => lab.safely(() => lab.packing.paddedSize(size))", room(BUCKETS[-1]) + 1)
    assert too_large[0] == "TooLarge"


# --- A task ------------------------------------------------------------------------------------------


SEAL = """async ({ terms, inside, reserved, directory, panelKey, now }) => {
  const text = { ...inside, payload: lab.hex(inside.payload), stdin: lab.hex(inside.stdin) };
  const { relays } = await lab.directory.judge(lab.hex(directory), lab.hex(panelKey), now);
  const sealed = await lab.task.sealTask(terms, text);
  const wraps = await lab.task.wrapsFor(sealed, reserved, relays);
  const size = lab.task.taskSize(terms, text, text.payload.length, text.stdin.length);
  return {
    wraps, size,
    content: lab.bytes.toBase64(sealed.content), contentKey: lab.toHex(sealed.contentKey),
    contentSha256: lab.toHex(sealed.contentSha256), resultKey: lab.toHex(sealed.resultKey),
  };
}"""


def directory_of(*nodes: Identity, **fields: object) -> bytes:
    relays = by_identity(
        relay(number, identity=node.public_key, sealing_key=node.sealing_key, **fields)
        for number, node in enumerate(nodes, start=1)
    )
    return encode_changes(signed(relays, 7))


def sealed_in_browser(lab: Page, spec: SealedSpec, *nodes: Identity) -> dict[str, Any]:
    asked = {
        "terms": {"network": False} | msgspec.to_builtins(spec.terms),
        "inside": {
            "image": spec.image,
            "args": spec.args,
            "env": spec.env,
            "payload": spec.payload.hex(),
            "stdin": spec.stdin.hex(),
        },
        "reserved": {"reservation": 7, "nodes": [{"identity": node.public_key.hex()} for node in nodes]},
        "directory": directory_of(NODE, OTHER).hex(),
        "panelKey": PANEL_KEY.hex(),
        "now": MADE + 1,
    }
    sealed: dict[str, Any] = run(lab, SEAL, asked)
    return sealed


def packed(spec: SealedSpec) -> int:
    """Its size without padding, where JSON has all fields and no blanks."""
    head = msgspec.to_builtins(replace(spec, payload=b"", stdin=b""))
    told = {"image": "", "args": [], "env": {}} | head
    told["terms"] = {"network": False} | told["terms"]
    # As JavaScript writes it: 60 and not 60.0.
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace(".0", "")
    return 3 * 4 + len(text.encode()) + len(spec.payload) + len(spec.stdin)


SPEC = SealedSpec(
    terms=TERMS,
    result_key=bytes(32),
    args=["--depth", "3", "two words", ""],
    env={"SECRET": "äther ☂"},
    payload="print('☂')".encode(),
    stdin=b"plain\0text",
)


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        SealedSpec(
            terms=replace(TERMS, driver="container", network=True), result_key=bytes(32), image="a/b:1"
        ),
        replace(SPEC, payload=bytes(200_000), stdin=b""),
    ],
    ids=["script", "container", "large"],
)
def test_a_task_that_the_browser_sealed_opens_on_each_of_its_nodes(lab: Page, spec: SealedSpec) -> None:
    sealed = sealed_in_browser(lab, spec, NODE, OTHER)
    content = base64.b64decode(sealed["content"])
    assert len(content) == padded_size(sealed["size"])
    assert sealed["size"] == packed(spec)
    assert sealed["contentSha256"] == sha256(content).hexdigest()
    result_key = X25519PrivateKey.from_private_bytes(bytes.fromhex(sealed["resultKey"]))
    for node, wrap in zip((NODE, OTHER), sealed["wraps"], strict=True):
        assert wrap["node"] == node.public_key.hex()
        order = Sealed(reservation=7, wrapped=base64.b64decode(wrap["wrapped"]))
        found = open_task(content, order, node)
        assert found == replace(spec, result_key=result_key.public_key().public_bytes_raw())


def test_nothing_is_wrapped_for_a_node_that_is_not_in_the_directory(lab: Page) -> None:
    with pytest.raises(Exception, match="is not in the signed directory"):
        sealed_in_browser(lab, SPEC, NODE, Identity.generate())


def test_more_than_fits_is_refused(lab: Page) -> None:
    script = """async (sizes) => {
      const [payload, stdin] = sizes.map((size) => new Uint8Array(size));
      return lab.safely(() => lab.task.sealTask({}, { image: "", args: [], env: {}, payload, stdin }));
    }"""
    assert run(lab, script, [BUCKETS[-1], 0])[0] == "TooLarge"
    assert run(lab, script, [0, MAX_STDIN_BYTES + 1])[0] == "TooLarge"


# --- A result ----------------------------------------------------------------------------------------

RESULT_OF = Result(
    outcome=Outcome.EXIT_CODE,
    exit_code=3,
    sentence="exited with code 3",
    usage=Usage(wall_s=1.5, cpu_s=0.5, memory_peak_mb=20, stdout_bytes=10),
    truncated=True,
    stdout="forty-two ☂\n".encode(),
    stderr=b"\xff\x00 no text",
)
OPEN = """async ([sealed, key, reservation, node]) => lab.safely(async () => {
  const result = await lab.result.openResult(lab.bytes.fromBase64(sealed), lab.hex(key), reservation, node);
  return { ...result, stdout: lab.toHex(result.stdout), stderr: lab.toHex(result.stderr) };
})"""


def opened_result(
    lab: Page, sealed: bytes, reservation: int = 7, node: Identity = NODE, key: X25519PrivateKey = SUBMITTER
) -> tuple[str, Any]:
    given = [base64.b64encode(sealed).decode(), key.private_bytes_raw().hex(), reservation]
    kind, told = run(lab, OPEN, [*given, node.public_key.hex()])
    return kind, told


def sealed_result(result: Result = RESULT_OF, node: Identity = NODE) -> bytes:
    return seal_result(result, SUBMITTER.public_key().public_bytes_raw(), 7, node)


@pytest.mark.parametrize("result", [RESULT_OF, Result(outcome=Outcome.SUCCEEDED)], ids=["full", "bare"])
def test_a_result_that_a_node_sealed_opens_in_the_browser(lab: Page, result: Result) -> None:
    kind, told = opened_result(lab, sealed_result(result))
    assert kind == ""
    streams = {name: bytes.fromhex(told.pop(name)) for name in ("stdout", "stderr")}
    assert replace(msgspec.convert(told, Result), **streams) == result


def test_all_outcomes_are_known(lab: Page) -> None:
    assert run(lab, "() => lab.result.OUTCOMES") == [str(outcome) for outcome in Outcome]


def test_a_result_of_another_or_for_another_is_refused_by_the_same_name(lab: Page) -> None:
    right = sealed_result()
    stranger = X25519PrivateKey.generate()
    cases: list[tuple[bytes, int, Identity, X25519PrivateKey]] = [
        (right, 8, NODE, SUBMITTER),
        (right, 7, OTHER, SUBMITTER),
        (right, 7, NODE, stranger),
        (right[:100], 7, NODE, SUBMITTER),
        (right[:-1], 7, NODE, SUBMITTER),
        *((flipped(right, at), 7, NODE, SUBMITTER) for at in (0, 40, 90, 150, len(right) - 1)),
    ]
    for sealed, reservation, node, key in cases:
        with pytest.raises(SealingError) as error:
            open_result(sealed, key, reservation, node.public_key)
        assert opened_result(lab, sealed, reservation, node, key)[0] == type(error.value).__name__


def test_what_opens_but_is_no_result_is_refused(lab: Page) -> None:
    key = new_content_key()
    content = seal_bytes(len(b"{}").to_bytes(4, "big") + b"{}" + bytes(8), key)
    bound = binding(7, NODE.public_key, sha256(content).digest())
    wrapped = wrap_key(key, SUBMITTER.public_key().public_bytes_raw(), RESULT + bound)
    sealed = wrapped + NODE.sign(b"fogpanel sealed result v1\0", bound) + content
    assert opened_result(lab, sealed)[0] == "BadContent"


def test_wraps_of_the_browser_open_here(lab: Page) -> None:
    info = TASK + binding(7, NODE.public_key, bytes(32))
    script = """async ([key, receiver, info]) =>
      lab.toHex(await lab.wrapping.wrapKey(lab.hex(key), lab.hex(receiver), lab.hex(info)))"""
    wrapped = run(lab, script, [KEY.hex(), NODE.sealing_key.hex(), info.hex()])
    assert unwrap_key(bytes.fromhex(wrapped), NODE.sealing, info) == KEY


@pytest.mark.parametrize("unusable", [bytes(32), b"\1" + bytes(31), bytes(31)], ids=["zero", "one", "short"])
def test_nothing_is_wrapped_for_a_key_with_which_everybody_shares_the_same_secret(
    lab: Page, unusable: bytes
) -> None:
    script = "async (key) => lab.safely(() => lab.wrapping.wrapKey(lab.hex(key), lab.hex(key), lab.hex('')))"
    assert run(lab, script, unusable.hex())[0] == "WrongKey"


# --- The directory -----------------------------------------------------------------------------------


JUDGE = """async ([encoded, key, now]) => lab.safely(async () => {
  const { relays } = await lab.directory.judge(lab.bytes.fromBase64(encoded), lab.hex(key), now);
  return [...relays].map(([identity, relay]) => [identity, lab.toHex(relay.sealing_key)]);
})"""
RELAYS = by_identity([
    relay(1, node=2**40, name="☂ äther", family="somebody", region="eu-west", bandwidth_kbps=12_345),
    relay(2, node=2**62 + 1, address="", flags=[]),
    relay(3, certificate=bytes(range(256)) * 3),
    relay(4, address="relay.example:9000", networks=["192.0.0.0/16", "2001:0db8::/32"]),
])  # fmt: skip
CHANGES = signed(RELAYS, 2**40 + 1)


def judged(lab: Page, changes: Changes, key: bytes = PANEL_KEY, now: float = MADE + 1) -> tuple[str, Any]:
    kind, told = run(lab, JUDGE, [base64.b64encode(encode_changes(changes)).decode(), key.hex(), now])
    return kind, told


def test_a_signed_directory_is_believed(lab: Page) -> None:
    kind, told = judged(lab, CHANGES)
    assert kind == ""
    assert dict(told) == {one.identity.hex(): one.sealing_key.hex() for one in RELAYS.values()}


def forged(**changed: object) -> Changes:
    """With one relay that is not as the panel signed it."""
    first, *rest = CHANGES.upserts
    return replace(CHANGES, upserts=[replace(first, **changed), *rest])


FORGED: dict[str, Changes] = {
    "a key": forged(sealing_key=bytes(range(32))),
    "a name": forged(name="else"),
    "a flag": forged(flags=["relay", "exit"]),
    "one less": replace(CHANGES, upserts=CHANGES.upserts[1:]),
    "one twice": replace(CHANGES, upserts=[*CHANGES.upserts, CHANGES.upserts[0]]),
    "another version": replace(CHANGES, version=3),
    "a longer life": replace(CHANGES, expires_at=CHANGES.expires_at + 1),
    "another digest": replace(CHANGES, digest=bytes(32)),
    "another signature": replace(CHANGES, signature=bytes(64)),
    "changes to another": replace(CHANGES, base=2),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_directory_is_refused(lab: Page, name: str) -> None:
    assert judged(lab, FORGED[name])[0] == "BadDirectory"


def test_a_directory_of_another_panel_or_an_expired_one_is_refused(lab: Page) -> None:
    kind, sentence = judged(lab, CHANGES, key=Identity.generate().public_key)
    assert kind == "BadDirectory" and "was not signed by this panel" in sentence
    kind, sentence = judged(lab, CHANGES, now=CHANGES.expires_at)
    assert kind == "BadDirectory" and "expired" in sentence


def test_a_signed_directory_whose_relays_do_not_fit_is_refused(lab: Page) -> None:
    """The signature is right, of the digest that the forger found for what he put in."""
    text = {"version": 9, "made_at": MADE, "expires_at": MADE + 10, "digest": bytes(32)}
    changes = Changes(base=0, upserts=list(RELAYS.values()), signature=sign(PANEL, **text), **text)  # type: ignore[arg-type]
    kind, sentence = judged(lab, changes)
    assert kind == "BadDirectory" and "not the one that was signed" in sentence


@pytest.mark.parametrize("encoded", [b"", b"\xc0", b"\x80", b"\xff" * 40, encode_changes(CHANGES)[:-7]])
def test_what_is_no_directory_is_refused(lab: Page, encoded: bytes) -> None:
    assert run(lab, JUDGE, [base64.b64encode(encoded).decode(), PANEL_KEY.hex(), MADE])[0] == "BadDirectory"


def test_twenty_thousand_relays_are_judged(lab: Page) -> None:
    """The most that there may be, with what their certificates and addresses have of bytes."""
    many: dict[bytes, Relay] = by_identity(relay(n, certificate=bytes(300)) for n in range(1, 20_001))
    kind, told = judged(lab, signed(many, 1))
    assert (kind, len(told)) == ("", 20_000)
