"""Every private name of Lightning's command line that this project touches, each with its reason (PL#n).

`codec.training.lightning_internals` has the others, and says how new releases are tried.
"""

from collections.abc import Callable, Iterator
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI


class CommandLine(LightningCLI):
    """LightningCLI with public names for what a subclass needs to look at and to change."""

    def option(self, name: str) -> Any:
        """An option of the subcommand as parsed, such as `trainer`."""
        return self._get(self.config, name)

    def subcommand_parser(self) -> LightningArgumentParser:
        """The parser of the subcommand, for its error messages."""
        return self._parser(self.subcommand)

    def run(self, run: Callable[[], None]) -> None:
        """Run the subcommand; to be overridden."""
        run()

    def _run_subcommand(self, subcommand: str) -> None:
        self.run(lambda: super(CommandLine, self)._run_subcommand(subcommand))

    def check_seed(self, seed: int) -> None:
        """Refuse a seed; to be overridden. Lightning seeds before anything else of it can be (NumPy's traceback)."""

    def _set_seed(self) -> None:
        seed = self.option("seed_everything")
        if not isinstance(seed, bool):
            self.check_seed(seed)
        super()._set_seed()

    def _parse_ckpt_path(self) -> None:
        """Keep the command line: Lightning would put the checkpoint's hyper-parameters over it (PL#20801)."""


def take_as_text(parser: Any, name: str) -> None:
    """Take an option's text as it is: jsonargparse puts a file's content in its place, as the option takes classes."""
    for action in parser._actions:
        if action.dest == name:
            action._enable_path = False


def option_names(parser: Any) -> Iterator[str]:
    """Names of a parser's options and of its subcommands' (argparse has no public list of them)."""
    subcommands = [p for a in parser._actions if isinstance(a.choices, dict) for p in a.choices.values()]
    for part in (parser, *subcommands):
        yield from (action.dest for action in part._actions if action.dest != "help")
