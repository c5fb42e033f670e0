r"""The final answer in a text, as written: boxed, marked ("the answer is"), or the last formula or quantity.

Several boxes that belong together (`\boxed{2}, \boxed{3} and \boxed{5}`) are one answer, a list; so are formulas.
"""

import re
from collections import deque
from collections.abc import Callable

from filters.mathematics.notation import characters, tidy
from filters.mathematics.numerals import COUNTED
from filters.mathematics.prose import (
    NEAR,
    QUANTITY,
    VERB,
    chosen,
    enumerated,
    exactly,
    is_denied,
    nothing,
    paid,
    quantity,
    quantity_at,
    spelt,
)
from filters.mathematics.structure import date
from filters.response.extract import after_mark, conclusion, marked_answer, plain

LONGEST = 4_000
"""Characters of an answer: what is longer is prose, and no answer."""

MOST = 30
"""Boxes at the end of a text that are looked at."""

SENTENCE = 3
"""Words that make a line of a reference a sentence."""

_BOX = re.compile(r"\\(?:f|frame)?boxe?d?\s*(?=\{)|\\boxed\s+(?=\w)")
_FORMULA_ENDS = re.compile(r"(?<!\\)\$|\\[\])]")
_FORMULA = re.compile(
    r"\$\$([^$]{1,4000}?)\$\$"
    r"|(?<![\\$])\$(?!\s)([^$\n]{0,1000}[^$\s\\])\$(?!\d)"  # "it costs $5, not $3" has no formula
    r"|(?<![\\$\w])\$\s+((?:\\\$|[^$]){1,1000}?)\s+\$(?!\s*\d)"
    r"|(?<!\\)\\\[(.{1,4000}?)(?<!\\)\\\]|(?<!\\)\\\((.{1,4000}?)(?<!\\)\\\)"
    r"|(\\begin\{([pbvBV]?matrix)\}.{1,4000}?\\end\{\7\})",
    re.DOTALL,
)
_APART = re.compile(r"[.!?](?:\s|\\|\$|$)|\n\s*\n", re.MULTILINE)
_TURNS = re.compile(
    r"\b(?:wait|no|not|actually|instead|sorry|correction|hmm|but|so|thus|hence|then|therefore|gives?|check|first)\b",
    re.IGNORECASE,
)
_JOINS = re.compile(r"[,;]|\b(?:and|or|und|oder|et|ou|y|o|и|или)\b|和|或|及|\n\s*(?:[-*•]\s*)?\(?\w{1,3}[).:]")
_ONLY_JOINS = re.compile(r"(?:[\s,;.$]|\\[\[\]()]|\b(?:and|or|und|oder|et|ou|y|и|или)\b|和|或|及)*")

