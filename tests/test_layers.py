"""Imports go down only, and never sideways between two parts on one line."""

import ast
from pathlib import Path

import eyas

LAYERS = [
    {"__main__"},
    {"cli", "web", "rwkv_peft"},
    {"demo", "sweep", "serving"},
    {"interop", "evaluation"},
    {"run"},
    {"merging", "resume"},
    {"settings"},
    {"observe", "exporting", "chat"},
    {"training", "generation"},
    {"adapters", "data"},
    {"quant"},
    {"models"},
    {"wkv", "fused"},
    {"native"},
    {"hub"},
    {"complaints"},
    {"config"},
    {"files"},
    {"freed"},
    {"errors"},
]
SOURCE = Path(eyas.__file__).parent


def test_imports_go_down():
    level = {part: i for i, layer in enumerate(LAYERS) for part in layer}
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in level, f"{path} is in no layer"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("eyas"):
                continue
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            wrong += [
                f"{path.name}:{node.lineno} {own} imports {name}"
                for name in names
                if name != own and level[name] <= level[own]
            ]
    assert not wrong, "\n".join(wrong)
