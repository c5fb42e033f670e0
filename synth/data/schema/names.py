"""Names of columns that are kept beside ours."""

from collections.abc import Container


def free_name(name: str, taken: Container[str], columns: Container[str]) -> str:
    """What a kept column is called: its own name; or `input_NAME`, as often as it takes, where that is not free.

    Args:
        name: what it is called where it comes from.
        taken: names that ours have.
        columns: names of all columns where it comes from.
    """
    new = name
    while new in taken or (new != name and new in columns):
        new = f"input_{new}"
    return new
