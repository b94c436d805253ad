"""What a policy says to prompts, what that is worth, and how it becomes batches to learn from."""
