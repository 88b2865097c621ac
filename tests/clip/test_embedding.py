"""Photographs become a store: nothing lost, nothing twice, and every vector as open_clip itself would make it."""

import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from geograph_types.errors import JobError, RecipeError, TooManyRejects
from geograph_types.model import GeographModel
from geograph_types.store import EmbeddingStore

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'geograph_types[clip]'")

from geograph_types.clip import ClipEncoder, clip_recipe, embed_images, embed_texts, load_clip
from geograph_types.recipe import Recipe

SMALL = clip_recipe("ViT-S-32-alt", "random:1")  # a small network that knows nothing


def picture(seed: int, mode: str = "RGB", size: tuple[int, int] = (80, 60)) -> Image.Image:
    """A synthetic picture: smooth random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def write_folder(folder, count, first=1):
    """Photographs under the names that Geograph gives them."""
    for number in range(first, first + count):
        path = folder / f"{number // 10_000:05d}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path, quality=87)
    return folder


def one_by_one(recipe, paths):
    """open_clip's own way: one file, one picture, one vector."""
    encoder = load_clip(recipe)
    with torch.inference_mode():
        return np.concatenate(
            [encoder.model.encode_image(encoder.preprocess(Image.open(path))[None]).numpy() for path in paths]
        )


def cosine(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def content(store):
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def rejects(store):
    return [json.loads(line) for line in (store / "rejects.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """PyTorch's threads wait for each other in a loop; on a busy machine that takes longer than the work."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("photographs") / "archive", 96)


@pytest.fixture(scope="module")
def broken_archive(photographs, tmp_path_factory):
    """96 photographs, every eighth of which is broken in one way or another."""
    folder = shutil.copytree(photographs, tmp_path_factory.mktemp("broken") / "archive")
    for number in range(8, 97, 8):
        path = folder / "00000" / f"{number}.jpg"
        path.write_bytes([b"", b"<html>Not found</html>", path.read_bytes()[:300]][number // 8 % 3])
    return folder


def test_vectors_are_open_clips_own(photographs, tmp_path):
    embed_images(photographs, tmp_path / "store", SMALL, quiet=True)
    store = EmbeddingStore.open(tmp_path / "store")
    assert len(store) == 96
    assert cosine(store.embeddings[:30], one_by_one(SMALL, store.metadata["image_path"][:30])).min() > 0.99999


def test_the_published_architecture(photographs, tmp_path):
    recipe = Recipe(pretrained="random:1")
    source = sorted(photographs.rglob("*.jpg"))[:6]
    embed_images(source, tmp_path / "store", recipe, quiet=True)
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.embeddings.shape == (6, 512)
    assert cosine(store.embeddings[:], one_by_one(recipe, source)).min() > 0.99999


def test_broken_photographs_are_rejected_and_the_others_embedded(broken_archive, tmp_path):
    summary = embed_images(broken_archive, tmp_path / "store", SMALL, quiet=True)
    found = rejects(tmp_path / "store")
    assert (summary.rows, sum(summary.rejects.values())) == (84, 12)
    assert sorted(reject["gridimage_id"] for reject in found) == list(range(8, 97, 8))
    assert all(reject["reason"] and reject["detail"] and reject["row"].endswith(".jpg") for reject in found)
    ids = EmbeddingStore.open(tmp_path / "store").metadata["gridimage_id"]
    assert set(ids) == set(range(1, 97)) - set(range(8, 97, 8))


@pytest.mark.parametrize(
    "mode, suffix",
    [
        ("L", "png"),
        ("LA", "png"),
        ("P", "gif"),
        ("CMYK", "jpg"),
        ("RGBA", "png"),
        ("1", "png"),
        ("I;16", "png"),
        ("RGB", "webp"),
        ("RGB", "tiff"),
    ],
)
def test_every_kind_of_picture_is_embedded(mode, suffix, tmp_path):
    image = (
        picture(1).convert("L").convert("I").point(lambda value: value * 256).convert("I;16")
        if mode == "I;16"
        else picture(1, mode)
    )
    image.save(tmp_path / f"1.{suffix}")
    embed_images(tmp_path / f"1.{suffix}", tmp_path / "store", SMALL, quiet=True)
    assert np.isfinite(EmbeddingStore.open(tmp_path / "store").embeddings[:]).all()


def nasty_files(folder):
    """Files that are no usable photographs, with the reason that each should get."""
    good = folder / "good.jpg"
    picture(1).save(good)
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    contents = {"empty.jpg": b"", "page.jpg": b"<html>Not found</html>", "cut.jpg": good.read_bytes()[:400]}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {
        "empty.jpg": "empty",
        "page.jpg": "not an image",
        "cut.jpg": "truncated",
        "bomb.png": "too many pixels",
        "missing.jpg": "no such file",
    }


def test_every_nasty_file_gets_its_reason_and_the_good_one_its_vector(tmp_path):
    wanted = nasty_files(tmp_path)
    names = ["good.jpg", *wanted]
    pd.DataFrame({"path": names}).to_csv(tmp_path / "table.csv", index=False)
    embed_images(tmp_path / "table.csv", tmp_path / "store", SMALL, quiet=True)
    assert {
        reject["row"].rpartition("/")[2]: reject["reason"] for reject in rejects(tmp_path / "store")
    } == wanted
    assert len(EmbeddingStore.open(tmp_path / "store")) == 1


def test_a_file_is_what_it_contains_whatever_its_name(tmp_path):
    picture(1).save(tmp_path / "right.png")
    shutil.copy(tmp_path / "right.png", tmp_path / "wrong.jpg")
    embed_images([tmp_path / "right.png", tmp_path / "wrong.jpg"], tmp_path / "store", SMALL, quiet=True)
    first, second = EmbeddingStore.open(tmp_path / "store").embeddings[:]
    assert np.array_equal(first, second)


def test_a_picture_turned_by_exif_is_the_upright_one(tmp_path):
    upright, exif = picture(1), Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    upright.save(tmp_path / "1.png")
    upright.rotate(90, expand=True).save(tmp_path / "2.png", exif=exif)
    embed_images([tmp_path / "1.png", tmp_path / "2.png"], tmp_path / "store", SMALL, quiet=True)
    first, second = EmbeddingStore.open(tmp_path / "store").embeddings[:]
    assert np.array_equal(first, second)


def test_a_strip_that_cannot_be_cropped_is_rejected(tmp_path):
    Image.new("RGB", (20_000, 2)).save(tmp_path / "1.png")
    picture(2).save(tmp_path / "2.png")
    summary = embed_images([tmp_path / "1.png", tmp_path / "2.png"], tmp_path / "store", SMALL, quiet=True)
    assert (summary.rows, summary.rejects) == (1, {"too many pixels": 1})


def test_titles_and_positions_come_from_a_table(photographs, tmp_path):
    paths = sorted(photographs.rglob("*.jpg"))[:5]
    titles = ["A lane", "", "The church at Alfriston", "A lane", "Mist"]
    table = pd.DataFrame(
        {
            "path": paths,
            "gridimage_id": range(101, 106),
            "title": titles,
            "types": "Geograph",
            "distance": "64",
            "split": "val",
            "lat": 50.8,
            "lon": 0.1,
        }
    )
    table.to_csv(tmp_path / "table.csv", index=False)
    embed_images(tmp_path / "table.csv", tmp_path / "store", SMALL, quiet=True)
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.metadata["gridimage_id"].tolist() == list(range(101, 106))
    assert store.metadata["title"].tolist() == titles
    assert store.metadata["lat"].tolist() == [50.8] * 5
    assert store.rows("val").tolist() == [0, 1, 2, 3, 4]
    half = embed_texts(titles, SMALL).astype(np.float16)  # as stores keep it
    np.testing.assert_allclose(store.text_embeddings[:], half.astype(np.float32), rtol=1e-3, atol=1e-5)


def test_photographs_at_an_address_are_rejected_as_those_on_a_disk(broken_archive, tmp_path, monkeypatch):
    """From an object storage to an object storage; the addresses are in the table."""
    import fsspec

    from geograph_types.store import copy_store, make_store_at

    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path / "cache"))
    files, names = fsspec.filesystem("memory"), [f"{number}.jpg" for number in (7, 8, 15, 16, 23, 24)]
    for name in names:
        files.pipe(f"/photographs/{name}", (broken_archive / "00000" / name).read_bytes())
    for where, folder in (("here", f"{broken_archive}/00000"), ("there", "memory://photographs")):
        paths = [f"{folder}/{name}" for name in [*names, "none.jpg"]]
        pd.DataFrame({"path": paths}).to_csv(tmp_path / f"{where}.csv", index=False)
    here = embed_images(tmp_path / "here.csv", tmp_path / "here", SMALL, quiet=True)
    make = lambda folder: embed_images(tmp_path / "there.csv", folder, SMALL, quiet=True)
    there = make_store_at("memory://stores/there", make)
    assert (there.rows, there.rejects) == (here.rows, here.rejects) and (
        here.rows,
        sum(here.rejects.values()),
    ) == (3, 4)
    copy_store("memory://stores/there", tmp_path / "there")
    vectors = [EmbeddingStore.open(tmp_path / where).embeddings[:] for where in ("here", "there")]
    assert np.array_equal(*vectors)


def test_a_photograph_that_comes_twice_is_embedded_once(photographs, tmp_path):
    path = sorted(photographs.rglob("*.jpg"))[0]
    table = pd.DataFrame({"path": [path] * 4, "gridimage_id": [7, 8, 7, 8]})
    table.to_csv(tmp_path / "table.csv", index=False)
    summary = embed_images(
        tmp_path / "table.csv", tmp_path / "store", SMALL, batch_size=1, shard_size=2, quiet=True
    )
    assert (summary.rows, summary.rejects) == (2, {"duplicate id": 2})


def test_a_source_that_went_away_stops_the_run_and_loses_nothing(photographs, tmp_path):
    source = shutil.copytree(photographs, tmp_path / "archive")
    away = [path.rename(path.with_suffix(".away")) for path in sorted(source.rglob("*.jpg"))]
    listed = [path.with_suffix(".jpg") for path in away]
    pd.DataFrame({"path": listed}).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(TooManyRejects, match="run again to go on"):
        embed_images(tmp_path / "table.csv", tmp_path / "store", SMALL, quiet=True)
    for path in away:
        path.rename(path.with_suffix(".jpg"))
    assert embed_images(tmp_path / "table.csv", tmp_path / "store", SMALL, quiet=True).rows == 96


KILLED = """
import sys
from geograph_types.clip import clip_recipe, embed_images
embed_images(sys.argv[1], sys.argv[2], clip_recipe("ViT-S-32-alt", "random:1"), batch_size=8, shard_size=24, quiet=True)
"""


def test_killed_twice_and_resumed_it_is_the_same_store(broken_archive, tmp_path):
    embed_images(broken_archive, tmp_path / "undisturbed", SMALL, batch_size=8, shard_size=24, quiet=True)
    store, partial = tmp_path / "store", tmp_path / "store.partial"
    for shards in (1, 3):
        process = subprocess.Popen([sys.executable, "-c", KILLED, broken_archive, store])
        while process.poll() is None and len(list(partial.glob("metadata/*.parquet"))) < shards:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert not store.exists()
    embed_images(broken_archive, store, SMALL, batch_size=8, shard_size=24, quiet=True)
    assert content(store) == content(tmp_path / "undisturbed")
    assert not partial.exists()


def stop_after_a_shard(source, store, recipe=SMALL):
    """Begin a store and fail behind its first shard."""
    encoder = ClipEncoder(recipe, load_clip(recipe).model, "cpu")
    encode, calls = encoder.embed_images, []

    def fail_at_third(pixels):
        calls.append(len(pixels))
        if len(calls) == 3:
            raise RuntimeError("the lights went out")
        return encode(pixels)

    encoder.embed_images = fail_at_third
    with pytest.raises(RuntimeError, match="lights"):
        embed_images(source, store, encoder, batch_size=10, shard_size=20, quiet=True)


def test_what_is_on_disk_is_not_embedded_again(photographs, tmp_path):
    stop_after_a_shard(photographs, tmp_path / "store")
    encoder = ClipEncoder(SMALL, load_clip(SMALL).model, "cpu")
    encode, embedded = encoder.embed_images, []
    encoder.embed_images = lambda pixels: embedded.append(len(pixels)) or encode(pixels)
    embed_images(photographs, tmp_path / "store", encoder, batch_size=10, shard_size=20, quiet=True)
    assert sum(embedded) == 76


@pytest.mark.parametrize("change", ["source", "recipe"])
def test_another_run_does_not_wipe_out_what_was_finished(photographs, tmp_path, change):
    stop_after_a_shard(photographs, tmp_path / "store")
    source = sorted(photographs.rglob("*.jpg"))[5:] if change == "source" else photographs
    recipe = clip_recipe("ViT-S-32-alt", "random:2") if change == "recipe" else SMALL
    with pytest.raises(JobError, match=f"differs in: {change}"):
        embed_images(source, tmp_path / "store", recipe, shard_size=20, quiet=True)
    assert len(list((tmp_path / "store.partial" / "img_emb").iterdir())) == 1


def test_activation_and_normalisation_change_vectors():
    pixels = np.stack([np.array(picture(seed, size=(224, 224))) for seed in range(3)])
    quick, plain = (load_clip(clip_recipe(name, "random:1")) for name in ("ViT-B-32-quickgelu", "ViT-B-32"))
    right = quick.embed_images(pixels)
    assert np.abs(plain.embed_images(pixels) - right).max() > 1e-3
    unit = ClipEncoder(Recipe(pretrained="random:1", normalize=True), quick.model, "cpu").embed_images(pixels)
    np.testing.assert_allclose(unit, right / np.linalg.norm(right, axis=1, keepdims=True), atol=1e-6)


def test_a_model_refuses_a_store_of_another_recipe(photographs, tmp_path):
    source = sorted(photographs.rglob("*.jpg"))[:3]
    recipe = Recipe(pretrained="random:1", normalize=True)
    embed_images(source, tmp_path / "store", recipe, quiet=True)
    with pytest.raises(
        RecipeError,
        match="normalize True instead of False.*embed PHOTOGRAPHS STORE --clip ViT-B-32-quickgelu "
        "--pretrained openai",
    ):
        GeographModel().recipe.check(EmbeddingStore.open(tmp_path / "store").recipe)


def test_weights_that_cannot_be_fetched_can_be_supplied(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "geograph_types.clip.network._tag_address",
        lambda recipe: ("", "http://127.0.0.1:9/weights.safetensors"),
    )
    monkeypatch.setattr("geograph_types.fetch._FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("geograph_types.fetch._LONGEST_WAIT_S", 0.0)
    recipe = clip_recipe("ViT-S-32-alt", "mine")
    with pytest.raises(
        RuntimeError, match="on another machine and put it at .*ViT-S-32-alt-mine.safetensors"
    ):
        load_clip(recipe)
    from safetensors.torch import save_model

    (tmp_path / "cache" / "clip").mkdir(parents=True, exist_ok=True)
    save_model(load_clip(SMALL).model, tmp_path / "cache" / "clip" / "ViT-S-32-alt-mine.safetensors")
    assert torch.equal(load_clip(recipe).model.visual.proj, load_clip(SMALL).model.visual.proj)


def test_a_first_run_says_what_it_fetches_how_large_and_where_to(tmp_path, monkeypatch, capsys):
    fetched = []
    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path))
    monkeypatch.setattr("geograph_types.clip.network._cached_by_others", lambda *_: None)
    monkeypatch.setattr("geograph_types.clip.network.download", lambda url, path, **_: fetched.append(url))
    with pytest.raises(RecipeError):  # nothing was really fetched
        load_clip(Recipe())
    assert fetched == [
        "https://huggingface.co/timm/vit_base_patch32_clip_224.openai/resolve/main/"
        "open_clip_model.safetensors"
    ]
    said = capsys.readouterr().err
    assert "605 MB" in said and str(tmp_path) in said and "openai" in said


@pytest.mark.parametrize("has_bfloat16", [False, True])
def test_vectors_do_not_depend_on_the_processor(photographs, has_bfloat16, tmp_path, monkeypatch):
    """Whatever PyTorch or Linux say of the processor, the recipe's precision is used, and written down."""
    import pathlib

    flags = f"flags: avx2 avx512f {'avx512_bf16 amx_bf16' * has_bfloat16}"
    read_text = pathlib.Path.read_text
    monkeypatch.setattr(
        pathlib.Path,
        "read_text",
        lambda path, *args, **kwargs: (
            flags if str(path) == "/proc/cpuinfo" else read_text(path, *args, **kwargs)
        ),
    )
    for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        if hasattr(torch.cpu, check):
            monkeypatch.setattr(torch.cpu, check, lambda: has_bfloat16)
    paths = sorted(photographs.rglob("*.jpg"))[:24]
    embed_images(paths, tmp_path / "store", SMALL, quiet=True)
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.recipe.precision == "float32"
    by_id = dict(zip(store.metadata["gridimage_id"], store.embeddings[:]))
    vectors = np.stack([by_id[int(path.stem)] for path in paths])
    assert cosine(vectors, one_by_one(SMALL, paths)).min() > 0.99999


CALCULATE = f"""
import sys, numpy as np
from geograph_types.clip import load_clip
from geograph_types.recipe import Recipe
np.save(sys.argv[2], load_clip({SMALL}).embed_images(np.load(sys.argv[1])))
"""


def test_float32_is_float32_on_older_processors_too(tmp_path):
    """oneDNN held to instructions from before bfloat16 gives the same vectors."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    subprocess.run(
        [sys.executable, "-c", CALCULATE, tmp_path / "pixels.npy", tmp_path / "old.npy"],
        check=True,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
    )
    assert cosine(np.load(tmp_path / "old.npy"), load_clip(SMALL).embed_images(pixels)).min() > 0.9999999


REDUCED = clip_recipe("ViT-S-32-alt", "random:1", precision="bfloat16")


def test_bfloat16_is_used_where_it_is_asked_for(photographs, tmp_path):
    embed_images(photographs, tmp_path / "store", REDUCED, quiet=True)
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.recipe.precision == "bfloat16" and "--precision bfloat16" in store.recipe.command()
    exact = one_by_one(
        SMALL, [photographs / "00000" / f"{number}.jpg" for number in store.metadata["gridimage_id"][:8]]
    )
    assert 0.999 < cosine(store.embeddings[:8], exact).min() < 0.9999999


def dies(function, items):
    """A mapper that is killed after two windows."""
    for number, item in enumerate(items):
        if number == 2:
            raise KeyboardInterrupt
        yield function(item)


def test_a_run_refuses_to_go_on_in_another_precision(photographs, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        embed_images(photographs, tmp_path / "store", SMALL, shard_size=16, mapper=dies, quiet=True)
    with pytest.raises(JobError, match="differs in: recipe.precision"):
        embed_images(photographs, tmp_path / "store", REDUCED, shard_size=16, quiet=True)
    assert embed_images(photographs, tmp_path / "store", SMALL, shard_size=16, quiet=True).rows == 96


@pytest.fixture
def embedding_reader(tmp_path, monkeypatch):
    """The package of this name. It asks for a pandas below 3 and works with later ones, so it is installed apart."""
    folder = str(tmp_path / "packages")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        folder,
        "embedding-reader>=1.8",
    ]
    if subprocess.run(pip).returncode:
        pytest.skip("embedding-reader could not be fetched")
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module("embedding_reader")


def test_the_store_is_clip_retrievals_layout(photographs, embedding_reader, tmp_path):
    embed_images(photographs, tmp_path / "store", SMALL, shard_size=64, quiet=True)
    reader = embedding_reader.EmbeddingReader(
        embeddings_folder=str(tmp_path / "store" / "img_emb"),
        file_format="parquet_npy",
        metadata_folder=str(tmp_path / "store" / "metadata"),
        meta_columns=["gridimage_id", "image_path"],
    )
    assert (reader.count, reader.dimension) == (96, 256)
    parts = list(reader(batch_size=50, start=0, end=96, show_progress=False))
    store = EmbeddingStore.open(tmp_path / "store")
    assert np.array_equal(np.concatenate([vectors for vectors, _ in parts]), store.embeddings[:])
    assert (
        pd.concat([meta for _, meta in parts])["gridimage_id"].tolist()
        == store.metadata["gridimage_id"].tolist()
    )


def test_big_pictures_are_cropped_as_open_clip_does(tmp_path):
    buffer = io.BytesIO()
    picture(3, size=(1200, 500)).save(buffer, "JPEG")
    (tmp_path / "wide.jpg").write_bytes(buffer.getvalue())
    embed_images(tmp_path / "wide.jpg", tmp_path / "store", SMALL, quiet=True)
    ours = EmbeddingStore.open(tmp_path / "store").embeddings[:]
    assert cosine(ours, one_by_one(SMALL, [tmp_path / "wide.jpg"])).min() > 0.99999
