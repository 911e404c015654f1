"""The scripts of docs/pytorch.md, run as they stand there. Usage: test_statedict.py SIGNET DOCUMENT

For three networks (batch norm; depthwise convolutions; layer norm): a PyTorch state dict becomes a weight file,
which `signet eval --weights` and `signet train --init` take; what `signet train --out` writes loads into the module
with strict=True. Both ways the logits of one data set must agree.
Ends with "N passed, N failed" on a line of its own; exit status 1 when any failed.
"""
import os
import re
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch

import models

NETWORKS = [("resnet20", 8), ("mobilenetv2", 8), ("mlp_mixer", 32)]
SIDE = 32
TOLERANCE = 1e-4  # of the largest logit: float32 with Winograd against float32, up to sixty layers

CONFIG = """net = {{ arch = "{arch}"; width = {width}; classes = 10; dropout = 0.0; }};
data = {{ kind = "packed"; path = "{folder}/data.h5"; augment = "none"; }};
train = {{ lr = 1e-30; weight_decay = 0.0; batch = 32; max_steps = 1; }};
single = {{ epochs = 1; schedule = "constant"; }};
run = {{ threads = 1; }};
"""


class Score:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, good, why):
        self.passed += bool(good)
        self.failed += not good
        print(f"{'pass' if good else 'FAIL'}   {name}: {why}")


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")


def write_scripts(document, folder):
    """The two scripts, named by their first lines."""
    with open(document, encoding="utf-8") as file:
        blocks = re.findall(r"```python\n(.*?)```", file.read(), re.DOTALL)
    names = [re.match(r"# python3 (\S+\.py) ", block).group(1) for block in blocks]
    if names != ["to_signet.py", "from_signet.py"]:
        raise RuntimeError(f"{document} holds the scripts {names}")
    for name, block in zip(names, blocks):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(block)
    return [os.path.join(folder, name) for name in names]


def load_images(path):
    with h5py.File(path, "r") as file:
        mean, deviation = file["normalisation/mean"][()], file["normalisation/deviation"][()]
        images = (file["test/images"][()].astype(np.float32) / 255 - mean) / deviation
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def make_model(arch, width):
    """Random statistics and norms, so that one that is lost or exchanged shows."""
    model = models.build(arch, width, SIDE)
    for name, values in model.state_dict().items():
        if name.endswith("running_var") or values.dim() == 1 and name.endswith("weight"):
            values.uniform_(0.5, 1.5)
        elif values.is_floating_point() and values.dim() == 1:
            values.uniform_(-0.2, 0.2)
    return model.eval()


def logits_of(signet, config, weights, folder):
    path = os.path.join(folder, "logits.h5")
    run(signet, "eval", config, "--weights", weights, "--logits", path)
    with h5py.File(path, "r") as file:
        return torch.from_numpy(file["logits"][()])


def compare(score, name, ours, theirs):
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    score.check(name, error <= TOLERANCE, f"logits differ by {error:.2g} of the largest, {TOLERANCE:.0e} is allowed")


def check_network(score, signet, scripts, images, arch, width, folder):
    config = os.path.join(folder, f"{arch}.cfg")
    with open(config, "w", encoding="utf-8") as file:
        file.write(CONFIG.format(arch=arch, width=width, folder=folder))
    path = {name: os.path.join(folder, f"{arch}-{name}") for name in ("theirs.pt", "theirs.h5", "ours.h5", "ours.pt")}
    model = make_model(arch, width)
    torch.save(model.state_dict(), path["theirs.pt"])
    run(sys.executable, scripts[0], path["theirs.pt"], path["theirs.h5"])
    with torch.no_grad():
        compare(score, f"{arch}: PyTorch to eval --weights", logits_of(signet, config, path["theirs.h5"], folder),
                model(images))
    run(signet, "train", config, "--init", path["theirs.h5"], "--out", path["ours.h5"])
    run(sys.executable, scripts[1], path["ours.h5"], path["ours.pt"])
    trained = models.build(arch, width, SIDE)
    state = torch.load(path["ours.pt"])
    trained.load_state_dict(state, strict=True)
    same = all(torch.equal(trained.state_dict()[n], p) for n, p in model.named_parameters())
    score.check(f"{arch}: train --init, --out to PyTorch", same, "a step of length 1e-30 leaves the parameters alone")
    with torch.no_grad():
        compare(score, f"{arch}: --out to PyTorch", logits_of(signet, config, path["ours.h5"], folder),
                trained.eval()(images))


def main():
    signet, document = (os.path.abspath(argument) for argument in sys.argv[1:])
    torch.manual_seed(1)
    torch.set_num_threads(1)
    score = Score()
    with tempfile.TemporaryDirectory() as folder:
        scripts = write_scripts(document, folder)
        run(signet, "data", "pack", "--out", f"{folder}/data.h5", "--set", "data.train_limit=64",
            "--set", "data.test_limit=48")
        images = load_images(f"{folder}/data.h5")
        for arch, width in NETWORKS:
            try:
                check_network(score, signet, scripts, images, arch, width, folder)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                score.check(arch, False, error)
    print(f"{score.passed} passed, {score.failed} failed")
    return 1 if score.failed or not score.passed else 0


if __name__ == "__main__":
    sys.exit(main())
