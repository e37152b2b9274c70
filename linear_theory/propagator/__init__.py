"""(1 − x)^K in one place, x = 2η × an eigenvalue: a path after any number K of steps, without a loop over them.

``powers`` holds (1 − x)^K, its divided differences and its geometric sum; ``momentum`` the same for steps with
momentum; ``matrix_functions`` the derivatives of φ(A)v, of every order; ``apply`` φ(A)v itself, for every covariance.
"""
