"""Stores at addresses: a copy that was interrupted is finished by the same command only, and nothing is mixed."""

import shutil

import fsspec
import pytest

from geograph_types.data import convert
from geograph_types.errors import GeographError, JobError, OutputExistsError
from geograph_types.store import RowSummary, copy_store, make_store_at
from geograph_types.synthetic import write_sample


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two stores whose files are of the same lengths."""
    folder = tmp_path_factory.mktemp("stores")
    for seed, name in enumerate(("one", "other")):
        convert(write_sample(folder / f"{name}.jsonl", 20, seed), folder / name, dtype="float32", quiet=True)
    return folder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path / "cache"))
    yield
    files = fsspec.filesystem("memory")
    if files.exists("/bucket"):
        files.rm("/bucket", recursive=True)


def content(address):
    files = fsspec.filesystem("memory")
    return {path.rpartition("/")[2]: files.cat_file(path) for path in files.find(address.partition(":/")[2])}


def maker(stores, name):
    """Makes a store, and says so once more if it is there."""

    def make(folder) -> RowSummary:
        if folder.exists() and (folder / "made").read_text() != name:
            raise OutputExistsError(str(folder))
        if not folder.exists():
            shutil.copytree(stores / name, folder)
            (folder / "made").write_text(name)
        return RowSummary(folder, 20, {}, folder / "rejects.jsonl")

    return make


def interrupted(stores, address, monkeypatch):
    """A store on its way, of which one file has arrived."""
    from geograph_types.store import remote

    same, done = shutil.copyfileobj, []

    def copy(original, written, size):
        if done:
            raise ConnectionError("the network is gone")
        done.append(same(original, written, size))

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(remote.shutil, "copyfileobj", copy)
        make_store_at(address, maker(stores, "one"))


def test_a_copy_that_was_interrupted_is_finished_by_its_own_command_only(stores, monkeypatch):
    address = "memory://bucket/store"
    interrupted(stores, address, monkeypatch)
    with pytest.raises(JobError, match="another store was on its way"):
        make_store_at(address, maker(stores, "other"))
    make_store_at(address, maker(stores, "one"))
    made = content(address)
    assert made.pop("made") == b"one"
    copy_store(stores / "one", "memory://bucket/whole")
    assert made == content("memory://bucket/whole")


def test_files_of_the_same_length_are_compared(stores):
    files, address = fsspec.filesystem("memory"), "memory://bucket/store"
    copy_store(stores / "one", address)
    files.rm("/bucket/store/manifest.json")  # the copy was interrupted before its end
    copy_store(stores / "other", address)
    copy_store(stores / "other", "memory://bucket/whole")
    assert content(address) == content("memory://bucket/whole")


def test_another_store_stays_as_it_is(stores):
    copy_store(stores / "one", "memory://bucket/store")
    before = content("memory://bucket/store")
    with pytest.raises(OutputExistsError, match="holds a store already"):
        copy_store(stores / "other", "memory://bucket/store")
    assert content("memory://bucket/store") == before


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nosuch://bucket/store", "Protocol not known"),
        ("http://127.0.0.1:9/store", "nothing can be put there"),
        ("memory://bucket/store", "holds a store already"),
    ],
)
def test_an_address_is_looked_at_before_the_work(address, said, stores):
    copy_store(stores / "one", "memory://bucket/store")
    with pytest.raises(GeographError, match=said):
        make_store_at(address, lambda folder: pytest.fail("the work began"))


def test_an_address_of_this_machine_is_a_folder(stores):
    before = sorted(stores.rglob("*"))
    with pytest.raises(OutputExistsError, match="one is there already"):
        make_store_at(f"file://{stores}/one", lambda folder: convert(stores / "other.jsonl", folder))
    assert sorted(stores.rglob("*")) == before
