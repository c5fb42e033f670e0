"""SimPO on planned batches, by TRL's trainer for contrastive preference optimisation, of which it is a loss there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from trl.experimental.cpo import CPOConfig, CPOTrainer

from synth.data.pairs import SIDES
from synth.data.row import IGNORED
from synth.training.method import MethodSettings
from synth.training.method_rows import TrainingPairs, padded
from synth.training.preferences import PairCollator, PairSteps
from synth.training.settings import TrainingSettings

MARGIN = 0.5
"""The target margin of the rewards, γ, as a share of β: where its authors begin."""


class SimPOCollator(PairCollator):
    """Lays pairs out as that trainer takes them: either side by itself."""

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch of the pairs that the examples name by `row`."""
        rows = [example["row"] for example in examples]
        batch: dict[str, Any] = {"rows": rows}
        for which, name in enumerate(SIDES):
            sides = [self.rows.side(row, which) for row in rows]
            batch[f"{name}_input_ids"] = padded([ids for ids, _ in sides], self.padding)
            batch[f"{name}_attention_mask"] = padded([np.ones_like(ids) for ids, _ in sides], 0)
            batch[f"{name}_labels"] = padded([np.where(answer, ids, IGNORED) for ids, answer in sides], IGNORED)
        return batch


class PlannedSimPO(PairSteps, CPOTrainer):  # type: ignore[misc] # TRL is not typed
    """SimPO on planned batches."""

    @staticmethod
    def arguments(
        method: MethodSettings, rows: TrainingPairs, settings: TrainingSettings
    ) -> tuple[type[CPOConfig], dict[str, Any]]:
        """TRL's settings: SimPO alone, without the likelihood of the better answer beside it."""
        return CPOConfig, {
            "loss_type": "simpo",
            "beta": method.beta,
            "simpo_gamma": MARGIN * method.beta,
            "cpo_alpha": 0.0,
        }

    def __init__(
        self, *, rows: TrainingPairs, batches: Sequence[NDArray[np.int64]], processing_class: Any, **others: Any
    ) -> None:
        """Take the arguments of `PlannedDPO`."""
        self.names = rows.names
        self.planned = [batch.tolist() for batch in batches]
        dataset = Dataset.from_dict({"row": range(len(rows))})
        super().__init__(
            data_collator=SimPOCollator(rows, processing_class.pad_token_id),
            train_dataset=dataset,
            processing_class=processing_class,
            **others,
        )

    def pairs_of(self, inputs: dict[str, Any]) -> int:
        """How many pairs a batch has."""
        return len(inputs["chosen_input_ids"])

    def tokenize_row(self, feature: Any, model: Any = None) -> Any:
        """The tokens are there already."""
        return feature
