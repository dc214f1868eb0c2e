"""What examples/deploy/ gives an operator, and what the gateway's pages tell him, is true of the program: verbs,
settings, ports, metrics, answer codes."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cyclopts import App

from mingbai.cli.app import build_app
from mingbai.contexts.messaging.services.gateway_configuration import TABLES
from mingbai.gateway.doors import _MOST_CONNECTIONS, DEFAULT_PORTS
from mingbai.gateway.http_door import _STATUS
from mingbai.protocols.answers import _REFUSALS
from mingbai.protocols.receipts import FINAL_STATES
from mingbai.server import _DRAIN_S, LISTENERS
from mingbai.settings import CONFIG_VARIABLE, GatewaySettings, describe_settings, load_settings
from tests.gateway.rig import Provider, Smsc, registry, running, story

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "examples" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
PAGES = [
    ROOT / "docs" / "gateway.md",
    ROOT / "docs" / "explanation" / "gateway.md",
    ROOT / "docs" / "explanation" / "failure.md",
    ROOT / "docs" / "reference" / "protocols.md",
    DEPLOY / "README.md",
]
PROGRAM = "/opt/mingbai/bin/mingbai"
METRIC = re.compile(r"\bmingbai_gateway_[a-z_]+")
VARIABLE = re.compile(r"\bMINGBAI_[A-Z][A-Z_]*[A-Z]")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def variables() -> set[str]:
    return {row.variable for row in describe_settings()} | {CONFIG_VARIABLE}


def verb_of(words: list[str]) -> str | None:
    """What is wrong with the command that these words begin with; None if there is such a verb."""
    app: App = build_app()
    if words[0] not in set(app):
        return words[0]
    inner = set(app[words[0]]) - {"--help", "-h", "--version"}
    if inner and len(words) > 1 and re.fullmatch(r"[a-z][a-z-]*", words[1]) and words[1] not in inner:
        return " ".join(words[:2])
    return None


# ------------------------------------------------------------------------------------------------------------- systemd
def unit(path: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case: configparser's own recipe
    found.read_string(path.read_text(encoding="utf-8"))
    return found


def environment(path: Path) -> dict[str, str]:
    """A name may stand several times in a unit; configparser keeps the last."""
    lines = re.findall(r"^Environment=(\w+)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(lines)


@pytest.mark.parametrize("path", UNITS, ids=name_of)
def test_a_unit_is_hardened_and_gives_the_parts_time_to_finish(path: Path) -> None:
    service = unit(path)["Service"]
    wanted = {
        "User": "mingbai", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
        "StateDirectory": "mingbai", "Restart": "on-failure", "KillSignal": "SIGTERM", "KillMode": "mixed",
    }  # fmt: skip
    assert {name: service.get(name) for name in wanted} == wanted
    assert float(service["TimeoutStopSec"]) > _DRAIN_S
    assert "MemoryDenyWriteExecute" not in service, "the engine makes machine code while it runs"
    assert "ProcSubset" not in service, "the boot id would be hidden, and with it a power cut"
    if "gateway" in service["ExecStart"] or "serve" in service["ExecStart"]:
        assert int(service["LimitNOFILE"]) > _MOST_CONNECTIONS


@pytest.mark.parametrize("path", UNITS, ids=name_of)
def test_a_unit_names_verbs_and_settings_that_exist(path: Path) -> None:
    program, *words = shlex.split(unit(path)["Service"]["ExecStart"])
    assert program == PROGRAM
    assert verb_of(words) is None
    given = environment(path)
    assert given["NUMBA_CACHE_DIR"] == "/var/cache/mingbai"
    assert unit(path)["Service"]["CacheDirectory"] == "mingbai"
    assert {name for name in given if name.startswith("MINGBAI_")} <= variables()


def test_the_units_exclude_each_other_where_they_would_run_one_part_twice() -> None:
    conflicts = {path.stem: set(unit(path)["Unit"]["Conflicts"].split()) for path in UNITS}
    halves = {"mingbai-console.service", "mingbai-gateway.service"}
    assert conflicts["mingbai"] == halves
    assert conflicts["mingbai-console"] == conflicts["mingbai-gateway"] == {"mingbai.service"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("path", UNITS, ids=name_of)
def test_systemd_understands_every_line(path: Path, tmp_path: Path) -> None:
    there = shutil.which("true")
    assert there is not None
    copy = tmp_path / path.name
    copy.write_text(path.read_text(encoding="utf-8").replace(PROGRAM, there), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    own = [line for line in (found.stdout + found.stderr).splitlines() if path.name in line]
    assert own == []


# ----------------------------------------------------------------------------------------------------------- container
def instructions() -> Iterator[tuple[str, str]]:
    """Of the Containerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def test_the_container_runs_existing_verbs_as_nobody_special() -> None:
    found = list(instructions())
    assert found[0] == ("ARG", "BASE=python:3.11-slim-bookworm")
    assert [rest.split()[0] for word, rest in found if word == "FROM"] == ["${BASE}", "${BASE}"]
    last_user = [rest for word, rest in found if word == "USER"][-1]
    assert last_user not in ("root", "0")
    lists = [json.loads(rest) for word, rest in found if word in ("RUN", "CMD", "ENTRYPOINT") and rest.startswith("[")]
    commands = [words for words in lists if words != ["mingbai"]]
    assert ["serve"] in commands
    for words in commands:
        assert verb_of([word for word in words if word != "mingbai"]) is None


def test_the_container_copies_files_that_are_there() -> None:
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists(), name


