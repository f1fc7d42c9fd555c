"""Binarizes torchvision's AlexNet, trains it for an epoch, packs it, runs it without torch: `alexnet.py FOLDER`."""

import subprocess
import sys

import numpy as np
import torch
from torchvision import datasets, models, transforms

import xnorlit as xl

MEAN, STD = torch.tensor([124, 116, 104]).view(3, 1, 1), torch.tensor([58, 57, 57]).view(3, 1, 1)
SQUARE = transforms.Compose([transforms.Resize(224), transforms.CenterCrop(224), transforms.PILToTensor()])
train, val = (datasets.ImageFolder(f"{sys.argv[1]}/{split}", SQUARE) for split in ("train", "val"))
net = models.alexnet(num_classes=len(train.classes))
print(xl.binarize_(net, "XNOR", skip=["features.0", "classifier.6"], norm="missing"))
xl.attach(optimizer := torch.optim.Adam(net.parameters(), lr=3e-4), net)
for pixels, labels in torch.utils.data.DataLoader(train, batch_size=64, shuffle=True):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net((pixels - MEAN) / STD), labels).backward()
    optimizer.step()
images, net = torch.stack([pixels for pixels, _ in val]), net.eval().requires_grad_(False)
expected = torch.cat([net((pixels - MEAN) / STD).argmax(dim=1) for pixels in images.split(64)])
print(xl.pack(net, "net.safetensors", image_size=224, classes=val.classes, mean=MEAN.flatten(), std=STD.flatten()))
np.save("images.npy", images.permute(0, 2, 3, 1))
code = "import sys; sys.modules['torch'] = None; import numpy as np, xnorlit as xl; "
code += "np.save('found.npy', xl.load('net.safetensors').predict(np.load('images.npy')))"
subprocess.run([sys.executable, "-c", code], check=True)
right, equal = (expected == torch.tensor(val.targets)).float().mean(), np.load("found.npy") == expected.numpy()
print(f"top-1 {100 * right:.1f} %; {equal.sum():,} of {len(val):,} predictions are equal without torch")
