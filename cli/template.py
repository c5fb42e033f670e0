"""`synth template`: what a model is fed, as derived from its chat template."""

import json

import click

from cli.command import Call, command_of
from cli.options import Option


@command_of(
    "synth.api.template:template",
    click.Option(["--json", "as_json"], is_flag=True, help="Print JSON instead (keys below)."),
    of_model=("prefix", "stop", "template_args", "mode", "trust_remote_code"),
    system=Option(help="Show what precedes a question after this system message."),
)
def command(call: Call, as_json: bool) -> None:
    """Show what is derived from a model's chat template, to the character and the token.

    What precedes a question (there Magpie samples), what ends a question and an answer, what asks for an answer,
    and which tokens of a conversation are trained on. Needs the tokenizer only, not the weights.

    \b
    Keys of --json:
      model            as given
      prefix           text before a question       prefix_ids  its token ids
      pending          white space at the end of prefix that is not in prefix_ids: the
                       tokenizer joins it to the first word, so the model draws it
      stop             texts that end a question    stop_ids    those that are tokens
      answer_prompt    text between a question and its answer
      answer_stop      texts that end an answer     answer_stop_ids  those that are tokens
      second_prefix    text between an answer and the next question; null: one turn only
      system           taken: whether there is a system role; default: the template's own
      spans            an example: messages, text, tokens (id, text, trained), and the
                       [start, end) tokens of each assistant turn

    \b
    Examples:
      synth template --model samples/model
      synth template --model Qwen/Qwen2.5-7B-Instruct --json | jq -r .prefix
      synth template --model BASE --prefix "Question: " --stop $'\\nAnswer: '
    """  # noqa: D301 (\b is click's)
    from synth.reports.terminal.template import print_template

    derived = call()
    if as_json:
        click.echo(json.dumps(derived.record(), ensure_ascii=False, indent=2))
    else:
        print_template(derived)
