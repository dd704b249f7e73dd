"""``mscord-evaluate``: masks against masks, or with ``--paper`` the experiments of the paper."""

from __future__ import annotations

import logging
import sys

from .errors import MscordError
from .evaluate import command
from .machine import prepare_process


def main(argv: list[str] | None = None) -> int:
    """Evaluate; returns the exit status."""
    prepare_process()
    parser = command.parser()
    from .paper import command as paper

    paper.add_options(parser)
    options = parser.parse_args(argv)
    if options.paper is None:
        return command.run(options)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    try:
        return int(paper.run(options))
    except MscordError as error:
        logging.getLogger("bids_app").error("%s", error)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
