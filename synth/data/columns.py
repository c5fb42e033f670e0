"""Types of columns."""

from collections.abc import Callable

import pyarrow as pa

IsType = Callable[[pa.DataType], bool]


def lists_of(kind: pa.DataType, *tests: IsType) -> bool:
    """Whether a column holds lists whose items are of one of some types.

    Args:
        kind: the column's type.
        tests: of `pyarrow.types`, such as `is_integer`.
    """
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return any(test(kind.value_type) for test in tests)


def cast_to(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column in another type; as it is where it has that type already.

    To cast a slice of structs with null members to their own type makes a damaged array (pyarrow 26).

    Raises:
        pa.ArrowException: a value does not fit.
    """
    return column if column.type == kind else column.cast(kind)
