"""What is built from a checkout, and the promises of settings.ini."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from conftest import ROOT

PARSER = configparser.ConfigParser(delimiters=["="])
PARSER.read(ROOT / "settings.ini", encoding="utf-8")
SETTINGS = PARSER["DEFAULT"]
REQUIREMENTS = ["requirements", "geo_requirements", "kaggle_requirements", "dev_requirements"]


def own_files():
    """Files that belong to the project, by git where it is one's checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def built(folder, what, out):
    """Path of the sdist or wheel that setuptools builds in `folder`."""
    out.mkdir()
    code = f"import sys, setuptools.build_meta as b; b.build_{what}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(out)], cwd=folder, check=True, capture_output=True)
    return next(out.iterdir())


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel built from the sdist built from a copy of the checkout, as a release is."""
    folder = tmp_path_factory.mktemp("release")
    for path in own_files():
        copy = folder / "copy" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    with tarfile.open(built(folder / "copy", "sdist", folder / "sdist")) as archive:
        archive.extractall(folder, filter="data")
    unpacked = folder / f"{SETTINGS['lib_name']}-{SETTINGS['version']}"
    return zipfile.ZipFile(built(unpacked, "wheel", folder / "wheel"))


def text(wheel, ending):
    return next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith(ending))


def test_wheel_holds_every_module_and_nothing_else(wheel):
    modules = {
        str(path.relative_to(ROOT))
        for path in own_files()
        if path.parts[len(ROOT.parts)] == SETTINGS["lib_path"]
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == modules and len(modules) > 5
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


def test_wheel_metadata(wheel):
    metadata = text(wheel, "/METADATA")
    assert f"\nVersion: {SETTINGS['version']}\n" in metadata
    assert f"\nRequires-Python: >={SETTINGS['min_python']}\n" in metadata
    for name in re.findall(r"^([\w-]+)", "\n".join(requirement_lines("requirements")), re.M):
        assert re.search(rf"^Requires-Dist: {name}\b".replace("_", "[_-]"), metadata, re.M | re.I), name
    assert (
        text(wheel, "/METADATA").rstrip().endswith((ROOT / "README.md").read_text(encoding="utf-8").rstrip())
    )


def test_wheel_entry_points(wheel):
    entry_points = configparser.ConfigParser(delimiters=["="])
    entry_points.read_string(text(wheel, "/entry_points.txt"))
    assert entry_points["console_scripts"]["geograph-types"] == f"{SETTINGS['lib_name']}.cli:main"
    assert entry_points["nbdev"][SETTINGS["lib_name"]] == f"{SETTINGS['lib_path']}._modidx:d"


@pytest.mark.parametrize("module", ["geograph_types", "geograph_types.fetch"])
def test_import_is_light(module):
    code = (
        f"import sys, time; start = time.perf_counter(); import {module}; "
        "print(f'{time.perf_counter() - start:.3f} s'); print(*sys.modules)"
    )
    seconds, modules = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.splitlines()
    print(f"import {module}: {seconds}")
    heavy = {"torch", "pandas", "sklearn", "matplotlib", "lightning", "httpx", "rich", "typer"} & set(
        modules.split()
    )
    assert not heavy


def requirement_lines(key):
    return [line for line in SETTINGS[key].splitlines() if line.strip()]


@pytest.mark.parametrize("key", REQUIREMENTS)
def test_every_requirement_has_a_reason_and_a_lower_bound(key):
    block = (ROOT / "settings.ini").read_text(encoding="utf-8").split(f"\n{key} =\n")[1].split("\n\n")[0]
    lines = [line.strip() for line in block.splitlines()]
    assert [line for line in lines if not line.startswith("#")] == requirement_lines(key)
    for before, line in zip(["", *lines], lines):
        if not line.startswith("#"):
            assert ">=" in line or "==" in line, f"{line} has no lower bound"
            reason = before.startswith("#") or ("==" in before and "==" in line)  # pins share their reason
            assert reason, f"{line} has no comment above it"


def test_other_files_name_the_same_version():
    assert f"\nversion: {SETTINGS['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {SETTINGS['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_address_stands_in_settings_alone():
    """What is generated may repeat it: the README, the page of commands, the sidebar, the index of modules, outputs of
    notebooks, and the cell that installs the package in Colab."""
    address = re.compile(
        f"{SETTINGS['user']}/{SETTINGS['repo']}|{SETTINGS['user']}\\.github|{SETTINGS['author_email']}"
    )
    made = ("README.md", "nbs/commands.qmd", "nbs/sidebar.yml", f"{SETTINGS['lib_path']}/_modidx.py")
    generated = {ROOT / "settings.ini", *(ROOT / name for name in made)}
    for path in own_files():
        if path in generated or path.suffix in {".png", ".ico", ".npz"}:
            continue
        written = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            written = "\n".join(
                "".join(cell["source"])
                for cell in json.loads(written)["cells"]
                if cell["id"] != "colab-setup"
            )
        assert not address.search(written), (
            f"{path.relative_to(ROOT)} repeats the address; settings.ini alone has it"
        )
