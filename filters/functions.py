"""Available functions, as data sets write their schemas, and whether a call fits them.

Read are OpenAI's form ({"type": "function", "function": {…}}), a function by itself (parameters under `parameters`,
`input_schema` or `inputSchema`), a JSON Schema with a title, and the text of each, JSON or as Python prints it. Types
may have Python's names (`dict`, `float`, `List[int]`), as in the Berkeley Function-Calling Leaderboard and in xLAM's
data, where parameters stand without a schema around them.
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_PARAMETERS = ("parameters", "input_schema", "inputSchema")
_NAME = re.compile(r"[^\s\"'<>{}()\[\],`]{1,200}")
_TYPES = {
    **dict.fromkeys(("dict", "dictionary", "mapping", "hashmap"), "object"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("str", "char"), "string"),
    **dict.fromkeys(("list", "tuple", "set", "arraylist"), "array"),
    "bool": "boolean",
    "none": "null",
}
_ANY = {"any", "object | any", ""}
_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ONE = ("items", "additionalProperties", "not")


@dataclass(frozen=True)
class Functions:
    """Functions on offer, each in OpenAI's form."""

    offers: tuple[Mapping[str, Any], ...]

    @property
    def names(self) -> list[str]:
        """Their names, in their order."""
        return [offer["function"]["name"] for offer in self.offers]

    def fault(self, name: str, arguments: Mapping[str, Any], *, whole: bool = True) -> str | None:
        """Why a call does not fit the functions on offer, in one line; None where it does.

        Without `whole` only the arguments that are there are looked at.
        """
        import jsonschema
        import referencing.exceptions

        if name not in self._validators:
            return f"calls {name}, which is not on offer"
        validator = self._validators[name]
        if unknown := sorted(arguments.keys() - _known(validator.schema, arguments)) if whole else ():
            return f"{name} takes no {', '.join(unknown)}"[:300]
        try:
            errors = (error for error in validator.iter_errors(arguments) if whole or error.validator != "required")
            error = jsonschema.exceptions.best_match(errors)
        except (referencing.exceptions.Unresolvable, RecursionError) as problem:
            return f"the schema of {name} cannot be followed: {problem}"[:300]
        if error is None:
            return None
        where = "/".join(map(str, error.absolute_path))
        return f"{name}: {where}: {error.message}"[:300] if where else f"{name}: {error.message}"[:300]

    @cached_property
    def _validators(self) -> dict[str, Any]:
        return {offer["function"]["name"]: _validator(offer["function"]["parameters"]) for offer in self.offers}


def read_functions(value: Any) -> Functions:
    """The functions on offer in a column or a file.

    Args:
        value: a list of functions, one function, or the JSON text of either.

    Raises:
        ValueError: a function cannot be read, or has no schema to hold calls against; the message says which.
    """
    value = _loaded(value, "the functions")
    offers: dict[str, Mapping[str, Any]] = {}
    for number, item in enumerate(value if isinstance(value, list | tuple) else [value], 1):
        offer = _offer(item, f"function {number}")
        name = offer["function"]["name"]
        if name in offers:
            raise ValueError(f"function {number} is called {name}, as another is")
        offers[name] = offer
    if not offers:
        raise ValueError("there is no function")
    return Functions(tuple(offers.values()))


