"""An adapter of the sample model that changes what it answers, and the model that it was merged into."""

from pathlib import Path
from typing import Any

MODEL = str(Path(__file__).parents[3] / "samples" / "model")


def write_adapter(folder: Path, **settings: Any) -> Path:
    """Write a LoRA adapter with random matrices into `folder`/adapter, and the merged model into `folder`.

    As `synth train --lora` leaves them.

    Args:
        folder: where they go.
        settings: of peft's LoRA, beside or instead of those here.
    """
    import peft
    import torch

    from synth.engines.loading import load_causal_model, load_tokenizer

    model = load_causal_model(MODEL, torch.float32)
    torch.manual_seed(1)
    config = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings
    adapted = peft.get_peft_model(model, peft.LoraConfig(**config))
    for name, weight in adapted.named_parameters():
        if "lora_" in name and "magnitude" not in name:
            torch.nn.init.normal_(weight, std=0.04)
    adapted.save_pretrained(folder / "adapter")
    adapted.merge_and_unload().save_pretrained(folder)
    load_tokenizer(MODEL).save_pretrained(folder)
    return folder / "adapter"
