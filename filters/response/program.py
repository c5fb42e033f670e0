"""The program of a response: the blocks of code that define what is asked for, with what these need, in order."""

import ast
import builtins
import importlib
import re
import textwrap
import typing
import unittest
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from filters.response.code_blocks import bare_code, code_in_json, fenced_blocks

_PYTHON = ("python", "python3", "py", "py3", "")
_READS = re.compile(r"\binput\s*\(|\bstdin\b|\bopen\(0\b|\bread\(0\b")
_IMPORTS = (ast.Import, ast.ImportFrom)
_GIVEN = (*_IMPORTS, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_MODULES = """
    cmath collections copy datetime decimal fractions functools heapq itertools json math numpy operator random re
    statistics string
"""
_OWN = {name: name for name in _MODULES.split()} | {"np": "numpy"}
"""Modules that tests may use without importing them, by the names that they have there."""

_TRIED = "try:\n    {}\nexcept ImportError:\n    pass"

_MODULES_OFFERED = "bisect collections functools heapq itertools math operator random re string"
_NAMES_OFFERED = {
    "collections": "Counter OrderedDict defaultdict deque",
    "functools": "cache cmp_to_key lru_cache reduce",
    "heapq": "heapify heappop heappush heappushpop heapreplace nlargest nsmallest",
    "bisect": "bisect_left bisect_right insort",
    "itertools": "accumulate chain combinations groupby pairwise permutations product zip_longest",
    "math": "ceil comb floor gcd inf sqrt",
}
OFFERED = {name: module for module, names in _NAMES_OFFERED.items() for name in names.split()}
"""Names that LeetCode imports for its solutions, and the modules that they are of."""
_INLINE = re.compile(r"(?<!`)`([^`\n]{5,500})`(?!`)")
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__"}


def names_used(source: str) -> set[str]:
    """The names that code takes from elsewhere; empty where it does not parse."""
    tree = parsed(source)
    return set() if tree is None else _used(tree) - _bound(tree)


def names_imported(source: str, modules: Collection[str]) -> set[str]:
    """The names that code takes from some modules: imported, or as their attributes."""
    tree = parsed(source)
    nodes = list(ast.walk(tree)) if tree else []
    names = {
        name.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module in modules
        for name in node.names
    }
    called = {
        name.asname or name.name
        for node in nodes
        if isinstance(node, ast.Import)
        for name in node.names
        if name.name in modules
    }
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    return (names - {"*"}) | {node.attr for node in attributes if getattr(node.value, "id", "") in called}


def parsed(source: str) -> ast.Module | None:
    """Its syntax tree; None where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in strings: nobody here wrote them
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def program_in(response: str, wanted: Iterable[str] = ()) -> str | None:
    """The program of a response; None if there is none.

    Args:
        response: what is said, after thinking.
        wanted: names that the program is to define; without any, it is to read and write.
    """
    wanted = list(wanted)
    if (packed := code_in_json(response)) is not None:
        response = packed
    blocks = [_Block(language, code) for language, code in fenced_blocks(response) if code.strip()]
    if not any(block.serves(wanted) for block in blocks):
        bare = [_Block("", code) for code in bare_code(response)]
        if not blocks or any(block.serves(wanted) for block in bare):
            blocks = bare
    if wanted and not any(block.serves(wanted) for block in blocks):
        inline = [_Block("", code) for code in _INLINE.findall(response)]
        blocks += [block for block in inline if block.tree and block.serves(wanted)]
    blocks = [block for block in blocks if block.language in _PYTHON or block.tree]
    if not blocks:
        return None
    chosen = _defining(blocks, wanted) or {_main(blocks, reads=not wanted)}
    _complete(blocks, chosen)
    return join(blocks[at].code for at in sorted(chosen))


def join(parts: Iterable[str]) -> str:
    """Pieces of a program as one, with what they import from `__future__` at the top."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    future = re.compile(r"^from __future__ import .*\n?", re.MULTILINE)
    first = dict.fromkeys(line.strip() for part in parts for line in future.findall(part))
    return "\n".join([*first, *(future.sub("", part) for part in parts)])


def completed(program: str, name: str, prompt: str) -> str:
    """A program with what its prompt has of it: what stands before the function, or the function whose body it is."""
    before, begun = code_given(prompt, name)
    tree = parsed(program)
    if not begun or (name in _Block("", program).bound):
        return join([before, program]) if before.strip() else program
    if tree is not None and _returns(program):
        program = textwrap.indent(program, "    ")  # a body that has lost its indentation
    elif tree is not None and program.lstrip("\n")[:1] not in (" ", "\t"):
        program = f"\n{program}"
    return before + begun + program


def with_imports(program: str) -> str:
    """A program with what is imported for it where it is meant to run: names of `typing`, for `Solution` more."""
    block = _Block("", program)
    offered = dict.fromkeys(typing.__all__, "typing")
    if "Solution" in block.bound:
        offered |= OFFERED | dict.fromkeys(_MODULES_OFFERED.split(), "")
    wanted = [name for name in sorted(block.missing) if name in offered] if not block.takes_all else []
    lines = [f"from {offered[name]} import {name}" if offered[name] else f"import {name}" for name in wanted]
    return join(["\n".join(lines), program]) if lines else program


def _returns(source: str) -> bool:
    """Whether it returns outside a function."""
    try:
        compile(source, "program", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return "outside function" in str(error)
    return False


def code_given(prompt: str, name: str) -> tuple[str, str]:
    """The code that a prompt gives: what stands before the definition of a name, and what it has of the definition."""
    start = re.compile(rf"^(?:@.*\n)*(?:async[ \t]+def|def|class)[ \t]+{re.escape(name)}\b", re.MULTILINE)
    for text in (prompt, *(code for _, code in fenced_blocks(prompt))):
        match = start.search(text)
        before = text[: match.start()] if match else text
        tree = parsed(before)
        if tree is None or not (match or any(isinstance(node, _GIVEN) for node in tree.body)):
            continue
        return before, text[match.start() :] if match else ""
    if match := start.search(prompt):  # without a fence, after a sentence
        pieces = bare_code(prompt[: match.start()])
        return "\n".join(pieces), prompt[match.start() :]
    return "", ""


def defined_in(source: str) -> set[str]:
    """The names that code binds at the top, imports aside."""
    tree = parsed(source)
    return {name for node in (tree.body if tree else []) if not isinstance(node, _IMPORTS) for name in _names_of(node)}


def own_names(tests: str, prompt: str, reference: str, of_libraries: Mapping[str, str]) -> str:
    """Source of what tests mean by the names that they use, whatever a program makes of these.

    Modules that are well known, names `of_libraries`, each with its module, what the reference imports, and what the
    prompt imports and defines.
    """
    used = names_used(tests)
    lines = [f"import {_OWN[name]} as {name}" for name in sorted(used & set(_OWN)) if _is_module(name, tests)]
    lines += [_TRIED.format(f"from {module} import {name}") for name, module in of_libraries.items()]
    lines += [f"from unittest import TestCase; {name} = TestCase().{name}" for name in sorted(used) if asserts(name)]
    for source, kinds in ((reference, _IMPORTS), (prompt, (*_IMPORTS, ast.FunctionDef))):
        tree = parsed(source)
        nodes = [node for node in (tree.body if tree else []) if isinstance(node, kinds) and _how_well(node)]
        if any(name in used for node in nodes for name in _names_of(node)):
            lines += [_tried(node) for node in nodes if getattr(node, "module", None) != "__future__"]
    return "\n".join(lines)


def asserts(name: str) -> bool:
    """Whether it is an assertion of unittest's, which only tests make."""
    return name.startswith("assert") and hasattr(unittest.TestCase, name)


def _is_module(name: str, tests: str) -> bool:
    """Whether all that is done with a name can be done with the module that has that name."""
    uses = re.findall(rf"(?<![\w.]){name}\b(?:\.(\w+))?", tests)
    try:
        return all(use and hasattr(importlib.import_module(_OWN[name]), use) for use in uses)
    except ImportError:
        return False


def _tried(node: ast.stmt) -> str:
    text = ast.unparse(node)
    return _TRIED.format(text) if isinstance(node, _IMPORTS) else text


@dataclass(frozen=True)
class _Block:
    language: str
    code: str

    @cached_property
    def tree(self) -> ast.Module | None:
        return parsed(self.code)

    @cached_property
    def bound(self) -> dict[str, int]:
        """Names bound at the top, and how well: by a definition 3, a value 2, an import 1, a stub 0."""
        if self.tree is None:
            names = re.findall(r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)", self.code, re.MULTILINE)
            return dict.fromkeys(names, 3)
        names = [(name, _how_well(node)) for node in self.tree.body for name in _names_of(node)]
        return dict(sorted(names, key=lambda pair: pair[1]))

    @cached_property
    def missing(self) -> set[str]:
        """Names it uses and does not define."""
        return set() if self.tree is None else _used(self.tree) - _bound(self.tree) - _BUILTINS

    @property
    def takes_all(self) -> bool:
        """Whether it imports names without naming them."""
        return "*" in self.bound

    @property
    def acts(self) -> bool:
        """Whether it does anything; examples of input are data."""
        if self.tree is None:
            return False
        return not all(isinstance(node, ast.Expr) and _is_data(node) for node in self.tree.body)

    def serves(self, wanted: Sequence[str]) -> bool:
        """Whether it defines what is wanted, or, where nothing is, does anything."""
        return any(name in self.bound for name in wanted) if wanted else self.acts


def _defining(blocks: Sequence[_Block], wanted: Sequence[str]) -> set[int]:
    """For each name, the last of the blocks that define it best."""

    def best(name: str) -> int:
        return max((block.bound.get(name, 0) for block in blocks), default=0)

    chosen: set[int] = set()
    for name in sorted(wanted, key=best, reverse=True):
        last = _last(blocks, name, range(len(blocks)))
        if last is not None and not any(name in blocks[at].bound for at in chosen if best(name) < 2):
            chosen.add(last)
    return chosen


def _last(blocks: Sequence[_Block], name: str, among: Iterable[int]) -> int | None:
    binding = [at for at in among if name in blocks[at].bound]
    return max(binding, key=lambda at: (blocks[at].tree is not None, blocks[at].bound[name], at), default=None)


def _main(blocks: Sequence[_Block], *, reads: bool) -> int:
    """The block that is run where no name says which."""

    def rank(at: int) -> tuple[bool, ...]:
        block = blocks[at]
        starts = bool(_READS.search(block.code))
        defines = re.search(r"\b(?:def|class) ", block.code) is not None
        return (block.acts, reads and starts, defines)

    return max(range(len(blocks)), key=lambda at: (*rank(at), at))


def _complete(blocks: Sequence[_Block], chosen: set[int]) -> None:
    """Add the blocks that define what the chosen ones use: from before them, if possible."""
    while True:
        here = set().union(*(blocks[at].bound for at in chosen))
        missing = set().union(*(blocks[at].missing for at in chosen)) - here
        first = min(chosen)
        for name in sorted(missing):
            last = _last(blocks, name, range(first))
            if last is None:
                last = _last(blocks, name, set(range(first, len(blocks))) - chosen)
            if last is not None and blocks[last].tree is not None:
                chosen.add(last)
                break
        else:
            if missing:
                chosen |= {at for at in range(first) if blocks[at].takes_all}
            return


def _names_of(node: ast.stmt) -> list[str]:
    """The names that a statement at the top binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    return [name for inner in ast.walk(node) for name in _binds(inner)] if not isinstance(node, ast.Expr) else []


def _binds(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.ExceptHandler) and node.name:
        return [node.name]
    return []


def _bound(tree: ast.AST) -> set[str]:
    return {name for node in ast.walk(tree) for name in _binds(node)}


def _used(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _how_well(node: ast.stmt) -> int:
    """See `_Block.bound`. A stub's body says nothing: `...`, `pass`, a docstring, `raise NotImplementedError`."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return 1
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return 2
    stub = all(
        isinstance(inner, ast.Pass | ast.Import | ast.ImportFrom)
        or (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant))
        or (isinstance(inner, ast.Raise) and "NotImplemented" in ast.dump(inner))
        for inner in node.body
    )
    return 0 if stub else 3


def _is_data(node: ast.Expr) -> bool:
    """An expression that does nothing: data, as in an example of input."""
    return not any(isinstance(inner, ast.Call | ast.Await | ast.Yield) for inner in ast.walk(node))
