"""Personal data and secrets: what is found, and what only looks like it."""

import base64
import json
import time
from collections.abc import Callable

import polars as pl
import pytest

from filters.personal import personal_data, secrets

JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (
        json.dumps({"alg": "HS256", "typ": "JWT"}).encode(),
        json.dumps({"sub": "17"}).encode(),
        bytes(range(32)),
    )
)
KEY = "-----BEGIN RSA PRIVATE " + "KEY-----\n" + base64.b64encode(bytes(range(90))).decode()


def reason(text: str | None, of: str = "personal") -> str | None:
    judge = personal_data() if of == "personal" else secrets()
    found: str | None = judge(pl.DataFrame({"text": [text]}, schema={"text": pl.String}))[0]
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe@mail-house.co.uk, please.", "e-mail ja…uk"),
        ("mailto <karl+list@uni-bonn.de>", "e-mail ka…de"),
        ("Ihre Adresse: a_b%c@firma.museum。", "e-mail a_…um"),
        ("call +49 30 901820 today", "phone number +49…20"),
        ("+1 (415) 867-5309", "phone number +1 …09"),
        ("WhatsApp +447911128456.", "phone number +44…56"),
        ("reach me at (415) 867-5309", "phone number (41…09"),
        ("reach me at 415-867-5309, or", "phone number 415…09"),
        ("Tel.: 030 90 18 24", "phone number 030…24"),
        ("phone number is 07911 128456", "phone number 079…56"),
        ("card 4539 1488 0343 6467 exp 04/27", "card number 45…67"),
        ("5500005555555559", "card number 55…59"),
        ("3714 496353 98431", "card number 37…31"),
        ("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF", "IBAN DE89…00"),
        ("GB82WEST12345698765432", "IBAN GB82…32"),
        ("logged in from 84.115.23.9.", "IP address 84…9"),
        ("http://84.115.23.97:8080/", "IP address 84…97"),
        ("2a02:810d:8abf:f3a8::17 connected", "IP address 2a…17"),
    ],
)
def test_personal_data_is_found_and_masked(text: str, expected: str) -> None:
    found = reason(text)
    assert found is not None
    assert found.startswith("personal data: " + expected.partition("…")[0])
    assert found.endswith(expected.partition("…")[2])


