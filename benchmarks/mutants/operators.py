"""What may be changed in an expression: mutmut's operators as far as they change a value, and a few of linear algebra.

An operator gets a node of LibCST's tree and yields what might stand there instead. Left out of mutmut's are those that
nearly every caller notices by a ``TypeError`` (an argument or a value replaced by ``None``, an argument left out where
it has no default), which would be half of all mutants and make a rate look good; and those of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import libcst as cst
from mutmut.mutation import mutators

Operator = Callable[[Any], Iterable[cst.CSTNode]]

ELEMENTARY = {
    "abs", "conj", "cosh", "diag", "exp", "expm1", "inv", "log", "log1p", "negative", "norm", "pinv", "reciprocal",
    "sinh", "sqrt", "square", "tanh", "trace",
}  # fmt: skip
"""Functions that some formula takes, and a wrong one does not."""


def one_less(node: cst.Integer) -> Iterator[cst.CSTNode]:
    """2 → 1, a factor that is dropped; mutmut itself adds one to each number."""
    if node.evaluated_value > 0:
        yield node.with_changes(value=str(node.evaluated_value - 1))


def without_keyword(node: cst.Call) -> Iterator[cst.CSTNode]:
    """f(x, axis=0) → f(x): the default takes over."""
    for i, argument in enumerate(node.args):
        if argument.keyword is not None:
            yield node.with_changes(args=[*node.args[:i], *node.args[i + 1 :]])


def without_function(node: cst.Call) -> Iterator[cst.CSTNode]:
    """√x → x, and what else is elementary and has one argument."""
    called = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    alone = len(node.args) == 1 and node.args[0].keyword is None and not node.args[0].star
    if alone and isinstance(called, cst.Name) and called.value in ELEMENTARY:
        yield _enclosed(node.args[0].value)


def without_transpose(node: cst.Attribute) -> Iterator[cst.CSTNode]:
    """Aᵀ → A."""
    if node.attr.value in ("T", "mT"):
        yield _enclosed(node.value)


def other_way_round(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    """AB → BA."""
    if isinstance(node.operator, cst.MatrixMultiply):
        yield node.with_changes(left=_enclosed(node.right), right=_enclosed(node.left))


def _enclosed(node: cst.BaseExpression) -> cst.BaseExpression:
    """In parentheses, where it had none: it may come to stand beside an operator that binds more tightly."""
    simple = isinstance(node, cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.BaseNumber)
    return node if simple or node.lpar else node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


OPERATORS: tuple[tuple[type, Operator], ...] = (
    (cst.BaseNumber, mutators.operator_number),
    (cst.Integer, one_less),
    (cst.Name, mutators.operator_name),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.CSTNode, mutators.operator_swap_op),
    (cst.CSTNode, mutators.operator_keywords),
    (cst.AugAssign, mutators.operator_augmented_assignment),
    (cst.IfExp, mutators.operator_if_exp),
    (cst.Lambda, mutators.operator_lambda),
    (cst.Call, without_keyword),
    (cst.Call, without_function),
    (cst.Attribute, without_transpose),
    (cst.BinaryOperation, other_way_round),
)


def changes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Everything that might stand in place of this node."""
    for kind, operator in OPERATORS:
        if isinstance(node, kind):
            yield from operator(node)
