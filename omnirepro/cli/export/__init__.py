"""What others can take away: a judge as a hub folder (`hub`), data and recipes for other trainers (`recipes`), scores
on benchmarks as others publish them (`results`), and the committed run (`blessed`). Model card, scripts and plugin are
templates of the folder `templates`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omnirepro.kit.run import RunError


def new_folder(to: str | Path) -> Path:
    """Make a folder and return it; raises `RunError` where it holds something, since an export overwrites nothing."""
    folder = Path(to)
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty; give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def render(path: Path, template: str = "", **values: Any) -> None:
    """Write a template (default: that of the file's name) filled with values; one that it lacks is an error."""
    import shlex

    import yaml
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("omnirepro.cli.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["quote"] = shlex.quote
    made.filters["yaml"] = lambda value: yaml.safe_dump(value).splitlines()[0]
    path.write_text(made.get_template(f"{template or path.name}.jinja").render(values), encoding="utf-8")
