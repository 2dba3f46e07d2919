"""Imports every module of the rooms; prints as JSON each that fails, with its error's class and text."""

import importlib
import json
import pkgutil

failed = {}
for room in ("codec", "data", "callbacks"):
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(package.__path__, room + "."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed[module.name] = [type(error).__name__, str(error)]
importlib.import_module("train")
print(json.dumps(failed))
