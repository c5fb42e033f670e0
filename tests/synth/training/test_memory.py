"""The sum of a training's memory, against what torch's allocator counts and against published models."""

import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from synth.errors import UsageError
from synth.scoring.losses import divergences, token_losses
from synth.training.fit import memory_to_draw, setup_of, shape_of
from synth.training.fresh import MEMORY, fresh_drawing
from synth.training.head import summed
from synth.training.memory import Memory, Setup, Shape, memory, ways_to_fit
from synth.training.method import method_settings
from synth.training.pipeline import TrainingJob
from synth.training.settings import ReplaySettings, RowSettings, TrainedParts, TrainingSettings

GIB = 2**30
SMALL = Setup(tokens=512, longest=512, half=False)
KINDS = {
    "float32": SMALL,
    "computed in bfloat16": replace(SMALL, half=True),
    "bfloat16": replace(SMALL, half=True, weights="bfloat16"),
    "adapter, float32": replace(SMALL, adapter=1),
    "adapter, bfloat16": replace(SMALL, half=True, adapter=1),
}
QWEN = Shape(7_615_616_512, 6_525_288_448, 7_615_616_512, 28, 3584, 3584, 512, 28, 18944, 152064)
"""Qwen2.5-7B."""
LLAMA = Shape(6_738_415_616, 6_476_005_376, 6_738_415_616, 32, 4096, 4096, 4096, 32, 11008, 32000)
"""Llama-2-7B."""
MISTRAL = Shape(7_248_023_552, 6_979_321_856, 7_248_023_552, 32, 4096, 4096, 1024, 32, 14336, 32768)
"""Mistral-7B-v0.3."""


def llama(dtype: torch.dtype, adapter: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=256, num_hidden_layers=4, intermediate_size=688, vocab_size=2000)
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 4, 2, 64
    model: Any = LlamaForCausalLM(config).to(dtype).train()
    if adapter:
        import peft

        lora = peft.LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
        model = peft.get_peft_model(model, lora)
        model.enable_input_require_grads()
    return model


