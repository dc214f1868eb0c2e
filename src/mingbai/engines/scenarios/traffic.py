"""A day of an operator's SMS traffic from a seed, for the demo and for tests: mostly honest, with campaigns in it.

Honest messages follow the day: people write in the evening, services by day. Unwanted ones are single messages and
campaigns: near-duplicates of one wording with other numbers, names, links and evasions, sent within an hour from one
access code, from a box full of SIM cards, or by a false base station under a bank's number. Subscribers' numbers belong
to nobody (see `generate.py`).
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

import pyarrow as pa

from mingbai.engines.scenarios.catalog import Scenario
from mingbai.engines.scenarios.evasion import perturb
from mingbai.engines.scenarios.generate import select, write_message
from mingbai.kernel.verdicts import Category

TRAFFIC = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("sender", pa.string()),
        pa.field("receiver", pa.string()),
        pa.field("access_code", pa.string()),
        pa.field("time", pa.timestamp("us", "UTC")),
        pa.field("category", pa.uint8(), nullable=False),
        pa.field("scenario", pa.string(), nullable=False),
    ]
)
CHINA = timezone(timedelta(hours=8))
# Messages per hour of the day, relative: people peak after work, services by day, campaigns then and in the evening.
PEOPLE_BY_HOUR = (3, 2, 1, 1, 1, 2, 5, 12, 18, 20, 21, 24, 27, 22, 20, 21, 22, 26, 32, 36, 38, 34, 22, 10)
SERVICES_BY_HOUR = (4, 2, 1, 1, 1, 2, 6, 14, 28, 40, 44, 40, 36, 34, 36, 38, 38, 36, 34, 32, 30, 24, 14, 7)
CAMPAIGNS_BY_HOUR = (3, 2, 2, 1, 1, 1, 2, 6, 12, 22, 26, 22, 14, 16, 22, 24, 22, 18, 18, 20, 22, 16, 10, 5)
MOBILE_HEADS = ("154", "160", "161", "163", "164", "168", "169", "179")
SPOOFED_SENDERS = (
    "95588",
    "95533",
    "95599",
    "95566",
    "95555",
    "10086",
    "10010",
    "10000",
    "12306",
    "95598",
    "96110",
    "12123",
)
EVASIONS = (
    "mixed",
    "insert",
    "homophone",
    "lookalike",
    "keyword_swap",
    "emoji",
    "trad",
    "fullwidth",
    "zero_width",
    "numerals",
    "split",
)


# Shares of complaints about spam SMS by kind differ by year and source; adverts lead in all of them.
UNWANTED = {Category.ADVERTISING: 0.5, Category.FRAUD: 0.3, Category.ILLEGAL_TRADE: 0.2}


@dataclass(frozen=True, slots=True)
class _Message:
    text: str
    sender: str
    receiver: str
    access_code: str | None
    time: datetime
    scenario: Scenario


def traffic(seed: int, rows: int, day: date) -> pa.RecordBatch:
    """`rows` messages of one day (China Standard Time), in order of time; the same for the same arguments.

    Columns as in `TRAFFIC`: those of a message, then the truth (`category`, `scenario`). 85 to 90 % are legitimate.
    """
    town = _Town(random.Random(f"traffic:{seed}"), rows, day)
    unwanted = round(rows * town.rng.uniform(0.10, 0.15))
    in_campaigns = round(unwanted * 0.7)
    messages = town.honest(rows - unwanted)
    messages += town.strays(unwanted - in_campaigns)
    messages += town.campaigns(in_campaigns)
    messages.sort(key=lambda message: message.time)
    return pa.record_batch(
        [
            pa.array([message.text for message in messages], pa.string()),
            pa.array([message.sender for message in messages], pa.string()),
            pa.array([message.receiver for message in messages], pa.string()),
            pa.array([message.access_code for message in messages], pa.string()),
            pa.array([message.time for message in messages], pa.timestamp("us", "UTC")),
            pa.array([int(message.scenario.category) for message in messages], pa.uint8()),
            pa.array([message.scenario.id for message in messages], pa.string()),
        ],
        schema=TRAFFIC,
    )


def access_code_of(signature: str) -> str:
    """The invented access code of a signature: always the same one, 1069 and seven digits."""
    return f"1069{zlib.crc32(signature.encode()) % 10_000_000:07d}"


class _Town:
    """The subscribers and senders of one day."""

    def __init__(self, rng: random.Random, rows: int, day: date) -> None:
        self.rng = rng
        self.midnight = datetime(day.year, day.month, day.day, tzinfo=CHINA).astimezone(UTC)
        self.subscribers = [self._mobile() for _ in range(max(20, rows // 4))]
        everything = select()
        self.personal = [scenario for scenario in everything if scenario.category == Category.PERSONAL]
        self.notices = [scenario for scenario in everything if scenario.category == Category.NOTIFICATION]
        self.unwanted = {
            category: [scenario for scenario in everything if scenario.category == category] for category in UNWANTED
        }

    def honest(self, count: int) -> list[_Message]:
        """Four in ten between people, the others from services."""
        messages: list[_Message] = []
        for _ in range(count):
            if self.rng.random() < 0.4:
                scenario = self._pick(self.personal)
                text, _ = write_message(scenario, self.rng)
                messages.append(
                    _Message(text, self._person(), self._person(), None, self._time(PEOPLE_BY_HOUR), scenario)
                )
            else:
                messages.append(self._service(self._pick(self.notices), SERVICES_BY_HOUR))
        return messages

    def strays(self, count: int) -> list[_Message]:
        """Unwanted messages that come one by one."""
        messages: list[_Message] = []
        for _ in range(count):
            scenario = self._pick_unwanted()
            if scenario.sender == "service":
                messages.append(self._service(scenario, CAMPAIGNS_BY_HOUR))
            else:
                text, _ = write_message(scenario, self.rng)
                messages.append(
                    _Message(text, self._mobile(), self._person(), None, self._time(CAMPAIGNS_BY_HOUR), scenario)
                )
        return messages

    def campaigns(self, count: int) -> list[_Message]:
        """Bursts of near-duplicates until `count` messages are reached; sizes spread widely, as they do in life."""
        messages: list[_Message] = []
        while len(messages) < count:
            size = min(count - len(messages), max(5, int(self.rng.lognormvariate(3.2, 0.9))))
            messages += self._campaign(self._pick_unwanted(), size)
        return messages

    def _campaign(self, scenario: Scenario, size: int) -> list[_Message]:
        rng = self.rng
        wording, variants = rng.getrandbits(32), rng.choice((1, 3, 8, size))
        texts: list[str] = []
        signature = ""
        for _ in range(size):
            values = random.Random(f"{wording}:{rng.randrange(variants)}")
            text, signature = write_message(scenario, random.Random(wording), values)
            texts.append(text)
        if scenario.category != Category.ADVERTISING and rng.random() < 0.5:
            kind, rate = rng.choice(EVASIONS), rng.choice((0.05, 0.1, 0.2))
            texts = [perturb([text], kind, rate, seed)[0] for seed, text in enumerate(texts)]
        senders, access_code = self._senders(scenario, signature)
        start = self._time(CAMPAIGNS_BY_HOUR)
        minutes = rng.choice((6, 15, 30, 60))
        return [
            _Message(text, rng.choice(senders), self._person(), access_code, self._within(start, minutes), scenario)
            for text in texts
        ]

    def _senders(self, scenario: Scenario, signature: str) -> tuple[list[str], str | None]:
        """One access code, a false base station, or a box of SIM cards with numbers in a row."""
        rng = self.rng
        if scenario.sender == "service":
            code = access_code_of(signature or scenario.id)
            return [code + f"{rng.randrange(100):02d}"], code
        if scenario.sender == "spoofed" and rng.random() < 0.3:
            return [rng.choice(SPOOFED_SENDERS)], None
        if scenario.language == "zh" and rng.random() < 0.3:
            code = access_code_of(scenario.id + str(rng.randrange(5)))
            return [code], code
        first = int(self._mobile())
        return [str(first + step) for step in range(rng.choice((8, 16, 32)))], None

    def _service(self, scenario: Scenario, by_hour: Sequence[int]) -> _Message:
        text, signature = write_message(scenario, self.rng)
        time, receiver = self._time(by_hour), self._person()
        if scenario.language == "en":
            return _Message(text, (signature or "INFO").replace(" ", "")[:11], receiver, None, time, scenario)
        if (signature and scenario.sender != "any") or self.rng.random() < 0.5:
            code = access_code_of(signature or scenario.id)
            return _Message(text, code + self.rng.choice(("", "01", "88", "6")), receiver, code, time, scenario)
        return _Message(text, self._person(), receiver, None, time, scenario)

    def _pick_unwanted(self) -> Scenario:
        category = self.rng.choices(list(UNWANTED), list(UNWANTED.values()))[0]
        return self._pick(self.unwanted[category])

    def _pick(self, scenarios: Sequence[Scenario]) -> Scenario:
        # An operator in China: English is a fifteenth of what it carries.
        weights = [scenario.weight * (1.0 if scenario.language == "zh" else 0.07) for scenario in scenarios]
        return self.rng.choices(scenarios, weights)[0]

    def _mobile(self) -> str:
        return self.rng.choice(MOBILE_HEADS) + f"{self.rng.randrange(10**8 - 100):08d}"

    def _person(self) -> str:
        return self.rng.choice(self.subscribers)

    def _time(self, by_hour: Sequence[int]) -> datetime:
        hour = self.rng.choices(range(24), by_hour)[0]
        return self.midnight + timedelta(hours=hour, microseconds=self.rng.randrange(3_600_000_000))

    def _within(self, start: datetime, minutes: int) -> datetime:
        end = self.midnight + timedelta(days=1, microseconds=-1)
        return min(end, start + timedelta(microseconds=self.rng.randrange(minutes * 60_000_000)))
