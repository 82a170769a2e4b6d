"""Install LIBERO's 3-D assets from the Hugging Face hub, or without network from a kit.

python scripts/libero_assets.py ../shared/libero
"""

import subprocess
import sys
from pathlib import Path

from inspire_vla.libero.installation import LiberoMissing, assets_here, require_libero


def main() -> None:
    kit = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/libero").resolve() / "install.py"
    if not assets_here():
        try:
            require_libero()  # writes the configuration file, which importing libero would ask for
        except LiberoMissing as error:
            print(error)
        try:
            from libero.libero.utils.download_utils import download_assets_from_huggingface

            download_assets_from_huggingface()
        except Exception as error:
            print(f"The hub cannot be reached ({type(error).__name__}).")
    if not assets_here():
        if not kit.is_file():
            sys.exit(f"LIBERO's assets cannot be downloaded, and there is no kit ({kit}).")
        subprocess.run([sys.executable, str(kit)], check=True)
    require_libero()
    print("LIBERO's assets are installed.")


if __name__ == "__main__":
    main()
