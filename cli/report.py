"""`synth report`."""

from cli.command import Call, command_of
from cli.options import Argument, Option


@command_of(
    "synth.api.report:report",
    sources=Argument("INPUT..."),
    output=Option(("-o", "--output"), metavar="FILE.html", help="The page: one HTML file.", required=True),
    model=Option(metavar="MODEL"),
)
def command(call: Call) -> None:
    """Make one HTML page about data sets, an evaluation, or a training run.

    Data sets, one or several: token heat maps side by side, perplexity by method, reasons of rejection, lengths, and a
    searchable browser of the rows. What is shown of tokens and perplexity needs rows that `synth score-tokens` wrote.

    What `synth eval -o DIR` wrote: what was kept and what was learned, suite by suite, and every item that went wrong
    or came right, with both answers side by side. What `synth train -o DIR` wrote: the learning-forgetting curve, the
    loss and the settings.

    The page is one file that loads nothing from elsewhere.

    \b
    Examples:
      synth report replay -o replay.html
      synth report human-scored self-output-scored -o own-words.html
      synth report tasks.jsonl own/rejected -o look.html --force
      synth report scores -o kept.html
      synth report tuned -o curve.html
    """  # noqa: D301 (\b is click's)
    call()
