"""The descriptions of the installed packages as a table of documents."""

from pathlib import Path

from resources.package_texts import package_texts, write
from resources.sources import SourceTables


def test_every_installed_package_with_a_description_is_there_once_with_its_text() -> None:
    texts = package_texts()

    assert list(texts.columns) == ["name", "version", "text"]
    assert texts.name.str.lower().is_unique
    assert {"dagster", "pandas", "pytest"} <= set(texts.name.str.lower())
    assert texts.text.str.strip().ne("").all()


def test_what_is_written_is_read_as_the_table_documents(tmp_path: Path) -> None:
    write(tmp_path)

    documents = SourceTables(url=f"folder:{tmp_path}").frame("documents")

    assert len(documents) == len(package_texts())
    pandas = documents.set_index("document_id").loc["pandas.md"]
    assert pandas.title.startswith("pandas ")
    assert "data analysis" in pandas.body


def test_writing_again_leaves_unchanged_files_alone(tmp_path: Path) -> None:
    write(tmp_path)
    version = SourceTables(url=f"folder:{tmp_path}").version("documents")

    write(tmp_path)

    assert SourceTables(url=f"folder:{tmp_path}").version("documents") == version
