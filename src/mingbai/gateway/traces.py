"""OpenTelemetry: one span a message, from its acceptance to its end, for a share of them.

Spans are made when a message ends, from what its record says, so that messages nobody traces cost nothing. They carry
no number and no text: account, SMSC, outcome, verdict, and the ledger entry where an allowed person finds the rest.
"""

from __future__ import annotations

import time
from typing import Final

from mingbai import __version__
from mingbai.gateway.cdr import Cdr

_SHARE: Final = 100  # every hundredth message


class Traces:
    """Sends spans to a collector in the background; one that does not answer costs spans, never messages."""

    def __init__(self, url: str, worker: int) -> None:
        """url: of the collector's OTLP over HTTP, without the path of traces."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create(
            {"service.name": "mingbai-gateway", "service.version": __version__, "service.instance.id": str(worker)}
        )
        self._provider = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(endpoint=f"{url.rstrip('/')}/v1/traces", timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("mingbai.gateway", __version__)

    def ended(self, cdr: Cdr) -> None:
        """A message ended."""
        if (cdr.id >> 6) % _SHARE:
            return
        span = self._tracer.start_span(
            "sms",
            start_time=int(cdr.accepted * 1e9),
            attributes={
                "mingbai.account": cdr.account,
                "mingbai.protocol": cdr.protocol,
                "mingbai.smsc": cdr.smsc,
                "mingbai.outcome": cdr.outcome,
                "mingbai.detail": cdr.detail,
                "mingbai.verdict": cdr.verdict,
                "mingbai.entry": cdr.entry,
            },
        )
        span.end(end_time=time.time_ns())

    def close(self) -> None:
        self._provider.shutdown()
