"""The live state of all workers as Prometheus reads it: made when it asks, so that counting costs messages nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Document = dict[str, Any]  # Any: JSON

TOTALS: Final = (
    "accepted", "refused", "forwarded", "delivered", "undelivered", "expired", "refused_upstream", "originated",
    "reports_unmatched", "unreported", "untold",
)  # fmt: skip
_UNFINISHED: Final = (
    "held", "queued", "in_flight", "pending_parts", "dead", "in_doubt", "waiting_reports", "reports_to_tell",
)  # fmt: skip


def metrics_of(documents: Sequence[Document]) -> bytes:
    """Prometheus' text form of what workers say of themselves (`Live.document`), each under its label `worker`."""
    registry = CollectorRegistry()
    registry.register(_Collector(documents))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents

    def collect(self) -> Iterator[Metric]:
        yield self._counts("messages", "Messages by what became of them.", "what", lambda one: _of(one, TOTALS))
        yield self._gauges("unfinished", "Messages that are not finished.", "stage", lambda one: _of(one, _UNFINISHED))
        yield self._counts("refusals", "Messages refused, by reason.", "reason", lambda one: one["refusals"])
        for name in ("queued", "in_flight", "awaiting_reports", "connections"):
            yield self._gauges(f"smsc_{name}", f"{name} of each.", "name", _column("smscs", name))
        yield self._counts("smsc_sent", "sent of each.", "name", _column("smscs", "sent"))
        for name in ("connections", "waiting_reports"):
            yield self._gauges(f"account_{name}", f"{name} of each.", "name", _column("accounts", name))
        for name in ("accepted", "refused", "throttled"):
            yield self._counts(f"account_{name}", f"{name} of each.", "name", _column("accounts", name))
        yield self._absent()
        yield self._gauges("latency_ms", "From request to answer.", "share", lambda one: one["totals"]["latency_ms"])
        yield self._gauges("alarm", "Alarms that stand.", "code", lambda one: {x["code"]: 1 for x in one["alarms"]})
        version = GaugeMetricFamily("mingbai_gateway_registry_version", "Registry in force.", labels=["worker"])
        refused = CounterMetricFamily("mingbai_gateway_logins_refused", "Logins that were refused.", labels=["worker"])
        for one in self._documents:
            version.add_metric([one["worker"]], one["registry"])
            refused.add_metric([one["worker"]], one["logins_refused"])
        yield version
        yield refused

    def _gauges(self, name: str, words: str, label: str, values_of: _Values) -> Metric:
        return self._filled(GaugeMetricFamily(f"mingbai_gateway_{name}", words, labels=[label, "worker"]), values_of)

    def _counts(self, name: str, words: str, label: str, values_of: _Values) -> Metric:
        return self._filled(CounterMetricFamily(f"mingbai_gateway_{name}", words, labels=[label, "worker"]), values_of)

    def _filled(self, family: GaugeMetricFamily | CounterMetricFamily, values_of: _Values) -> Metric:
        for one in self._documents:
            for name, value in values_of(one).items():
                if value is not None:
                    family.add_metric([str(name), one["worker"]], value)
        return family

    def _absent(self) -> Metric:
        absent = CounterMetricFamily(
            "mingbai_gateway_fields_absent",
            "Messages without a field that they can bring.",
            labels=["account", "field", "worker"],
        )
        for one in self._documents:
            for row in one["accounts"]:
                for name, count in row["fields_absent"].items():
                    absent.add_metric([row["name"], name, one["worker"]], count)
        return absent


_Values = Callable[[Document], Mapping[str, Any]]  # Any: numbers


def _of(document: Document, names: Sequence[str]) -> Document:
    return {name: document["totals"][name] for name in names}


def _column(table: str, name: str) -> _Values:
    return lambda document: {row["name"]: row[name] for row in document[table]}
