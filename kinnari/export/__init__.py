"""What leaves: adapters, merged folders, GGUF files, weight deltas; each a function over a plain Hugging Face folder, and verified."""
