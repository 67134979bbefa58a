"""Pictures as SVG, readable on light and on dark, without a library."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 12px; fill: #1f2328; }
  .page { fill: #ffffff; }
  .big { font-size: 18px; font-weight: 600; }
  .title { font-size: 14px; font-weight: 600; }
  .quiet { fill: #59636e; }
  .label { text-anchor: end; }
  .ours-text { font-weight: 700; }
  .theirs { fill: #8fa1b5; }
  .ours { fill: #0969da; }
  .reference { fill: #d5dbe1; }
  .axis { stroke: #8c959f; stroke-width: 1; }
  .whisker { stroke: #1f2328; stroke-width: 1; }
  .decade { stroke: #d1d9e0; stroke-width: 1; }
  .tick { font-size: 10px; text-anchor: middle; }
  .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
  .curve0 { stroke: #0969da; }
  .curve1 { stroke: #bc4c00; }
  .curve2 { stroke: #6e7781; }
  .moment { stroke: #cf222e; stroke-width: 1; stroke-dasharray: 4 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .page { fill: #0d1117; }
    .quiet { fill: #9198a1; }
    .theirs { fill: #6e7f92; }
    .ours { fill: #4493f8; }
    .reference { fill: #363e48; }
    .axis { stroke: #656c76; }
    .whisker { stroke: #e6edf3; }
    .decade { stroke: #2f3742; }
    .curve0 { stroke: #4493f8; }
    .curve1 { stroke: #f0883e; }
    .curve2 { stroke: #9198a1; }
    .moment { stroke: #ff7b72; }
  }
"""


def page(width: float, height: float, label: str, elements: Iterable[str]) -> str:
    """Return a picture with these elements on a page of its own; `label` is for those who cannot see it."""
    body = "\n".join([f'<rect class="page" width="{width:g}" height="{height:g}" rx="8"/>', *elements])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape(label)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def text(x: float, y: float, content: str, kind: str = "") -> str:
    """Return a line of text; `kind` are classes of the style."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a straight line; `kind` is a class of the style."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """Return a filled rectangle; `kind` is a class of the style."""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1"/>'
