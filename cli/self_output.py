"""`synth self-output`."""

from cli.command import Call, command_of
from cli.options import Option


@command_of(
    "synth.api.self_output:self_output",
    verifier=Option(
        metavar="NAME|MODULE:FUNCTION",
        help="What tells a right answer: one of those below, or a function of yours; or none, which takes answers "
        "unverified, and marks them so. [default: what all rows name, as known benchmarks do]",
    ),
    select=Option(metavar="WAY"),
    fallback=Option(metavar="LIST", listed=True),
)
def command(call: Call) -> None:
    """Turn tasks with human answers into data in the model's own words: its own answers, verified.

    The model answers each task up to --samples times; answers are checked as they arrive, and of the right
    ones --select takes one. Each row has the columns `method`, `verdict`, `answer` (what the verifier read),
    `samples`, `samples_right`, `logprob`. Before the model is loaded, the human answers are checked with the
    same verifier.

    \b
    Examples:
      synth self-output gsm8k.jsonl --model M --verifier math -o own
      synth self-output gsm8k.jsonl --model M --verifier math --samples 32 \\
          --select lowest-perplexity --fallback paraphrase,gold -o own
      synth self-output mbpp.jsonl --prompt-column text --reference-column code \\
          --model M --verifier code --pairs -o own
      synth self-output questions.jsonl --model M --verifier majority --samples 16 -o own
      synth self-output tasks.jsonl --model M --verifier none --temperature 1.6 --top-k 20 -o unverified
      synth self-output tasks.jsonl --model M --verifier checks:is_right | synth show
    """  # noqa: D301 (\b is click's)
    call()
