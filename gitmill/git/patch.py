"""What a change consists of, apart from where in the files it stands."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from gitmill.errors import GitFailedError
from gitmill.git.command import Git
from gitmill.git.objects import raw, text

_ALGORITHM = "histogram"
