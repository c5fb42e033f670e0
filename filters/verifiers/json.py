"""`json`: the response is JSON, of the row's schema if there is one.

Read is the last fenced block, or else the whole response. With a schema (`VerifierSettings.schema`, or the column
`schema` or `json_schema`) the value must be valid under it; without one, but with a reference that is JSON, it must
equal the reference; else it is enough that it parses. NaN, infinity and repeated keys are no JSON here; text around the
value is refused.
"""

import json
from typing import Any

from filters.response.code_blocks import fenced_blocks
from filters.response.extract import conclusion
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierError, VerifierSettings


def checker(settings: VerifierSettings) -> Check:
    """The check.

    Raises:
        VerifierError: `settings.schema` is no JSON Schema.
    """
    fixed: Any = None
    if settings.schema is not None:
        try:
            fixed = _validator(loads(settings.schema))
        except ValueError as error:
            raise VerifierError(f"`schema` is no JSON Schema: {error}") from error

    def check(response: str, task: Task) -> Verdict:
        schema = fixed
        if schema is None and (column := task.columns.get("schema") or task.columns.get("json_schema")):
            try:
                schema = _validator(loads(column) if isinstance(column, str) else column)
            except ValueError as error:
                return Verdict(UNSCORABLE, None, f"the row's schema is no JSON Schema: {error}")
        said = conclusion(response)
        blocks = fenced_blocks(said)
        text = (blocks[-1][1] if blocks else said).strip()
        try:
            value = loads(text)
        except (ValueError, RecursionError) as error:
            return Verdict(WRONG, None, f"no JSON: {error}")
        if schema is not None:
            return _validated(schema, value, text)
        expected = _reference(task)
        if expected is None or expected == (value,):
            return Verdict(RIGHT, text)
        return Verdict(WRONG, text, "not the reference's value")

    return check


def loads(text: str) -> Any:
    """Strict JSON.

    Raises:
        ValueError: it is none: also for NaN, infinity and repeated keys.
    """

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            raise ValueError("a key is repeated")
        return value

    return json.loads(text, parse_constant=constant, object_pairs_hook=unique)


def _reference(task: Task) -> tuple[Any] | None:
    """The reference's value, if it is JSON (a tuple, since the value may be null)."""
    try:
        return (loads(conclusion(task.reference)),) if task.reference else None
    except (ValueError, RecursionError):
        return None


def _validator(schema: Any) -> Any:
    import jsonschema
    import referencing

    if not isinstance(schema, dict | bool):
        raise ValueError("it is neither an object nor true or false")
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(error.message) from error
    return kind(schema, registry=referencing.Registry())  # an empty registry: a $ref to the network is not followed


def _validated(schema: Any, value: Any, text: str) -> Verdict:
    import jsonschema
    import referencing.exceptions

    try:
        error = jsonschema.exceptions.best_match(schema.iter_errors(value))
    except (referencing.exceptions.Unresolvable, RecursionError) as problem:
        return Verdict(UNSCORABLE, text, f"the schema cannot be followed: {problem}")
    if error is None:
        return Verdict(RIGHT, text)
    where = "/".join(map(str, error.absolute_path))
    return Verdict(WRONG, text, f"{where or 'the value'}: {error.message}"[:300])
