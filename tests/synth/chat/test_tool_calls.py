"""Tool calls as chat templates write them and as models draw them: derived from the template, and read back."""

import importlib.util
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from synth.chat.call_form import same_calls
from synth.chat.template import Template, common_start
from synth.chat.tool_calls import ToolCallForm, derive_tool_calls, tool_call_form
from synth.errors import RequestError
from tests.synth.tokenizers import small_tokenizer

SPECIALS = (
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<|turn>", "<turn|>"),
)
MARKERS = (
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
    *(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ),
    *("<|tool_call_start|>", "<|tool_call_end|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", '<|"|>'),
    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>", "<|eot|>"),
    *("<|eom|>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<|assistant|>", "<|user|>"),
)
QUESTION = {"role": "user", "content": "What is the weather in Paris?"}

HARD: dict[str, Any] = {
    "text": 'He said "it\'s </tool_call>",\nthen\t\\n left: é 你好 {"a": 1}',
    "code": "def f(a, b=2):\n    return {'a': [a, b]}\n",
    "digits": "42",
    "word": "null",
    "whole": 12,
    "part": -0.5,
    "yes": True,
    "nothing": None,
    "list": [1, "two", None, [3.5]],
    "object": {"a": {"b": ["c", False]}, "d e": ""},
    "none": {},
    "empty": "",
}
TYPES = {
    **dict.fromkeys(("text", "code", "digits", "word", "empty"), "string"),
    **{"whole": "integer", "part": "number", "yes": "boolean", "list": "array", "object": "object", "none": "object"},
}


def _function(name: str, types: dict[str, str]) -> dict[str, Any]:
    properties = {key: {"type": kind, "description": "A part."} for key, kind in types.items()}
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "description": "It helps.", "parameters": parameters}}


TOOLS = [
    _function("look.up", TYPES),
    _function("get_weather", {"city": "string", "days": "integer"}),
    _function("now", {}),
]


def _call(name: str, arguments: Any, number: str | None = None) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    call = {"type": "function", "function": function}
    return {"id": number, **call} if number else call


@cache
def _stored() -> dict[str, str]:
    """The chat templates that TRL ships, by name."""
    found = importlib.util.find_spec("trl")
    if found is None or found.origin is None:
        return {}
    paths = (Path(found.origin).parent / "chat_templates").glob("*.jinja")
    return {path.stem: path.read_text(encoding="utf-8") for path in paths}


@cache
def _template(name: str, *, control: bool = False) -> Template:
    if name not in _stored():
        pytest.skip(f"TRL does not ship the chat template {name}")
    specials = (*SPECIALS, *MARKERS) if control else SPECIALS
    return Template(small_tokenizer(_stored()[name], specials), variables={"tools": TOOLS})


def _form(name: str) -> ToolCallForm:
    return _template(name).tool_calls


