"""The figures as one picture, how far each is beyond what it must reach; and as a table for the README."""

import re
from html import escape

from benchmarks.measure import Figure

_BETWEEN = re.compile(r"(<!-- what make bench measured -->)\n.*?(<!-- until here -->)", re.DOTALL)
WIDTH, LEFT, RIGHT, LINE = 900, 390, 130, 34
SCALE = 3.0  # times what is asked, at the right edge


def svg(figures: list[Figure], setup: str) -> str:
    """A bar a line; the upright line is what must be reached, and longer is better."""
    height = 70 + LINE * len(figures) + 30
    per_times = (WIDTH - LEFT - RIGHT) / SCALE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="10" y="24" font-size="16">What was measured, in parts of what must be reached</text>',
        f'<text x="10" y="44" fill="#666" font-size="11">{escape(setup)}</text>',
    ]
    for number, one in enumerate(figures):
        times = one.value / one.asked if not one.at_most else one.asked / one.value if one.value else SCALE
        y = 62 + number * LINE
        colour = "#2a7a4b" if one.is_reached else "#b3402a"
        value = f"{one.value:.2f}" if one.limit is not None or not one.unit else f"{one.value:.1f} {one.unit}"
        sign = "≤" if one.at_most else "≥"
        parts += [
            f'<text x="10" y="{y + 17}">{escape(one.name)}</text>',
            f'<rect x="{LEFT}" y="{y + 4}" width="{min(times, SCALE) * per_times:.0f}" height="18" fill="{colour}"/>',
            f'<text x="{WIDTH - RIGHT + 8}" y="{y + 17}">{value} ({sign} {one.asked:g})</text>',
        ]
    x = LEFT + per_times
    parts.append(f'<path d="M{x:.0f} 56V{height - 24}" stroke="#222" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{x + 5:.0f}" y="{height - 12}" fill="#444" font-size="11">must be reached</text></svg>')
    return "\n".join(parts) + "\n"


def markdown(figures: list[Figure], setup: str) -> str:
    """The table of the README."""
    lines = ["| | measured | PostgreSQL itself | ratio | asked |", "|---|---|---|---|---|"]
    for one in figures:
        limit, ratio = ("", "") if one.limit is None else (f"{one.limit:,.4g} {one.unit}", f"{one.value:.2f}")
        sign = "≤" if one.at_most else "≥"
        lines.append(f"| {one.name} | {one.measured:,.4g} {one.unit} | {limit} | {ratio} | {sign} {one.asked:g} |")
    return "\n".join([f"{setup}.", "", *lines]) + "\n"


def replaced(document: str, table: str) -> str:
    """A document with this table between its marks."""
    return _BETWEEN.sub(lambda marks: f"{marks[1]}\n{table}{marks[2]}", document)
