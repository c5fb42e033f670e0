"""What a tidy answer is: a matrix, a list, an equation, a ratio, a time, a date, words."""

import re
from dataclasses import dataclass

_OPEN, _CLOSE = "([{", ")]}"
_MATRIX = re.compile(
    r"[(\[]?\s*\\begin\{(?P<name>[pbvBV]?matrix|smallmatrix|array)\}(?:\[[a-z]\])?(?:\{[clr| ]*\})?(?P<inner>.*)"
    r"\\end\{(?P=name)\}\s*[)\]]?(?:\s*\^\s*\{?\s*(?:T|\\top)\s*\}?)?",
    re.DOTALL,
)
_NAME = re.compile(r"[A-Za-z\\(|](?:[A-Za-z\\_{}()|',:]|\s|\d(?![A-Za-z(\\]))*")
_GROUPED = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?(?:\s*(?:\\text\{\s*)?([AaPp])\.?\s?[Mm]\.?\s*\}?)?")
_NAMED_TIME = re.compile(r"(?:\\text\{)?(?:12 )?(noon|midnight)\}?", re.IGNORECASE)
_PARTS = re.compile(r"\s*(?::|\\text\{ ?to ?\}|\bto\b)\s*")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_ISO = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")
_CODE = re.compile(r"\d+(?:-\d+){2,}|\d{4}-[01]\d|\d{3,4}-\d{4}|\d{1,2}/\d{1,2}/\d{2,4}")
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_LETTERS = re.compile(r"[^\W\d_]+")
_MATH_WORD = re.compile("sin|cos|tan|cot|sec|csc|log|exp|lim|max|min|gcd|lcm|det|mod|sqrt|frac")


@dataclass(frozen=True, slots=True)
class Listed:
    """The entries of a list and what encloses them: `()`, `[]`, `(]`, `[)`, `{}` for a set, or nothing."""

    kind: str
    parts: list[str]


def listed(text: str) -> Listed:
    """A tidy answer as a list; one entry where it is none."""
    kind, inner = _enclosed(text)
    parts = _split(inner, ";")
    if len(parts) > 1 and any(len(_split(part, ",")) > 1 and not part.startswith("(") for part in parts):
        return Listed(kind, [f"({part})" for part in parts])  # x = 1, y = 2; x = 3, y = 4
    parts = [entry for part in parts for entry in _split(part, ",", enclosed=kind != "")]
    if kind in ("", "{}"):
        parts = [both for part in parts for both in _both_signs(part)]
        points = dict.fromkeys(part.replace(" ", "") for part in parts if part.startswith("("))
        if len(points) < len(parts):  # a point named twice is one
            parts = list(
                {
                    part.replace(" ", "") if part.startswith("(") else f"{at} {part}": part
                    for at, part in enumerate(parts)
                }.values()
            )
    if len(parts) == 1 and kind not in ("()", "{}"):
        return Listed("", [text])
    return Listed(kind, parts)


def _both_signs(part: str) -> list[str]:
    r"""An entry with one `\pm` is two."""
    if part.count("\\pm") != 1:
        return [part]
    return [re.sub(r"\\pm\s*", sign, part).strip() for sign in ("+", "-")]


def _enclosed(text: str) -> tuple[str, str]:
    """The brackets around all of a text, and what they enclose."""
    for left, right, kind in (("\\{", "\\}", "{}"), ("\\langle", "\\rangle", "()"), ("{", "}", "")):
        if text.startswith(left) and text.endswith(right) and _closes_at_end(text):
            return kind, text[len(left) : len(text) - len(right)].strip()
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and _closes_at_end(text):
        return text[0] + text[-1], text[1:-1].strip()
    return "", text


