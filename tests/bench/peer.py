#!/usr/bin/env python3
"""Training steps of signet beside those of PyTorch, in the same minutes: images/s and medians of ratios.

usage: peer.py [--signet FILE] [--python FILE]... [--pairs N] [--threads N] [--steps K] [--densities D,D]
               [NET:BATCH ...]

A step is forward, backward and SGD with momentum and weight decay, on 32x32 inputs, float32. Each --python is an
interpreter that has torch and torchvision; of all of them, in both memory formats, the fastest is measured. Every
pair runs PyTorch, then signet at each density, so that what else the machine does meets both.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

NETS = ("resnet20:128", "resnet18:64", "resnet50:32", "mobilenetv2:64")
WIDTH = {"resnet20": 16, "resnet32": 16, "resnet56": 16, "resnet18": 64, "resnet50": 64, "vgg11_bn": 64, "vgg16_bn": 64,
         "mobilenetv2": 32, "efficientnet_b0": 32, "shufflenet": 24, "mlp_mixer": 512, "vit": 192, "mlp": 256, "lenet": 6}


def serve():
    """The PyTorch side: reads `net batch format steps` lines, answers with images/s."""
    import torch
    import torch.nn.functional as F
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "parity"))
    import models

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    made = {}

    def make(name, batch, layout):
        torch.manual_seed(0)
        net = models.build(name, WIDTH[name], 32, classes=100).train()
        x = torch.randn(batch, 3, 32, 32)
        if layout == "channels_last":
            net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
        sgd = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
        y = torch.randint(0, 100, (batch,))

        def step():
            sgd.zero_grad()
            F.cross_entropy(net(x), y).backward()
            sgd.step()

        step()
        return step

    print(torch.__version__, flush=True)
    for line in sys.stdin:
        name, batch, layout, steps = line.split()
        key = name, batch, layout
        if key not in made:
            made.clear()
            made[key] = make(name, int(batch), layout)
        made[key]()
        seconds = []
        for _ in range(int(steps)):
            began = time.perf_counter()
            made[key]()
            seconds.append(time.perf_counter() - began)
        print(int(batch) / statistics.median(seconds), flush=True)


class Peer:
    def __init__(self, python, threads):
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), KMP_BLOCKTIME="0", OMP_WAIT_POLICY="passive")
        self.process = subprocess.Popen([python, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment)
        self.name = "PyTorch " + self.process.stdout.readline().strip()

    def images_per_s(self, net, batch, layout, steps):
        print(net, batch, layout, steps, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def signet_images_per_s(signet, net, batch, density, threads, steps):
    command = [signet, "bench", "train", "--arch", net, "--batch", batch, "--density", str(density), "--threads",
               str(threads), "--steps", str(steps), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["images_per_s"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("nets", nargs="*", default=NETS)
    parser.add_argument("--signet", default="build/signet")
    parser.add_argument("--python", action="append")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--densities", default="1,0.1,0.035", help="shares of the weights that are left")
    a = parser.parse_args()
    densities = [float(d) for d in a.densities.split(",")]
    peers = [Peer(python, a.threads) for python in a.python or [sys.executable]]
    print("| net, batch | peer, images/s | " + " | ".join("density %g: images/s, ratio (least to most)" % d
                                                           for d in densities) + " |")
    print("|---|---|" + "---|" * len(densities))
    for item in a.nets:
        net, batch = item.split(":")
        tried = [(p.images_per_s(net, batch, layout, 3), p, layout) for p in peers
                 for layout in ("contiguous", "channels_last")]
        _, peer, layout = max(tried, key=lambda t: t[0])
        theirs, ours = [], {d: [] for d in densities}
        for _ in range(a.pairs):
            theirs.append(peer.images_per_s(net, batch, layout, a.steps))
            for d in densities:
                ours[d].append(signet_images_per_s(a.signet, net, batch, d, a.threads, a.steps))
        cells = []
        for d in densities:
            ratios = [o / t for o, t in zip(ours[d], theirs)]
            cells.append("%.4g, **%.2f** (%.2f to %.2f)" % (statistics.median(ours[d]), statistics.median(ratios),
                                                            min(ratios), max(ratios)))
        print("| %s, %s | %s %s, %.4g | %s |" % (net, batch, peer.name, layout, statistics.median(theirs),
                                                " | ".join(cells)), flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
