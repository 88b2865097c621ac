"""What the site says of a name, and what its checks find."""

import sys

import pytest
from conftest import ROOT

pytest.importorskip("nbdev")
sys.path.append(str(ROOT / ".ci"))

import entries
import pages

PACKAGE = ROOT / "geograph_types"


def test_a_class_is_shown_with_its_methods_and_types_as_they_are_written():
    _, said = entries.entry(PACKAGE / "store" / "folder.py", "EmbeddingStore")
    assert "#### EmbeddingStore.verify" in said and "EmbeddingStore.sets: dict[str, ShardedArray]" in said
    assert "self" not in said and '"pd.DataFrame"' not in said


def test_signatures_hold_no_markdown():
    for module in sorted(PACKAGE.rglob("[!_]*.py")):
        for name in ("HeadTask", "open_inputs", "write_report", "PromptSet"):
            if f"def {name}(" in (text := module.read_text(encoding="utf-8")) or f"class {name}:" in text:
                _, said = entries.entry(module, name)
                assert "`" not in said.split("```")[1]


def test_an_enum_lists_its_values_and_a_command_leads_to_its_help():
    assert 'kaggle = "kaggle"' in entries.entry(PACKAGE / "cli" / "types.py", "DataSource")[1]
    assert "commands.qmd" in entries.entry(PACKAGE / "cli" / "types.py", "train")[1]


def cell(text, **data):
    return {"cell_type": "code", "source": text, "outputs": [{"data": data}] if data else []}


def test_faults_are_found(tmp_path):
    figure = {"image/png": "..."}
    assert list(pages.figures_without_words([cell("plot()", **figure)]))
    assert list(pages.figures_without_words([cell('#| fig-alt: "A plot"\nplot()', **figure)]))
    words = '#| fig-alt: "Two lines that meet at the right edge"\nplot()'
    assert not list(pages.figures_without_words([cell(words, **figure)]))
    assert list(pages.addresses_in_memory([cell("x", **{"text/plain": "<a.B object at 0x7f00>"})]))
    title = {"cell_type": "markdown", "source": "# Stores\n> What a store is."}
    assert "no question" in " ".join(pages.not_a_page([title, cell("")]))


@pytest.mark.parametrize(
    "code, fault",
    [
        ("def f(a):  # a number\n    return a", "no docstring"),
        ("def f(\n    a: int,\n) -> int:\n    'One more.'\n    return a + 1", "a is not described"),
        ("def f() -> 'np.ndarray':\n    'Ones.'", "what comes back"),
        ("class A:\n    'A pair.'\n    left: int", "left is not described"),
        ("class A:\n    'A thing.'\n    def go(self):\n        return 1", "A.go has no docstring"),
    ],
)
def test_names_that_say_too_little_are_found(code, fault, tmp_path):
    (tmp_path / "module.py").write_text(code)
    assert fault in " ".join(pages.undocumented(tmp_path / "module.py"))


def test_a_name_in_prose_leads_to_the_function_and_not_to_the_command(monkeypatch):
    from nbdev.doclinks import NbdevLookup

    monkeypatch.chdir(ROOT)
    entries.commands_give_way()
    assert NbdevLookup().syms["train"][1] == "geograph_types/types/training.py"