def _offer(item: Any, which: str) -> dict[str, Any]:
    """One function in OpenAI's form."""
    item = _loaded(item, which)
    if not isinstance(item, Mapping):
        raise ValueError(f"{which} is no object")
    kind = item.get("type")
    within = item.get("function")
    inner: Mapping[str, Any] = within if isinstance(within, Mapping) else item
    if inner is item and isinstance(kind, str) and kind not in ("function", "object", "custom", ""):
        raise ValueError(f"{which} is of type {kind}, and no function")
    name = inner.get("name") or (inner.get("title") if "properties" in inner else None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{which} has no name" if not name else f"{which} has a name that cannot be called: {name!r}")
    which = f"{which} ({name})"
    key = next((key for key in _PARAMETERS if inner.get(key)), None)
    given = inner[key] if key else {"properties": {}}
    if key is None and "properties" in inner:  # a JSON Schema with a title
        given = {part: value for part, value in inner.items() if part not in ("title", "name", "description")}
    parameters = _parameters(_loaded(given, f"the parameters of {which}"), which)
    described = {"description": str(inner["description"])} if inner.get("description") else {}
    return {"type": "function", "function": {"name": name, **described, "parameters": parameters}}


def _parameters(given: Any, which: str) -> dict[str, Any]:
    """The JSON Schema of a function's parameters."""
    if not isinstance(given, Mapping):
        raise ValueError(f"the parameters of {which} are no JSON Schema")
    if not _is_schema(given):
        if not all(isinstance(value, Mapping) for value in given.values()):
            raise ValueError(f"the parameters of {which} are no JSON Schema: they have no `properties`")
        given = _wrapped(given)
    schema: dict[str, Any] = _schema({"type": "object", **given})
    if schema.get("type") != "object":
        raise ValueError(f"the parameters of {which} are of type {schema.get('type')}, and no object")
    if fault := _schema_fault(schema):
        raise ValueError(f"the parameters of {which} are no JSON Schema: {fault}")
    return schema


def _schema_fault(schema: Mapping[str, Any]) -> str | None:
    import jsonschema

    try:
        _validator(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        return f"{where + ': ' if where else ''}{' '.join(error.message.split())}"[:300]
    except RecursionError:
        return "it is nested too deep"
    return None


def _is_schema(given: Mapping[str, Any]) -> bool:
    """Whether parameters are a schema, rather than schemas by name."""
    if isinstance(given.get("properties"), Mapping) or not given:
        return True
    return isinstance(given.get("type"), str | list) or any(key in given for key in ("$ref", *_LISTS))


def _wrapped(given: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Parameters that stand without a schema around them; those with a default, or called optional, may be left out."""
    properties, required = {}, []
    for key, value in given.items():
        words = [word.strip() for word in str(value.get("type", "")).split(",")]
        optional = "optional" in [word.lower() for word in words]
        kept = ", ".join(word for word in words if word.lower() != "optional")
        properties[key] = {**value, "type": kept} if kept else {k: v for k, v in value.items() if k != "type"}
        if not optional and "default" not in value and value.get("required") is not False:
            required.append(key)
    return {"type": "object", "properties": properties, "required": required}


def _schema(schema: Any) -> Any:
    """A schema whose types have JSON Schema's names, in all its parts."""
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    kind = _type(made.get("type"))
    if kind is None:
        made.pop("type", None)
    else:
        made["type"] = kind
    if isinstance(made.get("required"), bool):  # of a parameter, as old drafts and people write it
        del made["required"]
    for key in _SCHEMAS:
        if isinstance(made.get(key), Mapping):
            made[key] = {name: _schema(inner) for name, inner in made[key].items()}
    for key in _LISTS:
        if isinstance(made.get(key), Sequence) and not isinstance(made[key], str):
            made[key] = [_schema(inner) for inner in made[key]]
    return made | {key: _schema(made[key]) for key in _ONE if key in made}


def _type(kind: Any) -> Any:
    """A type by its name in JSON Schema; None for any type."""
    if isinstance(kind, list):
        kinds = [_type(one) for one in kind]
        return None if None in kinds else kinds
    if not isinstance(kind, str):
        return kind
    plain = re.split(r"[\[<(]", kind.strip(), maxsplit=1)[0].strip().lower()
    return None if plain in _ANY else _TYPES.get(plain, plain)


def _known(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> set[str]:
    """The arguments that a function takes: all, where its schema does not only list properties."""
    open_ended = ("additionalProperties", "patternProperties", "$ref", "unevaluatedProperties", *_LISTS)
    return set(arguments) if any(key in schema for key in open_ended) else set(schema.get("properties") or ())


def _validator(schema: Mapping[str, Any]) -> Any:
    import jsonschema
    import referencing

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return kind(schema, registry=referencing.Registry())  # an empty registry: a $ref to the network is not followed


def _loaded(value: Any, which: str) -> Any:
    """The value in a text: JSON, or Python's notation of it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise ValueError(f"{which}: no JSON: {error}") from error
