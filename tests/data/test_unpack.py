import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile

import numpy as np
import pyarrow
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from astrofm.data.fetching import unpack as module
from astrofm.data.fetching.unpack import is_packed, packed_stem, safe_relative, unpack
from astrofm.errors import DataError

FILES = {"top/a.fits": b"a" * 5000, "top/deep/b.csv": b"id,ra\n1,2\n", "top/empty": b""}
PLAIN = {name.removeprefix("top/"): content for name, content in FILES.items()}


def write_tar(path, files=FILES, members=()):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(content), 0o4777, 10**9
            tar.addfile(info, io.BytesIO(content))
        for info in members:
            tar.addfile(info)
    content = packed.getvalue()
    packers = {".gz": gzip.compress, ".tgz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    if path.suffix == ".zst":
        content = pyarrow.compress(content, "zstd", asbytes=True)
    path.write_bytes(packers.get(path.suffix, bytes)(content))
    return path


def write_zip(path, files=FILES, modes=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, 0o100777) << 16
            packed.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def read(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if not path.is_dir()}


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip"])
def test_every_kind_is_unpacked_without_its_top_folder(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    (write_zip if ending == ".zip" else write_tar)(path)
    assert unpack(path, tmp_path / "out") == tmp_path / "out"
    assert read(tmp_path / "out") == PLAIN
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([path.name, "out"])


def test_members_side_by_side_keep_their_places(tmp_path):
    files = {"a.fits": b"1", "./images/b.fits": b"2", "images/c.fits": b"3"}
    unpack(write_tar(tmp_path / "a.tar.gz", files), tmp_path / "out")
    assert read(tmp_path / "out") == {"a.fits": b"1", "images/b.fits": b"2", "images/c.fits": b"3"}


def test_a_single_gz_becomes_a_file(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"1,2\n"))
    assert unpack(tmp_path / "t.csv.gz", tmp_path / "t.csv").read_bytes() == b"1,2\n"


def test_what_is_there_is_left_as_it_is(tmp_path):
    path = write_tar(tmp_path / "a.tar")
    unpack(path, tmp_path / "out")
    (tmp_path / "out" / "a.fits").write_bytes(b"mine")
    path.write_bytes(b"no longer a tar")
    unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / "a.fits").read_bytes() == b"mine"


@pytest.mark.parametrize("make", [write_tar, write_zip])
def test_permission_bits_of_the_archive_are_left_out(tmp_path, make):
    ending = ".tar" if make is write_tar else ".zip"
    unpack(make(tmp_path / f"a{ending}"), tmp_path / "out")
    mask = os.umask(0)
    os.umask(mask)
    for path in (tmp_path / "out").rglob("*"):
        expected = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == expected & ~mask


OUTSIDE = [
    "../evil",
    "top/../../evil",
    "/tmp/evil",
    "..",
    "top/..",
    "C:\\evil",
    "..\\evil",
    "\\evil",
    "a\\..\\..\\evil",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("make", [write_tar, write_zip])
def test_a_member_that_lies_outside_is_refused_by_name_and_nothing_stays(tmp_path, make, name):
    ending = ".tar.gz" if make is write_tar else ".zip"
    home = tmp_path / "deep" / "home"
    home.mkdir(parents=True)
    path = make(home / f"a{ending}", {"good": b"1", name: b"evil"})
    with pytest.raises(DataError) as caught:
        unpack(path, home / "out")
    assert str(caught.value).endswith(f"is refused: its member {name!a} lies outside the archive")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == sorted(["deep", "home", path.name])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "neither file nor folder"),
    ],
)
def test_links_and_devices_are_refused_by_name(tmp_path, kind, said):
    path = write_tar(tmp_path / "a.tar", members=[special("top/odd", kind, "../../etc/passwd")])
    with pytest.raises(DataError, match=f"its member 'top/odd' is {said}$"):
        unpack(path, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar"]


def test_a_file_through_a_link_of_the_same_archive_is_not_written(tmp_path):
    (tmp_path / "victim").mkdir()
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(special("link", tarfile.SYMTYPE, str(tmp_path / "victim")))
        info = tarfile.TarInfo("link/evil")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(DataError, match="'link' is a link"):
        unpack(path, tmp_path / "out")
    assert list((tmp_path / "victim").iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "said"), [(stat.S_IFLNK | 0o777, "a link"), (stat.S_IFCHR | 0o666, "neither file nor folder")]
)
def test_links_and_devices_in_a_zip_are_refused_by_name(tmp_path, mode, said):
    path = write_zip(tmp_path / "a.zip", {"good": b"1", "odd": b"/etc/passwd"}, {"odd": mode})
    with pytest.raises(DataError, match=f"its member 'odd' is {said}$"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def small_bounds(monkeypatch):
    monkeypatch.setattr(module, "SPARE_BYTES", 1_000_000)


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("make", [write_tar, write_zip])
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, make, monkeypatch):
    ending = ".tar.gz" if make is write_tar else ".zip"
    path = make(tmp_path / f"a{ending}", {"zeros": bytes(40_000_000)})
    assert 500 * path.stat().st_size < 40_000_000
    written = []
    count = module._Writer._count
    monkeypatch.setattr(module._Writer, "_count", lambda self, num: written.append(num) or count(self, num))
    with pytest.raises(DataError, match=r"it unpacks to more than 0\.0 GB, which is beyond 200 times its size"):
        unpack(path, tmp_path / "out")
    assert sum(written) < 200 * path.stat().st_size + 3_000_000
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.usefixtures("small_bounds")
def test_a_bomb_of_empty_files_is_refused_too(tmp_path):
    path = write_tar(tmp_path / "a.tar.xz", {f"{index}": b"" for index in range(2000)})
    with pytest.raises(DataError, match="beyond 200 times its size"):
        unpack(path, tmp_path / "out")


