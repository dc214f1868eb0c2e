"""Routes: the first by order, the more exact of equals; ranges and ported numbers; who may send from a code."""

from __future__ import annotations

from pathlib import Path

import pytest

from mingbai.connectors.gateway_registry import Account, Registry, read_registry
from mingbai.gateway.routing import AccessCodes, Portability, Routes, may_send, national, read_portability
from mingbai.kernel.errors import BadValue


def _registry(*routes: dict[str, object]) -> Registry:
    smscs = [{"name": name, "protocol": "smpp", "login": name, "address": "127.0.0.1:1"} for name in "abc"]
    ranges = [
        {"name": "mobile", "network": "mobile", "prefixes": ["135", "138"]},
        {"name": "unicom", "network": "unicom", "prefixes": ["130", "1380"]},
    ]
    accounts = [
        {"name": name, "protocol": "cmpp", "login": name, "access_codes": ["10690"], "addresses": ["127.0.0.1"]}
        for name in ("one", "two")
    ]
    return read_registry({"smscs": smscs, "ranges": ranges, "accounts": accounts, "routes": list(routes)})


def _to(routes: Routes, destination: str, account: str = "one", source: str = "106901") -> str | None:
    found = routes.find(account, source, destination)
    return None if found is None else found[0].name


@pytest.mark.parametrize(
    ("number", "bare"),
    [
        ("13800138000", "13800138000"),
        ("+8613800138000", "13800138000"),
        ("8613800138000", "13800138000"),
        ("008613800138000", "13800138000"),
        ("1795113800138000", "13800138000"),
        ("+442071838750", "442071838750"),
        ("10086", "10086"),
        ("861069012345", "861069012345"),
    ],
)
def test_a_number_is_written_one_way(number: str, bare: str) -> None:
    assert national(number) == bare


def test_order_counts_then_exactness_then_the_name() -> None:
    routes = Routes(
        _registry(
            {"name": "rest", "to": ["a"]},
            {"name": "abroad", "to": ["b"], "destinations": ["44"]},
            {"name": "london", "to": ["c"], "destinations": ["4420"]},
            {"name": "first", "to": ["c"], "order": 1, "destinations": ["139"]},
            {"name": "exact", "to": ["a"], "destinations": ["13912345678"]},
            {"name": "own", "to": ["b"], "accounts": ["two"]},
        )
    )
    assert _to(routes, "13500000000") == "rest"
    assert _to(routes, "+44161000000") == "abroad"
    assert _to(routes, "+44201000000") == "london"
    assert _to(routes, "13912345678") == "first", "a lower order goes before a more exact route"
    assert _to(routes, "13500000000", account="two") == "own"


def test_networks_by_the_longest_range_and_by_portability() -> None:
    registry = _registry(
        {"name": "to-mobile", "to": ["a"], "networks": ["mobile"]},
        {"name": "to-unicom", "to": ["b"], "networks": ["unicom"]},
    )
    routes = Routes(registry, Portability([("13811111111", "unicom"), ("+8613000000001", "mobile")]))
    assert _to(routes, "13511111111") == "to-mobile"
    assert _to(routes, "13801111111") == "to-unicom", "1380 is longer than 138"
    assert _to(routes, "+8613811111111") == "to-unicom", "ported"
    assert _to(routes, "13000000001") == "to-mobile", "ported"
    assert _to(routes, "13000000002") == "to-unicom"
    assert _to(routes, "19900000000") is None, "no range knows it"


def test_what_is_switched_off_does_not_count() -> None:
    registry = _registry(
        {"name": "off", "to": ["a"], "order": 1, "active": False},
        {"name": "on", "to": ["b", "c"], "access_codes": ["1069"]},
    )
    routes = Routes(registry)
    assert routes.find("one", "106901", "13500000000") == (registry.routes[1], ("b", "c"))
    assert routes.find("one", "95588", "13500000000") is None


def test_a_million_ported_numbers_take_ten_octets_each_and_are_found() -> None:
    rows = [(str(13_000_000_000 + 7 * number), "abc"[number % 3]) for number in range(100_000)]
    ported = Portability(rows)
    assert len(ported) == 100_000
    for number, network in rows[::997]:
        assert ported.find(number) == network
        assert ported.find(str(int(number) + 1)) is None


def test_the_file_of_ported_numbers_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "ported.csv"
    path.write_text("# since May\n13800138000,unicom\n\n+8613900139000, telecom # a comment\n")
    assert list(read_portability(path)) == [("13800138000", "unicom"), ("+8613900139000", "telecom")]
    path.write_text("13800138000,unicom\n13800138001\n")
    with pytest.raises(BadValue, match="line 2"):
        list(read_portability(path))
    with pytest.raises(BadValue, match="number"):
        Portability([("abc", "unicom")])


def test_a_subscribers_message_goes_to_whoever_has_the_longest_prefix() -> None:
    def account(name: str, *codes: str) -> Account:
        return Account(name=name, protocol="cmpp", login=name, access_codes=codes)  # type: ignore[arg-type]  # as read

    codes = AccessCodes([account("one", "10690"), account("two", "1069055", "12306")])
    assert codes.owner("1069012") == "one"
    assert codes.owner("106905501") == "two"
    assert codes.owner("12306") == "two"
    assert codes.owner("95588") is None
    assert may_send(account("one", "10690"), "106901234")
    assert not may_send(account("one", "10690"), "10691")
    assert not may_send(account("none"), "10690"), "a provider without a code sends nothing"
    network = Account(name="n", protocol="smpp", login="n", party="network")  # type: ignore[arg-type]  # as read
    assert may_send(network, "+8613800138000")
