"""`mingbai simulate`: an SMSC or a service provider to try a gateway with, over real sockets."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Group, Parameter

from mingbai.cli.console import say_plain, stdout
from mingbai.cli.words import _
from mingbai.kernel.errors import BadValue

if TYPE_CHECKING:
    from mingbai.gateway.simulators.smsc import SmscOptions
    from mingbai.gateway.simulators.sp import SpSimulator, SpSummary

app = App(
    name="simulate",
    help=_("Simulate an SMSC or a service provider, to try a gateway."),
    help_format="plaintext",
    group_commands=Group(_("Commands")),
    group_arguments=Group(_("Arguments")),
    group_parameters=Group(_("Options")),
)
app["--help"].help = _("Show this and exit.")

Protocol = Annotated[str, Parameter(help=_("cmpp, sgip, smgp or smpp."))]
Version = Annotated[str, Parameter(help=_("CMPP 2 or 3, SMGP 1.3 or 3, SMPP 3.4 or 5.0; left out, the usual one."))]
Login = Annotated[str, Parameter(help=_("Name of the account: source_addr, login_name, client_id or system_id."))]
Secret = Annotated[str | None, Parameter(help=_("The account's secret; others on this machine can see it here."))]
SecretEnv = Annotated[str | None, Parameter(help=_("Environment variable that holds the secret."))]
Window = Annotated[int, Parameter(help=_("Requests sent ahead of their answers."))]
Log = Annotated[Path | None, Parameter(help=_("File of JSON lines, appended to: one for each event."))]
Seed = Annotated[int, Parameter(help=_("The same seed gives the same run."))]


@app.command(help=_("Take messages as an SMSC does, and misbehave as told. Ends with a summary in JSON."))
def smsc(
    *,
    protocol: Protocol,
    login: Login,
    version: Version = "",
    listen: Annotated[str, Parameter(help=_("HOST:PORT; port 0 takes a free one."))] = "127.0.0.1:0",
    secret: Secret = None,
    secret_env: SecretEnv = None,
    window: Window = 16,
    rate: Annotated[float, Parameter(help=_("Messages a second; more are throttled. 0: no limit."))] = 0.0,
    delay_ms: Annotated[int, Parameter(help=_("Milliseconds until a message is answered."))] = 0,
    report_delay_ms: Annotated[int, Parameter(help=_("Milliseconds from the answer to the report."))] = 0,
    report_share: Annotated[float, Parameter(help=_("Share of reports that say DELIVRD, 0 to 1."))] = 1.0,
    id_form: Annotated[str, Parameter(help=_("SMPP, ids in answers: decimal, hex, HEX or padded."))] = "decimal",
    receipt_form: Annotated[str, Parameter(help=_("SMPP, ids in receipts; left out, as in answers."))] = "",
    shuffle: Annotated[bool, Parameter(negative=(), help=_("Reports come out of order."))] = False,
    early: Annotated[bool, Parameter(negative=(), help=_("Reports come before the answer."))] = False,
    refuse_share: Annotated[float, Parameter(help=_("Share of messages that are refused for good."))] = 0.0,
    refuse_code: Annotated[int | None, Parameter(help=_("Code of such a refusal; left out, the usual one."))] = None,
    silent_share: Annotated[float, Parameter(help=_("Share of messages that are taken and never answered."))] = 0.0,
    drop_after: Annotated[int, Parameter(help=_("Close a connection after so many messages; 0: never."))] = 0,
    stall_after: Annotated[int, Parameter(help=_("Read no more after so many messages; 0: never."))] = 0,
    mo_rate: Annotated[float, Parameter(help=_("Messages a second from handsets."))] = 0.0,
    mo_to: Annotated[str, Parameter(help=_("Access code that they are sent to."))] = "",
    report_to: Annotated[str, Parameter(help=_("SGIP: HOST:PORT that is called with reports and messages."))] = "",
    log: Log = None,
    tls_cert: Annotated[Path | None, Parameter(help=_("Certificate (PEM): connections are TLS."))] = None,
    tls_key: Annotated[Path | None, Parameter(help=_("Its key, where it is another file."))] = None,
    share_port: Annotated[bool, Parameter(negative=(), help=_("Several simulators listen on one port."))] = False,
    seconds: Annotated[float, Parameter(help=_("End after so many seconds; 0: when told to."))] = 0.0,
    seed: Seed = 0,
) -> int:
    """Exit code: 0 stopped as told."""
    from mingbai.gateway.simulators.lines import run_loop
    from mingbai.gateway.simulators.smsc import SmscOptions

    options = SmscOptions(
        protocol,
        version,
        listen=listen,
        login=login,
        secret=_secret(secret, secret_env),
        window=window,
        rate_per_s=rate,
        delay_ms=delay_ms,
        report_delay_ms=report_delay_ms,
        report_share=report_share,
        id_form=id_form,
        receipt_form=receipt_form,
        shuffle=shuffle,
        early=early,
        refuse_share=refuse_share,
        refuse_code=refuse_code,
        silent_share=silent_share,
        drop_after=drop_after,
        stall_after=stall_after,
        mo_rate_per_s=mo_rate,
        mo_to=mo_to,
        report_to=report_to,
        log=log,
        tls_certificate=tls_cert,
        tls_key=tls_key,
        share_port=share_port,
        keep=False,
        seed=seed,
    )
    run_loop(lambda: _run_smsc(options, seconds))
    return 0


async def _run_smsc(options: SmscOptions, seconds: float) -> None:
    from mingbai.gateway.simulators.smsc import SmscSimulator

    end = asyncio.Event()
    _on_signal(end.set)
    try:
        async with SmscSimulator(options) as simulator:
            host = options.listen.rpartition(":")[0]
            say_plain(_("The simulator listens: {place}").format(place=f"{host}:{simulator.port}"))
            try:
                async with asyncio.timeout(seconds or None):
                    await end.wait()
            except TimeoutError:
                pass
    except OSError as error:
        raise BadValue(field="--listen", value=options.listen, expected="an address that is free") from error
    print(json.dumps(simulator.summary()), flush=True)


@app.command(help=_("Submit messages as a service provider does, and count what comes back."))
def sp(
    *,
    protocol: Protocol,
    connect: Annotated[str, Parameter(help=_("HOST:PORT of the gateway."))],
    login: Login,
    version: Version = "",
    secret: Secret = None,
    secret_env: SecretEnv = None,
    source: Annotated[str, Parameter(help=_("Access code that messages come from."))] = "10690001",
    count: Annotated[int, Parameter(help=_("Messages; long ones have several parts."))] = 100,
    rate: Annotated[float, Parameter(help=_("Submissions a second; 0: as the window allows."))] = 0.0,
    window: Window = 16,
    connections: Annotated[int, Parameter(help=_("Connections at once."))] = 1,
    to: Annotated[str, Parameter(help=_("First digits of the recipients' numbers."))] = "1380000",
    to_file: Annotated[Path | None, Parameter(help=_("Recipients' numbers, one a line, instead."))] = None,
    texts: Annotated[
        Path | None, Parameter(help=_("Texts, one a line (of a TSV, the last column); left out, generated ones."))
    ] = None,
    long_share: Annotated[float, Parameter(help=_("Share of messages that are long, 0 to 1."))] = 0.0,
    sar: Annotated[bool, Parameter(negative=(), help=_("SMPP: parts are marked by sar_* TLVs."))] = False,
    tlv: Annotated[
        list[str] | None,
        Parameter(negative=(), help=_("SMPP: TAG=TEXT, such as 0x1501=460017000000001, in every message; repeatable.")),
    ] = None,
    encoding: Annotated[str, Parameter(help=_("auto, ucs2, gb18030, ascii or gsm7 (SMPP)."))] = "auto",
    want_reports: Annotated[bool, Parameter(negative=(), help=_("Ask for reports, and wait for them."))] = False,
    wait_reports_s: Annotated[float, Parameter(help=_("Seconds to wait for them at the end."))] = 10.0,
    listen: Annotated[str, Parameter(help=_("SGIP: HOST:PORT where the gateway brings reports."))] = "",
    reconnect: Annotated[bool, Parameter(negative=(), help=_("Dial lost connections again."))] = False,
    resend: Annotated[bool, Parameter(negative=(), help=_("Submit again what was never answered."))] = False,
    no_retry: Annotated[bool, Parameter(negative=(), help=_("What is throttled counts as refused."))] = False,
    answer_s: Annotated[
        float, Parameter(help=_("Seconds without an answer after which a connection is given up."))
    ] = 60,
    log: Log = None,
    tls: Annotated[bool, Parameter(negative=(), help=_("Connect by TLS."))] = False,
    tls_ca: Annotated[Path | None, Parameter(help=_("Certificates that are believed; left out, the system's."))] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help=_("As JSON, for programs."))] = False,
    seed: Seed = 0,
) -> int:
    """Exit code: 0 done, 2 could not log in."""
    from mingbai.gateway.simulators.lines import run_loop
    from mingbai.gateway.simulators.sp import SpOptions, SpSimulator
    from mingbai.gateway.simulators.texts import read_texts

    simulator = SpSimulator(
        SpOptions(
            protocol,
            connect,
            version,
            login=login,
            secret=_secret(secret, secret_env),
            source=source,
            count=count,
            rate_per_s=rate,
            window=window,
            connections=connections,
            to=to,
            to_file=to_file,
            texts=read_texts(texts) if texts is not None else (),
            long_share=long_share,
            sar=sar,
            tlvs=tlv or (),
            encoding=encoding,
            wants_reports=want_reports,
            wait_reports_s=wait_reports_s,
            listen=listen,
            reconnects=reconnect,
            resends=resend,
            retries=not no_retry,
            answer_s=answer_s,
            log=log,
            tls=tls or tls_ca is not None,
            tls_authority=tls_ca,
            seed=seed,
        )
    )
    done = run_loop(lambda: _run_sp(simulator))
    if as_json:
        print(json.dumps(dataclasses.asdict(done)), flush=True)
    elif done.is_logged_in:
        _show(done)
    if not done.is_logged_in:
        say_plain(_("could not log in: {cause}").format(cause=done.problem), style="bold red")
        return 2
    return 0


async def _run_sp(simulator: SpSimulator) -> SpSummary:
    _on_signal(simulator.stop)
    return await simulator.run()


def _show(done: SpSummary) -> None:
    """The summary for a person: what came of the messages, then how fast."""
    lines = [
        (_("messages"), f"{done.messages:,}"),
        (_("submitted"), f"{done.submitted:,}"),
        (_("accepted"), f"{done.accepted:,}"),
        *((_("refused, {code}").format(code=code), f"{count:,}") for code, count in sorted(done.refused.items())),
        (_("throttled and sent again"), f"{done.throttled:,}"),
        (_("never answered"), f"{done.unanswered:,}"),
        (_("never sent"), f"{done.unsent:,}"),
        *((_("reported {state}").format(state=state), f"{count:,}") for state, count in sorted(done.reports.items())),
        (_("reports missing"), f"{done.reports_missing:,}"),
        (_("reports of nothing that was sent"), f"{done.reports_unmatched:,}"),
        (_("reports twice"), f"{done.reports_repeated:,}"),
        (_("messages from handsets"), f"{done.mo:,}"),
        (_("connections lost"), f"{done.connections_lost:,}"),
        (_("answers a second"), f"{done.rate_per_s:,}"),
        (_("answered within, half / 99 %"), f"{done.latency_p50_ms} / {done.latency_p99_ms} ms"),
    ]
    for name, value in lines:
        if value != "0" or name in (_("accepted"), _("submitted")):
            stdout().print(f"{name}: {value}", markup=False, soft_wrap=True)


def _secret(secret: str | None, variable: str | None) -> bytes:
    """Raises BadValue unless exactly one of the two is given."""
    if (secret is None) == (variable is None):
        raise BadValue(field="--secret", value="***", expected="--secret or --secret-env, one of them")
    if variable is not None:
        secret = os.environ.get(variable)  # the user names it: no setting of the program's
        if secret is None:
            raise BadValue(field="--secret-env", value=variable, expected="an environment variable that is set")
    return (secret or "").encode()


def _on_signal(call: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, call)
