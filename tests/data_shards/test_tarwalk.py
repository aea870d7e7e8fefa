"""The walk over a tar's frame: the same members as Python's tarfile, or an error with its byte; never anything else."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.tarwalk import Member, TarFaultError, walk

NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=150
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=1200)), max_size=6)
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def tar_of(members: list[tuple[str, bytes]], form: int) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 0.5
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def walked(raw: bytes) -> list[Member]:
    return list(walk(io.BytesIO(raw), len(raw)))


@settings(deadline=None)
@given(MEMBERS, FORMATS)
def test_the_same_members_as_tarfile(members: list[tuple[str, bytes]], form: int) -> None:
    raw = tar_of(members, form)
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        theirs = [(info.name, info.offset_data, info.size) for info in tar]
    assert [(member.name, member.start, member.size) for member in walked(raw)] == theirs
    assert [raw[member.start : member.start + member.size] for member in walked(raw)] == [
        content for _, content in members
    ]


@settings(deadline=None)
@given(MEMBERS, FORMATS, st.data())
def test_cut_off_before_its_end_mark_it_is_refused(
    members: list[tuple[str, bytes]], form: int, data: st.DataObject
) -> None:
    raw = tar_of(members, form)
    end = max((member.padded_end for member in walked(raw)), default=0)
    length = data.draw(st.integers(0, end))
    with pytest.raises(TarFaultError):
        walked(raw[:length])


@settings(deadline=None, max_examples=300)
@given(MEMBERS, FORMATS, st.data())
def test_any_damage_gives_members_inside_the_file_or_a_fault(
    members: list[tuple[str, bytes]], form: int, data: st.DataObject
) -> None:
    raw = bytearray(tar_of(members, form))
    for at, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=5)
    ):
        raw[at] = byte
    found = outcome(bytes(raw))
    if isinstance(found, TarFaultError):
        assert 0 <= found.offset <= len(raw)
    else:
        assert all(0 < member.start <= member.start + member.size <= len(raw) for member in found)


def outcome(raw: bytes) -> list[Member] | TarFaultError:
    try:
        return walked(raw)
    except TarFaultError as fault:
        return fault


@given(st.binary(max_size=3000))
def test_any_bytes_are_members_or_a_fault(raw: bytes) -> None:
    found = outcome(raw)
    assert isinstance(found, TarFaultError) or (found == [] and raw[:512] == bytes(512))


def pax(records: bytes) -> bytes:
    """A tar of one pax header with these records, and one member behind it."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    member = tarfile.TarInfo("a.jpg")
    member.size = 3
    block = records + bytes(-len(records) % 512)
    return (
        header.tobuf(tarfile.USTAR_FORMAT)
        + block
        + member.tobuf(tarfile.USTAR_FORMAT)
        + b"abc".ljust(512, b"\0")
        + bytes(1024)
    )


def test_pax_records() -> None:
    assert walked(pax(b"14 path=b.jpg\n")) == [Member(name="b.jpg", start=1536, size=3)]
    assert walked(pax(b"10 size=2\n")) == [Member(name="a.jpg", start=1536, size=2)]
    assert walked(pax(b"18 comment=a\nb=c\n\n14 path=b.jpg\n")) == [Member(name="b.jpg", start=1536, size=3)]


@pytest.mark.parametrize(
    "records",
    [
        b"0 path=b\n",
        b"99999999999 path=b\n",
        b"path=b\n",
        b"14 path=b.jpgx",
        b"-5 path=b\n",
        b"5 path=b\n",
        b"\xff",
    ],
)
def test_pax_records_that_are_none(records: bytes) -> None:
    with pytest.raises(TarFaultError, match="pax header that is damaged"):
        walked(pax(records))


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (b"-1", "byte 512: a pax header that says size b'-1'"),
        (b"9" * 400, "byte 512: a pax header that says size b'99999"),
        (b"9" * 18, f"byte 1,024: a.jpg has {'9' * 18} bytes, the file ends before"),
    ],
)
def test_a_size_never_leads_out(size: bytes, said: str) -> None:
    record = b" size=" + size + b"\n"
    length = next(n for n in range(1, 500) if n == len(str(n)) + len(record))
    with pytest.raises(TarFaultError) as caught:
        walked(pax(str(length).encode() + record))
    assert str(caught.value).startswith(said)


def test_sparse_files_and_long_headers_are_refused() -> None:
    sparse = tarfile.TarInfo("a.jpg")
    sparse.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(TarFaultError, match=r"'a.jpg', a sparse file, .* refused"):
        walked(sparse.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    long = tarfile.TarInfo("long")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 2**20 + 1
    with pytest.raises(TarFaultError, match="an extended header of 1,048,577 bytes"):
        walked(long.tobuf(tarfile.GNU_FORMAT) + bytes(2**20 + 512 * 4))
