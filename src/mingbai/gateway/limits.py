"""How much each may: rates, failed logins, digests that were used. In this process, or shared through Redis.

Rates are token buckets: a burst of a second, then the rate. With Redis, workers borrow shares of a bucket ahead of
need, so that no message waits for a round trip; what was borrowed and not used is lost to the account, at most a fifth
of a second's worth a worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final, Protocol

log = logging.getLogger(__name__)


@dataclass(slots=True)
class TokenBucket:
    """rate: tokens a second, 0 for no limit. burst: how many may go at once after silence."""

    rate: float
    burst: float
    level: float = 0.0
    at: float = 0.0

    @classmethod
    def full(cls, rate: float, now: float) -> TokenBucket:
        return cls(rate, max(1.0, rate), max(1.0, rate), now)

    def take(self, wanted: int, now: float) -> int:
        """As many of `wanted` as there are."""
        if self.rate <= 0:
            return wanted
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        given = min(wanted, int(self.level))
        self.level -= given
        return given

    def wait_s(self, now: float) -> float:
        """Seconds until there is a token."""
        if self.rate <= 0:
            return 0.0
        level = min(self.burst, self.level + (now - self.at) * self.rate)
        return max(0.0, (1 - level) / self.rate)

    def set_rate(self, rate: float) -> None:
        self.rate, self.burst = rate, max(1.0, rate)
        self.level = min(self.level, self.burst)


_FREE_TRIES: Final = 3
_LONGEST_S: Final = 300.0
_KEPT: Final = 10_000


class LoginGuard:
    """Who fails to log in waits longer each time: after three tries 1 s, 2 s, 4 s, ... 5 minutes.

    Counted for the address, and for the name at that address: a stranger who guesses does not lock the account out for
    its owner, and learns nothing from how long he has to wait.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, address: str, now: float) -> float:
        """Seconds for which this address is refused without a look."""
        failures, until = self._failures.get(address, (0, 0.0))
        return max(0.0, until - now) if failures else 0.0

    def failed(self, address: str, now: float) -> int:
        """Returns how often in a row."""
        failures, until = self._failures.pop(address, (0, 0.0))
        if now - until > _LONGEST_S:
            failures = 0
        failures += 1
        pause = min(_LONGEST_S, 2.0 ** (failures - _FREE_TRIES)) if failures >= _FREE_TRIES else 0.0
        self._failures[address] = (failures, now + pause)
        while len(self._failures) > _KEPT:
            self._failures.popitem(last=False)
        return failures

    def succeeded(self, address: str) -> None:
        self._failures.pop(address, None)


_SAME_SECOND_S: Final = 2.0


class Proofs:
    """Login digests that were used: none counts again within the time that a clock may be off.

    A digest holds the time to the second, so a provider that opens several connections at once brings it several
    times: from the same address, within two seconds, that is no replay.
    """

    def __init__(self) -> None:
        self._used: OrderedDict[bytes, tuple[str, float, float]] = OrderedDict()  # address, first use, end

    def use(self, proof: bytes, address: str, now: float, keep_s: float) -> bool:
        """False if it was used before."""
        while self._used and next(iter(self._used.values()))[2] <= now:
            self._used.popitem(last=False)
        known = self._used.get(proof)
        if known is not None:
            return known[0] == address and now - known[1] < _SAME_SECOND_S
        self._used[proof] = (address, now, now + keep_s)
        return True


class Shared(Protocol):
    """What several workers count together."""

    def take(self, account: str, rate: int, wanted: int, now: float) -> int: ...

    async def may_connect(self, account: str, most: int, token: str) -> bool: ...

    async def left(self, account: str, token: str) -> None: ...

    async def use_proof(self, proof: bytes, address: str, now: float, keep_s: float) -> bool: ...

    async def beat(self) -> None: ...

    async def close(self) -> None: ...


class InProcess:
    """One worker alone."""

    def __init__(self) -> None:
        self._buckets: dict[str, TokenBucket] = {}
        self._proofs = Proofs()
        self._connected: dict[str, set[str]] = {}

    def take(self, account: str, rate: int, wanted: int, now: float) -> int:
        bucket = self._buckets.get(account)
        if bucket is None:
            bucket = self._buckets[account] = TokenBucket.full(rate, now)
        elif bucket.rate != rate:
            bucket.set_rate(rate)
        return bucket.take(wanted, now)

    async def may_connect(self, account: str, most: int, token: str) -> bool:
        connected = self._connected.setdefault(account, set())
        if len(connected) >= most:
            return False
        connected.add(token)
        return True

    async def left(self, account: str, token: str) -> None:
        self._connected.get(account, set()).discard(token)

    async def use_proof(self, proof: bytes, address: str, now: float, keep_s: float) -> bool:
        return self._proofs.use(proof, address, now, keep_s)

    async def beat(self) -> None:
        return None

    async def close(self) -> None:
        return None


