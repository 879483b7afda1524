"""The private paths and the tools of a home.

Both lists are the documented locations of known tools. A sandboxed run sees private paths empty;
its own home has readable links to the tools.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gitmill import process
from gitmill.agents import base as agents

# Below a home: keys, tokens, sessions, histories. Files with mere settings stay visible.
_SECRETS = (
    ".ssh", ".gnupg", ".password-store", ".local/share/keyrings", ".pki", ".vault-token",
    ".Xauthority", ".aws", ".azure", ".oci", ".config/gcloud", ".boto", ".s3cfg", ".config/doctl",
    ".config/rclone", ".config/op", ".config/heroku", ".fly", ".config/netlify", ".databrickscfg",
    ".terraform.d", ".terraformrc", ".config/gh", ".config/glab-cli", ".config/hub",
    ".config/github-copilot", ".git-credentials", ".config/git/credentials", ".netrc", "_netrc",
    ".authinfo", ".authinfo.gpg", ".docker", ".config/containers", ".kube",
    ".config/helm/registry", ".npmrc", ".yarnrc.yml", ".pypirc", ".config/pypoetry/auth.toml",
    ".cargo/credentials", ".cargo/credentials.toml", ".gem/credentials", ".m2/settings.xml",
    ".m2/settings-security.xml", ".gradle/gradle.properties", ".composer/auth.json",
    ".config/composer/auth.json", ".pgpass", ".my.cnf", ".mylogin.cnf",
    ".cache/huggingface/token", ".huggingface/token",
    ".qwen/oauth_creds.json", ".copilot", ".vibe/.env", ".config/goose",
    ".local/share/goose", ".cursor", ".config/amp", ".mozilla", ".thunderbird",
    ".config/google-chrome", ".config/chromium", ".config/BraveSoftware",
    ".config/microsoft-edge", ".config/Signal", ".config/Slack", ".bash_history", ".zsh_history",
    ".local/share/fish/fish_history", ".python_history", ".psql_history", ".mysql_history",
    ".node_repl_history",
)  # fmt: skip
# Sockets of programs that act outside the sandbox for any client.
SOCKETS = (
    "/run/user", "/run/docker.sock", "/run/podman", "/run/containerd/containerd.sock",
    "/run/crio/crio.sock", "/run/dbus/system_bus_socket", "/run/systemd/private",
    "/run/snapd.socket", "/run/libvirt", "/run/screen", "/run/tmux",
)  # fmt: skip
# Below a home, by name or link: toolchains and their settings; no caches, no keys.
_TOOLS = (
    ".pyenv", ".local/bin", ".local/lib", ".local/share/uv", ".local/share/pipx",
    ".local/share/mise", ".local/share/rtx", ".asdf", ".rbenv", ".rvm", ".nodenv", ".nvm",
    ".volta", ".fnm", ".local/share/fnm", ".bun", ".deno", ".rustup", ".cargo/bin",
    ".cargo/config.toml", ".goenv", ".sdkman", ".jenv", ".jabba", ".ghcup", ".opam", ".elan",
    ".juliaup", ".dotnet", ".swiftly", ".config/pip", ".pip", ".config/uv", ".condarc",
    ".config/mise", ".tool-versions", ".cache/ms-playwright", ".cache/puppeteer",
    ".cache/Cypress", ".cache/electron",
)  # fmt: skip
# Variables that lead to a key agent or to a session of the user.
VARIABLES = frozenset(
    {"SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS",
     "XDG_RUNTIME_DIR", "XAUTHORITY", "DOCKER_HOST", "CONTAINER_HOST", "TMUX", "STY"}
)  # fmt: skip
# Credentials in git's configuration: an HTTP header, a name and password in a URL.
HEADER = re.compile(rb"^[ \t]*extraheader[ \t]*=.*\n?", re.IGNORECASE | re.MULTILINE)
ADDRESS = re.compile(rb"(?<=http)(s?)://[^/@\s\"]+@")


def tools() -> tuple[str, ...]:
    """Return what a sandboxed run may see below a home: toolchains, and the agents' programs."""
    return (*_TOOLS, *(name for agent in _agents() for name in agent.PROGRAMS))


def _agents() -> list[agents.Agent]:
    return [agents.load(name) for name in agents.names()]


def paths() -> Iterator[Path]:
    """Yield every existing file and folder that a sandboxed run must not see.

    Credentials are hidden by their whole folder: a returned token replaces its file, and a run
    with only the old file hidden would see the new one.
    """
    homes = {os.fspath(process.home())}
    with suppress(KeyError):
        homes.add(pwd.getpwuid(os.getuid()).pw_dir)
    secret = [*_SECRETS, *(name for agent in _agents() for name in agent.KEYS)]
    names = [f"{folder}/{name}" for folder in homes for name in secret]
    logins = [login for agent in _agents() for login in agent.LOGIN]
    folders = [f"{folder}/{login.name}".rpartition("/")[0] for folder in homes for login in logins]
    own = [os.fspath(login.own().parent) for login in logins]
    every = dict.fromkeys((*names, *folders, *own, *SOCKETS))
    yield from (Path(name) for name in every if os.path.exists(name))  # noqa: PTH110  (cheaper for a hundred)
