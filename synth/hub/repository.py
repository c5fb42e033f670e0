"""One repository of the Hugging Face Hub, by the library `huggingface_hub`.

That library does the protocol: it sends large files apart from commits, tries again where a server fails or asks to
wait, sends no content that the Hub has, and makes no commit where nothing has changed. It also finds the token, in the
environment or where `hf auth login` left it; nothing here reads it but to keep it out of messages.
"""

import errno
import glob
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synth.errors import RunError, Stopped, SynthError, UsageError
from synth.progress import printable

Kind = Literal["dataset", "model"]
"""What a repository holds. An evaluation is a data set: of answers."""

_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_SAID = 300
"""Characters of what a server says that a message takes."""


@dataclass(frozen=True, slots=True)
class Held:
    """A file of a repository.

    Attributes:
        size: in bytes.
        sha256: of a large file; None of one that is part of the commit itself.
        blob: git's name of the content of a small file.
    """

    size: int
    sha256: str | None
    blob: str


class Repository:
    """A repository to write to.

    Attributes:
        name: as "user/name".
        kind: what it holds.
        url: its page.
    """

    def __init__(self, name: str, kind: Kind) -> None:
        """Of a name that `check_name` has seen."""
        from huggingface_hub import HfApi

        self.name, self.kind = name, kind
        self._api = HfApi()
        self.url = f"{self._api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"

    @classmethod
    def open(cls, name: str, kind: Kind, *, public: bool = False) -> "Repository":
        """Make a repository, if there is none, and see that it may be written to.

        Args:
            name: as "user/name".
            kind: what it holds.
            public: who sees a new one: everybody, or who made it and their organisation. One that is there stays as it
                is; a public one is refused without this.

        Raises:
            UsageError: there is no token, or it has no right to write there; or such a name is not allowed, or public.
            RunError: the Hub cannot be reached, or fails.
        """
        from huggingface_hub import get_token

        check_name(name)
        if get_token() is None:
            raise UsageError("the Hub wants a token: log in with hf auth login, or set HF_TOKEN")
        repository = cls(name, kind)
        with repository._one_line():
            repository._api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
            repository._api.auth_check(name, repo_type=kind, write=True)
            if not public and repository._api.repo_info(name, repo_type=kind).private is False:
                raise UsageError(
                    f"{name} is public: everybody would see what is sent there; give `public` if they may, or choose "
                    "another name"
                )
        return repository

    def files(self) -> dict[str, Held]:
        """What it holds, by path.

        Raises:
            UsageError: as for `open`.
            RunError: as for `open`.
        """
        from huggingface_hub.hf_api import RepoFile

        with self._one_line():
            found = self._api.list_repo_tree(self.name, repo_type=self.kind, recursive=True)
            return {
                entry.path: Held(entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
                for entry in found
                if isinstance(entry, RepoFile)
            }

    def fetch(self, path: str, into: Path) -> Path:
        """Bring one file, as it is now, into a directory.

        Raises:
            UsageError: as for `open`.
            RunError: as for `open`.
        """
        with self._one_line():
            return Path(self._api.hf_hub_download(self.name, path, repo_type=self.kind, local_dir=into))

    def send(self, folder: Path, said: str, *, only: Sequence[str] | None = None, delete: Sequence[str] = ()) -> None:
        """Send the files of a directory that the Hub has not as they are.

        Args:
            folder: holds them under the paths they are to have.
            said: what the commit says.
            only: take these alone.
            delete: paths that go.

        Raises:
            UsageError: as for `open`; or the Hub refuses what is sent.
            RunError: the Hub cannot be reached, fails, or asks to wait for longer than the library does.
            Stopped: a person stopped it.
        """
        with self._one_line():
            self._api.upload_folder(
                repo_id=self.name,
                repo_type=self.kind,
                folder_path=folder,
                commit_message=said,
                allow_patterns=None if only is None else [glob.escape(path) for path in only],
                delete_patterns=[glob.escape(path) for path in delete] or None,
            )

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Say in one line what failed, and how to go on."""
        try:
            yield
        except KeyboardInterrupt as error:
            raise Stopped(f"stopped; {self._again()}") from error
        except SynthError:
            raise
        except Exception as error:  # of many kinds, by the library, its client and its transport; all end the push
            raise self._told(error) from error

    def _again(self) -> str:
        return f"what was sent to {self.name} stays there: run this again to send the rest"

    def _told(self, error: BaseException) -> SynthError:
        """What an error of the library comes to."""
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        chain = list(_chain(error))
        if full := next((one for one in chain if isinstance(one, OSError) and one.errno in _FULL), None):
            return RunError(f"{full.strerror}: free some in {tempfile.gettempdir()}, or set TMPDIR; {self._again()}")
        if any(isinstance(one, OfflineModeIsEnabled) for one in chain):
            return UsageError("the Hub is not asked while HF_HUB_OFFLINE is set: unset it")
        answer = next((one for one in chain if isinstance(one, HfHubHTTPError)), None)
        if answer is None:
            return self._unanswered(chain)
        status, said = answer.response.status_code, _shown(answer.server_message or "")
        because = f": {said}" if said else ""
        if status == 401:
            return UsageError(f"the Hub does not take the token: log in anew, hf auth login, or set HF_TOKEN{because}")
        if status == 403:
            return UsageError(
                f"the token has no right to write to {self.name}: take one that has, or a name of your own{because}"
            )
        if status == 404:
            return UsageError(f"the Hub has no {self.kind} {self.name} that the token may see{because}")
        if status == 429:
            return RunError(f"the Hub asks to wait, for there were too many requests{because}; {self._again()}, later")
        if status in (408, 409, 412) or status >= 500:
            return RunError(f"the Hub fails ({status}{because}); {self._again()}")
        return UsageError(f"the Hub refuses {self.name} ({status}{because})")

    def _unanswered(self, chain: Sequence[BaseException]) -> SynthError:
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the client that release has

        said = _shown(str(chain[-1])) or type(chain[-1]).__name__
        if any(isinstance(one, ValueError) for one in chain):  # what the library itself refuses: a name, metadata
            return UsageError(f"{self.name} cannot be pushed: {_shown(str(chain[0]))}")
        if any(isinstance(one, OSError | HTTPError) for one in chain):
            return RunError(f"the connection to the Hub broke off ({said}); {self._again()}")
        return RunError(f"huggingface_hub failed ({type(chain[0]).__name__}: {said}); {self._again()}")


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def check_name(name: str) -> None:
    """Check that a name can be that of a repository.

    Raises:
        UsageError: it cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for the Hub: give USER/NAME, of letters, digits, - _ and .")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(_shown(str(error))) from error


def on_hub(name: str | None) -> str | None:
    """A name of the Hub, as it is; None where it is a path here, or nothing."""
    return name if name and _NAME.fullmatch(name) and not Path(name).exists() else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it came of."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _shown(text: str) -> str:
    """What another machine says, in one bounded line without the token."""
    from huggingface_hub import get_token

    line = printable(" ".join(text.split()))
    token: Any = get_token()
    if token:
        line = line.replace(token, "…")
    return line if len(line) <= _SAID else line[: _SAID - 1] + "…"
