"""Parts of windows are joined as they come, in their order."""

from itertools import chain

import pytest
from avatarctl_ego_hmr.blocks import BLOCK, in_blocks


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, 5 * BLOCK + 3])
def test_all_parts_come_in_their_order_as_few_joined_ones(count):
    found = in_blocks(([number] for number in range(count)), lambda parts: list(chain(*parts)))

    assert list(chain(*found)) == list(range(count))
    assert len(found) == count // BLOCK + count % BLOCK
