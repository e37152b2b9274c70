"""What runs by night alone (``-m deep``): cases whose kind another, quicker one shows by day.

Nearly all the time of the tests is that of a few hundred cases: JAX compiles each anew, or a process starts. Of a test
that asks the same of many cases the day has those that differ in kind, and the night the others too. Cases of the night
are written here by their names in brackets; ``...`` is a test altogether, and its line says what asks the like by day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import EllipsisType

import pytest

HEAVY_IN_JAX = (
    "best_early_stop", "best_flow", "best_temperature", "checkpoint_weights", "descend", "diagnose", "fixed_point",
    "gradient_flow", "iterate", "linearize", "ridge_optimum, identity", "sgd_errors", "solve", "stable_learning_rate",
    "stall", "standard_errors", "temperature_path", "undo_averaging",
)  # fmt: skip
BEYOND = (
    "baselines", "checkpoint-averaging", "glm-paths", "hard-samples", "high-dimension", "interpolation", "label-noise",
    "moving-weights", "one-pass-sgd", "optimal-temperature", "precision", "product-of-experts", "standard-errors",
    "task-sequences", "undo", "weight-rules", "who-wins",
)  # fmt: skip

NIGHTLY: dict[str, EllipsisType | tuple[str, ...]] = {
    # Functions compiled anew. Without a batch, in float64: with one, and in float32, the day asks all of them.
    "test_jax.py::test_under_jit_it_is_numpy": HEAVY_IN_JAX,
    "test_jax.py::test_grad_is_the_central_difference": ("best_flow", "best_temperature"),  # modules of their own
    "test_choice_derivatives.py::test_both_minima_of_ten_steps": ...,  # of one step by day
    "test_choice_derivatives.py::test_where_two_minima_tie_the_one_that_is_told_decides": ...,  # the same slopes
    "test_choice_derivatives.py::test_the_best_flow_of_many_problems_at_once": ...,  # one at a time by day
    "test_linearization_path.py::test_jit_vmap_and_float32": ("wide, three outputs",),
    "test_structured.py::test_under_jit_and_vmap": ...,  # test_jax.py asks it of dense problems
    # The second by day.
    "test_second_derivatives.py::test_third_derivatives_twice_along_the_path_and_then_in_the_covariance": ...,
    "test_rows_second_derivatives.py::test_derivatives": ("solved-rank deficient",),
    "test_solve_exact.py::test_jax_in_equilibrated_coordinates": (
        "duplicated_columns-5", "one_column-5", "one_row-5", "square-5", "wide-5",
    ),
    "test_agreement_data.py::test_descend": ("one column", "square", "tall", "wide"),
    "test_reading.py::test_any_jax_array_in_jax_out": (
        "Linearization.iterate-steps", "best_temperature-learning_rate", "descend-X0", "descend-steps",
    ),
    "test_bad_values_traced.py::test_a_bad_covariance_is_nan_and_only_that": (
        "pretrain-flow", "pretrain-iterate", "pretrain-limit", "pretrain-sgd", "pretrain-weighted",
    ),
    "test_scales.py::test_a_scale_is_right_or_refused": ("jax",),  # in NumPy and in float32 by day
    "test_normal_equations.py::test_what_depends_in_one_unit_leaves_columns_of_another_alone": ("sums in JAX",),
    "test_jax_gradients.py::test_gradients_in_the_paper_case": ("1", "4"),
    "test_jax_gradients.py::test_gradients_through_rules": ("Huber", "KLDRO"),
    "test_descent_path.py::test_gradients_are_those_of_the_loop": (
        "False-Nesterov", "False-gradient descent", "True-heavy ball",
    ),
    "test_descent_path.py::test_jax_takes_the_same_path": ("steps1",),
    "test_path_derivatives.py::test_in_the_temperature": ("grad of grad", "grad of jacfwd"),
    "test_stalling.py::test_derivatives_in_temperature": ("5",),
    "test_agreement_trajectories.py::test_iterate_numpy": (
        "one_by_one-paper, ρ = 0.0", "one_by_one-paper, ρ = 0.1", "one_by_one-paper, ρ = 0.9",
    ),
    "test_agreement_trajectories.py::test_gradient_flow_numpy": (
        "paper, ρ = 0.1", "paper, ρ = 0.6", "paper, ρ = 0.9",
    ),
    "test_diagnosis_sentences.py::test_the_law_rejects_what_is_said_of_other_rows": ("colder",),
    "test_diagnosis.py::test_a_rule_of_ones_own_takes_rows_in_jax": ("plain",),
    # Networks trained anew. Stored runs are judged by day, and one small experiment is trained.
    "mlp/test_comparison.py::test_numbers_of_a_seed_do_not_depend_on_how_many_there_are": ...,  # networks and data do
    "mlp/test_product_of_experts.py::test_every_part_fails_without_the_weights_of_flow": ...,  # runs swapped by day
    # Claims computed twice, and drawn beside those that are stored.
    "claims/test_every_claim.py::test_depends_on_the_seed_alone": BEYOND,
    "claims/test_every_claim.py::test_is_drawn_for_the_last_row": BEYOND,
    "beyond/test_task_sequences.py::test_it_fails_where_a_formula_is_off": (
        "flow", "plain", "plain_distance", "ridge",
    ),
    # Pages at further widths, and further wrong pages.
    "test_explorer.py::test_every_label_stands_by_its_own_mark": ("1920",),
    "test_explorer.py::test_the_stall_is_named_outside_the_red_zones": ("1920",),
    "test_report_pages.py::test_no_formula_or_table_is_cut_off": (
        "1280-report.html", "1280-beyond/report.html", "1280-mlp/report.html",
    ),
    "test_report_pages.py::test_the_last_row_can_read_every_slide": (
        "1280-720-report.html", "1280-720-beyond/report.html", "1280-720-mlp/report.html",
    ),
    # Processes, each a few seconds of Python and JAX that start.
    "test_command.py::test_a_reader_who_leaves_is_told_nothing_and_the_results_are_there": ("()",),
    "test_command.py::test_without_the_extra_one_sentence_says_what_to_install": ("sklearn",),
    "test_diagnose_command.py::test_a_column_named_like_weights_is_decided_upon": (
        "csv-Weights", "csv-case_weights", "csv-sample_weight", "csv-weight",
    ),
    "test_public_api.py::test_any_first_use_of_the_package_finds_its_names": (
        "a module that is no public name", "an attribute", "from", "inspect", "star",
    ),
    "test_notebooks.py::test_a_lesson_that_warns_fails": (
        "warnings.warn('look out')-UserWarning", "warnings.warn('old', DeprecationWarning)-DeprecationWarning",
    ),
    "test_peers.py::test_a_suite_passes_with_ours_and_notices_a_wrong_solver": ("scikit-learn",),
    "test_mutants.py::test_a_test_is_measured_anew_when_its_text_changes_and_no_other": ...,
}  # fmt: skip


def mark(items: Iterable[pytest.Item], whole: bool) -> None:
    """Mark as ``deep`` what ``NIGHTLY`` names; refuse, of ``whole`` modules, names that nothing has."""
    modules, by_day, by_night = set(), set(), set()
    for item in items:
        test, case = _names(item)
        modules.add(test.partition("::")[0])
        cases = NIGHTLY.get(test, ())
        if cases is ... or case in cases:
            item.add_marker(pytest.mark.deep)
            by_night.add((test, ... if cases is ... else case))
        elif item.get_closest_marker("deep") is None:
            by_day.add(test)
    for test, cases in NIGHTLY.items() if whole else ():
        if test.partition("::")[0] not in modules:
            continue
        unknown = [case for case in ((...,) if cases is ... else cases) if (test, case) not in by_night]
        if unknown:
            raise pytest.UsageError(f"tests/nightly.py: {test} has no case {unknown}")
        if (test in by_day) == (cases is ...):
            raise pytest.UsageError(
                f"tests/nightly.py: {test} must leave a case for the day, or be `...` altogether"
            )


def _names(item: pytest.Item) -> tuple[str, str]:
    """Of an item its test, from the folder of the tests on, and its case, with the letters that pytest escapes."""
    test, _, case = item.nodeid.partition("[")
    letters = re.sub(r"\\+u(\w{4})", lambda code: chr(int(code[1], 16)), case)
    return test.removeprefix("tests/"), letters.removesuffix("]")
