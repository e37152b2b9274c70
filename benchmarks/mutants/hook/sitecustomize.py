"""Python imports a module of this name when it starts: here, to import one other module from changed source.

``LINEAR_THEORY_MUTANT`` names a JSON file with the ``module`` and its ``source``. As the environment is handed on, what
such a process starts has the same mutant.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
import types


class _Loader(importlib.machinery.SourceFileLoader):
    source = ""

    def get_code(self, fullname: str) -> types.CodeType:  # nothing is read from, or written to, __pycache__
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, source: str) -> None:
        self.module, self.source = module, source

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        spec.loader = _Loader(fullname, spec.origin)
        spec.loader.source = self.source
        return spec


if "LINEAR_THEORY_MUTANT" in os.environ:
    with open(os.environ["LINEAR_THEORY_MUTANT"], encoding="utf-8") as _file:
        sys.meta_path.insert(0, _Finder(**json.load(_file)))
