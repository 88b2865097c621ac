"""Prompts that share a label, vectors of other lengths, and how sure a correlation is."""

import os

import numpy as np
import pandas as pd
import pytest

from geograph_types.errors import InputError
from geograph_types.places import RegionTable
from geograph_types.zeroshot import (
    PromptSet,
    TextFeatures,
    classify,
    classify_by_region,
    encode_prompts,
    frequency_correlation,
)


def random_vectors(rows: int, seed: int) -> np.ndarray:
    """(rows, 8) of length one."""
    vectors = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


PHOTOGRAPHS = random_vectors(50, seed=0)
COUNTRIES = TextFeatures(
    ("A", "B", "C", "D"), random_vectors(4, seed=1), 5.0, texts=(("a",), ("b",), ("c",), ("d",))
)


def by_one_region(vectors, **how):
    """The same question by way of the only region there is."""
    earth = TextFeatures(("Earth",), random_vectors(1, seed=2), 5.0)
    return classify_by_region(vectors, earth, COUNTRIES, RegionTable({"Earth": COUNTRIES.labels}), **how)


@pytest.mark.parametrize(
    "ask",
    [lambda vectors, **how: classify(vectors, COUNTRIES, **how), by_one_region],
    ids=["at once", "by region"],
)
def test_the_length_of_a_vector_counts_only_if_asked(ask):
    usual = ask(PHOTOGRAPHS).probabilities
    np.testing.assert_allclose(ask(10 * PHOTOGRAPHS).probabilities, usual, rtol=1e-4)
    np.testing.assert_allclose(ask(PHOTOGRAPHS, normalize=False).probabilities, usual, rtol=1e-4)
    assert (ask(10 * PHOTOGRAPHS, normalize=False).probabilities[:, 0] > usual[:, 0]).all()


def test_restricted_prompts_keep_their_own_texts():
    few = COUNTRIES.restrict(["D", "B"])
    assert few.labels == ("B", "D") and few.texts == (("b",), ("d",))
    np.testing.assert_array_equal(few.features, COUNTRIES.features[[1, 3]])


def test_an_entry_of_several_prompts_is_the_mean_of_their_directions():
    pytest.importorskip("open_clip", reason="needs open_clip: pip install 'geograph_types[clip]'")
    from geograph_types.clip import clip_recipe

    recipe = clip_recipe("ViT-S-32-alt", "random:1")
    texts = ["a photo of Ghana", "Ghana in the rain"]
    both = encode_prompts(PromptSet(("Ghana",), (tuple(texts),)), recipe).features[0]
    first, second = (encode_prompts(PromptSet(("Ghana",), ((text,),)), recipe).features[0] for text in texts)
    np.testing.assert_allclose(both, (first + second) / np.linalg.norm(first + second), atol=1e-5)
    assert not np.allclose(first, second, atol=1e-3)


def test_the_interval_is_that_of_bonett_and_wright():
    """In Fisher's z, to both sides: 1.96 times the root of (1 + rho squared / 2) / (n - 3)."""
    counts, recall = (
        pd.Series(values, list("abcdefghij")) for values in (range(10), [0, 1, 2, 3, 4, 5, 6, 9, 8, 7])
    )
    found = frequency_correlation(recall, counts)
    reach = 1.959964 * np.sqrt((1 + found.rho**2 / 2) / 7)
    np.testing.assert_allclose(
        np.arctanh([found.low, found.high]), np.arctanh(found.rho) + [-reach, reach], rtol=1e-5
    )


def test_one_text_is_no_list_of_labels():
    with pytest.raises(
        InputError, match=r"got the text 'Kent'; expected a list of labels, such as \['Kent'\]"
    ):
        PromptSet.of("Kent")


def test_a_pipe_is_no_file_of_vectors(tmp_path):
    os.mkfifo(tmp_path / "prompts.npz")
    with pytest.raises(InputError, match="prompts.npz is a pipe or a device"):
        TextFeatures.read(tmp_path / "prompts.npz")


def test_labels_that_are_not_there_are_named_in_few_words():
    with pytest.raises(InputError) as error:
        PromptSet.of(["Kent"]).restrict(["b" * 100_000, *map(str, range(1000))])
    assert len(str(error.value)) < 500 and "and 995 more" in str(error.value)
