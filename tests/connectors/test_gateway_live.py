"""What the gateway shows of itself: asked over a real socket; a worker that is gone is left out."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mingbai.connectors import gateway_live
from mingbai.connectors.gateway_live import GatewayUnavailable
from tests.connectors.gateway_peer import dead_letter, gateway


def test_a_gateway_that_does_not_run_shows_nothing(tmp_path: Path) -> None:
    assert gateway_live.workers(tmp_path) == []
    assert gateway_live.live(tmp_path) == []
    assert gateway_live.listed(tmp_path, "dead").items == ()


def test_each_worker_answers(tmp_path: Path) -> None:
    with gateway(tmp_path, "2"), gateway(tmp_path, "10"):
        assert gateway_live.workers(tmp_path) == ["2", "10"]
        assert [one["worker"] for one in gateway_live.live(tmp_path)] == ["2", "10"]


def test_a_worker_that_died_is_left_out(tmp_path: Path) -> None:
    with gateway(tmp_path, "1"):
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(tmp_path / "run" / "gateway-2.sock"))
        left.close()
        assert [one["worker"] for one in gateway_live.live(tmp_path)] == ["1"]
        assert not gateway_live.listed(tmp_path, "dead").is_whole
    with pytest.raises(GatewayUnavailable):
        gateway_live.ask(tmp_path, "2", "/live")


def test_a_worker_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "run" / "gateway-1.sock"))
        silent.listen(1)
        assert gateway_live.live(tmp_path, timeout_s=0.05) == []


def test_lists_of_workers_are_one_list_with_cursors(tmp_path: Path) -> None:
    odd = [dead_letter(id) for id in (1, 3, 11)]
    even = [dead_letter(id, worker="2") for id in (2, 10)]
    with gateway(tmp_path, "1", dead=odd), gateway(tmp_path, "2", dead=even):
        first = gateway_live.listed(tmp_path, "dead", limit=3)
        assert [one["id"] for one in first.items] == ["1", "2", "3"]
        assert first.total == 5
        assert first.is_whole
        rest = gateway_live.listed(tmp_path, "dead", after="3", limit=3)
        assert [one["id"] for one in rest.items] == ["10", "11"]


def test_one_message_is_found_at_whichever_worker_has_it(tmp_path: Path) -> None:
    with gateway(tmp_path, "1"), gateway(tmp_path, "2", doubt=[dead_letter(7)]):
        found = gateway_live.message(tmp_path, "7")
        assert found is not None
        assert found["text"]
        assert gateway_live.message(tmp_path, "8") is None


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 90) / ("y" * 90)
    deep.mkdir(parents=True)
    with gateway(deep):
        assert len(gateway_live.live(deep)) == 1
