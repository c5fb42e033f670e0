"""Personal data and secrets in the text of a row: addresses, numbers of phones, cards and accounts, keys and tokens.

A pattern that polars evaluates in linear time on all threads picks the rows that may hold something; only those are
searched by Python, whose patterns look around themselves, and what is found must be valid: check sums, assigned ranges
and shapes, not mere digits. Every repetition is bounded, so that a search is linear in the text too.

Data of no person passes: addresses of example domains, private and documentation networks, the test cards of payment
providers, toll-free numbers, placeholders such as `sk-xxxx`. Reasons show a find masked.
"""

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

Match = re.Match[str]


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of find.

    Attributes:
        name: what the reason calls it.
        hint: a pattern for polars, met by every text that has a valid match.
        pattern: a pattern for Python.
        valid: whether a match is one.
        shown: characters of its start that the reason shows; the last two are shown too. 0 shows nothing.
    """

    name: str
    hint: str
    pattern: re.Pattern[str]
    valid: Callable[[Match], bool]
    shown: int


def personal_data() -> Callable[[pl.DataFrame], pl.Series]:
    """E-mail addresses, phone, card and account numbers, IP addresses: "personal data: e-mail jo…rg".

    Returns:
        A filter of the column `text`; the first kind found gives the reason.
    """
    return lambda frame: _judge(frame, "personal data", _PERSONAL)


def secrets() -> Callable[[pl.DataFrame], pl.Series]:
    """API keys, tokens and private keys of well-known shapes: "secret: AWS access key AKIA…7Q".

    Returns:
        A filter of the column `text`; the first kind found gives the reason.
    """
    return lambda frame: _judge(frame, "secret", _SECRETS)


def _judge(frame: pl.DataFrame, category: str, kinds: Sequence[_Kind]) -> pl.Series:
    text = pl.col("text").cast(pl.String)
    hinted = frame.select(text.str.contains(kind.hint).fill_null(False).alias(kind.hint) for kind in kinds)
    reasons: dict[int, str] = {}
    for kind in kinds:
        rows = hinted[kind.hint].arg_true()
        for row, value in zip(rows, frame["text"].gather(rows), strict=True):
            found = None if row in reasons else next(filter(kind.valid, kind.pattern.finditer(value)), None)
            if found:
                reasons[row] = f"{category}: {kind.name}{_masked(found[found.lastgroup or 0], kind.shown)}"
    return pl.Series("reason", [reasons.get(row) for row in range(len(frame))], pl.String)


def _masked(value: str, shown: int) -> str:
    return f" {value[:shown]}…{value[-2:]}" if shown else ""


_NOBODY = re.compile(
    r"@(?:[\w-]+\.)*(?:example\.\w+|(?:domain|yourdomain|company|yourcompany|test)\.com|\w+\.(?:example|test|invalid"
    r"|localhost|local|png|jpe?g|gif|svg|webp|js|py|css|html))\Z"
    r"|\A(?:git|no-?reply|user|username|your\.?(?:name|email)|name)@",
    re.IGNORECASE,
)
"""Domains reserved for examples (RFC 2606), file names such as `icon@2x.png`, addresses of no person."""


def _is_email(match: Match) -> bool:
    local = match[0].partition("@")[0]
    return not _NOBODY.search(match[0]) and ".." not in local and local[0] != "." and local[-1] != "."


_COUNTRY = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|(?:2[1-69]|35|37|38|42|50|59|6[7-9]|8[058]|9[679])\d"
)
"""Assigned country codes (ITU-T E.164)."""


_TOLL_FREE = {"800", "833", "844", "855", "866", "877", "888"}
"""Area codes of North America that only businesses have."""


def _is_phone(match: Match) -> bool:
    number = match["international"]
    if number:
        digits = re.sub(r"\D", "", number)
        return bool(_COUNTRY.match(digits)) and 8 <= len(digits) <= 15 and _is_somebodys(digits)
    if match["american"]:
        digits = re.sub(r"\D", "", match["american"])
        return digits[1:3] != "11" and digits[:3] not in _TOLL_FREE and _is_somebodys(digits)
    digits = re.sub(r"\D", "", match["labelled"])
    return 7 <= len(digits) <= 15 and _is_somebodys(digits)


def _is_somebodys(digits: str) -> bool:
    """North America keeps 555-0100 to 555-0199 for fiction, and nobody has 1234567 or 8000000."""
    return digits[-7:-2] != "55501" and "1234567" not in digits and len(set(digits)) > 3


_PHONE = re.compile(
    r"(?<![\w.,+\-/)^*=])(?:"
    r"(?P<international>\+[1-9]\d{0,2}(?:[ .\-]?\(?\d{1,4}\)?){2,6})"
    r"|(?P<american>\([2-9]\d\d\) ?[2-9]\d\d[-. ]\d{4}|[2-9]\d\d([-.])[2-9]\d\d\3\d{4})"
    r"|(?:(?i:tel|telephone|phone|mobile|cell|fax|whatsapp)\.?(?: (?:no\.?|number))?(?: is)?[:.]? ?)"
    r"(?P<labelled>\(?\d(?:[ .\-/()]{0,2}\d){6,14})"
    r")(?![\w%^]|[.,\-/]\d| ?[*=×÷+] ?\d)"
)

_TEST_CARDS = {"4111111111111111", "4242424242424242", "5555555555554444", "378282246310005", "6011111111111117"}
_CARD_BRANDS = re.compile(
    r"4\d{15}|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
)
_CARD = re.compile(
    r"(?<![\w.,\-/$€£+=^*])(?<!\d )(?:\d{15,16}|\d{4}([ \-])\d{4}\1\d{4}\1\d{4}|\d{4}([ \-])\d{6}\2\d{5})"
    r"(?![\w%^]|[.,\-/ ]\d)"
)


def _is_card(match: Match) -> bool:
    digits = re.sub(r"\D", "", match[0])
    return bool(_CARD_BRANDS.fullmatch(digits)) and digits not in _TEST_CARDS and _luhn(digits)


def _luhn(digits: str) -> bool:
    """The check digit of card numbers (ISO/IEC 7812-1)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


