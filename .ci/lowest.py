"""The lowest version of every dependency that pyproject.toml declares, as constraints of pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
for needed in (*project["dependencies"], *project["optional-dependencies"]["test"]):
    name, lowest = re.match(r"([\w.-]+)>=([\w.]+)", needed).groups()
    print(f"{name}=={lowest}")
    if name == "jax":  # jax allows any newer jaxlib up to the next of its own
        print(f"jaxlib=={lowest}")
