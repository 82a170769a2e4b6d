import pytest
import torch

from inspire_vla.grounding.heads import BINS, PointingHead


def test_a_point_is_learned_finer_than_a_bin():
    torch.manual_seed(0)
    points = torch.rand(24, 2) * 0.9 + 0.05
    states = torch.eye(24)
    head = PointingHead(24)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        head.loss(states, points).backward()
        optimiser.step()
    assert (head.point(states) - points).abs().max() < 0.3 / BINS


def test_a_near_miss_costs_less_than_a_far_one():
    head = PointingHead(1)
    torch.nn.init.zeros_(head.out.weight)
    with torch.no_grad():
        head.out.bias.copy_(-0.5 * (torch.arange(2 * BINS) % BINS - 20.0) ** 2)
    near, right, far = (
        head.loss(torch.ones(1, 1), torch.full((1, 2), (20.5 + off) / BINS)).item() for off in (2, 0, 9)
    )
    assert right < near < far


def test_of_two_modes_the_more_likely_is_pointed_at():
    """Not the mean of both."""
    head = PointingHead(1)
    torch.nn.init.zeros_(head.out.weight)
    torch.nn.init.constant_(head.out.bias, -20.0)
    with torch.no_grad():
        head.out.bias.view(2, BINS)[:, 10] = 1.0
        head.out.bias.view(2, BINS)[:, 50] = 0.9
    assert head.point(torch.ones(1, 1))[0].tolist() == pytest.approx([10.5 / BINS] * 2, abs=1e-3)
