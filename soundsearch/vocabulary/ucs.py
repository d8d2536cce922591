"""Names of the Universal Category System (UCS), whose first block is the id of a category.

In: a file name without its ending. Out: its blocks, or None where it is no such name. The form is
`CatID[-UserCategory]_[VendorCategory-]FXName_CreatorID_SourceID[_UserData]`; all but the first two
blocks may be missing. Source: universalcategorysystem.com, whose list of categories, version 8.2.1,
is in ucs.tsv, with one id that earlier versions spell in another way (MACHOffi).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

LIST_NAME = "ucs.tsv"
#: Blocks of a name; the last one may hold underscores.
N_BLOCKS = 5
#: Blocks that a whole name has.
N_REQUIRED = 4


@dataclass(frozen=True, kw_only=True)
class UcsName:
    """The blocks of a name of the Universal Category System; a block that it lacks is empty.

    Attributes:
        cat_id: Id of the category, such as "DOORMetl".
        category: Category of that id, such as "DOORS".
        subcategory: Subcategory of that id, such as "METAL".
        user_category: What a user appended to the id.
        vendor_category: What a vendor set before the title.
        fx_name: Title of the sound.
        creator_id: Who made it.
        source_id: Library or project that it was made for.
        user_data: Everything after.
    """

    cat_id: str
    category: str
    subcategory: str
    user_category: str
    vendor_category: str
    fx_name: str
    creator_id: str
    source_id: str
    user_data: str


def parse_ucs_name(stem: str) -> UcsName | None:
    """Return the blocks of a file name without its ending; None if it is no UCS name.

    The first block must be an id of the list, letter by letter. Some ids are words in capitals
    (RAIN, TEST, MIX), which other names begin with too: they count in a name of all four blocks.
    """
    blocks = [block.strip() for block in stem.split("_", N_BLOCKS - 1)]
    cat_id, _, user_category = blocks[0].partition("-")
    known = categories().get(cat_id)
    n_required = N_REQUIRED if cat_id.isupper() else 2
    if known is None or len(blocks) < n_required or not all(blocks[:n_required]):
        return None
    blocks += [""] * (N_BLOCKS - len(blocks))
    vendor_category, dash, title = blocks[1].partition("-")
    category, subcategory = known
    return UcsName(
        cat_id=cat_id,
        category=category,
        subcategory=subcategory,
        user_category=user_category.strip(),
        vendor_category=vendor_category.strip() if dash else "",
        fx_name=title.strip() if dash else blocks[1],
        creator_id=blocks[2],
        source_id=blocks[3],
        user_data=blocks[4],
    )


@functools.cache
def categories() -> dict[str, tuple[str, str]]:
    """Return category and subcategory by their ids."""
    text = resources.files("soundsearch.vocabulary").joinpath(LIST_NAME).read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return {cat_id: (category, subcategory) for cat_id, category, subcategory in rows}
