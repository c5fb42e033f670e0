r"""Units behind a number: `5 cm`, `\frac{68}{3}\text{ pounds}`, `9 (apples)`, `60 miles per hour`, `10:30 AM`."""

import re
from dataclasses import dataclass
from fractions import Fraction

from filters.mathematics.notation import number

_KNOWN = """
mm millimeter millimeters millimetre millimetres
cm centimeter centimeters centimetre centimetres
m meter meters metre metres
km kilometer kilometers kilometre kilometres kms
in inch inches
ft foot feet
yd yard yards yds
mi mile miles
mg milligram milligrams
g gram grams gm gms
kg kilogram kilograms kilo kilos kgs
lb lbs pound pounds
oz ounce ounces
ml mL milliliter milliliters millilitre millilitres
l L liter liters litre litres
gal gallon gallons
s sec secs second seconds
min mins minute minutes
h hr hrs hour hours
day days
week weeks
month months
yr yrs year years
dollar dollars USD usd bucks
cent cents
euro euros EUR
degree degrees deg
celsius C
fahrenheit F
radian radians rad
K kelvin kelvins
J joule joules
kJ kilojoules kilojoule
N newton newtons
W watt watts
kW kilowatt kilowatts
V volt volts
A ampere amperes amp amps
Hz hertz
Pa pascal pascals
mol mole moles
acre acres
hectare hectares ha
am AM a.m. A.M.
pm PM p.m. P.M.
dozen dozens
"""
_CANONICAL = {word: line.split()[0] for line in _KNOWN.strip().splitlines() for word in line.split()}
_MULTIPLES: dict[str, dict[str, int | str]] = {
    "m": {"mm": "1/1000", "cm": "1/100", "km": 1000},
    "in": {"ft": 12, "yd": 36, "mi": 63360},
    "g": {"mg": "1/1000", "kg": 1000},
    "oz": {"lb": 16},
    "l": {"ml": "1/1000"},
    "s": {"min": 60, "h": 3600, "day": 86400, "week": 604800},
    "month": {"yr": 12},
    "cent": {"dollar": 100},
}
_SIZES = {name: (base, Fraction(size)) for base, sizes in _MULTIPLES.items() for name, size in sizes.items()}
"""Units that are multiples of others, and of which."""
_PART = re.compile(r"\s*,?\s*(?:and\s+)?(?P<value>\d+(?:\.\d+)?)\s*(?:\\text\{)?\s*(?P<unit>[A-Za-z]+)\s*\}?", re.ASCII)
_COMPOUND = {"mph": "mi/h", "kmh": "km/h", "kph": "km/h", "kmph": "km/h", "mps": "m/s", "rpm": "rpm"}
_ATTACHED = "|".join(
    sorted((word for word in [*_CANONICAL, *_COMPOUND] if len(word) > 1 and word.isalpha()), key=len, reverse=True)
)
_FUNCTION = re.compile("sin|cos|tan|log|exp|sqrt|mod|lim|max|min|gcd|lcm|det|and|for|the|not|choose")

_NO_UNIT = re.compile(
    r"\b(?:or|if|when|where|and|to|times|hundred|thousand|[mbtr]+illion|dozens?|mod|more|less|fewer)\b", re.IGNORECASE
)
"""Words that make another value of a number."""

_TAIL = re.compile(
    rf"(?P<value>.*?(?:[\d}})\]!]|[A-Za-z](?=\s*\\text)))(?!\s*\^\s*\{{?-?\d)"
    rf"(?P<unit>(?:\s*\\text\{{[^{{}}]*\}}|\s+[A-Za-z][A-Za-z.'-]*|\s+\([A-Za-z][A-Za-z' -]{{2,}}\)"
    rf"|(?<=\d)(?:{_ATTACHED})(?![A-Za-z])|(?<=\d)m(?=\s?\^)|/\s*[A-Za-z]+|\s*\^\s*\{{?-?\d\}}?|\s*\\cdot(?=\s*\\text)|\s*/\s*(?=\\text)"
    r"|\s*\^\s*\{?\\circ\s*\}?\s*(?:[CF]\b)?)+)"
)
_WORD = re.compile(r"[A-Za-z][A-Za-z.'-]*")


