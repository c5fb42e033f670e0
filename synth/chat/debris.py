"""What of a chat template has no place in a text that a model drew: control tokens and the names of roles."""

import re

from synth.chat.template import Turns


def debris_pattern(turns: Turns, control: re.Pattern[str]) -> re.Pattern[str]:
    """A pattern that finds control tokens and role markers.

    Role markers are the template's own words around contents: signs such as `[/INST]` or `### Response:` anywhere,
    words such as `ASSISTANT:` at the start of a line, bare words such as `assistant` on a line of their own.
    """
    before = turns.system or turns.prefix.splitlines()[-1:]
    own = [*before, turns.header, turns.second or "", turns.last]
    lines = {line.strip() for text in own for line in control.sub("\n", text).splitlines()}
    signs = {word for line in lines for word in line.split() if not (word[0].isalnum() or word[-1].isalnum())}
    patterns = [_marker(marker) for marker in sorted(lines | signs) if re.search(r"\w", marker)]
    return re.compile("|".join([control.pattern, *patterns]), re.MULTILINE)


def _marker(words: str) -> str:
    """A pattern that finds words of a template where they are not ordinary ones."""
    if not words[0].isalnum():
        return re.escape(words)
    if words[-1].isalnum():
        return rf"^[ \t]*{re.escape(words)}[ \t]*$"
    return rf"^[ \t]*{re.escape(words)}"
