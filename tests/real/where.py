"""Prints where the input files lie."""

import readings

print(readings.folder())
