"""Numpy to Arrow, for rows that hold arrays. Pure."""

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int32


def float_lists(rows: Float32[np.ndarray, "rows T"]) -> pa.ListArray:
    """A FLOAT[] column; the values are not copied."""
    flat = np.ascontiguousarray(rows, dtype=np.float32)
    offsets = np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.ravel()))


def int_lists(rows: Int32[np.ndarray, "rows T"]) -> pa.ListArray:
    """An INTEGER[] column."""
    flat = np.ascontiguousarray(rows, dtype=np.int32)
    offsets = np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.ravel()))


def matrix(column: pa.ChunkedArray, dtype: str) -> np.ndarray:
    """[rows, T] from a list column whose lists are equally long."""
    lists = column.combine_chunks()
    values: np.ndarray = lists.flatten().to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    return values.reshape(len(lists), -1)
