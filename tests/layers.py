#!/usr/bin/env python3
"""Checks that every #include respects the order of the layers (docs/architecture.md).

    tests/layers.py [ROOT]

Prints one line per violation and exits 1 when there is one. "A <- B" there means that B may include A, and what A may
include; the table below spells the closure out.
"""
import pathlib
import re
import sys

BELOW_COST = {"base", "ops", "hw", "model"}
BELOW_SERVING = BELOW_COST | {"cost", "workload"}
BELOW_EVENTS = BELOW_SERVING | {"serving"}
BELOW_SCENARIO = BELOW_EVENTS | {"events", "des", "report"}

MAY_INCLUDE = {
    "base": set(),
    "ops": {"base"},
    "hw": {"base", "ops"},
    "model": {"base", "ops"},
    "cost": BELOW_COST,
    "workload": {"base"},
    "serving": BELOW_SERVING,
    "events": BELOW_EVENTS,
    "des": BELOW_EVENTS | {"events"},
    "report": BELOW_EVENTS | {"events"},
    "scenario": BELOW_SCENARIO,
}
LAYERS = set(MAY_INCLUDE)
EVERYTHING = LAYERS | {"calibration"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SOURCES = {".cpp", ".hpp", ".cu", ".cuh", ".h"}


def allowed_for(path):
    """(who, layers it may include) for a path relative to the root, or None when the path is not ours to judge."""
    top = path.parts[0]
    if top == "sim":
        layer = path.parts[1]
        return layer, MAY_INCLUDE.get(layer, set()) | {layer}
    if top == "kernels":
        return "kernels", {"base", "ops"}
    if top == "calibration":
        return "calibration", BELOW_COST | {"cost", "calibration"}
    if top == "tests" and path.parts[1] in LAYERS:
        layer = path.parts[1]
        return f"tests/{layer}", MAY_INCLUDE[layer] | {layer}
    if top in {"tools", "tests"}:
        return top, EVERYTHING
    return None


def check_file(root, path):
    rule = allowed_for(path)
    if rule is None:
        return
    who, allowed = rule
    text = (root / path).read_text(encoding="utf-8")
    if path.suffix == ".hpp" and "#pragma once" not in text:
        yield 1, "a header needs #pragma once"
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        bracket, name = match.groups()
        first = name.split("/")[0]
        if first == "simgrid" and not str(path).startswith(("sim/des/", "tests/des/")):
            yield number, "only sim/des may see SimGrid"
        if bracket == "<":
            continue
        if ".." in name.split("/"):
            yield number, f'"{name}": write the path from the root of the layer, not "..", so that the layer shows'
        elif first in EVERYTHING and first not in allowed:
            yield number, f'{who} may not include {first} ("{name}"); it may include {", ".join(sorted(allowed))}'
        elif path.parts[0] == "sim" and "/" not in name:
            yield number, f'"{name}": write "{path.parts[1]}/{name}", so that the layer shows'


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    unknown = [p.name for p in (root / "sim").iterdir() if p.is_dir() and p.name not in LAYERS]
    bad = [f"sim/{name}: a folder that is no layer" for name in unknown]
    checked = 0
    for top in ("sim", "kernels", "calibration", "tools", "tests"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in SOURCES or not file.is_file():
                continue
            path = file.relative_to(root)
            checked += 1
            bad += [f"{path}:{line}: {why}" for line, why in check_file(root, path)]
    print("\n".join(bad) if bad else f"layers: {checked} files respect the order")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
