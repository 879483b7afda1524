"""Secrets of real kinds, made when a test runs: none of them stands in this repository."""

from __future__ import annotations

import base64
import json
import string
from random import Random

WORD = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"


def made(seed: int = 7) -> dict[str, tuple[str, str]]:
    """Return by kind: the value that must not get out, and a text that such a value stands in."""
    dice = Random(seed)

    def some(count: int, of: str = WORD) -> str:
        return "".join(dice.choice(of) for _ in range(count))

    def alone(*parts: str) -> tuple[str, str]:
        return "".join(parts), "".join(parts)

    def within(head: str, value: str, tail: str = "") -> tuple[str, str]:
        return value, head + value + tail

    def web(part: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    pem = "\n".join(some(64, WORD + "+/") for _ in range(12))
    begin, end = "-----BEGIN RSA PRIVATE", " KEY-----\n"
    account = json.dumps(
        {
            "type": "service_account",
            "private_key": f"{begin.replace('RSA ', '')}{end}{pem}\n-----END PRIVATE{end}",
        }
    )
    azure = base64.b64encode(dice.randbytes(64)).decode()
    aws = some(40, WORD + "/+")
    return {
        "aws key id": alone("AKIA", some(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
        "aws secret key": within("aws_secret_access_key = ", aws, ""),
        "github": alone("ghp", "_", some(36)),
        "github fine-grained": alone("github", "_pat_", some(22), "_", some(59)),
        "gitlab": alone("glpat", "-", some(20)),
        "slack": alone("xoxb", "-", some(12, string.digits), "-", some(12, string.digits), "-",
                       some(24)),
        "stripe": alone("sk", "_live_", some(24)),
        "google": alone("AI", "za", some(35, WORD + "-_")),
        "service account": within("", account),
        "private key": alone(begin, end, pem, "\n-----END RSA PRIVATE", end.rstrip()),
        "json web token": alone(web({"alg": "HS256", "typ": "JWT"}), ".",
                                web({"sub": "1234567890", "iat": 1516239022}), ".", some(43)),
        "npm": alone("npm", "_", some(36)),
        "pypi": alone("pypi", "-AgEIcHlwaS5vcmc", some(150)),
        "address": within("https://deploy:", some(16), "@git.corp.net/x.git"),
        "database": within("postgres://app:", some(16), "@db.corp.net:5432/app"),
        "azure": within("AccountName=corp;AccountKey=", azure, ";EndpointSuffix=core.windows.net"),
        "openai": alone("sk", "-proj-", some(74), "T3Blbk", "FJ", some(74)),
        "anthropic": alone("sk", "-ant-api03-", some(93, WORD + "-_"), "AA"),
        "hugging face": alone("hf", "_", some(34, string.ascii_letters)),
        "digitalocean": alone("dop", "_v1_", some(64, HEX)),
        "docker hub": alone("dckr", "_pat_", some(27)),
        "vault": alone("hvs", ".", some(90)),
        "sendgrid": alone("SG", ".", some(22), ".", some(43)),
        "shopify": alone("shp", "at_", some(32, HEX)),
        "databricks": alone("da", "pi", some(32, HEX)),
        "grafana": alone("gl", "sa_", some(32), "_", some(8, HEX)),
        "doppler": alone("dp", ".pt.", some(43)),
        "linear": alone("lin", "_api_", some(40)),
        "rubygems": alone("ruby", "gems_", some(48, HEX)),
        "terraform": alone(some(14), ".atlas", "v1.", some(67)),
    }  # fmt: skip
