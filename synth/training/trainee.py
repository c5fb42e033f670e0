"""The model that is trained: loaded, compared with, saved."""

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from synth.engines.base import Tokenizer
from synth.engines.device import pick_device
from synth.engines.hf.forward import check_causal
from synth.engines.loading import load_config, own_attention
from synth.engines.open import model_revision
from synth.errors import UsageError
from synth.training.attention import Way
from synth.training.fit import in_bfloat16
from synth.training.model import check_adapter_off, load_for_training
from synth.training.reference import AdapterOff, FrozenModel, Reference
from synth.training.settings import TrainedParts, TrainingSettings
from synth.training.trainer import use_packed_attention


class TrainedModel:
    """The model that is trained, on the CPU until it trains, and what it is saved with.

    Attributes:
        place: the device that it trains on.
        half: whether it computes in bfloat16 there.
        net: the model, with an adapter around it where one is trained.
        base: the model itself.
    """

    def __init__(
        self, name: str, tokenizer: Tokenizer, settings: TrainingSettings, trained: TrainedParts, device: str
    ) -> None:
        self.name, self.tokenizer, self.trained = name, tokenizer, trained
        self.place = place_of_process(pick_device(device))
        self.half = in_bfloat16(settings, self.place)
        self._weights = "bfloat16" if settings.weights == "bfloat16" or (self.half and trained.adapts) else "float32"
        # Saved in the number format of its files, or in float32 where that was asked for.
        self._dtype = torch.float32 if settings.dtype == "float32" else load_config(name).dtype or torch.float32
        torch.manual_seed(settings.seed)  # an adapter's first weights
        self.net = load_for_training(name, self._weights, trained, self.place)
        self.base = self._inner(self.net)
        check_causal(self.base)
        if trained.peft is not None and settings.needs_reference:
            check_adapter_off(self.net)
        self._came = copy.deepcopy(self.base.generation_config), self.base.config.get_text_config().pad_token_id

    def _inner(self, net: Any) -> Any:
        return net.get_base_model() if self.trained.adapts else net

    @property
    def before(self) -> str:
        """All that decides what the model before training predicts, but for rounding."""
        computed = "bfloat16" if self.half else "float32"
        return f"{model_revision(self.name)}, held in {self.trained.quantise or self._weights}, computed in {computed}"

    def beside(self, name: str) -> Any:
        """A model that is held beside it on its device, and not trained."""
        return load_for_training(name, "bfloat16" if self.half else "float32", TrainedParts()).to(self.place).eval()

    def reference(self, way: Way | None) -> Reference:
        """The model before training; `way` is how packed rows are attended to, if they are packed."""
        if self.trained.adapts:
            return AdapterOff(self.net)
        frozen = self.beside(self.name)
        reference = FrozenModel(frozen)
        if way:
            use_packed_attention(way, frozen)
        return reference

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        """Use whole weights, gathered from all processes, instead of this process's part."""
        self.net = load_for_training(self.name, "float32", self.trained)
        self.net.load_state_dict(weights)
        self.base = self._inner(self.net)

    def _in_full(self) -> Any:
        """The model around which the adapter was trained in 4 bits, as it is in its files, with the adapter."""
        import peft

        net = load_for_training(self.name, "float32", replace(self.trained, quantise=None))
        peft.set_peft_model_state_dict(net, peft.get_peft_model_state_dict(self.net))
        return net

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers."""
        return all(bool(weight.isfinite().all()) for weight in self.net.parameters())

    def save(self, folder: Path) -> None:
        """Save the model; an adapter is merged into it and also saved beside it."""
        base = self.base
        if self.trained.adapts:
            self.net.save_pretrained(folder / "adapter")
            base = (self._in_full() if self.trained.quantise else self.net).merge_and_unload()
        base.set_attn_implementation(own_attention(base))
        base.config.use_cache = True
        base.to(self._dtype)
        # save_pretrained refuses what others publish, such as a temperature without `do_sample`: it is kept as it came.
        # TRL's trainers, too, change it for themselves.
        came, base.config.get_text_config().pad_token_id = self._came
        base.generation_config = type(came)()
        base.save_pretrained(folder)
        base.generation_config = came
        came.to_json_file(folder / "generation_config.json")
        self.tokenizer.save_pretrained(folder)


def place_of_process(device: torch.device) -> torch.device:
    """Where this process trains: of several started by a launcher each has a GPU, and one alone has the first.

    A model may be there before `TrainingArguments` chooses, which chooses the same.

    Raises:
        UsageError: another GPU was asked for.
    """
    if device.type != "cuda":
        return device
    own = int(os.environ.get("LOCAL_RANK", 0)) % max(1, torch.cuda.device_count())
    if device.index not in (None, own):
        raise UsageError(
            f"`device` {device}: training takes the first GPUs that it sees, here cuda:{own}. "
            f"Show it others, CUDA_VISIBLE_DEVICES={device.index}, and leave `device` at auto"
        )
    return torch.device("cuda", own)
