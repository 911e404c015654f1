"""The networks as PyTorch modules, written from their description; torchvision's where it has them.

build(arch, ...) gives a module whose state_dict has the names and shapes that Signet uses. Dropout is 0: its
bits are not PyTorch's. Functions and modules take what to build as `o`: width, classes, channels, imagenet,
size (side of the images), depth.
"""
from types import SimpleNamespace

import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import nn
from torchvision.models.mobilenetv2 import Conv2dNormActivation, MobileNetV2


def conv_norm(i, o, k, stride=1, groups=1, bias=False):
    return nn.Conv2d(i, o, k, stride, (k - 1) // 2, groups=groups, bias=bias), nn.BatchNorm2d(o)


def scaled(channels, width, own):
    return max(1, channels * width // own)


# ---- Residual networks. torchvision's blocks serve the CIFAR family too.

def resnet_cifar(n):
    def make(o):
        width = o.width
        net = tv.resnet.ResNet(tv.resnet.BasicBlock, [1, 1, 1, 1])
        net.inplanes = width
        net.conv1, net.bn1 = conv_norm(o.channels, width, 3)
        net.maxpool = nn.Identity()
        for stage in range(3):
            layer = net._make_layer(tv.resnet.BasicBlock, width << stage, n, stride=1 if stage == 0 else 2)
            setattr(net, f"layer{stage + 1}", layer)
        net.layer4 = nn.Identity()
        net.fc = nn.Linear(width * 4, o.classes)
        return net
    return make


def resnet(block, blocks):
    def make(o):
        width = o.width
        net = tv.resnet.ResNet(block, [1, 1, 1, 1])
        net.inplanes = width
        if o.imagenet:
            net.conv1 = nn.Conv2d(o.channels, width, 7, 2, 3, bias=False)
        else:
            net.conv1 = nn.Conv2d(o.channels, width, 3, 1, 1, bias=False)
            net.maxpool = nn.Identity()
        net.bn1 = nn.BatchNorm2d(width)
        for stage in range(4):
            layer = net._make_layer(block, width << stage, blocks[stage], stride=1 if stage == 0 else 2)
            setattr(net, f"layer{stage + 1}", layer)
        net.fc = nn.Linear(width * 8 * block.expansion, o.classes)
        return net
    return make


# ---- VGG.

class Vgg(nn.Module):
    def __init__(self, config, o):
        super().__init__()
        layers, last = [], o.channels
        for item in config:
            if item == "M":
                layers.append(nn.MaxPool2d(2))
                continue
            out = scaled(item, o.width, 64)
            layers += [*conv_norm(last, out, 3, bias=True), nn.ReLU()]
            last = out
        self.features = nn.Sequential(*layers)
        self.imagenet = o.imagenet
        self.classifier = nn.Linear(last, o.classes)
        if o.imagenet:
            hidden = scaled(4096, o.width, 64)
            self.classifier = nn.Sequential(nn.Linear(last * 49, hidden), nn.ReLU(), nn.Identity(),
                                            nn.Linear(hidden, hidden), nn.ReLU(), nn.Identity(),
                                            nn.Linear(hidden, o.classes))

    def forward(self, x):
        x = self.features(x)
        return self.classifier(x.flatten(1) if self.imagenet else x.mean((2, 3)))


def vgg(letter):
    return lambda o: Vgg(tv.vgg.cfgs[letter], o)


# ---- MobileNetV2.

class MobileBlock(nn.Module):
    def __init__(self, i, o, expansion, stride):
        super().__init__()
        inside = i * expansion
        self.stride = stride
        self.conv1, self.bn1 = conv_norm(i, inside, 1)
        self.conv2, self.bn2 = conv_norm(inside, inside, 3, stride, inside)
        self.conv3, self.bn3 = conv_norm(inside, o, 1)
        self.shortcut = nn.Sequential(*conv_norm(i, o, 1)) if stride == 1 and i != o else nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return y + self.shortcut(x) if self.stride == 1 else y


class MobileNetSmall(nn.Module):
    stages = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
              (6, 320, 1, 1)]

    def __init__(self, o):
        super().__init__()
        self.conv1, self.bn1 = conv_norm(o.channels, o.width, 3)
        layers, last = [], o.width
        for expansion, out, n, stride in self.stages:
            for b in range(n):
                outputs = scaled(out, o.width, 32)
                layers.append(MobileBlock(last, outputs, expansion, stride if b == 0 else 1))
                last = outputs
        self.layers = nn.Sequential(*layers)
        head = scaled(1280, o.width, 32)
        self.conv2, self.bn2 = conv_norm(last, head, 1)
        self.linear = nn.Linear(head, o.classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(self.layers(x))))
        return self.linear(x.mean((2, 3)))


