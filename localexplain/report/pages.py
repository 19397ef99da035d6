"""The templates of pages that stand for themselves: strict, and whatever a text holds comes out as text."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from localexplain.report import words
from localexplain.report.shading import visible, visible_lines

REPORT_TEMPLATES = Path(__file__).parent


def capitalize_first(text: str) -> str:
    """Unlike str.capitalize, leaves the other letters as they are."""
    return text[:1].upper() + text[1:]


def page_environment(*folders: Path) -> Environment:
    """Templates of this package and of `folders`, with the number formats as filters; a name that is not given is an
    error."""
    environment = Environment(
        loader=FileSystemLoader([*folders, REPORT_TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "capitalize_first": capitalize_first,
        "number": words.number,
        "count": words.count,
        "duration": words.duration,
        "interval": lambda summary: words.interval(summary).replace(" to ", " to\N{NO-BREAK SPACE}"),
        "plural": words.plural,
        "visible": visible,
        "visible_lines": visible_lines,
    }
    return environment
