"""Names of the Universal Category System: read block by block, and told from all others."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.vocabulary.ucs import categories, parse_ucs_name

BLOCK = st.text(st.characters(codec="utf-8", exclude_characters="_-"), min_size=1).filter(str.strip)


def blocks(stem: str) -> tuple[str, ...]:
    """The blocks of a name behind its id and category; () where it is none."""
    name = parse_ucs_name(stem)
    return () if name is None else astuple(name)[3:]


def test_the_list_is_whole() -> None:
    found = categories()
    assert len(found) == 754 and len({category for category, _ in found.values()}) == 82
    assert found["DOORMetl"] == ("DOORS", "METAL") and found["AMBForst"] == ("AMBIENCE", "FOREST")
    assert found["RAIN"] == ("RAIN", "GENERAL") and found["MACHOffi"] == found["MACHOffc"]
    assert all(cat_id.isascii() and cat_id.isalpha() for cat_id in found)
    assert all(text.isupper() for pair in found.values() for text in pair)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("GUNAuto_Uzi 9mm Burst_TN_DORY", ("", "", "Uzi 9mm Burst", "TN", "DORY", "")),
        ("GUNAuto-INT_Uzi Burst_TN_DORY", ("INT", "", "Uzi Burst", "TN", "DORY", "")),
        ("GUNAuto_UZI 9mm-Burst_TN_DORY", ("", "UZI 9mm", "Burst", "TN", "DORY", "")),
        (
            "GUNAuto-EXT_UZI-Burst_TN_NONE_416-MKH8040_Mono",
            ("EXT", "UZI", "Burst", "TN", "NONE", "416-MKH8040_Mono"),
        ),
        ("DOORMetl_CellSlam02", ("", "", "CellSlam02", "", "", "")),
        ("AMBForst_Forest (ID 0100)_BSB", ("", "", "Forest (ID 0100)", "BSB", "", "")),
        ("RAIN_Roof_TN_DORY", ("", "", "Roof", "TN", "DORY", "")),
    ],
)
def test_blocks_of_names(stem: str, expected: tuple[str, ...]) -> None:
    assert blocks(stem) == expected


@pytest.mark.parametrize(
    "stem",
    [
        "", "_", "DOORMetl", "DOORMetl_", "DOORMetl_ ", "DOORMetl slam_x", "DoorMetl_slam",
        "doormetl_slam_a_b", "DOORXyzz_slam_a_b", "ABCDefg_slam_a_b", "x_DOORMetl_slam_a_b",
        "RAIN_on roof", "TEST_1", "MIX_final_v2", "TEST_1__", "IR_a_b_", "WIND",
    ],
)  # fmt: skip
def test_what_only_looks_like_such_a_name_is_none(stem: str) -> None:
    assert parse_ucs_name(stem) is None


@given(st.sampled_from(sorted(categories())), BLOCK, BLOCK, BLOCK, BLOCK, BLOCK, BLOCK)
def test_a_whole_name_comes_apart_as_it_was_put_together(
    cat_id: str, user: str, vendor: str, title: str, creator: str, source: str, data: str
) -> None:
    name = parse_ucs_name(f"{cat_id}-{user}_{vendor}-{title}_{creator}_{source}_{data}")
    parts = (user, vendor, title, creator, source, data)
    assert name is not None
    assert astuple(name) == (cat_id, *categories()[cat_id], *(part.strip() for part in parts))


@given(st.text())
def test_any_text_may_be_a_name(stem: str) -> None:
    name = parse_ucs_name(stem)
    assert name is None or stem.strip().startswith(name.cat_id)
