"""`synth reason`."""

from cli.command import Call, command_of
from cli.options import Option


@command_of(
    "synth.api.reason:reason",
    select=Option(metavar="WAY"),
    length_limit=Option(metavar="mean|TOKENS"),
    search=Option(metavar="K"),
    step_rollouts=Option(metavar="K"),
    step_unit=Option(metavar="UNIT"),
    min_step_value=Option(metavar="SHARE"),
)
def command(call: Call) -> None:
    """Let the model reason its way to right answers: its own chains of thought.

    The model answers each task --samples times. Its thoughts (<think>…</think>, also where its chat template
    opens them) stay in the row; only the answer after them is verified, and unfinished traces are
    dropped. Each row says how it came about: `samples_right`, `tokens`, `turn_backs` (wrong attempts that
    --search put before the right one), `steps` and `step_values` (the share of rollouts from the end of each
    step that end right).

    With --explain the human answers stay, and the model writes the thoughts that lead there: it is shown question
    and answer, and its thoughts are kept if it comes to a right answer from them alone.

    \b
    Examples:
      synth reason gsm8k.jsonl --model M --verifier math --max-tokens 8192 -o traces
      synth reason gsm8k.jsonl --model M --verifier math --samples 16 --length-limit mean --select all -o traces
      synth reason math.jsonl --model M --verifier math --select random --search 2 -o search
      synth reason human.jsonl --model M --verifier math --explain --samples 4 --select first -o explained
      synth reason math.jsonl --model M --verifier math --step-rollouts 8 --min-step-value 0.25 -o steps
    """  # noqa: D301 (\b is click's)
    call()
