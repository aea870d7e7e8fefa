"""Every row of the CBAM paper's ImageNet tables under the recipe of 2018, by the script and by the paper.

The main table: eight networks, plain, with SE and with CBAM. Tables 1 to 3: ResNet50 with other channel pools, spatial
gates and arrangements. recipes/cbam.py has the two recipes and what differs, and holds three of the rows itself.
"""

from functools import partial

from raytrain.models.cards import CBAM, cards
from raytrain.recipe import Recipe
from raytrain.recipes import Builder, cbam

# By the end of the network's name, how the recipe's name begins.
GATES = {
    "_se": "se",
    "_channel_max": "channel_max",
    "_channel": "channel",
    "_spatial_channel": "spatial_channel",
    "_parallel": "parallel",
    "_cbam_conv_k3": "cbam_conv_k3",
    "_cbam_conv_k7": "cbam_conv_k7",
    "_cbam_k3": "cbam_k3",
    "_cbam": "cbam",
}


def recipes() -> dict[str, Builder]:
    """The file's recipes by name: first all by the script, then all by the paper."""
    rows: dict[str, str] = {}
    for card in cards().values():
        if card.paper == CBAM:
            rows.setdefault(stem(card.model), card.name)
    here = {f"{row}_1k_2018": partial(by_script, row, card) for row, card in rows.items()}
    here |= {f"{row}_1k_2018_paper": partial(by_paper, row, card) for row, card in rows.items()}
    return {name: builder for name, builder in here.items() if name not in cbam.recipes()}


def stem(model: str) -> str:
    """What a recipe's name begins with: `cbam_k3_resnet50` for the network `resnet50_v1_cbam_k3`."""
    gate = next((end for end in sorted(GATES, key=len, reverse=True) if model.endswith(end)), "")
    network = model.removesuffix(gate).removesuffix("_v1").removesuffix("_32x4d")
    return f"{GATES[gate]}_{network}" if gate else network


def by_script(row: str, card: str) -> Recipe:
    """A row of the paper's tables under the repository's script, its stride where the repository has it.

    Source: train_imagenet.py and README at 459efad
    Theirs: python train_imagenet.py --ngpu 4 --workers 20 --arch resnet --depth DEPTH --epochs 100 --batch-size 256
        --lr 0.1 [--att-type CBAM] --prefix NAME ./data/ImageNet, for ResNets plain or with CBAM; for others none
    Ours: raytrain train NAME --data s3://bucket/imagenet-1k --out /shared/run --fleet h200x8
    Expected: the paper's figure, though its epochs and stride were others
    Differs: as recipes/cbam.py says
    """
    return cbam.by_script(f"{row}_1k_2018", card)


def by_paper(row: str, card: str) -> Recipe:
    """A row of the paper's tables by the paper: 90 epochs, the stride on the first 1x1.

    Source: Woo et al. 2018, section on ImageNet-1K, from memory
    Theirs: none is printed
    Ours: raytrain train NAME --data s3://bucket/imagenet-1k --out /shared/run --fleet h200x8
    Expected: the paper's figure
    Differs: as recipes/cbam.py says
    """
    return cbam.by_paper(f"{row}_1k_2018_paper", card)