# A bucket of the whole operator: level and time in one hash. KEYS[1] bucket; ARGV rate, burst, wanted, now (s).
_TAKE: Final = """
local level = tonumber(redis.call('HGET', KEYS[1], 'l') or ARGV[2])
local at = tonumber(redis.call('HGET', KEYS[1], 't') or ARGV[4])
level = math.min(tonumber(ARGV[2]), level + math.max(0, tonumber(ARGV[4]) - at) * tonumber(ARGV[1]))
local given = math.min(tonumber(ARGV[3]), math.floor(level))
redis.call('HSET', KEYS[1], 'l', level - given, 't', ARGV[4])
redis.call('PEXPIRE', KEYS[1], 60000)
return given
"""
# Members of a sorted set by when they end. KEYS[1] set; ARGV most, token, now, until.
_CONNECT: Final = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
local known = redis.call('ZSCORE', KEYS[1], ARGV[2])
if not known and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[2])
redis.call('EXPIRE', KEYS[1], 120)
return 1
"""
_ALIVE_S: Final = 30.0
_SHARE_S: Final = 0.1  # of a rate that is borrowed at once


class InRedis:
    """Several workers, on one host or many. Without Redis each goes on by itself with the whole limit, and says so.

    Fail in the customer's favour: a counter that cannot be asked does not stop messages.
    """

    def __init__(self, url: str, prefix: str = "mingbai:gateway:") -> None:
        import redis.asyncio

        self._redis = redis.asyncio.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
        self._take = self._redis.register_script(_TAKE)
        self._connect = self._redis.register_script(_CONNECT)
        self._prefix = prefix
        self._alone = InProcess()
        self._borrowed: dict[str, int] = {}
        self._asking: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._mine: dict[str, str] = {}  # token -> account
        self.is_away = False

    def take(self, account: str, rate: int, wanted: int, now: float) -> int:
        """From what was borrowed; borrows more in the background before it runs out."""
        if rate <= 0:
            return wanted
        if self.is_away:
            self._refill(account, rate, now)
            return self._alone.take(account, rate, wanted, now)
        left = self._borrowed.get(account)
        if left is None:  # the first message does not wait for the round trip
            left = self._borrowed[account] = max(1, int(rate * _SHARE_S))
        given = min(wanted, left)
        self._borrowed[account] = left - given
        if left - given < rate * _SHARE_S:
            self._refill(account, rate, now)
        return given

    def _refill(self, account: str, rate: int, now: float) -> None:
        if account not in self._asking:
            self._asking.add(account)
            task = asyncio.ensure_future(self._borrow(account, rate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _borrow(self, account: str, rate: int) -> None:
        import time

        wanted = max(1, int(rate * _SHARE_S * 2))
        try:
            given = await self._take(
                keys=[f"{self._prefix}rate:{account}"], args=[rate, max(1, rate), wanted, repr(time.time())]
            )
            self._borrowed[account] = self._borrowed.get(account, 0) + int(given)
            self._came_back()
            if not int(given):
                await asyncio.sleep(min(1.0, 1 / rate))
        except Exception as error:  # whatever the library raises: the gateway goes on
            self._went_away(error)
            await asyncio.sleep(1.0)
        finally:
            self._asking.discard(account)

    def _went_away(self, error: Exception) -> None:
        if not self.is_away:
            log.error("Redis does not answer: limits hold for each worker alone", extra={"error": type(error).__name__})
        self.is_away = True

    def _came_back(self) -> None:
        if self.is_away:
            log.info("Redis answers again")
        self.is_away = False

    async def may_connect(self, account: str, most: int, token: str) -> bool:
        import time

        self._mine[token] = account
        try:
            now = time.time()
            found = await self._connect(
                keys=[f"{self._prefix}connected:{account}"], args=[most, token, repr(now), repr(now + _ALIVE_S)]
            )
            self._came_back()
        except Exception as error:  # as above
            self._went_away(error)
            return await self._alone.may_connect(account, most, token)
        if not int(found):
            self._mine.pop(token, None)
        return bool(int(found))

    async def left(self, account: str, token: str) -> None:
        self._mine.pop(token, None)
        await self._alone.left(account, token)
        try:
            await self._redis.zrem(f"{self._prefix}connected:{account}", token)
        except Exception as error:  # as above; it ends by itself
            self._went_away(error)

    async def use_proof(self, proof: bytes, address: str, now: float, keep_s: float) -> bool:
        key = f"{self._prefix}proof:{proof.hex()}"
        kept = max(3, int(keep_s))
        try:
            is_new: Any = await self._redis.set(key, address, nx=True, ex=kept)  # Any: as the library gives it
            self._came_back()
            if is_new:
                return True
            known: Any = await self._redis.get(key)  # Any: as above
            left: Any = await self._redis.pttl(key)  # Any: as above
            return bool(known == address.encode() and left > (kept - _SAME_SECOND_S) * 1000)
        except Exception as error:  # as above
            self._went_away(error)
            return await self._alone.use_proof(proof, address, now, keep_s)

    async def beat(self) -> None:
        """Say that our connections are still there; every few seconds."""
        import time

        until = time.time() + _ALIVE_S
        try:
            for token, account in list(self._mine.items()):
                await self._redis.zadd(f"{self._prefix}connected:{account}", {token: until})
            if not self._mine:
                await self._redis.ping()
            self._came_back()
        except Exception as error:  # as above
            self._went_away(error)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await self._redis.aclose()