def _closes_at_end(text: str) -> bool:
    """Whether the first bracket is closed by the last."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth == 0 and char in _CLOSE:
            return at == len(text) - 1
        if depth == 0 and not text.startswith("\\"):
            return False
    return text.startswith("\\langle")


def _split(text: str, mark: str, enclosed: bool = False) -> list[str]:
    """A text cut at a mark where that stands in no brackets, nor between the thousands of a number."""
    parts, depth, start = [], 0, 0
    grouped = _thousands(text, enclosed) if mark == "," else set()
    for at, char in enumerate(text):
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth <= 0 and char == mark and at not in grouped:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    parts = [part.strip() for part in parts]
    return [part for part in parts if part] or [text]


def _thousands(text: str, enclosed: bool) -> set[int]:
    """Where commas part thousands: `1,234` and `1,234, 5`, but neither `(1,234)` nor `1,2,345`."""
    commas = {at for at, char in enumerate(text) if char == ","}
    grouped = {at for found in _GROUPED.finditer(text) for at in range(*found.span()) if text[at] == ","}
    others = commas - grouped
    if any(text[at + 1 : at + 2] != " " for at in others) or (enclosed and not others and len(grouped) < 2):
        return set()
    return grouped


def matrix(text: str) -> list[list[str]] | None:
    """The entries of a matrix, row by row; None if the text is none."""
    found = _MATRIX.fullmatch(text.strip())
    if found is None:
        return _nested(text.strip())
    if "\\begin" in found["inner"]:
        return None
    inner = re.sub(r"\\hline", "", found["inner"])
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", inner) if row.strip()]
    return [[entry.strip() for entry in row.split("&")] for row in rows]


def _nested(text: str) -> list[list[str]] | None:
    """A matrix as a list of its rows: `[[1, 2], [3, 4]]`."""
    if not text.startswith("[[") or not text.endswith("]]"):
        return None
    rows = [listed(part) for part in _split(text[1:-1], ",")]
    return [row.parts for row in rows] if all(row.kind == "[]" for row in rows) else None


_CASES = re.compile(r"(?:[^=&]*=\s*)?(?:\\\{\s*)?\\begin\{cases\}(.*)\\end\{cases\}", re.DOTALL)
_WHEN = re.compile(r"^(?:\\text\{\s*)?(?:if|for|when|where|otherwise if)\b(?:\s*\})?|[,;.]\s*$|^\s*,")


def pieces(text: str) -> list[tuple[str, str]] | None:
    """A function by cases as its values with their conditions; None where a text is none."""
    found = _CASES.fullmatch(text.strip())
    if found is None:
        return None
    rows = [row.split("&") for row in re.split(r"\\\\(?:\[[^\]]*\])?", found[1]) if row.strip()]
    if any(len(row) != 2 or row[1].lstrip().startswith("=") or "=" in row[0] for row in rows):
        return None  # a system of equations
    return [(row[0].strip().rstrip(",;"), _WHEN.sub("", _WHEN.sub("", row[1].strip())).strip()) for row in rows]


_MEMBER = re.compile(r"[A-Za-z](?:_\{?\w\}?)?\s*\\in\s*(?=\\[{m]|[\[(\]])")
_BUILT = re.compile(
    r"\\\{\s*([a-z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:\\mid|\\vert|\||:|,?\s*\\text\{ ?such that ?\})\s*"
    r"((?=.*(?:[<>]|\\(?:le|ge|neq)(?![a-z]))).*)\\\}"
)
_DESCENDING = re.compile(r"([^<>=]+?)\s*(>|\\ge(?![a-z]))\s*([^<>=]+?)\s*(>|\\ge(?![a-z]))\s*([^<>=]+)")
_OUTWARD = re.compile(r"([\[\]])([^\[\]()]+[,;][^\[\]()]+)([\[\]])")
_SAID = re.compile(r"\\text\{[^{}]*(?:\b(?:is|are)|[=:])\s*\}\s*(?=[-\\(\[\d])")
_TRANSPOSED = re.compile(r"(?<=\))\s*\^\s*\{?(?:T|\\top)\s*\}?$")
_SEGMENT = re.compile(r"(?<![.\d])\\overline\{([A-Z]{2})\}")
_ROWS = re.compile(r"\\begin\{(aligned|align\*?|gathered|gather\*?|split|cases)\}(.*)\\end\{\1\}", re.DOTALL)


def plainly(text: str) -> str:
    r"""A tidy answer in the plainest of several ways to say the same.

    Of `x \in [1, 3)` the set, of `\{x \mid x > 3\}` the inequality, `5 > x > 2` from below, `]2, 5[` as `(2, 5)`,
    what `\text{the point is }` introduces, the last line of a working, a tuple for its transpose.
    """
    if not any(sign in text for sign in "\\>[]^"):
        return text
    if rows := _ROWS.fullmatch(text):
        text = _last_rows(rows[2])
    text = _SEGMENT.sub(r"\1", text)
    if text.startswith("\\text"):
        text = _SAID.sub("", text, count=1)
    if "\\in" in text and (member := _MEMBER.match(text)):
        text = text[member.end() :]
    if ")" in text and "^" in text:
        text = _TRANSPOSED.sub("", text)
    if text.startswith("\\{") and (built := _BUILT.fullmatch(text)):
        text = built[2].strip()
    if (down := _DESCENDING.fullmatch(text)) and "\\text" not in text:
        signs = {">": "<", "\\ge": "\\le"}
        text = f"{down[5]} {signs[down[4]]} {down[3]} {signs[down[2]]} {down[1]}"
    if any(one[1] == "]" or one[3] == "[" for one in _OUTWARD.finditer(text)):
        text = _OUTWARD.sub(lambda one: f"{'(' if one[1] == ']' else '['}{one[2]}{')' if one[3] == '[' else ']'}", text)
    return text


def _last_rows(inner: str) -> str:
    """Of lines that continue one another the last equation; values of several names as a list."""
    groups: list[str] = []
    for row in re.split(r"\\\\(?:\[[^\]]*\])?", inner.replace("&", "")):
        row = row.strip().rstrip(",;.")
        if row[:1] == "=" and groups:
            groups[-1] += f" {row}"
        elif row:
            groups.append(row)
    names = [re.match(r"[A-Za-z](?:_\{?\w\}?)?\s*=", group) for group in groups]
    several = len({name[0] for name in names if name}) == len(groups)
    return ", ".join(groups) if several else groups[-1] if groups else ""


_LABEL = re.compile(r"(?:^|(?<=[\s,;.]))\(?([a-h])\)\s*[:.]?\s*")


def labelled(text: str) -> list[str] | None:
    """The parts of an answer that labels tell apart: `(a) 3, (b) 4`; None where there are none."""
    bare = re.sub(r"\\text\{\s*(\(?[a-h]\))\s*[:.]?\s*\}", r" \1 ", text).strip()
    labels = list(_LABEL.finditer(bare))
    if len(labels) < 2 or labels[0].start() or [one[1] for one in labels] != list("abcdefgh"[: len(labels)]):
        return None
    ends = [*(label.start() for label in labels[1:]), len(bare)]
    return [bare[label.end() : end].strip(" ,;.") for label, end in zip(labels, ends, strict=True)]


def relation_sides(text: str) -> list[str]:
    """The sides of an equation or a chain of them; one where there is none."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in _OPEN) - (char in _CLOSE)
        if char == "=" and depth == 0 and text[at - 1 : at] not in tuple("<>!=") and text[at + 1 : at + 2] != "=":
            parts.append(text[start:at].strip())
            start = at + 1
    parts.append(text[start:].strip())
    if len(parts) > 1 and (not all(parts) or re.search(r"[<>]|\\(?:le|ge|neq)(?![A-Za-z])", text)):
        return [text]
    return parts


