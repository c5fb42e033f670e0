"""Writes samples/reference.md: what `synth` offers from Python, from signatures and docstrings.

python -m samples.make_reference
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import synth

PAGE = Path(__file__).parent / "reference.md"
WIDTH = 120
TITLES = ("Args", "Returns", "Yields", "Raises", "Attributes")
SPECIAL = {"__len__": "len({})", "__iter__": "iter({})", "__getitem__": "{}[…]", "__enter__": "with {}"}
"""How methods that Python calls are shown, where they have a docstring."""
INTERNAL = {
    "Dataset": {"of"},
    "Model": {
        "written",
        "of_texts",
        "shares_weights",
        "run_in",
        "record",
        "unopened",
        "opened",
        "running",
        "is_called",
    },
    "RunRecord": {"binding", "count", "count_batches"},
}
"""Methods that are there for the library itself; not shown."""
INTRODUCTION = """# Reference

What `import synth` offers. This page is made from the docstrings by `python -m samples.make_reference`, and a test
keeps it current; do not edit it. The [guide](guide.md) says what each function is for, `synth COMMAND --help` has the
same settings as options. Functions wait until their run has ended, and can be called where an event loop runs, as in a
notebook.
"""


@dataclass(slots=True)
class Docstring:
    """A docstring in Google's style.

    Attributes:
        text: what precedes its sections, as paragraphs.
        sections: by title the entries, name and description each; without a name, "" and the description.
    """

    text: list[str] = field(default_factory=list)
    sections: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def parsed(docstring: str) -> Docstring:
    """The parts of a docstring."""
    found = Docstring()
    title = None
    paragraphs: list[list[str]] = [[]]
    for line in inspect.cleandoc(docstring).splitlines():
        if line.rstrip(":") in TITLES and line.endswith(":"):
            title = line.rstrip(":")
            found.sections[title] = []
        elif title and (not line or line.startswith(" ")):
            _add(found.sections[title], line, named=title not in ("Returns", "Yields"))
        elif line:
            title = None
            paragraphs[-1].append(line)
        else:
            paragraphs.append([])
    found.text = ["\n".join(lines) for lines in paragraphs if lines]
    return found


def _add(entries: list[tuple[str, str]], line: str, *, named: bool) -> None:
    """Take one line of a section: a new entry, or more of the last."""
    begins = re.match(r" {4}(\*{0,2}\w[\w., ]*): (.*)", line)
    if named and begins:
        entries.append((begins[1], begins[2]))
    elif entries:
        name, description = entries[-1]
        entries[-1] = name, f"{description} {line.strip()}".strip()
    elif line.strip():
        entries.append(("", line.strip()))


def prose(text: str, indent: str = "") -> str:
    """A paragraph as Markdown: wrapped, code kept whole; indented lines stay code."""
    if all(line.startswith("    ") for line in text.splitlines()):
        return f"```python\n{textwrap.dedent(text)}\n```"
    joined = re.sub(r"\s+", " ", text)
    parts = re.split(r"(`[^`]*`)", joined)
    escaped = [part.replace(" ", "\0") if part.startswith("`") else part.replace("<", "&lt;") for part in parts]
    lines = textwrap.wrap(
        "".join(escaped), WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace("\0", " ")


def documented(docstring: str | None, skip: Iterable[str] = ()) -> Iterator[str]:
    """The paragraphs and the sections of a docstring, as Markdown."""
    parts = parsed(docstring or "")
    yield from map(prose, parts.text)
    for title, entries in parts.sections.items():
        if title in skip or not entries:
            continue
        yield {"Args": "Arguments:"}.get(title, f"{title}:")
        yield "\n".join(prose(f"- `{name}`: {said}" if name else f"- {said}", "  ") for name, said in entries)


def definition(thing: Any) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef:
    """How something is defined in its file."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return node


def signature(function: Callable[..., Any], name: str, *, method: bool = False) -> str:
    """How a function is called: annotations as they are written, defaults as they are."""
    node = definition(function)
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    written = {argument.arg: argument.annotation for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    parameters = list(inspect.signature(function).parameters.values())[method:]
    shown: list[str] = []
    keyword_only = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            if not any(one.kind is one.VAR_POSITIONAL for one in parameters):
                shown.append("*")
        stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (parameter.kind is parameter.VAR_KEYWORD)
        annotation = written[parameter.name]
        text = stars + parameter.name + (f": {ast.unparse(annotation)}" if annotation else "")
        shown.append(text + ("" if parameter.default is parameter.empty else f" = {default(parameter.default)}"))
    result = f" -> {unquoted(node.returns)}" if node.returns else ""
    line = f"{name}({', '.join(shown)}){result}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {one},\n" for one in shown) + f"){result}"


