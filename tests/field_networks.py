"""The convolutional networks of the field that convscope must take as they are: a small variant of every family.

`REFUSED` are those among them that it does not take, with what it says of them. What a test of one costs is in its
units, as every one has pictures and a page; so the variants are those with few.
"""

from __future__ import annotations

TORCHVISION = (
    "alexnet", "vgg11", "vgg11_bn", "googlenet", "inception_v3", "resnet18", "resnet34", "resnet50",
    "densenet121", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0", "squeezenet1_0", "squeezenet1_1", "efficientnet_b0", "regnet_x_400mf",
)  # fmt: skip

TIMM = (
    "resnet18", "resnet26t", "resnetv2_18", "resnest14d", "seresnet18", "skresnet18",
    "ecaresnet26t", "gcresnet33ts", "resnetblur18", "resnetaa34d", "dpn48b", "dla34", "dla46x_c", "hrnet_w18_small",
    "ghostnet_050", "repghostnet_050", "repvgg_a0", "cspdarknet53", "darknet17", "vovnet39a", "ese_vovnet19b_dw",
    "mixnet_s",
    "tinynet_e", "lcnet_050", "hardcorenas_a", "selecsls42", "fbnetc_100", "semnasnet_050", "mobilenetv2_035",
    "mobilenetv3_small_050", "mobilenetv4_conv_small", "efficientnet_lite0", "gernet_s",
    "regnetx_002", "regnety_002", "convnext_atto", "convnextv2_atto", "hgnet_tiny", "hgnetv2_b0",
    "fastvit_t8", "edgenext_xx_small", "inception_next_atto", "repvit_m0_9", "mambaout_femto", "starnet_s050",
    "poolformer_s12", "lambda_resnet26t", "halonet26t", "efficientvit_b0",
)  # fmt: skip

NETWORKS = tuple(f"torchvision:{name}" for name in TORCHVISION) + tuple(f"timm:{name}" for name in TIMM)

REFUSED = {
    # Its relative positions are a matrix product with weights over heads and blocks, not over images.
    "timm:halonet26t": "layer stages.2.1.self_attn.pos_embed/mm gave 16384 results for 8 images",
}
