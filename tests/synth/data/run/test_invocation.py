import shlex

from synth.data.run.invocation import HIDDEN, command_line, remember


def test_the_command_line_can_be_run_again_and_tells_no_secret() -> None:
    said = ["magpie", "--model", "my model", "--system", "it's $HOME", "--api-key", "abc", "-o", "out"]
    remember(said)
    line = command_line()
    assert line is not None and shlex.split(line) == ["synth", *said[:6], HIDDEN, *said[7:]]
    for argument in (
        "--api-key=abc",
        "https://user:abc@host/v1",
        "m@https://host/v1?api_key=abc",
        "hf_abcabcabcabc",
        "sk-abc-abcabcabc",
    ):
        remember(["eval", argument])
        assert "abc" not in (command_line() or "abc"), argument
    remember(["--answer-token", "[ANS]", "--max-tokens", "5", "m@http://host:8000"])
    assert command_line() == "synth --answer-token '[ANS]' --max-tokens 5 m@http://host:8000"
