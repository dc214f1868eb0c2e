"""The screening process as its clients meet it: a real process, a real socket, a real ledger, real kills."""

from __future__ import annotations

import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any  # JSON
from uuid import UUID

import pyarrow as pa
import pytest

from mingbai.connectors.ledger_access import open_keys
from mingbai.connectors.policy_store import FreedMessage, ModelFile, policies_dir, publish, shipped_rulebook_text
from mingbai.connectors.screening_client import RulebookRefused, ScreenerFailed, ScreenerUnavailable, ScreeningClient
from mingbai.connectors.screening_wire import PREFIX, Frame, FrameDecoder, socket_path
from mingbai.engines.screening.model import Model
from mingbai.kernel.errors import BadValue, SchemaMismatch
from mingbai.kernel.verdicts import Reason, Verdict
from mingbai.ledger import LedgerCannotWrite, StreamReader, verify
from mingbai.ledger.segments import open_path, stream_dir
from mingbai.settings import load_settings

SPAM = "【惠民贷】无抵押无担保，黑户白户都能做，当天放款最高50万，加薇信：kd8866，或致电13900001111"
CHAT = "晚上一起吃饭吗？我大概六点半到你家楼下"
SENDER = "+8613800138000"
PATIENCE_S = 120.0
RULES = (
    '[rulebook]\nname = "draft"\nversion = "1"\n[[rule]]\nid = "meal"\ncategory = "spam"\naction = "hold"\n'
    'owner = "li"\nreason = "no meals"\nkeywords = ["吃饭"]\n'
)


def messages(*texts: str, sender: str | None = SENDER) -> pa.RecordBatch:
    return pa.record_batch(
        {"text": pa.array(texts, pa.string()), "sender": pa.array([sender] * len(texts), pa.string())}
    )


@dataclass
class Running:
    """A screener of its own data directory."""

    data: Path
    process: subprocess.Popen[bytes] | None = None
    client: ScreeningClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = ScreeningClient(self.data, timeout_s=PATIENCE_S, question_timeout_s=PATIENCE_S)

    def start(self) -> dict[str, Any]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mingbai.gateway.screener", "--data", str(self.data)], cwd=self.data
        )
        return self.client.wait_until_ready(PATIENCE_S)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def texts(self) -> dict[UUID, str]:
        """Everything in the ledger: entry id -> text."""
        reader = StreamReader(self.data, "api", open_keys(load_settings(data=self.data)))
        found: list[tuple[UUID, str]] = []
        for entries, originals in reader.entries_with_originals(["id", "kind"]):
            rows = zip(entries.to_pylist(), originals.column("text").to_pylist(), strict=True)
            found += [(UUID(bytes=entry["id"]), text) for entry, text in rows if entry["kind"] == "sms.screened"]
        assert len({identifier for identifier, _ in found}) == len(found)
        return dict(found)

    def events(self, kind: str) -> list[str]:
        reader = StreamReader(self.data, "api")
        batches = reader.entries(["kind", "data"])
        return [row["data"] for batch in batches for row in batch.to_pylist() if row["kind"] == kind]


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that the process does by itself."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One screener for the tests that leave it as they found it."""
    running = Running(tmp_path_factory.mktemp("screener"))
    running.start()
    yield running
    running.kill(signal.SIGTERM)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """A screener to be stopped and broken; not started yet. Its rules are few, so that it starts soon, and the path of
    its socket is longer than the kernel's 108 bytes."""
    data = tmp_path / ("d" * 120)
    data.mkdir()
    publish(data, now=datetime.now(UTC), by="li", rulebook=RULES.replace("吃饭", "聚餐"))
    running = Running(data)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.kill()


# ---- deciding


def test_messages_are_decided_and_their_entries_are_in_the_ledger(shared: Running) -> None:
    found = shared.client.screen(messages(SPAM, CHAT))
    assert found.decisions.column("verdict").to_pylist() == [Verdict.BLOCK, Verdict.ALLOW]
    assert found.stream == "api" and found.policy == 0 and found.rulebook.startswith("mingbai-default")
    recorded = shared.texts()
    assert [recorded[identifier] for identifier in found.ids] == [SPAM, CHAT]
    reader = StreamReader(shared.data, "api")
    (entries,) = reader.entries(["id", "verdict", "rulebook"], first_seq=found.first_seq, last_seq=found.first_seq + 1)
    assert [UUID(bytes=one) for one in entries.column("id").to_pylist()] == found.ids
    assert set(entries.column("rulebook").to_pylist()) == {found.rulebook}


