"""The results of a run as tables in Markdown, for a terminal and for docs/performance.md."""

import re
import statistics
from collections.abc import Sequence

from benchmarks.contenders.table import CONTENDERS
from benchmarks.results import Results, Sample
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.scenario import Column, Scenario

ENOUGH = 0.95
"""Part of the speed before, or of the cost now, below which something is worse."""
LARGER_IS_BETTER = re.compile("per_s|per_run|within|growth")
"""Parts of the names of metrics; of all others, smaller values are better."""


def markdown(results: Results) -> str:
    """Return the circumstances, and a table for each scenario: medians, and the smallest and largest value."""
    found = {sample.scenario for sample in results.samples}
    parts = [_circumstances(results), *(_table(results, SCENARIOS[name]) for name in SCENARIOS if name in found)]
    return "\n\n".join(parts) + "\n"


def losses(results: Results) -> list[str]:
    """Return a line for each metric that is worse than before by more than a twentieth, with the ratios of turns."""
    lines = []
    for name, scenario in SCENARIOS.items():
        samples = [sample for sample in results.samples if sample.scenario == name and not sample.error]
        own = [sample for sample in samples if sample.contender == "hookkeeper"]
        for metric in (column.metric for column in scenario.columns):
            ratios = _ratios([sample for sample in own if sample.metrics.get(metric)], samples, metric, "before")
            goodness = ratios if LARGER_IS_BETTER.search(metric) else [1 / ratio for ratio in ratios]
            if goodness and statistics.median(goodness) < ENOUGH:
                lines.append(f"  {name} {metric}: {_spread(ratios)} x")
    return lines


def _circumstances(results: Results) -> str:
    about = results.circumstances
    lines = [
        f"{about['date']}, commit {about['commit']}, {about['cores']} cores, Python {about['python']},"
        f" load average {about['load_average']} before. Medians, and in parentheses the smallest and the largest value."
    ]
    if settings := about["settings"]:
        lines.append(f"Settings: {settings}.")
    lines += [f"Not measured: {CONTENDERS[name].title} ({why})." for name, why in results.skipped.items()]
    return "\n".join(lines)


def _table(results: Results, scenario: Scenario) -> str:
    samples = [sample for sample in results.samples if sample.scenario == scenario.name]
    names = [name for name in CONTENDERS if any(sample.contender == name for sample in samples)]
    reference = next((name for name in names if any(s.contender == name and not s.error for s in samples)), names[0])
    header = ["", *_titles(scenario, reference, has_ratios=len(names) > 1), "Runs"]
    rows = [_row(scenario, samples, name, reference, has_ratios=len(names) > 1) for name in names]
    lines = [header, ["---"] * len(header), *rows]
    return f"**{scenario.name}**: {scenario.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _titles(scenario: Scenario, reference: str, *, has_ratios: bool) -> list[str]:
    titles = []
    for column in scenario.columns:
        titles += [column.title, *([f"× {reference}"] if column.is_ratio and has_ratios else [])]
    return titles


def _row(scenario: Scenario, samples: Sequence[Sample], name: str, reference: str, *, has_ratios: bool) -> list[str]:
    own = [sample for sample in samples if sample.contender == name]
    good = [sample for sample in own if not sample.error]
    cells = [CONTENDERS[name].title]
    for column in scenario.columns:
        cells.append(_cell(good, column))
        if column.is_ratio and has_ratios:
            cells.append(_spread(_ratios(good, samples, column.metric, reference)))
    failed = len(own) - len(good)
    return [*cells, f"{len(good)}" + (f", {failed} failed" if failed else "")]


def _cell(samples: Sequence[Sample], column: Column) -> str:
    """Return a metric of several samples, with its parts if it has them."""
    values = [sample.metrics[column.metric] for sample in samples if column.metric in sample.metrics]
    if not values or not column.by_process:
        return _spread(values)
    prefix = f"{column.metric}."
    parts = [name for name in samples[0].metrics if name.startswith(prefix)]
    medians = {
        part.removeprefix(prefix): statistics.median(
            sample.metrics[part] for sample in samples if part in sample.metrics
        )
        for part in parts
        if part.removeprefix(prefix) not in ("load", "receiver")
    }
    return f"{_spread(values)}: " + ", ".join(f"{name} {_number(value)}" for name, value in medians.items())


def _ratios(samples: Sequence[Sample], all_samples: Sequence[Sample], metric: str, reference: str) -> list[float]:
    """Return the ratio to the reference in each turn in which both were measured."""
    references = {
        sample.turn: sample.metrics[metric]
        for sample in all_samples
        if sample.contender == reference and not sample.error and sample.metrics.get(metric)
    }
    return [sample.metrics[metric] / references[sample.turn] for sample in samples if sample.turn in references]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    median = _number(statistics.median(values))
    lowest, highest = _number(min(values)), _number(max(values))
    return median if lowest == highest else f"{median} ({lowest}–{highest})"


def _number(value: float) -> str:
    """Return a number with two or three significant digits."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
