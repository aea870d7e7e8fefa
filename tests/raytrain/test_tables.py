"""`raytrain models`: every row of the papers' tables, its verdict, and how it reads."""

import contextlib
import json
import subprocess
import sys
from decimal import Decimal

import pytest
import torch
from rich.console import Console
from torch import nn

from raytrain.console import main
from raytrain.models.arithmetic import forward_macs, parameters
from raytrain.models.build import build
from raytrain.models.cards import cards, model_cards
from raytrain.models.named import counted_as, named, named_specs, native_size
from raytrain.models.show import COLUMNS, details, table
from raytrain.models.verdict import EQUAL, TRUNCATED, UNPRINTED, figure, judge, judged

ROWS = judged()


def line(row):
    """Name, network and size, then exact counts with their verdicts, without reasons."""
    card = row.card
    verdicts = ", ".join(held.verdict.split(":")[0] for held in row.figures.values())
    return f"{card.name} = {card.model} {card.image_size}: {row.parameters} {row.macs}; {verdicts}"


def test_every_row_has_its_exact_counts_and_verdicts(golden):
    golden("models/rows.txt", "\n".join(map(line, ROWS)) + "\n")
    assert len(ROWS) == 53
    assert len({row.card.name for row in ROWS}) == 53


def test_the_cells_that_differ_are_these_and_each_says_why():
    differ = {
        (row.card.name, cell): held.verdict
        for row in ROWS
        for cell, held in row.figures.items()
        if held.differs
    }
    assert set(differ) == {
        ("regnet_y_16g", "GFLOPs"),
        *((name, "params") for name in ("swin_t", "vit_l_16_384_gap", "vit_l_16_384_gap_22k")),
        *((name, "GFLOPs") for name in ("bit_r101x3_22k", "bit_r152x4_22k")),
        *(
            (f"resnet50_v1_{gate}, table 1", cell)
            for gate in ("se", "channel_max", "channel")
            for cell in ("params", "GFLOPs")
        ),
        ("resnet50_v1_cbam_conv_k3, table 2", "GFLOPs"),
    }
    assert min(map(len, differ.values())) > len("differs: ") + 20


def test_a_card_gives_a_reason_where_a_figure_differs_and_nowhere_else():
    for row in ROWS:
        reasons = [bool(row.card.why_params), bool(row.card.why_gflops)]
        assert reasons == [held.differs for held in row.figures.values()], row.card.name


def test_a_network_is_the_same_size_in_every_row_and_by_its_name():
    assert {(card.model, card.image_size) for card in cards().values()} == {
        (card.model, native_size(card.model)) for card in cards().values()
    }


@pytest.mark.parametrize(
    ("printed", "exact", "ours", "verdict"),
    [
        ("3.860", "3.8604999", "3.86050", EQUAL),
        ("28", "28.288", "28.29", EQUAL),
        ("47.0", "47.083", "47.083", TRUNCATED),
        ("86", "86.9999", "87.00", TRUNCATED),
        ("29", "28.288", "28.29", "differs: because"),
        ("4.0", "4.1", "4.100", "differs: because"),
        ("4.0", "3.94", "3.940", "differs: because"),  # cut it is 3.9
        (None, "3.8605", "3.8605", UNPRINTED),
    ],
)
def test_verdicts(printed, exact, ours, verdict):
    held = figure(Decimal(printed) if printed else None, Decimal(exact), "because")
    assert (str(held.ours), held.verdict) == (ours, verdict)


def test_the_reasons_that_are_numbers_hold():
    """What the notes say beside the printed figures: of BiT, of ViT-L/32, of a channel gate alone."""
    large = named("vit_l_16_384").model_copy(update={"patch": 32})
    assert round(parameters(large, 1000, 384) / 1e6, 1) == 306.6
    assert round(forward_macs(named("resnet50_v1_channel"), 1000, 224) / 1e9, 3) == 3.863
    kernels = [forward_macs(named(f"resnet50_v1_cbam_conv_k{k}"), 1000, 224) for k in (3, 7)]
    assert round((kernels[1] - kernels[0]) / 1e9, 4) == 0.0006


@pytest.mark.parametrize("name", ["bit_r101x3", "bit_r152x4"])
def test_bit_meets_the_paper_with_three_more_operations_per_output(name):
    (card,), outputs = model_cards(name), []
    with torch.device("meta"):
        model = build(named(name), 1000, card.image_size, None)
        images = torch.empty(1, 3, card.image_size, card.image_size)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: outputs.append(out.numel()))
    with torch.no_grad():
        model(images)
    counted = Decimal(judge(card).macs + 3 * sum(outputs)) / 10**9
    assert counted.quantize(card.gflops) == card.gflops


def test_the_table_reads_as_accepted_at_100_columns(golden):
    console = Console(width=COLUMNS, no_color=True)
    with console.capture() as captured:
        console.print(table(ROWS))
    lines = [text.rstrip() for text in captured.get().splitlines()]
    golden("models/table.txt", "\n".join(lines) + "\n")
    assert max(map(len, lines)) <= 100
    assert "…" not in captured.get()


@pytest.mark.parametrize("name", ["swin_b_384", "resnet50_v1_cbam", "vit_l_16_384_gap", "resnet50_cbam"])
def test_a_card_reads_as_accepted(name, golden):
    golden(f"models/{name}.txt", details(name, [judge(card) for card in model_cards(name)]) + "\n")


def test_every_network_has_a_page_that_names_its_row_or_the_one_counted_in_its_place():
    tabled = {card.model for card in cards().values()}
    for name in named_specs():
        text = details(name, [judge(card) for card in model_cards(name)])
        assert ("in no table" in text) == (name not in tabled)
        assert (other := counted_as(name)) is None or other in text or name in tabled
    pairs = {
        name: counted_as(name)
        for name in ("resnet50", "resnext101_32x4d_se", "deit_b_384", "swin_l", "resnet18")
    }
    assert list(pairs.values()) == ["resnet50_v1", "resnext101_32x4d_v1_se", "deit_b_384_gap", None, None]


def test_the_command_prints_json(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["raytrain", "models", "--json"])
    with contextlib.suppress(SystemExit):
        main()
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 53
    assert rows[0]["params_m"] == {"printed": "21", "ours": "20.65", "verdict": "equal"}


def test_an_unknown_name_is_told_the_nearest(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["raytrain", "models", "swin-b"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: unknown model 'swin-b'; the nearest: swin_b, ")


def test_the_command_loads_no_torch():
    code = (
        "import sys; sys.argv = ['raytrain', 'models']\n"
        "from raytrain.console import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'torchvision', 'ray') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    assert "differ for the reasons above." in " ".join(answer.stdout.split())
