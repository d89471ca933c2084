"""`python -m icl_stl.commands`, where `icl-stl` is not on the path."""

import sys

from icl_stl.commands import main

sys.exit(main())
