"""In somebody else's process the libraries of models are quiet while we use them, and as they were afterwards."""

import logging
import threading
import warnings

import pytest
from transformers.utils import logging as told

from synth.engines.loading import load_causal_model
from synth.quiet import quiet_libraries
from synth.training.model import measure
from synth.training.settings import TrainedParts
from tests.conftest import MODEL


def warned(module: str) -> list[str]:
    """Whether a warning of a module is shown."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.warn_explicit("old", FutureWarning, "somewhere.py", 1, module=module, registry={})
    return [str(one.message) for one in shown]


def test_warnings_of_libraries_are_held_back_and_those_of_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNTH_DEBUG", raising=False)
    before, level, bars = warnings.filters[:], logging.getLogger("transformers").level, told.is_progress_bar_enabled()
    with quiet_libraries(), quiet_libraries():
        assert not warned("transformers.modeling_utils") and not warned("peft") and not warned("synth.training.run")
        assert warned("__main__") and warned("transformers_of_mine") and warned("mine.torch")
        assert not logging.getLogger("peft").isEnabledFor(logging.WARNING) and not told.is_progress_bar_enabled()
    assert warnings.filters == before and warned("transformers.modeling_utils")
    assert (logging.getLogger("transformers").level, told.is_progress_bar_enabled()) == (level, bars)
    monkeypatch.setenv("SYNTH_DEBUG", "1")
    with quiet_libraries():
        assert warned("transformers.modeling_utils")


def test_the_first_of_several_threads_brings_quiet_and_the_last_takes_it_away() -> None:
    begun, go = threading.Event(), threading.Event()

    def other() -> None:
        with quiet_libraries():
            begun.set()
            go.wait(60)

    thread = threading.Thread(target=other)
    before = warnings.filters[:]
    with quiet_libraries():
        thread.start()
        begun.wait(60)
    assert not warned("torch.nn")
    go.set()
    thread.join()
    assert warnings.filters == before


def test_a_model_is_read_and_measured_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("default", category=ResourceWarning)
        measure(MODEL, TrainedParts(lora=4))
        load_causal_model(MODEL, "auto")
    assert capfd.readouterr() == ("", "")
