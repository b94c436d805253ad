"""What a run will cost, told before it starts: memory, time and what else follows from the shapes of the real model."""
