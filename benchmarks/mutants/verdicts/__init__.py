"""``python -m benchmarks.mutants.verdicts``: put a wrong formula under each claim, and ask its verdict alone.

Each claim is computed with ``--quick`` where one line of the formulas that it is about (``formulas.py``) is changed; a
check has to fail, or the computation. What is finished is kept at once in ``out/mutants``: a run that was ended goes on
where it stopped. Only a run over all claims is stored in ``benchmarks/results`` and written into ``docs/trust.md``.
"""
