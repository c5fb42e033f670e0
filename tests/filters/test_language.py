"""The language of a row."""

import random

import polars as pl
import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from filters.language import identify, language

ENGLISH = "How do I bake bread at home? Mix flour and water, then wait for an hour."
SPANISH = "¿Cómo hago pan en casa? Mezcla harina y agua, luego espera una hora."
GERMAN = "Wie backe ich zu Hause Brot? Mehl und Wasser mischen, dann eine Stunde warten."


def reason(text: str | None, *wanted: str) -> str | None:
    found: str | None = language(wanted)(pl.DataFrame({"text": [text]}, schema={"text": pl.String}))[0]
    return found


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (ENGLISH, "en"),
        (SPANISH, "es"),
        (GERMAN, "de"),
        ("Comment faire du pain à la maison ? Mélangez la farine et l'eau.", "fr"),
        ("我怎样在家里做面包?把面粉和水混合,然后等待一会儿再放进烤箱里烤。", "zh"),
        ("家でパンを焼くにはどうすればいいですか。小麦粉と水を混ぜて待ちます。", "ja"),
        ("Как испечь хлеб дома? Смешайте муку и воду, затем подождите.", "ru"),
        ("كيف أخبز الخبز في المنزل؟ اخلط الدقيق والماء ثم انتظر", "ar"),
        ("मैं घर पर रोटी कैसे बनाऊँ? आटा और पानी मिलाएँ और फिर रुकें।", "hi"),
        (SPANISH.upper(), "es"),
        (SPANISH + " ```python\nfor row in rows: print(row)\n```", "es"),
        (SPANISH * 1000, "es"),
    ],
)
def test_other_languages_fail(text: str, code: str) -> None:
    assert reason(text, "en" if code != "en" else "de") == f"language: {code}"
    assert reason(text, code) is None
    assert reason(text, "en", "de", code) is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " \n\t",
        "Hola, ¿qué tal?",
        "1234567890 " * 20,
        "🎉 " * 100,
        "\ufffd\x00\u200b" * 50,
        f"```python\n# {SPANISH}\nprint('hola a todo el mundo')\n```",
        "```\n" + SPANISH,
        "def suma(valores):\n    total = 0\n    for valor in valores:\n        total += valor[0]\n    return total\n",
        'int main() { std::vector<int> v = {1, 2}; for (int i : v) { printf("%d", i); } return 0; }',
        "https://es.wikipedia.org/wiki/Pan_de_trigo_y_otras_historias_de_la_harina ",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "Solve 3x + 5 = 20 for x. x equals five",
    ],
)
def test_what_cannot_be_judged_passes(text: str | None) -> None:
    assert reason(text, "en") is None


def test_every_row_gets_its_own_reason() -> None:
    rows = pl.DataFrame({"text": [SPANISH, None, ENGLISH, SPANISH, "short", GERMAN] * 50})
    reasons = language(["en"])(rows)
    assert reasons.to_list() == ["language: es", None, None, "language: es", None, "language: de"] * 50


@pytest.mark.parametrize("texts", [[], [None], [None, None], [ENGLISH], [ENGLISH] * 3])
def test_odd_frames(texts: list[str | None]) -> None:
    reasons = language(["en"])(pl.DataFrame({"text": texts}, schema={"text": pl.String}))
    assert reasons.dtype == pl.String
    assert reasons.to_list() == [None] * len(texts)


def test_a_column_of_nulls_needs_no_type() -> None:
    assert language(["en"])(pl.DataFrame({"text": [None, None]})).to_list() == [None, None]


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="no such language: xx, yy"):
        language(["en", "yy", "xx"])


def test_many_at_once_are_told_as_the_library_tells_each() -> None:
    chance = random.Random(0)
    # Serbian is in two scripts of the model under one label; the last five hold no feature at all.
    whole = [ENGLISH, SPANISH, GERMAN, "Како да испечем хлеб код куће? Помешајте брашно и воду.", "Ǆ ŉ " * 9]
    whole += ["Kako da ispečem hleb kod kuće? Pomešajte brašno i vodu.", "我怎样在家里做面包?", "e\u0301te\u0301 " * 7]
    pieces = [text[(cut := chance.randrange(len(text))) :] + chance.choice(whole)[:cut] for text in whole * 300]
    texts = [*whole, *map(str.upper, whole), *pieces, "", " ", "\x00", "7", "\U0010ffff"]
    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    told = identify(texts)
    assert len(told) == len(texts) > 2048  # more than one batch
    for text, (code, sure) in zip(texts, told, strict=True):
        expected, probability = library.classify(text)
        assert sure == pytest.approx(probability, abs=1e-3), text  # the library adds in half precision
        assert code == expected or sure < 0.5, text
    assert {"en", "es", "de", "sr", "zh"} <= {code for code, _ in told}
