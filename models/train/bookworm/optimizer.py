"""Muon for matrices between layers (Jordan et al. 2024), AdamW for the rest."""

import torch

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of the odd polynomial, from the same source
NEWTON_SCHULZ_STEPS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is made orthogonal: every singular value of an update is about lr."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"]
                momentum.lerp_(parameter.grad, 1 - MOMENTUM)
                direction = orthogonal(parameter.grad.lerp(momentum, MOMENTUM))
                rows, columns = parameter.shape
                parameter.add_(direction, alpha=-group["lr"] * max(1, rows / columns) ** 0.5)


def orthogonal(matrix):
    """About U·Vᵀ of a matrix U·S·Vᵀ, by Newton–Schulz iteration."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    x = wide / (wide.norm() + 1e-12)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.t()
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide is matrix else x.t()


def make_optimizers(model, rates):
    """rates: learning rates "matrix", "match", "copy", "embedding" and "vector".

    The circuit of initialise.py has rates of its own, for Muon's steps do not shrink with the
    gradient: "match" for queries and keys of the first two layers, "copy" for their values and
    outputs, whose weights are small.
    """
    groups = {"matrix": [], "match": [], "copy": []}
    vectors = [model.norm.weight]
    for index, layer in enumerate(model.layers):
        for name, parameter in layer.named_parameters():
            if parameter.dim() < 2:
                vectors.append(parameter)
            elif index >= 2 or not name.startswith("attention"):
                groups["matrix"].append(parameter)
            else:
                matches = "query" in name or "key" in name
                groups["match" if matches else "copy"].append(parameter)
    muon = Muon([{"params": group, "lr": rates[name]} for name, group in groups.items()],
                rates["matrix"])
    adam = torch.optim.AdamW([{"params": [model.embedding.weight], "lr": rates["embedding"]},
                              {"params": vectors, "lr": rates["vector"]}],
                             betas=(0.9, 0.98), weight_decay=0.0)
    return [muon, adam]
