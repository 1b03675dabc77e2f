"""Reports as HTML files that need no other: rendered from a template, and written whole or not at all."""

import os
import re
from functools import cache
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from offpeak.errors import ConfigurationError
from offpeak.ledger.spool import publish


def rendered(package: str, template: str, **words: object) -> str:
    """The template of a package with its words, escaped. It may extend `document.html` of the reports."""
    return _environment(package).get_template(template).render(**words)


def write(text: str, path: Path, *, what: str) -> Path:
    """Write a document, whole or not at all. `what` it is, for the ConfigurationError that is raised where it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{what} cannot be written to {path} ({error.strerror}). What was there is as it was. See to the disk and "
            "the rights on the folder, or name another folder."
        ) from error
    return path


@cache
def _environment(package: str) -> Environment:
    loader = ChoiceLoader([PackageLoader(package), PackageLoader("offpeak.reports")])
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    made.filters["code"] = _with_code
    return made


def _with_code(text: str) -> Markup:
    """Escaped, with what stands between backticks as code."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before
