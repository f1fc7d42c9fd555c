"""Binarizes torchvision's ResNet-18, trains it two epochs, packs it, runs it without torch: `resnet18.py FOLDER`."""

import subprocess
import sys

import numpy as np
import torch
from torchvision import datasets, models, transforms

import xnorlit as xl

MEAN, STD = torch.tensor([125, 123, 114]).view(3, 1, 1), torch.tensor([63, 62, 67]).view(3, 1, 1)
SQUARE = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(32), transforms.PILToTensor()])
train, val = (datasets.ImageFolder(f"{sys.argv[1]}/{split}", SQUARE) for split in ("train", "test"))
net = models.resnet18(num_classes=len(train.classes))
print(xl.binarize_(net, "XNOR", skip=["conv1", "fc", "*.downsample"]))
xl.attach(optimizer := torch.optim.Adam(net.parameters(), lr=1e-3), net)
for _ in range(2):
    for pixels, labels in torch.utils.data.DataLoader(train, batch_size=64, shuffle=True):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net((pixels - MEAN) / STD), labels).backward()
        optimizer.step()
images, net = torch.stack([pixels for pixels, _ in val]), net.eval().requires_grad_(False)
expected = torch.cat([net((pixels - MEAN) / STD) for pixels in images.split(50)])
print(xl.pack(net, "net.safetensors", image_size=32, classes=val.classes, mean=MEAN.flatten(), std=STD.flatten()))
np.save("images.npy", images.permute(0, 2, 3, 1))
code = "import sys; sys.modules['torch'] = None; import numpy as np, xnorlit as xl; "
code += "np.save('found.npy', xl.load('net.safetensors')(np.load('images.npy')))"
subprocess.run([sys.executable, "-c", code], check=True)
found, right = torch.from_numpy(np.load("found.npy")), expected.argmax(1) == torch.tensor(val.targets)
same, equal = (found.argmax(1) == expected.argmax(1)).sum(), (found == expected).all()
print(f"top-1 {100 * right.float().mean():.1f} %; logits equal bit for bit: {bool(equal)}")
print(f"{same:,} of {len(val):,} predictions are equal without torch")