@pytest.mark.parametrize(
    "text",
    [
        "It costs $1,299.99, or 1.299,99 EUR; 4 000 000 in all.",
        "From 1939-09-01 to 2023-10-12, 12/31/1999, 31.12.1999 and 1999-2004.",
        "2023-10-12 15:45:30.123456 +0200",
        "Version 1.2.3.4, v10.20.30.40, Chrome/120.0.6099.109, firmware 84.12.3.1",
        "see section 4.2.1.3 and 12.4.10.2",
        "ISBN 978-0-306-40615-7, ISBN 0-306-40615-2, 9780306406157",
        "192.168.0.1 10.1.2.3 127.0.0.1 172.16.5.4 0.0.0.0 255.255.255.0 192.0.2.17 203.0.113.9",
        "84.115.0.0/16 and 999.115.23.9",
        "fe80::1, ::1, 2001:db8::17, 12:30:45, 00:1a:2b:3c:4d:5e, std::vector::begin",
        "x = 3 +12345678 and 415-867-5309-22; 2x+45678912=0",
        "4111 1111 1111 1111 and 4242424242424242 are test cards",
        "1234567812345678, 4539148803436468 (check digit wrong), 0.4539148803436467",
        "3.14159265358979323846264338327950288",
        "6.02214076e23, 299792458 m/s, 1000000007, 2147483647, 18446744073709551615",
        "mail user@example.com, x@test.invalid, noreply@github.com, git@github.com:me/it.git",
        "icon@2x.png, react@18.2.0, @app.route, a @ b.c, matrix A@B, me@localhost",
        "call (415) 555-0123 or +1 212 555 0199, or 123-456-7890",
        "1-800-FLOWERS, (800) 867-5309, dial 911 or 112; phone 12",
        "GB82WEST12345698765431, DE00 0000 0000 0000 0000 00, AB12 CDEF 3456",
        "tracking 1Z999AA10123456784, order 20231012-4455667, SKU 8675-309-1",
        "The answer is 84.5.23 of 7/8/9; ratio 415.867; phi = 1.618033988749",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8, uuid 123e4567-e89b-12d3-a456-426614174000",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
        "+100 points, +5 % and +1000000000",
        "",
        " \n\t",
    ],
)
def test_what_looks_like_personal_data_passes(text: str) -> None:
    assert reason(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key AKIA" + "QYLPMN5HHHFPZAM2 here", "AWS access key AKIA…M2"),
        ('token: "ghp_' + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5" + '"', "GitHub token ghp_…Y5"),
        ("github_pat_" + "11ABCDEFG0aB3dE5fG7hI9jK", "GitHub token gith…jK"),
        ("OPENAI_API_KEY=sk-" + "aB3dE5fG7hI9jK1lM3nO", "OpenAI or Anthropic key sk-…nO"),
        ("sk-proj-" + "aB3dE5fG7hI9jK1lM3nO_x-9", "OpenAI or Anthropic key sk-…-9"),
        ("xoxb-" + "263594206564-FGqddMF8t08v8N7Oq4i57vs1", "Slack token xoxb…s1"),
        ("AIza" + "SyB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3x", "Google API key AIza…3x"),
        ("sk_live_" + "aB3dE5fG7hI9jK1lM3nO", "Stripe key sk_live_…nO"),
        ("hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH", "Hugging Face token hf_…gH"),
        (f"Authorization: Bearer {JWT}", "JWT eyJh…"),
        (KEY, "private key block"),
        (KEY.replace("\n", "\\n"), "private key block"),
    ],
)
def test_secrets_are_found_and_masked(text: str, expected: str) -> None:
    found = reason(text, "secrets")
    assert found is not None
    assert found.startswith("secret: " + expected.partition("…")[0])
    assert found.endswith(expected.partition("…")[2])


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE is in every guide",
        "AKIA and ASIA are prefixes; AKIAAAAAAAAAAAAAAAAA",
        "ghp_" + "x" * 36,
        "ghp_short, gho_",
        "sk-your-api-key-goes-here-please-1A",
        "sk-" + "x" * 40,
        "class sk-learn-estimator-with-many-words-in-it",
        "risk-" + "aB3dE5fG7hI9jK1lM3nO",
        "xoxb-your-token-here-please",
        "AIza is how Google's keys begin",
        "-----BEGIN PUBLIC KEY-----\n" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY----- opens such a file, which is base64 of a structure",
        "eyJub3QiOiJhIHRva2VuIn0.eyJub3QiOiJhIHRva2VuIn0.c2lnbmF0dXJlc2lnbmF0dXJl",
        "hf_transfer, hf_hub_download and hf_" + "a" * 34,
        "9fceb02d0ae598e95dc970b74767f19372d61af8",
        "sk_test_" + "aB3dE5fG7hI9jK1lM3nO",
        "",
    ],
)
def test_what_looks_like_a_secret_passes(text: str) -> None:
    assert reason(text, "secrets") is None


def test_the_secret_is_not_shown() -> None:
    secret = "ghp_" + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5"
    assert reason(secret, "secrets") == "secret: GitHub token ghp_…Y5"


@pytest.mark.parametrize("judge", [personal_data(), secrets()])
def test_one_reason_a_row_whatever_the_rows(judge: Callable[[pl.DataFrame], pl.Series]) -> None:
    frame = pl.DataFrame({"text": [None, "", "\ufffd\x00", "jo@mail.org", None]})
    reasons = judge(frame)
    assert reasons.dtype == pl.String
    assert len(reasons) == 5
    assert reasons[0] is None
    assert judge(frame.head(0)).dtype == pl.String
    assert len(judge(frame.head(0))) == 0
    assert judge(pl.DataFrame({"text": [None, None]})).to_list() == [None, None]


@pytest.mark.parametrize(
    "unit",
    ["a", "1", "1 ", "1.", "+1", "a@", "a@a.", "A", "sk-", "eyJ", "-----BEGIN ", "1:", "DE89 ", "415-867-", "\n"],
)
def test_long_hostile_rows_take_linear_time(unit: str) -> None:
    frame = pl.DataFrame({"text": [unit * (1_000_000 // len(unit)) + " +12 a@b AKIA 12.12.12.12"]})
    start = time.process_time()
    personal_data()(frame)
    secrets()(frame)
    assert time.process_time() - start < 60
