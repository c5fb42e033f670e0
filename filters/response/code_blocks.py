"""Code in a text as models write it: between Markdown's fences, or bare between sentences."""

import ast
import html
import json
import re
from itertools import takewhile

_OPENING = re.compile(
    r"^(?P<before>[ \t]*(?:>[ \t]?)*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?[ \t]*)"  # a quotation, an item of a list
    r"(?P<fence>`{3,}|~{3,})[ \t]*\{?\.?(?P<language>[\w+#.-]*)[^`\n]*\n",
    re.MULTILINE,
)

_NAMED = re.compile(r"(python3?|py)[ \t]*\n")
"""The language on a line of its own."""

_CODE_LINE = re.compile(
    r"(?:async|def|class|import|from|for|while|if|try|with|return)\b|@\w|#"
    r"|[A-Za-z_][\w.\[\], ]* [-+*/|&]?= ?\S|[A-Za-z_][\w.]*\("  # an assignment, a call
)

_CELL = re.compile(r"^(?:[!%].*|In \[\d+\]:\s*$)", re.MULTILINE)
"""What a cell of a notebook has that is no Python: commands of the shell, magic."""

_PROMPT = re.compile(r"^(?:In \[\d+\]: | +\.{3,}: ?)(.*)$", re.MULTILINE)
"""A line that was typed in a session with IPython."""

_HTML = re.compile(r"<pre[^>]*>\s*<code[^>]*>\n?(.*?)\n?</code>\s*</pre>", re.DOTALL | re.IGNORECASE)

_HARD_BLANKS = re.compile("^[ \\t]*\u00a0[ \\t\u00a0]*", re.MULTILINE)
"""Indentation with blanks as web pages have them, which no Python is written with."""

_JSON_NAMES = ("code", "solution", "program", "python", "python_code", "implementation", "completion", "answer")

_TRIES = 200
"""Lines at which code without fences is cut, at most."""


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """Fenced code blocks as (language in lower case, code), in order; lines end as in Unix.

    A block of a list or a quotation loses the indentation (or `>`) that its fence has, as in CommonMark. A block that
    is never closed ends with the text; what is in a block of Markdown is looked at in turn.
    """
    text = _HARD_BLANKS.sub(_blanks, re.sub(r"\r\n?", "\n", text))
    if "<pre" in text:
        text = _HTML.sub(lambda block: f"\n```python\n{html.unescape(block[1])}\n```\n", text)
    blocks: list[tuple[str, str]] = []
    at = 0
    while opening := _OPENING.search(text, at):
        closing = _closing(opening, text)
        inner = text[opening.end() : closing.start() if closing else len(text)]
        code = _without(opening["before"], inner)
        language = opening["language"].lower()
        if not language and (named := _NAMED.match(code)):
            language, code = named[1], code[named.end() :]
        if code.startswith(">>> "):
            code = _session(code)
        elif code.startswith("In ["):
            code = "".join(f"{line}\n" for line in _PROMPT.findall(code)) or code
        if _CELL.search(code) and not _parses(code):
            code = _CELL.sub("", code)
        if language in ("markdown", "md") and _OPENING.search(code):
            blocks += fenced_blocks(code)
        else:
            blocks.append((language, code))
        at = closing.end() if closing else len(text)
    return blocks


def _blanks(indentation: re.Match[str]) -> str:
    return indentation[0].replace("\u00a0", " ")


def _closing(opening: re.Match[str], text: str) -> re.Match[str] | None:
    """The fence that closes a block: not one indented as code is, as in a docstring, if there is one that is not."""
    fence, shallow = opening["fence"], rf"^[ \t>]{{0,{len(opening['before']) + 3}}}"
    closes = rf"{fence}{fence[0]}*[ \t]*(?:</?\|?\w+\|?>)?[ \t]*$"  # and a model's mark of the end
    end = re.compile(shallow + closes, re.MULTILINE).search(text, opening.end())
    if end and re.compile(rf"{shallow}{fence}\w", re.MULTILINE).search(text, opening.end(), end.start()):
        end = None  # this one closes another block
    # at the end of the last line of the code, or before a sentence
    near = re.compile(rf"(?<=[^\s{fence[0]}]){fence}[ \t]*$|{shallow}{fence}[ \t]+(?=[A-Z][a-z]* [a-z])", re.MULTILINE)
    return (
        end
        or near.search(text, opening.end())
        or re.compile(rf"^[ \t>]*{closes}", re.MULTILINE).search(text, opening.end())
    )


