"""How people write mathematics, brought to one notation: characters, LaTeX commands, numbers, units."""

import re
import unicodedata
from fractions import Fraction

from filters.mathematics.numerals import CHINESE, MEASURE, chinese, in_digits

_SYMBOLS = {
    "−": "-", "﹣": "-", "‐": "-", "‑": "-", "×": "\\times ", "✕": "\\times ", "⋅": "\\cdot ", "·": "\\cdot ",
    "∙": "\\cdot ", "÷": "/", "⁄": "/", "∕": "/", "≤": "\\le ", "⩽": "\\le ", "≥": "\\ge ", "⩾": "\\ge ",
    "≠": "\\neq ", "≈": "\\approx ", "±": "\\pm ", "∓": "\\mp ", "∞": "\\infty ", "π": "\\pi ", "𝜋": "\\pi ",
    "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∅": "\\emptyset ", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}",
    "ℕ": "\\mathbb{N}", "ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}", "°": "^\\circ ", "º": "^\\circ ", "…": "\\ldots ",
    "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "δ": "\\delta ", "ε": "\\epsilon ", "θ": "\\theta ",
    "λ": "\\lambda ", "μ": "\\mu ", "ρ": "\\rho ", "σ": "\\sigma ", "φ": "\\phi ", "ω": "\\omega ", "Δ": "\\Delta ",
    "٫": ".", "٬": ",", "٪": "%", "。": ".", "、": ", ", "：": ":", "\u00a0": " ", "\u202f": " ", "\u2009": " ",
    "\u200b": "", "\ufeff": "", "∶": ":", "⟨": "\\langle ", "⟩": "\\rangle ",
}  # fmt: skip
_RAISED = {ord(high): low for high, low in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "0123456789+-()n", strict=True)}
_LOWERED = {ord(deep): low for deep, low in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)}
_TABLE = {ord(symbol): written for symbol, written in _SYMBOLS.items()}
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_VULGAR = re.compile("[¼½¾⅐-⅞]")
_SLASHED = re.compile("([0-9]+)⁄([0-9]*)")
_DASH_MINUS = re.compile(r"(?<![\w)}\]])\s?–(?=[\d.\\(√A-Za-z])")  # "is –5", and no range such as 3–5
_ROOT = re.compile(r"([√∛])\s*(\d+(?:\.\d+)?|[A-Za-z]|\([^()]*\)|\{[^{}]*\})")

_PLAIN = re.compile(r"-?\d[\d,]*(?:\.\d+)?", re.ASCII)
"""A number that needs no tidying, as most answers are."""