def split_unit(text: str) -> tuple[str, str]:
    """A tidy answer as (value, unit); the unit is empty where the answer has none."""
    found = _TAIL.fullmatch(text) if len(text) <= 400 else None
    if found is None or re.search(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])", found["value"]):
        return text, ""
    if _NO_UNIT.search(found["unit"]):
        return text, ""
    if found["value"][-1].isalpha() and not is_known(found["unit"]):
        return text, ""
    unit = found["unit"].strip()
    bare = re.sub(r"\\text\{[^{}]*\}|\([^()]*\)|\\circ|\\cdot", " ", unit)
    words = _WORD.findall(bare)
    if "\\circ" not in unit and not words and not re.search(r"[A-Za-z]", unit.replace("\\cdot", "")):
        return text, ""
    plain = number(found["value"]) is not None
    for word in words:
        known = word in _CANONICAL or word in _COMPOUND
        if not (known and (len(word) > 1 or plain)) and (len(word) < 3 or _FUNCTION.fullmatch(word)):
            return text, ""
    return found["value"].strip(), unit


def is_known(unit: str) -> bool:
    """Whether a text names a unit that is known."""
    return bool(_powers(unit))


def conversion(one: str, other: str) -> Fraction | None:
    """How many of the other unit one of the first is: 1 where either is unknown, None where they are of two kinds."""
    left, right = _powers(one), _powers(other)
    if not left or not right or left == right:
        return Fraction(1)
    (bases, size), (others, unit) = _in_bases(left), _in_bases(right)
    return size / unit if bases == others else None


@dataclass(frozen=True, slots=True)
class Total:
    """A sum of quantities of one kind.

    Attributes:
        kind: its base units, each with its power.
        whole: how many of these it is.
        units: how many of these a number without a unit may count, where the sum names several units.
    """

    kind: dict[str, int]
    whole: Fraction
    units: list[Fraction]


def total(text: str) -> Total | None:
    """The sum of quantities such as `2 hours, 30 minutes`; None where a text is none."""
    kinds: list[dict[str, int]] = []
    sizes: list[Fraction] = []
    whole = Fraction(0)
    at = 0
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip()
    while (part := _PART.match(text, at)) and (powers := _powers(part["unit"])):
        kind, size = _in_bases(powers)
        kinds.append(kind)
        sizes.append(size)
        whole += Fraction(part["value"]) * size
        at = part.end()
    if at < len(text) or not kinds or any(kind != kinds[0] for kind in kinds):
        return None
    money = kinds[0] == {"cent": 1}  # an amount without a unit is in dollars: the sign is gone
    return Total(kinds[0], whole, [size for size in sizes if not money or size > 1] if len(sizes) > 1 else [])


def _in_bases(powers: dict[str, int]) -> tuple[dict[str, int], Fraction]:
    """Powers of base units, and how many of these there are in the unit."""
    bases: dict[str, int] = {}
    size = Fraction(1)
    for name, power in powers.items():
        base, factor = _SIZES.get(name, (name, Fraction(1)))
        bases[base] = bases.get(base, 0) + power
        size *= factor**power
    return {base: power for base, power in bases.items() if power}, size


def _powers(unit: str) -> dict[str, int]:
    """The known units in a text, each with its power; words that are none are left out."""
    text = re.sub(r"\^\s*\{?\\circ\s*\}?", " degree ", unit)
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).replace("\\cdot", " ")
    for word, written in _COMPOUND.items():
        text = re.sub(rf"\b{word}\b", written, text)
    powers: dict[str, int] = {}
    sign, factor = 1, 1
    for word, slash, power in re.findall(r"([A-Za-z][A-Za-z.]*)|(/)|\^\s*\{?(-?\d)", text):
        if slash or word == "per":
            sign = -1
        elif word in ("square", "sq", "cubic", "cu"):
            factor = 2 if word.startswith("s") else 3
        elif word:
            name = _CANONICAL.get(word) or _CANONICAL.get(word.lower().rstrip("."))
            if name in ("celsius", "fahrenheit"):
                powers.pop("degree", None)
            if name:
                powers[name] = powers.get(name, 0) + sign * factor
            factor = 1
        elif powers:
            last = next(reversed(powers))
            powers[last] = sign * int(power)
    return powers
