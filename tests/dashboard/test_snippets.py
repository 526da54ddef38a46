"""The programs that verify a webhook's requests: each judges signatures of ours, where its language is installed.

Ruby, PHP, Java and Go are no part of the tests' environment. Where one is missing, its program is still checked for
what decides: the names of the headers, the signed content, the version, and a comparison in constant time.
"""

import re
import runpy
import shutil
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from dashboard.webhook_receiver import LANGUAGES, SCHEMES, snippets_for
from hookkeeper.content.headers import MASK
from hookkeeper.crypto.signing_keys import Scheme, new_secret, public_key, sign

BODY = b'{"text": "\xc3\xa9"}\n'
DRIVERS = {
    "mjs": """
import { readFileSync } from "node:fs";
import { isGenuine } from "./verify.mjs";
for (const line of readFileSync("cases", "utf8").split("\\n")) {
  const [id, sentAt, signature, body] = line.split("\\t");
  const headers = { "webhook-id": id, "webhook-timestamp": sentAt, "webhook-signature": signature };
  console.log(isGenuine(headers, Buffer.from(body, "base64")));
}
""",
    "go": """
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	v1 "test/v1"
	v1a "test/v1a"
)

func main() {
	verify := map[string]func(func(string) string, []byte) bool{"v1": v1.IsGenuine, "v1a": v1a.IsGenuine}
	for _, scheme := range []string{"v1", "v1a"} {
		text, _ := os.ReadFile(scheme + "/cases")
		for _, line := range strings.Split(string(text), "\\n") {
			parts := strings.Split(line, "\\t")
			headers := map[string]string{
				"webhook-id": parts[0], "webhook-timestamp": parts[1], "webhook-signature": parts[2]}
			body, _ := base64.StdEncoding.DecodeString(parts[3])
			fmt.Println(verify[scheme](func(name string) string { return headers[name] }, body))
		}
	}
}
""",
    "rb": """
require "./verify.rb"
File.read("cases").split("\\n", -1).each do |line|
  id, sent_at, signature, body = line.split("\\t", -1)
  headers = { "webhook-id" => id, "webhook-timestamp" => sent_at, "webhook-signature" => signature }
  puts genuine?(headers, body.unpack1("m"))
end
""",
    "php": """<?php
require './verify.php';
foreach (explode("\\n", file_get_contents('cases')) as $line) {
    [$id, $sentAt, $signature, $body] = explode("\\t", $line);
    $headers = ['webhook-id' => $id, 'webhook-timestamp' => $sentAt, 'webhook-signature' => $signature];
    echo is_genuine($headers, base64_decode($body)) ? 'true' : 'false', "\\n";
}
""",
    "java": """
    public static void main(String[] arguments) throws Exception {
        for (String line : java.nio.file.Files.readAllLines(java.nio.file.Path.of("cases"))) {
            String[] parts = line.split("\\t", -1);
            Map<String, String> headers =
                Map.of("webhook-id", parts[0], "webhook-timestamp", parts[1], "webhook-signature", parts[2]);
            System.out.println(isGenuine(headers, Base64.getDecoder().decode(parts[3])));
        }
    }
}
""",
}
COMMANDS = {
    "mjs": ["node", "driver.mjs"],
    "rb": ["ruby", "driver.rb"],
    "php": ["php", "driver.php"],
    "java": ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "verify.java"],
}
IN_CONSTANT_TIME = {
    "py": "hmac.compare_digest",
    "mjs": "timingSafeEqual",
    "go": "hmac.Equal",
    "rb": "OpenSSL.secure_compare",
    "php": "hash_equals",
    "java": "MessageDigest.isEqual",
}
VERIFIES = {
    "py": "key.verify(",
    "mjs": "verify(null, content, key,",
    "go": "ed25519.Verify(public, content, signature)",
    "rb": "key.verify(nil,",
    "php": "sodium_crypto_sign_verify_detached($signature, $content, $key)",
    "java": 'Signature.getInstance("Ed25519")',
}


class Case(NamedTuple):
    """A request, and whether it is genuine."""

    id: str
    sent_at: str
    signature: str
    body: bytes
    genuine: bool

    @property
    def line(self) -> str:
        return "\t".join([self.id, self.sent_at, self.signature, b64encode(self.body).decode()])


