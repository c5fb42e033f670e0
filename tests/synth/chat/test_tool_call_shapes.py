"""The shapes in which published templates write calls of tools, written anew."""

from typing import Any

import pytest

from synth.chat.call_form import same_calls
from synth.chat.template import Template
from synth.errors import RequestError
from tests.synth.chat.calls import HARD, QUESTION, SPECIALS, TOOLS, call_of, calls_read, drawn_by, form_of
from tests.synth.tokenizers import small_tokenizer

# What published templates write for a turn's calls; `f` is the function, `c` the call.
EACH = "{% for c in m.tool_calls %}{% set f = c.function %}BODY{% endfor %}"
EACH_ARGUMENT = "{% for k, v in f.arguments | items %}BODY{% endfor %}"
JSON_CALL = '{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}}'
NEXT = "{{ ', ' if not loop.last }}"
BARE_VALUE = "{{ v if v is string else v | tojson }}"


def _each(body: str) -> str:
    return EACH.replace("BODY", body)


def _keyed(body: str) -> str:
    return EACH_ARGUMENT.replace("BODY", body)


SHAPES = {
    "list with ids": "[CALLS] ["
    + _each("{% set out = f | tojson %}{{ out[:-1] }}, \"id\": \"{{ c.id }}\"}" + NEXT)
    + "]",
    "name, id, arguments": _each("[CALLS]{{ f.name }}[ID]{{ c.id }}[ARGS]{{ f.arguments | tojson }}"),
    "arguments as text": "<calls>" + _each("<call>{{ f.name }}<sep>{{ '' + f.arguments }}<end>") + "<done>",
    "ids for names": "<calls>" + _each("<call>{{ c.id }}<args>{{ f.arguments | tojson }}<end>") + "<done>",
    "tags": "\n<x:calls>\n"
    + _each('<invoke name="{{ f.name }}">\n' + _keyed(f'<p name="{{{{ k }}}}">{BARE_VALUE}</p>\n') + "</invoke>\n")
    + "</x:calls>",
    "typed tags": "\n\n<x:calls>\n"
    + _each(
        '<invoke name="{{ f.name }}">\n'
        + _keyed(f"<p name=\"{{{{ k }}}}\" text=\"{{{{ 'yes' if v is string else 'no' }}}}\">{BARE_VALUE}</p>\n")
        + "</invoke>\n"
    )
    + "</x:calls>",
    "values as printed": _each("\n<call>\n<f={{ f.name }}>\n" + _keyed("<p={{ k }}>{{ v }}</p>\n") + "</f></call>"),
    "list in a tag": "<CALLS>[" + _each(JSON_CALL + NEXT) + "]</CALLS>",
    "name as key": "<|calls|>[" + _each('{"{{ f.name }}": {{ f.arguments | tojson }}}' + NEXT) + "]<|done|>",
    "functions as JSON": "<|call|>{{ m.tool_calls | map(attribute='function') | list | tojson }}",
    "calls as JSON": "<|calls|>{{ m.tool_calls | tojson }}<|/calls|>",
    "name in the tag": _each("<function={{ f.name }}>{{ f.arguments | tojson }}</function>"),
    "Python lines": "<calls>" + _each("{{ f.name }}(" + _keyed("{{ k }}={{ v | tojson }}" + NEXT) + ")\n") + "</calls>",
    "fenced": "<calls>" + _each("\n<call>{{ f.name }}\n```json\n{{ f.arguments | tojson }}\n```</call>") + "\n</calls>",
    "numbered objects": "<A>["
    + _each('\n  {"number": "{{ loop.index0 }}", "tool": "{{ f.name }}", "given": {{ f.arguments | tojson }}}' + NEXT)
    + "\n]</A>",
    "arguments first": _each('<call>{"arguments": {{ f.arguments | tojson }}, "name": "{{ f.name }}"}</call>'),
    "indented": _each("<call>\n{{ {'name': f.name, 'arguments': f.arguments} | tojson(indent=2) }}\n</call>"),
    "nothing but JSON": "[" + _each(JSON_CALL + NEXT) + "]",
}  # fmt: skip
DROPS_RESULTS = _each("<call>{{ f | tojson }}</call>")