def test_the_containers_settings_are_valid_and_its_ports_exposed(monkeypatch: pytest.MonkeyPatch) -> None:
    exposed: set[str] = set()
    for word, rest in instructions():
        if word == "ENV":
            for name, value in (pair.split("=", 1) for pair in shlex.split(rest)):
                if name.startswith("MINGBAI_"):
                    assert name in variables()
                    monkeypatch.setenv(name, value)
        elif word == "EXPOSE":
            exposed |= set(rest.split())
    settings = load_settings()
    ports = {getattr(settings.gateway, name).rpartition(":")[2] for name in LISTENERS}
    assert ports | {settings.console.address.rpartition(":")[2]} == exposed


# ------------------------------------------------------------------------------------------------------------- metrics
def dashboard() -> dict[str, Any]:  # Any: JSON
    found: dict[str, Any] = json.loads((DEPLOY / "grafana-gateway.json").read_text(encoding="utf-8"))
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]


@story
async def test_dashboard_alerts_and_docs_name_the_metrics_that_a_gateway_shows(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
        url = f"http://127.0.0.1:{gateway.gateway.live.ports['metrics']}/metrics"
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            shown = await answer.text()
        await provider.stop()
    await smsc.stop()
    there = set(re.findall(r"^# TYPE (\S+)", shown, re.MULTILINE))
    pairs = set(re.findall(r'\b(what|stage|share)="([^"]+)"', shown))
    alerts = (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")
    in_dashboard = set(METRIC.findall(" ".join(expressions())))
    assert in_dashboard == there, "the dashboard shows each metric, and no other"
    assert set(METRIC.findall(alerts)) <= there
    asked = set(re.findall(r'\b(what|stage|share)="([^"]+)"', " ".join([*expressions(), alerts])))
    assert asked <= pairs
    described = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    for name in there:
        assert f"`{name.removeprefix('mingbai_gateway_')}`" in described


def test_every_panel_has_a_place_and_an_expression() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["type"] == "row" or panel["targets"], panel["title"]
    titles = " ".join(panel["title"] for panel in panels)
    for subject in (
        "SMSCs",
        "Accounts",
        "Alarms",
        "Refused, by reason",
        "Unfinished, by stage",
        "From request to answer",
    ):
        assert subject in titles


def test_the_scrape_is_yaml_and_asks_the_port_that_is_usual() -> None:
    yaml = pytest.importorskip("yaml")
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [GatewaySettings().metrics]


# ---------------------------------------------------------------------------------------------------------------- docs
def code_of(page: Path) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    for fence in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from fence.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_pages_name_verbs_that_exist(page: Path) -> None:
    for line in code_of(page):
        for match in re.finditer(r"(?:^\$ |^|^[$#] .*/|exec -i mingbai )mingbai ((?:[a-z]+)(?: [a-z-]+)?)", line):
            assert verb_of(match[1].split()) is None, line


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_pages_name_settings_that_exist(page: Path) -> None:
    known = {row.name for row in describe_settings()}
    sections = {name.partition(".")[0] for name in known if "." in name}
    events = set()
    for source in (ROOT / "src" / "mingbai" / "gateway").glob("*.py"):
        events |= set(re.findall(r'"(gateway\.[a-z_]+)"', source.read_text(encoding="utf-8")))
    files = {"gateway.toml", "gateway.pem", "gateway.key"}
    for code in code_of(page):
        assert set(VARIABLE.findall(code)) <= variables(), code
        for word in re.findall(r"(?<![\w./[-])([a-z]+\.[a-z][a-z_]*)\b(?!\.[a-z])", code):
            if word.partition(".")[0] in sections:
                assert word in known | events | files, code


def test_the_settings_in_the_pages_examples_exist() -> None:
    blocks = [
        tomllib.loads(block)
        for page in PAGES
        for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    ]
    assert blocks
    for block in blocks:
        assert set(block["gateway"]) - set(TABLES) <= set(GatewaySettings.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_pages_name_files_that_are_there(page: Path) -> None:
    for code in code_of(page):
        for name in re.findall(
            r"(?<![\w/])((?:src|tests|examples|docs|gateway)/[\w/.-]+\.(?:py|yml|service|json))", code
        ):
            assert (ROOT / name).exists() or (ROOT / "src" / "mingbai" / name).exists(), name


def cells(page: Path) -> list[list[str]]:
    lines = page.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_the_table_of_answer_codes_is_that_of_the_code() -> None:
    rows = {row[0].partition(":")[0]: row[1:] for row in cells(ROOT / "docs" / "reference" / "protocols.md")}
    for why, (of_cmpp, of_sgip, of_smgp, of_smpp) in _REFUSALS.items():
        assert rows[why.name.lower().replace("_", " ")] == [
            str(int(of_cmpp)), str(int(of_sgip)), str(int(of_smgp)), f"0x{int(of_smpp):02X} {of_smpp.name}",
            str(_STATUS.get(why, 422)),
        ]  # fmt: skip


def test_the_table_of_states_is_that_of_the_code() -> None:
    rows = {row[0]: row[1:] for row in cells(ROOT / "docs" / "reference" / "protocols.md")}
    shown = 0
    for state, (word, of_sgip) in FINAL_STATES.items():
        if state.is_final and state.name.lower() in rows:
            error = f", {of_sgip.error}" if of_sgip.error else ""
            assert rows[state.name.lower()] == [word, f"{of_sgip.state}{error}"]
            shown += 1
    assert shown == 7


def test_the_usual_ports_are_those_of_the_code() -> None:
    rows = {row[0]: row[1:] for row in cells(ROOT / "docs" / "reference" / "protocols.md")}
    assert rows["Usual port"] == [str(DEFAULT_PORTS[name]) for name in ("cmpp", "sgip", "smgp", "smpp", "http")]
