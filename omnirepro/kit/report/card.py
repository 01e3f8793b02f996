"""The card of an audit: one offline page, and a section for a model card. Pure: findings in, text out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from omnirepro.evaluate.passport import Finding
from omnirepro.evaluate.statistics import Interval

COLUMNS = ("arm", "value", "interval", "bound", "flips", "accuracy", "power", "n", "verdict")


def overall(findings: Sequence[Finding]) -> tuple[str, str]:
    """Return the verdict on the judge and a sentence that says why: one faulty arm makes a faulty judge."""
    faulty = [finding.arm for finding in findings if finding.verdict == "faulty"]
    untold = [finding.arm for finding in findings if finding.verdict == "not told"]
    if faulty:
        return "faulty", f"Faulty: {', '.join(faulty)}."
    if untold:
        return "not told", f"No fault found; not told: {', '.join(untold)}."
    return "sound", f"Sound in all {len(findings)} arms."


def written(finding: Finding) -> dict[str, str]:
    """Return the cells of a finding as text; shares in per cent, flips and accuracy with their intervals."""
    found = finding.measured
    shown = {"value": "not measured", "interval": "", "n": "0"}
    if found:
        interval = "" if math.isnan(found.low) else f"{found.low:.1%} to {found.high:.1%}"
        shown = {"value": f"{found.value:.1%}", "interval": interval, "n": str(found.n)}
    low = finding.least
    high = finding.most
    bound = f"at least {low:.0%}" if math.isinf(high) else f"at most {high:.0%}"
    if math.isfinite(low) and math.isfinite(high):
        bound = f"{low:.0%} to {high:.0%}"
    power = "" if finding.power is None else f"{finding.power:.1%}"
    about = {"arm": finding.arm, "asks": finding.asks, "bound": bound, "power": power}
    more = {name: _share(getattr(finding, name)) for name in ("flips", "accuracy")}
    return about | shown | more | {"verdict": finding.verdict}


def _share(found: Interval | None) -> str:
    if found is None:
        return ""
    bounds = "" if math.isnan(found.low) else f" [{found.low:.0%}, {found.high:.0%}]"
    return f"{found.value:.0%}{bounds}"


def _bar(finding: Finding) -> dict[str, float] | None:
    """Return where a row's drawing has what the bound allows, the interval and the value, in per cent of its width."""
    found = finding.measured
    if found is None:
        return None
    low, high = (found.value, found.value) if math.isnan(found.low) else (found.low, found.high)
    at = {"least": finding.least, "most": finding.most, "low": low, "high": high, "value": found.value}
    return {name: 100 * min(1.0, max(0.0, x)) for name, x in at.items()}


def page(name: str, about: str, findings: Sequence[Finding]) -> str:
    """Return the card as one HTML page that loads nothing."""
    import jinja2

    verdict, summary = overall(findings)
    text = jinja2.Environment(loader=jinja2.PackageLoader(__package__, "."), autoescape=True)
    rows = [written(finding) | {"bar": _bar(finding)} for finding in findings]
    parts = {"name": name, "about": about, "summary": summary, "overall": verdict.split()[-1], "rows": rows}
    return text.get_template("card.html.j2").render(**parts) + "\n"


def section(name: str, about: str, findings: Sequence[Finding]) -> str:
    """Return the audit as a section of a model card, in Markdown."""
    rows = [written(finding) for finding in findings]
    lines = [f"| {' | '.join(row[column] for column in COLUMNS)} |" for row in rows]
    head = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    return "\n".join([f"## Audit of {name}", "", overall(findings)[1], "", about, "", *head, *lines, ""])
