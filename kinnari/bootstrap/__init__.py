"""Growing instruction data from seed tasks: Alpaca's way and the original self-instruct way, in any script."""