def _read(calls: Sequence[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def _drawn(template: Template, message: dict[str, Any]) -> str:
    """What a model draws that answers the question so, without the end of the turn."""
    text = template.render([QUESTION, message])
    before, _, _ = template.render([QUESTION, {"role": "assistant", "content": "Plain."}]).partition("Plain.")
    asked = template.render([QUESTION], generation=True)
    header = asked if text.startswith(asked) else common_start(text, before)
    drawn = text[text.index(message["content"]) if message["content"] else len(header) :].rstrip()
    return drawn.removesuffix(template.tool_calls.end)


WRITE_NONE = ["cohere", "cohere2", "gemma", "gemma3", "lfm2", "llama3", "phi3", "phi3_5", "qwen2_5_vl"]
NO_TEXT = ["idefics3", "llava_next", "smolvlm"]  # their contents are lists of parts
NO_END = ["deepseek_r1_distill"]  # of a turn with one call
READ = [
    *("deepseekv3", "diffusion_gemma", "gemma4", "gemma4_v2", "gemma4_v3", "gemma4_v4", "gemma4_v5", "glm4moe"),
    *("gptoss", "lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl", "lfm2_v2", "llama3_1", "llama3_2", "muse_glimmer"),
    *("nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra", "qwen2_5", "qwen3"),
    *("qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8", "qwen3_instruct_2507", "qwen3_vl"),
]


@pytest.mark.parametrize("control", [False, True], ids=["plain", "control"])
@pytest.mark.parametrize("name", READ)
def test_what_a_template_writes_is_read_back(name: str, control: bool) -> None:
    template = _template(name, control=control)
    form = template.tool_calls
    turns = [[_call("look.up", HARD)], [_call("now", {})], [_call("get_weather", {"city": "Paris", "days": 3})]]
    if form.several:
        turns += [[_call("now", {}), *turns[0], *turns[2]], [*turns[2], *turns[1]]]
    for calls in turns:
        ids = [{"id": f"call{number:05}", **call} for number, call in enumerate(calls)]
        for content in ("", "Let me look.") if form.beside else ("",):
            message = {"role": "assistant", "content": content, "tool_calls": ids}
            before, found, fault = form.parse(_drawn(template, message))
            assert fault is None
            assert before.rpartition("</think>")[2].strip() == content
            assert _read(found) == _read(calls)


@pytest.mark.parametrize("name", [*WRITE_NONE, *NO_TEXT, *NO_END])
def test_a_template_that_cannot_write_calls_says_so(name: str) -> None:
    template = _template(name)
    assert derive_tool_calls(template) is None
    with pytest.raises(RequestError) as raised:
        tool_call_form(template)
    expected = {**dict.fromkeys(WRITE_NONE, "leaves out tool calls"), **dict.fromkeys(NO_TEXT, "refuses")}
    assert expected.get(name, "does not end a turn that calls tools") in str(raised.value)
    with pytest.raises(RequestError, match="chat template"):
        template.render([QUESTION, {"role": "assistant", "content": "", "tool_calls": [_call("now", {})]}])


def test_every_stored_template_is_one_or_the_other() -> None:
    names = {name.removesuffix("_training") for name in _stored()}
    known = {*READ, *WRITE_NONE, *NO_TEXT, *NO_END}
    for name in sorted(_stored()):
        derived = derive_tool_calls(_template(name)) is not None
        if name.removesuffix("_training") in known:
            assert derived == (name.removesuffix("_training") in READ), name
    assert not _stored() or len(names & known) > 30


PARIS = [("get_weather", {"city": "Paris", "days": 3})]
XML = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
GLM = "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
V3 = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
V3_END = "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
ATEM = (
    '<|message|><atem:function_calls>\n<atem:invoke name="get_weather">\n<atem:parameter name="city">Paris'
    '</atem:parameter>\n<atem:parameter name="days">3</atem:parameter>\n</atem:invoke>\n</atem:function_calls>'
)
ARGUMENTS = '{"city": "Paris", "days": 3}'
JSON_TYPE = " <|constrain|>json<|message|>"
COMMENTARY = "<|channel|>commentary"
TO = " to=functions.get_weather"


@pytest.mark.parametrize(
    ("name", "drawn", "before"),
    [
        ("qwen3", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>', ""),
        ("qwen3", '<tool_call>{"name":"get_weather","arguments":{"city":"Paris","days":3}}</tool_call>\n', ""),
        ("qwen3", '\n\n<tool_call>{"arguments": ' + ARGUMENTS + ', "name": "get_weather"}\n</tool_call>', ""),
        ("qwen3", 'I.\n<tool_call>\n{ "name": "get_weather", "arguments":\n' + ARGUMENTS + " }</tool_call>", "I."),
        ("qwen3", '<tool_call>\n{"name": "get_weather", "arguments": ' + json.dumps(ARGUMENTS) + "}\n</tool_call>", ""),
        ("qwen3_6", XML + "</function>\n</tool_call>", ""),
        ("qwen3_6", "I.\n\n" + XML + "</function>\n</tool_call>\n", "I."),
        ("qwen3_6", XML.replace("\n", "") + "</function></tool_call>", ""),
        ("nemotron_3_super", XML + "</function>\n</tool_call>", ""),
        ("glm4moe", GLM + "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>", ""),
        ("glm4moe", GLM.replace("\n", "") + "<arg_key>days</arg_key><arg_value>3</arg_value></tool_call>", ""),
        ("deepseekv3", V3 + ARGUMENTS + V3_END, ""),
        ("deepseekv3", "I." + V3 + '{\n  "city": "Paris",\n  "days": 3\n}' + V3_END, "I."),
        ("gptoss", TO + COMMENTARY + " json<|message|>" + ARGUMENTS + "<|call|>", ""),
        ("gptoss", COMMENTARY + TO + JSON_TYPE + ARGUMENTS + "<|call|>", ""),
        ("gptoss", COMMENTARY + TO + JSON_TYPE + ARGUMENTS.replace(" ", ""), ""),
        ("gptoss", COMMENTARY + TO + " json<|message|>" + ARGUMENTS, ""),
        ("gptoss", COMMENTARY + TO + "<|message|>" + ARGUMENTS, ""),
        ("gptoss", "<|start|>assistant" + COMMENTARY + TO + JSON_TYPE + ARGUMENTS, ""),
        ("gptoss", "<|start|>assistant" + TO + COMMENTARY + JSON_TYPE + ARGUMENTS, ""),
        ("llama3_1", '{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}', ""),
        ("llama3_1", '\n{"parameters": {"city": "Paris", "days": 3},\n "name": "get_weather"}\n', ""),
        ("lfm2_v2", '<|tool_call_start|>[get_weather(city="Paris", days=3)]<|tool_call_end|>', ""),
        ("lfm2_v2", "I look.<|tool_call_start|>[get_weather(city='Paris',days=3)]<|tool_call_end|>", "I look."),
        ("gemma4_v5", '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|><|tool_response>', ""),
        ("gemma4_v5", '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>', ""),
        ("muse_glimmer", " to=get_weather" + ATEM, ""),
    ],
)  # fmt: skip
def test_what_models_draw(name: str, drawn: str, before: str) -> None:
    found = _form(name).parse(drawn)
    assert found[2] is None
    assert (found[0].strip(), _read(found[1])) == (before, PARIS)


@pytest.mark.parametrize(
    ("name", "drawn", "fault"),
    [
        ("qwen3", '<tool_call>\n{"name": "get_weather", "arguments": {}}', "'</tool_call>' is missing"),
        ("qwen3", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"', "cannot be read"),
        ("qwen3", "<tool_call>\n{'name': 'get_weather', 'arguments': {}}\n</tool_call>", "cannot be read"),
        ("qwen3", '<tool_call>\n{"name": "get_weather"}\n</tool_call>', "no 'arguments'"),
        ("qwen3", '<tool_call>\n{"name": "get_weather", "arguments": [3]}\n</tool_call>', "no JSON object"),
        ("qwen3", '<tool_call>\n{"name": "get_weather", "arguments": {"days": NaN}}\n</tool_call>', "NaN"),
        ("qwen3", '<tool_call>\n{"name": "a", "name": "b", "arguments": {}}\n</tool_call>', "twice"),
        ("qwen3", '<tool_call>\n{"name": "a", "arguments": {}, "result": 3}\n</tool_call>', "result"),
        ("qwen3", '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>\nDone.', "text follows"),
        ("qwen3", "<tool_call>\n</tool_call>", "cannot be read"),
        ("qwen3", "<tool_call>" + '{"a":' * 5000, "cannot be read"),
        ("qwen3_6", XML + "</tool_call>", "is missing"),
        ("qwen3_6", XML + "</function>", "is missing"),
        ("qwen3_6", XML.replace("days", "city") + "</function>\n</tool_call>", "given twice"),
        ("qwen3_6", "<tool_call>\n<function=get weather>\n</function>\n</tool_call>", "name is missing"),
        ("qwen3_6", XML + "</function>\n</tool_call> done", "text follows"),
        ("glm4moe", GLM + "</tool_call", "is missing"),
        ("deepseekv3", V3 + '{"city": "Paris"}\n```<｜tool▁call▁end｜>', "is missing"),
        ("deepseekv3", V3 + '{"city": Paris}' + V3_END, "cannot be read"),
        ("gptoss", COMMENTARY + TO + JSON_TYPE + '{"city": "Paris"<|call|>', "cannot be read"),
        ("gptoss", COMMENTARY + TO + JSON_TYPE + "[1]<|call|>", "no JSON object"),
        ("gptoss", "Well." + COMMENTARY + TO + JSON_TYPE + "{}<|call|>", "no place for it"),
        ("lfm2_v2", "<|tool_call_start|>[get_weather(city='Paris', days=3)<|tool_call_end|>", "is missing"),
        ("lfm2_v2", "<|tool_call_start|>[get_weather('Paris')]<|tool_call_end|>", "is missing"),
        ("gemma4_v5", '<|tool_call>call:get_weather{city:<|"|>Paris}<tool_call|>', "missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_fault(name: str, drawn: str, fault: str) -> None:
    text, calls, told = _form(name).parse(drawn)
    assert (text, calls) == (drawn, [])
    assert told is not None and fault in told and "\n" not in told


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("qwen3", "Paris is sunny."),
        ("qwen3", '{"name": "get_weather", "arguments": {}}'),
        ("llama3_1", '{"name": "Paris", "weather": "sunny"}'),
        ("llama3_1", 'Call {"name": "get_weather", "parameters": {}}'),
        ("gptoss", "<|channel|>final<|message|>Set to=functions.x"),
        ("muse_glimmer", " to=user<|message|>Set to=3."),
        ("lfm2_v2", "[get_weather(city='Paris')]"),
    ],
)
def test_other_answers_hold_no_call(name: str, drawn: str) -> None:
    assert _form(name).parse(drawn) == (drawn, [], None)


def test_arguments_stay_as_they_were_drawn() -> None:
    drawn = '<tool_call>\n{"name": "now", "arguments": {"a":1.50,  "b": "\\u00e9"}}\n</tool_call>'
    _, [call], _ = _form("qwen3").parse(drawn)
    assert call == {"type": "function", "function": {"name": "now", "arguments": '{"a":1.50,  "b": "\\u00e9"}'}}


def test_bare_values_without_a_schema_are_what_the_template_would_write_so() -> None:
    words = {"a": "3", "b": "3.50", "c": "true", "d": "True", "e": '"x"', "f": "[1,2]", "g": "1 2", "h": " x"}
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in words.items())
    drawn = f"<tool_call>\n<function=unknown>\n{parameters}</function>\n</tool_call>"
    expected = {"a": 3, "b": "3.50", "e": '"x"', "f": [1, 2], "g": "1 2", "h": " x"}
    assert _read(_form("qwen3_6").parse(drawn)[1]) == [("unknown", {**expected, "c": True, "d": "True"})]
    assert _read(_form("qwen3_5_think").parse(drawn)[1]) == [("unknown", {**expected, "c": "true", "d": True})]


@pytest.mark.parametrize("name", READ)
def test_results_are_written_or_refused(name: str) -> None:
    template = _template(name)
    form = template.tool_calls
    calls = [_call("now", {}, "call00000"), _call("get_weather", {"city": "Paris"}, "call00001")]
    calls = calls if form.several else calls[:1]
    results = [
        {
            "role": "tool",
            "content": f"result {call['id']}",
            "tool_call_id": call["id"],
            "name": call["function"]["name"],
        }
        for call in calls
    ]
    turn = {"role": "assistant", "content": "", "tool_calls": calls}
    conversation: list[dict[str, Any]] = [QUESTION, turn, *results]
    assert form.unanswered is None
    text = template.render([*conversation, {"role": "assistant", "content": "It is sunny."}])
    places = [text.index(message["content"]) for message in [*results, {"content": "It is sunny."}]]
    assert places == sorted(places)


def test_what_a_template_has_no_place_for_is_refused_in_one_line() -> None:
    two = {"role": "assistant", "content": "", "tool_calls": [_call("now", {}), _call("now", {})]}
    with pytest.raises(RequestError, match="message 2 has 2 tool calls, and the chat template writes one call a turn"):
        _template("gptoss").render([QUESTION, two])
    text = {"role": "assistant", "content": "I look.", "tool_calls": [_call("now", {})]}
    with pytest.raises(RequestError, match="message 2 has a text beside its tool calls"):
        _template("llama3_1").render([QUESTION, text])
    call = {"type": "function", "function": {"name": "now", "arguments": '{"a": '}}
    broken = {"role": "assistant", "content": "", "tool_calls": [call]}
    with pytest.raises(RequestError, match="message 2 calls now with arguments that are no JSON"):
        _template("qwen3").render([QUESTION, broken])


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
        written = [_call(name, given, f"functions.{name}:{number}") for number, (name, given) in enumerate(calls)]
        for content in ("", "Let me look.") if form.beside else ("",):
            before, found, fault = form.parse(
                _drawn(template, {"role": "assistant", "content": content, "tool_calls": written})
            )
            assert (fault, before.strip(), _read(found)) == (None, content, calls)
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
    turn = {"role": "assistant", "content": "", "tool_calls": [_call("now", {})]}
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
    one = [_call("f", {"a": 1, "b": [True]})]
    compact = [{"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"b":[true],"a":1}'}}]
    assert same_calls(one, compact)
    assert same_calls([], [])
    for other in ([], [*one, *one], [_call("g", {"a": 1, "b": [True]})], [_call("f", {"a": 1, "b": [1]})]):
        assert not same_calls(one, other)
    assert not same_calls([_call("f", {}, "x")], [_call("f", {}, "y")])


def test_ids_that_hold_the_name_are_asked_for() -> None:
    template = _shaped(SHAPES["ids for names"])
    turn = {"role": "assistant", "content": "", "tool_calls": [_call("now", {}, "call_1")]}
    with pytest.raises(RequestError, match=r"message 2 calls now without an id `functions\.now:NUMBER`"):
        template.render([QUESTION, turn])


def test_hostile_text_is_read_in_bounded_time() -> None:
    form = _form("qwen3_6")
    end = "\n</parameter>\n<parameter=a>\n"
    for drawn in (
        "<tool_call>\n<function=f>\n<parameter=a>\n" + end * 2000,
        "<tool_call>\n<function=f>\n<parameter=a>\n" + "x\n</parameter>\n" * 20_000,
        "<tool_call>" * 20_000,
    ):
        assert form.parse(drawn)[1] == []
