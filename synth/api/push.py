"""`synth.push`: sends a finished data set, evaluation or model to the Hugging Face Hub."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synth.data.run.beginning import checked_by
from synth.hub.push import prepare
from synth.hub.push import push as push_folder
from synth.hub.repository import Kind
from synth.progress import Progress
from synth.training.pipeline import is_first_process
from synth.values import checked


@contextmanager
def prepared(folder: str | os.PathLike[str], name: str, kind: Kind, *, public: bool = False) -> Iterator[None]:
    """Make the repository for what the block makes in a folder, and refuse a run that it could not take in the end.

    Raises:
        UsageError: there is no token, or it has no right to write there; or such a name is not allowed, or taken by
            another run, or by more rows of this one.
        RunError: the Hub cannot be reached, or fails.
    """
    if not is_first_process():
        yield
        return
    with checked_by(prepare(name, kind, public=public), folder):
        yield


@checked
def push(
    folder: str | os.PathLike[str],
    name: str,
    *,
    public: bool = False,
    license: str | None = None,
    force: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> str:
    """Send a finished data set, evaluation or model, with its card, to the Hugging Face Hub.

    Rows go as Parquet, so that `datasets.load_dataset(name)` loads them; rejected rows and preference pairs are
    configurations of their own, "rejected" and "pairs". Files that rows name, such as recordings, go along. Called
    again, it sends what is missing: after a cut connection, or when a run was extended.

    The token is that of `hf auth login`, or in HF_TOKEN. Parquet files are made in the directory for temporary files
    (TMPDIR), 2.5 GiB of them at most.

    Args:
        folder: the directory of a data set, an evaluation or a model that is finished.
        name: of the repository, as USER/NAME; it is made where there is none.
        public: let everybody see a repository that is made; without this it is private. One that is there stays as it
            is, and a public one is refused without this.
        license: what the rows or the model may be used for, as the Hub calls it: apache-2.0, cc-by-4.0, … By default
            what the card on the Hub says already.
        force: replace what the repository holds, if that is something else, or more rows; its history stays.
        progress: is told how it goes.

    Returns:
        The address of the repository.

    Raises:
        UsageError: the directory holds nothing that is finished; there is no token, or it has no right to write there;
            or the repository holds something else, or is public and `public` is not given.
        RunError: the Hub cannot be reached or fails, or the disk is full; what was sent stays there.
        Stopped: a person stopped it.
    """
    if not is_first_process():
        return name
    return push_folder(Path(folder), name, public=public, license=license, force=force, progress=progress)
