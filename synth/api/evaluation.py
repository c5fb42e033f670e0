"""The result of `synth.evaluate`: scores, and the answers they were counted from."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from synth.api.dataset import Dataset
from synth.data.output import Output
from synth.data.run.invocation import command_line
from synth.data.store.path import File, StoredPath, name_of, path_at
from synth.data.write import replace_text
from synth.errors import UsageError
from synth.evaluation.job import ANSWERS
from synth.evaluation.table import score_table
from synth.reports.evaluation import read_scores
from synth.reports.evaluation_plots import draw_scores

if TYPE_CHECKING:
    from synth.api.report import Report


class Evaluation:
    """Accuracies of models, and what was kept and lost between them: `print` shows the table.

    Attributes:
        path: the directory with `scores.json` and the answers.
        scores: what `scores.json` says: `models`, each with its `suites`, and of a sweep `sweep`, the model to take.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep: object = None) -> None:
        """Of a directory that `synth.evaluate` or `synth eval` wrote.

        Raises:
            UsageError: there are no scores, or they cannot be read.
        """
        self.path: File = path if isinstance(path, StoredPath) else path_at(os.fspath(path))
        self.scores: dict[str, Any] = read_scores(self.path)
        self._keep = keep

    @classmethod
    def written(cls, scores: dict[str, Any], output: Output) -> Self:
        """Scores, written into a directory; with plots, where it is to stay."""
        folder, keep = output.local, output.keep
        folder.mkdir(parents=True, exist_ok=True)
        told = {"command_line": command_line(), **scores}
        replace_text(folder / "scores.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")
        found = cls(folder, keep=keep)
        if keep is None:
            found.plots()
        return cls(output.carried(), keep=keep)

    def __fspath__(self) -> str:
        return name_of(self.path)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        models = self.scores["models"]
        return f"<synth evaluation {self.path}: {len(models)} models, {len(models[0]['suites'])} suites>"

    def table(self) -> str:
        """The table as text: a row per suite, a column per model, and remarks below it."""
        return str(score_table(self.scores))

    @property
    def answers(self) -> dict[str, Dataset]:
        """What each model answered, with verdicts: one row an item. Empty where no suite was asked."""
        folders = {model["name"]: self.path / ANSWERS / model["name"] for model in self.scores["models"]}
        return {name: Dataset(folder, keep=self._keep) for name, folder in folders.items() if folder.is_dir()}

    def items(self) -> Iterator[dict[str, Any]]:
        """Every item with all models' answers, in bounded memory.

        Yields:
            `suite`, `item` (its place there, from 0), `new`, `prompt` (messages), `reference`, and `models`: by name
            the `text` of the answer (None where nothing could be asked), its `verdict`, and the `reason` if it is not
            right.
        """
        answers = self.answers
        for rows in zip(*answers.values(), strict=True):
            texts = [_answer(row["messages"]) for row in rows]
            first = rows[0]
            yield {
                **{name: first[name] for name in ("suite", "item", "new", "reference")},
                "prompt": first["messages"] if texts[0] is None else first["messages"][:-1],
                "models": {
                    name: {"text": text, "verdict": row["verdict"], "reason": row["verdict_reason"]}
                    for name, text, row in zip(answers, texts, rows, strict=True)
                },
            }

    def plots(self, output: str | os.PathLike[str] | None = None) -> list[Path]:
        """Draw bars for every suite and, of several comparisons, what was kept against what was gained.

        Args:
            output: the directory for the files, SVG and PNG; that of the evaluation by default.
        """
        if output is None and not isinstance(self.path, Path):
            raise UsageError("the evaluation is elsewhere: say where its plots go with `output`")
        folder = Path(os.fspath(output or self.path))
        folder.mkdir(parents=True, exist_ok=True)
        return [file for suffix in (".svg", ".png") for file in draw_scores(self.scores, folder, suffix)]

    def report(self, output: str | os.PathLike[str] | None = None) -> "Report":
        """The page of `synth report`, with every item that went wrong or came right; a notebook shows it.

        Args:
            output: the HTML file to write as well.
        """
        from synth.api.report import report

        return report([self], output=output)


def _answer(messages: list[dict[str, Any]]) -> str | None:
    """A model's answer, if it was asked."""
    return messages[-1]["content"] if messages and messages[-1]["role"] == "assistant" else None