def test_many_threads_share_a_client_and_each_gets_its_own_answers(shared: Running) -> None:
    wrong: list[str] = []

    def ask(number: int) -> None:
        for turn in range(10):
            texts = [f"{CHAT}{number}-{turn}-{row}" for row in range(number + 1)]
            found = shared.client.screen(messages(*texts))
            recorded = StreamReader(shared.data, "api", open_keys(load_settings(data=shared.data))).originals(
                range(found.first_seq, found.first_seq + len(texts))
            )
            if recorded.column("text").to_pylist() != texts or len(found.ids) != len(texts):
                wrong.append(texts[0])
        shared.client.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_no_batch_of_messages_is_refused_with_the_field(shared: Running) -> None:
    with pytest.raises(SchemaMismatch, match="subject"):
        shared.client.screen(pa.record_batch({"text": ["a"], "subject": ["b"]}))
    with pytest.raises(BadValue, match="messages"):
        shared.client.screen(messages())


def test_the_status_tells_what_was_done(shared: Running) -> None:
    before = shared.client.status()
    shared.client.screen(messages(SPAM, CHAT, CHAT))
    until(lambda: shared.client.status()["messages"] == before["messages"] + 3)
    after = shared.client.status()
    assert after["pid"] == shared.pid and after["alarms"] == [] and after["queue_rows"] == 0
    assert after["rate_per_s"] > 0 and 0 < after["latency_ms"]["p50"] <= after["latency_ms"]["p99"]
    assert after["counters"]["campaigns"] > 0


# ---- questions


def test_a_message_is_explained_by_the_policy_in_force_and_by_a_draft(shared: Running) -> None:
    found = shared.client.explain(SPAM, sender=SENDER)
    assert found["verdict"] == "block" and "model.spam" in found["reasons"] and found["policy"] == 0
    assert all(SPAM[item["start"] : item["end"]] == item["written"] for item in found["evidence"])
    drafted = shared.client.explain(CHAT, rulebook=RULES)
    assert drafted["verdict"] == "hold" and drafted["rules"] == [{"id": "meal", "reason": "no meals", "owner": "li"}]
    assert shared.client.explain(CHAT)["verdict"] == "allow"
    assert shared.client.explain(CHAT, model=found["model"])["model"] == found["model"]
    with pytest.raises(ScreenerFailed, match="model-0123456789ab"):
        shared.client.explain(CHAT, model="0123456789ab")
    with pytest.raises(RulebookRefused):
        shared.client.explain(CHAT, rulebook="[[rule")


def test_a_rulebook_is_checked_with_every_problem_at_its_line(shared: Running) -> None:
    wrong = shared.client.check_rulebook(RULES.replace("hold", "opinion") + 'score_min = "x"\n')
    assert not wrong.is_valid
    assert {(problem.line, problem.rule, problem.field) for problem in wrong.problems} == {
        (7, "meal", "action"),
        (11, "meal", "score_min"),
    }
    right = shared.client.check_rulebook(RULES)
    assert right.is_valid and (right.name, right.version) == ("draft", "1") and len(right.digest) == 64
    (rule,) = right.rules
    assert (rule["id"], rule["line"], rule["action"], rule["is_in_force"]) == ("meal", 4, "hold", True)
    assert shared.client.check_rulebook(shipped_rulebook_text()).name == "mingbai-default"


def test_a_draft_is_tried_beside_the_rulebook_in_force_and_nothing_is_recorded(shared: Running) -> None:
    before = len(shared.texts())
    tried = shared.client.try_rulebook(RULES, messages(CHAT, SPAM))
    assert [row["verdict"] for row in tried.draft] == [Verdict.HOLD, Verdict.BLOCK]
    assert [row["verdict"] for row in tried.present] == [Verdict.ALLOW, Verdict.BLOCK]
    assert tried.draft[0]["rules"] == ["meal"] and tried.draft[0]["spans"] == [[CHAT.index("吃饭"), CHAT.index("吗")]]
    assert len(shared.texts()) == before


# ---- the wire


def connect(running: Running) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(socket_path(running.data)))
    return connection


