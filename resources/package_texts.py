"""Text that nobody wrote for this project: what the installed Python packages say about themselves.

`python -m resources.package_texts DIR` writes it as `DIR/documents/*.md`, a file per package that has a description;
`OFFPEAK_SOURCE_URL=folder:DIR` then makes these files the table `documents`.
"""

from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer


def package_texts() -> pd.DataFrame:
    """Columns name, version and text (README, as the package's METADATA holds it), ordered by name."""
    found = {}
    for package in distributions():
        text = package.metadata.get("Description") or package.metadata.get_payload()  # type: ignore[attr-defined]
        if text and text.strip():
            found[package.name.lower()] = (package.name, package.version, text.strip())
    return pd.DataFrame([found[name] for name in sorted(found)], columns=["name", "version", "text"])


def write(folder: Annotated[Path, typer.Argument(help="where the folder `documents` is made")]) -> None:
    """Write the description of every installed package to FOLDER/documents."""
    documents = folder / "documents"
    documents.mkdir(parents=True, exist_ok=True)
    texts = package_texts()
    for package in texts.itertuples():
        file = documents / f"{package.name}.md"
        text = f"# {package.name} {package.version}\n\n{package.text}\n"
        # Left alone when nothing changed, because the file's time is the document's `updated_at`.
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    print(f"{documents}: {len(texts)} documents; read them with OFFPEAK_SOURCE_URL=folder:{folder}")


if __name__ == "__main__":
    typer.run(write)
