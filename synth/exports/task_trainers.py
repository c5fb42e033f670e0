"""The configuration with which trainers that draw answers themselves load tasks, and the files that they want beside.

grpo, distillation, sdft   TRL 1.16's GRPOTrainer (RLOOTrainer takes the same), DistillationTrainer, and experimental
                           SDFTTrainer (arXiv 2601.19897): a dataset directory
prime-rl                   a package with a task set of verifiers 0.4 (its documentation, environments), which is
                           installed where prime-rl runs
openrlhf                   data.jsonl and reward.py (OpenRLHF's documentation and examples, reinforced fine-tuning)
verl                       data.parquet and reward.py (verl's documentation, prepare data and reward function)

Rewards are those of `synth.reward_functions`, so synth has to be installed beside the trainer.
"""

import json
import keyword
import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from shlex import quote

from filters.verdict import VerifierSettings
from synth.exports.formats import Exported
from synth.rl.judging import BY_ROW

REWARD_FILE = "reward.py"
_IMPORTED = frozenset({"verifiers", "prime_rl", "datasets", "transformers", "torch", "vllm", "synth", "filters", "cli"})
"""Packages beside which a package of tasks is installed."""


def grpo(rows: Exported, path: Path, model: str) -> str:
    """See `Trainer.config`."""
    imports, reward = _reward(rows, "")
    return f"""\
from datasets import load_from_disk
{imports}
from trl import GRPOConfig, GRPOTrainer

trainer = GRPOTrainer(
    model={model!r},
    reward_funcs={reward},
    args=GRPOConfig(output_dir="tuned"),
    train_dataset=load_from_disk({str(path)!r}),
)
trainer.train()
"""


def distillation(rows: Exported, path: Path, model: str) -> str:
    """See `Trainer.config`."""
    return f"""\
from datasets import load_from_disk
from trl import DistillationConfig, DistillationTrainer

trainer = DistillationTrainer(
    model={model!r},
    teacher_model="TEACHER",
    args=DistillationConfig(output_dir="tuned"),
    train_dataset=load_from_disk({str(path)!r}),
)
trainer.train()
"""


def sdft(rows: Exported, path: Path, model: str) -> str:
    """See `Trainer.config`. The teacher is to answer in its own way, as in the paper, with a template of our words."""
    template = "{prompt}\n\nThis is one way to answer:\n\n{privileged_context}\n\nNow answer in your own words."
    return f"""\
from datasets import load_from_disk
from trl.experimental.sdft import SDFTConfig, SDFTTrainer

trainer = SDFTTrainer(
    model={model!r},
    args=SDFTConfig(
        output_dir="tuned",
        max_prompt_length=None,  # the default cuts off the beginning of prompts at 512 tokens
        teacher_prompt_template={template!r},
    ),
    train_dataset=load_from_disk({str(path)!r}),
)
trainer.train()
"""


def verl(rows: Exported, path: Path, model: str) -> str:
    """See `Trainer.config`."""
    data, reward = quote(f"{path}/data.parquet"), quote(f"{path}/{REWARD_FILE}")
    return f"""\
python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo \\
    data.train_files={data} data.val_files={data} \\
    reward.custom_reward_function.path={reward} reward.custom_reward_function.name=compute_score \\
    actor_rollout_ref.model.path={quote(model)} actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=8
"""


def verl_files(rows: Exported, name: str) -> Mapping[str, str]:
    """See `Trainer.files`."""
    return {REWARD_FILE: _named(rows, "verl", "compute_score")}


def openrlhf(rows: Exported, path: Path, model: str) -> str:
    """See `Trainer.config`."""
    data, reward = quote(f"{path}/data.jsonl"), quote(f"{path}/{REWARD_FILE}")
    return f"""\
python3 -m openrlhf.cli.train_ppo_ray --algo.advantage.estimator group_norm --rollout.n_samples_per_prompt 8 \\
    --data.prompt_dataset {data} --data.input_key prompt --data.label_key label --data.apply_chat_template \\
    --reward.remote_url {reward} --actor.model_name_or_path {quote(model)}
"""


