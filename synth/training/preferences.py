"""Direct preference optimisation (DPO, IPO) on planned batches, by TRL's trainer.

Its loop, its losses and its log are TRL's. Ours are the tokens, which it takes as they are, the batches, and the mean:
every pair of a step weighs the same, in whichever batch and process it is. The reference model is the one before
training; its log-probabilities are computed once, before the first step, so that none is held beside the model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from trl import DPOConfig, DPOTrainer

from synth.training.method import MethodSettings
from synth.training.method_rows import TrainingPairs, padded
from synth.training.settings import TrainingSettings
from synth.training.steps import PlannedSteps

LOGGED = (
    "rewards/margins",
    "rewards/accuracies",
    "rewards/chosen",
    "rewards/rejected",
    "logps/chosen",
    "logps/rejected",
)


@dataclass(frozen=True)
class PairCollator:
    """Lays out the pairs that examples name by `row`; how, a trainer's own says.

    Attributes:
        rows: all pairs.
        padding: the token id to pad with.
    """

    rows: TrainingPairs
    padding: int


class DPOCollator(PairCollator):
    """Lays pairs out as TRL's `DataCollatorForPreference` does: all better answers, then all worse ones."""

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch of the pairs that the examples name by `row`."""
        sides = [self.rows.side(example["row"], which) for which in (0, 1) for example in examples]
        batch: dict[str, Any] = {
            "input_ids": padded([ids for ids, _ in sides], self.padding),
            "attention_mask": padded([np.ones_like(ids) for ids, _ in sides], 0),
            "completion_mask": padded([answer for _, answer in sides], 0),
        }
        if "ref_chosen_logps" in examples[0]:  # else these are being computed
            for name in ("ref_chosen_logps", "ref_rejected_logps"):
                batch[name] = torch.tensor([example[name] for example in examples])
            batch["rows"] = [example["row"] for example in examples]
        return batch


class PairSteps(PlannedSteps):
    """Takes the planned steps on pairs."""

    logged = LOGGED

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], None]:
        """The batches of one step. Notes how many pairs they have in the mean, and all tokens, over all processes."""
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        self.step_rows = [row for batch in batches for row in batch.pop("rows")]
        tokens = sum(
            int(part.sum()) for batch in batches for name, part in batch.items() if name.endswith("attention_mask")
        )
        counts = torch.tensor([len(self.step_rows), tokens], device=device)
        pairs, tokens = self.accelerator.reduce(counts, "sum").tolist()
        self._mean = pairs / (num_batches * self.accelerator.num_processes)
        self._tokens += tokens
        return batches, None

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's mean over the pairs of a batch, weighted by their share in the step."""
        pairs = self.pairs_of(inputs)
        loss = super().compute_loss(model, inputs)  # type: ignore[misc] # TRL's
        return loss * (pairs / self._mean)

    def pairs_of(self, inputs: dict[str, Any]) -> int:
        """How many pairs a batch has."""
        return len(inputs["input_ids"]) // 2

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """The card is ours, and written at the end."""


class PlannedDPO(PairSteps, DPOTrainer):  # type: ignore[misc] # TRL is not typed
    """DPO on planned batches."""

    @staticmethod
    def arguments(
        method: MethodSettings, rows: TrainingPairs, settings: TrainingSettings
    ) -> tuple[type[DPOConfig], dict[str, Any]]:
        """TRL's settings: no tokens are cut, and the reference's log-probabilities are computed beforehand."""
        return DPOConfig, {
            "loss_type": ["sigmoid" if method.method == "dpo" else method.method],
            "beta": method.beta,
            "max_length": None,
            "precompute_ref_log_probs": True,
            "precompute_ref_batch_size": max(1, settings.tokens_per_batch // int(rows.room.max())),
        }

    def __init__(
        self, *, rows: TrainingPairs, batches: Sequence[NDArray[np.int64]], processing_class: Any, **others: Any
    ) -> None:
        """Compute the reference's log-probabilities of the pairs that will be trained on.

        Args:
            rows: all pairs.
            batches: the rows of each batch of this process.
            processing_class: the tokenizer.
            others: arguments of `DPOTrainer`.
        """
        self.names = rows.names
        used = np.unique(np.concatenate(batches))
        self.planned = [np.searchsorted(used, batch).tolist() for batch in batches]
        dataset = Dataset.from_dict({"row": used.tolist()})
        super().__init__(
            data_collator=DPOCollator(rows, processing_class.pad_token_id),
            train_dataset=dataset,
            processing_class=processing_class,
            **others,
        )
        if "ref" in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter("ref")  # TRL's copy of the adapter, which is needed no longer

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """The tokens are there already."""
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> list[dict[str, Any]]:
        """The rows with what the reference makes of them, in every process its own; TRL would go through files."""
        rows: list[dict[str, Any]] = []
        for batch in dataset.iter(batch_size):
            found = [{"row": row} for row in batch["row"]]
            better, worse = self.compute_ref_log_probs(self.model, self._prepare_inputs(self.data_collator(found)))
            for row, one, other in zip(found, better.tolist(), worse.tolist(), strict=True):
                rows.append(row | {"ref_chosen_logps": one, "ref_rejected_logps": other})
        return rows
