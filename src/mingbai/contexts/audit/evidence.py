"""Entries on their way to somebody outside: a CSV for a spreadsheet, and signed evidence that a program can check."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mingbai.contexts.audit.models import Entry
from mingbai.contexts.audit.policy import canonical, entry_hash, spreadsheet_cell
from mingbai.contexts.audit.queries import last_signed, with_hash_before
from mingbai.kernel.clock import format_utc, parse_utc
from mingbai.ledger.keys import KeyStore

FORMAT = "mingbai evidence 1"


def to_csv(rows: Iterable[tuple[Entry, str, str, str]]) -> str:
    """rows: entry, actor's name, subject's name, sentence. No cell is a formula, whatever somebody wrote."""
    target = io.StringIO()
    target.write("\ufeff")  # so that Excel reads UTF-8
    writer = csv.writer(target)
    writer.writerow(("seq", "at", "kind", "actor", "actor_name", "subject", "subject_name", "sentence", "data", "hash"))
    for entry, actor, subject, sentence in rows:
        data = json.dumps(entry.data, ensure_ascii=False, sort_keys=True)
        cells = (
            str(entry.seq), format_utc(entry.at), entry.kind, entry.actor, actor, entry.subject, subject, sentence,
            data, bytes(entry.hash).hex(),
        )  # fmt: skip
        writer.writerow([spreadsheet_cell(cell) for cell in cells])
    return target.getvalue()


def signed_evidence(
    found: Sequence[Entry], keys: KeyStore, *, query: Mapping[str, str], actor: str, now: datetime
) -> dict[str, Any]:  # Any: JSON values
    """Entries with what is needed to compute their hashes again, the last signed head, and a signature over it all.

    The signature says: this is what the record held at that time. The signed head ties it to the chain, which the
    operator cannot change any more without breaking every head that went outside.
    """
    signed = last_signed()
    document: dict[str, Any] = {  # Any: JSON values
        "format": FORMAT,
        "made_at": format_utc(now),
        "made_by": actor,
        "query": dict(query),
        "entries": [
            {
                "seq": entry.seq,
                "id": str(entry.id),
                "at": format_utc(entry.at),
                "kind": entry.kind,
                "actor": entry.actor,
                "subject": entry.subject,
                "data": entry.data,
                "hash_before": before.hex(),
                "hash": bytes(entry.hash).hex(),
            }
            for entry, before in with_hash_before(found)
        ],
        "head": None if signed is None else signed.to_document(),
        "public_key": keys.public_key.hex(),
    }
    document["signature"] = keys.sign(canonical(document)).hex()
    return document


def check_evidence(
    document: Mapping[str, Any],
    is_known: Callable[[bytes], bool] = lambda key: True,  # Any: JSON values
) -> list[str]:
    """What is wrong with evidence, in words; empty: nothing. is_known: whether a public key is the operator's."""
    problems = []
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    try:
        key = bytes.fromhex(document["public_key"])
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(document["signature"]), canonical(unsigned))
        if not is_known(key):
            problems.append("signed with an unknown key")
    except (InvalidSignature, ValueError, KeyError):
        problems.append("the signature does not fit")
    for item in document.get("entries", []):
        digest = entry_hash(
            bytes.fromhex(item["hash_before"]),
            seq=item["seq"], id=item["id"], at=parse_utc(item["at"]), kind=item["kind"], actor=item["actor"],
            subject=item["subject"], data=item["data"],
        )  # fmt: skip
        if digest.hex() != item["hash"]:
            problems.append(f"entry {item['seq']} was changed")
    return problems
