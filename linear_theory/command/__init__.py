"""The command ``python -m linear_theory``: a user's own rows from files, the report to the terminal, the picture.

What only the command needs is here; everything heavy is imported when it is used.
"""
