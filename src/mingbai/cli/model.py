"""`mingbai train` and `mingbai evaluate`: make a model from labelled files, and measure one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.text import Text

from mingbai.cli.console import say_plain, show_alarms, stderr, stdout
from mingbai.cli.words import _
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.settings import load_settings

if TYPE_CHECKING:
    from mingbai.connectors.tables import Reject
    from mingbai.engines.screening.training import TrainingReport


class ExtraMissing(MingbaiError):
    """Packages that only this command needs are not installed."""

    code = "extra_missing"
    template = "{command} needs the extra `{extra}`: pip install 'mingbai[{extra}]' (missing: {missing})"


def need(command: str, extra: str, packages: tuple[str, ...]) -> None:
    """Raises ExtraMissing if one of an extra's packages is not there."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ExtraMissing(command=command, extra=extra, missing=", ".join(missing))


Files = Annotated[str, Parameter(help=_("Labelled files: CSV, TSV, JSON Lines or Parquet; one source a file."))]
TextColumn = Annotated[str, Parameter(help=_("Column that holds the text."))]
LabelColumn = Annotated[
    str, Parameter(help=_("Column of labels: spam, ham, or a category such as fraud; docs/reference/cli.md lists all."))
]


class _Count:
    """Rejected rows of labelled files: counted, and said once."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, reject: Reject) -> None:
        self.rows += reject.rows

    def say(self) -> None:
        if self.rows:
            say_plain(_("{count} rows could not be read").format(count=f"{self.rows:,}"), style="yellow")


def train(
    *files: Files,
    out: Annotated[Path, Parameter(help=_("Model file to write (.npz)."))],
    seed: Annotated[int, Parameter(help=_("The same files and seed give the same model."))] = 1,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
) -> int:
    """Exit code: 0 trained, 1 trained without some rows, 2 not."""
    need("mingbai train", "train", ("lightgbm",))
    if not files:
        raise BadValue(field="FILES", value=None, expected="at least one labelled file")
    show_alarms()
    from mingbai.connectors.labelled import read_labelled
    from mingbai.engines.screening import training

    rejected = _Count()
    labelled = read_labelled(files, on_reject=rejected, text_column=text_column, label_column=label_column)
    with stderr().status(_("Training; this takes minutes…")):
        report = training.train(labelled, out, seed)
    rejected.say()
    console = stdout()
    said = _("Model {version} is written to {path}.").format(version=report.version, path=out)
    console.print(Text(said, style="bold"))
    show_training(report)
    return 1 if rejected.rows else 0


def show_training(report: TrainingReport) -> None:
    """Cross-validated figures of both languages."""
    from mingbai.cli.summary import table

    result = table(
        (_("Language"), "left"),
        (_("Messages"), "right"),
        (_("Recall at 0.1 %"), "right"),
        (_("Recall at 0.5 %"), "right"),
        (_("Looked at twice"), "right"),
        (_("Flagged from"), "right"),
        (_("Blocked from"), "right"),
    )
    for name, language in ((_("Chinese"), report.chinese), (_("English"), report.english)):
        result.add_row(
            name,
            f"{sum(language.rows.values()):,}",
            f"{language.recall_at_0_1_percent:.3f}",
            f"{language.recall_at_0_5_percent:.3f}",
            f"{100 * language.doubt_share:.2f} %",
            f"{language.flag_at:.3f}",
            f"{language.block_at:.3f}",
        )
    stdout().print(result)
    note = _("Cross-validated: each message judged by a model that has not seen it or its near-duplicates. Recall: the share of unwanted messages caught where so many legitimate ones are blocked.")  # fmt: skip
    stdout().print(Text(note, style="dim"))


def evaluate(
    *files: Files,
    model: Annotated[
        Path | None, Parameter(help=_("Model; left out, the one that is set, or the shipped one."))
    ] = None,
    picture: Annotated[Path | None, Parameter(help=_("File for the precision-recall curve (.png or .svg)."))] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help=_("As JSON, for programs."))] = False,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
) -> int:
    """Figures only, never texts. Exit code: 0 measured, 1 measured without some rows, 2 not."""
    if not files:
        raise BadValue(field="FILES", value=None, expected="at least one labelled file")
    show_alarms()
    load_settings()
    raise NotImplementedError
