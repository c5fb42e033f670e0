"""The reference page is that of the docstrings, and leaves nothing out."""

import ast
import inspect

import pytest

import synth
from samples.make_reference import INTERNAL, PAGE, annotations, documented, page, parsed, prose


def test_the_page_is_current() -> None:
    current = PAGE.read_text(encoding="utf-8") == page()
    assert current, "docstrings have changed; make the page anew: python -m samples.make_reference"


@pytest.mark.parametrize("name", [name for name in synth.__all__ if inspect.isfunction(getattr(synth, name))])
def test_every_argument_and_error_is_documented(name: str) -> None:
    function = getattr(synth, name)
    sections = parsed(function.__doc__).sections
    assert [argument for argument, _ in sections["Args"]] == list(inspect.signature(function).parameters)
    assert all(said for entries in sections.values() for _, said in entries)
    errors = [getattr(synth, error) for error, _ in sections["Raises"]]
    assert errors and all(issubclass(error, synth.SynthError) for error in errors)


def test_every_public_name_has_an_entry() -> None:
    titles = {line[4:] for line in page().splitlines() if line.startswith("### ")}
    modules = {name for name in synth.__all__ if inspect.ismodule(getattr(synth, name))}
    assert titles >= set(synth.__all__) - modules
    for name, members in INTERNAL.items():
        assert name not in synth.__all__ or members <= set(dir(getattr(synth, name)))


def test_a_docstring_as_markdown() -> None:
    said = """Do it, `a  b` at a time <now>.

    More, in
    two lines.

        code(1)

    Args:
        one: the first,
            in two lines.
        many: the others.

    Raises:
        ValueError: not so: never.
    """
    assert list(documented(said)) == [
        "Do it, `a b` at a time &lt;now>.",
        "More, in two lines.",
        "```python\ncode(1)\n```",
        "Arguments:",
        "- `one`: the first, in two lines.\n- `many`: the others.",
        "Raises:",
        "- `ValueError`: not so: never.",
    ]
    assert max(map(len, prose("word " * 100).splitlines())) <= 120


def test_annotations_of_functions_and_of_classes() -> None:
    assert "Place" in map(ast.unparse, annotations(synth.magpie))
    assert "EngineOptions | None" in map(ast.unparse, annotations(synth.Model))