def default(value: object) -> str:
    """A default as it would be written."""
    if value is None or isinstance(value, bool | int | float | str | bytes | tuple | list | dict):
        return repr(value).replace("'", '"')
    if isinstance(value, type):
        return value.__name__
    return f"{type(value).__name__}()"


def functions(name: str, function: Callable[..., Any]) -> str:
    """The entry of a function."""
    code = f"```python\n{signature(function, f'synth.{name}')}\n```"
    return "\n\n".join([f"### {name}", code, *documented(function.__doc__)])


def members(cls: type) -> Iterator[tuple[str, Any, Callable[..., Any], bool]]:
    """The public methods and properties of a class: name, object, function, and whether it is a property."""
    for name, member in vars(cls).items():
        if (name.startswith("_") and name not in SPECIAL) or name in INTERNAL.get(cls.__name__, ()):
            continue
        if isinstance(member, property):
            function, is_property = member.fget, True
        elif isinstance(member, cached_property):
            function, is_property = member.func, True
        elif isinstance(member, classmethod | staticmethod):
            function, is_property = member.__func__, False
        elif inspect.isfunction(member):
            function, is_property = member, False
        else:
            continue
        if function is not None and function.__doc__:
            yield name, member, function, is_property


def classes(name: str, cls: type, title: str | None = None) -> str:
    """The entry of a class: what it is, what is made with it, and what it can do."""
    own = vars(cls).get("__init__")
    head = [f"### {title or name}"]
    bases = [base.__name__ for base in cls.__bases__ if base not in (object, Exception)]
    if issubclass(cls, Exception) and bases:
        head.append(f"A kind of `{bases[0]}`.")
    if "__dataclass_fields__" in vars(cls):
        fields = [
            ast.unparse(node).replace("'", '"') for node in definition(cls).body if isinstance(node, ast.AnnAssign)
        ]
        head.append("```python\n" + call(cls.__name__, fields) + "\n```")
    elif own is not None and own.__doc__:
        head.append(f"```python\n{signature(own, cls.__name__, method=True).removesuffix(' -> None')}\n```")
    parts = [*head, *documented(cls.__doc__)]
    if said := list(fields_said(cls)):
        parts += ["Fields:", "\n".join(prose(f"- `{field_name}`: {text}", "  ") for field_name, text in said)]
    if own is not None and own.__doc__ and "__dataclass_fields__" not in vars(cls):
        parts += documented(own.__doc__)
    instance = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
    for member_name, member, function, is_property in members(cls):
        if member_name in SPECIAL:
            shown = SPECIAL[member_name].format(instance)
        elif is_property:
            returns = definition(function).returns  # type: ignore[union-attr]
            shown = f"{instance}.{member_name}" + (f": {unquoted(returns)}" if returns else "")
        else:
            owner = cls.__name__ if isinstance(member, classmethod | staticmethod) else instance
            shown = signature(function, f"{owner}.{member_name}", method=not isinstance(member, staticmethod))
        parts += [f"```python\n{shown}\n```", *documented(function.__doc__)]
    return "\n\n".join(parts)


def fields_said(cls: type) -> Iterator[tuple[str, str]]:
    """The fields of a dataclass that have a docstring below them."""
    body = definition(cls).body if "__dataclass_fields__" in vars(cls) else []
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield ast.unparse(node.target), inspect.cleandoc(str(after.value.value))


def call(name: str, arguments: list[str]) -> str:
    """A call in one line, or one line an argument."""
    line = f"{name}({', '.join(arguments)})"
    return line if len(line) <= WIDTH else f"{name}(\n" + "".join(f"    {one},\n" for one in arguments) + ")"


def unquoted(annotation: ast.expr) -> str:
    """An annotation; one that is written as a string is what the string says."""
    return str(annotation.value) if isinstance(annotation, ast.Constant) else ast.unparse(annotation)


