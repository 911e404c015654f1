"""Signet's networks against PyTorch's. Usage: test_parity.py PARITY [NETWORK...]

Mathematics in float64, by the program's double reference executor: logits in training and evaluation mode,
running statistics, every gradient, weights after ten steps of SGD and of Adam; dense, with a fifth of the
prunable weights masked, and with norms interpolated by a fixed alpha. Then one pass of the float executor:
logits, loss and statistics against float64, gradients beside PyTorch's own float32.
Ends with "N passed, N failed" on a line of its own; exit status 1 when any failed.
"""
import argparse
import copy
import functools
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import models
import records

# Network, width, side of the images, minibatch. Full topologies; narrow and small, because the double
# executor is naive. The last stage keeps at least 8 values per batch norm: with fewer, rounding is amplified.
NETWORKS = [
    dict(arch="resnet20", width=6, size=16, batch=6),
    dict(arch="resnet32", width=4, size=16, batch=5),
    dict(arch="resnet56", width=4, size=12, batch=5),
    dict(arch="resnet18", width=4, size=16, batch=5),
    dict(arch="resnet50", width=4, size=16, batch=4),
    dict(arch="resnet50", width=4, size=64, batch=3, imagenet=True),
    dict(arch="vgg11_bn", width=4, size=32, batch=8),
    dict(arch="vgg16_bn", width=4, size=32, batch=8),
    dict(arch="vgg11_bn", width=1, size=224, batch=2, imagenet=True),
    dict(arch="mobilenetv2", width=4, size=16, batch=5, rate=3e-4),
    dict(arch="mobilenetv2", width=4, size=64, batch=4, imagenet=True, rate=3e-4),
    dict(arch="efficientnet_b0", width=4, size=32, batch=4),
    dict(arch="shufflenet", width=12, size=16, batch=4),
    dict(arch="mlp_mixer", width=24, size=16, batch=4),
    dict(arch="mlp_mixer", width=16, size=64, batch=3, imagenet=True),
    dict(arch="vit", width=128, size=8, batch=4),
    dict(arch="mlp", width=32, size=16, batch=8),
    dict(arch="lenet", width=6, size=28, batch=6, channels=1),
]
# At the width and with minibatches of use: one pass of the float executor alone.
AT_SIZE = [
    dict(arch="resnet20", width=16, size=32, batch=32),
    dict(arch="resnet32", width=16, size=32, batch=32),
    dict(arch="resnet56", width=16, size=32, batch=32),
    dict(arch="resnet18", width=64, size=32, batch=16),
    dict(arch="resnet50", width=64, size=32, batch=16),
    dict(arch="vgg11_bn", width=64, size=32, batch=32),
    dict(arch="vgg16_bn", width=64, size=32, batch=16),
    dict(arch="mobilenetv2", width=32, size=32, batch=32),
    dict(arch="efficientnet_b0", width=32, size=32, batch=32),
    dict(arch="shufflenet", width=24, size=32, batch=32),
    dict(arch="mlp_mixer", width=512, size=32, batch=16),
    dict(arch="vit", width=192, size=32, batch=16),
    dict(arch="mlp", width=256, size=32, batch=64),
    dict(arch="lenet", width=6, size=32, batch=64),
]
CASES = [("dense", 0.0, 1.0), ("masked", 0.2, 1.0), ("alpha", 0.0, 0.37)]  # name, fraction pruned, alpha
WITHOUT_NORMS = ("mlp", "lenet")
STEPS = 10
CLASSES = 10
# SGD's rate is lower where ten steps from a random start diverge and amplify rounding without bound.
SGD_RATE, MOMENTUM, DECAY, ADAM_RATE = 0.02, 0.9, 5e-4, 1e-3