_NEGATIVE = re.compile(r"\bnegative\s+(?=[\d\\$])|(?<=is )minus\s+(?=[\d\\$])|(?<=are )minus\s+(?=[\d\\$])")
_REPEATING = re.compile(r"(?<!\d)(\d*\.\d{0,20}?(?:(\d{2,6}?)\2+|(\d)\3{2,}))(?:\.\.\.|\s?\\ldots)")
_FAREWELL = re.compile(r"\n[ \t]*(?:I hope|Hope|Let me know|Feel free|If you (?:have|need|would))\b[^\n]{0,300}\s*\Z")
_CODE = re.compile(r"(?<!`)`([^`\n]{1,200})`(?!`)")
_HALF_OF_DAY = re.compile(r"\b(\d{1,2}(?::\d\d)?)(?: o['’]clock)? in the (morning|afternoon|evening)\b")
_CENTS = re.compile(r"\\?\$(\d+),? and (\d+) cents")
_RATIO = re.compile(r"(\bratios?\b[^.\n]{0,100}?\b)(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)(?: to (\d+(?:\.\d+)?))?")
_SYMBOL = re.compile(
    r"(?:[A-Za-z]|\\(?!pi|infty|emptyset|varnothing)[a-z]+)(?:_\{?\w+\}?|')*(?:\([A-Za-z, ]*\))?"
    r"|\([A-Za-z](?:,\s*[A-Za-z])+\)"
)
"""A formula that names something, such as `f(x)` or `(a, b)`, and says nothing of it."""
_AT = re.compile(r"[^.$\n]{0,40}\b(?:when|where|at|if|attained|achieved|reached|occurs?|occurring)\b[^.$\n]{0,20}")
_OF = re.compile(r"(?: [a-z]+){1,3} ")
_IS = re.compile(r"\b(?:is|are|be|equals?|of)[\s\\(\[*$]*\Z")
_DENIED = re.compile(r"\s*(?:not|never|neither|no longer|unknown|unclear|un\w+able)\b", re.IGNORECASE)
_BUT = re.compile(r"\d\s?,?\s(?:but|it is|it['’]s)\s(?:rather\s)?(?=[-$]?\d)")
_BOUND = re.compile(
    r"\b(?:less|more|greater|fewer|larger|smaller|bigger|higher|lower|above|below|over|under|at (?:least|most)|but"
    r"|except|up to|between|from|anything|not|no)\b",
    re.IGNORECASE,
)
"""What makes of a number a bound of the answer."""
_OPTION = re.compile(r"(?:option|choice|letter)\s[*$]*\(?([A-J])\b", re.IGNORECASE)
_OF_WORDS = re.compile(r"(?<![\w.,/])-?\d+(?:[.,]\d+)?(?=\s(?:(?![A-Za-z])[^\W\d_]){2,}\.?\Z)")
"""A number at the end of a clause with what it counts, in another script than Latin."""
_ASIDE = re.compile(r"\s\((?=[A-Za-z])|\b(?:because|since|where|which|so|as|for|after|when|if|not)\b")
_SEVERAL = re.compile(r"\d\W{0,3}(?:[A-Za-z]+\W{1,2})?\b(?:or|and)\s+(?:[A-Za-z]+\s*=?\s*)?[-$(]*\d")
_STEPS = re.compile(
    r"[=~-]>|[→⇒⟹]|\\(?:Rightarrow|implies|to)(?![A-Za-z])"
    r"|[\d)]\s*=\s*-?\d[\d.,]{0,30}?[.,;]\s+[-\d(][^=]{0,100}="  # 3 * 2 = 6. 6 - 2 = 4.
)
"""What parts the steps of a working: it comes to an answer, and is none."""
_WORDS = re.compile(r"(?<!\\)\b[A-Za-z]{3,}")
_WITHIN = re.compile(r"\\(?:begin|end|text)\{[^{}]*\}")
"""Words within a formula."""
_SAID = re.compile(r"(?<!\\)\b(?:[A-Za-z]{3,}|is|it|so|we|be)\b", re.IGNORECASE)
"""Words of a sentence, however short: "It is 7." is more than its answer."""

_RETRACTED = re.compile(
    r"\b(?:that|this|it)(?:['’]s| is| was) (?:wrong|incorrect|not (?:right|correct))\b|\bscratch that\b"
    r"|\bI made an? (?:\w+ )?(?:mistake|error)\b",
    re.IGNORECASE,
)
_EXCLAIMED = re.compile(r"([-+$€£]?\d[\d.,]*%?(?: [A-Za-z]+)*)[*_]*!+")
"""A number that a sentence of prose ends in, with an exclamation mark."""
_BOLD = re.compile(r"\*\*(?!\s*(?:[Ss]tep|[Cc]ase|[Pp]art|[Mm]ethod|[Nn]ote)\b)([^*\n]{0,200}[^*\n:\s])\*\*(?!\s*:)")
Span = tuple[int, int, str]
"""Begin, end and content of a box or formula."""


def answer_of(response: str) -> str | None:
    """The final answer of a response, as written; None if it gives none."""
    return _final(_prepared(response))


def reference_answer(reference: str) -> str | None:
    """The answer of a reference: as for a response, or all of it where it is one short line that is no sentence."""
    text = _prepared(reference)
    found = _boxed(text) or _marked(text)
    if found is None:
        line = plain(text)
        said = len(_WORDS.findall(_WITHIN.sub("", line)))
        short = line and "\n" not in line and len(line) <= 100 and not _STEPS.search(line)
        short = short and (said < SENTENCE or (said < 2 * SENTENCE and not re.search(r"[\d$.]", text.strip())))
        found = line if short or _FORMULA.fullmatch(text.strip()) else _final(text)
    return found if found and len(found) <= LONGEST else None


def _prepared(text: str) -> str:
    text = _CODE.sub(r"\1", _FAREWELL.sub("", conclusion(text)))
    text = _NEGATIVE.sub("-", characters(text))
    text = _REPEATING.sub(r"\1\\ldots ", text) if "..." in text or "\\ldots" in text else text
    text = _HALF_OF_DAY.sub(_half, text) if " in the " in text else text
    text = exactly(_CENTS.sub(r"\1 dollars and \2 cents", text) if " cents" in text else text)
    return _RATIO.sub(_ratio, text) if "ratio" in text else text


def _half(said: re.Match[str]) -> str:
    """A time of day, "8 in the morning", as `8 AM`."""
    return f"{said[1]} {'AM' if said[2] == 'morning' else 'PM'}"


def _ratio(said: re.Match[str]) -> str:
    """A ratio in words, "a ratio of 3 to 4", as `3:4`."""
    return said[1] + ":".join(filter(None, said.group(2, 3, 4)))


