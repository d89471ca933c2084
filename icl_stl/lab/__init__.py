"""Running experiments: whole loops by host, thousands in a program, sweeps; files and digests."""

import os

if os.name != "posix":
    raise ImportError(
        "icl_stl runs loops on POSIX systems alone (Linux, macOS; WSL on Windows), where folders "
        "are locked by flock; icl_stl.bounds and icl_stl.references work everywhere"
    )
