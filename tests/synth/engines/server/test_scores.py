"""Scores of a server that tokenises otherwise, adds tokens or drops them: refused, never shifted."""

from collections.abc import Callable
from typing import Any

import pytest

from synth.engines.base import Sampling
from synth.engines.server.engine import ServerEngine
from synth.errors import RequestError, UsageError
from tests.synth.engines.misbehaving import Body, MisbehavingServer, answer_text, strict
from tests.synth.engines.serving import with_engine

pytestmark = pytest.mark.usefixtures("short_waits")

TEXT = "<bos>How many tokens are these, and whose?"
Change = Callable[[list[int]], list[int]]


def scoring(
    tokenizer: Any,
    *,
    reads: Change = list,
    ids: bool = False,
    texts: bool = True,
    count: bool = True,
    keeps: bool = True,
) -> Callable[[Body], Any]:
    """A server that scores the prompt as it reads it: a token's number is minus its id.

    Args:
        tokenizer: its tokenizer.
        reads: what it makes of the prompt's tokens, once the server is open (`TEXT` alone is misread).
        ids: whether it tells the prompt's ids.
        texts: whether it spells the tokens.
        count: whether it counts the prompt.
        keeps: whether the token that it draws is among what it scores.
    """
    expected = tokenizer.encode(TEXT, add_special_tokens=False)

    def answer(body: Body) -> Any:
        prompt = body["prompt"]
        tokens = tokenizer.encode(prompt, add_special_tokens=False) if isinstance(prompt, str) else list(prompt)
        if tokens == expected:
            tokens = reads(tokens)
        told = {"prompt_token_ids": tokens} if ids else {}
        scored = [*tokens, *[7] * (body["max_tokens"] if keeps else 0)] if body.get("echo") else [7]
        values = [-float(token) for token in scored]
        if body.get("echo"):
            values[0] = None  # type: ignore[call-overload] # as JSON has it
        logprobs: dict[str, Any] = {"token_logprobs": values, "top_logprobs": [{"a": -1.0}]}
        if texts:
            logprobs["tokens"] = [tokenizer.decode([token]) for token in scored]
        found = answer_text("a", logprobs=logprobs if "logprobs" in body else None, token_ids=[7], **told)(body)
        return found | {"usage": {"prompt_tokens": len(tokens)} if count else {}}

    return answer


def begun(tokens: list[int]) -> list[int]:
    """With a token of its own at the beginning."""
    return [0, *tokens]


def begun_and_cut(tokens: list[int]) -> list[int]:
    """The same, as long as before."""
    return [0, *tokens[:-1]]


def split(tokens: list[int]) -> list[int]:
    """A token in two."""
    return [*tokens[:3], 80, *tokens[3:]]


def joined(tokens: list[int]) -> list[int]:
    """Two tokens in one."""
    return [*tokens[:3], *tokens[4:]]


def exchanged(tokens: list[int]) -> list[int]:
    """As many, one of them another."""
    return [*tokens[:3], 80, *tokens[4:]]


def cut_off(tokens: list[int]) -> list[int]:
    """The end alone, as servers do that shorten what is too long."""
    return tokens[2:]