_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|mathstrut)(?![A-Za-z])\.?")
_WRAPPED = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|bb)?|operatorname|mbox|hbox|boldsymbol|bm|emph)\*?"
    r"\s*\{((?:[^{}]|\^\{-?\d\})*)\}"
)
_UNIT = re.compile(r"(?:[A-Za-z/ .]|\\[,; ]|\\cdot(?![A-Za-z])|\^\s?(?:\{-?\d\}|-?\d))+")
"""What a wrapping holds that is a unit with a power, as `m/s^2` is."""
_RAISED_UNIT = re.compile(r"\^\s?\{?(-?\d)\}?")
_UNIT_FRACTION = re.compile(
    r"\\[dt]?frac\s*\{\s*\\(?:text|mathrm)\s*\{([A-Za-z ]+)\}\s*\}"
    r"\s*\{\s*\\(?:text|mathrm)\s*\{([A-Za-z ]+)\}\s*(\^\s?\{?-?\d\}?)?\s*\}"
)
_COUNTED = re.compile(r"\s*([-+]?[$€£¥]?\d[\d.,]*)(\s[^\d+*/=<>]+)")
"""A number and what it counts, together in one wrapping: `\\text{7 apples}`."""
_CHINESE = re.compile(f"({CHINESE}){MEASURE}?")
_REMAINDER = re.compile(r"\\text\{\s*(?:remainder|rem\.?)\s*\}|(?<=\d)\s*,?\s*\b(?:remainder|rem\.?)\b")
_GAP = re.compile(r"\\[,;:! ]|\\(?:quad|qquad|space|thinspace|enspace|hfill)(?![A-Za-z])|~|\\\\(?![A-Za-z])")
_COMMANDS = tuple(
    (re.compile(rf"\\(?:{names})(?![A-Za-z])"), written)
    for names, written in (
        ("dfrac|tfrac|cfrac", r"\\frac"),
        ("leq|leqslant|leqq", r"\\le"),
        ("geq|geqslant|geqq", r"\\ge"),
        ("ne|not=", r"\\neq"),
        ("lt", "<"),
        ("gt", ">"),
        ("varnothing|O", r"\\emptyset"),
        ("dots|cdots|dotsc|dotsb|hdots", r"\\ldots"),
        ("degree|textdegree", r"^\\circ"),
        ("infin", r"\\infty"),
        ("simeq|doteq", r"\\approx"),
        ("colon", ":"),
        ("lbrace", r"\\{"),
        ("rbrace", r"\\}"),
        ("land|wedge", " and "),
        ("lor|vee", " or "),
    )
)
_NAMES = re.compile(r"(?<![\\A-Za-z])(sqrt|infinity|pi|theta|sin|cos|tan|log|ln|exp)(?![A-Za-z])")
_SHORT_FRACTION = re.compile(r"\\frac\s*(?:(\d)\s*(\d)|(\d)\s*(\{)|(\{[^{}]*\})\s*(\d))")
_POWER = re.compile(r"(?:\^|\*\*)\s*(?:\(([^()]*)\)|(-?\d+|[A-Za-z](?![A-Za-z])))")
_DIGITS_APART = re.compile(r"(?<=\d)(?:\\[,;: !]|\{,\}|~)(?=\d{3}(?!\d))")
_DECIMAL_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")
_ZEROS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_LARGE = re.compile(rf"(?<=\d)\s*(?:\\text\{{\s*)?\b({'|'.join(_ZEROS)})\b(?:\s*\}}|(?<=\w)(\s+\w[^{{}}]*)\}})?")
_DOZENS = re.compile(r"(?<=\d)\s*(?:\\text\{\s*)?\bdozens?\b(?:\s*\})?")
_SUFFIXES = {"k": 3, "m": 6, "mn": 6, "b": 9, "bn": 9}
_MONEY = re.compile(r"(\\?[$€£¥]\s?)(\d[\d.,]*)\s?(k|mn?|bn?)(?![A-Za-z$])", re.IGNORECASE)
_MAGNITUDE = re.compile(r"(-?\d[\d,]*(?:\.\d+)?)([kKMB]|mn|bn)")
_ORDERED = re.compile(r"(?<=\d)(?:\^\{?)?\s*\\text\{(?:st|nd|rd|th)\}\}?|(?<=\d)(?:st|nd|rd|th)\b")


def characters(text: str) -> str:
    """A text with its mathematical characters in ASCII and LaTeX: digits of other scripts, `½ √2 x² –5 ≤ π`."""
    if text.isascii():
        return text
    text = _RAISED_RUN.sub(lambda run: f"^{{{run[0].translate(_RAISED)}}}", text)
    text = _LOWERED_RUN.sub(lambda run: f"_{{{run[0].translate(_LOWERED)}}}", text)
    text = _VULGAR.sub(lambda one: _SLASHED.sub(r"\\frac{\1}{\2}", unicodedata.normalize("NFKC", one[0])), text)
    text = _DASH_MINUS.sub(" -", text)
    text = _ROOT.sub(lambda root: ("\\sqrt" if root[1] == "√" else "\\sqrt[3]") + f"{{{root[2].strip('(){}')}}}", text)
    text = text.translate(_TABLE)
    return "".join(map(_ascii, text)) if not text.isascii() else text


def _ascii(char: str) -> str:
    """A digit of another script, or a full-width character, as in ASCII; others as they are."""
    if char.isascii():
        return char
    if (digit := unicodedata.digit(char, None)) is not None:
        return str(digit)
    return chr(ord(char) - 0xFEE0) if "\uff01" <= char <= "\uff5e" else char


