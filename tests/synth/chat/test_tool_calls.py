"""Tool calls as chat templates write them and as models draw them: derived from the template, and read back."""

import json
from typing import Any

import pytest

from synth.chat.tool_calls import derive_tool_calls, tool_call_form
from synth.errors import RequestError
from tests.synth.chat.calls import HARD, QUESTION, call_of, calls_read, drawn_by, form_of, stored_template
from tests.synth.tokenizers import STORED

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
    template = stored_template(name, control=control)
    form = template.tool_calls
    turns = [[call_of("look.up", HARD)], [call_of("now", {})], [call_of("get_weather", {"city": "Paris", "days": 3})]]
    if form.several:
        turns += [[call_of("now", {}), *turns[0], *turns[2]], [*turns[2], *turns[1]]]
    for calls in turns:
        ids = [{"id": f"call{number:05}", **call} for number, call in enumerate(calls)]
        for content in ("", "Let me look.") if form.beside else ("",):
            message = {"role": "assistant", "content": content, "tool_calls": ids}
            before, found, fault = form.parse(drawn_by(template, message))
            assert fault is None
            assert before.rpartition("</think>")[2].strip() == content
            assert calls_read(found) == calls_read(calls)


@pytest.mark.parametrize("name", [*WRITE_NONE, *NO_TEXT, *NO_END])
def test_a_template_that_cannot_write_calls_says_so(name: str) -> None:
    template = stored_template(name)
    assert derive_tool_calls(template) is None
    with pytest.raises(RequestError) as raised:
        tool_call_form(template)
    expected = {**dict.fromkeys(WRITE_NONE, "leaves out tool calls"), **dict.fromkeys(NO_TEXT, "refuses")}
    assert expected.get(name, "does not end a turn that calls tools") in str(raised.value)
    with pytest.raises(RequestError, match="chat template"):
        template.render([QUESTION, {"role": "assistant", "content": "", "tool_calls": [call_of("now", {})]}])


def test_every_stored_template_is_one_or_the_other() -> None:
    names = {name.removesuffix("_training") for name in STORED}
    known = {*READ, *WRITE_NONE, *NO_TEXT, *NO_END}
    for name in sorted(STORED):
        derived = derive_tool_calls(stored_template(name)) is not None
        if name.removesuffix("_training") in known:
            assert derived == (name.removesuffix("_training") in READ), name
    assert not STORED or len(names & known) > 30


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
    found = form_of(name).parse(drawn)
    assert found[2] is None
    assert (found[0].strip(), calls_read(found[1])) == (before, PARIS)


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
    text, calls, told = form_of(name).parse(drawn)
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
    assert form_of(name).parse(drawn) == (drawn, [], None)


def test_arguments_stay_as_they_were_drawn() -> None:
    drawn = '<tool_call>\n{"name": "now", "arguments": {"a":1.50,  "b": "\\u00e9"}}\n</tool_call>'
    _, [call], _ = form_of("qwen3").parse(drawn)
    assert call == {"type": "function", "function": {"name": "now", "arguments": '{"a":1.50,  "b": "\\u00e9"}'}}


def test_bare_values_without_a_schema_are_what_the_template_would_write_so() -> None:
    words = {"a": "3", "b": "3.50", "c": "true", "d": "True", "e": '"x"', "f": "[1,2]", "g": "1 2", "h": " x"}
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in words.items())
    drawn = f"<tool_call>\n<function=unknown>\n{parameters}</function>\n</tool_call>"
    expected = {"a": 3, "b": "3.50", "e": '"x"', "f": [1, 2], "g": "1 2", "h": " x"}
    assert calls_read(form_of("qwen3_6").parse(drawn)[1]) == [("unknown", {**expected, "c": True, "d": "True"})]
    assert calls_read(form_of("qwen3_5_think").parse(drawn)[1]) == [("unknown", {**expected, "c": "true", "d": True})]


@pytest.mark.parametrize("name", READ)
def test_results_are_written_or_refused(name: str) -> None:
    template = stored_template(name)
    form = template.tool_calls
    calls = [call_of("now", {}, "call00000"), call_of("get_weather", {"city": "Paris"}, "call00001")]
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
    two = {"role": "assistant", "content": "", "tool_calls": [call_of("now", {}), call_of("now", {})]}
    with pytest.raises(RequestError, match="message 2 has 2 tool calls, and the chat template writes one call a turn"):
        stored_template("gptoss").render([QUESTION, two])
    text = {"role": "assistant", "content": "I look.", "tool_calls": [call_of("now", {})]}
    with pytest.raises(RequestError, match="message 2 has a text beside its tool calls"):
        stored_template("llama3_1").render([QUESTION, text])
    call = {"type": "function", "function": {"name": "now", "arguments": '{"a": '}}
    broken = {"role": "assistant", "content": "", "tool_calls": [call]}
    with pytest.raises(RequestError, match="message 2 calls now with arguments that are no JSON"):
        stored_template("qwen3").render([QUESTION, broken])
