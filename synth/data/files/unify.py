"""One schema for files written separately: differing types are promoted, missing columns are null."""

from collections.abc import Sequence

import pyarrow as pa

from synth.data.columns import cast_to
from synth.data.store.path import File
from synth.errors import UsageError


def one_schema(files: Sequence[tuple[File, pa.Schema]]) -> pa.Schema:
    """The schema that holds the rows of all files.

    Null becomes the type of the others, narrow numbers wider ones, dictionaries and views text; a list or a struct
    follows the types in it.

    Raises:
        UsageError: there is no type for a column; the message names it, its types, and two files.
    """
    first, schema = files[0]
    if all(other.equals(schema) for _, other in files):
        return _plain(schema) if any(_odd(item.type) for item in schema) else schema
    origins = dict.fromkeys(schema.names, first)
    schema = _plain(schema)
    for path, other in files[1:]:
        if other.names and schema.names and not set(other.names) & set(schema.names):
            raise UsageError(f"{path}: it has no column of those in {first}; name the files one by one")
        try:
            schema = pa.unify_schemas([schema, _plain(other)], promote_options="permissive")
        except pa.ArrowException as error:
            raise UsageError(_difference(schema, other, origins, path)) from error
        for name in other.names:
            origins.setdefault(name, path)
    return schema


def conformed(batch: pa.RecordBatch, schema: pa.Schema, path: File) -> pa.RecordBatch:
    """A batch of a file, converted to the schema.

    Raises:
        UsageError: a value would change, or a column has no place.
    """
    if batch.schema.equals(schema):
        return batch
    if more := [name for name in batch.schema.names if name not in schema.names]:
        raise UsageError(f"{path}: its columns differ from those of the other files: {', '.join(more)}")
    columns = []
    for item in schema:
        if item.name not in batch.schema.names:
            columns.append(pa.nulls(batch.num_rows, item.type))
            continue
        column = batch.column(item.name)
        try:
            columns.append(column if column.type == item.type else cast_to(_plain_column(column), item.type))
        except pa.ArrowException as error:
            raise UsageError(
                f"{path}: column {item.name!r} holds {column.type}, with the other files {item.type}, and a value does "
                f"not fit: {' '.join(str(error).split())}"
            ) from error
    return pa.record_batch(columns, schema=schema)


def _difference(schema: pa.Schema, other: pa.Schema, origins: dict[str, File], path: File) -> str:
    """Names the column in which two schemas are incompatible."""
    for name in other.names:
        if schema.names.count(name) > 1 or other.names.count(name) > 1:
            return f"{path}: several columns are called {name}: rename them"
        if name not in schema.names:
            continue
        one, two = schema.field(name), _plain(other).field(name)
        try:
            pa.unify_schemas([pa.schema([one]), pa.schema([two])], promote_options="permissive")
        except pa.ArrowException:
            return (
                f"column {name!r} holds {one.type} in {origins[name]} and {two.type} in {path}: write them anew with "
                "one type, or name the files one by one"
            )
    return f"{path}: its columns are incompatible with those of the files before it"


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([item.with_type(_plain_type(item.type)).with_nullable(True) for item in schema])


def _odd(kind: pa.DataType) -> bool:
    """Whether a type is one that much of Arrow, and other libraries, cannot work with: views, and `datasets`' Json."""
    if isinstance(kind, pa.JsonType) or kind in (pa.string_view(), pa.binary_view()) or pa.types.is_list_view(kind):
        return True
    if pa.types.is_dictionary(kind):
        return _odd(kind.value_type)
    return any(_odd(kind.field(at).type) for at in range(kind.num_fields))


def _plain_column(column: pa.Array) -> pa.Array:
    """A column of its plain type."""
    if pa.types.is_dictionary(column.type) and _odd(column.type.value_type):  # Arrow takes no values from one of views
        words = column.dictionary.cast(_plain_type(column.type.value_type))
        column = pa.DictionaryArray.from_arrays(column.indices, words)
    return cast_to(column, _plain_type(column.type))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """A type that others can be promoted to: what is stored otherwise to save room is stored as it is, JSON as text."""
    if isinstance(kind, pa.JsonType):
        return pa.string()
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if kind in (pa.string_view(), pa.binary_view()):
        return pa.string() if kind == pa.string_view() else pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([item.with_type(_plain_type(item.type)).with_nullable(True) for item in kind])
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(_plain_type(kind.value_type))
    return pa.large_list(_plain_type(kind.value_type)) if pa.types.is_large_list(kind) else kind
