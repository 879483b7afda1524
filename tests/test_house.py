"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "gitmill").rglob("*.py"))

# Who may start a process: the one module for it, and the supervisor, which is one.
STARTERS = {"process.py", "supervision/spawn.py"}


def test_only_one_module_starts_processes():
    for module in MODULES:
        name = str(module.relative_to(ROOT / "gitmill"))
        tree = ast.parse(module.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                said = ast.unparse(node.func)
                starts = re.match(
                    r"(subprocess\.(run|Popen|call|check_)|os\.(fork|exec|spawn|posix_spawn|system|popen))",
                    said,
                )
                assert not starts or name in STARTERS, f"{name}: {said}"


def test_nothing_is_left_to_do_in_a_comment():
    for module in MODULES:
        found = re.findall(r"#.*\b(TODO|FIXME|XXX|HACK)\b", module.read_text("utf-8"))
        assert not found, module


def test_what_is_recorded_gets_its_time_and_randomness_from_the_mill():
    allowed = {"mill.py", "store/transaction.py", "supervision/local.py", "cli/fast_status.py"}
    for module in MODULES:
        name = str(module.relative_to(ROOT / "gitmill"))
        text = module.read_text("utf-8")
        if re.search(r"^import (random|secrets|uuid)\b|datetime\.now", text, re.MULTILINE):
            assert name in allowed, name


def test_every_setting_is_read_by_somebody():
    from gitmill.config import Policy

    code = "\n".join(m.read_text("utf-8") for m in MODULES if "config" not in str(m.parent))
    config = (ROOT / "gitmill/config/__init__.py").read_text("utf-8")

    def leaves(model):
        for name, field in model.model_fields.items():
            inner = [
                a
                for a in (field.annotation, *getattr(field.annotation, "__args__", ()))
                if hasattr(a, "model_fields")
            ]
            inner += [
                b
                for a in getattr(field.annotation, "__args__", ())
                for b in getattr(a, "__args__", ())
                if hasattr(b, "model_fields")
            ]
            if inner:
                for one in inner:
                    yield from leaves(one)
            else:
                yield name

    for name in leaves(Policy):
        assert re.search(rf"\.{name}\b|[\"']{name}[\"']", code) or config.count(f".{name}") > 0, (
            name
        )
