"""From raw rows to tokens on disk: read, clean, split, tokenise; each stage kept under a hash of all that shapes it."""
