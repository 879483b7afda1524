"""Counts what the sanity rules find in the history of real projects: what people committed there.

`python -m tests.bench.sanity [-n COMMITS] REPOSITORY…` judges the last commits that are no merges,
each as if it were a change on its parent, by the default policy.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter, defaultdict
from pathlib import Path

from gitmill.config import Policy
from gitmill.core import sanity_rules
from gitmill.core.plans.plan import PlannedSanity
from gitmill.git.path_patterns import Patterns
from gitmill.mill import Mill
from gitmill.store import secret_search
from gitmill.workspace import secret_scan
from gitmill.workspace.inspect_change import tree_names

# What a finding's message says, by the rule that found it.
RULES = {
    r"holds a secret: (.+?)(?: \(digest .*)?$": "secret: {}",
    r"is a kind of file that holds secrets$": "secret file",
    r"is a conflict marker$": "conflict marker",
    r"adds a forbidden line \((.*)\); rule: ": "forbidden line: {}",
    r"limit .* \(sanity\.max_file_size\)$": "large file",
    r"lines changed; limit": "too many lines",
    r"files changed; limit": "too many files",
    r"needs your approval": "protected path",
    r"nothing was changed": "nothing changed",
}


def rule_of(message: str) -> str:
    for pattern, name in RULES.items():
        if found := re.search(pattern, message):
            return name.format(*found.groups())
    raise ValueError(message)


def rules() -> PlannedSanity:
    policy = Policy()
    own = policy.sanity
    return PlannedSanity(
        own.max_files, own.max_lines, own.max_file_size, policy.protected_paths, own.forbidden_lines
    )


def measure(path: Path, count: int) -> None:
    mill = Mill.open(path)
    planned = rules()
    protected = Patterns(planned.protected).match
    listed = mill.repository.git.run(
        "rev-list", "--no-merges", "--min-parents=1", f"--max-count={count}", "HEAD"
    )
    commits = listed.text.split()
    words: Counter[str] = Counter()
    told: defaultdict[str, list[str]] = defaultdict(list)
    began = time.process_time()
    for commit in commits:
        old = parent(mill, commit)
        files = secret_scan.changed_files(mill.store.backend, mill.changes(old, commit))
        verdict = sanity_rules.inspect(
            files, planned, protected=protected, search=secret_search.search,
            names=tree_names(mill, old, commit), item_id="ID",
        )  # fmt: skip
        words[verdict.word.value] += 1
        for rule in {rule_of(finding.message) for finding in verdict.findings}:
            first = next(f.message for f in verdict.findings if rule_of(f.message) == rule)
            told[rule].append(f"{commit[:10]} {first[:90]}")
    spent = (time.process_time() - began) * 1000 / max(1, len(commits))
    print(f"{path.name}: {len(commits)} commits, {spent:.0f} ms of CPU each, {dict(words)}")
    for rule, examples in sorted(told.items(), key=lambda pair: -len(pair[1])):
        print(f"  {len(examples):4} {len(examples) / len(commits):6.1%}  {rule}")
        for example in examples[:5]:
            print(f"                {example}")


def parent(mill: Mill, commit: str) -> str:
    return mill.repository.git.run("rev-parse", f"{commit}^").text.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=500, help="commits of each repository")
    parser.add_argument("repositories", type=Path, nargs="+")
    given = parser.parse_args()
    for path in given.repositories:
        measure(path, given.n)


if __name__ == "__main__":
    main()
