"""Forty classes of everyday sounds, in whole families that can be kept out of training.

An encoder trained without them can be asked for sounds it has never heard and whose names it has
never seen over a recording. A family is more than its classes: whatever names one of its sounds
stays out, also a scene in which it is one among others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data.manifests import Recording


@dataclass(frozen=True)
class Family:
    """Sounds that are kept out of training together.

    words: a regular expression; a clip whose caption or one of whose tags has it as whole words,
    or in the plural, is of the family. classes: label -> regular expression that the caption of a
    clip must have as whole words.
    """

    name: str
    words: str
    classes: dict[str, str]


FAMILIES = (
    Family(
        "wild birds",
        r"birds?|birdsong|blackbird|bluebird|cardinal|canary|goldfinch|crows?|ravens?|owls?|"
        r"(sea)?gulls?|seagulls|eagles?|hawk|vulture|parrots?|toucan|pigeons?|doves?|robin|loon|"
        r"cuckoo|woodpecker|ducks?|drake|goose|geese|swan|quail|peacock|penguins?|heron|quetzal|"
        r"lark|quacking|cawing|hooting|twittering|tweeting|morning ambience",
        {
            "birds singing": r"birds? (singing|chirping|tweeting|twittering)|"
            r"(blackbird|bluebird|cardinal|canary|goldfinch|lark) singing|robin whistling",
            "crow cawing": r"(crow|crows) cawing|ravens croaking",
            "owl hooting": r"owl (hooting|calling)",
            "seagull calling": r"seagulls? (calling|squawk)",
            "parrot squawking": r"parrot (squawking|chirping)",
            "duck quacking": r"duck quacking|quacking",
            "eagle screeching": r"(eagle|hawk|vulture) screeching",
        },
    ),
    Family(
        "hoofed animals",
        r"cows?|calf|bulls?|ox|bison|yak|pigs?|boars?|oinking|sheep|lambs?|goats?|horses?|"
        r"pon(y|ies)|donkeys?|zebra|camel|dromedary|llama|giraffe|deer|doe|stag|moose|caribou|"
        r"reindeer|hippopotamus|minotaur|hoof|hoofs|hooves|gallop|galloping|farm animals|mooing|"
        r"bleating|neigh|neighing|whinny|whinnying|braying|snorting|cattle|livestock",
        {
            "cow mooing": r"(cows?|calf) mooing(?! impression)|ox lowing",
            "pig grunting": r"(pig|boar) (grunting|oinking|squealing)",
            "sheep bleating": r"(sheep|lamb) bleating",
            "goat bleating": r"goat bleating",
            "horse neighing": r"(horse|pony) (neighing|whinnying)",
            "horse galloping": r"horse (galloping|cantering)",
            "donkey braying": r"donkey braying",
        },
    ),
    Family(
        "insects",
        r"insects?|crickets?|grasshopper|cicadas?|bees?|beehive|bumble ?bee|hornet|wasp|"
        r"mosquito(es)?|fly|flies|cockchafer|beetle|moth|bugs?|spiders?",
        {
            "crickets chirping": r"(crickets?|grasshopper) chirping|crickets at night|"
            r"(a clear night|night ambience) with crickets",
            "bees buzzing": r"(bees?|hornet) buzzing",
            "cicadas buzzing": r"cicadas",
        },
    ),
    Family(
        "frogs and snakes",
        r"frogs?|bullfrogs?|toads?|croaking|snakes?|rattlesnake|cobra|lizard|reptiles?|amphibian",
        {
            "frog croaking": r"(frogs?|bullfrogs) croaking(?! in a pond)",
            "snake hissing": r"(snake|cobra) hissing",
        },
    ),
    Family(
        "cats",
        r"(wild )?cats?|kittens?|lions?|tigers?|leopards?|jaguars?|feline|meow|meowing|purr|purring",
        {
            "cat meowing": r"(cat|kitten) (meowing|yowling)",
            "cat purring": r"cat purring",
            "big cat roaring": r"(lion|tiger|leopard|jaguar) "
            r"(roaring|growling|snarling|bellowing)|big cat (growl|roaring)",
        },
    ),
    Family(
        "bells and telephones",
        r"bells?|doorbell|chimes?|gongs?|telephones?|phone|ringtone|ring tone|cowbell|carillon|"
        r"glockenspiel|alarm clock",
        {
            "church bells ringing": r"church bells?|chapel bell|bell tolling|tower clock bell",
            "doorbell ringing": r"doorbell",
            "telephone ringing": r"(tele)?phone ringing",
            "wind chimes": r"wind chimes",
        },
    ),
    Family(
        "sirens and horns",
        r"sirens?|alarms?|honk|honking|(?<!english )(?<!french )horns?|foghorn|reversing beeper|"
        r"buzzer|(train|factory|factory steam) whistle",
        {
            "siren": r"sirens?",
            "car horn honking": r"(car|vehicle) horn",
            "alarm sounding": r"alarm (sounding|ringing)|an alarm",
        },
    ),
    Family(
        "doors",
        r"doors?|gates?|knock|knocking|hinge|doorbell|lock|unlocking|locked|unlocked",
        {
            "door slamming shut": r"(?<!car )(?<!sliding )(?<!mechanical )door "
            r"(slamming|slam|closing)",
            "door creaking": r"door (hinge )?(creaking|squeaking)|(creaky|creaking) door",
            "knocking on a door": r"(knocking|banging) on a (wooden )?door",
        },
    ),
    Family(
        "household machines",
        r"vacuum cleaner|washing machines?|(clothes |hair )?dryer|shaver|coffee machine|blender|"
        r"toaster|kettle|sewing machine|(ceiling |hand |ventilation )?fan|food chopper|"
        r"egg beater|toothbrush|refrigerator|microwave|dishwasher|radiator|photocopier|printer",
        {
            "vacuum cleaner": r"vacuum cleaner",
            "washing machine running": r"washing machines?",
            "clothes dryer running": r"(clothes )?dryer running",
            "electric shaver buzzing": r"electric shaver",
            "coffee machine": r"coffee machine",
        },
    ),
    Family(
        "at the desk",
        r"typing|typewriter|(computer|mechanical|typewriter-like) keyboard|camera|shutter|"
        r"pages?|books?|pencils?|eraser|erasing|writing|chalk|blackboard|stapler|paper|scissors?|"
        r"sharpener|mouse click",
        {
            "typing on a keyboard": r"keyboard|typing on a typewriter",
            "camera shutter": r"camera shutter( click)?",
            "turning a page": r"turning (a (book )?page|pages of a book)",
        },
    ),
)

#: A class is asked with at most so many recordings.
MOST_OF_A_CLASS = 30
#: All labels, in the order of the families.
LABELS = tuple(label for family in FAMILIES for label in family.classes)


def held_out(clip: Recording) -> bool:
    """Whether the clip stays out of training: its caption or a tag names a sound of a family."""
    return any(_ANY_FAMILY.search(text) for text in (clip.caption, *clip.tags))


def class_of(clip: Recording) -> str | None:
    """The clip's label among LABELS, or None if it has none, or more than one."""
    found = [label for label, words in _CLASSES.items() if words.search(clip.caption)]
    return found[0] if len(found) == 1 else None


def examples(clips: Sequence[Recording]) -> dict[int, str]:
    """The clips that stand for the classes: place among the clips -> label.

    At most MOST_OF_A_CLASS of each, evenly over the clips' order, since neighbours are of one source.
    """
    places: dict[str, list[int]] = {label: [] for label in LABELS}
    for i, clip in enumerate(clips):
        label = class_of(clip)
        if label is not None:
            places[label].append(i)
    return {
        of_class[i * len(of_class) // n]: label
        for label, of_class in places.items()
        for n in [min(len(of_class), MOST_OF_A_CLASS)]
        for i in range(n)
    }


def _whole_words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


_ANY_FAMILY = _whole_words(f"(?:{'|'.join(family.words for family in FAMILIES)})s?")
_CLASSES = {
    label: _whole_words(words) for family in FAMILIES for label, words in family.classes.items()
}
