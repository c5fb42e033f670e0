"""The options `--push` and `--public`, which every command has that writes a directory."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synth.errors import UsageError

if TYPE_CHECKING:
    from synth.hub.repository import Kind


def hub_options() -> list[click.Parameter]:
    """The options."""
    return [
        click.Option(
            ["--push"],
            metavar="USER/NAME",
            help="When all is done, send it with its card to the Hugging Face Hub, too; it is private there: a public "
            "repository is refused without --public. Run again, it goes on where it was cut off. The token is that of "
            "`hf auth login`, or in HF_TOKEN.",
        ),
        click.Option(["--public"], is_flag=True, help="With --push: let everybody see what is sent there."),
    ]


@dataclass(frozen=True, slots=True)
class ToHub:
    """What is to be pushed when a command is done.

    Attributes:
        folder: its output.
        name: of the repository.
        kind: what it holds.
        public: whether everybody sees it.
        quiet: whether nothing of that is shown.
    """

    folder: str
    name: str
    kind: "Kind"
    public: bool
    quiet: bool

    @classmethod
    def of(cls, given: dict[str, Any], kind: "Kind", *, quiet: bool) -> "ToHub | None":
        """What the options say, which are taken out of what was given; None where nothing is pushed.

        Raises:
            UsageError: there is no directory to push.
        """
        name, public = given.pop("push"), given.pop("public")
        if name is None:
            if public:
                raise UsageError("`public` is of what is pushed: give `push` USER/NAME, too")
            return None
        folder = given["output"]
        if "://" in str(folder):
            raise UsageError(f"`push` sends a directory of this machine, and {folder} is elsewhere")
        if folder in (None, "-") or (Path(folder).suffix[1:].isalpha() and not Path(folder).is_dir()):
            raise UsageError("`push` sends a directory: say where the rows go with `output` DIR")
        if given.get("shard"):
            raise UsageError("`push` sends a whole set, and a shard is a part: give it to synth join")
        if given.get("dry_run") or given.get("preview"):
            raise UsageError("`push` sends what is made, and nothing is made here: leave it out")
        if trainer := given.get("trainer"):
            from synth.exports.trainers import gives_data_set

            if not gives_data_set(trainer, given.get("form")):
                raise UsageError(f"`push` sends a data set, and {trainer} loads another format: leave `push` out")
        return cls(os.fspath(folder), name, kind, public, quiet)

    def prepared(self) -> AbstractContextManager[None]:
        """The repository, made now: a token that may not do that is told of before any model is loaded.

        A run that is begun in the block is refused where the repository could not take it in the end.

        Raises:
            UsageError: there is no token, it has no right to write there, or something else is there.
            RunError: the Hub cannot be reached, or fails.
        """
        from synth.api.push import prepared

        return prepared(self.folder, self.name, self.kind, public=self.public)

    def push(self) -> None:
        """Push it."""
        from cli.command import told
        from synth.api.push import push

        push(self.folder, self.name, public=self.public, progress=told(quiet=self.quiet))
