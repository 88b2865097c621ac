"""Reads everything from settings.ini, so that name, version and requirements are written once."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

settings = ConfigParser(delimiters=["="])
settings.read("settings.ini", encoding="utf-8")
settings = settings["DEFAULT"]

EXTRAS = [
    "clip",
    "distributed",
    "geo",
    "search",
    "heic",
    "pictures",
    "export",
    "kaggle",
    "review",
    "app",
    "dev",
]


def requirements(key: str) -> list[str]:
    return settings.get(key, "").split()


setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    author_email=settings["author_email"],
    license="Apache-2.0",
    license_files=["LICENSE"],
    url=settings["git_url"],
    keywords=settings["keywords"].split(),
    packages=find_packages(include=["geograph_types", "geograph_types.*"]),
    package_data={
        "": ["*.pyi"],
        "geograph_types": ["land.npz", "vectors.npz"],  # squares with land; statistics of vectors
        "geograph_types.earth": ["*.npz", "*.html"],  # outline of land; maps for the browser
        "geograph_types.evaluation": ["*.html"],
        "geograph_types.platform": ["*.html"],
        "geograph_types.review": ["app.js", "app.css", "*.html"],
        "geograph_types.places": ["*.npz", "*.png", "NOTICE.txt"],  # units, climates, whose they are
    },
    python_requires=f">={settings['min_python']}",
    install_requires=requirements("requirements"),
    extras_require={extra: requirements(f"{extra}_requirements") for extra in EXTRAS},
    entry_points={
        "console_scripts": requirements("console_scripts"),
        # nbdev reads this index to turn names in backticks into links
        "nbdev": [f"{settings['lib_name']}={settings['lib_path']}._modidx:d"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
    ],
    zip_safe=False,
)