EXACT = 1e-9       # one pass: rounding of a few thousand operations in double, amplified by the norms
AFTER_STEPS = 1e-6  # ten steps amplify it further
NEGLIGIBLE = 1e-6  # of the whole gradient: what is zero in exact arithmetic has no relative error
LOGITS_AT_SIZE = 1e-5
LAST_PLACES = 1e-6  # of the whole gradient: a few units in float's last place
STARTS, SLOW = 4, ("resnet50",)  # at its own width: starts of each network, and which have one alone
FLOAT_ONE_PASS = 1e-4  # float: sums of up to 2^15 terms, up to a hundred layers, norms of few values
# A rectifier that rounding flips moves the whole gradient, the more the smaller the network: bounds are
# beside PyTorch's own float error, or what single flips do to the whole gradient and to one tensor. Without
# rectifiers nothing flips.
FLOAT_FACTOR, WINOGRAD_FACTOR = 3, 5
FLIPS, FLIPS_OF_TENSOR, SMOOTH, SMOOTH_OF_TENSOR = 0.15, 0.5, 1e-5, 1e-3
WITHOUT_RECTIFIERS = ("efficientnet_b0", "mlp_mixer", "vit")


class Score:
    """Counts and lines of output; add() prints those of another process's score."""

    def __init__(self):
        self.passed = self.failed = 0
        self.lines = []

    def check(self, name, error, bound, what=""):
        good = error <= bound  # NaN fails
        self.passed += good
        self.failed += not good
        detail = f"{error:.2g} of {bound:.2g}{' in ' + what if what else ''}"
        self.lines.append(f"{'ok    ' if good else 'FAILED'} {name}: {detail}")

    def fail(self, name, reason):
        self.failed += 1
        self.lines.append(f"FAILED {name}: {reason}")

    def tell(self, name, what):
        self.lines.append(f"       {name}: {what}")

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        print("\n".join(other.lines), flush=True)


def relative(got, expected):
    got, expected = np.asarray(got).ravel(), np.asarray(expected).ravel()
    if got.shape != expected.shape:
        return float("inf")
    size = np.linalg.norm(expected)
    return np.linalg.norm(got - expected) / size if size > 0 else np.linalg.norm(got)


def interpolate_norms(net, alpha):
    """Norms compute with alpha gamma + (1 - alpha) and alpha beta in training, else with gamma and beta."""
    def forward(self, x):
        a = alpha if self.training else 1.0
        weight, bias = a * self.weight + (1 - a), a * self.bias
        if isinstance(self, nn.LayerNorm):
            return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
        return F.batch_norm(x, self.running_mean, self.running_var, weight, bias, self.training,
                            self.momentum, self.eps)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            module.forward = forward.__get__(module)