FORMS: dict[str, dict[str, Any]] = {
    "all told": {"ids": True},
    "ids, no texts": {"ids": True, "texts": False, "count": False},
    "texts": {"count": False},
    "count alone": {"texts": False},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("keeps", [True, False])
def test_exactly_what_was_sent_is_taken(form: str, keeps: bool, tiny_tokenizer: Any) -> None:
    prompt = tiny_tokenizer.encode(TEXT, add_special_tokens=False)

    async def use(engine: ServerEngine) -> None:
        scores = await engine.logprobs(prompt)
        assert scores[1:].tolist() == [-float(token) for token in prompt[1:]]

    with_engine(MisbehavingServer(answer=scoring(tiny_tokenizer, keeps=keeps, **FORMS[form])), tiny_tokenizer, use)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reads", [begun, begun_and_cut, split, joined, exchanged, cut_off])
@pytest.mark.parametrize("keeps", [True, False])
def test_anything_else_is_refused(form: str, reads: Change, keeps: bool, tiny_tokenizer: Any) -> None:
    if form == "count alone" and reads in (begun_and_cut, exchanged):
        pytest.skip("ids were sent, and as many were counted: there is nothing by which to tell")
    prompt = tiny_tokenizer.encode(TEXT, add_special_tokens=False)

    async def use(engine: ServerEngine) -> None:
        with pytest.raises(RequestError, match=r"the server .* (sent|there|tokens|placed)") as refused:
            await engine.logprobs(prompt)
        assert "\n" not in str(refused.value)

    answer = scoring(tiny_tokenizer, reads=reads, keeps=keeps, **FORMS[form])
    with_engine(MisbehavingServer(answer=answer), tiny_tokenizer, use)


@pytest.mark.parametrize("texts", [True, False])
@pytest.mark.parametrize("reads", [list, begun, split, exchanged])
def test_of_a_text_the_server_must_spell_its_tokens(texts: bool, reads: Change, tiny_tokenizer: Any) -> None:
    prompt = tiny_tokenizer.encode(TEXT, add_special_tokens=False)

    async def use(engine: ServerEngine) -> None:
        assert not engine.dialect.token_ids
        if texts and reads is list:
            assert (await engine.logprobs(prompt))[1:].tolist() == [-float(token) for token in prompt[1:]]
        else:
            with pytest.raises(RequestError, match="the server"):
                await engine.logprobs(prompt)

    server = MisbehavingServer(
        answer=scoring(tiny_tokenizer, reads=reads, texts=texts), refuse=strict(ids=False, extensions=True)
    )
    with_engine(server, tiny_tokenizer, use)


def test_nor_does_a_server_go_on_with_another_prompt(tiny_tokenizer: Any) -> None:
    prompt = tiny_tokenizer.encode(TEXT, add_special_tokens=False)

    async def use(engine: ServerEngine) -> None:
        with pytest.raises(RequestError, match="token 0 is 0 there"):
            await engine.generate(prompt, Sampling())

    with_engine(MisbehavingServer(answer=scoring(tiny_tokenizer, reads=begun, ids=True)), tiny_tokenizer, use)


VLLM = {"id": "tiny", "max_model_len": 512, "owned_by": "vllm"}
METRICS = "# HELP vllm:lora_requests_info Running stats on lora requests.\n# TYPE vllm:lora_requests_info gauge\n"


@pytest.mark.parametrize(
    ("models", "metrics"), [([VLLM], METRICS), ([VLLM, VLLM | {"id": "tuned", "parent": "tiny"}], None)]
)
def test_vllm_with_adapters_is_never_asked(
    models: list[dict[str, Any]], metrics: str | None, tiny_tokenizer: Any
) -> None:
    server = MisbehavingServer(answer=scoring(tiny_tokenizer), models={"data": models}, metrics=metrics)

    async def use(engine: ServerEngine) -> None:
        with pytest.raises(UsageError, match="--enable-lora"):
            await engine.logprobs([10, 20, 30])
        await engine.generate([10, 20, 30], Sampling())
        assert not any(body.get("echo") for body in server.bodies)

    with_engine(server, tiny_tokenizer, use)


def test_vllm_without_them_is(tiny_tokenizer: Any) -> None:
    metrics = METRICS.replace("lora_requests_info", "num_requests_running")
    server = MisbehavingServer(answer=scoring(tiny_tokenizer), models={"data": [VLLM]}, metrics=metrics)

    async def use(engine: ServerEngine) -> None:
        assert (await engine.logprobs([10, 20, 30]))[1:].tolist() == [-20, -30]

    with_engine(server, tiny_tokenizer, use)