def tidy(answer: str) -> str:
    r"""An answer in one notation: `\frac{1}{2}`, `^{10}`, `\le`; without sizes, spaces of LaTeX, currency signs.

    Words stay in `\text{…}` where they stood in it; single letters and numbers leave it.
    """
    if _PLAIN.fullmatch(answer):
        return answer
    if numeral := _CHINESE.fullmatch(answer):
        return str(chinese(numeral[1]))
    text = re.sub(r"\s[–—]\s", " - ", characters(in_digits(answer)))
    if not _is_matrix(text):
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)  # backslashes escaped twice
    text = re.sub(r"\\!\s*", "", _SIZES.sub("", text))
    text = _DECIMAL_COMMA.sub(".", _DIGITS_APART.sub("", text))
    text = _UNIT_FRACTION.sub(lambda unit: f"\\text{{{unit[1]}/{unit[2]}{unit[3] or ''}}}", text)
    text = _WRAPPED.sub(_unwrapped, text)
    if not _is_matrix(text):
        text = _GAP.sub(" ", text)
    for pattern, written in _COMMANDS:
        text = pattern.sub(written, text)
    text = _MONEY.sub(_magnified, text)
    text = text.replace("\\%", "%").replace("\\$", "").replace("\\#", "#")
    text = re.sub("[$€£¥₹]", "", text.replace("...", "\\ldots "))
    text = re.sub(r"\\\{\s*\\\}", r"\\emptyset", text)
    text = re.sub(r"\s*\b(?:percent|per cent|percentage points?|pct)\b|\\text\{\s*%\s*\}", "%", text)
    text = _REMAINDER.sub(" R ", text)
    text = _DOZENS.sub(r"\\times 12", text)
    text = _LARGE.sub(lambda large: f"\\times 10^{{{_ZEROS[large[1]]}}}{large[2] or ''}", text)
    text = _ORDERED.sub("", _NAMES.sub(_command, text))
    text = re.sub(r"\\sqrt\s*(?:\(([^()]*)\)|(\d))", lambda root: f"\\sqrt{{{root[1] or root[2]}}}", text)
    text = _SHORT_FRACTION.sub(_fraction, text)
    text = _POWER.sub(lambda power: f"^{{{power[1] or power[2]}}}", text)
    text = re.sub(r"(?<=[)\d])\s*(?:and|or)\s*(?=[(\d\\-])", ", ", text)
    text = re.sub(r"(?<![A-Za-z])\s*,?\s*\\text\{\s*(and|or)\s*\}\s*|,?\s+(?:and|or)\s+", ", ", text)
    return re.sub(r"\s+", " ", text).rstrip(" .,;").lstrip(" ,;")


def _is_matrix(text: str) -> bool:
    return "\\begin" in text


def _unwrapped(found: re.Match[str]) -> str:
    r"""What `\text{…}` and its like hold: bare where it is one letter or a number, else as `\text{…}`."""
    inner = found[1].strip()
    if found[0].startswith("\\mathbb"):
        return f"\\mathbb{{{inner}}}"
    if len(inner) <= 1 or re.fullmatch(r"[-+]?[\d.,]+%?", inner):
        return f" {inner}" if found[1][:1] == " " else inner
    if "^" in inner and _UNIT.fullmatch(inner):
        raised = _RAISED_UNIT.sub(r"}^{\1}\\text{", found[1])
        return f"\\text{{{raised}}}".replace("\\text{}", "")
    if counted := _COUNTED.fullmatch(found[1]):
        return f"{counted[1]}\\text{{{counted[2]}}}"
    return f"\\text{{{found[1]}}}"


def _command(found: re.Match[str]) -> str:
    return "\\infty " if found[1] == "infinity" else f"\\{found[1]} " if found[1] != "sqrt" else "\\sqrt"


def _fraction(found: re.Match[str]) -> str:
    one, two, before, brace, above, below = found.groups()
    if one:
        return f"\\frac{{{one}}}{{{two}}}"
    return f"\\frac{{{before}}}{brace}" if before else f"\\frac{above}{{{below}}}"


def _magnified(money: re.Match[str]) -> str:
    """An amount of money in thousands or millions, `$3k`, with the power of ten."""
    return f"{money[1]}{money[2]}\\times 10^{{{_SUFFIXES[money[3].lower()]}}}"


