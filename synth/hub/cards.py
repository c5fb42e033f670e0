"""Cards as the Hub wants them: metadata by which people find a set or a model, and what loads it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from synth.data.files.sources import hub_name
from synth.data.run.card import card, code, fenced, inline
from synth.data.run.record import RunRecord
from synth.errors import UsageError
from synth.hub.repository import on_hub
from synth.hub.tables import SPLIT, Table

Metadata = Mapping[str, Any]

_SIZES = [f"{count}{unit}" for unit in "KMBT" for count in (1, 10, 100)]
"""Powers of ten from a thousand on, as the Hub writes them."""


def dataset_card(name: str, tables: Sequence[Table], record: RunRecord, license: str | None, held: Metadata) -> str:
    """The card of a data set.

    Args:
        name: of the repository.
        tables: its tables, the accepted rows first.
        record: of its run.
        license: what it may be used for, by the Hub's name of it.
        held: metadata of the card that is there.
    """
    source = hub_name(record.source) if record.source else None
    own = {
        **_of_tables(tables),
        "license": license or held.get("license") or "unknown",
        "task_categories": ["text-generation"],
        "tags": ["synthetic", "synth", record.command],
        **({"source_datasets": [source["path"]]} if source else {}),
    }
    lines = "\n".join(_loading(name, table) for table in tables)
    return card(name.partition("/")[2], _yaml(own, held), lines, record, _first(tables[0]))


def evaluation_card(name: str, tables: Sequence[Table], shown: str, license: str | None, held: Metadata) -> str:
    """The card of an evaluation.

    Args:
        name: of the repository.
        tables: the answers of each model.
        shown: its table, as text.
        license: as for `dataset_card`.
        held: as for `dataset_card`.
    """
    own = {
        **(_of_tables(tables) if tables else {}),
        "license": license or held.get("license") or "unknown",
        "task_categories": ["text-generation"],
        "tags": ["synthetic", "synth", "evaluation"],
    }
    loading = fenced("\n".join(["import datasets", *(_loading(name, table) for table in tables)]), "python")
    title = f"# {inline(name.partition('/')[2])}"
    lines = ["---", _yaml(own, held), "---", title, "", "Made by `synth eval`.", "", *fenced(shown, "text"), ""]
    return "\n".join([*lines, *(loading if tables else []), ""])


def model_card(name: str, folder: Path, record: RunRecord, license: str | None, held: Metadata) -> str:
    """The card of a trained or merged model: what the card in its directory says, with metadata for the Hub.

    Args:
        name: of the repository.
        folder: of the model.
        record: of the training or merge.
        license: as for `dataset_card`.
        held: as for `dataset_card`.

    Raises:
        UsageError: the card in the directory cannot be read.
    """
    from huggingface_hub import ModelCard

    settings = record.settings
    before = [record.model] if record.command == "train" else [settings.get(part) for part in ("base", "tuned", "add")]
    source = hub_name(record.source) if record.source else None
    try:
        local = (folder / "README.md").read_text(encoding="utf-8")
        text = ModelCard(local).text.strip() if local.startswith("---") else local.strip()
    except FileNotFoundError:  # of the first release, whose merges had none
        text = f"# {inline(name.partition('/')[2])}\n\nMade by `synth {record.command}` of {code(str(record.model))}."
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / 'README.md'} cannot be read: {' '.join(str(error).split())}") from error
    known = list(dict.fromkeys(filter(None, map(on_hub, before))))
    chosen = license or held.get("license")
    own = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["synth", *(["merge"] if record.command == "merge" else [])],
        **({"license": chosen} if chosen else {}),
        **({"base_model": known} if known else {}),
        **({"datasets": [source["path"]]} if source else {}),
    }
    return "\n".join(["---", _yaml(own, held), "---", text, ""])


def metadata_of(text: str) -> Metadata:
    """The metadata of a card that is there; nothing of one that cannot be read, which is replaced."""
    from huggingface_hub import RepoCard

    try:
        card_data: Any = RepoCard(text, ignore_metadata_errors=True).data
        found: Metadata = card_data.to_dict()
    except Exception:  # YAML has many ways not to be metadata
        return {}
    return found


def _of_tables(tables: Sequence[Table]) -> dict[str, Any]:
    """Where each table is, and how many rows it has: a loader that finds fewer says so."""
    return {
        "configs": [
            {"config_name": table.config, "data_files": [{"split": SPLIT, "path": table.pattern}]} for table in tables
        ],
        "dataset_info": [
            {
                "config_name": table.config,
                "splits": [{"name": SPLIT, "num_bytes": table.bytes, "num_examples": table.rows}],
                "dataset_size": table.bytes,
            }
            for table in tables
        ],
        "size_categories": [_size(sum(table.rows for table in tables))],
    }


def _yaml(own: Metadata, held: Metadata) -> str:
    """Metadata as YAML; what people have added to the card on the Hub is kept."""
    from huggingface_hub import CardData

    text: str = CardData(**{**held, **own}).to_yaml()
    return text


def _size(rows: int) -> str:
    """How many rows there are, in the Hub's words."""
    power = len(str(rows)) - 4
    return "n<1K" if power < 0 else f"{_SIZES[power]}<n<{_SIZES[power + 1]}"


def _loading(name: str, table: Table) -> str:
    """The line of Python that loads a table."""
    if table.config == "default":
        return f'rows = datasets.load_dataset("{name}", split="{SPLIT}")'
    variable = re.sub(r"\W", "_", f"of_{table.config}", flags=re.ASCII)
    return f'{variable} = datasets.load_dataset("{name}", "{table.config}", split="{SPLIT}")'


def _first(table: Table) -> pa.RecordBatch | None:
    """The first row, as a batch."""
    batches = table.source.with_format("arrow")[:1].to_batches() if table.rows else []
    return batches[0] if batches else None
