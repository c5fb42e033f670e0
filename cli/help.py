"""The layout of help texts: options in groups, the command's own first."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import click

from filters.verifiers.registry import VERIFIERS

GROUPS = {
    "Input": ("limit", "prompt_column", "reference_column", "text_column"),
    "Model": (
        "model",
        "teacher",
        "adapter",
        "prefix",
        "stop",
        "template_args",
        "mode",
        "thinking_share",
        "thought_tokens",
        "trust_remote_code",
    ),
    "Verifier": (
        "verifier",
        "time_limit",
        "memory_limit",
        "schema",
        "pattern",
        "judge",
        "judge_prompt",
        "unsafe_no_sandbox",
    ),
    "Engine": (
        "engine",
        "concurrency",
        "dtype",
        "device",
        "max_length",
        "tensor_parallel",
        "data_parallel",
        "gpu_memory",
        "api_key",
        "engine_args",
    ),
    "Several machines": ("shard", "ray", "actors"),
    "Output": ("output", "preview", "restart", "force", "push", "public", "quiet"),
}
"""Settings by group. All others are the command's own."""


class Command(click.Command):
    """A command whose help shows its options in groups."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = GROUPS

    def written(self) -> Mapping[str, str]:
        """How its settings are written: `max_tokens` is --max-tokens, `rows` is -n."""
        found = {"debug": "--debug"}
        for param in self.params:
            if isinstance(param, click.Option):
                names = {str(param.name), *(name.lstrip("-").replace("-", "_") for name in param.opts)}
                found |= dict.fromkeys(names, param.opts[0])
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups, the command's own options first."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": [], **{name: [] for name in self.groups}}
        titles = {name: title for title, names in self.groups.items() for name in names}
        if any(param.name == "verifier" for param in self.params):
            titles["language"] = "Verifier"
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                groups[titles.get(str(param.name), "Options")].append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
            if records and title == "Verifier":
                with formatter.section("Verifiers, and what each judges right"):
                    formatter.write_dl([(entry.name, entry.says) for entry in VERIFIERS.values()])