@pytest.mark.parametrize(
    "content",
    [b"GET / HTTP/1.1\r\n\r\n", PREFIX.pack(2**32 - 1, 0), PREFIX.pack(4, 0) + b"null", PREFIX.pack(1, 0) + b"{"],
)
def test_what_is_no_frame_ends_the_connection_with_a_reason(shared: Running, content: bytes) -> None:
    with connect(shared) as connection:
        connection.sendall(content)
        decoder = FrameDecoder()
        frames = []
        while data := connection.recv(4096):
            frames += decoder.receive(data)
    (answer,) = frames
    assert answer.header["id"] is None and answer.header["error"]["code"] == "bad_frame"
    assert shared.client.status()["pid"] == shared.pid


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Frame({"id": 7, "op": "forget"}), "bad_frame"),
        (Frame({"id": 7}), "bad_frame"),
        (Frame({"id": 7, "op": "screen"}), "bad_frame"),
        (Frame({"id": 7, "op": "screen"}, b"no batch"), "bad_frame"),
        (Frame({"id": 7, "op": "check_rulebook"}), "bad_value"),
        (Frame({"id": 7, "op": "explain", "rulebook": 1}), "bad_frame"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_and_the_connection_stays(
    shared: Running, frame: Frame, code: str
) -> None:
    with connect(shared) as connection:
        for _ in range(2):
            connection.sendall(frame.to_bytes())
            (answer,) = FrameDecoder().receive(connection.recv(65536))
            assert answer.header["id"] == 7 and answer.header["error"]["code"] == code


def test_a_client_that_stalls_holds_up_nobody(shared: Running) -> None:
    with connect(shared) as half, connect(shared) as deaf:
        half.sendall(PREFIX.pack(100, 100) + b'{"id"')
        status = Frame({"id": 1, "op": "status"}).to_bytes()
        deaf.setblocking(False)
        try:
            for _ in range(2000):  # never reads an answer
                deaf.send(status)
        except BlockingIOError:
            pass
        assert shared.client.screen(messages(CHAT)).decisions.num_rows == 1


def test_only_the_owner_may_ask(shared: Running) -> None:
    path = socket_path(shared.data)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700


# ---- the policy


def test_a_publication_is_in_force_without_a_restart_and_a_freed_message_passes(own: Running) -> None:
    own.start()
    now = datetime.now(UTC)
    (stopped,) = own.client.screen(messages(SPAM)).decisions.to_pylist()
    assert stopped["verdict"] == Verdict.BLOCK
    key = own.client.free_key(SPAM, sender="138 0013 8000")
    assert key.numbers == ("50", "kd8866", "13900001111") and key.links == () and key.sender == SENDER
    freed = FreedMessage("42", key.key, "li", now + timedelta(hours=1))
    over = FreedMessage("43", own.client.free_key(CHAT + SPAM, sender=SENDER).key, "li", now)
    snapshot = publish(own.data, now=now, by="li", rulebook=RULES, exceptions=[freed, over])
    until(lambda: own.client.status()["policy"]["version"] == snapshot.version)
    found = own.client.screen(messages(SPAM, CHAT, SPAM + " t.cn/x", CHAT + SPAM))
    assert found.policy == snapshot.version and found.rulebook.startswith("draft 1")
    verdicts = found.decisions.column("verdict").to_pylist()
    assert verdicts == [Verdict.ALLOW, Verdict.HOLD, Verdict.BLOCK, Verdict.BLOCK]
    assert found.decisions.column("rules").to_pylist()[0] == ["freed:42"]
    assert Reason.RULE_FREED in found.decisions.column("reasons").to_pylist()[0]

    part = snapshot.rulebook
    assert part is not None
    publish(own.data, now=now, by="li", rulebook=RULES.replace("吃饭", "六点"))
    until(lambda: own.client.status()["policy"]["version"] == snapshot.version + 1)
    (policies_dir(own.data) / part.name).write_text("damaged")
    publish_damaged = own.client.status()["policy"]["version"]
    current = policies_dir(own.data) / "current.json"
    new = current.with_name("by-hand")
    new.write_text(current.read_text()[:-9])
    new.rename(current)
    until(lambda: [alarm["code"] for alarm in own.client.status()["alarms"]] == ["policy_unusable"])
    assert own.client.status()["policy"]["version"] == publish_damaged
    assert own.client.screen(messages(CHAT)).decisions.column("verdict").to_pylist() == [Verdict.HOLD]


def test_a_shadow_model_is_counted_and_decides_nothing(own: Running) -> None:
    shipped = Model.load()
    everything = shipped.chinese._replace(flag_at=shipped.chinese.flag_at * 0, block_at=shipped.chinese.block_at * 0)
    strict = Model(everything, shipped.english, shipped.alphabet_version, shipped.reading_version, {})
    path = own.data / "strict.npz"
    strict.save(path)
    shadow = ModelFile(strict.version, path.read_bytes())
    publish(own.data, now=datetime.now(UTC), by="li", shadow_model=shadow)
    assert own.start()["policy"]["shadow_model"] == strict.version
    found = own.client.screen(messages(SPAM, CHAT, CHAT))
    assert found.decisions.column("verdict").to_pylist() == [Verdict.BLOCK, Verdict.ALLOW, Verdict.ALLOW]
    until(lambda: (own.client.status()["shadow"] or {}).get("messages") == 3)
    counts = own.client.status()["shadow"]
    assert (counts["agree"], sum(counts["stopped"].values()), counts["freed"]) == (1, 2, {})
    assert own.kill(signal.SIGTERM) == 0
    (event,) = own.events("model.shadowed")
    assert f'"shadow":"{strict.version}"' in event and '"messages":3' in event


# ---- what goes wrong


def test_without_a_screener_the_client_says_so_at_once(tmp_path: Path) -> None:
    with pytest.raises(ScreenerUnavailable) as refused:
        ScreeningClient(tmp_path).screen(messages(CHAT))
    assert refused.value.retryable


def test_a_full_disk_acknowledges_nothing_and_needs_no_restart(own: Running) -> None:
    own.start()
    own.client.screen(messages(CHAT))
    segment = open_path(stream_dir(own.data, "api"), 1)
    _, hard = resource.prlimit(own.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(own.pid, resource.RLIMIT_FSIZE, (segment.stat().st_size + 100, hard))
    recorded = own.texts()
    with pytest.raises(LedgerCannotWrite) as refused:
        own.client.screen(messages(*[f"{CHAT}{row}" for row in range(3000)]))
    assert refused.value.retryable and "File too large" in str(refused.value)
    assert [alarm["code"] for alarm in own.client.status()["alarms"]] == ["ledger_cannot_write"]
    assert own.texts() == recorded
    resource.prlimit(own.pid, resource.RLIMIT_FSIZE, (hard, hard))
    found = own.client.screen(messages(CHAT + "!"))
    assert own.texts() == {**recorded, found.ids[0]: CHAT + "!"}
    assert own.client.status()["alarms"] == []


@pytest.mark.slow
def test_a_kill_under_load_loses_nothing_that_was_answered(own: Running) -> None:
    own.start()
    answered: dict[UUID, str] = {}
    stopping = threading.Event()
    lock = threading.Lock()

    def ask(number: int) -> None:
        turn = 0
        while not stopping.is_set():
            texts = [f"{CHAT} {number}/{turn}/{row}" for row in range(1 + turn % 7)]
            turn += 1
            try:
                found = own.client.screen(messages(*texts))
            except ScreenerUnavailable:
                time.sleep(0.01)
                continue
            with lock:
                answered.update(zip(found.ids, texts, strict=True))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            before = len(answered)
            until(lambda before=before: len(answered) > before + 100)  # type: ignore[misc]  # a lambda's default
            assert own.kill() == -signal.SIGKILL
            assert socket_path(own.data).exists()  # nobody took the name away: the next start replaces it
            own.start()
        before = len(answered)
        until(lambda: len(answered) > before + 50)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert own.kill(signal.SIGTERM) == 0
    recorded = own.texts()
    assert answered.items() <= recorded.items()
    assert len(set(recorded.values())) == len(recorded)  # nothing was asked twice by the client itself
    assert verify(own.data).ok


def test_sigterm_answers_what_was_asked_and_signs_the_chain(own: Running) -> None:
    own.start()
    answers: list[int] = []

    def ask() -> None:
        answers.append(own.client.screen(messages(*[f"{CHAT}{row}" for row in range(10_000)])).decisions.num_rows)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: own.client.status()["queue_rows"] > 0 or not asking.is_alive())
    assert own.kill(signal.SIGTERM) == 0
    asking.join()
    assert answers == [10_000]
    assert not socket_path(own.data).exists()
    assert own.events("head.signed")[-1:] and verify(own.data).ok
