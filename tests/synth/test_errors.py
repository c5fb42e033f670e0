"""Messages name settings as Python knows them; the command line writes them as options."""

import pytest

from synth.errors import UsageError, with_options
from synth.progress import Progress


def test_the_setting_that_is_wrong() -> None:
    assert UsageError("`max_length` 9: the window holds 4; lower `max_tokens`").field == "max_length"
    assert UsageError("nope.jsonl does not exist").field is None


def test_settings_become_options() -> None:
    options = {"max_tokens": "--max-tokens", "output": "-o"}
    said = with_options("`max_tokens` 9 is too many: give `output`, or `other`, or `not a name`", options)
    assert said == "--max-tokens 9 is too many: give -o, or `other`, or `not a name`"


def test_lines_of_progress_likewise(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(options={"rows": "-n"}).say("give a larger `rows`")
    Progress(quiet=True).say("nothing")
    assert capsys.readouterr() == ("", "give a larger -n\n")