def symbols_of(side: str) -> str | None:
    """A side that only names what the other is worth (`x`, `f(2)`, `a_1`, `(x, y)`, `Area`); None if it does more."""
    bare = re.sub(r"\\text\{[^{}]*\}", "t", side)
    if not _NAME.fullmatch(bare) or re.search(r"\\(?:sqrt|pm|times|cdot|sum|int|pi)", bare):
        return None
    if not re.search("[A-Za-z]", re.sub(r"\\(?:frac|binom|sin|cos|tan|cot|ln|log|exp)(?![a-z])", "", bare)):
        return None  # \frac{1}{2} names nothing
    return bare


def clock(text: str) -> tuple[tuple[int, ...], str] | None:
    """A time of day as its numbers and `a`, `p` or nothing; None if the text is none."""
    if named := _NAMED_TIME.fullmatch(text):
        return (12, 0, 0), "p" if named[1].lower() == "noon" else "a"
    found = _CLOCK.fullmatch(text.strip())
    if found is None or not (found[2] or found[4]) or int(found[1]) > 24 or int(found[2] or 0) > 59:
        return None
    return tuple(int(part or 0) for part in found.group(1, 2, 3)), (found[4] or "").lower()


def ratio(text: str) -> list[str] | None:
    """The parts of a ratio, `3:4` or `3 to 4`; None if it is none."""
    if ":" not in text and " to " not in text and "{to}" not in text:
        return None
    parts = [part.strip() for part in _PARTS.split(text)]
    return parts if len(parts) > 1 and all(parts) and "\\{" not in text else None


