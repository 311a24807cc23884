"""Check config files for an editor: one line of JSON for each finding, with its place in the file.

    python examples/check_config.py run.yaml
    python examples/check_config.py --name run.yaml - < the-buffer

accel-config as a library. Lines and columns count from 1, the end is exclusive, and severity is `error` or `warning`;
what an editor's linter hook wants. The exit status is 1
where there is an error.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accel_config import CATALOGUE
from accel_config.checking.file import check
from accel_config.reading.files import Problem


def main() -> int:
    """Check each file; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="config files; - is standard input")
    parser.add_argument("--name", default="config.yaml", help="what standard input is called; .json is read as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [one for file in arguments.files for one in diagnostics(*source(file, arguments.name, Path(folder)))]
    for one in found:
        print(json.dumps(one))
    return int(any(one["severity"] == "error" for one in found))


def source(file: str, name: str, folder: Path) -> tuple[str, Path]:
    """Return what a file is to be called, and where its text is: that of standard input is put into the folder."""
    if file != "-":
        return file, Path(file)
    path = folder / Path(name).name
    path.write_text(sys.stdin.read())
    return name, path


def diagnostics(name: str, path: Path) -> Iterator[dict[str, Any]]:
    """Yield the findings in a config file."""
    findings = check(CATALOGUE, str(path))
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    for severity, problems in (("error", findings.problems), ("warning", findings.notes)):
        for problem in problems:
            line = lines[problem.line - 1] if problem.line <= len(lines) else ""
            message = problem.message.replace(f"{path}:", f"{name}:")
            yield {"file": name, **place(problem, line), "severity": severity, "message": message}


def place(problem: Problem, line: str) -> dict[str, int]:
    """Return the part of the line to underline: what the message quotes, else all that stands there."""
    quoted = (word for word in problem.message.split("'")[1::2] if word and word in line)
    word = next(quoted, line.strip())
    column = line.find(word) + 1
    return {"line": problem.line, "column": column, "end_column": column + len(word)}


if __name__ == "__main__":
    sys.exit(main())
