"""`instructions`: the checkable instructions of a prompt are followed (IFEval, Zhou et al. 2023, arXiv 2311.07911).

The columns `instruction_id_list` and `kwargs` name them, as in the published data; the table of instructions in the
paper (section 2, table 1) says what each asks for. The response is right if it follows all of them (strict accuracy);
the reason names the first one that it does not.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierSettings

Arguments = Mapping[str, Any]

CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
"""The three answers that `detectable_format:constrained_response` allows."""

SEPARATOR = "******"
"""What stands between the two responses of `combination:two_responses`."""

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE = re.compile(r"[^.!?…。！？]+(?:[.!?…。！？]+[\"'”’)\]]*|\Z)")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|e\.g|i\.e|[A-Z]|No)\.|(?<=\d)\.(?=\d)")


def checker(settings: VerifierSettings) -> Check:
    """The check."""
    return _check


def _check(response: str, task: Task) -> Verdict:
    listed, arguments = task.columns.get("instruction_id_list"), task.columns.get("kwargs")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    if not listed or not isinstance(arguments, list) or len(arguments) != len(listed):
        return Verdict(UNSCORABLE, None, "the columns instruction_id_list and kwargs do not go together")
    if unknown := [name for name in listed if name not in INSTRUCTIONS]:
        return Verdict(UNSCORABLE, None, f"instruction {unknown[0]} is unknown")
    followed = []
    for name, given in zip(listed, arguments, strict=True):
        if isinstance(given, str):  # as a column holds it whose rows have no one type
            given = json.loads(given)
        known = {key: value for key, value in (given or {}).items() if value is not None}
        try:
            followed.append(bool(response.strip()) and INSTRUCTIONS[name](response, known))
        except KeyError as missing:
            return Verdict(UNSCORABLE, None, f"instruction {name} lacks {missing}")
        except LookupError as doubt:
            return Verdict(UNSCORABLE, None, f"instruction {name}: {doubt}")
    answer = f"{sum(followed)} of {len(listed)} followed"
    if all(followed):
        return Verdict(RIGHT, answer)
    return Verdict(WRONG, answer, f"not followed: {listed[followed.index(False)]}")


def _compared(count: int, relation: str, number: int) -> bool:
    """`relation` is "at least" or "less than"."""
    return count >= number if relation == "at least" else count < number


def words(text: str) -> list[str]:
    """The words of a text."""
    return _WORD.findall(text)


def sentences(text: str) -> list[str]:
    """The sentences of a text, told by their closing marks; a line that ends without one closes its sentence, too."""
    joined = _ABBREVIATION.sub(lambda match: match[0].replace(".", "\u2024"), text)
    lines = (line for line in joined.splitlines() if _WORD.search(line))
    return [part.strip() for line in lines for part in _SENTENCE.findall(line) if _WORD.search(part)]


def paragraphs(text: str, separator: str = r"\n\s*\n") -> list[str]:
    """The paragraphs that are not empty."""
    return [part.strip() for part in re.split(separator, text) if part.strip()]


def _occurrences(text: str, keyword: str) -> int:
    """How often a word or phrase occurs, as whole words, whatever its case."""
    return len(re.findall(rf"(?<!\w){re.escape(keyword)}(?!\w)", text, re.IGNORECASE))


def _letter_frequency(text: str, given: Arguments) -> bool:
    count = text.casefold().count(str(given["letter"]).casefold())
    return _compared(count, given["let_relation"], given["let_frequency"])


def _language(text: str, given: Arguments) -> bool:
    return detect_language(text) == str(given["language"])


def detect_language(text: str) -> str:
    """The language of a text, as an ISO 639-1 code.

    Raises:
        LookupError: there is too little text to tell.
    """
    from py3langid import classify

    if sum(char.isalpha() for char in text) < 10:
        raise LookupError("too little text to tell its language")
    code: str = classify(text[:20_000])[0]
    return code


def _constrained(text: str, given: Arguments) -> bool:
    return any(option in text for option in CONSTRAINED)


def _number_paragraphs(text: str, given: Arguments) -> bool:
    return bool(len(paragraphs(text, r"\n?\s*\*\*\*\s*\n?")) == given["num_paragraphs"])


def _first_word(text: str, given: Arguments) -> bool:
    parts = paragraphs(text, r"\n\n")
    at = given["nth_paragraph"] - 1
    if len(parts) != given["num_paragraphs"] or not 0 <= at < len(parts):
        return False
    first = _WORD.search(parts[at])
    return first is not None and first[0].casefold() == str(given["first_word"]).casefold()


def _sections(text: str, given: Arguments) -> bool:
    heading = rf"^\W*{re.escape(str(given['section_spliter']).strip())}\s+\d+"
    return len(re.findall(heading, text, re.MULTILINE | re.IGNORECASE)) >= int(given["num_sections"])


def _highlighted(text: str, given: Arguments) -> bool:
    bold = re.findall(r"\*\*([^*\n]+)\*\*", text)
    plain = re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", text)
    return sum(bool(item.strip()) for item in (*bold, *plain)) >= int(given["num_highlights"])


def _json(text: str, given: Arguments) -> bool:
    inner = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip(), flags=re.IGNORECASE)
    try:
        json.loads(inner)
    except (ValueError, RecursionError):
        return False
    return True


def _repeated_prompt(text: str, given: Arguments) -> bool:
    return text.strip().casefold().startswith(str(given["prompt_to_repeat"]).strip().casefold())


def _two_responses(text: str, given: Arguments) -> bool:
    parts = [part.strip() for part in text.split(SEPARATOR)]
    filled = [part for part in parts if part]
    return len(filled) == 2 and len(set(filled)) == 2 and all(parts[1:-1])


def _postscript(text: str, given: Arguments) -> bool:
    letters = [char for char in str(given["postscript_marker"]).casefold() if char.isalpha()]
    marker = r"\.?\s?".join(map(re.escape, letters))
    return re.search(rf"^\W*{marker}(?!\w).*", text, re.MULTILINE | re.IGNORECASE) is not None


def _capital_words(text: str, given: Arguments) -> bool:
    count = sum(word.isupper() for word in words(text))
    return _compared(count, given["capital_relation"], given["capital_frequency"])


def _in_case(text: str, *, upper: bool) -> bool:
    """All letters in one case, and the text in English as far as that can be told."""
    if not (text.isupper() if upper else text.islower()):
        return False
    try:
        return detect_language(text.lower()) == "en"
    except LookupError:
        return True


def _end(text: str, given: Arguments) -> bool:
    return text.strip().strip('"').casefold().endswith(str(given["end_phrase"]).strip().casefold())


def _quoted(text: str, given: Arguments) -> bool:
    inner = text.strip()
    return len(inner) > 1 and inner.startswith('"') and inner.endswith('"')


INSTRUCTIONS: dict[str, Callable[[str, Arguments], bool]] = {
    "keywords:existence": lambda text, given: all(_occurrences(text, word) for word in given["keywords"]),
    "keywords:frequency": lambda text, given: _compared(
        _occurrences(text, given["keyword"]), given["relation"], given["frequency"]
    ),
    "keywords:forbidden_words": lambda text, given: (
        not any(_occurrences(text, word) for word in given["forbidden_words"])
    ),
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _language,
    "length_constraints:number_sentences": lambda text, given: _compared(
        len(sentences(text)), given["relation"], given["num_sentences"]
    ),
    "length_constraints:number_paragraphs": _number_paragraphs,
    "length_constraints:number_words": lambda text, given: _compared(
        len(words(text)), given["relation"], given["num_words"]
    ),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda text, given: (
        len(re.findall(r"\[[^\[\]\n]+\]", text)) >= given["num_placeholders"]
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": lambda text, given: (
        len(re.findall(r"^\s*(?:\*(?!\*)|-)\s+\S", text, re.MULTILINE)) == given["num_bullets"]
    ),
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlighted,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": lambda text, _: re.search(r"<<[^\n<>]*\w[^\n<>]*>>", text) is not None,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeated_prompt,
    "startend:end_checker": _end,
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda text, _: _in_case(text, upper=True),
    "change_case:english_lowercase": lambda text, _: _in_case(text, upper=False),
    "punctuation:no_comma": lambda text, _: "," not in text,
}
"""The published instructions, each a function of the response and its arguments."""
