"""The input of the real suites: hourly temperatures of Seattle and San Francisco, as devices.

The files lie in the package vega_datasets. Its own loader wants pandas, so the files are read here.
Row i of a city's file belongs to device i mod DEVICES_PER_CITY of that city.
"""

import csv
import importlib.util
import pathlib

CITIES = ("seattle", "sf")
DEVICES_PER_CITY = 4


def folder():
    """Where the package's data files lie; found without importing it."""
    return pathlib.Path(importlib.util.find_spec("vega_datasets").submodule_search_locations[0], "_data")


def rows(city):
    """The city's readings in the file's order: (date, temp), both as written."""
    with open(folder() / f"{city}-temps.csv", newline="", encoding="utf-8") as file:
        return [(row["date"], row["temp"]) for row in csv.DictReader(file)]


def devices():
    """Each device's readings: {device: [(seq, date, temp), ...]}."""
    result = {}
    for city in CITIES:
        for seq, (date, temp) in enumerate(rows(city)):
            result.setdefault(f"{city}-{seq % DEVICES_PER_CITY}", []).append((seq, date, temp))
    return result


def topic(device):
    """The MQTT topic that a device publishes to."""
    return f"weather/{device}/reading"


def payload(device, number, seq, date, temp):
    """The bytes that a device sends for a reading in the numbered round."""
    return (
        f'{{"device":"{device}","round":{number},"seq":{seq},"date":"{date}","temp":{temp}}}'
    ).encode()
