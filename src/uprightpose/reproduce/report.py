"""A reproduced table or figure as files: a page, its numbers, a picture."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uprightpose.data.writing import make_folder, write_whole


@dataclass(frozen=True)
class Report:
    """What one experiment found, and all that is needed to judge it.

    Attributes:
        title: of the page.
        facts: data, labels, reference length, seeds, ...: what the numbers are of.
        findings: one sentence each, the answer in short; also printed.
        sections: Markdown by heading, in order.
        caveats: what the numbers do not say.
        numbers: the same for programs; JSON's types only, ``None`` for what is not known.
        picture: content of a PNG file, or ``None``.
    """

    title: str
    facts: dict[str, str]
    findings: tuple[str, ...]
    sections: dict[str, str]
    caveats: tuple[str, ...]
    numbers: dict[str, Any]
    picture: bytes | None = None


def write_report(report: Report, folder: Path, name: str, command: str) -> list[Path]:
    """Write ``name.md``, ``name.json`` and, with a picture, ``name.png``.

    Args:
        report: what to write.
        folder: is made if needed.
        name: e.g. ``"figure1"``.
        command: the command line that made it, stated in both texts.

    Returns:
        The files.

    Raises:
        InputError: if they cannot be written.
    """
    page = format_report(report, command, f"{name}.png" if report.picture else None)
    head = {"name": name, "title": report.title, "command": command, "facts": report.facts}
    words = {"findings": list(report.findings), "caveats": list(report.caveats)}
    numbers = {**head, **words, **report.numbers}
    contents = {"md": page.encode(), "json": _json(numbers).encode()}
    if report.picture:
        contents["png"] = report.picture
    make_folder(folder)
    files = {folder / f"{name}.{kind}": content for kind, content in contents.items()}
    for path, content in files.items():
        write_whole(path, content)
    return list(files)


def format_report(report: Report, command: str, picture: str | None) -> str:
    """Return the page as Markdown; ``picture`` is the address of the picture, if any."""
    parts = [f"# {report.title}", f"```sh\n{command}\n```"]
    parts += [_bullets([f"{name}: {fact}" for name, fact in report.facts.items()])]
    parts += [f"![{report.title}]({picture})"] if picture else []
    findings, caveats = _bullets(report.findings), _bullets(report.caveats)
    sections = {"Findings": findings, **report.sections, "Caveats": caveats}
    parts += [f"## {heading}\n\n{text}" for heading, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table.

    Example:
        >>> print(markdown_table(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = [header, *rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _json(numbers: dict[str, Any]) -> str:
    return json.dumps(numbers, indent=1, allow_nan=False) + "\n"
