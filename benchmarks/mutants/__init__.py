"""Mutation testing: one expression of ``linear_theory`` is changed, and some test has to notice.

``python -m benchmarks.mutants`` draws mutants at random, runs for each the tests that reach it, stores what it saw in
``benchmarks/results/mutants.json`` and writes the rate, and every mutant that no test noticed, into ``docs/trust.md``.
No file of the tree is changed for it: a process is told by its environment which module to import otherwise
(``hook/sitecustomize.py``), so that runs side by side, and runs that are ended, do no harm.

``python -m benchmarks.mutants.verdicts`` puts a wrong formula under each claim that is about it, and asks its verdict.

Whoever wants to ask something else of a mutant than the tests: ``found.mutants`` lists them, ``engine.called`` calls a
function in a process in which one of them is true.
"""
