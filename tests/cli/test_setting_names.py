"""`run.json` calls a method's settings as the options that set them."""

from dataclasses import fields
from typing import Any

import click
import pytest

from cli.main import cli
from synth.data.run.earlier import RENAMED_IN_TRAINING
from synth.methods.continuation import ContinuationSettings
from synth.methods.describe import DescribeSettings
from synth.methods.distil import DistilSettings
from synth.methods.lamol import LamolSettings
from synth.methods.magpie import MagpieSettings
from synth.methods.minimum_change import MinimumChangeSettings
from synth.methods.paraphrase import ParaphraseSettings
from synth.methods.reason import ReasonSettings
from synth.methods.refuse import RefuseSettings
from synth.methods.rephrase import RephraseSettings
from synth.methods.self_output import SelfOutputSettings
from synth.methods.ssr import SsrSettings
from synth.training.settings import ReplaySettings, RowSettings, TrainedParts, TrainingSettings

CASES = [
    ("continue", ContinuationSettings(), {"prompt"}),
    ("describe", DescribeSettings("describe-audio", ("What is it?",)), {"prompt"}),
    ("distil", DistilSettings(), set()),
    ("lamol", LamolSettings(), set()),
    ("magpie", MagpieSettings(), set()),
    ("minimum-change", MinimumChangeSettings(), set()),
    ("paraphrase", ParaphraseSettings(), {"prompt"}),
    ("reason", ReasonSettings(), set()),
    ("refuse", RefuseSettings(), set()),
    ("rephrase", RephraseSettings(), {"prompts"}),
    ("self-output", SelfOutputSettings(), {"paraphrase", "minimum_change"}),
    ("ssr", SsrSettings(), set()),
]
"""A command, its settings, and what these hold beside: texts of prompts, and what fallbacks are done with."""


@pytest.mark.parametrize(("name", "settings", "beside"), CASES)
def test_settings_have_the_names_of_options(name: str, settings: Any, beside: set[str]) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = {word.lstrip("-").replace("-", "_") for option in command.params for word in option.opts}
    found = set(settings.record())
    assert found - beside <= options, found - beside - options
    assert {"seed", "max_tokens", "temperature"} <= found


def test_a_training_has_the_names_of_options() -> None:
    command = cli.get_command(click.Context(cli), "train")
    assert command is not None
    parameters = {param.name for param in command.params}
    recorded = {item.name for kind in (TrainingSettings, TrainedParts, RowSettings) for item in fields(kind)}
    recorded |= set(ReplaySettings(2).record())
    assert recorded <= parameters, recorded - parameters
    assert set(RENAMED_IN_TRAINING.values()) - {"evaluation"} <= recorded and not set(RENAMED_IN_TRAINING) & recorded
