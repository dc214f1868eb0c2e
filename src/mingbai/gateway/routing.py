"""Which SMSC a message goes to: routes, number ranges, portability, and who may use which access code. Pure.

A table is compiled once for a registry; a look-up costs a few dictionary reads, however many routes there are.
"""

from __future__ import annotations

import logging
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mingbai.connectors.gateway_registry import Account, Registry, Route
from mingbai.kernel.errors import BadValue

log = logging.getLogger(__name__)

_PREFIXES: Final = ("+86", "0086", "86", "17951", "+")


def national(number: str) -> str:
    """A mobile number as routes write it: without what stands before the eleven digits (+86, 0086, 86, 17951).

    What is no mobile number of the mainland keeps all its digits, without `+`: routes to abroad begin with the country.
    """
    if len(number) == 11 and number[0] == "1" and number.isdigit():
        return number
    bare = number.strip()
    for prefix in _PREFIXES[:-1]:
        rest = bare.removeprefix(prefix)
        if rest is not bare and len(rest) == 11 and rest[0] == "1":
            return rest
    return bare.removeprefix("+")


@dataclass(frozen=True, slots=True)
class Prefixes:
    """The longest of some prefixes that a number begins with."""

    values: dict[str, str]
    lengths: tuple[int, ...]  # longest first

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Prefixes:
        values = {prefix.removeprefix("+"): value for prefix, value in pairs}
        return cls(values, tuple(sorted({len(prefix) for prefix in values}, reverse=True)))

    def find(self, number: str) -> str | None:
        for length in self.lengths:
            found = self.values.get(number[:length])
            if found is not None and len(number) >= length:
                return found
        return None


class Portability:
    """Numbers that left the network of their range: about 10 octets each, sorted, found by bisection."""

    def __init__(self, rows: Iterable[tuple[str, str]] = ()) -> None:
        """rows: number, network. The last row of a number counts. Raises BadValue."""
        networks: dict[str, int] = {}
        pairs: dict[int, int] = {}
        for number, network in rows:
            digits = national(number)
            if not (digits.isascii() and digits.isdigit() and len(digits) <= 15):
                raise BadValue(field="number", value=number, expected="at most 15 digits")
            pairs[int(digits)] = networks.setdefault(network, len(networks))
        numbers = sorted(pairs)
        self._numbers = array("Q", numbers)
        self._places = array("H", (pairs[number] for number in numbers))
        self._networks = list(networks)

    def __len__(self) -> int:
        return len(self._numbers)

    def find(self, number: str) -> str | None:
        if not self._numbers or not number.isdigit():
            return None
        wanted = int(number)
        place = bisect_left(self._numbers, wanted)
        if place < len(self._numbers) and self._numbers[place] == wanted:
            return self._networks[self._places[place]]
        return None


def read_portability(path: Path) -> Iterator[tuple[str, str]]:
    """Lines `number,network`; `#` begins a comment. Raises BadValue with the line, OSError."""
    with path.open(encoding="utf-8") as lines:
        for place, line in enumerate(lines, 1):
            bare = line.partition("#")[0].strip()
            if not bare:
                continue
            number, comma, network = bare.partition(",")
            if not comma or not network.strip():
                raise BadValue(field=f"line {place}", value=bare[:40], expected="number,network")
            yield number.strip(), network.strip()


class Routes:
    """The routes of one registry, ready to be asked."""

    def __init__(self, registry: Registry, portability: Portability | None = None) -> None:
        active = {one.name for one in registry.smscs if one.active}
        self._routes = [
            (route, tuple(name for name in route.to if name in active))
            for route in sorted(registry.routes, key=_exactness)
            if route.active and any(name in active for name in route.to)
        ]
        self._ranges = Prefixes.of(
            (prefix, one.network) for one in registry.ranges if one.active for prefix in one.prefixes
        )
        self._portability = portability or Portability()
        self._asks_network = any(route.networks for route, _ in self._routes)
        self._known: dict[tuple[str, str, str, str], tuple[Route, tuple[str, ...]] | None] = {}
        self._depth = max(
            (len(prefix) for route, _ in self._routes for prefix in (*route.access_codes, *route.destinations)),
            default=0,
        )

    def network_of(self, number: str) -> str:
        """Of a recipient; "" where neither a range nor the list of ported numbers knows it."""
        bare = national(number)
        return self._portability.find(bare) or self._ranges.find(bare) or ""

    def find(self, account: str, source: str, destination: str) -> tuple[Route, tuple[str, ...]] | None:
        """The route, and its SMSCs in order; None: no route."""
        bare = national(destination)
        network = self.network_of(destination) if self._asks_network else ""
        depth, code = self._depth, source.removeprefix("+")
        key = (account, code[:depth], bare[:depth], network)
        known = self._known
        if key not in known:
            if len(known) > 50_000:
                known.clear()
            known[key] = self._search(account, code, bare, network)
        return known[key]

    def _search(self, account: str, source: str, bare: str, network: str) -> tuple[Route, tuple[str, ...]] | None:
        for route, to in self._routes:
            if (
                (not route.accounts or account in route.accounts)
                and (not route.networks or network in route.networks)
                and (not route.access_codes or _begins(source, route.access_codes))
                and (not route.destinations or _begins(bare, route.destinations))
            ):
                return route, to
        return None


def _exactness(route: Route) -> tuple[int, int, int, int, str]:
    """Lower `order` first; of equals, whatever says more."""
    longest = max((len(prefix) for prefix in (*route.access_codes, *route.destinations)), default=0)
    return route.order, -bool(route.accounts), -bool(route.networks), -longest, route.name


def _begins(number: str, prefixes: Sequence[str]) -> bool:
    return any(number.startswith(prefix.removeprefix("+")) for prefix in prefixes)


class AccessCodes:
    """Which account a subscriber's message belongs to: the one with the longest prefix of the code."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._owners = Prefixes.of((code, one.name) for one in accounts if one.active for code in one.access_codes)

    def owner(self, code: str) -> str | None:
        return self._owners.find(code.removeprefix("+"))


def may_send(account: Account, source: str) -> bool:
    """Whether an account may use a source. A network's subscribers are known by their own numbers: any."""
    if not account.access_codes:
        return account.party.value == "network"
    return _begins(source.removeprefix("+"), account.access_codes)
