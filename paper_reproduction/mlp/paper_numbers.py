"""What the paper measured with its own models and data, for the reader to set beside: not reproduced here."""

from __future__ import annotations

from paper_reproduction.claim import Table

_RESNET = Table(
    caption="ResNet-50, ImageNet-1K fine-tuned on six targets: mean of pre-training and target accuracy, in %",
    header=("method", "mean accuracy"),
    rows=(
        ("standard fine-tuning", "64.34"),
        (r"$\ell_2$ regularisation", "68.18"),
        ("WiSE-FT", "71.52"),
        ("linear probe", "77.73"),
        ("*FLOW", "*81.17"),
    ),
    note=r"Figure 1 of the paper. Before fine-tuning: ImageNet top-1 79.02. WiSE-FT with $\alpha = 0.5$.",
)
_SPLIT = Table(
    caption="The same, apart: change of ImageNet accuracy in points, and accuracy on the targets in %",
    header=("method", "ImageNet, change", "targets"),
    rows=(("standard fine-tuning", "−42.11", "91.78"), ("FLOW", "−2.93", "86.25")),
    note="FLOW combined with WiSE-FT over WiSE-FT alone: +4.18 (ResNet-18), +4.52 (ResNet-50).",
)
_GEMMA = Table(
    caption="Gemma 2 2B fine-tuned on MetaMathQA: FLOW minus standard fine-tuning, in points",
    header=("commonsense", "MMLU", "MBPP", "GSM8K"),
    rows=(("+2.52", "+3.73", "+10.00", "−0.83"),),
)
_HARD = Table(
    caption="Accuracy on the 10 % of samples with the largest pre-trained loss, in %",
    header=("target", "standard fine-tuning", "FLOW"),
    rows=(
        ("CIFAR-10", "86.60", "30.70"),
        ("CIFAR-100", "56.40", "21.30"),
        ("Cars", "71.30", "13.18"),
    ),
    note="Table 5 of the paper.",
)
TABLES = (_RESNET, _SPLIT, _GEMMA, _HARD)
