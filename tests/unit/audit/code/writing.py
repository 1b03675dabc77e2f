"""Folders of Python for the audit of code to read."""

import textwrap
from pathlib import Path

from offpeak.audit.code.detect import audit_code
from offpeak.audit.code.finding import CodeAudit, Finding

HEAD = "from openai import OpenAI\n\nclient = OpenAI()\n"
CALL = 'client.chat.completions.create(model="gpt-5.4-mini", messages=[])'


def written(folder: Path, **files: str) -> Path:
    """A folder with these files; a name that holds a slash is given as `**{"shop/asking": ...}`."""
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).replace("CALL", CALL).replace("HEAD\n", HEAD), encoding="utf-8")
    return folder


def audited(folder: Path, **files: str) -> CodeAudit:
    return audit_code(written(folder, **files))


def findings(folder: Path, text: str) -> list[Finding]:
    """What is found in one file, which imports the SDK and has a client."""
    return list(audited(folder, app=HEAD + textwrap.dedent(text)).findings)
