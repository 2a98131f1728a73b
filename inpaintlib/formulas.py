"""Markdown with LaTeX formulas to HTML with MathML, which browsers show by themselves, without a script."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from .checks import InpaintError

__all__ = ["markdown", "mathml"]

# Common spellings that the converter does not know -> their equals that it does.
SPELLINGS = {r"\\arg(?![a-z])": r"\\operatorname{arg}", r"{aligned}": r"{align}"}


def markdown(text: str) -> str:
    """Returns the HTML of a markdown text; ``$...$`` and ``$$...$$`` become MathML.

    Raises InpaintError if a formula cannot be converted.
    """
    return MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True)).render(text)


def mathml(latex: str, *, block: bool = False) -> str:
    """Returns a LaTeX formula (without its dollars) as a MathML element; ``block`` gives it a line of its own.

    Raises InpaintError if the formula is ill-formed or uses a command that the converter does not know.
    """
    known = latex.strip()
    for spelling, equal in SPELLINGS.items():
        known = re.sub(spelling, equal, known)
    try:
        element = convert(known, display="block" if block else "inline")
    except Exception as error:  # the converter has no base class for its errors
        raise InpaintError(f"formula must be LaTeX that MathML can say; found {latex!r} ({error!r})") from error
    # What the converter does not know it lets through as text: a backslash or a bare ampersand.
    if unknown := re.search(r"\\[A-Za-z]*|>&<", element):
        raise InpaintError(f"formula must use known commands only; found {unknown[0].strip('<>')!r} in {latex!r}")
    return element


class _Renderer(IPythonRenderer):
    """Puts formulas on lines of their own, and tables, into boxes in which they scroll if the window is narrow."""

    def inline_math(self, body: str) -> str:
        return mathml(html.unescape(body))

    def block_math(self, body: str) -> str:
        return _formula(body)

    def latex_environment(self, name: str, body: str) -> str:
        return _formula(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def table(self, text: str) -> str:
        return f'<div class="scroll"><table>{text}</table></div>\n'


def _formula(body: str) -> str:
    # A span, since a formula may stand in a paragraph, where no div may.
    return f'<span class="scroll">{mathml(html.unescape(body), block=True)}</span>'
