"""The index file: 18 bytes a sample, both ways, and nothing but whole records."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.errors import DataError
from data_shards.index import RECORD, decode_index, encode_index

U32, U16 = st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1)


def test_a_record_is_these_18_bytes():
    record = np.array([(3, 0x0102, 0xDEADBEEF, 7, 500, 375)], RECORD)
    assert encode_index(record).hex() == "0300000002010000efbeadde0700f4017701"


@given(st.lists(st.tuples(U32, U32, U32, U16, U16, U16)))
def test_records_survive_the_file(rows):
    raw = encode_index(np.array(rows, RECORD))
    assert decode_index(raw).tolist() == rows


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_a_data_error(raw):
    if len(raw) % 18:
        with pytest.raises(DataError, match=f"{len(raw)} bytes.*multiple of 18"):
            decode_index(raw)
    else:
        assert len(decode_index(raw)) == len(raw) // 18
