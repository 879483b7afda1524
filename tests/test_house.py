"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median, quantiles

import pytest

from tests.support.architecture import floors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gitmill"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Who may start a process: the one module for it, and the supervisor, which is one.
STARTERS = {"process.py", "supervision/spawn.py"}
# Who may move refs: the store, through the backends; repo.py lends git's swap to libgit2, and a slot
# moves the HEAD of its own worktree. A checkout locks its branch, lets go, and merges.
MOVERS = {"store/transaction.py", "git/plumbing.py", "git/libgit2.py", "git/repo.py",
          "git/worktrees.py", "git/checkout.py", "git/default_branch.py"}  # fmt: skip
REPLACERS = {"files.py", "store/journal.py"}  # the journal begins a new file beside the full one
# Who may change what all threads of a process share: the directory, the environment, signals.
PROCESS_WIDE = {
    "workspace/signals.py": "turns signals into stop requests, in the main thread",
    "supervision/spawn.py": "the child of a fork, before its exec",
    "supervision/supervisor.py": "a process of its own, with one thread",
    "supervision/command_run.py": "runs in the supervisor",
    "supervision/terminal.py": "the size of the terminal, for a command of one person",
}
# What may be remembered for as long as the process lives, and why it never changes meanwhile.
CACHED = {
    "agents/_cli.py _declared": "what the files of the package declare",
    "agents/base.py _modules": "the files of the package",
    "core/plans/plan.py _adapter": "made from the models",
    "core/plans/prompt.py environment": "the same settings for every template",
    "history/verified_before.py _adapter": "made from the models",
    "shells.py _program": "bash, as it was when the command began",
    "shells.py _sees_pipes": "what that shell can do",
    "store/secret_search.py _scanner": "the library's detectors",
}
# Containers of a module that are filled later; only the main thread runs faces.
FILLED = {"cli/output.py past"}
# Faces and flows are named after commands, so they share names with what lies below them.
COMMANDS = ("cli", "flows")
# What may stand in an `__init__` beside its docstring; every other one holds nothing else.
INITS = {
    "__init__.py": "the version, which `--version` prints before anything else is imported",
    "config/__init__.py": "the models of the policy, which are all of the package's meaning",
    "flows/doctor/__init__.py": "the flow itself; the modules beside it are its checks",
}
FIRST_LINE = 100  # characters of a docstring's first line
MODULE_LINES, FUNCTION_LINES = 300, 30  # nine in ten stay below


def name_of(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text("utf-8"))


def test_only_one_module_starts_processes():
    for module in MODULES:
        name = name_of(module)
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                starts = re.match(
                    r"(subprocess\.(run|Popen|call|check_)|os\.(fork|exec|spawn|posix_spawn|system|popen))",
                    called,
                )
                assert not starts or name in STARTERS, f"{name}: {called}"


def test_only_the_store_moves_gitmills_refs():
    for module in MODULES:
        for node in ast.walk(tree_of(module)):
            swaps = isinstance(node, ast.Attribute) and node.attr == "swap"
            moves = isinstance(node, ast.Constant) and node.value in ("update-ref", "pack-refs")
            name = name_of(module)
            assert not (swaps or moves) or name in MOVERS, f"{name}: {ast.unparse(node)}"


def test_only_one_module_replaces_files():
    for module in MODULES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                arguments = len(node.args), len(node.keywords)  # a text's replace takes two
                renames = (node.func.attr, arguments) == ("replace", (1, 0))
                renames |= ast.unparse(node.func) in ("os.replace", "os.rename", "tempfile.mkstemp")
                name = name_of(module)
                assert not renames or name in REPLACERS, f"{name}: {ast.unparse(node)}"


