"""Wrong words: exit 2, and the nearest right word."""

from __future__ import annotations

import pytest

CASES = {
    "trian": "error  no such command 'trian', did you mean train?",
    "echo": "error  'echo' is a target; say first what to do with it: infer",
    "--frobnicate": "error  no such option --frobnicate",
    "infer ecko": "error  infer has no target 'ecko', did you mean echo?",
    "train echo": "error  'echo' cannot be used with train; it offers infer",
    "infer --part lower": "error  infer: name a target before the options",
    "infer echo a --batch-siz 3": "error  no such option --batch-siz, did you mean --batch-size?",
    "infer echo a --rate 3": "error  no such option --rate, did you mean --set pace.rate=VALUE?",
    "infer echo a b": "error  got unexpected extra argument",
    "infer echo a --seed x": "error  invalid value for '--seed'",
    "infer echo": "error  SOURCE is missing: What to read.",
    "infer echo a -s rate": "error  --set rate: expected KEY=VALUE",
    "infer echo a -c nothing": "error  -c nothing: no preset or file of this name",
    "infer echo a -c nothing.yaml": "error  -c nothing.yaml: no such file",
    "train chain --stage frist": "error  --stage frist: no such stage, did you mean first?",
    "train chain": "error  chain has these stages, in this order\n       first       the first step\n",
    "infer echo a --stage x": "error  infer echo has no stages",
    "demo --out x": "error  demo: name a target before the options",
}


@pytest.mark.parametrize("words", CASES)
def test_wrong_words_get_the_nearest_right_ones(command, words):
    answer = command(*words.split())
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith(CASES[words])
    assert "\ntry    avatarctl " in answer.err or "\ntry    for example --set" in answer.err


def test_alias_and_plugin_prefix_name_the_same_target(command):
    for name in ("chain", "link", "sample:chain", "sample:link"):
        assert command("train", name, "--stage", "first", "--dry-run").out == "size: 1\n"
