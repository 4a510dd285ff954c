#!/bin/sh
# The whole story in one script: train a codec, pack it, code a photograph, train a head on its latents, label the file.
#
#   sh examples/train_pack_encode.sh PICTURES [RECIPE [MINUTES]]
#
# PICTURES has a subfolder of pictures for each of two classes or more. RECIPE is a file, or one that Bifocal ships.
# MINUTES is how long each of the two trainings takes: a minute shows the way, an hour a codec.
# Needs: pip install "bifocal-codec[train]". Results go to runs/story, or where OUT says.
set -eu

pictures=${1:?"say where the pictures are: sh examples/train_pack_encode.sh PICTURES"}
recipe=${2:-recipes/weconvene-small.toml}
minutes=${3:-1}
out=${OUT:-runs/story}
photo=$(find "$pictures" -type f \( -name '*.jpg' -o -name '*.jpeg' -o -name '*.png' \) | sort | head -n 1)

# 1. Train: crops of the pictures, one model for all qualities. Checkpoint, curves and a run record go to $out/codec.
bifocal-train run "$recipe" --data "$pictures" --minutes "$minutes" --steps "${STEPS:-0}" --out "$out/codec"

# 2. Pack: integers for the entropy coder, ONNX for the transforms, and a proof that the integers are exact.
bifocal-train pack "$out/codec/checkpoint.safetensors" --data "$pictures" --out "$out/model" --name story

# 3. Code a photograph.
bifocal encode "$photo" --quality 60 --model "$out/model" --force -o "$out/photo.bfc"
bifocal decode "$out/photo.bfc" --model "$out/model" --force -o "$out/photo.png"

# 4. Teach a head the classes: it reads the latents of that codec, which stays as it is.
bifocal-train head --data "$pictures" --base "$out/model" --minutes "$minutes" --steps "${STEPS:-0}" --force --out "$out/head.bfh"

# 5. Label the file, without decoding the picture.
bifocal classify "$out/photo.bfc" --model "$out/model" --head "$out/head.bfh"