def magnitude(text: str) -> Fraction | None:
    """The value of a tidy number in thousands or millions, `1.2M`, which may be a unit or a name as well, or None."""
    found = _MAGNITUDE.fullmatch(text)
    value = number(found[1]) if found else None
    return None if found is None or value is None else value * 10 ** _SUFFIXES[found[2].lower()]


def key(text: str) -> str:
    """What equal writings of a tidy answer share: white space, needless braces, the case of single letters aside."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"([\^_])\{(\w)\}", r"\1\2", re.sub(r"(?<!\d)\s|\s(?!\d)", "", text))
    return text.casefold() if len(text.strip("()")) == 1 else text


_WHOLE = r"(?:[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d{0,2}(?: \d{3})+|[1-9]\d{0,2}(?:\.\d{3}){2,}|\d+)"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:"
    rf"(?P<above>\d+)\s*/\s*(?P<below>\d+)"
    rf"|(?:(?P<units>\d+)\s*)?\\frac\{{(?P<top>-?\d+)\}}\{{(?P<bottom>-?\d+)\}}"
    rf"|(?P<mixed>\d+) (?P<part>\d+)/(?P<parts>\d+)"
    rf"|(?P<base>10)\^\{{(?P<exponent>-?\d{{1,4}})\}}"
    rf"|(?P<plain>{_WHOLE}(?:\.\d*)?|\.\d+)"
    rf"(?:[eE](?P<e>[-+]?\d{{1,4}})|\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{{?(?P<ten>[-+]?\d{{1,4}})\}}?)?"
    rf"|(?P<stem>\d*\.\d*)(?:\\(?:overline|bar|dot)\{{(?P<over>\d+)\}}|\((?P<again>\d+)\)"
    rf"|\\dot\{{(?P<first>\d)\}}(?P<middle>\d*)\\dot\{{(?P<last>\d)\}})"
    rf"|(?P<seen>\d*\.\d*?)(?:(?P<cycle>\d{{2,6}}?)(?P=cycle)+|(?P<digit>\d)(?P=digit){{2,}}) ?\\ldots)"
)


def number(text: str) -> Fraction | None:
    r"""The exact value of a tidy number, such as `1,234.5`, `2 500`, `3 1/2`, `1.5\times 10^{3}`, `0.(3)`, or None."""
    if len(text) > 1_000 or not (found := _NUMBER.fullmatch(text.strip())):
        return None
    group = found.groupdict()
    try:
        value = _value({name: part for name, part in group.items() if part is not None})
    except ZeroDivisionError:
        return None
    return -value if group["sign"] == "-" else value


def _value(group: dict[str, str]) -> Fraction:
    if "above" in group:
        return Fraction(int(group["above"]), int(group["below"]))
    if "top" in group:
        return int(group.get("units", "0")) + Fraction(int(group["top"]), int(group["bottom"]))
    if "mixed" in group:
        return int(group["mixed"]) + Fraction(int(group["part"]), int(group["parts"]))
    if "exponent" in group:
        return Fraction(10) ** int(group["exponent"])
    if "plain" in group:
        digits = group["plain"].replace(",", "").replace(" ", "")
        if digits.count(".") > 1:  # 1.234.567
            digits = digits.replace(".", "")
        return Fraction(f"0{digits}" if digits[0] == "." else digits.rstrip(".")) * Fraction(10) ** int(
            group.get("e", group.get("ten", "0"))
        )
    stem = group.get("stem", group.get("seen", "."))
    cycle = group.get("over") or group.get("again") or group.get("cycle") or group.get("digit")
    if cycle is None:
        cycle = group["first"] + group["middle"] + group["last"]
    whole, _, start = stem.partition(".")
    scale = 10 ** len(start)
    return Fraction(int(whole + start or "0"), scale) + Fraction(int(cycle), scale * (10 ** len(cycle) - 1))


def significant(text: str) -> int:
    """The significant digits of a tidy decimal fraction; 0 if it is none."""
    found = re.fullmatch(r"-?\s*(\d*)\.(\d+)", text.strip())
    return len((found[1] + found[2]).lstrip("0")) if found else 0
