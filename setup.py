"""Packaging: the three surface packages, the library, and the configuration tree inside the library."""

from setuptools import find_namespace_packages, find_packages, setup

setup(
    packages=[
        *find_packages(include=["kinnari", "kinnari.*", "lightning_modules", "datamodules", "datamodules.*", "callbacks"]),
        "kinnari.conf",
        *[f"kinnari.conf.{p}" for p in find_namespace_packages("conf")],
    ],
    package_dir={"kinnari.conf": "conf"},
    package_data={"kinnari.conf": ["**/*.yaml"], "kinnari.bootstrap": ["*.jsonl"]},
)
