"""Derives from a tokenizer's chat template how a model is talked to, without a table of model families."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from filters.names import near_or_all
from synth.chat.format import ChatFormat
from synth.chat.template import Template, Turns, find_turns, turn_end
from synth.chat.thinking import QUESTION, begun, find_modes, find_thinking
from synth.engines.base import Tokenizer
from synth.engines.loading import load_end_ids, load_tokenizer
from synth.errors import RequestError, UsageError

NONE_GIVEN: Mapping[str, Any] = MappingProxyType({})
"""No template arguments."""

_GIVE = "give the text before and after a question yourself: `prefix` TEXT `stop` TEXT"

# For a model without a template. BOS is part of `prefix`.
_ONE_TURN = """\
{%- if messages | length > 2 or messages[0].role != 'user' -%}
    {{- raise_exception('with `prefix` and `stop` a conversation is one question and one answer') -}}
{%- endif -%}
{{- prefix + messages[0].content + stop -}}
{%- if messages | length == 2 %}{{ messages[1].content + end }}{% endif -%}"""


def chat_format(
    tokenizer: Tokenizer,
    *,
    generation_eos: Sequence[int] = (),
    prefix: str | None = None,
    stop: str | None = None,
    args: Mapping[str, Any] = NONE_GIVEN,
) -> ChatFormat:
    """Derive a chat format from a tokenizer's chat template.

    `generation_eos` are the end-of-sequence ids of the model's generation config. With a template, `prefix`
    replaces the text before a first question and `stop` the text that ends a question. Without one (a base model),
    or where nothing can be derived from it, both are needed: a conversation is then `prefix`, question, `stop`,
    answer, end of sequence. A beginning-of-sequence token is put before `prefix` where the tokenizer adds one to
    plain text. `args` are variables that the template reads (`enable_thinking`, `tools`, …).

    Raises:
        UsageError: no template, or none that a prompt can be derived from, and no `prefix` and `stop` instead; or the
            template does not read a variable of `args`, or refuses its value.
    """
    if not tokenizer.is_fast:
        raise UsageError("this tokenizer is a slow one (no tokenizer.json), so characters cannot be mapped to tokens")
    if stop == "":
        raise UsageError("`stop` is empty; give the text that ends a question")
    opening = _with_bos(tokenizer, prefix) if prefix else None
    template, turns = _derive(tokenizer, opening, stop, args)
    thinking = find_thinking(template)
    template = replace(template, tags=(thinking.opener, thinking.closer))
    within = {template.added[token.group()] for text in thinking.texts for token in template.find_added(text)}
    plain = template.source is not None
    eos = [number for number in (tokenizer.eos_token_id, *generation_eos) if number is not None]

    stop_ids, stop_texts = _question_end(template, turns, stop)
    structure = [turns.prefix, turns.header, turns.second or "", turns.last, *(turns.system or ())]

    own_ids, answer_texts = turn_end(template, turns.last if turns.second is None else turns.second)
    if plain:  # A base model goes on with a question of its own.
        answer_texts = tuple((prefix or "").strip().splitlines()[-1:])
    ends = [number for number in own_ids if number not in within]  # what ends a channel does not end the answer
    end_ids = _unique([*ends, *turn_end(template, turns.last)[0], *eos])
    if not (end_ids or answer_texts):
        raise UsageError("nothing ends an answer: the tokenizer has no end-of-sequence token and the template no end")
    written = {*_added_in(template, turns.written), *within}
    openers = [number for number in _added_in(template, turns.header, turns.second or "") if number not in written]
    return ChatFormat(
        tokenizer=tokenizer,
        stop_ids=_unique([*stop_ids, *eos, *_added_in(template, *structure)]),
        stop=stop_texts,
        answer_stop_ids=_unique([*end_ids, *openers]),
        answer_stop=answer_texts,
        end_ids=end_ids,
        template=template,
        turns=turns,
        thinking=thinking,
        begun=begun(thinking, template.render([QUESTION], generation=True)) if turns.prompts else None,
        modes=find_modes(template, thinking),
        derived=partial(_derived, tokenizer, tuple(generation_eos), prefix, stop),
        prefix=None if plain else opening,
    )


def _question_end(template: Template, turns: Turns, stop: str | None) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """What ends a question: the token of the template or of `stop`, else its text.

    Raises:
        UsageError: nothing does.
    """
    ids, texts = turn_end(template, turns.header or turns.between)
    if stop is not None:
        ids, _ = turn_end(template, stop)
        texts = () if ids else (stop.rstrip() or stop,)
    if not (ids or texts):
        raise UsageError(f"the chat template writes nothing between a question and its answer; {_GIVE}")
    return ids, texts


def _derived(
    tokenizer: Tokenizer, generation_eos: Sequence[int], prefix: str | None, stop: str | None, args: Mapping[str, Any]
) -> ChatFormat:
    """`chat_format` for other template arguments; a partial of it is copied with the tokenizer that it holds."""
    return chat_format(tokenizer, generation_eos=generation_eos, prefix=prefix, stop=stop, args=args)


def _derive(
    tokenizer: Tokenizer, prefix: str | None, stop: str | None, args: Mapping[str, Any]
) -> tuple[Template, Turns]:
    """The tokenizer's template and its turns; the one-turn form of `prefix` and `stop` where there is no other."""
    if tokenizer.chat_template:
        template = Template(tokenizer, variables=dict(args))
        if "strftime_now" in args:
            template = replace(template, today=_date(args["strftime_now"]))
        _check_args(template, args)
        try:
            turns = find_turns(template)
            if turns.prefix:
                return template, turns
            fault = "it writes nothing before a question"
        except RequestError as error:
            fault = str(error)
        fault = f"no prompt can be derived from this model's chat template ({fault})"
    else:
        fault = "this model's tokenizer has no chat template (a base model?)"
    if not prefix or stop is None:
        raise UsageError(f"{fault}; {_GIVE}")
    template = Template(tokenizer, _ONE_TURN, {"prefix": prefix, "stop": stop, "end": tokenizer.eos_token or ""})
    return template, find_turns(template)


