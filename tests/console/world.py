"""A small operator to look at: `python -m tests.console.world DATA` makes its people and two days of its traffic.

It is run as a program, so that the database it writes is the one that `mingbai serve` then serves, never that of the
tests. Prints what a test needs to sign in and to find its way, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mingbai import server
from mingbai.cli.demo_day import demo_policy
from mingbai.connectors.batch.engine import decide
from mingbai.connectors.batch.record import Recorder
from mingbai.connectors.ledger_access import open_ledger
from mingbai.engines.scenarios.traffic import traffic
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.schema import MESSAGE
from mingbai.kernel.clock import utc_now
from mingbai.kernel.msisdn import Msisdn
from mingbai.kernel.verdicts import Verdict
from mingbai.settings import Settings, load_settings

SEED = 20260501
PASSWORD = "correct horse 电池 staple"
HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>"\'><svg onload=window.hit=1>'

# username -> name, roles; a unit is given where the role's scope asks for one.
PEOPLE = {
    "admin": ("陈静", ("administrator",)),
    "author": ("李文", ("rule_author",)),
    "approver": ("王敏", ("rule_approver",)),
    "reviewer": ("张伟", ("reviewer",)),
    "lead": ("刘洋", ("team_lead",)),
    "manager": ("赵磊", ("branch_manager",)),
    "auditor": ("孙丽", ("auditor",)),
    "regulator": ("周强", ("regulator",)),
    "partner": ("吴芳", ("service_provider",)),
    "subscriber": ("", ("subscriber",)),
    "hostile": (HOSTILE, ("reviewer",)),
}
# Where a story is told; in each of them a newcomer comes in by a link, which works once.
PLACES = [("en", "desktop"), ("zh", "desktop"), ("zh", "phone"), ("en", "phone")]


def record_traffic(settings: Settings, *, now: datetime, days: int = 2, a_day: int = 1500) -> dict[str, Any]:
    """Whole days of traffic that end now, decided by the real engine and recorded as if each had been decided then.

    Returns the access code that sent most, and a subscriber who got something that was stopped.
    """
    policy = demo_policy(None, None, now=now)
    counters = Counters(100_000)
    codes: Counter[str] = Counter()
    stopped_for: Counter[str] = Counter()
    with open_ledger(settings, now=now, stream="api-history") as ledger:
        recorder = Recorder(ledger, policy, utc_now)
        for ago in range(days - 1, -1, -1):
            day = traffic(SEED + ago, a_day, (now - timedelta(days=1)).date()).select(MESSAGE.names)
            micros = np.asarray(day.column("time").cast(pa.int64()))
            micros = micros + int((now - timedelta(days=ago)).timestamp() * 1e6) - micros[-1] - 1
            place = day.schema.get_field_index("time")
            times = pa.array(micros, pa.int64()).cast(pa.timestamp("us", "UTC"))
            day = day.set_column(place, day.schema.field(place), times)
            cuts = [0, *(np.flatnonzero(np.diff(micros // 1_800_000_000)) + 1).tolist(), day.num_rows]
            for first, end in pairwise(cuts):
                part = day.slice(first, end - first)
                decided = decide(part, policy, counters)
                for update in decided.updates:
                    counters.apply(update)
                recorder.record(part, decided.decisions, at=part.column("time")[-1].as_py())
                codes.update(code for code in part.column("access_code").to_pylist() if code)
                verdicts = decided.decisions.column("verdict").to_pylist()
                receivers = part.column("receiver").to_pylist()
                stopped_for.update(
                    who for who, verdict in zip(receivers, verdicts, strict=True) if verdict >= Verdict.HOLD and who
                )
        recorder.finish()
    number = Msisdn.parse(stopped_for.most_common(1)[0][0], "receiver").e164
    return {"access_code": codes.most_common(1)[0][0], "number": number}


def make_people(settings: Settings, known: dict[str, Any], *, now: datetime) -> dict[str, str]:
    """Everybody of PEOPLE, who may sign in with PASSWORD; returns a session of each."""
    from django.conf import settings as django_settings
    from django.contrib.auth.hashers import make_password
    from django.test import Client

    from mingbai.contexts.people import policy
    from mingbai.contexts.people.services import accounts, units

    hashed = make_password(PASSWORD)
    province = units.create_unit("guangdong", kind="province", name="广东", actor="system", now=now)
    branch = units.create_unit(
        "shenzhen",
        kind="branch",
        name="深圳",
        parent=province,
        access_codes=["1069", "1065", "955"],
        actor="system",
        now=now,
    )
    partner = units.create_unit(
        "yunxin",
        kind="partner",
        name="云信科技",
        parent=branch,
        access_codes=[known["access_code"]],
        actor="system",
        now=now,
    )
    sessions = {}
    for username, (name, roles) in PEOPLE.items():
        fields = {"number": known["number"]} if roles == ("subscriber",) else {}
        account = accounts.create_account(username, name=name, actor="system", now=now, **fields)
        account.password = hashed
        account.save(update_fields=("password",))
        for role in roles:
            unit = {"branch": branch, "partner": partner}.get(policy.widest_scope(role))
            accounts.assign_role(account, role, unit=unit, actor="system", now=now)
        client = Client()
        client.force_login(account)
        sessions[username] = client.cookies[django_settings.SESSION_COOKIE_NAME].value
    return sessions


def make_candidate(settings: Settings, *, now: datetime) -> str:
    """Another model than the shipped one, with higher thresholds, as if it had been learnt here; its version."""
    from dataclasses import replace

    from mingbai.connectors import policy_store
    from mingbai.contexts.messaging.models import ScreeningModel
    from mingbai.engines.screening.model import Model

    shipped = Model.load()
    other = replace(shipped, english=shipped.english._replace(block_at=shipped.english.block_at + 0.01))
    policy_store.add_model(settings.data, policy_store.ModelFile(other.version, other.to_bytes()))
    ScreeningModel.objects.create(version=other.version, made_at=now)
    return other.version


def main(data: Path) -> None:
    os.environ["MINGBAI_CONSOLE__REQUIRE_SECOND_FACTOR"] = "false"
    settings = load_settings(data=data)
    now = utc_now()
    server.prepare(settings)
    known = record_traffic(settings, now=now)
    from mingbai.contexts.people.services import accounts

    known["sessions"] = make_people(settings, known, now=now)
    known["candidate"] = make_candidate(settings, now=now)
    known["links"] = {}
    for place in map("-".join, PLACES):
        newcomer = accounts.create_account(f"newcomer-{place}", name="", actor="system", now=now)
        accounts.assign_role(newcomer, "administrator", actor="system", now=now)
        known["links"][place] = f"/welcome/{accounts.invite(newcomer, actor='system', now=now)}/"
    sys.stdout.write(json.dumps(known) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
