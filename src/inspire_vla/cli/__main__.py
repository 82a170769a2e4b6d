"""python -m inspire_vla.cli"""

import sys

from inspire_vla.cli import main

sys.exit(main())
