"""`mingbai train` and `mingbai evaluate`: make a model from labelled files, and measure one."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.text import Text

from mingbai.cli.arguments import FileUnusable, refuse_unwritable
from mingbai.cli.console import say_plain, show_alarms, stderr, stdout
from mingbai.cli.words import _
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.settings import load_settings

if TYPE_CHECKING:
    from mingbai.connectors.tables import Reject
    from mingbai.engines.screening.evaluation import EvaluationReport
    from mingbai.engines.screening.training import TrainingReport, TrainingSettings


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
    epochs: Annotated[
        int | None, Parameter(help=_("How often every message is learnt from; left out, as for the shipped model."))
    ] = None,
    scenario_rows: Annotated[
        int | None,
        Parameter(
            help=_("Generated messages a language that are learnt from too; left out, as for the shipped model.")
        ),
    ] = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
) -> int:
    """Exit code: 0 trained, 1 trained without some rows, 2 not."""
    need("mingbai train", "train", ("lightgbm",))
    if not files:
        raise BadValue(field="FILES", value=None, expected="at least one labelled file")
    if epochs is not None and epochs < 1:
        raise BadValue(field="--epochs", value=epochs, expected="1 or more")
    if scenario_rows is not None and scenario_rows < 0:
        raise BadValue(field="--scenario-rows", value=scenario_rows, expected="0 or more")
    refuse_unwritable(out)
    show_alarms()
    from mingbai.connectors.labelled import read_labelled
    from mingbai.engines.screening import training

    settings = _quicker(training.TrainingSettings(), epochs, scenario_rows)
    rejected = _Count()
    labelled = read_labelled(files, on_reject=rejected, text_column=text_column, label_column=label_column)
    with stderr().status(_("Training; this takes minutes…")):
        try:
            report = training.train(labelled, out, seed, settings)
        except OSError as error:  # the disk is full, or the folder went away
            raise FileUnusable(path=str(out), detail=error.strerror or str(error)) from error
    rejected.say()
    console = stdout()
    said = _("Model {version} is written to {path}.").format(version=report.version, path=out)
    console.print(Text(said, style="bold"))
    show_training(report)
    return 1 if rejected.rows else 0


def _quicker(settings: TrainingSettings, epochs: int | None, scenario_rows: int | None) -> TrainingSettings:
    """The shipped model's settings, but for what was asked for."""
    if scenario_rows is not None:
        settings = dataclasses.replace(settings, scenario_rows=scenario_rows)
    if epochs is not None:
        chinese, english = (
            dataclasses.replace(language, fit=dataclasses.replace(language.fit, epochs=epochs))
            for language in (settings.chinese, settings.english)
        )
        settings = dataclasses.replace(settings, chinese=chinese, english=english)
    return settings


def show_training(report: TrainingReport) -> None:
    """Cross-validated figures of both languages."""
    from mingbai.cli.summary import fitted, table

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
    stdout().print(fitted(result, stdout()))
    note = _(
        "Cross-validated: each message judged by a model that has not seen it or its "
        "near-duplicates. Recall: the share of unwanted messages caught where so many legitimate "
        "ones are blocked."
    )
    stdout().print(Text(note, style="dim"))


