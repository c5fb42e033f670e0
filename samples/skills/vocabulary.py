# ruff: noqa: SIM905 - a list of words is read best as one line of text
"""The words that questions are filled with, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from samples.skills.wordings import Slots

NAMES = (
    "Ada Ali Amir Ana Anton Aya Ben Bela Bo Carl Cleo Dana Dario Dina Eli Emil Emma Erik Eva Farid Finn Gita "
    "Greta Hana Hugo Ida Igor Ines Ivan Jan Jana Joel Jun Kai Karim Kira Lars Lea Leo Lina Luca Mara Marek Max "
    "Mei Mila Mina Nadia Nico Nils Nina Noah Nora Olga Omar Oskar Otto Pablo Paul Pia Rana Remy Rita Rosa Ruth "
    "Sami Sara Sven Tara Theo Tim Tom Uma Vera Viktor Wei Yara Yuki Zara Zoe"
).split()
THINGS = (
    "apples pears plums coins stamps shells stones books pens cards marbles tickets cups plates buttons beads "
    "eggs cakes rolls nuts lemons roses tulips candles bottles boxes hats socks keys maps toys kites balls "
    "stickers photos letters chairs lamps brushes spoons melons cherries figs olives peaches carrots onions "
    "potatoes pumpkins feathers"
).split()
PACKS = "boxes bags baskets tins drawers jars crates trays cases".split()
PLACES = "box bag basket tin drawer shelf jar crate chest tray bucket case".split()
CITIES = (
    "Oslo Paris Lima Cairo Delhi Tokyo Quito Rome Bern Vienna Dublin Madrid Lagos Accra Tunis Hanoi Seoul "
    "Riga Turin Porto Lyon Genoa Leeds Bergen Malmo Graz Basel Ghent Split Varna"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
WORDS = (
    "apple river stone cloud tiger lemon paper green silver winter garden window music bread ocean forest "
    "candle mirror bridge castle pepper rocket summer planet yellow butter coffee dragon engine finger guitar "
    "hammer island jacket kettle ladder market needle orange pencil rabbit saddle table umbrella valley wagon "
    "basket circle donkey eagle flower glove honey insect jungle kitten lamp monkey night owl purple queen "
    "rain ship tower uncle violin water zebra bell chair door"
).split()


def pick(rng: Random, **lists: Sequence[str]) -> Slots:
    """One value for each slot from the list given for it, drawn in the order of the arguments."""
    return {key: rng.choice(values) for key, values in lists.items()}


def two_names(rng: Random) -> Slots:
    """Two different people, as the slots `name` and `other`."""
    name, other = rng.sample(NAMES, 2)
    return {"name": name, "other": other}