_IBAN_LENGTHS = {
    **dict.fromkeys(["NO"], 15),
    **dict.fromkeys(["BE"], 16),
    **dict.fromkeys(["DK", "FI", "NL", "FO", "GL"], 18),
    **dict.fromkeys(["MK", "SI"], 19),
    **dict.fromkeys(["AT", "BA", "EE", "KZ", "LT", "LU", "XK"], 20),
    **dict.fromkeys(["CH", "HR", "LI", "LV"], 21),
    **dict.fromkeys(["BG", "BH", "CR", "DE", "GB", "GE", "IE", "ME", "RS"], 22),
    **dict.fromkeys(["AE", "GI", "IL", "TL"], 23),
    **dict.fromkeys(["AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"], 24),
    **dict.fromkeys(["PT"], 25),
    **dict.fromkeys(["IS", "TR"], 26),
    **dict.fromkeys(["FR", "GR", "IT", "MC", "MR", "SM"], 27),
    **dict.fromkeys(["AL", "AZ", "CY", "DO", "GT", "HU", "LB", "PL"], 28),
    **dict.fromkeys(["BR", "PS", "QA", "UA"], 29),
    **dict.fromkeys(["JO", "KW", "MU"], 30),
    **dict.fromkeys(["MT"], 31),
}
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?")


def _is_iban(match: Match) -> bool:
    """The check of ISO 13616: the number with its first four characters last is 1 modulo 97."""
    compact = match[0].replace(" ", "")
    compact = compact[: _IBAN_LENGTHS.get(compact[:2], 99)]  # a word in capitals may follow
    if len(compact) != _IBAN_LENGTHS.get(compact[:2]):
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


_VERSION_BEFORE = re.compile(r"(?i)(?:\b(?:version|ver|release|build|section|chapter|clause|firmware)\W{0,3}|\w/)\Z")