def peak(step: Callable[[], None]) -> int:
    """The most bytes that are held at once above those at its beginning, as the allocator of the CPU counts them."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_the_allocator_counts(kind: str, checkpointing: bool) -> None:
    """Within a tenth; with copies of weights and checkpointing, which do not peak together, it is an upper bound."""
    setup = replace(KINDS[kind], checkpointing=checkpointing)
    frozen_in_bfloat16 = setup.half and (setup.adapter or setup.weights == "bfloat16")
    model = llama(torch.bfloat16 if frozen_in_bfloat16 else torch.float32, bool(setup.adapter))
    base = model.get_base_model() if setup.adapter else model
    if checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.arange(setup.tokens)[None]

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=setup.half and setup.weights == "float32"):
            states = base.model(input_ids=ids, use_cache=False)[0]
        states.float().square().mean().backward()

    step()  # gradients are there from now on
    shape = shape_of(base)
    without = replace(setup, half=False)  # no copies to compute with
    copies = (
        0.0
        if setup.adapter or setup.weights == "bfloat16"
        else (memory(shape, setup).weights - memory(shape, without).weights)
    )
    counted, summed = peak(step), memory(shape, setup).activations + copies
    print(f"{kind}, checkpointing {checkpointing}: {counted / 2**20:.1f} MiB counted, {summed / 2**20:.1f} in the sum")
    if copies and checkpointing:
        assert counted <= summed
    else:
        assert summed == pytest.approx(counted, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["nll", "kl", "reverse-kl", "js", "nll and kl"])
def test_a_losss_logits_are_what_the_allocator_counts(kind: str, dtype: torch.dtype) -> None:
    """Of one chunk, with its gradient; divergences are from another head."""
    tokens, vocabulary, width = 64, 32000, 8
    head, before = (torch.nn.Linear(width, vocabulary, bias=False, dtype=dtype) for _ in range(2))
    states, targets = torch.randn(tokens, width, dtype=dtype), torch.arange(tokens)

    def step() -> None:
        some = states.clone().requires_grad_()
        logits, loss = head(some), torch.zeros(())
        if "nll" in kind:
            loss = loss + token_losses(logits, targets).sum()
        if kind != "nll":
            with torch.no_grad():
                reference = before(states)
            apart: Any = kind.removeprefix("nll and ")
            loss = loss + divergences(reference, logits, apart).sum()
            del reference
        torch.autograd.grad(loss, some)

    step()
    shape = replace(QWEN, vocabulary=vocabulary)
    setup = Setup(tokens=tokens, longest=64, half=dtype == torch.bfloat16, adapter=1, losses=(kind,))
    assert memory(shape, setup).logits == pytest.approx(peak(step), rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_heads_gradients_are_within_the_sum(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a chunk, and the sum of those before, which do not peak together with its logits in every format."""
    tokens, vocabulary, width = 64, 32000, 32
    monkeypatch.setattr("synth.training.memory.CHUNK_LOGITS", {"accelerator": 16 * vocabulary})
    monkeypatch.setattr("synth.training.head.CHUNK_LOGITS", {"cpu": 16 * vocabulary})
    head = torch.nn.Linear(width, vocabulary, bias=False, dtype=dtype)
    states, targets = torch.randn(tokens, width, dtype=dtype), torch.arange(tokens)
    split: Any = SimpleNamespace(logits=head)

    def step() -> None:
        summed(split, states, lambda logits, part: token_losses(logits, targets[part]).sum()).backward()

    step()
    half = dtype == torch.bfloat16
    setup = Setup(tokens=tokens, longest=64, half=half, weights="bfloat16" if half else "float32")
    shape = replace(QWEN, vocabulary=vocabulary, hidden=width)
    without, summed_up = memory(shape, replace(setup, adapter=1)).logits, memory(shape, setup).logits
    assert without < peak(step) <= 1.05 * summed_up


BATCH = Setup(tokens=8192, longest=2048, half=True, checkpointing=True)
ADAPTER = replace(BATCH, adapter=40_370_176)
"""Of rank 16, on Qwen2.5-7B."""


@pytest.mark.parametrize("shape", [QWEN, LLAMA, MISTRAL], ids=["Qwen2.5-7B", "Llama-2-7B", "Mistral-7B"])
def test_seven_billion_weights(shape: Shape) -> None:
    """Whole on a card of 80 GB, an adapter on 24 GB, one around 4 bits on 12 GB."""
    whole = replace(BATCH, weights="bfloat16", optimizer="adamw-8bit")
    assert memory(shape, whole).total < 52 * GIB
    assert memory(shape, replace(whole, optimizer="adamw")).total < 66 * GIB
    assert memory(shape, BATCH).total > 110 * GIB
    assert memory(shape, ADAPTER).total < 22 * GIB
    assert memory(shape, replace(ADAPTER, quantised=True, tokens=4096)).total < 11.4 * GIB
    assert memory(shape, replace(BATCH, checkpointing=False, shards=8)).total < 80 * GIB


def test_published_shapes_are_those_of_transformers() -> None:
    from transformers import AutoModelForCausalLM, Qwen2Config

    config = Qwen2Config(vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28)
    config.num_attention_heads, config.num_key_value_heads = 28, 4
    with torch.device("meta"):
        assert shape_of(AutoModelForCausalLM.from_config(config)) == QWEN
    assert QWEN.adapter(16) == ADAPTER.adapter