@pytest.mark.usefixtures("small_bounds")
def test_a_zip_that_lies_about_the_size_of_its_members_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"zeros": bytes(3_000_000)})
    size = (3_000_000).to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(DataError):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_that_shrink_a_lot_are_no_bomb(tmp_path):
    image = np.zeros((300, 300), np.uint8)
    image[140:160, 140:160] = 255
    path = write_zip(tmp_path / "a.zip", {f"{index}.raw": image.tobytes() for index in range(200)})
    assert 200 * image.nbytes > 50 * path.stat().st_size
    unpack(path, tmp_path / "out")
    assert len(read(tmp_path / "out")) == 200


def test_a_disk_that_is_too_small_is_left_alone(tmp_path, monkeypatch):
    free = module.shutil.disk_usage(".")._replace(free=2000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: free)
    with pytest.raises(DataError, match="does not fit on the disk"):
        unpack(write_tar(tmp_path / "a.tar"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


PACKED = [".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".csv.gz"]
HARMED = [(ending, harm) for ending in PACKED for harm in ("cut", "flip", "garbage")]
HARMED.remove((".tar.zst", "flip"))  # pyarrow writes it without a checksum


@pytest.mark.parametrize(("ending", "harm"), HARMED)
def test_a_damaged_archive_is_one_sentence_and_leaves_nothing(tmp_path, ending, harm):
    path = tmp_path / f"a{ending}"
    noise = {"top/a": np.random.default_rng(0).bytes(20_000), "top/b": b"2"}
    if ending == ".csv.gz":
        path.write_bytes(gzip.compress(noise["top/a"]))
    else:
        (write_zip if ending == ".zip" else write_tar)(path, noise)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    path.write_bytes({"cut": content[:middle], "flip": flipped, "garbage": b"<html>no</html>" * 99}[harm])
    with pytest.raises(DataError, match=r"is damaged \(.*\): fetch it again"):
        unpack(path, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"secret": b"1"})
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="'secret' is encrypted"):
        unpack(path, tmp_path / "out")


def test_two_members_of_one_name_are_refused(tmp_path):
    info = tarfile.TarInfo("top/empty")
    with pytest.raises(DataError, match="two of its members claim the place of 'empty'"):
        unpack(write_tar(tmp_path / "a.tar", members=[info]), tmp_path / "out")
    below = tarfile.TarInfo("top/empty/below")
    with pytest.raises(DataError, match="two of its members claim the place of"):
        unpack(write_tar(tmp_path / "b.tar", members=[below]), tmp_path / "out")


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    (tmp_path / "out.unpacking").mkdir()
    (tmp_path / "out.unpacking" / "half").write_bytes(b"1")
    unpack(write_tar(tmp_path / "a.tar"), tmp_path / "out")
    assert read(tmp_path / "out") == PLAIN


def test_other_endings_are_refused(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"1")
    with pytest.raises(DataError, match=r"it is none of \.tar, "):
        unpack(tmp_path / "a.rar", tmp_path / "out")


def test_names_tell_what_is_packed():
    assert {name: packed_stem(name) for name in ("a.tar.gz", "b.TGZ", "c.csv.gz", "d.fits", ".zip")} == {
        "a.tar.gz": "a",
        "b.TGZ": "b",
        "c.csv.gz": "c.csv",
        "d.fits": None,
        ".zip": None,
    }
    assert [is_packed(name) for name in ("a.tar.gz", "b.tgz", "c.csv.gz", "d.zip", "e.fits")] == [
        True,
        True,
        False,
        True,
        False,
    ]


@example("./\\")
@given(st.text(alphabet="./\\aC:\0", max_size=12))
def test_a_name_that_is_let_through_stays_inside(name):
    path = safe_relative(name)
    if path is None:
        return
    base = os.path.normpath("/x/base")
    assert os.path.normpath(os.path.join(base, path)).startswith(base + "/")  # noqa: PTH118 - as a string
    assert os.path.normpath(os.path.join(base, str(path).replace("\\", "/"))).startswith(base)  # noqa: PTH118
