"""What a directory holds that can be pushed: a data set, an evaluation, or a model; of each, what goes to the Hub."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synth.data.run.directory import SIDE_TABLES
from synth.data.run.record import RunRecord, read_record
from synth.errors import UsageError
from synth.evaluation.job import ANSWERS
from synth.evaluation.table import score_table
from synth.hub.cards import Metadata, dataset_card, evaluation_card, model_card
from synth.hub.repository import Kind
from synth.hub.tables import Table
from synth.reports.evaluation import read_scores
from synth.training.folder import UNDER_WAY

Card = Callable[[str, str | None, Metadata], str]
"""Makes a card of the repository's name, a license, and the metadata of the card that is there."""
RECORD, SCORES, PROGRESS = "run.json", "scores.json", "progress.json"
PUSHED = "pushed"
"""Key of the scores on the Hub: for each model a digest of what was asked."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a directory holds.

    Attributes:
        folder: the directory.
        kind: of repository.
        record: of the run that made it; of an evaluation there is none.
        marker: the file that goes last; where it is, all is there.
        said: what the marker says.
        card: makes the card.
        tables: what goes as Parquet.
        files: what goes as it is, by the path in the directory.
        asked: of an evaluation, for each model a digest of what was asked.
    """

    folder: Path
    kind: Kind
    record: RunRecord | None
    marker: str
    said: str
    card: Card
    tables: list[Table] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    asked: Mapping[str, str] = field(default_factory=dict)


def contents_of(folder: Path) -> Contents:
    """What a directory holds.

    Raises:
        UsageError: nothing that `synth` made, or made to its end; or something of it is damaged.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no directory: name one that a command of synth wrote")
    if (folder / SCORES).is_file():
        return _evaluation(folder)
    record = _finished(folder)
    if (folder / "state.json").is_file():
        return _data_set(folder, record)
    if record is not None and any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        return _model(folder, record)
    raise UsageError(f"{folder} holds no data set, evaluation or model of synth")


def _finished(folder: Path) -> RunRecord | None:
    """The record of the run that made what is there; None where no run did.

    Raises:
        UsageError: it is not finished, or a part of a whole.
    """
    record = read_record(folder)
    if record is not None and not (folder / RECORD).is_file():
        raise UsageError(f"the run in {folder} is not finished: run synth {record.command} again, and push it then")
    if record is not None and record.shard is not None:
        raise UsageError(f"{folder} is a shard: put all of them together with synth join, and push what that makes")
    return record


def _data_set(folder: Path, record: RunRecord | None) -> Contents:
    tables = [Table.of(folder, "default", "data")]
    tables += [Table.of(folder / side, side, side) for side in SIDE_TABLES if (folder / side / "state.json").is_file()]
    if record is None:  # `synth export` writes none: it is known by its content
        record = RunRecord("export", {"content": _content(folder)}, command_line=None, accepted=tables[0].rows)

    def card(name: str, license: str | None, held: Metadata) -> str:
        return dataset_card(name, tables, record, license, held)

    file = folder / RECORD
    said = file.read_text(encoding="utf-8") if file.is_file() else record.as_json()
    return Contents(folder, "dataset", record, RECORD, said, card, tables)


def _content(folder: Path) -> str:
    """A digest of the rows in a dataset directory."""
    digest = hashlib.sha256()
    for entry in json.loads((folder / "state.json").read_text(encoding="utf-8"))["_data_files"]:
        with open(folder / entry["filename"], "rb") as shard:
            digest.update(hashlib.file_digest(shard, "sha256").digest())
    return digest.hexdigest()


def _evaluation(folder: Path) -> Contents:
    scores = read_scores(folder)
    try:
        names, shown = [str(model["name"]) for model in scores["models"]], str(score_table(scores))
        asked = {str(model["name"]): _asked(folder, model) for model in scores["models"]}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{folder / SCORES} is damaged ({error}); run synth eval again") from error
    tables = list(_answers(folder, names))

    def card(name: str, license: str | None, held: Metadata) -> str:
        return evaluation_card(name, tables, shown, license, held)

    plots = sorted(path.name for kind in ("*.svg", "*.png") for path in folder.glob(kind))
    said = json.dumps(scores | {PUSHED: asked}, indent=2, ensure_ascii=False) + "\n"
    return Contents(folder, "dataset", None, SCORES, said, card, tables, plots, asked)


def _asked(folder: Path, model: Mapping[str, Any]) -> str:
    """A digest of what a model was asked, and of which model: settings, with fingerprints of the suites."""
    record = read_record(folder / ANSWERS / str(model["name"]))
    other = [sorted(model.get(name) or ()) for name in ("perplexity", "lm_eval")]
    settings = other if record is None else record.settings
    told = json.dumps([model.get("model"), sorted(model["suites"]), settings], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _answers(folder: Path, models: list[str]) -> Iterator[Table]:
    """The answers of each model, by a name that a configuration and a folder of the Hub may have."""
    taken: set[str] = set()
    for model in models:
        answers = folder / ANSWERS / model
        if not answers.is_dir():  # only lm-eval was asked
            continue
        _finished(answers)
        plain = re.sub(r"[^\w.-]+", "-", model, flags=re.ASCII).strip(".-") or "model"
        name = next(one for one in (plain, *(f"{plain}-{number}" for number in range(2, 10**6))) if one not in taken)
        taken.add(name)
        yield Table.of(answers, name, f"{ANSWERS}/{name}")


def _model(folder: Path, record: RunRecord) -> Contents:
    def card(name: str, license: str | None, held: Metadata) -> str:
        return model_card(name, folder, record, license, held)

    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    apart = {*UNDER_WAY, RECORD, "README.md"}
    files = [str(path) for path in paths if path.parts[0] not in apart and not any(map(_hidden, path.parts))]
    said = (folder / RECORD).read_text(encoding="utf-8")
    return Contents(folder, "model", record, RECORD, said, card, files=files)


def _hidden(name: str) -> bool:
    return name.startswith(".")