def date(text: str) -> tuple[int | str, ...] | None:
    """A date as (year, month, day), the year 0 where it is not said; other numbers with hyphens as they stand."""
    bare = re.sub(r"\\text\{([^{}]*)\}", r"\1", text).replace(",", " ").strip()
    if (found := _ISO.fullmatch(bare)) and int(found[2]) <= 12 and int(found[3]) <= 31:
        return int(found[1]), int(found[2]), int(found[3])
    if (found := _SLASHED.fullmatch(bare)) and (int(found[1]) > 12 or int(found[2]) > 12 or found[1] == found[2]):
        day, month = sorted((int(found[1]), int(found[2])), reverse=True)  # which is which is sure here
        return (int(found[3]), month, day) if month <= 12 and day < 32 else (bare,)
    if _CODE.fullmatch(bare):
        return (bare,)
    words = re.findall(r"[A-Za-z]+|\d+", re.sub(r"(?<=\d)(?:st|nd|rd|th)\b|\bof\b|\bthe\b", " ", bare.lower()))
    named = [at for at, word in enumerate(words) if len(word) > 2 and any(name.startswith(word) for name in _MONTHS)]
    numbers = [int(word) for word in words if word.isdigit() and len(word) <= 4]
    if len(named) != 1 or not 1 <= len(numbers) <= 2 or len(numbers) + 1 != len(words):
        return None
    month = next(at for at, name in enumerate(_MONTHS, 1) if name.startswith(words[named[0]]))
    day, year = (numbers[0], numbers[1] if len(numbers) > 1 else 0)
    return (year, month, day) if day < 32 else (year or day, month, 0)


def is_words(text: str) -> bool:
    r"""Whether a tidy answer is words: not a number, not letters multiplied (`ab`, `xyz`), not a formula."""
    held = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)
    if re.search(r"[\d=<>^_\\{}|+*/%&]", held):
        return False
    words = _LETTERS.findall(held)
    if "\\text" in text:
        return bool(words)
    return any(_is_word(word) for word in words)


def _is_word(word: str) -> bool:
    lower = word.lower()
    if _MATH_WORD.fullmatch(lower):
        return False
    if len(word) > 3 or not word.isascii() or (len(word) > 1 and word.isupper()):
        return True
    if len(word) < 3:
        return False
    return word[0].isupper() or bool(set(lower) & set("eiou")) or ("a" in lower and not set(lower) <= set("abcd"))


_MEANINGS = (
    (
        re.compile(
            "(?:that )?(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?)(?: exists?)?|none|(?:the )?empty set"
        ),
        "no solution",
    ),
    (re.compile("(?:the set of )?all real(?: number)?s"), "all real numbers"),
    (re.compile("dne|does ?n[o’']?t exist"), "does not exist"),
    (re.compile("infinity|infinite|(?:there are )?infinitely many(?: solutions)?"), "infinitely many"),
)


_SIGNS = {
    "\\emptyset": "no solution",
    "\\infty": "infinitely many",
    "\\mathbb{R}": "all real numbers",
    "(-\\infty, \\infty)": "all real numbers",
    "(-\\infty,\\infty)": "all real numbers",
}


def meaning(text: str) -> str:
    """Plain words, where several say the same by one of them."""
    if text in _SIGNS:
        return _SIGNS[text]
    words = plain_words(text)
    return next((same for pattern, same in _MEANINGS if pattern.fullmatch(words)), words)


def plain_words(text: str) -> str:
    """Words without case, white space in excess, quotes and brackets around them."""
    held = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)
    return " ".join(re.sub(r"[\"'“”‘’`.,;:!?()\[\]]", " ", held).casefold().split())