def test_each_part() -> None:
    taken = memory(QWEN, replace(BATCH, half=False))
    assert taken.weights == taken.gradients == 4 * QWEN.weights and taken.optimiser == 8 * QWEN.weights
    assert taken.reference == 0 and taken.logits == 2**27 * 16 + 152064 * 3584 * 8
    assert memory(QWEN, replace(BATCH, replicas=2)).gradients == 8 * QWEN.weights
    assert memory(QWEN, replace(ADAPTER, whole_logits=True)).logits == 8192 * 152064 * 14
    assert memory(QWEN, replace(ADAPTER, losses=("nll", "js"))).logits == 2**27 * 34
    assert memory(QWEN, replace(BATCH, reference=True)).reference == 2 * QWEN.weights
    assert memory(QWEN, replace(ADAPTER, reference=True)).reference == 0  # the adapter is switched off
    whole, eager = (memory(replace(QWEN, attends_whole=whole), BATCH).activations for whole in (False, True))
    assert eager - whole == 8192 * 28 * 2048 * 8
    assert isinstance(taken, Memory) and taken.total == taken.states + taken.logits + taken.activations


@pytest.mark.parametrize(
    ("room", "ways"),
    [
        (200, []),
        (76, ["`gradient_checkpointing`", "`weights` bfloat16"]),
        (52, ["`gradient_checkpointing`", "`optimizer` adamw-8bit", "`weights` bfloat16"]),
        (22, ["`gradient_checkpointing`", "`lora` 16"]),
        (1, None),
    ],
)
def test_what_would_make_it_fit(room: int, ways: list[str] | None) -> None:
    """What loses least comes first, and nothing is named that it fits without."""
    setup = replace(BATCH, checkpointing=False)
    if ways == []:
        assert memory(QWEN, setup).total < room * GIB
        return
    found = ways_to_fit(QWEN, setup, room * GIB)
    assert (found is None) == (ways is None)
    if found is not None:
        assert found[0] == ways and found[1].total <= room * GIB


GIVEN: list[tuple[dict[str, Any], str, bool]] = [
    ({}, "sft", False),
    ({"dtype": "float32"}, "sft", False),
    ({"weights": "bfloat16"}, "sft", False),
    ({"optimizer": "adamw-8bit", "kl_coef": 0.1}, "sft", False),
    ({"kl_coef": 0.1}, "sft", True),
    ({"lora": 16, "quantise": "4bit"}, "sft", False),
    ({"replay": ReplaySettings(2048, loss="kl")}, "sft", False),
    ({"replay": ReplaySettings(4096, loss="kl", length=4096)}, "sft", False),
    ({}, "dpo", False),
    ({"lora": 16}, "simpo", False),
    ({}, "distil", True),
]


