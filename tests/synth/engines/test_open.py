import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

import synth
from synth.chat.format import ChatFormat
from synth.engines.base import Engine, EngineOptions, Sampling, Tokenizer
from synth.engines.open import ENGINES, check_options, choose_engine, engine_entry, model_revision, open_engine
from synth.errors import UsageError

OWN = """
from synth.engines.base import Completion, Usage

class Echo:
    name = "echo"
    description = "says the prompt again"
    max_length = 100

    def __init__(self):
        self.usage = Usage()

    async def generate(self, token_ids, sampling):
        return [Completion(tuple(token_ids), "again", "stop")] * sampling.n

    async def logprobs(self, token_ids):
        raise NotImplementedError

    async def close(self):
        pass

async def opened(model, tokenizer, options):
    return Echo()

async def no_engine(model, tokenizer, options):
    return object()

async def failing(model, tokenizer, options):
    raise OSError("the disk is gone")

async def no_options(model, tokenizer): ...
def plain(model, tokenizer, options): ...
number = 7
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_engines.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_engines", raising=False)
    return "own_engines"


def test_an_engine_of_a_users_own_is_opened_and_recorded_by_its_import_path(own: str, chat: ChatFormat) -> None:
    assert choose_engine(f"{own}:opened")[0] == f"{own}:opened" == engine_entry(f"{own}:opened").name

    async def asked() -> str:
        engine = await open_engine(f"{own}:opened", "any", chat.tokenizer, EngineOptions())
        [completion] = await engine.generate([1, 2], Sampling())
        return completion.text

    assert asyncio.run(asked()) == "again"


async def here(model: str, tokenizer: Tokenizer, options: EngineOptions) -> Engine:
    raise OSError("not today")


def test_an_engine_may_be_given_as_the_function_itself(model: str) -> None:
    assert str(synth.load(model, engine=here).engine).endswith("test_open:here")

    async def inner(model: str, tokenizer: Tokenizer, options: EngineOptions) -> Engine:
        raise OSError

    with pytest.raises(UsageError, match="has no import path: define it at the top") as told:
        synth.load(model, engine=inner)
    assert told.value.field == "engine"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_engines:opend", "did you mean opened"),
        ("own_engnes:opened", "did you mean own_engines"),
        ("own_engines:number", "cannot be called"),
        ("own_engines:no_options", "cannot be called with .model, tokenizer, options."),
        ("own_engines:plain", "is no async function"),
        ("vlm", "is unknown; did you mean vllm"),
        ("server", "is unknown"),
        ("own_engines:", "is unknown; take auto, vllm, transformers, URL, MODULE:FUNCTION"),
    ],
)
def test_an_engine_that_is_none_is_told_before_a_model_is_loaded(own: str, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as told:
        choose_engine(name)
    assert told.value.field == "engine"


@pytest.mark.parametrize(
    ("name", "words"),
    [("no_engine", "has no name, description, usage"), ("failing", "failed: OSError: the disk is gone")],
)
def test_an_engine_that_does_not_open(own: str, chat: ChatFormat, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        asyncio.run(open_engine(f"{own}:{name}", "any", chat.tokenizer, EngineOptions()))


def test_every_engine_has_its_function() -> None:
    for entry in ENGINES.values():
        file, _, name = entry.opener.partition(":")
        text = (Path(__file__).parents[3] / f"{file.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert f"\nasync def {name}(" in text, entry.opener


def test_a_revision_is_of_files_and_follows_them(tmp_path: Path, model: str) -> None:
    copy = shutil.copytree(model, tmp_path / "model")
    revision = model_revision(str(copy))
    assert revision == model_revision(model)
    os.mkfifo(copy / "pipe.json")  # would be waited for
    (copy / "folder.json").mkdir()
    (copy / "run.json").write_text('{"seconds": 3}')  # how it was trained, not what it answers
    assert model_revision(str(copy)) == revision
    (copy / "generation_config.json").write_text("{}")
    assert model_revision(str(copy)) != revision


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"api_key": "sk-1"}, "api_key"),
        ({"apiKey": "sk-1"}, "apiKey"),
        ({"password": 1234}, "password"),
        ({"model_loader_extra_config": {"aws": {"aws_secret_access_key": "x"}}}, "aws.aws_secret_access_key"),
        ({"model_loader_extra_config": {"aws_session_token": "x"}}, "model_loader_extra_config.aws_session_token"),
        ({"kv_transfer_config": {"connectors": [{"rank": 0}, {"auth-token": "x"}]}}, r"connectors\[1\].auth-token"),
        ({"kv_transfer_config": {"headers": {"Authorization": "Bearer x"}}}, "headers.Authorization"),
        ({"kv_transfer_config": {"remote_url": "redis://me:hidden@cache:6379"}}, "remote_url"),
        ({"client_secret": {"value": "x"}}, "client_secret"),
    ],
)
def test_secrets_among_an_engines_arguments_are_refused(own: str, arguments: dict[str, object], place: str) -> None:
    with pytest.raises(
        UsageError, match=rf"`engine_args` [\w.]*{place}: a run's record would hold the secret"
    ) as caught:
        check_options(f"{own}:opened", EngineOptions(engine_args=arguments))
    assert not any(word in str(caught.value) for word in ("sk-1", "hidden", "Bearer"))


def test_arguments_with_names_like_secrets_are_none(own: str) -> None:
    arguments = {
        "max_num_batched_tokens": 4096,
        "tokenizer": "x",
        "max_token": 4,
        "tokens_only": True,
        "use_auth_token": True,
        "api_key": None,
        "hf_overrides": {"pad_token": "<pad>", "image_token": "<image>", "eos_token_id": 2, "num_key_value_heads": 2},
        "kv_transfer_config": {"url": "http://cache:8000/@me", "keys": ["a"], "password_file": "/run/password"},
    }
    check_options(f"{own}:opened", EngineOptions(engine_args=arguments))
