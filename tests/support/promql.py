"""What expressions of PromQL ask for, by the parser of promql-parser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser as promql

TARGET = frozenset({"instance", "job"})
"""Labels that Prometheus gives every series."""


def parsed(text: str) -> promql.Expr:
    """The expression, with Grafana's variable filled in. ValueError if it is none."""
    return promql.parse(text.replace("$__rate_interval", "5m"))


def selectors(expression: Any) -> Iterator[promql.VectorSelector]:
    """All that an expression selects."""
    if isinstance(expression, promql.VectorSelector):
        yield expression
        return
    for part in _parts(expression):
        yield from selectors(part)


def unknown(expression: Any, known: Mapping[str, frozenset[str]]) -> list[str]:
    """Metrics and labels that an expression asks for and that are not `known`."""
    wrong = []
    for selector in selectors(expression):
        if selector.name not in known:
            wrong.append(f"{selector.name} is no metric")
            continue
        asked = {matcher.name for matcher in selector.matchers.matchers}
        wrong += [
            f"{selector.name} has no label {label}"
            for label in asked - known[selector.name] - TARGET
        ]
    if not wrong:
        wrong += [f"nothing has the label {label}" for label in _ungrouped(expression, known)]
    return wrong


def labels(expression: Any, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The labels that the result of an expression has, with those of the target."""
    match expression:
        case promql.VectorSelector():
            return known[expression.name] | TARGET
        case promql.AggregateExpr():
            kept = frozenset(expression.modifier.labels) if expression.modifier else frozenset()
            return kept & labels(expression.expr, known)
        case promql.Call():
            of_parts = [labels(part, known) for part in expression.args]
            dropped = {"le"} if expression.func.name == "histogram_quantile" else set()
            return frozenset().union(*of_parts) - dropped
        case promql.BinaryExpr():
            return labels(expression.lhs, known) | labels(expression.rhs, known)
        case _:
            return frozenset().union(*(labels(part, known) for part in _parts(expression)))


def _ungrouped(expression: Any, known: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Labels by which something is grouped that does not have them."""
    if isinstance(expression, promql.AggregateExpr) and expression.modifier:
        yield from frozenset(expression.modifier.labels) - labels(expression.expr, known)
    for part in _parts(expression):
        yield from _ungrouped(part, known)


def _parts(expression: Any) -> list[Any]:
    match expression:
        case promql.BinaryExpr():
            return [expression.lhs, expression.rhs]
        case promql.Call():
            return list(expression.args)
        case promql.MatrixSelector():
            return [expression.vector_selector]
        case promql.AggregateExpr() | promql.UnaryExpr() | promql.ParenExpr():
            return [expression.expr]
        case promql.SubqueryExpr():
            return [expression.expr]
        case _:
            return []
