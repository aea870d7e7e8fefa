"""Where a rank's part of each parameter lies in ZeRO's flat tensors, at the stages that part the optimizer's state."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Named = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """`numel` elements of a parameter that this rank's optimizer owns."""

    name: str
    flat: Tensor
    parameter_start: int
    flat_start: int
    numel: int

    def of_parameter(self, flattened: Tensor) -> Tensor:
        """The piece within the flattened parameter."""
        return flattened.narrow(0, self.parameter_start, self.numel)

    def of_flat(self, flat: Tensor) -> Tensor:
        """The piece within ZeRO's flat tensor."""
        return flat.narrow(0, self.flat_start, self.numel)


def sliced(named: Named, flats: list[Tensor]) -> list[Piece]:
    """At ZeRO 1 and 2, which lay a group's parameters end to end and cut that into a slice per rank."""
    pieces = []
    for name, parameter in named:
        mapping = getattr(parameter, "_hp_mapping")  # noqa: B009 -- ZeRO hangs it on the parameter
        if mapping is None:
            continue
        here, there = mapping.lp_fragment_address, mapping.get_hp_fragment_address()
        pieces.append(
            Piece(
                name=name,
                flat=flats[mapping.param_group_index],
                parameter_start=here.start,
                flat_start=there.start,
                numel=here.numel,
            )
        )
    return pieces


def parted(named: Named, zero: Any, flats: list[Tensor], rank: int) -> list[Piece]:
    """At ZeRO 3, which cuts each parameter into a part per rank, the last ones filled up with nothing."""
    pieces = []
    for name, parameter in named:
        whole = int(getattr(parameter, "ds_numel"))  # noqa: B009 -- ZeRO hangs it on the parameter
        group, flat_start, part = zero.grad_position[zero.get_param_id(parameter)]
        start = rank * int(part)
        if start < whole:
            pieces.append(
                Piece(
                    name=name,
                    flat=flats[group],
                    parameter_start=start,
                    flat_start=int(flat_start),
                    numel=min(int(part), whole - start),
                )
            )
    return pieces
