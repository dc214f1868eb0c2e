"""The verbs, and what becomes of errors.

Every error is one message on standard error, in the reader's language and without a traceback. What is not ours
(MingbaiError) and not a wrong argument is a fault of the program: it says so, shows where (places in the code only,
because the words of an exception may quote a message) and how to report it.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from cyclopts import App, CycloptsError, Group
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from mingbai import __version__
from mingbai.cli.console import stderr
from mingbai.cli.details import message_of
from mingbai.cli.words import _
from mingbai.kernel.errors import MingbaiError

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def build_app() -> App:
    """The program with all its verbs, in the chosen language."""
    commands, arguments, options = Group(_("Commands")), Group(_("Arguments")), Group(_("Options"))
    app = App(
        name="mingbai",
        help=_("Screens SMS, says why, keeps the record."),
        help_epilogue=_("Every command takes --lang en|zh. Settings: docs/settings.md. Begin with: mingbai demo"),
        version=f"mingbai {__version__}",
        help_format="plaintext",
        group_commands=commands,
        group_arguments=arguments,
        group_parameters=options,
        help_on_error=False,
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
        usage=_("Usage: mingbai COMMAND [OPTIONS]"),
    )
    for name, target, text in (
        ("screen", "screen:screen", _("Screen messages from files.")),
        ("explain", "explain:explain", _("Explain the decision on one message.")),
        ("demo", "demo:demo", _("Show a day of traffic being decided.")),
        ("serve", "serve:serve", _("Run everything: console, jobs, screener and SMS gateway.")),
        ("gateway", "serve:gateway", _("Run the SMS gateway alone.")),
        ("console", "serve:console", _("Run the console alone: pages, API, jobs and the screener.")),
        ("apply", "apply:apply", _("Bring people, rights and rules to what a file says.")),
        ("export", "apply:export", _("Write people, rights and rules as such a file.")),
        ("example", "example:example", _("Print a file to begin with: an SMS gateway.")),
        ("backup", "backup:backup", _("Copy everything into one file, while it runs.")),
        ("restore", "backup:restore", _("Put a backup into a new data directory, and verify it.")),
        ("train", "model:train", _("Train a model from labelled files.")),
        ("evaluate", "model:evaluate", _("Measure a model on labelled files.")),
        ("replay", "replay:replay", _("Show what a changed rulebook or model would change, before it is switched on.")),
        ("simulate", "simulate:app", _("Simulate an SMSC or a service provider, to try a gateway.")),
        ("rules", "rules:app", _("Check a rulebook, or begin one.")),
        ("ledger", "ledger:app", _("Verify, anchor, query and keep the record.")),
    ):
        app.command(f"mingbai.cli.{target}", name=name, help=text)
    app["--help"].help = _("Show this and exit.")
    app["--version"].help = _("Show the version and exit.")
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        code = build_app()(list(arguments))
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        say_error(argument_error(error))
        return 2
    except MingbaiError as error:
        say_error(message_of(error))
        return 2
    except KeyboardInterrupt:
        say_error(_("interrupted; what was acknowledged stays"))
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stdout = None  # keeps the interpreter from flushing into the closed pipe
        return 0
    except Exception as error:
        say_fault(error)
        return 2


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def argument_error(error: CycloptsError) -> str:
    """One sentence about a wrong command line."""
    command = " ".join(["mingbai", *(error.command_chain or ())])
    hint = _("See: {command} --help").format(command=command)
    if isinstance(error, UnknownOptionError):
        what = _("unknown option {name}").format(name=error.token.keyword or error.token.value)
    elif isinstance(error, UnknownCommandError):
        what = _("unknown command {name}").format(name=(error.unused_tokens or ["?"])[0])
    elif isinstance(error, MissingArgumentError):
        what = _("{name} is missing").format(name=error.argument.name if error.argument else "?")
    elif isinstance(error, RepeatArgumentError):
        what = _("{name} is given twice").format(name=error.token.keyword or error.token.value)
    elif isinstance(error, UnusedCliTokensError):
        what = _("unexpected: {words}").format(words=" ".join(error.unused_tokens or ()))
    elif isinstance(error, CoercionError) and error.token is not None:
        name = error.token.keyword or (error.argument.name if error.argument else "?")
        what = _("{name}: got {value!r}, which is not of the right kind").format(name=name, value=error.token.value)
    else:
        error.verbose = False
        what = str(error)
    return f"{what}. {hint}"


def say_error(text: str) -> None:
    """A message on standard error."""
    stderr().print(f"mingbai: {text}", style="bold red", markup=False, highlight=False, soft_wrap=True)


def say_fault(error: BaseException) -> None:
    """A fault of the program: where, and how to report it."""
    places = [f"  {at.filename}:{at.lineno} {at.name}" for at in traceback.extract_tb(error.__traceback__)]
    stderr().print("\n".join(places), style="dim", markup=False, highlight=False, soft_wrap=True)
    say_error(_("{kind}: this is a fault of Mingbai, not yours").format(kind=type(error).__name__))
    say = _("Please report it with the lines above, the command and `mingbai --version`: see CONTRIBUTING.md.")
    stderr().print(say, markup=False, highlight=False, soft_wrap=True)