def advised(ways: Sequence[str], given: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Settings as they are once the advice is followed, and the devices."""
    settings, shards = dict(given), 1
    for way in ways:
        if found := re.match(r"(\d+) such devices", way):
            shards = int(found[1])
        elif found := re.fullmatch(r"`tokens_per_batch` ([\d,]+) with (\d) times the `\w+`", way):
            settings |= {
                "tokens_per_batch": int(found[1].replace(",", "")),
                "gradient_accumulation_steps": int(found[2]),
            }
        else:
            chosen, _, dropped = way.partition(" in place of ")
            for name, value in re.findall(r"`(\w+)`(?: (\w[\w-]*))?", chosen):
                settings[name] = True if not value else int(value) if value.isdecimal() else value
            for name in re.findall(r"`(\w+)`", dropped):
                del settings[name]
    return settings, shards


@pytest.mark.parametrize(("given", "method", "evaluates"), GIVEN)
def test_advice_can_be_followed(
    given: dict[str, Any], method: Any, evaluates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little room there is: no settings are refused, and they take what was promised."""
    monkeypatch.setattr("synth.training.extras.find_spec", lambda _: True)  # as if all were installed
    parts = {item.name for item in fields(TrainedParts)}
    own = method_settings(method, teacher="T" if method == "distil" else None)

    def job(settings: dict[str, Any]) -> TrainingJob:
        trained = {name: value for name, value in settings.items() if name in parts}
        others = {name: value for name, value in settings.items() if name not in parts}
        return TrainingJob("M", TrainingSettings(**others), TrainedParts(**trained), RowSettings(), own)

    def setup(asked: TrainingJob, shards: int) -> Setup:
        adapter = QWEN.adapter(16) if asked.trained.adapts else 0
        teacher = LLAMA.weights if method == "distil" else 0
        more: dict[str, Any] = {"longest": 1024, "device": "cpu", "teacher": teacher, "evaluates": evaluates}
        return setup_of(asked.settings, asked.trained, own, adapter=adapter, shards=shards, **more)

    seen: set[str] = set()
    now = setup(job(given), 1)
    for share in range(19, 0, -1):
        found = ways_to_fit(QWEN, now, share / 20 * memory(QWEN, now).total)
        if found is None:
            continue
        settings, shards = advised(found[0], given)
        monkeypatch.setenv("ACCELERATE_USE_FSDP", str(shards > 1))
        asked = job(settings)
        asked.refuse_early(None, evaluates=evaluates)
        assert memory(QWEN, setup(asked, shards)).total == found[1].total, found[0]
        seen.update(found[0])
    assert seen


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_what_draws_beside_takes_its_share_of_a_gpu(engine: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As there is a GPU of 80 GB: vLLM takes all of its share, transformers what it needs, and neither has more."""
    monkeypatch.setattr("synth.training.fit.pick_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr("synth.training.fit._memory_of", lambda _: 80 * GIB)
    replay = ReplaySettings(4096, length=512, engine=engine)
    drawing = fresh_drawing(model, replay, 0, "auto", trust_remote_code=False)
    assert drawing is not None
    drawing = replace(drawing, options=replace(drawing.options, dtype="bfloat16"))
    taken = memory_to_draw(drawing, QWEN, "auto")
    if engine == "vllm":
        assert taken == MEMORY * 80 * GIB
    else:
        assert taken == 2 * (QWEN.weights + 1.25 * 128 * 512 * 28 * 2 * 512) < MEMORY * 80 * GIB
    room = memory(QWEN, replace(BATCH, drawing=taken)).total - 1
    fixed = replace(BATCH, drawing=taken, fixed=frozenset({"tokens_per_batch", "optimizer", "weights"}))
    found = ways_to_fit(QWEN, fixed, room)
    assert found == (["`replay_engine` at the address of a server"], memory(QWEN, BATCH))
    with pytest.raises(UsageError, match=r"may take 24\.0 GiB of cuda, and the model alone takes 141\.9 GiB: have a"):
        memory_to_draw(drawing, replace(QWEN, weights=10 * QWEN.weights), "auto")


def test_a_large_model_is_shared_among_devices() -> None:
    large = replace(LLAMA, weights=10 * LLAMA.weights, linear=10 * LLAMA.linear, learnt=10 * LLAMA.learnt)
    found = ways_to_fit(large, BATCH, 22 * GIB)
    assert found is not None and found[0][-1].endswith("such devices (accelerate launch --use_fsdp)")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_whole_sum_is_what_a_gpu_counts(checkpointing: bool) -> None:
    """Of float32 weights computed in bfloat16, as a GPU trains by default; a step without its logits."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=1024, num_hidden_layers=16, intermediate_size=2816, vocab_size=32000)
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 16, 4, 64
    model: Any = LlamaForCausalLM(config).train().cuda()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.arange(8192, device="cuda")[None] % 2048
    for _ in range(2):
        with torch.autocast("cuda", torch.bfloat16):
            states = model.model(input_ids=ids, use_cache=False)[0]
            loss = model.lm_head(states[:, :64]).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
    setup = Setup(tokens=8192, longest=8192, half=True, checkpointing=checkpointing)
    summed = memory(shape_of(model), setup)
    counted = torch.cuda.max_memory_allocated()
    print(f"{counted / GIB:.2f} GiB counted, {(summed.total - summed.logits) / GIB:.2f} in the sum")
    assert counted <= 1.1 * (summed.total - summed.logits) and summed.states <= 1.2 * counted
