"""The letters of every page that is made here, site and reports: the first of a list that the reader's machine has.

The last names of each are on a bare Linux, too.
"""

SANS = 'system-ui, "Noto Sans", "DejaVu Sans", "Liberation Sans", sans-serif'
MONOSPACE = 'ui-monospace, "Noto Sans Mono", "DejaVu Sans Mono", "Liberation Mono", monospace'
MATH = (
    '"STIX Two Math", "Cambria Math", "Latin Modern Math", "Libertinus Math", "Noto Sans Math", '
    '"DejaVu Math TeX Gyre", math, serif'
)
