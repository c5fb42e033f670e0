"""`synth minimum-change`."""

from cli.command import Call, command_of
from cli.options import Option


@command_of("synth.api.minimum_change:minimum_change", prompt=Option(metavar="FILE"))
def command(call: Call) -> None:
    """Correct the model's own answers with as few changes as possible.

    The model answers each task; right answers are kept verbatim (method `self-output`). Wrong ones go to an
    editor, which sees the human answer and changes only what is wrong; the corrected answer is verified and must
    stay similar to the model's own. `edit_distance` (words), `similarity`, `logprob_before` and
    `logprob_after` are columns; tasks that cannot be corrected are kept in rejected/ with the reason.

    \b
    Examples:
      synth minimum-change gsm8k.jsonl --model M --verifier math -o edits
      synth minimum-change gsm8k.jsonl --model M --verifier math \\
          --editor Qwen/Qwen2.5-72B-Instruct@http://localhost:8000 -o edits
    """  # noqa: D301 (\b is click's)
    call()
