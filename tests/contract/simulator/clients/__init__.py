"""Clients that nobody here wrote, with the operations that they are tried with."""