def _final(text: str) -> str | None:
    found = _boxed(text) or _marked(text)
    if found is None:
        found = next(filter(None, (way(text) for way in _WAYS)), None)
    return found if found and len(found) <= LONGEST else None


def _boxed(text: str) -> str | None:
    """What the last box holds, or the last boxes that belong together; None where there is none, or it is empty."""
    boxes = [span for begin in deque(_BOX.finditer(text), MOST) if (span := _box(text, begin))]
    if not boxes or not boxes[-1][2].strip():
        return None
    found = _joined(text, boxes, _belong)
    if "answer" in found:
        return marked_answer(re.sub(r"\\text\{([^{}]*)\}", r"\1", found)) or found
    return found


def _box(text: str, begin: re.Match[str]) -> Span | None:
    """A box from its command to the brace that closes it."""
    at = begin.end()
    if text[at : at + 1] != "{":
        return begin.start(), at + 1, text[at]
    depth = 0
    for end in range(at, min(len(text), at + LONGEST + 2)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return begin.start(), end + 1, text[at + 1 : end]
    ends = _FORMULA_ENDS.search(text, at, at + LONGEST)  # a brace was forgotten; a text that was cut off has no answer
    return (begin.start(), ends.start(), text[at + 1 : ends.start()]) if ends else None


def _belong(between: str) -> bool:
    """Whether two boxes with this between them are parts of one answer: "and", a comma, the next item of a list."""
    if len(between) > 80 or _APART.search(between) or _TURNS.search(between) or between.strip() in ("=", "+", "-"):
        return False
    return bool(_JOINS.search(between)) or not re.sub(r"[\s$\\()\[\]]|quad", "", between)


def _joined(text: str, spans: list[Span], belong: Callable[[str], bool]) -> str:
    """The last of several spans, with those before it that belong to it: a list."""
    parts = [spans[-1][2].strip()]
    for one, after in zip(reversed(spans[:-1]), reversed(spans[1:]), strict=True):
        if not belong(text[one[1] : after[0]]):
            break
        parts.append(one[2].strip())
    parts = list(dict.fromkeys(reversed(parts)))
    return ", ".join(parts)


def _formulas(text: str) -> list[Span]:
    """The formulas in the last characters of a text."""
    start = max(0, len(text) - NEAR)
    return [
        (start + found.start(), start + found.end(), next(part for part in found.groups()[:6] if part is not None))
        for found in _FORMULA.finditer(text[start:])
    ]


def _told(text: str, spans: list[Span]) -> list[Span]:
    """Formulas up to the last that the sentence is about: "The least value is $-4$, attained at $x = 2$."."""
    for at in range(len(spans) - 1, 0, -1):
        between = text[spans[at - 1][1] : spans[at][0]]
        aside = _AT.fullmatch(between) or (_SYMBOL.fullmatch(spans[at][2].strip()) and _OF.fullmatch(between))
        if aside and _IS.search(text, max(0, spans[at - 1][0] - 40), spans[at - 1][0]):
            return spans[:at]
        if not _ONLY_JOINS.fullmatch(between):
            break
    return spans


def _formula(text: str) -> str | None:
    """The last formula, or the last formulas with nothing but "and" or a comma between them."""
    spans = [span for span in _formulas(text) if span[2].strip() and not is_denied(text, span[0])]
    if not spans:
        return None
    return _joined(text, _told(text, spans), lambda between: len(between) < 40 and bool(_ONLY_JOINS.fullmatch(between)))


def _closing(text: str) -> str | None:
    """A quantity that the text comes to after its last formula that is more than a name.

    "The maximum of $f(x)$ is 19.": 19. "There are 7 values of $n$.": 7.
    """
    spans = _formulas(text)
    if not spans:
        return None
    rest = text[max((end for _, end, inner in spans if not _SYMBOL.fullmatch(inner.strip())), default=0) :]
    said = re.compile(
        rf"\b{VERB}\b[\s:*]*(?:(?:about|exactly|only|just|now|an?\s(?:[a-z]+\s){{1,3}}of)\s+)?(?={QUANTITY.pattern})"
    )
    found = None
    for verb in said.finditer(rest):
        found = found if is_denied(rest, verb.end()) else verb
    return quantity_at(rest, found.end()) if found else None


def _marked(text: str) -> str | None:
    """The answer in what follows "the answer is", which may go on as a sentence.

    Nothing at all where that is denied.

    "$x = 3$, as claimed": x = 3. "98 - 30 = 68 rolls, since …": 68. "Paris": Paris. "5 or maybe 6": all of it, which
    equals neither. "not 5": nothing.
    """
    begin = after_mark(text)
    if begin is None:
        return None
    retracted = _RETRACTED.search(text, begin)
    if retracted and (later := _final(text[retracted.end() :])) and any(map(str.isalnum, later)):
        return later
    rest = text[begin:]
    line = rest.partition("\n")[0]
    if _DENIED.match(line):
        sentence = _APART.search(rest)
        if but := _BUT.search(line, 0, sentence.start() if sentence else len(line)):
            return _clause(plain(line[but.end() : sentence.start() + 1 if sentence else len(line)]))
        return (sentence and _final(rest[sentence.end() :])) or ""
    if not any(map(str.isalnum, line)):  # the formula stands on lines of its own
        rest = rest.lstrip("\n *:_$\\[" if not _FORMULA.match(rest.lstrip()) else "\n ")
        line = rest.partition("\n")[0]
    spans = [span for span in _formulas(rest[:NEAR]) if span[0] < len(line)]
    if spans:
        aside = _ASIDE.search(line)
        while aside and any(span[0] < aside.start() < span[1] for span in spans):
            aside = _ASIDE.search(line, aside.end())
        limit = aside.start() if aside else len(line)
        if any(map(str.isalnum, line[: min(limit, spans[0][0])])) and limit < spans[0][0]:  # 16, because $x = 4$
            return _clause(plain(line[:limit]))
        spans = [span for span in spans if span[0] < limit] or spans
        upto = rest[: max(limit, spans[-1][1])]
        return _closing(upto) or _joined(upto, spans, lambda between: bool(_ONLY_JOINS.fullmatch(between)))
    return _clause(plain(line))


def _clause(marked: str) -> str | None:
    """The answer at the beginning of a clause without formulas."""
    if not marked:
        return None
    if exclaimed := _EXCLAIMED.fullmatch(marked):
        marked = exclaimed[1]
    if option := _OPTION.match(marked):
        return option[1]
    clause = _ASIDE.split(marked, maxsplit=1)[0].strip() or marked
    if not clause.isascii() and (said := _OF_WORDS.search(clause) or COUNTED.search(clause)):
        unsure = _JOINS.search(clause, 0, said.start()) or is_denied(clause, said.start())
        return clause if unsure else said[0]
    if not _WORDS.search(re.sub(r"\\text\{[^{}]*\}", "", clause)) or _SEVERAL.search(clause) or date(tidy(clause)):
        return clause
    clause = clause.rpartition("=")[2].strip() or clause
    word = _WORDS.search(clause)
    before = clause[: word.start()].strip(" ,;:(") if word else ""
    if _structured(before):
        return before
    first = QUANTITY.search(clause)
    if first and _BOUND.search(clause, 0, first.start()):
        return clause
    return clause if first is None else quantity_at(clause, first.start())


def _structured(text: str) -> bool:
    """Whether it is more than a number and less than words: a tuple, a polynomial."""
    return (
        any(map(str.isdigit, text))
        and not QUANTITY.fullmatch(text)
        and not re.search(r"(?<!\\)[A-Za-z]{2}", text)
        and not re.fullmatch(r"[^A-Za-z]*\d\s+[A-Za-z](?:/[A-Za-z])?", text)
    )


def _bold(text: str) -> str | None:
    """What the last line has in bold, where that is a quantity, or words in a line without any."""
    line = text.rstrip().rpartition("\n")[2][:NEAR]
    spans = [(found.start(), found.end(), found[1]) for found in _BOLD.finditer(line)]
    if not spans or re.search(r"[=≈]|\\\(|\\\[|\$[^$]+\$", line[spans[-1][1] :]):
        return None
    inner = _joined(line, spans, lambda between: bool(_ONLY_JOINS.fullmatch(between)))
    if any(map(str.isdigit, inner)):
        return _formula(inner) or _clause(plain(inner))
    rest = line[: spans[-1][0]] + line[spans[-1][1] :]
    return inner if len(inner.split()) <= SENTENCE and not re.search(r"[\d$\\]", rest) else None


def _bare(text: str) -> str | None:
    """A response that is nothing but an answer, such as `x^2 + 1`."""
    line = text.strip()
    if not line or "\n" in line or len(line) > 100 or any(one.search(line) for one in (_BOX, _SAID, _STEPS)):
        return None
    words = not line.isascii() and re.search(r"[^\W\d_]{2,}", line)  # of other scripts
    return None if words and any(map(str.isdigit, line)) else line


_WAYS: tuple[Callable[[str], str | None], ...] = (
    nothing,
    enumerated,
    spelt,
    chosen,
    _bold,
    _closing,
    _formula,
    _bare,
    paid,
    quantity,
)
"""Where an answer is looked for that is neither boxed nor marked, in this order."""