def _is_ipv4(match: Match) -> bool:
    """Public, of one machine, and no number of a version or a section."""
    if max(map(int, match[0].split("."))) < 20:
        return False
    if _VERSION_BEFORE.search(match.string[max(0, match.start() - 20) : match.start()]):
        return False
    return _is_public(match[0])


def _is_ipv6(match: Match) -> bool:
    return match[0][0] in "23" and len(match[0].split(":")[0]) == 4 and _is_public(match[0])


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


_PERSONAL = (
    _Kind(
        "e-mail",
        r"[A-Za-z0-9]@[A-Za-z0-9]",
        re.compile(
            r"(?<![\w.+%/:-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,6}[A-Za-z]{2,24}(?![\w@-])"
        ),
        _is_email,
        2,
    ),
    _Kind("card number", r"\d{15}|\d{4}[ \-]\d{4,6}[ \-]\d{4}", _CARD, _is_card, 2),
    _Kind("IBAN", r"[A-Z]{2}\d{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4}", _IBAN, _is_iban, 4),
    _Kind(
        "phone number",
        r"\+[1-9][\d .\-(]{3}|\d{3}[)\-.] ?\d{3}[-. ]\d{4}|(?i:tel|phone|mobile|cell|fax|whatsapp)[\w.: ]{0,20}\(?\d",
        _PHONE,
        _is_phone,
        3,
    ),
    _Kind(
        "IP address",
        r"\d\.\d{1,3}\.\d{1,3}\.\d",
        re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w/]|\.\d)"),
        _is_ipv4,
        2,
    ),
    _Kind(
        "IP address",
        r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{4}",
        re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{4,34}(?![\w:/])"),
        _is_ipv6,
        2,
    ),
)


def _is_random(match: Match) -> bool:
    """Keys are: few characters repeat, and no placeholder's word stands in them."""
    return len(set(match[0])) >= 12 and not re.search(r"(?i)example|your|placeholder|xxxx|\.\.\.|redacted", match[0])


def _mixes(match: Match) -> bool:
    """Prefixes of three letters alone also open words joined by hyphens, which have no capitals and digits."""
    return _is_random(match) and all(re.search(part, match[0]) for part in (r"\d", r"[A-Z]", r"[a-z]"))


def _has_digit(match: Match) -> bool:
    return _is_random(match) and bool(re.search(r"\d", match[0]))


def _is_jwt(match: Match) -> bool:
    """Its first part is the base64 of a JSON object that names an algorithm (RFC 7519)."""
    header = match[0].partition(".")[0]
    try:
        decoded = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False
    return isinstance(decoded, dict) and "alg" in decoded


def _key(name: str, shape: str, valid: Callable[[Match], bool], shown: int) -> _Kind:
    """A kind whose shape alone, one that Rust's patterns have too, tells rows that may hold it."""
    return _Kind(name, shape, re.compile(rf"(?<![A-Za-z0-9_-]){shape}(?![A-Za-z0-9_])"), valid, shown)


_SECRETS = (
    _key("AWS access key", r"(?:AKIA|ASIA)[A-Z2-7]{16}", _is_random, 4),
    _key("GitHub token", r"(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})", _is_random, 4),
    _key("OpenAI or Anthropic key", r"sk-[A-Za-z0-9_-]{20,200}", _mixes, 3),
    _key("Slack token", r"xox[abposr]-[A-Za-z0-9-]{10,250}", _has_digit, 4),
    _key("Google API key", r"AIza[A-Za-z0-9_-]{35}", _is_random, 4),
    _key("Stripe key", r"[rs]k_live_[A-Za-z0-9]{16,250}", _is_random, 8),
    _key("Hugging Face token", r"hf_[A-Za-z]{34}", _is_random, 3),
    _key("JWT", r"eyJ[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{16,4000}", _is_jwt, 4),
    _Kind(
        "private key block",
        r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY",
        re.compile(
            r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\n){1,4}"
            r"(?:[\w-]{1,40}: [^\n]{0,80}\s{1,2}){0,4}[A-Za-z0-9+/=]{32}"
        ),
        _is_random,
        0,
    ),
)
