"""The command line: one file a command, imported only when it is asked for, and one place where errors become exit codes."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path

import click

from rnpc import __version__
from rnpc.errors import Exit, RnpcError

# Name -> (module, one-line help). The help stands here so that `rnpc --help` imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "harden": ("rnpc.cli.harden", "Find a backdoor in a classifier and prune it out of the ONNX file."),
    "apply": ("rnpc.cli.apply", "Write a plan, by rnpc or by hand, into an ONNX file."),
    "verify": ("rnpc.cli.verify", "Check that a hardened file is its original with the declared edits and nothing else."),
    "eval": ("rnpc.cli.eval", "Measure clean accuracy and attack success of a model file."),
    "inspect": ("rnpc.cli.inspect", "Print what rnpc infers about a model, with the source of each value."),
    "attack": ("rnpc.cli.attack", "Train a backdoored (or clean) victim."),
    "bench": ("rnpc.cli.bench", "Harden a set of victims and tabulate the results."),
    "demo": ("rnpc.cli.demo", "Harden an embedded backdoored model, offline, in a minute."),
    "doctor": ("rnpc.cli.doctor", "Print what is installed and which providers work."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(__version__, prog_name="rnpc")
def cli() -> None:
    """Harden image classifiers against backdoors: ONNX in, ONNX out."""


def main(argv: list[str] | None = None) -> None:
    """Entry point: runs a command and exits with a code of `errors.Exit`."""
    code = run(argv)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:  # told already; Python would try once more at its end and exit with a code of its own
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def run(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit code; every failure is one line on standard error."""
    # OpenMP threads that spin long while they wait slow all that runs, each other too (on two busy cores the demo took eight minutes);
    # threads that sleep at once cost half as much again on idle cores. A short spin, some ten microseconds, does neither. It counts only
    # if it is set before torch is loaded, and changes no result.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    stdout = sys.stdout
    try:
        result = cli.main(args=argv, prog_name="rnpc", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return int(result) if isinstance(result, int) else Exit.OK
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return wrong_usage(error)
    except SystemExit:
        if sys.stdout is stdout:
            raise
        # The reader went away: click puts a wrapper in the place of standard output and leaves with 1, which would be a finding.
        sys.stdout = stdout
        return Exit.SURROUNDINGS
    except (click.Abort, KeyboardInterrupt):
        return fail("interrupted; what was there before is unchanged", Exit.INTERRUPTED)
    except RnpcError as error:
        return fail(str(error), error.exit_code)
    except MemoryError:
        return fail("out of memory; close other programs or use fewer images", Exit.SURROUNDINGS)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in UNWRITTEN and error.filename is None:
            return unwritten(error)
        return fail(f"a defect of rnpc; the traceback is in {write_traceback()}, please report it", Exit.DEFECT)


UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a write to an open stream fails with; files that rnpc writes by name have errors of their own."""


def wrong_usage(error: click.ClickException) -> int:
    """click's error as one line. A group without a command shows its help, as click does."""
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        error.show()
        return Exit.USAGE
    context = error.ctx if isinstance(error, click.UsageError) else None
    line = " ".join(error.format_message().split()).rstrip(".")
    return fail(f"{line}; see `{context.command_path if context else 'rnpc'} --help`", Exit.USAGE)


def unwritten(error: OSError) -> int:
    """Standard output that takes no more. A reader that went away knows that it did."""
    if error.errno == errno.EPIPE:
        return Exit.SURROUNDINGS
    return fail(f"standard output: cannot be written ({error.strerror}); make space, or send it elsewhere", Exit.SURROUNDINGS)


def fail(line: str, code: Exit) -> int:
    """Print one line and pass the code on, even where nobody reads the line."""
    with contextlib.suppress(OSError):
        click.echo(f"rnpc: {line}", err=True)
    return code


def write_traceback() -> Path:
    """Write the current traceback to a file of its own and return its path."""
    with tempfile.NamedTemporaryFile("w", prefix="rnpc-defect-", suffix=".txt", delete=False) as file:
        file.write(traceback.format_exc())
    return Path(file.name)
