"""Judging pairs of answers: requests, readings of replies, verdicts, what they add up to, questionnaires for people."""