def _shaped(calls: str, *, results: bool = True) -> Template:
    header = "<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    turn = header + "{% if m.tool_calls %}" + calls + "{% endif %}<|im_end|>\n"
    each = turn if results else "{% if m.role != 'tool' %}" + turn + "{% endif %}"
    source = (
        "{%- for m in messages %}"
        + each
        + "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return Template(small_tokenizer(source, SPECIALS), variables={"tools": TOOLS})


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shapes_of_calls_in_other_templates(shape: str) -> None:
    template = _shaped(SHAPES[shape])
    form = template.tool_calls
    turns: list[list[tuple[str, Any]]] = [
        [("look.up", HARD)],
        [("now", {}), ("look.up", HARD), ("now", {}), ("now", {})],
    ]
    for calls in turns:
        written = [call_of(name, given, f"functions.{name}:{number}") for number, (name, given) in enumerate(calls)]
        for content in ("", "Let me look.") if form.beside else ("",):
            before, found, fault = form.parse(
                drawn_by(template, {"role": "assistant", "content": content, "tool_calls": written})
            )
            assert (fault, before.strip(), calls_read(found)) == (None, content, calls)
            if "id" in shape:
                assert [call["id"] for call in found] == [call["id"] for call in written]


@pytest.mark.parametrize(
    ("calls", "fault"),
    [
        ("<call>{{ m.tool_calls[0].function.name }}</call>", "each argument"),
        ("<call>{{ m.tool_calls | length }}</call>", "leaves out tool calls"),
        (_each("<call>{{ f.name | upper }} {{ f.arguments | tojson }}</call>"), "leaves out tool calls"),
        (_each("<call>{{ f | tojson | e }}</call>"), "read back"),
        (_each('<call f="{{ f.name }}">' + _keyed('<p k="{{ k }}">{{ v | string | e }}</p>') + "</call>"), "read back"),
        (_each("{{ f.name }} {{ f.arguments | tojson }}"), "tells a tool call from text"),
    ],
)
def test_calls_that_cannot_be_read_back_are_refused(calls: str, fault: str) -> None:
    with pytest.raises(RequestError, match=fault):
        _ = _shaped(calls).tool_calls


def test_a_template_that_drops_results_refuses_them() -> None:
    template = _shaped(DROPS_RESULTS, results=False)
    turn = {"role": "assistant", "content": "", "tool_calls": [call_of("now", {})]}
    assert template.render([QUESTION, turn])
    with pytest.raises(RequestError, match="leaves out the results of tools"):
        template.render([QUESTION, turn, {"role": "tool", "content": "12:00"}])


def test_results_of_calls_that_are_text_are_the_templates_to_write() -> None:
    any_role = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    template = Template(small_tokenizer(any_role, SPECIALS))
    talk = [
        QUESTION,
        {"role": "assistant", "content": "<tool_call>now</tool_call>"},
        {"role": "tool", "content": "12:00"},
    ]
    assert "12:00" in template.render(talk)


def test_calls_that_say_the_same() -> None:
    one = [call_of("f", {"a": 1, "b": [True]})]
    compact = [{"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"b":[true],"a":1}'}}]
    assert same_calls(one, compact)
    assert same_calls([], [])
    for other in ([], [*one, *one], [call_of("g", {"a": 1, "b": [True]})], [call_of("f", {"a": 1, "b": [1]})]):
        assert not same_calls(one, other)
    assert not same_calls([call_of("f", {}, "x")], [call_of("f", {}, "y")])


def test_ids_that_hold_the_name_are_asked_for() -> None:
    template = _shaped(SHAPES["ids for names"])
    turn = {"role": "assistant", "content": "", "tool_calls": [call_of("now", {}, "call_1")]}
    with pytest.raises(RequestError, match=r"message 2 calls now without an id `functions\.now:NUMBER`"):
        template.render([QUESTION, turn])


def test_hostile_text_is_read_in_bounded_time() -> None:
    form = form_of("qwen3_6")
    end = "\n</parameter>\n<parameter=a>\n"
    for drawn in (
        "<tool_call>\n<function=f>\n<parameter=a>\n" + end * 2000,
        "<tool_call>\n<function=f>\n<parameter=a>\n" + "x\n</parameter>\n" * 20_000,
        "<tool_call>" * 20_000,
    ):
        assert form.parse(drawn)[1] == []
