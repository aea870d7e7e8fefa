"""Plain tars listed in place: every member where Python's tarfile has it, and whatever is odd refused by name."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.errors import DataError
from data_shards.sources.tars import MAX_HEADER, Tar, members, tar_file
from data_shards.tarwalk import TarFaultError, walk
from tests.data_shards.archives import photo, tar, tar_of


def listed(raw: bytes, tmp_path: Path, **options) -> list[tuple[str, bytes]]:
    (tmp_path / "a.tar").write_bytes(raw)
    return [
        (member.name, raw[member.offset : member.offset + member.size])
        for member in members(tar_file(tmp_path / "a.tar"), **options)
    ]


FILES = [
    ("a.jpg", b"x" * 511),
    ("b/c.jpg", b""),
    ("d" * 90 + "/" + "e" * 120, b"long"),
    ("ü.jpg", b"y" * 1024),
]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_found_without_extracting(tmp_path: Path, form: int) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("b")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in FILES:
            info = tarfile.TarInfo(name[-99:] if form == tarfile.USTAR_FORMAT else name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert [content for _, content in listed(raw.getvalue(), tmp_path)] == [content for _, content in FILES]


def test_an_archive_inside_an_archive(tmp_path: Path) -> None:
    inner = tar(FILES)
    raw = tar([("before", b"z" * 100), ("inner.tar", inner), ("after", b"")])
    (tmp_path / "outer.tar").write_bytes(raw)
    outer = list(members(tar_file(tmp_path / "outer.tar")))
    window = Tar(path=tmp_path / "outer.tar", start=outer[1].offset, size=outer[1].size, name="inner")
    found = [(member.name, raw[member.offset :][: member.size]) for member in members(window)]
    assert found == FILES


def _odd(name: str = "odd", kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("info", "complaint"),
    [
        (_odd("../../etc/cron.d/job"), r"'../../etc/cron.d/job', its name leads out"),
        (_odd("a/../../b.jpg"), "its name leads out"),
        (_odd("/etc/passwd"), "'/etc/passwd', its name leads out"),
        (_odd("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), "'a.jpg', a link to '/etc/passwd'"),
        (_odd("a.jpg", tarfile.LNKTYPE, "../x"), "'a.jpg', a link to '../x'"),
        (_odd("a.jpg", tarfile.FIFOTYPE), "'a.jpg', a device or FIFO"),
        (_odd("a.jpg", tarfile.CHRTYPE), "'a.jpg', a device or FIFO"),
        (_odd("a.jpg", tarfile.BLKTYPE), "'a.jpg', a device or FIFO"),
        (_odd("a.jpg", tarfile.GNUTYPE_SPARSE), "a sparse file"),
        (_odd("a.jpg", tarfile.CONTTYPE), "of type b'7'"),
        (_odd("a.jpg", b"V"), "of type b'V'"),
        (_odd("../up", tarfile.DIRTYPE), "its name leads out"),
    ],
)  # fmt: skip
def test_hostile_members_are_refused_by_name(tmp_path: Path, info: tarfile.TarInfo, complaint: str) -> None:
    with pytest.raises(
        DataError, match=rf"a\.tar holds .*{complaint}.*refused\. .*make it anew without that"
    ):
        listed(tar_of(info), tmp_path)
    with pytest.raises(
        TarFaultError, match=rf"^byte 1,024: .*{complaint}.*refused\. .*make it anew without that"
    ):
        list(walk(io.BytesIO(tar_of(info)), len(tar_of(info))))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_too_many_members(tmp_path: Path) -> None:
    raw = tar((f"{n}.jpg", b"") for n in range(21))
    assert len(listed(raw, tmp_path, most=21)) == 21
    with pytest.raises(DataError, match=r"a\.tar has more than 20 members: .*has that many\. Split it"):
        listed(raw, tmp_path, most=20)


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    header = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(DataError, match=f"a header of 8,589,934,592 bytes, the limit is {MAX_HEADER:,}"):
        listed(header + bytes(2048), tmp_path)


def test_a_member_that_says_it_is_larger_than_the_archive(tmp_path: Path) -> None:
    info = tarfile.TarInfo("big.jpg")
    info.size = 8 << 30
    with pytest.raises(DataError, match=r"'big.jpg' needs 8,589,934,592 bytes from byte 512"):
        listed(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024), tmp_path)


SAMPLE = tar((f"{n}.jpg", photo(n)) for n in range(4))


def test_every_truncation_is_found(tmp_path: Path) -> None:
    end = SAMPLE.rindex(b"ustar") - 257 + 512 + 1024  # of the last member's blocks, about
    whole = listed(SAMPLE, tmp_path)
    assert len(whole) == 4
    for cut in (0, 1, 511, 512, 513, *range(600, end, 97), *range(512, end, 512)):
        if SAMPLE[cut:].strip(b"\0"):
            with pytest.raises(DataError, match=r"a\.tar (is|has|ends)"):
                listed(SAMPLE[:cut], tmp_path)


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path) -> None:
    raw = bytearray(SAMPLE)
    raw[SAMPLE.index(b"2.jpg")] ^= 1
    with pytest.raises(DataError, match="cut off or damaged at byte"):
        listed(bytes(raw), tmp_path)


@given(
    place=st.integers(0, len(SAMPLE) - 1), junk=st.binary(min_size=1, max_size=40), cut=st.integers(0, 12_000)
)
def test_junk_is_listed_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, place: int, junk: bytes, cut: int
) -> None:
    raw = (SAMPLE[:place] + junk + SAMPLE[place + len(junk) :])[: cut or None]
    file = tmp_path_factory.getbasetemp() / "junk.tar"
    file.write_bytes(raw)
    try:
        found = list(members(tar_file(file)))
    except DataError:
        return
    assert all(0 <= member.offset <= member.offset + member.size <= len(raw) for member in found)