def prunable(net):
    """Convolution and linear weights but the classifier's, which every one of these networks makes last."""
    layers = [(n, m) for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return [f"{name}.weight" for name, _ in layers[:-1]]


class Case:
    """One network in one case: its start, its input file, and what PyTorch makes of it."""

    def __init__(self, config, case, folder, seed):
        name, pruned, self.alpha = case
        self.config = dict(channels=3, imagenet=False, depth=0, rate=SGD_RATE)
        self.config.update(config)
        c = self.config
        self.name = f"{c['arch']}{'-imagenet' if c['imagenet'] else ''} {name}"
        stem = os.path.join(folder, self.name.replace(" ", "-"))
        self.input, self.output = stem + ".in", stem + ".out"
        torch.manual_seed(seed)
        self.net = models.build(c["arch"], c["width"], c["size"], CLASSES, c["channels"], c["imagenet"],
                                c["depth"])
        for module in self.net.modules():  # no norm at its initial value, where alpha would do nothing
            if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
                nn.init.normal_(module.weight, 1.0, 0.2)
                nn.init.normal_(module.bias, 0.0, 0.2)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0.0, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        self.images = torch.randn(c["batch"], c["channels"], c["size"], c["size"])
        self.labels = torch.randint(CLASSES, (c["batch"],))
        self.mask = {}
        for weight in prunable(self.net) if pruned else []:
            tensor = self.net.get_parameter(weight)
            self.mask[weight] = (torch.rand_like(tensor) >= pruned).to(tensor.dtype)
            tensor.data *= self.mask[weight]
        for tensor in [*self.net.parameters(), *self.net.buffers(), self.images]:
            if tensor.dtype == torch.float64:  # the same start in float and double
                tensor.data = tensor.data.float().double()
        interpolate_norms(self.net, self.alpha)

    def write(self, steps):
        c = self.config
        arrays = {
            "options": [CLASSES, c["width"], c["channels"], c["size"], c["size"], c["imagenet"], c["depth"]],
            "run": [c["batch"], self.alpha, steps, c["rate"], MOMENTUM, DECAY, ADAM_RATE],
            "images": self.images.numpy(), "labels": self.labels.numpy(),
        }
        for name, tensor in self.net.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                arrays[name] = tensor.numpy()
        for name, mask in self.mask.items():
            arrays["mask/" + name] = mask.numpy()
        records.write(self.input, arrays)

    def run(self, program, *switches):
        command = [program, *switches, self.config["arch"], self.input, self.output]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
        return records.read(self.output)

    def backward(self, net):
        net.zero_grad()
        logits = net(self.images)
        loss = F.cross_entropy(logits, self.labels)
        loss.backward()
        for name, mask in self.mask.items():
            net.get_parameter(name).grad *= mask
        return logits, loss

    @functools.cached_property
    def one_pass(self):
        net, expected = copy.deepcopy(self.net), {}
        interpolate_norms(net, self.alpha)
        with torch.no_grad():
            expected["eval_logits"] = net.eval()(self.images).numpy()
        logits, loss = self.backward(net.train())
        expected["logits"], expected["loss"] = logits.detach().numpy(), [loss.item()]
        for name, tensor in net.named_parameters():
            expected["gradient/" + name] = tensor.grad.numpy()
        return expected, statistics(net, "train/")

    @functools.cached_property
    def float_gradients(self):
        """PyTorch's own in float32, in both memory formats; masked weights' gradient is 0. Without oneDNN in
        channels_last where channels are no multiple of 8: with 6 of them PyTorch 1.13 and 2.15 end with a
        corrupted heap on a CPU with AVX2 alone."""
        gradients = []
        for layout in (torch.contiguous_format, torch.channels_last):
            net = copy.deepcopy(self.net).float().train()
            interpolate_norms(net, self.alpha)
            net = net.to(memory_format=layout)
            images = self.images.float().contiguous(memory_format=layout)
            onednn = layout == torch.contiguous_format or self.config["width"] % 8 == 0
            with torch.backends.mkldnn.flags(enabled=onednn):
                F.cross_entropy(net(images), self.labels).backward()
            gradients.append({n: (t.grad.double() * self.mask.get(n, 1)).numpy()
                              for n, t in net.named_parameters()})
        return gradients

    def steps(self, adam):
        net = copy.deepcopy(self.net).train()
        interpolate_norms(net, self.alpha)
        if adam:
            optimizer = torch.optim.Adam(net.parameters(), ADAM_RATE, weight_decay=DECAY)
        else:
            optimizer = torch.optim.SGD(net.parameters(), self.config["rate"], MOMENTUM, weight_decay=DECAY)
        for _ in range(STEPS):
            self.backward(net)
            optimizer.step()
        prefix = "adam/" if adam else "sgd/"
        return {prefix + n: t.detach().numpy() for n, t in net.named_parameters()}, statistics(net, prefix)


def statistics(net, prefix):
    return {prefix + n: t.numpy() for n, t in net.named_buffers() if not n.endswith("num_batches_tracked")}


def compare(score, name, got, expected, bound, negligible=()):
    """The worst tensor of a group against the bound; every tensor must be there."""
    missing = [n for n in expected if n not in got]
    if missing:
        score.fail(name, f"the program gave no {missing[0]} ({len(missing)} missing)")
        return
    errors = {n: relative(got[n], e) for n, e in expected.items() if n not in negligible}
    if errors:
        worst = max(errors, key=lambda n: np.inf if np.isnan(errors[n]) else errors[n])
        score.check(name, errors[worst], bound, worst.split("/")[-1] if len(errors) > 1 else "")


def compare_shapes(score, case, got):
    expected = {"shape/" + n: list(t.shape) for n, t in case.net.named_parameters()}
    wrong = [n for n in set(expected) ^ {n for n in got if n.startswith("shape/")}]
    wrong += [n for n in expected if n in got and list(got[n]) != expected[n]]
    score.check(f"{case.name}: names and shapes", len(wrong), 0, min(wrong, default=""))


def compare_double(score, case, got):
    expected, running = case.one_pass
    compare_shapes(score, case, got)
    for name, key in [("evaluation logits", "eval_logits"), ("training logits", "logits"), ("loss", "loss")]:
        compare(score, f"{case.name}: {name}", got, {key: expected[key]}, EXACT)
    gradients = {n: g for n, g in expected.items() if n.startswith("gradient/")}
    size = np.linalg.norm(whole(gradients))
    zero = {n for n, g in gradients.items() if np.linalg.norm(g) < NEGLIGIBLE * size}
    compare(score, f"{case.name}: gradients", got, gradients, EXACT, zero)
    if running:
        compare(score, f"{case.name}: running statistics", got, running, EXACT)
    for adam, label in [(False, "SGD"), (True, "Adam")]:
        weights, running = case.steps(adam)
        after, prefix = f"after {STEPS} steps of {label}", "adam/" if adam else "sgd/"
        noise = {n.replace("gradient/", prefix) for n in zero} if adam else set()
        compare(score, f"{case.name}: weights {after}", got, weights, AFTER_STEPS, noise)
        if running:  # the mean of what a noisy bias is added to is noisy too
            noisy = {n for n in running if n.endswith("running_mean")} if noise else set()
            compare(score, f"{case.name}: statistics {after}", got, running, AFTER_STEPS, noisy)


def whole(gradients):
    return np.concatenate([gradients[name].ravel() for name in sorted(gradients)])


def worst_tensor(got, exact):
    """Largest relative error of a tensor that float rounding of the whole gradient does not drown."""
    size = np.linalg.norm(whole(exact))
    errors = {n: relative(got[n], g) for n, g in exact.items() if np.linalg.norm(g) >= 1e-4 * size}
    worst = max(errors, key=lambda n: np.inf if np.isnan(errors[n]) else errors[n])
    return errors[worst], worst


def float_pass(score, case, program, switch, logits):
    """One pass of the float executor: logits, loss and statistics tightly. Returns the gradients: ours, those of
    PyTorch's float32 in both memory formats, and exact ones; None when the pass failed."""
    name = f"{case.name} {switch[2:]}"
    try:
        got = case.run(program, switch)
    except (RuntimeError, ValueError) as error:
        score.fail(name, error)
        return None
    expected, running = case.one_pass
    for label, key in [("evaluation logits", "eval_logits"), ("loss", "loss")]:
        compare(score, f"{name}: {label}", got, {key: expected[key]}, logits)
    if running:
        compare(score, f"{name}: running statistics", got, running, FLOAT_ONE_PASS)
    exact = {n.replace("gradient/", ""): g for n, g in expected.items() if n.startswith("gradient/")}
    ours = {n: got["gradient/" + n] for n in exact if "gradient/" + n in got}
    if len(ours) != len(exact):
        score.fail(f"{name}: gradient", f"the program gave {len(ours)} of {len(exact)} tensors")
        return None
    return [ours, *case.float_gradients], exact


def show_errors(score, name, errors):
    score.tell(name, f"whole gradient's relative error {errors[0]:.2g}; PyTorch's float32 {errors[1]:.2g} (NCHW), "
                     f"{errors[2]:.2g} (channels_last)")


def compare_float(score, case, program, switch, factor, floors):
    """The gradient beside PyTorch's, or below floors: of the whole, of one tensor."""
    passed = float_pass(score, case, program, switch, FLOAT_ONE_PASS)
    if passed is None:
        return
    gradients, exact = passed
    name = f"{case.name} {switch[2:]}"
    errors = [relative(whole(g), whole(exact)) for g in gradients]
    show_errors(score, name, errors)
    score.check(f"{name}: whole gradient", errors[0], max(factor * max(errors[1:]), floors[0]))
    error, tensor = worst_tensor(gradients[0], exact)
    bound = factor * max(worst_tensor(g, exact)[0] for g in gradients[1:])
    score.check(f"{name}: gradients", error, max(bound, floors[1]), tensor)


def check_case(program, config, case, seed, with_float):
    """One network in one case, with the double executor and the float one."""
    score = Score()
    with tempfile.TemporaryDirectory() as folder:
        case = Case(config, case, folder, seed)
        case.write(STEPS)
        try:
            compare_double(score, case, case.run(program))
        except (RuntimeError, ValueError) as error:
            score.fail(case.name, error)
            return score
        if with_float:
            smooth = case.config["arch"] in WITHOUT_RECTIFIERS
            floors = (SMOOTH, SMOOTH_OF_TENSOR) if smooth else (FLIPS, FLIPS_OF_TENSOR)
            compare_float(score, case, program, "--float", WINOGRAD_FACTOR, floors)
    return score


def check_at_size(program, config, seed):
    """The product's own network as it is used, with Winograd and without. Which rectifiers rounding flips is
    luck, so errors are root mean squares over some starts and minibatches."""
    score = Score()
    with tempfile.TemporaryDirectory() as folder:
        cases = [Case(config, (f"at its own width {i}", 0.0, 1.0), folder, seed + 100 * i)
                 for i in range(1 if config["arch"] in SLOW else STARTS)]
        for case in cases:
            case.write(0)
        for switch, factor in [("--float-direct", FLOAT_FACTOR), ("--float", WINOGRAD_FACTOR)]:
            passes = [float_pass(score, case, program, switch, LOGITS_AT_SIZE) for case in cases]
            if None in passes:
                continue
            each = [[relative(whole(g), whole(exact)) for g in gradients] for gradients, exact in passes]
            errors = np.sqrt(np.mean(np.square(each), axis=0))
            name = f"{config['arch']} at its own width {switch[2:]}"
            show_errors(score, name, errors)
            score.check(f"{name}: whole gradient", errors[0], max(factor * max(errors[1:]), LAST_PLACES))
    return score


def set_up_process():
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("networks", nargs="*",
                        help="only these (default: all)")
    parser.add_argument("--no-float", action="store_true", help="leave the float executor out")
    arguments = parser.parse_intermixed_args()
    chosen, at_size = ([(i, n) for i, n in enumerate(networks)
                        if not arguments.networks or n["arch"] in arguments.networks]
                       for networks in (NETWORKS, AT_SIZE))
    score, program, with_float = Score(), arguments.program, not arguments.no_float
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), initializer=set_up_process) as pool:
        checks = [pool.submit(check_case, program, n, c, 1 + i, with_float) for i, n in chosen for c in CASES
                  if c[0] != "alpha" or n["arch"] not in WITHOUT_NORMS]
        checks += [pool.submit(check_at_size, program, n, 99 + i) for i, n in at_size if with_float]
        for check in checks:
            score.add(check.result())
    if not checks:
        print(f"FAILED choice: no network is named {' or '.join(arguments.networks)}")
        score.failed += 1
    print(f"{score.passed} passed, {score.failed} failed")
    return 1 if score.failed or not score.passed else 0


if __name__ == "__main__":
    sys.exit(main())