def openrlhf_files(rows: Exported, name: str) -> Mapping[str, str]:
    """See `Trainer.files`."""
    return {REWARD_FILE: _named(rows, "openrlhf", "reward_func")}


def prime_rl(rows: Exported, path: Path, model: str) -> str:
    """See `Trainer.config`."""
    name = package(path.name).replace("_", "-")
    return f"""\
# pip install -e {quote(str(path))}
[model]
name = {json.dumps(model)}

[[orchestrator.train.env]]
name = {json.dumps(name)}
taskset = {{ id = {json.dumps(name)} }}
harness = {{ id = "null", runtime = {{ type = "subprocess" }} }}
"""


def prime_rl_files(rows: Exported, name: str) -> Mapping[str, str]:
    """See `Trainer.files`."""
    module = package(name)
    imports, reward = _reward(rows, "verifiers")
    return {
        "pyproject.toml": f"""\
[project]
name = "{module.replace("_", "-")}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["verifiers>=0.4"]  # and synth, which is not named: an index may have another project of that name

[build-system]
requires = ["setuptools>=69"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
packages = ["{module}"]
package-data = {{ "{module}" = ["data.jsonl"] }}
""",
        f"{module}/__init__.py": f"""\
from {module}.taskset import SynthTaskset

__all__ = ["SynthTaskset"]
""",
        f"{module}/taskset.py": f'''\
"""Tasks of a data set, whose answers a verifier of synth rewards."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import verifiers.v1 as vf
{imports}

rewarded = {reward}


class SynthData(vf.TaskData):
    """What is asked, and the columns that the verifier reads."""

    row: dict[str, Any] = {{}}


class SynthTask(vf.Task[SynthData]):
    """One task."""

    @vf.reward(weight=1.0)
    async def reward(self, trace: vf.Trace) -> float | Mapping[str, float]:
        """1 for a right answer, 0 for a wrong one; nothing where it cannot be judged."""
        columns = self.data.row | self.data.model_dump(include={{"prompt"}})
        return await rewarded(SimpleNamespace(model_dump=lambda: columns), trace)


class SynthTaskset(vf.Taskset[SynthTask, vf.TasksetConfig]):
    """The tasks, in their order."""

    def load(self) -> Iterator[SynthTask]:
        """Read them, row by row."""
        with Path(__file__).with_name("data.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                row: dict[str, Any] = json.loads(line)
                yield SynthTask(SynthData(prompt=row.pop("prompt"), row=row), self.config.task)
''',
    }


def package(name: str) -> str:
    """The name of the Python package in an output of a name: one that can be imported, and hides no other."""
    found = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).strip("_")
    taken = keyword.iskeyword(found) or found in sys.stdlib_module_names or found in _IMPORTED
    return found if found[:1].isalpha() and not taken else f"tasks_{found}".rstrip("_")


def _named(rows: Exported, shape: str, called: str) -> str:
    """A file of Python with the reward under the name by which a trainer asks for it."""
    imports, reward = _reward(rows, shape)
    return f"{imports}\n\n{called} = {reward}\n"


def _reward(rows: Exported, shape: str) -> tuple[str, str]:
    """The lines of Python that import the reward, and the expression that is it, in the shape that a trainer calls."""
    judge = rows.tasks.reward if rows.tasks else VerifierSettings("")
    usual = VerifierSettings("")
    chosen = {one.name: getattr(judge, one.name) for one in fields(judge) if one.compare and one.name != "name"}
    chosen = {name: value for name, value in chosen.items() if value != getattr(usual, name)}
    adapter = f"for_{shape}" if shape else ""
    if not chosen and ":" not in judge.name:
        name = (judge.name or BY_ROW).replace("-", "_") + (f"_{shape}" if shape else "")
        return "from synth import reward_functions", f"reward_functions.{name}"
    settings = "".join(f", {name}={value!r}" for name, value in chosen.items())
    made = f"synth.rewards(VerifierSettings({judge.name!r}{settings}))"
    lines = ["import synth", "from filters.verdict import VerifierSettings"]
    if adapter:
        return "\n".join([*lines, f"from synth.reward_functions import {adapter}"]), f"{adapter}({made})"
    return "\n".join(lines), made
