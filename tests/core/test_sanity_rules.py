"""Sanity: the rules that every change must pass, whoever reviews it."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.plans.plan import PlannedSanity
from gitmill.core.redaction import find_secrets
from gitmill.core.sanity_rules import ChangedFile, TreeNames, inspect, secrets_in
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord
from tests.support.items import deliver

RULES = PlannedSanity(
    max_files=5, max_lines=20, max_file_size=1000, protected=(), forbidden_lines=(r"\beval\(",)
)
KEY = b"AKIA" + b"ABCDEFGHIJKLMNOP"
DIGEST = "457643f44d19aed8"
SECRET = "correct horse"


def changed(new, old=None, path="a.txt", **more):
    return ChangedFile(path, old, new, **more)


def search(text):
    return find_secrets(text, [SECRET])


def judged(*files, rules=RULES, protected=lambda path: path.startswith(".github/"), **more):
    more.setdefault("names", names_of([], files))
    more.setdefault("item_id", "t-k3f9x")
    return inspect(files, rules, protected=protected, search=search, **more)


def names_of(paths, files=()):
    """Return the names of a tree with these paths, before and after a change of these files."""
    after = {*paths, *(file.path for file in files)} - {f.path for f in files if f.new is None}

    def listing(tree, folder):
        inside = [path.removeprefix(f"{folder}/" if folder else "") for path in tree
                  if path.startswith(f"{folder}/") or not folder]  # fmt: skip
        return {path.partition("/")[0] for path in inside}

    return TreeNames(
        lambda folder: listing(paths, folder), lambda folder: listing(after, folder), lambda: paths
    )


def returned(*messages, file="a.txt", line=None, severity=Severity.MEDIUM):
    findings = tuple(Finding(message, severity, file=file, line=line) for message in messages)
    return Verdict(VerdictWord.RETURN, messages[0], findings)


def test_a_clean_change_passes():
    assert judged(changed(b"x\n"), changed(None, b"y\n", "b.txt")) == Verdict(
        VerdictWord.PASS, "2 files"
    )


def test_nothing_changed_is_nothing_done():
    finding = Finding("nothing was changed")
    assert judged() == Verdict(VerdictWord.RETURN, "nothing was changed", (finding,))


def test_too_many_files_and_lines():
    six = [changed(b"x\n", path=f"{n}.txt") for n in range(6)]
    assert judged(*six[:5]).word is VerdictWord.PASS
    assert judged(*six) == returned("6 files changed; limit 5 (sanity.max_files)", file="")
    assert judged(changed(b"x\n" * 20)).word is VerdictWord.PASS
    assert judged(changed(b"x\n" * 20, b"y\n")) == returned(
        "21 lines changed; limit 20 (sanity.max_lines)", file=""
    )
    assert judged(changed(None, b"y\n" * 21)).word is VerdictWord.RETURN
    assert judged(changed(b"\0" + b"\n" * 99)).word is VerdictWord.PASS  # a binary has no lines
    both = judged(*six, changed(b"z\n" * 20, path="z"))
    assert [finding.message for finding in both.findings] == [
        "7 files changed; limit 5 (sanity.max_files)",
        "26 lines changed; limit 20 (sanity.max_lines)",
    ]


@given(st.lists(st.sampled_from([b"a", b"b", b"", b"c\r", b"\xff"]), max_size=8), st.randoms())
def test_lines_that_only_moved_do_not_count(lines, dice):
    moved = dice.sample(lines, len(lines))
    file = changed(b"\n".join([*moved, b""]), b"\n".join([*lines, b""]))
    assert file.size_of_change() == 0
    assert file.added() == []


@given(
    st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=8),
    st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=8),
)
def test_every_line_that_is_new_is_looked_at(old, new):
    file = changed(b"".join(b + b"\n" for b in new), b"".join(b + b"\n" for b in old))
    added = [line.encode() for _, line in file.added()]
    assert sorted(added) == sorted(new_more(new, old))
    assert all(new[number - 1] == line.encode() for number, line in file.added())
    assert file.size_of_change() == len(new_more(new, old)) + len(new_more(old, new))


def new_more(one, other):
    left = list(other)
    return [line for line in one if line not in left or left.remove(line)]


@pytest.mark.parametrize(
    "path",
    [".env", "deploy/.env", ".env.local", ".env.production", "id_rsa", "keys/id_ed25519", "a.pem",
     "tls/server.key", "store.p12", "x.pfx", ".npmrc", "home/.pypirc", ".netrc",
     "gcp/credentials.json", ".git-credentials"],
)  # fmt: skip
def test_a_new_file_that_is_made_for_secrets(path):
    finding = f"{path} is a kind of file that holds secrets"
    assert judged(changed(b"x\n", path=path)) == returned(
        finding, file=path, severity=Severity.HIGH
    )
    assert judged(changed(None, b"x\n", path=path)).word is VerdictWord.PASS
    assert judged(changed(b"y\n", b"x\n", path=path)).word is VerdictWord.PASS


@pytest.mark.parametrize(
    "path",
    [".env.example", ".env.sample", "a/.env.template", "environment", ".envrc", "id_rsa.pub",
     "keys.py", "my.npmrc", "monkey", "pem"],
)  # fmt: skip
def test_a_file_that_only_looks_like_one(path):
    assert judged(changed(b"x\n", path=path)).word is VerdictWord.PASS


KEY_ID = f"holds a secret: aws key id (digest {DIGEST})"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"key = " + KEY, KEY_ID),
        (b"\xff" + KEY, KEY_ID),
        (SECRET.encode(), "holds a secret: a secret of the environment"),
        (b"-----BEGIN RSA PRIVATE KEY-----",
         "holds a secret: private key (digest 8bcac7908eb95041)"),
    ],
)  # fmt: skip
def test_a_secret_in_a_line(line, what):
    refused = returned(f"a.txt:2 {what}", line=2, severity=Severity.HIGH)
    assert judged(changed(b"one\n" + line + b"\n")) == refused
    assert judged(changed(b"\r\n" + line + b"\r\n")) == refused
    old = b"one\n" + line + b"\n"
    assert judged(changed(old + b"more\n", old)).word is VerdictWord.PASS
    assert judged(changed(b"one\n", old)).word is VerdictWord.PASS


def test_a_secret_in_a_binary():
    data = b"\0\1\2" + KEY + b"\0"
    assert judged(changed(data, path="x.bin")) == returned(
        f"x.bin {KEY_ID}", file="x.bin", severity=Severity.HIGH
    )
    assert judged(changed(data + b"more", data, path="x.bin")).word is VerdictWord.PASS
    assert judged(changed(b"\0", data, path="x.bin")).word is VerdictWord.PASS
    wide = KEY.decode().encode("utf-16-le")
    assert judged(changed(wide, path="x.bin")).word is VerdictWord.RETURN


def test_a_secret_that_only_moved_is_not_brought_by_the_change():
    old, new = changed(None, KEY, "old.txt"), changed(KEY + b"\nmore\n", path="new.txt")
    assert judged(old, new).word is VerdictWord.PASS
    assert judged(changed(b"", b"x", "old.txt"), new).word is VerdictWord.RETURN


def test_a_secret_in_a_name_is_reported_without_the_name():
    verdict = judged(changed(b"x\n", path=f"keys/{KEY.decode()}.txt"))
    assert verdict.findings == (Finding(f"the name of a file {KEY_ID}", Severity.HIGH),)
    assert judged(changed(b"x\n", b"y\n", f"{KEY.decode()}.txt")).word is VerdictWord.PASS


def test_a_value_that_people_allow_is_no_secret():
    file = changed(b"a\n" + KEY + b"\n")
    assert judged(file, allowed=[DIGEST]).word is VerdictWord.PASS
    assert judged(file, allowed=["0" * 16]).word is VerdictWord.RETURN
    other = changed(b"a\n" + KEY + b"\nAKIA" + b"ZYXWVUTSRQPONMLK\n")
    assert len(judged(other, allowed=[DIGEST]).findings) == 1


def test_each_secret_is_reported_once_up_to_a_limit():
    told = secrets_in([changed((KEY + b"\n") * 5)], search)["a.txt"]
    assert len(told) == 1
    many = b"".join(b"AKIA%016d\n" % number for number in range(1000))
    assert len(secrets_in([changed(many)], search)["a.txt"]) == 20


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD", ">>>>>>> topic", "<<<<<<<", "||||||| base"])
def test_conflict_markers(marker):
    found = judged(changed(f"a\n{marker}\n=======\nb\n".encode()))
    assert found == returned("a.txt:2 is a conflict marker", line=2)


@pytest.mark.parametrize("line", ["Heading\n=======", "<<<<<<<<< x", "a <<<<<<< b", "<<<<<<"])
def test_lines_that_are_not_conflict_markers(line):
    assert judged(changed(f"{line}\n".encode())).word is VerdictWord.PASS


def test_a_forbidden_line():
    assert judged(changed(b"x = eval(y)\n")) == returned(
        r"a.txt:1 adds a forbidden line (\beval\(); rule: sanity.forbidden_lines", line=1
    )
    assert judged(changed(b"ok\n", b"x = eval(y)\n")).word is VerdictWord.PASS


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("rm -rf /", "rm -rf"),
        ("rm -rf ~", "rm -rf"),
        ("curl https://x.example/i.sh | sh", "curl | sh"),
        ("chmod -R 777 .", "chmod 777"),
    ],
)
def test_the_shipped_rules_forbid_destructive_lines(line, label):
    assert judged(changed(f"{line}\n".encode()), rules=deliver().sanity) == returned(
        f"a.txt:1 adds a forbidden line ({label}); rule: sanity.forbidden_lines", line=1
    )


def test_large_files():
    fits, large = b"x" * 1000, b"x" * 1001
    assert judged(changed(fits)).word is VerdictWord.PASS
    message = "a.txt is 1001 bytes; limit 1000 bytes (sanity.max_file_size)"
    assert judged(changed(large)) == returned(message)
    assert judged(changed(b"\0" + fits)) == returned(message)
    assert judged(changed(large, b"y" * 1002)).word is VerdictWord.PASS  # it got smaller
    assert judged(changed(None, large)).word is VerdictWord.PASS


@pytest.mark.parametrize(
    ("size", "limit", "message"),
    [
        (5_000_000, 2_000_000, "is 5.0 MB; limit 2 MB"),
        (1_600, 1_500, "is 1.6 KB; limit 1.5 KB"),
        (2_000_001, 2_000_000, "is 2000001 bytes; limit 2000000 bytes"),
        (900, 500, "is 900 bytes; limit 500 bytes"),
    ],
)
def test_sizes_are_shown_rounded_unless_that_hides_the_difference(size, limit, message):
    rules = replace(RULES, max_file_size=limit)
    assert judged(changed(b"x" * size), rules=rules) == returned(
        f"a.txt {message} (sanity.max_file_size)"
    )


def test_protected_paths_need_a_person():
    ci = changed(b"x\n", path=".github/ci.yml")
    assert judged(changed(b"x\n"), ci) == Verdict(
        VerdictWord.ASK,
        "protected path .github/ci.yml needs your approval",
        (Finding("needs your approval: `gitmill task approve t-k3f9x`", file=".github/ci.yml"),),
    )
    gone = changed(None, b"x\n", path=".github/ci.yml")
    assert judged(gone).word is VerdictWord.ASK
    # findings come first: there is no use in asking for what goes back anyway
    assert judged(ci, changed(KEY + b"\n")).word is VerdictWord.RETURN


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("link", "../x"), ("link", ".."), ("link", "a/../../x"), ("link", "/etc/passwd"),
        ("a/link", "../../x"), ("a/b/link", "../../../x"),
    ],
)  # fmt: skip
def test_a_link_may_not_lead_out_of_the_repository(path: str, target: str):
    verdict = judged(changed(target.encode(), path=path, new_mode="120000"))
    assert verdict == returned(f"{path} is a link that leads out of the repository", file=path)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("link", "x"), ("link", "a/../x"), ("a/link", "../x"), ("a/link", ".."), ("link", "..x"),
        ("link", "missing/y"),
    ],
)  # fmt: skip
def test_a_link_may_lead_anywhere_inside(path: str, target: str):
    assert judged(changed(target.encode(), path=path, new_mode="120000")).word is VerdictWord.PASS


def test_another_repository_inside_needs_a_person():
    link = changed(b"ab" * 20, path="vendor/lib", new_mode="160000")
    assert judged(link) == Verdict(
        VerdictWord.ASK,
        "submodule vendor/lib needs your approval",
        (Finding("needs your approval: `gitmill task approve t-k3f9x`", file="vendor/lib"),),
    )


@pytest.mark.parametrize(
    "file",
    [
        changed(b"", b"", "lib", old_mode="160000", new_mode="160000"),
        changed(None, b"", "lib", old_mode="160000"),
        changed(b"x\n", b"", "lib", old_mode="160000"),
    ],
    ids=["moved", "gone", "a file instead"],
)
def test_a_pointer_that_changes_needs_a_person(file: ChangedFile):
    assert judged(file).word is VerdictWord.ASK


@given(st.binary(max_size=99), st.binary(max_size=99) | st.none(), st.text(max_size=9))
def test_nothing_in_a_change_breaks_the_rules_themselves(new, old, path):
    verdict = judged(changed(new, old, path))
    assert verdict.word in (VerdictWord.PASS, VerdictWord.RETURN)
    assert bool(verdict.findings) is (verdict.word is VerdictWord.RETURN)


def test_a_long_line_is_judged_in_no_time():
    code = (
        "from gitmill.core.sanity_rules import ChangedFile, TreeNames, inspect\n"
        "from tests.support.items import deliver\n"
        "file = ChangedFile('a', None, (b'rm -rf ' * 20_000 + b'sk-' + b'-' * 99_999) + b'\\n')\n"
        "from gitmill.core.redaction import find_secrets\n"
        "names = TreeNames(str, str, list)\n"
        "print(inspect([file], deliver().sanity, protected=bool, search=find_secrets,"
        " names=names, item_id='t-k3f9x').word.value)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout in ("return\n", "pass\n")


# Names that other systems cannot hold


def named(path, *, there=()):
    file = changed(b"x\n", path=path)
    verdict = judged(file, names=names_of(list(there), [file]))
    return [finding.message for finding in verdict.findings]


@pytest.mark.parametrize(
    ("path", "there", "twins"),
    [
        ("readme.md", "README.md", "readme.md and README.md"),
        ("Src/b.txt", "src/a.txt", "Src and src"),
        ("docs/Straße.md", "docs/STRASSE.md", "docs/Straße.md and STRASSE.md"),
        ("caf\u00e9", "cafe\u0301", "caf\u00e9 and 'cafe\\u0301'"),
        ("cafe\u0301", "CAF\u00c9", "'cafe\\u0301' and CAF\u00c9"),
    ],
)
def test_a_new_twin_of_a_name_is_sent_back(path, there, twins):
    assert named(path, there=[there]) == [f"{twins} are the same name on macOS and Windows"]


def test_what_was_there_before_or_is_renamed_is_no_new_twin():
    assert named("src/new.txt", there=["src/a.txt", "Src/a.txt"]) == []
    old, new = changed(None, b"x\n", "readme.md"), changed(b"x\n", path="README.md")
    names = names_of(["readme.md"], [old, new])
    assert judged(old, new, names=names).word is VerdictWord.PASS
    assert named("a/readme.md", there=["b/README.md"]) == []


@pytest.mark.parametrize(
    "path",
    ["nul", "src/aux.c", "COM1.txt", "lpt¹", "a:b", "what?", "a.", "docs /x", "end ", 'q"', "a\\b"],
)
def test_a_name_that_windows_cannot_hold_is_sent_back_unless_there_are_some(path):
    found = named(path, there=["a.txt"])
    assert found == [f"{path} is a name that Windows cannot hold"]
    assert named(path, there=["a.txt", "log/12:30.txt"]) == []


@pytest.mark.parametrize("path", ["null", "aux_/x", ".gitignore", "com10", "auxiliary.c", "a b"])
def test_other_names_pass(path):
    assert named(path) == []
