"""A method's settings are options of the command, each with its default, and only those of the method that was chosen."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import click
import pytest
from click.testing import CliRunner

from rnpc.cli.method_options import chosen, flag, option, settings_of


@dataclass
class Settings:
    """One of each kind."""

    max_steps: int = field(default=20, metadata={"help": "steps"})
    rate: float = 0.01
    flip: bool = field(default=False, metadata={"help": "mirrored images, too"})
    form: str = "patch"


@pytest.fixture
def command() -> tuple[click.Command, list[dict[str, Any]]]:
    """A command with these options, and what it was given."""
    seen: list[dict[str, Any]] = []
    params: list[click.Parameter] = [option(each) for each in fields(Settings)]
    return click.Command("try", params=params, callback=lambda **given: seen.append(given)), seen


def test_options_have_the_types_of_their_fields(command: tuple[click.Command, list[dict[str, Any]]]) -> None:
    run, seen = command
    assert CliRunner().invoke(run, ["--max-steps", "3", "--rate", "2", "--flip", "--form", "warp"]).exit_code == 0
    assert settings_of(seen[0]) == {"max_steps": 3, "rate": 2.0, "flip": True, "form": "warp"} and seen[0] == {}


def test_without_them_the_methods_own_defaults_hold(command: tuple[click.Command, list[dict[str, Any]]]) -> None:
    run, seen = command
    assert CliRunner().invoke(run, []).exit_code == 0 and settings_of(seen[0]) == {}
    assert CliRunner().invoke(run, ["--no-flip"]).exit_code == 0 and settings_of(seen[1]) == {"flip": False}


def test_a_wrong_value_is_a_usage_error(command: tuple[click.Command, list[dict[str, Any]]]) -> None:
    result = CliRunner().invoke(command[0], ["--max-steps", "many"])
    assert result.exit_code == 2 and "'many' is not a valid integer" in result.output


def test_help_says_what_and_how_much(command: tuple[click.Command, list[dict[str, Any]]]) -> None:
    text = CliRunner().invoke(command[0], ["--help"]).output
    assert "steps [method's default: 20]" in text and "a setting of the method" in text and "--flip / --no-flip" in text


def test_other_arguments_stay() -> None:
    given: dict[str, Any] = {"seed": 1, "method": "rnp", "method_threshold": 0.5, "method_stop": None}
    assert settings_of(given) == {"threshold": 0.5} and given == {"seed": 1, "method": "rnp"}


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ([], None),
        (["--method", "rnp"], "rnp"),
        (["model", "--method=ft-sam", "-o", "x"], "ft-sam"),
        (["--method", "rnp", "--method", "auto"], "auto"),
        (["--method"], None),
    ],
)
def test_the_method_is_found_before_parsing(args: list[str], name: str | None) -> None:
    assert chosen(args) == name and flag("max_ca") == "--max-ca"


def test_harden_shows_the_options_of_the_method_alone() -> None:
    from rnpc.cli.harden import command

    shown = {name: CliRunner().invoke(command, ["--method", name, "--help"]).output for name in ("ft-sam", "fine-pruning")}
    assert "--rho" in shown["ft-sam"] and "--limit" not in shown["ft-sam"]
    assert "--limit" in shown["fine-pruning"] and "--rho" not in shown["fine-pruning"]
    refused = CliRunner().invoke(command, ["m.onnx", "--defense-data", "d", "--method", "fine-pruning", "--rho", "3"])
    assert refused.exit_code == 2 and "--rho" in refused.output