def _process_wide(tree: ast.AST) -> Iterator[str]:
    """Yield the calls and writes that change the directory, the environment or the signals."""
    calls = re.compile(
        r"(os\.|contextlib\.)?(chdir|fchdir|umask|putenv|unsetenv)$|(locale\.)?setlocale$|time\.tzset$"
        r"|signal\.(signal|set_wakeup_fd|setitimer|alarm|pthread_sigmask|siginterrupt)$"
        r"|(os\.)?environb?\.(update|setdefault|pop|popitem|clear|__\w+__)$"
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and calls.match(ast.unparse(node.func)):
            yield ast.unparse(node.func)
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
            for target in (ast.unparse(target) for target in targets):
                if re.match(r"(os\.)?environb?(\[|$)", target):
                    yield target


def test_what_all_threads_share_belongs_to_the_main_thread():
    """`chdir`, `umask`, writes to the environment and signal handlers act on every thread."""
    found = {name_of(m): sorted(set(_process_wide(tree_of(m)))) for m in MODULES}
    assert {name for name, calls in found.items() if calls} == PROCESS_WIDE.keys(), found


@pytest.mark.parametrize(
    "code",
    [
        "os.chdir('/')", "with chdir(folder): pass", "old = os.umask(0)", "os.putenv('A', 'b')",
        "os.environ['A'] = 'b'", "environ['A'] += 'b'", "del os.environ['A']",
        "os.environ.pop('A', None)", "os.environ |= more", "os.environ.update(more)",
        "signal.signal(signal.SIGINT, handler)", "signal.set_wakeup_fd(fd)", "os.environ.clear()",
        "locale.setlocale(locale.LC_ALL, 'C')",
    ],
)  # fmt: skip
def test_each_change_of_what_threads_share_is_found(code: str):
    assert list(_process_wide(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["os.environ.get('A')", "env = dict(os.environ)", "signal.getsignal(2)", "a[x] = 1"]
)
def test_reading_what_threads_share_is_not_changing_it(code: str):
    assert not list(_process_wide(ast.parse(code)))


def test_what_is_cached_for_the_life_of_a_process_never_changes():
    """Versions, logins and sandboxes change meanwhile: `caches.py` forgets them after a while."""
    cached, filled = set(), set()
    for module in MODULES:
        tree = tree_of(module)
        for node in ast.walk(tree):
            assert not isinstance(node, ast.Global), f"{name_of(module)}: global"
            for decorator in getattr(node, "decorator_list", ()):
                if re.match(r"(functools\.)?(lru_)?cache\b", ast.unparse(decorator)):
                    cached.add(f"{name_of(module)} {node.name}")
        for node in tree.body:
            value = (
                ast.unparse(node.value)
                if isinstance(node, ast.Assign | ast.AnnAssign) and node.value
                else ""
            )
            if re.fullmatch(
                r"\{\}|\[\]|(dict|list|set|defaultdict|OrderedDict|deque)\b.*\(.*\)", value
            ):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if not ast.unparse(target).isupper():
                    filled.add(f"{name_of(module)} {ast.unparse(target)}")
    assert cached == CACHED.keys()
    assert filled == FILLED


def test_nothing_is_left_to_do_in_a_comment():
    for module in MODULES:
        marks = re.findall(r"#.*\b(TODO|FIXME|XXX|HACK)\b", module.read_text("utf-8"))
        assert not marks, module


def test_what_is_recorded_gets_its_time_and_randomness_from_the_mill():
    allowed = {"mill.py", "store/transaction.py", "supervision/local.py", "cli/fast_status.py"}
    for module in MODULES:
        name = name_of(module)
        text = module.read_text("utf-8")
        if re.search(r"^import (random|secrets|uuid)\b|datetime\.now", text, re.MULTILINE):
            assert name in allowed, name


def test_every_setting_is_read_by_some_code():
    from gitmill.config import Policy

    code = "\n".join(m.read_text("utf-8") for m in MODULES if "config" not in str(m.parent))
    config = (PACKAGE / "config/__init__.py").read_text("utf-8")

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
                for part in inner:
                    yield from leaves(part)
            else:
                yield name

    for name in leaves(Policy):
        assert re.search(rf"\.{name}\b|[\"']{name}[\"']", code) or config.count(f".{name}") > 0, (
            name
        )


# -- errors ----------------------------------------------------------------------------------------


def test_whoever_catches_every_error_gives_a_reason():
    """Whose fault an error is may matter there: a killed git must not pass for an answer."""
    silent = [
        f"{name_of(module)}:{line}"
        for module in MODULES
        for line in _catches_all(tree_of(module))
        if not _has_comment(module.read_text("utf-8").splitlines(), line)
    ]
    assert silent == []


def test_the_base_of_all_errors_is_never_raised():
    """It has no blame."""
    raised = [
        f"{name_of(module)}:{node.lineno}"
        for module in MODULES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("GitmillError")
    ]
    assert raised == []


def _catches_all(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that catch `GitmillError`, with `except` or `suppress`."""
    for node in ast.walk(tree):
        caught: list[ast.expr] = []
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = [node.type]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            caught = node.args
        names = {ast.unparse(part) for kind in caught for part in ast.walk(kind)}
        if names & {"GitmillError", "errors.GitmillError"}:
            yield node.lineno


def _has_comment(lines: list[str], number: int) -> bool:
    """Whether a line has a comment at its end, or is preceded by one."""
    return "  # " in lines[number - 1] or lines[number - 2].lstrip().startswith("# ")


# -- names and modules -----------------------------------------------------------------------------


def test_a_file_name_stands_in_one_layer():
    layers: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        parts = module.relative_to(PACKAGE).parts
        is_command = len(parts) == 2 and parts[0] in COMMANDS
        if module.name != "__init__.py" and not is_command:
            layers[module.name].add(parts[0])
    assert {name: of for name, of in layers.items() if len(of) > 1} == {}


def test_every_module_begins_with_a_docstring_whose_first_line_is_short():
    first = {name_of(m): (ast.get_docstring(tree_of(m)) or "").partition("\n")[0] for m in MODULES}
    wrong = {name: line for name, line in first.items() if not 0 < len(line) <= FIRST_LINE}
    assert wrong == {}


def test_an_init_holds_a_docstring_and_nothing_else():
    more = {name_of(m) for m in MODULES if m.name == "__init__.py" and len(tree_of(m).body) > 1}
    assert more == INITS.keys()


def test_no_module_exports_what_another_one_defines():
    """Each name is imported from the module that defines it, and no module lists its names."""
    defined = {_dotted(module): _definitions(tree_of(module)) for module in MODULES}
    for module in MODULES:
        tree = tree_of(module)
        assert "__all__" not in defined[_dotted(module)], name_of(module)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "") in defined:
                names = {alias.name for alias in node.names}
                inside = {name for name in names if f"{node.module}.{name}" in defined}
                assert names - inside <= defined[str(node.module)], f"{name_of(module)}: {names}"


def test_types_come_from_lower_floors_too():
    """The import contracts omit what is imported for types alone; those imports go down as well."""
    floor = {name: number for number, names in enumerate(floors()) for name in names}
    up = [
        f"{name_of(module)}:{node.lineno} imports {imported}"
        for module in MODULES
        for node in ast.walk(tree_of(module))
        for imported in _imported(node)
        if floor.get(_top(imported), 99) < floor.get(_top(_dotted(module)), -1)
    ]
    assert up == []


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)


def _top(dotted: str) -> str:
    """Return the package or module below gitmill that a name belongs to, empty if elsewhere."""
    package, _, rest = dotted.partition(".")
    return rest.partition(".")[0] if package == "gitmill" else ""


def _dotted(module: Path) -> str:
    parts = module.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _definitions(tree: ast.Module) -> set[str]:
    """Return the names that a module defines at its top level; imported ones are not among them."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = (part for target in targets for part in ast.walk(target))
            names |= {part.id for part in parts if isinstance(part, ast.Name)}
    return names


# -- sizes -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """How long one kind of thing is, in lines, and which three of it are longest."""

    count: int
    median: float
    p90: float
    longest: tuple[str, ...]


def sizes() -> Mapping[str, Size]:
    """Return the length of modules and functions: `python -m tests.test_house` prints it."""
    modules = {name_of(m): len(m.read_text("utf-8").splitlines()) for m in MODULES}
    functions = {name: length for m in MODULES for name, length in _functions(m)}
    return {"modules": _size(modules), "functions": _size(functions)}


def _functions(module: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef):
            name = f"{name_of(module)}:{node.lineno} {node.name}"
            yield name, (node.end_lineno or node.lineno) - node.lineno + 1


def _size(lengths: Mapping[str, int]) -> Size:
    values = sorted(lengths.values())
    longest = sorted(lengths, key=lambda name: -lengths[name])[:3]
    p90 = quantiles(values, n=10, method="inclusive")[-1]
    shown = tuple(f"{name} ({lengths[name]})" for name in longest)
    return Size(len(values), median(values), p90, shown)


def test_nine_in_ten_modules_and_functions_are_short():
    lengths = sizes()
    assert lengths["modules"].p90 < MODULE_LINES, lengths["modules"]
    assert lengths["functions"].p90 < FUNCTION_LINES, lengths["functions"]


if __name__ == "__main__":
    for kind, size in sizes().items():
        print(f"{size.count} {kind}: median {size.median:g}, 90% up to {size.p90:g} lines")
        print(*(f"  {name}" for name in size.longest), sep="\n")