def _date(text: Any) -> datetime:
    """The date that the template is to write.

    Raises:
        UsageError: it is none.
    """
    try:
        return datetime.fromisoformat(str(text))
    except ValueError as error:
        raise UsageError(f"`template_arg` strftime_now: {text!r} is no date such as 2026-01-31") from error


def _check_args(template: Template, args: Mapping[str, Any]) -> None:
    """Refuse what the template would pass over in silence."""
    for name in args:
        if name not in template.reads and not (name == "strftime_now" and template.dated):
            raise UsageError(
                f"`template_arg` {name}: this model's chat template does not read it"
                + (near_or_all(name, template.reads) if template.reads else "; it reads none")
            )


def _with_bos(tokenizer: Tokenizer, prefix: str) -> str:
    """`prefix` with the beginning-of-sequence token that the tokenizer puts before plain text, once."""
    bos = tokenizer.bos_token
    adds = bos is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return bos + prefix if adds and not prefix.startswith(bos) else prefix


def _added_in(template: Template, *texts: str) -> list[int]:
    return [template.added[token.group()] for text in texts for token in template.find_added(text)]


def _unique(ids: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(ids))


def format_for(
    model: str, *, prefix: str | None = None, stop: str | None = None, args: Mapping[str, Any] = NONE_GIVEN
) -> ChatFormat:
    """The chat format of a model (directory or Hub id), with every end that its generation config names.

    Raises:
        UsageError: as for `load_tokenizer` and `chat_format`.
    """
    tokenizer = load_tokenizer(model)
    return chat_format(tokenizer, generation_eos=load_end_ids(model), prefix=prefix, stop=stop, args=args)


def format_for_texts(model: str, *, prefix: str | None = None, stop: str | None = None) -> ChatFormat:
    """A model's chat format where no conversation is ever written: of a base model, which has none, any will do.

    Raises:
        UsageError: the tokenizer cannot be read, or `prefix` and `stop` cannot be used.
    """
    try:
        return format_for(model, prefix=prefix, stop=stop)
    except UsageError:
        if prefix is not None:
            raise
        return format_for(model, prefix="Text: ", stop="\n")