def cases(secret: str, scheme: Scheme) -> list[Case]:
    now, other = int(time.time()), new_secret(scheme)

    def signed(key: str, sent_at: int = now, body: bytes = BODY) -> str:
        return sign([key], message_id="evt_1", timestamp=sent_at, body=body)

    good = signed(secret)
    return [
        Case("evt_1", str(now), good, BODY, True),
        Case("evt_1", str(now), f"{signed(other)} {good}", BODY, True),
        Case("evt_1", str(now), f"v2,abc {good} v1,", BODY, True),
        Case("evt_1", str(now - 200), signed(secret, now - 200), BODY, True),
        Case("evt_1", str(now), signed(secret, body=b"\xff\x00"), b"\xff\x00", True),
        Case("evt_1", str(now), signed(secret, body=b""), b"", True),
        Case("evt_1", str(now), good, BODY + b" ", False),
        Case("evt_2", str(now), good, BODY, False),
        Case("evt_1", str(now + 1), good, BODY, False),
        Case("evt_1", str(now), signed(other), BODY, False),
        Case("evt_1", str(now), good.replace("v1", "v2", 1), BODY, False),
        Case("evt_1", str(now), good[:-8], BODY, False),
        Case("evt_1", str(now), f"{scheme},é", BODY, False),
        Case("evt_1", str(now), scheme, BODY, False),
        Case("evt_1", str(now - 400), signed(secret, now - 400), BODY, False),
        Case("evt_1", str(now + 400), signed(secret, now + 400), BODY, False),
        Case("evt_1", "soon", good, BODY, False),
        Case("evt_1", "9" * 30, good, BODY, False),
        Case("", "", "", b"", False),
        Case("evt_1", str(now), f"{'v1a,AAAA ' * 10}{good}", BODY, scheme == "v1"),  # there, each costs the whole body
    ]


def program(secret: str, suffix: str) -> str:
    """Return a program as the page has it, with its key in place of the mask."""
    (code,) = [snippet.code for snippet in snippets_for(secret) if snippet.suffix == suffix]
    return code.replace(MASK, secret.partition("_")[2])


def prepare(folder: Path, secret: str, scheme: Scheme, suffix: str) -> list[Case]:
    """Write a program, and the requests that it is to judge."""
    folder.mkdir(exist_ok=True)
    (folder / f"verify.{suffix}").write_text(program(secret, suffix))
    judged = cases(secret, scheme)
    (folder / "cases").write_text("\n".join(case.line for case in judged))
    return judged


def answers(folder: Path, command: list[str]) -> list[bool]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [line == "true" for line in done.stdout.split()]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_python_program_is_right(scheme: Scheme, tmp_path: Path) -> None:
    judged = prepare(tmp_path, new_secret(scheme), scheme, "py")
    is_genuine: Callable[[dict[str, str], bytes], bool] = runpy.run_path(str(tmp_path / "verify.py"))["is_genuine"]
    for case in judged:
        headers = {
            "webhook-id": case.id,
            "webhook-timestamp": case.sent_at,
            "webhook-signature": case.signature,
        }
        assert is_genuine(headers, case.body) == case.genuine, case
    assert not is_genuine({}, b"")
    for name in ("webhook-id", "webhook-signature"):
        assert not is_genuine(headers | {"webhook-timestamp": str(int(time.time())), name: "\udcff"}, BODY)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("suffix", COMMANDS)
def test_a_program_is_right_where_its_language_is_there(suffix: str, scheme: Scheme, tmp_path: Path) -> None:
    if shutil.which(COMMANDS[suffix][0]) is None:
        pytest.skip(f"there is no {COMMANDS[suffix][0]}; its program is checked below")
    judged = prepare(tmp_path, new_secret(scheme), scheme, suffix)
    if suffix == "java":
        code = (tmp_path / "verify.java").read_text().rstrip().removesuffix("}")
        (tmp_path / "verify.java").write_text(code + DRIVERS["java"])
    else:
        (tmp_path / f"driver.{suffix}").write_text(DRIVERS[suffix])
    found = answers(tmp_path, COMMANDS[suffix])
    assert found == [case.genuine for case in judged], [
        case for case, answer in zip(judged, found, strict=True) if answer != case.genuine
    ]


def test_the_go_programs_are_right_where_go_is_there(tmp_path: Path) -> None:
    """Both in one, because Go compiles its packages of cryptography once, which takes some seconds."""
    if shutil.which("go") is None:
        pytest.skip("there is no go; its program is checked below")
    expected: list[bool] = []
    for scheme in SCHEMES:
        judged = prepare(tmp_path / scheme, new_secret(scheme), scheme, "go")
        expected += [case.genuine for case in judged]
    (tmp_path / "go.mod").write_text("module test\n\ngo 1.18\n")
    (tmp_path / "main.go").write_text(DRIVERS["go"])
    assert answers(tmp_path, ["go", "run", "."]) == expected


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("suffix", LANGUAGES.values())
def test_a_program_names_what_is_signed(suffix: str, scheme: Scheme) -> None:
    code = program(new_secret(scheme), suffix)
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    assert set(re.findall(r"webhook-\w+", code)) == set(names)
    assert re.search(r"""webhook-id['"]\W{1,3}.{0,12}\..{0,14}(sent_?at|webhook-timestamp)""", code, re.IGNORECASE), (
        "id.time."
    )
    assert "300" in code
    assert (IN_CONSTANT_TIME if scheme == "v1" else VERIFIES)[suffix] in code
    assert re.search(rf"\b{scheme}\b", code)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_program_has_a_secret(scheme: Scheme) -> None:
    secret = new_secret(scheme)
    shown = f"whsec_{MASK}" if scheme == "v1" else public_key(secret)
    for snippet in snippets_for(secret):
        assert shown in snippet.code
        assert secret.partition("_")[2] not in snippet.code
