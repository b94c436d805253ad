"""Tests of the example rows."""