def mobilenetv2(o):
    if not o.imagenet:
        return MobileNetSmall(o)
    stages = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2],
              [6, 320, 1, 1]]
    net = MobileNetV2(num_classes=o.classes, width_mult=o.width / 32, inverted_residual_setting=stages,
                      round_nearest=1, dropout=0)
    last, head = scaled(320, o.width, 32), scaled(1280, o.width, 32)  # torchvision does not narrow its head
    net.features[18] = Conv2dNormActivation(last, head, kernel_size=1, activation_layer=nn.ReLU6)
    net.classifier[1] = nn.Linear(head, o.classes)
    return net


# ---- EfficientNet.

class SqueezeExcite(nn.Module):
    def __init__(self, channels, squeezed):
        super().__init__()
        self.se1 = nn.Conv2d(channels, squeezed, 1)
        self.se2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.se2(F.silu(self.se1(x.mean((2, 3), keepdim=True)))))


class EfficientBlock(nn.Module):
    def __init__(self, i, o, expansion, kernel, stride):
        super().__init__()
        inside = i * expansion
        self.expands = expansion != 1
        if self.expands:
            self.conv1, self.bn1 = conv_norm(i, inside, 1)
        self.conv2, self.bn2 = conv_norm(inside, inside, kernel, stride, inside)
        self.se = SqueezeExcite(inside, max(1, int(0.25 * i)))
        self.conv3, self.bn3 = conv_norm(inside, o, 1)
        self.skips = stride == 1 and i == o

    def forward(self, x):
        y = F.silu(self.bn1(self.conv1(x))) if self.expands else x
        y = self.se(F.silu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        return x + y if self.skips else y


class EfficientNet(nn.Module):
    stages = [(1, 16, 1, 3, 1), (6, 24, 2, 3, 2), (6, 40, 2, 5, 2), (6, 80, 3, 3, 2), (6, 112, 3, 5, 1),
              (6, 192, 4, 5, 2), (6, 320, 1, 3, 1)]

    def __init__(self, o):
        super().__init__()
        self.conv1, self.bn1 = conv_norm(o.channels, o.width, 3)
        layers, last = [], o.width
        for expansion, out, n, kernel, stride in self.stages:
            for b in range(n):
                outputs = scaled(out, o.width, 32)
                layers.append(EfficientBlock(last, outputs, expansion, kernel, stride if b == 0 else 1))
                last = outputs
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(last, o.classes)

    def forward(self, x):
        return self.linear(self.layers(F.silu(self.bn1(self.conv1(x)))).mean((2, 3)))


# ---- ShuffleNet. Module names as in the reference, its spelling included.

class Named(nn.Module):
    """A convolution and its norm as children with the given names, or in a sequence of that one name."""

    def __init__(self, names, layers):
        super().__init__()
        if len(names) == 1:
            layers = [nn.Sequential(*layers)]
        for name, layer in zip(names, layers):
            self.add_module(name, layer)

    def forward(self, x):
        for child in self.children():
            x = child(x)
        return x


class ShuffleUnit(nn.Module):
    def __init__(self, i, o, stride, groups=3):
        super().__init__()
        middle = o // 4
        self.halves, self.groups = stride != 1, groups
        first = Named(["pointwise"], conv_norm(i, middle, 1, 1, groups, True))
        self.bottlneck = nn.Sequential(first, nn.ReLU())
        self.depthwise = Named(["depthwise"], conv_norm(middle, middle, 3, stride, middle, True))
        self.expand = Named(["pointwise"], conv_norm(middle, o - i if self.halves else o, 1, 1, groups, True))

    def forward(self, x):
        y = self.bottlneck(x)
        n, c, h, w = y.shape
        y = y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = self.expand(self.depthwise(y))
        if self.halves:
            return F.relu(torch.cat([F.avg_pool2d(x, 3, 2, 1), y], 1))
        return F.relu(x + y)


class ShuffleNet(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.conv1 = Named(["conv", "bn"], conv_norm(o.channels, o.width, 3, bias=True))
        last = o.width
        for stage, (n, out) in enumerate([(4, 240), (8, 480), (4, 960)], 2):
            units = []
            for b in range(n):
                outputs = scaled(out, o.width, 24)
                units.append(ShuffleUnit(last, outputs, 2 if b == 0 else 1))
                last = outputs
            setattr(self, f"stage{stage}", nn.Sequential(*units))
        self.fc = nn.Linear(last, o.classes)

    def forward(self, x):
        x = self.stage4(self.stage3(self.stage2(F.relu(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


# ---- Tokens: MLP-Mixer and Vision Transformer.

def patch_of(size, imagenet):
    return 16 if imagenet else 4 if size <= 48 else 8


class Perceptron(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Patches(nn.Module):
    def __init__(self, channels, dim, patch):
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class MixerBlock(nn.Module):
    def __init__(self, tokens, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp_tokens = Perceptron(tokens, 4 * tokens)
        self.mlp_channels = Perceptron(dim, dim // 2)

    def forward(self, x):
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_channels(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, o):
        super().__init__()
        width, patch = o.width, patch_of(o.size, o.imagenet)
        self.stem = Patches(o.channels, width, patch)
        tokens = (o.size // patch) ** 2
        self.blocks = nn.Sequential(*[MixerBlock(tokens, width) for _ in range(o.depth or 12)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, o.classes)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.stem(x))).mean(1))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, d))


class VitBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.mlp = Perceptron(dim, 4 * dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    def __init__(self, o):
        super().__init__()
        width, patch = o.width, patch_of(o.size, o.imagenet)
        self.patch_embed = Patches(o.channels, width, patch)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, (o.size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*[VitBlock(width, max(1, width // 64)) for _ in range(o.depth or 6)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, o.classes)

    def forward(self, x):
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


# ---- Small ones.

class Mlp(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.fc1 = nn.Linear(o.channels * o.size * o.size, o.width)
        self.fc2 = nn.Linear(o.width, o.width)
        self.fc3 = nn.Linear(o.width, o.classes)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class LeNet(nn.Module):
    def __init__(self, o):
        super().__init__()
        width = o.width
        second, side = scaled(16, width, 6), ((o.size - 4) // 2 - 4) // 2
        self.conv1, self.conv2 = nn.Conv2d(o.channels, width, 5), nn.Conv2d(width, second, 5)
        self.fc1 = nn.Linear(second * side * side, scaled(120, width, 6))
        self.fc2 = nn.Linear(scaled(120, width, 6), scaled(84, width, 6))
        self.fc3 = nn.Linear(scaled(84, width, 6), o.classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


FAMILIES = {
    "resnet20": resnet_cifar(3),
    "resnet32": resnet_cifar(5),
    "resnet56": resnet_cifar(9),
    "resnet18": resnet(tv.resnet.BasicBlock, [2, 2, 2, 2]),
    "resnet50": resnet(tv.resnet.Bottleneck, [3, 4, 6, 3]),
    "vgg11_bn": vgg("A"),
    "vgg16_bn": vgg("D"),
    "mobilenetv2": mobilenetv2,
    "efficientnet_b0": EfficientNet,
    "shufflenet": ShuffleNet,
    "mlp_mixer": Mixer,
    "vit": Vit,
    "mlp": Mlp,
    "lenet": LeNet,
}


def build(arch, width, size, classes=10, channels=3, imagenet=False, depth=0):
    return FAMILIES[arch](SimpleNamespace(width=width, classes=classes, channels=channels, imagenet=imagenet,
                                          size=size, depth=depth))
