"""Findings in code as SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"), for code review tools."""

from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import orjson

from offpeak.audit.audit import Audit
from offpeak.audit.case import Case
from offpeak.audit.code.finding import Finding
from offpeak.audit.from_code import shown

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

RULES = list(Case)


def sarif(audit: Audit) -> str:
    """The findings of all folders, as one run. Paths are those from the current folder on."""
    seen: Counter[str] = Counter()
    results = [
        _result(finding, shown(finding.path, each.root), seen) for each in audit.code for finding in each.findings
    ]
    unread = [
        {"level": "warning", "message": {"text": f"{shown(one.path, each.root)} was not audited: {one.reason}"}}
        for each in audit.code
        for one in each.unread
    ]
    driver = {
        "name": "offpeak audit",
        "version": version("offpeak"),
        "rules": [_rule(case) for case in RULES],
    }
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "columnKind": "utf16CodeUnits",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": unread}],
        "results": results,
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"


def _rule(case: Case) -> Mapping[str, Any]:
    return {
        "id": case.value,
        "name": "".join(part.title() for part in case.value.split("_")),
        "shortDescription": {"text": case.heading},
        "help": {"text": case.remedy.replace("`", "")},
        "defaultConfiguration": {"level": "warning"},
    }


def _result(finding: Finding, path: str, seen: Counter[str]) -> Mapping[str, Any]:
    return {
        "ruleId": finding.case.value,
        "ruleIndex": RULES.index(finding.case),
        "level": "warning",
        "message": {"text": f"{finding.case.heading}: {finding.why} {finding.case.remedy}".replace("`", "")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(path)},
                    "region": {"startLine": finding.line, "startColumn": finding.column},
                }
            }
        ],
        "partialFingerprints": {"offpeakJob/v1": _fingerprint(finding, path, seen)},
    }


def _fingerprint(finding: Finding, path: str, seen: Counter[str]) -> str:
    """The same however lines move: the file, the job and the call, and which one of them it is."""
    of = f"{path}\n{finding.job}\n{finding.call}\n{finding.case}"
    seen[of] += 1
    return sha256(f"{of}\n{seen[of]}".encode()).hexdigest()[:32]
