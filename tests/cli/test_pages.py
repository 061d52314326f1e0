"""The pages, as text at 80 columns."""

from __future__ import annotations

from avatarctl import __version__

ROOT = """\
avatarctl: digital humans from one command

usage  avatarctl VERB TARGET [OPTIONS]

train    chain            two steps
infer    echo             says back what it was given
         gone             its code is missing

other    plugins          what is installed; check NAME tests a plugin
         doctor           versions, devices, extras, assets, disk
         config           show VERB TARGET: every setting; list: presets
         assets           licensed files: found where; add FOLDER
         runs             what was run; show RUN
         inspect          what a checkpoint, store or motion file is
         new-plugin       a package of your own that adds a target
         completion       completion script for bash, zsh or fish

try    avatarctl demo
       avatarctl VERB TARGET --help
"""

VERB = """\
train: a network, stage by stage

usage  avatarctl train TARGET [OPTIONS]

chain               two steps
  --stage first     the first step
  --stage second    the second step

try    avatarctl train chain --help
"""

TARGET = """\
usage  avatarctl infer echo SOURCE [OPTIONS]

Says back what it was given.

arguments
  SOURCE  path    What to read.

options
  --part        upper | lower  upper   Body half.
                | no
  --batch-size  int            4       Items at once.
  --weights     weights        latest  Trained weights.
  --to          text ...       glb     Formats.
  --[no-]video  switch         no      Also make a film.
  --limit       int            -       Only so many.
  --fail        text                   Name of an error to raise.

settings, by --set NAME=VALUE
  pace.rate   float    2    Steps a second.
  pace.marks  int ...  1 2  Steps that are noted.

run options
  -c, --config NAME    Preset or YAML file; can be repeated, later ones win.
  -s, --set KEY=VALUE  One setting by its dotted name; can be repeated.
  -o, --out FOLDER     Run folder, instead of the next number in runs/.
  --resume RUN         Go on with a run: a folder, NAME/N, or last.
  --device NAME        auto, cpu, cuda, cuda:1, mps.
  --precision NAME     fp32 (default), tf32, bf16.
  --seed N             Seed of every random stream (default 0).
  --dry-run            Show the settings and where each comes from, then stop.
  --json               One JSON object on stdout instead of tables.
  -q, -v               Say less; say more, with tracebacks.

examples
  avatarctl infer echo a.txt --part lower
"""


def test_root_page_lists_verbs_targets_and_own_commands(command):
    for words in ([], ["--help"], ["-h"], ["help"]):
        answer = command(*words)
        assert (answer.code, answer.out, answer.err) == (0, ROOT, "")


def test_verb_page_lists_targets_with_their_stages(command):
    for words in (["train"], ["train", "--help"]):
        assert command(*words).out == VERB


def test_target_page_shows_arguments_options_and_groups(command):
    answer = command("infer", "echo", "--help")
    assert answer.code == 0
    assert answer.out == TARGET


def test_stage_is_read_before_the_page_is_drawn(command):
    assert "stages, in this order\n  first " in command("train", "chain", "--help").out
    page = command("train", "chain", "--stage", "second", "--help").out
    assert page.startswith("usage  avatarctl train chain --stage second [OPTIONS]\n")
    assert "--width" in page


def test_version_is_one_line(command):
    assert command("--version").out == f"avatarctl {__version__}\n"


def test_pages_fit_80_columns(command):
    for words in (
        [],
        ["infer"],
        ["infer", "echo", "--help"],
        ["train", "chain", "--stage", "first", "--help"],
    ):
        assert max(map(len, command(*words).out.splitlines())) <= 80
