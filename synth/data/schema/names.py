"""Names of columns that are kept beside ours."""

from collections.abc import Container


def free_name(name: str, taken: Container[str], columns: Container[str]) -> str:
    """The name of a kept column: its own, or, if that is taken, `input_NAME` (repeated until it is free).

    Args:
        name: its name in the source.
        taken: names of our own columns.
        columns: names of all columns in the source.
    """
    new = name
    while new in taken or (new != name and new in columns):
        new = f"input_{new}"
    return new
