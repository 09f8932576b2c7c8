"""A script of python-tuf's own client, as anybody would write it: nothing of Slotcast is imported.

    python stock_tuf_client.py URL ROOT CACHE TARGET…

Prints the SHA-256 of each target that it got and believed; ends with 1 where it believed none.
"""

import hashlib
import sys
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater


def main(url: str, root: str, cache: str, *targets: str) -> int:
    """Follow the signatures from a pinned root, and get targets."""
    try:
        updater = Updater(
            f"{cache}/metadata",
            f"{url}/metadata/",
            target_dir=f"{cache}/targets",
            target_base_url=f"{url}/targets/",
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=Path(root).read_bytes(),
        )
        updater.refresh()
        for name in targets:
            found = updater.get_targetinfo(name)
            if found is None:
                sys.stderr.write(f"nobody vouches for {name}\n")
                return 1
            data = Path(updater.download_target(found)).read_bytes()
            sys.stdout.write(f"{hashlib.sha256(data).hexdigest()}\n")
    except (RepositoryError, DownloadError) as exc:
        sys.stderr.write(f"{type(exc).__name__}: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
