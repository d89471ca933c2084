"""Running experiments: whole loops by host, thousands in a program, sweeps; files and digests."""
