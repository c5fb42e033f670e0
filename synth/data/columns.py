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