def code_in_json(text: str) -> str | None:
    """The code of a response that is a JSON object and no more, as models are asked for; None where it is none."""
    blocks = fenced_blocks(text)
    whole = blocks[0][1] if len(blocks) == 1 and blocks[0][0] == "json" else text
    if not whole.lstrip().startswith("{"):
        return None
    try:
        said = json.loads(whole, strict=False)
    except (ValueError, RecursionError):
        return None
    code = next((said[name] for name in _JSON_NAMES if isinstance(said.get(name), str)), None)
    return code if code and code.strip() else None


def _session(code: str) -> str:
    """What was typed in a session with the interpreter."""
    return "".join(f"{line[4:]}\n" for line in code.split("\n") if line[:4] in (">>> ", "... "))


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _without(before: str, code: str) -> str:
    """Lines without what stands before their fence: the marks of a quotation, then as many blanks, if all have them."""
    if quoted := before.count(">"):
        code = re.sub(rf"^(?:[ \t]*>){{1,{quoted}}} ?", "", code, flags=re.MULTILINE)
        before = before.rpartition(">")[2][1:]
    blanks = [len(line) - len(line.lstrip(" \t")) for line in code.split("\n") if line.strip()]
    width = min(len(before), *blanks) if blanks else 0
    return re.sub(rf"^[ \t]{{1,{width}}}", "", code, flags=re.MULTILINE) if width else code


def bare_code(text: str) -> list[str]:
    """Pieces of Python that stand between sentences without a fence, in order: each as long as it parses."""
    text = re.sub(r"\r\n?", "\n", text)
    if _is_code(text) or text.lstrip("\n")[:1] in (" ", "\t"):  # or the body of a function that was begun
        return [text] if text.strip() else []
    lines = text.split("\n")
    pieces: list[str] = []
    at = tries = 0
    while at < len(lines) and tries < _TRIES:
        blank = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        length = 0
        if _CODE_LINE.match(lines[at], len(blank)):
            length, cost = _longest(_indented_by(blank, lines[at:]), _TRIES - tries)
            tries += cost
        if length:
            pieces.append("".join(f"{line[len(blank) :]}\n" for line in lines[at : at + length]))
        at += length or 1
    return pieces


def _is_code(text: str) -> bool:
    """Whether all of it is Python, and no sentence of one word begins or ends it."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(body) and not _is_prose(body[0]) and not _is_prose(body[-1])


def _indented_by(blank: str, lines: list[str]) -> list[str]:
    """The first lines that begin so, without it."""
    return [line[len(blank) :] for line in takewhile(lambda line: line.startswith(blank) or not line.strip(), lines)]


def _longest(lines: list[str], tries: int) -> tuple[int, int]:
    """How many of these lines, from the first, parse; and how many tries it took to find that."""
    end = len(lines)
    for cost in range(1, tries + 1):
        try:
            tree = ast.parse("\n".join(lines[:end]))
        except SyntaxError as error:
            end = min((error.lineno or end) - 1, end - 1)
        except (ValueError, RecursionError, MemoryError):
            return 0, cost
        else:
            while tree.body and _is_prose(tree.body[-1]):
                end = tree.body.pop().lineno - 1
            return end if tree.body else 0, cost
        if end <= 0:
            return 0, cost
    return 0, tries


def _is_prose(statement: ast.stmt) -> bool:
    """A statement that is a word, such as `Done` or `[DONE]`."""
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value
    return isinstance(value.elts[0] if isinstance(value, ast.List) and len(value.elts) == 1 else value, ast.Name)
