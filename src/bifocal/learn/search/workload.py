"""What a subnet asks of a device: its matrix products, with their rows of 4 and 8 bits, and its functions."""

from __future__ import annotations

from bifocal.hardware.devices.latency import Functions, Product, Workload
from bifocal.learn.search.space import MATRICES, SearchSpace, Subnet
from bifocal.learn.search.supernet import InputForm


def workload(space: SearchSpace, form: InputForm, classes: int, subnet: Subnet) -> Workload:
    """The products of a subnet for one input with a full grid of tokens."""
    m, d = form.tokens, subnet.dim
    products = [Product("embed", m - 1, form.channels, 0, d)]
    softmax = gelu = 0
    for block in range(subnet.depth):
        heads, hidden = subnet.heads[block], subnet.hidden(block)
        inner = heads * space.head_dim
        sizes = {"qkv": (d, 3 * inner), "proj": (inner, d), "fc1": (d, hidden), "fc2": (hidden, d)}
        made = {}
        for name, share in zip(MATRICES, subnet.eight[block], strict=True):
            inputs, outputs = sizes[name]
            eight = int(share * outputs + 0.5)
            made[name] = Product(name, m, inputs, outputs - eight, eight)
        scores = Product("scores", m, space.head_dim, 0, m, heads)
        values = Product("values", m, m, 0, space.head_dim, heads)
        products += [made["qkv"], scores, values, made["proj"], made["fc1"], made["fc2"]]
        softmax += heads * m * m
        gelu += hidden * m
    products.append(Product("head", 1, d, 0, classes))
    return Workload(tuple(products), Functions((2 * subnet.depth * m + 1) * d, softmax, gelu))


def average_bits(work: Workload) -> float:
    """Mean bits of the weights of a workload."""
    matrices = [product for product in work.products if not product.heads]
    bits = sum(product.inner * (4 * product.four + 8 * product.eight) for product in matrices)
    return bits / sum(product.inner * (product.four + product.eight) for product in matrices)


def weight_bytes(work: Workload) -> int:
    """Bytes of the weights of a workload, biases aside."""
    return sum(
        product.inner * (product.four + 2 * product.eight) // 2
        for product in work.products
        if not product.heads
    )