def evaluate(
    *files: Files,
    model: Annotated[
        Path | None, Parameter(help=_("Model; left out, the one that is set, or the shipped one."))
    ] = None,
    picture: Annotated[Path | None, Parameter(help=_("File for the precision-recall curve (PNG)."))] = None,
    rate: Annotated[float, Parameter(help=_("How thickly messages are disguised, 0 to 1; 0 leaves it out."))] = 0.3,
    seed: Annotated[int, Parameter(help=_("Seed of the disguises."))] = 1,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help=_("As JSON, for programs."))] = False,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
) -> int:
    """Figures only, never texts. Exit code: 0 measured, 1 measured without some rows, 2 not."""
    if not files:
        raise BadValue(field="FILES", value=None, expected="at least one labelled file")
    if not 0 <= rate <= 1:
        raise BadValue(field="--rate", value=rate, expected="0 to 1")
    if picture is not None:
        need("mingbai evaluate --picture", "train", ("matplotlib",))
        refuse_unwritable(picture)
    show_alarms()
    settings = load_settings()
    from mingbai.connectors.labelled import read_labelled
    from mingbai.connectors.policies import read_model
    from mingbai.engines.screening import evaluation

    trained = read_model(model or settings.screening.model)
    rejected = _Count()
    labelled = read_labelled(files, on_reject=rejected, text_column=text_column, label_column=label_column)
    with stderr().status(_("Measuring…")):
        report = evaluation.evaluate(trained, labelled, rate=rate, seed=seed, picture=picture)
    rejected.say()
    if as_json:
        print(json.dumps(dataclasses.asdict(report), ensure_ascii=False, indent=1))
    else:
        show_evaluation(report)
    return 1 if rejected.rows else 0


def show_evaluation(report: EvaluationReport) -> None:
    """Figures: recall by language and source, categories, what disguise costs."""
    from mingbai.cli.labels import category_word
    from mingbai.cli.summary import fitted, table
    from mingbai.kernel.verdicts import Category

    console = stdout()
    console.print(Text(_("Model {version}").format(version=report.version), style="bold"))
    words = {"chinese": _("Chinese"), "english": _("English")}
    recalls = table(
        (_("Source"), "left"),
        (_("Legitimate"), "right"),
        (_("Unwanted"), "right"),
        (_("Recall at 0.1 %"), "right"),
        (_("Recall at 0.5 %"), "right"),
        (_("Recall as set"), "right"),
        (_("Wrongly blocked"), "right"),
    )
    for name, language in report.languages.items():
        for source, one in ((words[name], language.pooled), *language.sources.items()):
            recalls.add_row(
                Text(source, style="bold" if one is language.pooled else ""),
                f"{one.legitimate:,}",
                f"{one.unwanted:,}",
                *(_share(value) for value in (one.at_0_1_percent, one.at_0_5_percent, one.at_block)),
                "–" if one.blocked_legitimate is None else f"{100 * one.blocked_legitimate:.2f} %",
            )
    if recalls.row_count:
        console.print(fitted(recalls, console))
    else:
        said = _("No recall: it takes legitimate and unwanted messages of one language to measure it.")
        console.print(Text(said, style="yellow"))
    if report.categories:
        figures = table(
            (_("Category"), "left"),
            (_("Messages"), "right"),
            (_("Precision"), "right"),
            (_("Recall"), "right"),
            ("F1", "right"),
        )
        by_label = {category.label: category for category in Category}
        for label, found in report.categories.items():
            figures.add_row(
                category_word(by_label[label]),
                f"{found.rows:,}",
                f"{found.precision:.3f}",
                f"{found.recall:.3f}",
                f"{found.f1:.3f}",
            )
        console.print(fitted(figures, console))
        console.print(Text(_("Macro-F1: {value}").format(value=_share(report.macro_f1)), style="bold"))
    for name, language in report.languages.items():
        if not language.disguises:
            continue
        losses = table(
            (words[name], "left"), (_("Messages"), "right"), (_("Clean"), "right"), (_("Disguised"), "right")
        )
        honest = {_("legitimate, {kind}").format(kind=kind): odd for kind, odd in language.odd_styles.items()}
        for kind, disguise in (*language.disguises.items(), *honest.items()):
            losses.add_row(kind, f"{disguise.rows:,}", f"{disguise.clean:.4f}", f"{disguise.disguised:.4f}")
        console.print(fitted(losses, console))
    note = _(
        "Recall: the share of unwanted messages caught where so many legitimate ones are blocked; as set: at the "
        "model's own threshold. Disguised: the share stopped of the same messages, written to get past a filter or in "
        "odd style."
    )
    console.print(Text(note, style="dim"))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
