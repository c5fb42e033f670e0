"""The input of the commands that work on passages of plain texts."""

from typing import Any

import pyarrow as pa

from cli.progress import say
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import Rows, open_source
from synth.errors import UsageError
from synth.generation.documents import Cut, open_documents


def passages_of(given: dict[str, Any], added: pa.Schema, cut: Cut) -> PromptSet:
    """The documents of `source`, as `cut` divides them, read once; `limit` counts documents.

    Raises:
        UsageError: they cannot be read, there are none, or there is no text in that column.
    """
    raw = open_source(given["source"])
    limit: int | None = given["limit"]
    few = Rows(raw.source, raw.schema, lambda: raw.judged(limit), raw.notes)
    tasks = open_prompts(open_documents(few, given["text_column"], added, cut))
    for note in raw.notes:
        say(note, given["quiet"])
    if not tasks.total:
        raise UsageError(f"{raw.source} has no rows")
    say(f"{tasks.total:,} passages to work on, of {raw.source}", given["quiet"])
    return tasks