def annotations(thing: Any) -> Iterator[ast.expr]:
    """The annotations of a function, or of what a class is made with."""
    node = definition(thing)
    if isinstance(node, ast.ClassDef):
        inits = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
        if any(ast.get_docstring(one) for one in inits):
            yield from (argument.annotation for argument in inits[0].args.kwonlyargs if argument.annotation)
            yield from (argument.annotation for argument in inits[0].args.args if argument.annotation)
        yield from (one.annotation for one in fields)
        return
    yield from (one.annotation for one in ast.walk(node.args) if isinstance(one, ast.arg) and one.annotation)
    if node.returns:
        yield node.returns


def named_in(annotation: ast.expr) -> Iterator[str]:
    """The names that an annotation uses."""
    for part in ast.walk(annotation):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield from re.findall(r"[A-Za-z_]\w*", part.value)


def other_types(things: Iterable[Any], known: Iterable[str]) -> dict[str, tuple[ModuleType, Any]]:
    """The types of ours that signatures name and that have no entry yet, with the modules where they are defined."""
    found: dict[str, tuple[ModuleType, Any]] = {}
    for thing in things:
        module = importlib.import_module(thing.__module__)
        for word in (word for annotation in annotations(thing) for word in named_in(annotation)):
            home = importlib.import_module(_home(module, word))
            value = getattr(home, word, None)
            ours = home.__name__.split(".")[0] in ("synth", "filters")
            if ours and value is not None and not inspect.ismodule(value) and word not in known:
                found[word] = home, value
    return dict(sorted(found.items()))


def _home(module: ModuleType, name: str) -> str:
    """The module that a name of a module comes from."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and any((one.asname or one.name) == name for one in node.names):
            return str(node.module)
    return module.__name__


def said_of(module: ModuleType, name: str) -> tuple[str, str]:
    """How a constant or type of a module is defined, and the docstring below it."""
    source = inspect.getsource(module)
    body = ast.parse(source).body
    for at, node in enumerate(body):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == name:
            after = body[at + 1] if at + 1 < len(body) else None
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            return ast.get_source_segment(source, node) or "", str(text)
    return "", ""


def page() -> str:
    """The whole page."""
    public = sorted(synth.__all__, key=str.lower)
    things = {name: getattr(synth, name) for name in public}
    calls = {name: thing for name, thing in things.items() if inspect.isfunction(thing)}
    kinds = {name: thing for name, thing in things.items() if inspect.isclass(thing)}
    errors = {name: kind for name, kind in kinds.items() if issubclass(kind, Exception)}
    modules = {name: thing for name, thing in things.items() if inspect.ismodule(thing)}
    rest = things.keys() - calls.keys() - kinds.keys() - modules.keys()
    first = (f"- [`{name}`](#{name.lower()}): {_first_sentence(thing)}" for name, thing in calls.items())
    parts = [INTRODUCTION.strip(), "\n".join(prose(line, "  ") for line in first), "## Functions"]
    parts += [functions(name, function) for name, function in calls.items()]
    parts += ["## What they take and return"]
    parts += [classes(name, kind) for name, kind in kinds.items() if name not in errors]
    parts += [constant(synth._HOMES.get(name), name) for name in sorted(rest)]
    inner = {name: getattr(module, name) for module in modules.values() for name in module.__all__}
    for name, (module, value) in other_types(
        [*calls.values(), *kinds.values(), *inner.values()], {*public, *inner}
    ).items():
        if inspect.isclass(value):
            parts += [classes(name, value, f"{module.__name__}.{name}")]
        else:
            code, said = said_of(module, name)
            parts += [f"### {module.__name__}.{name}", f"```python\n{code}\n```", *documented(said)]
    for name, module in modules.items():
        parts += [f"## synth.{name}", *documented(module.__doc__)]
        for inside in sorted(module.__all__, key=str.lower):
            thing = getattr(module, inside)
            if inspect.isclass(thing):
                parts += [classes(inside, thing, f"{name}.{inside}")]
            elif inspect.isfunction(thing):
                parts += [functions(f"{name}.{inside}", thing)]
    parts += ["## Errors", *(classes(name, kind) for name, kind in errors.items())]
    return "\n\n".join(parts) + "\n"


def constant(home: str | None, name: str) -> str:
    """The entry of a value."""
    value = getattr(synth, name)
    module = importlib.import_module(home or type(value).__module__)
    code, said = said_of(module, name)
    return "\n\n".join([f"### {name}", f"```python\n{code or name}\n```", *documented(said)])


def _first_sentence(thing: Any) -> str:
    return re.split(r"(?<=[^.]\.)(?<!al\.)\s", parsed(thing.__doc__ or "").text[0].replace("\n", " "))[0]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(page().splitlines())} lines")
