"""`mingbai rules`: check a rulebook, or begin one."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter
from rich.text import Text

from mingbai.cli.console import say_plain, stdout
from mingbai.cli.words import _, language
from mingbai.kernel.clock import utc_now

app = App(
    name="rules",
    help=_("Check a rulebook, or begin one."),
    help_format="plaintext",
    group_commands=Group(_("Commands")),
    group_arguments=Group(_("Arguments")),
    group_parameters=Group(_("Options")),
)
app["--help"].help = _("Show this and exit.")


@app.command(help=_("Read a rulebook and say everything that is wrong with it. Exit code: 0 valid, 2 not."))
def check(file: Annotated[Path, Parameter(help=_("The rulebook (TOML)."))], /) -> int:
    from mingbai.cli.fast_start import leave_out_unused

    leave_out_unused()
    from mingbai.connectors.policies import read_rulebook
    from mingbai.engines.screening.rules import CompiledRules

    book = read_rulebook(file)  # RulebookInvalid, with every problem, is shown by the program
    compiled = CompiledRules.of(book)
    now = utc_now()
    active = sum(rule.is_valid_at(now) for rule in book.rules)
    console = stdout()
    console.print(
        Text(_("✓ {name} {version} is valid.").format(name=book.name, version=book.version), style="bold green")
    )
    console.print(
        _("{rules} rules, {active} of them in force now; version in the record: {digest}").format(
            rules=len(book.rules), active=active, digest=compiled.version
        ),
        markup=False,
    )
    return 0


@app.command(help=_("Write a rulebook to start from, with comments. A file that is there is never overwritten."))
def init(
    file: Annotated[Path, Parameter(help=_("File to write."))] = Path("rules.toml"),
    /,
    *,
    shipped: Annotated[
        bool, Parameter(negative=(), help=_("A copy of the rulebook that Mingbai ships, instead of a short one."))
    ] = False,
) -> int:
    from mingbai.cli.arguments import FileUnusable

    template = files("mingbai.cli") / "templates" / f"rules.{language()}.toml"
    content = (files("mingbai.engines.screening") / "data" / "rulebook.toml" if shipped else template).read_bytes()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "wb") as target:
            target.write(content)
    except OSError as error:
        raise FileUnusable(path=str(file), detail=error.strerror or str(error)) from error
    say_plain(_("{path} is written; next: mingbai rules check {path}").format(path=file))
    return 0
